//! FRR 8 (zebra and bgpd) as the router.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use brindle_lab::process::{Daemon, wait_until};
use serde_json::Value;

use crate::router::Path;
use crate::world::{PATIENCE, World};

/// A running FRR.
pub struct Frr {
    _zebra: Daemon,
    _bgpd: Daemon,
    _bfdd: Option<Daemon>,
    dir: PathBuf,
    us: String,
}

impl Frr {
    /// Starts zebra and bgpd (their AS, ours) with us as the only neighbour.
    pub fn start(world: &World, us: &str, ases: (u32, u32)) -> Result<Self> {
        let dir = world.dir.path().to_owned();
        // The daemons run as their own user and put their sockets here.
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777))?;
        std::fs::write(dir.join("bgpd.conf"), configuration(us, ases))?;
        std::fs::write(dir.join("zebra.conf"), "")?;
        let zebra = daemon(world, "zebra")?;
        wait_until(PATIENCE, "zebra", || Ok(dir.join("zserv").exists()))?;
        let bgpd = daemon(world, "bgpd")?;
        let frr = Self { _zebra: zebra, _bgpd: bgpd, _bfdd: None, dir, us: us.to_owned() };
        wait_until(PATIENCE, "bgpd to answer", || Ok(frr.ask("show bgp summary json").is_ok()))
            .with_context(|| {
                std::fs::read_to_string(frr.dir.join("bgpd.log")).unwrap_or_default()
            })?;
        Ok(frr)
    }

    /// Starts bfdd too, and has it watch us at 100 ms.
    pub fn watch(&mut self, world: &World) -> Result<()> {
        std::fs::write(self.dir.join("bfdd.conf"), "")?;
        self._bfdd = Some(daemon(world, "bfdd")?);
        let socket = self.dir.join("bfdd.vty");
        wait_until(PATIENCE, "bfdd", || Ok(socket.exists()))?;
        self.configure(&[&format!("neighbor {} bfd 3 100 100", self.us)])
    }

    /// State of BFD with us, and its diagnostic: `up`, `down`, …
    pub fn bfd(&self) -> Result<Value> {
        let answer = self.json_of("bfdd", "show bfd peers json")?;
        let peers = answer.as_array().context("no list of peers")?;
        let of_us = peers.iter().find(|peer| peer["peer"] == *self.us);
        Ok(of_us.cloned().unwrap_or_default())
    }

    /// Changes lines of `router bgp`.
    pub fn configure(&self, lines: &[&str]) -> Result<()> {
        let mut command = Command::new("vtysh");
        command.arg("--vty_socket").arg(&self.dir).args(["-d", "bgpd", "-c", "configure terminal"]);
        command.args(["-c", "router bgp"]);
        for line in lines {
            command.args(["-c", line]);
        }
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || said.contains('%') {
            bail!("{lines:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    pub fn ask(&self, question: &str) -> Result<String> {
        self.ask_of("bgpd", question)
    }

    fn ask_of(&self, daemon: &str, question: &str) -> Result<String> {
        let output = Command::new("vtysh")
            .arg("--vty_socket")
            .arg(&self.dir)
            .args(["-d", daemon, "-c", question])
            .output()?;
        if !output.status.success() {
            bail!("vtysh {question}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn json(&self, question: &str) -> Result<Value> {
        self.json_of("bgpd", question)
    }

    fn json_of(&self, daemon: &str, question: &str) -> Result<Value> {
        let text = self.ask_of(daemon, question)?;
        serde_json::from_str(&text).with_context(|| format!("{question}: {text}"))
    }

    /// The path that we gave it for a prefix.
    pub fn path(&self, prefix: &str) -> Result<Option<Path>> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let answer = self.json(&format!("show bgp {family} unicast {prefix} json"))?;
        let Some(path) = answer["paths"].as_array().and_then(|paths| paths.first()) else {
            return Ok(None);
        };
        let as_path = path["aspath"]["string"].as_str().unwrap_or_default();
        Ok(Some(Path {
            next_hop: path["nexthops"][0]["ip"].as_str().unwrap_or_default().to_owned(),
            as_path: if as_path == "Local" { "" } else { as_path }.to_owned(),
            local_pref: path["locPrf"].as_u64().unwrap_or(100).to_string(),
            med: path["metric"].as_u64().map_or(String::new(), |med| med.to_string()),
            communities: ["community", "largeCommunity"]
                .map(|kind| path[kind]["string"].as_str().unwrap_or_default())
                .join(" ")
                .trim()
                .to_owned(),
        }))
    }

    /// Why the session ended last.
    pub fn last_error(&self) -> Result<String> {
        let answer = self.json("show bgp neighbors json")?;
        let of_us = &answer[&self.us];
        Ok(format!("{} {}", of_us["lastNotificationReason"], of_us["lastResetDueTo"]))
    }

    /// UPDATE messages it has counted from us.
    pub fn updates_received(&self) -> Result<u64> {
        let answer = self.json("show bgp neighbors json")?;
        answer[&self.us]["messageStats"]["updatesRecv"].as_u64().context("no updatesRecv")
    }
}

fn daemon(world: &World, name: &str) -> Result<Daemon> {
    let dir = world.dir.path();
    let mut command = world.router.command(&format!("/usr/lib/frr/{name}"));
    command.args(["-u", "frr", "-g", "frr", "-f"]).arg(dir.join(format!("{name}.conf")));
    command.arg("--vty_socket").arg(dir).arg("-z").arg(dir.join("zserv"));
    command.arg("-i").arg(dir.join(format!("{name}.pid")));
    if name == "bfdd" {
        command.arg("--bfdctl").arg(dir.join("bfdd.sock"));
    }
    Daemon::start(name, command, &dir.join(format!("{name}.log")))
}

fn configuration(us: &str, (their_as, our_as): (u32, u32)) -> String {
    format!(
        "router bgp {their_as}
 bgp router-id 10.77.0.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 neighbor {us} remote-as {our_as}
 neighbor {us} timers connect 1
 address-family ipv4 unicast
  network 10.200.0.0/24
  neighbor {us} activate
 exit-address-family
 address-family ipv6 unicast
  network fd20::/64
  neighbor {us} activate
 exit-address-family
"
    )
}

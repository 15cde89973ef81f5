//! OpenBGPD 7 as the router.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use brindle_lab::process::{Daemon, wait_until};
use serde_json::Value;

use crate::router::Path;
use crate::world::{PATIENCE, World};

/// Where its unprivileged processes are locked in: the home of their user.
const CHROOT: &str = "/run/openbgpd";

/// A running OpenBGPD.
pub struct OpenBgpd {
    _daemon: Daemon,
    socket: PathBuf,
    us: String,
    log: PathBuf,
}

impl OpenBgpd {
    /// Starts it (its AS, ours) with us as the only neighbour. It carries the family of the
    /// session: it has no next hop for the other one.
    pub fn start(
        world: &World,
        (local, us): (&str, &str),
        (their_as, our_as): (u32, u32),
    ) -> Result<Self> {
        let dir = world.dir.path();
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))?;
        std::fs::create_dir_all(CHROOT)?;
        let (family, network) = match local.contains(':') {
            true => ("IPv6", "fd20::/64"),
            false => ("IPv4", "10.200.0.0/24"),
        };
        let (config, socket) = (dir.join("openbgpd.conf"), dir.join("openbgpd.sock"));
        std::fs::write(
            &config,
            format!(
                "AS {their_as}\nrouter-id 10.77.0.2\nfib-update no\nsocket \"{}\"\n\
                 network {network}\n\
                 neighbor {us} {{\n  remote-as {our_as}\n  local-address {local}\n  \
                 announce {family} unicast\n}}\n\
                 allow from any\nallow to any\n",
                socket.display()
            ),
        )?;
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600))?;
        let log = dir.join("openbgpd.log");
        let mut command = world.router.command("/usr/sbin/bgpd");
        command.args(["-d", "-v", "-f"]).arg(&config);
        let daemon = Daemon::start("bgpd", command, &log)?;
        let bgpd = Self { _daemon: daemon, socket, us: us.to_owned(), log };
        wait_until(PATIENCE, "OpenBGPD to answer", || Ok(bgpd.ask("show").is_ok()))
            .with_context(|| std::fs::read_to_string(&bgpd.log).unwrap_or_default())?;
        Ok(bgpd)
    }

    pub fn ask(&self, question: &str) -> Result<String> {
        let output = Command::new("/usr/sbin/bgpctl")
            .args(["-j", "-s"])
            .arg(&self.socket)
            .args(question.split(' '))
            .output()?;
        if !output.status.success() {
            bail!("bgpctl {question}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks us for all routes again.
    pub fn refresh(&self) -> Result<()> {
        self.ask(&format!("neighbor {} refresh", self.us)).map(drop)
    }

    fn json(&self, question: &str) -> Result<Value> {
        let text = self.ask(question)?;
        serde_json::from_str(&text).with_context(|| format!("{question}: {text}"))
    }

    /// The path that we gave it for a prefix.
    pub fn path(&self, prefix: &str) -> Result<Option<Path>> {
        let answer = self.json(&format!("show rib detail {prefix}"))?;
        let found = answer["rib"].as_array().into_iter().flatten().find(|p| p["prefix"] == prefix);
        let Some(path) = found else { return Ok(None) };
        let text = |key: &str| path[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| path[key].as_u64().unwrap_or_default();
        let all = |key: &str| {
            let values = path[key].as_array().cloned().unwrap_or_default();
            values.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let med = number("metric");
        Ok(Some(Path {
            next_hop: text("exit_nexthop"),
            as_path: text("aspath"),
            local_pref: number("localpref").to_string(),
            // It shows a MED of 0 where there is none.
            med: if med == 0 { String::new() } else { med.to_string() },
            communities: [all("communities"), all("large_communities")].concat().join(" "),
        }))
    }

    /// UPDATE messages it has counted from us.
    pub fn updates_received(&self) -> Result<u64> {
        let answer = self.json(&format!("show neighbor {}", self.us))?;
        let received = &answer["neighbors"][0]["stats"]["message"]["received"];
        received["updates"].as_u64().context("no count of updates")
    }

    /// Why the session ended last.
    pub fn last_error(&self) -> Result<String> {
        let log = std::fs::read_to_string(&self.log)?;
        let of_notification = |line: &&str| line.contains("notification");
        Ok(log.lines().rev().find(of_notification).unwrap_or_default().to_owned())
    }
}

//! GoBGP 3 as the router.

use std::process::Command;

use anyhow::{Context, Result, bail};
use brindle_lab::process::{Daemon, wait_until};
use serde_json::Value;

use crate::router::Path;
use crate::world::{PATIENCE, ROUTER, World};

/// A running GoBGP.
pub struct GoBgp {
    _daemon: Daemon,
    /// The namespace in which its API listens.
    netns: String,
    us: String,
    log: std::path::PathBuf,
}

impl GoBgp {
    /// Starts it (its AS, ours) with us as the only neighbour.
    pub fn start(world: &World, us: &str, (their_as, our_as): (u32, u32)) -> Result<Self> {
        let config = world.dir.path().join("gobgp.toml");
        let log = world.dir.path().join("gobgp.log");
        std::fs::write(
            &config,
            format!(
                "[global.config]\nas = {their_as}\nrouter-id = \"10.77.0.2\"\n\
                 [[neighbors]]\n\
                 [neighbors.config]\nneighbor-address = \"{us}\"\npeer-as = {our_as}\n\
                 [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
                 [neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 120\n{}{}",
                family("ipv4-unicast"),
                family("ipv6-unicast"),
            ),
        )?;
        let mut command = world.router.command("gobgpd");
        command.args(["--pprof-disable", "-f"]).arg(&config);
        let daemon = Daemon::start("gobgpd", command, &log)?;
        let netns = world.router.name().to_owned();
        let gobgp = Self { _daemon: daemon, netns, us: us.to_owned(), log };
        wait_until(PATIENCE, "gobgpd to answer", || Ok(gobgp.ask("neighbor").is_ok()))
            .with_context(|| std::fs::read_to_string(&gobgp.log).unwrap_or_default())?;
        let [ipv4, ipv6] = ROUTER;
        gobgp.ask(&format!("global rib add 10.200.0.0/24 nexthop {ipv4} origin igp"))?;
        gobgp.ask(&format!("global rib add -a ipv6 fd20::/64 nexthop {ipv6} origin igp"))?;
        Ok(gobgp)
    }

    pub fn ask(&self, question: &str) -> Result<String> {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.netns, "gobgp"])
            .args(question.split(' '))
            .output()?;
        if !output.status.success() {
            bail!("gobgp {question}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The path that we gave it for a prefix.
    pub fn path(&self, prefix: &str) -> Result<Option<Path>> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let Ok(text) = self.ask(&format!("global rib -a {family} {prefix} -j")) else {
            return Ok(None);
        };
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let Some(path) = answer[prefix].get(0) else { return Ok(None) };
        let attribute = |kind: u64| {
            let all = path["attrs"].as_array().into_iter().flatten();
            let mut all = all.filter(|attribute| attribute["type"] == kind);
            all.next().cloned().unwrap_or_default()
        };
        let numbers = |value: &Value| {
            let numbers = value.as_array().into_iter().flatten();
            numbers.filter_map(Value::as_u64).map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
        };
        let standard = attribute(8)["communities"].as_array().cloned().unwrap_or_default();
        let standard = standard.iter().filter_map(Value::as_u64);
        let standard = standard.map(|c| format!("{}:{}", c >> 16, c & 0xffff));
        let large = attribute(32)["value"].as_array().cloned().unwrap_or_default();
        let large =
            large.iter().map(|c| format!("{}:{}:{}", c["ASN"], c["LocalData1"], c["LocalData2"]));
        let next_hop = [attribute(3), attribute(14)]
            .iter()
            .find_map(|a| a["nexthop"].as_str().map(str::to_owned))
            .unwrap_or_default();
        let number = |value: &Value| value.as_u64().map(|n| n.to_string());
        Ok(Some(Path {
            next_hop,
            as_path: numbers(&attribute(2)["as_paths"][0]["asns"]),
            local_pref: number(&attribute(5)["value"]).unwrap_or_else(|| "100".into()),
            med: number(&attribute(4)["metric"]).unwrap_or_default(),
            communities: standard.chain(large).collect::<Vec<_>>().join(" "),
        }))
    }

    fn neighbour(&self) -> Result<Value> {
        let text = self.ask(&format!("neighbor {} -j", self.us))?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// UPDATE messages it has counted from us.
    pub fn updates_received(&self) -> Result<u64> {
        let neighbour = self.neighbour()?;
        Ok(neighbour["state"]["messages"]["received"]["update"].as_u64().unwrap_or_default())
    }

    /// Why the session ended last.
    pub fn last_error(&self) -> Result<String> {
        let log = std::fs::read_to_string(&self.log)?;
        Ok(log.lines().rfind(|line| line.contains("otification")).unwrap_or_default().to_owned())
    }
}

/// It sends End-of-RIB only for families that take part in graceful restart.
fn family(name: &str) -> String {
    format!(
        "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}\"\n\
         [neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n"
    )
}

//! BIRD 2 as the router.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use brindle_lab::process::{Daemon, wait_until};

use crate::router::Path;
use crate::world::{PATIENCE, World};

/// Two routes of its own, one a family.
const STATICS: &str = "
protocol device { }
protocol static s4 { ipv4; route 10.200.0.0/24 blackhole; }
protocol static s6 { ipv6; route fd20::/64 blackhole; }
";

/// A running BIRD.
pub struct Bird {
    daemon: Daemon,
    socket: PathBuf,
}

impl Bird {
    /// Starts BIRD with these protocols beside its two static routes.
    pub fn start(world: &World, protocols: &str) -> Result<Self> {
        Self::start_with(world, protocols, false)
    }

    /// The same; one that `recovers` says R=1, as after a crash.
    pub fn start_with(world: &World, protocols: &str, recovers: bool) -> Result<Self> {
        let (config, socket) = (world.dir.path().join("bird.conf"), world.dir.path().join("ctl"));
        let log = world.dir.path().join("bird.log");
        std::fs::write(
            &config,
            format!(
                "log \"{}\" all;\nrouter id 10.77.0.2;\n{STATICS}{protocols}",
                world.dir.path().join("protocol.log").display()
            ),
        )?;
        let mut command = world.router.command("bird");
        command.arg("-f").arg("-c").arg(&config).arg("-s").arg(&socket);
        if recovers {
            command.arg("-R");
        }
        let bird = Self { daemon: Daemon::start("bird", command, &log)?, socket };
        wait_until(PATIENCE, "bird to answer", || Ok(bird.ask("show status").is_ok()))
            .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        Ok(bird)
    }

    /// A protocol `node` towards our IPv4 or IPv6 address; `more` goes into its block.
    pub fn neighbour(local: &str, us: &str, ases: (u32, u32), more: &str) -> String {
        let (their_as, our_as) = ases;
        format!(
            "protocol bgp node {{
               local {local} as {their_as}; neighbor {us} as {our_as};
               connect delay time 0; connect retry time 1; error wait time 1, 2;
               {more}
               ipv4 {{ import all; export where source = RTS_STATIC; }};
               ipv6 {{ import all; export where source = RTS_STATIC; }};
             }}\n"
        )
    }

    /// Replaces the protocols beside its two static routes.
    pub fn reconfigure(&self, protocols: &str) -> Result<()> {
        let config = self.socket.with_file_name("bird.conf");
        let before = std::fs::read_to_string(&config)?;
        let kept = before.split_once(STATICS).context("no static routes")?.0.to_owned();
        std::fs::write(&config, kept + STATICS + protocols)?;
        self.ask("configure").map(drop)
    }

    pub fn ask(&self, question: &str) -> Result<String> {
        let output =
            Command::new("birdc").arg("-s").arg(&self.socket).args(question.split(' ')).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() && !text.contains("Network not found") {
            bail!("birdc {question}: {text}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(text)
    }

    /// The path that we gave it for a prefix.
    pub fn path(&self, prefix: &str) -> Result<Option<Path>> {
        let text = self.ask(&format!("show route for {prefix} protocol node all"))?;
        if !text.lines().any(|line| line.starts_with(&format!("{prefix} "))) {
            return Ok(None);
        }
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
            line.unwrap_or_default().trim().to_owned()
        };
        Ok(Some(Path {
            next_hop: value("BGP.next_hop:"),
            as_path: value("BGP.as_path:"),
            local_pref: value("BGP.local_pref:"),
            med: value("BGP.med:"),
            communities: [value("BGP.community:"), value("BGP.large_community:")]
                .concat()
                .replace(", ", ":")
                .replace(',', ":")
                .replace(['(', ')'], " ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        }))
    }

    /// Routes it has counted as received from us, over both families.
    pub fn import_updates(&self) -> Result<u64> {
        let text = self.ask("show protocols all node")?;
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("Import updates:"));
        Ok(lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).sum())
    }

    /// Why the session ended last; its log keeps what the protocol's status forgets.
    pub fn last_error(&self) -> Result<String> {
        let log = std::fs::read_to_string(self.socket.with_file_name("protocol.log"))?;
        Ok(log.lines().rfind(|line| line.contains("node: ")).unwrap_or_default().to_owned())
    }

    /// Kills it as a crash would: its kernel closes the connections.
    pub fn crash(self) -> Result<()> {
        self.daemon.end(nix::sys::signal::Signal::SIGKILL, PATIENCE)
    }
}

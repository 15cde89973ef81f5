//! The top-of-rack router: a real BIRD 2 in a namespace of its own.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::netns::Netns;
use crate::process::{Daemon, wait_until};

/// A BGP neighbour of the router.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Name of the protocol instance, and of the node.
    pub name: String,
    /// The router's address on the link.
    pub local: String,
    /// The node's address.
    pub address: String,
    /// The node's AS.
    pub asn: u32,
}

/// A running router.
#[derive(Debug)]
pub struct Bird {
    daemon: Daemon,
    socket: PathBuf,
}

/// The router's AS.
pub const TOR_AS: u32 = 64512;

impl Bird {
    /// Writes the configuration, starts the router and waits until it answers.
    ///
    /// # Errors
    /// BIRD is not installed, or refused the configuration (see `bird.log`).
    pub fn start(netns: &Netns, dir: &Path, neighbours: &[Neighbour]) -> Result<Self> {
        let config = dir.join("bird.conf");
        let socket = dir.join("bird.ctl");
        fs::write(&config, configuration(dir, neighbours))
            .with_context(|| format!("write {}", config.display()))?;
        let mut command = netns.command("bird");
        command.arg("-f").arg("-c").arg(&config).arg("-s").arg(&socket);
        let daemon = Daemon::start("bird", command, &dir.join("bird.log"))?;
        let bird = Self { daemon, socket };
        wait_until(Duration::from_secs(5), "bird to answer", || {
            Ok(bird.ask("show status").is_ok())
        })?;
        Ok(bird)
    }

    /// Puts a question to the router over its control socket (`birdc`).
    ///
    /// # Errors
    /// The router is gone.
    pub fn ask(&self, question: &str) -> Result<String> {
        let output = Command::new("birdc")
            .arg("-s")
            .arg(&self.socket)
            .args(question.split(' '))
            .output()
            .context("start birdc")?;
        if !output.status.success() {
            bail!("birdc {question}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether the session with a neighbour is established.
    ///
    /// # Errors
    /// The router is gone.
    pub fn established(&self, neighbour: &str) -> Result<bool> {
        Ok(self.ask(&format!("show protocols {neighbour}"))?.contains("Established"))
    }

    /// Routes learned by BGP as (prefix, next hop, neighbour), in the router's order.
    ///
    /// # Errors
    /// The router is gone.
    pub fn routes(&self) -> Result<Vec<Route>> {
        let text = self.ask("show route where source = RTS_BGP")?;
        Ok(parse_routes(&text))
    }

    /// Leaves the router running on drop.
    pub fn let_go(&mut self) {
        self.daemon.let_go();
    }

    /// The router's process id.
    pub fn pid(&self) -> i32 {
        self.daemon.pid()
    }
}

/// A route of the router.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The prefix.
    pub prefix: String,
    /// The next hop's address.
    pub via: String,
    /// The neighbour that announced it.
    pub from: String,
}

/// Reads `show route`: a line with the prefix and the protocol in brackets, then one with `via`.
/// Further paths of a prefix repeat the line without the prefix.
fn parse_routes(text: &str) -> Vec<Route> {
    let mut routes = Vec::new();
    let (mut prefix, mut from) = (String::new(), String::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["via", via, ..] => {
                let (prefix, via, from) = (prefix.clone(), (*via).to_owned(), from.clone());
                routes.push(Route { prefix, via, from });
            }
            [first, rest @ ..] if line.contains('[') => {
                if !line.starts_with(' ') {
                    prefix = (*first).to_owned();
                }
                let bracket = rest.iter().chain([first]).find(|w| w.starts_with('['));
                from = bracket.map_or("", |w| w.trim_matches('[')).to_owned();
            }
            _ => {}
        }
    }
    routes
}

fn configuration(dir: &Path, neighbours: &[Neighbour]) -> String {
    let mut text = format!(
        "log \"{}\" all;\n\
         router id 10.1.0.1;\n\
         protocol device {{ scan time 1; }}\n\
         protocol kernel k4 {{ merge paths on; ipv4 {{ import none; export all; }}; }}\n\
         protocol kernel k6 {{ merge paths on; ipv6 {{ import none; export all; }}; }}\n",
        dir.join("bird-protocol.log").display()
    );
    for Neighbour { name, local, address, asn } in neighbours {
        writeln!(
            text,
            "protocol bgp {name} {{\n  \
               local {local} as {TOR_AS};\n  neighbor {address} as {asn};\n  \
               graceful restart on;\n  connect retry time 5;\n  connect delay time 1;\n  \
               error wait time 1, 5;\n  \
               ipv4 {{ import all; export all; }};\n  ipv6 {{ import all; export all; }};\n}}"
        )
        .expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_with_all_their_paths() {
        let text = "BIRD 2.0.12 ready.\nTable master4:\n\
            10.65.0.0/26         unicast [n1 13:00:00.123] * (100) [AS64601i]\n\
            \tvia 10.1.1.2 on to-n1\n                     \
            unicast [n2 13:00:00.123] (100) [AS64602i]\n\tvia 10.1.2.2 on to-n2\n\n\
            Table master6:\nfd65::/122           unicast [n1 13:00:00.1] * (100) [AS64601i]\n\
            \tvia fd01:1::2 on to-n1\n";
        let routes: Vec<String> = parse_routes(text)
            .iter()
            .map(|r| format!("{} {} {}", r.prefix, r.via, r.from))
            .collect();
        assert_eq!(
            routes,
            ["10.65.0.0/26 10.1.1.2 n1", "10.65.0.0/26 10.1.2.2 n2", "fd65::/122 fd01:1::2 n1"]
        );
    }
}

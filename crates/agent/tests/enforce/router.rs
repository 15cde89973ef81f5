//! The router at the other end of the node's uplink: a real BIRD 2 in a namespace of its own.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use brindle_dataplane_core::netns::Namespace;

use crate::node::Node;

/// What the router announces besides what it hears.
pub const FABRIC: [&str; 2] = ["198.51.100.0/24", "fd51::/64"];

/// A running router.
pub struct Router {
    bird: Child,
    socket: PathBuf,
    _netns: Namespace,
}

impl Router {
    /// Starts a router that takes over the other end of the node's uplink.
    pub fn start(node: &Node) -> Self {
        let netns = Namespace::create().unwrap();
        let descriptor = format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd());
        node.run(&format!("ip link set fabric netns {descriptor}"));
        let run = |command: &str| {
            let words: Vec<_> = command.split_whitespace().collect();
            let done = netns.run(|| Command::new(words[0]).args(&words[1..]).status()).unwrap();
            assert!(done.unwrap().success(), "{command}");
        };
        run("ip link set lo up");
        run("ip link set fabric up");
        run("ip addr add 192.0.2.2/24 dev fabric");
        run("ip addr add fd00:2::2/64 dev fabric nodad");
        let socket = node.path("bird.ctl");
        let config = node.path("bird.conf");
        fs::write(&config, configuration()).unwrap();
        let bird = || {
            Command::new("bird")
                .args(["-f", "-c", config.to_str().unwrap(), "-s", socket.to_str().unwrap()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        };
        let bird = netns.run(bird).unwrap().expect("BIRD 2 is installed");
        Self { bird, socket, _netns: netns }
    }

    /// What the router heard from the node: every line of its routes, without times.
    pub fn routes(&self) -> String {
        let text = self.ask("show route protocol node");
        let lines = text.lines().filter(|line| line.contains("fabric") || line.contains('['));
        let words = lines.flat_map(|line| {
            line.split_whitespace().take_while(|word| !word.starts_with('[')).chain(["\n"])
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Everything about a prefix that the router heard.
    pub fn route(&self, prefix: &str) -> String {
        self.ask(&format!("show route all {prefix}"))
    }

    /// Everything about the session.
    pub fn session(&self) -> String {
        self.ask("show protocols all node")
    }

    fn ask(&self, question: &str) -> String {
        let socket = self.socket.to_str().unwrap();
        let mut asked = Command::new("birdc");
        let asked = asked.args(["-r", "-s", socket]).args(question.split(' '));
        String::from_utf8_lossy(&asked.output().unwrap().stdout).into_owned()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // It may have ended by itself; nothing is left to be lost.
        let _ = self.bird.kill();
        let _ = self.bird.wait();
    }
}

fn configuration() -> String {
    let [v4, v6] = FABRIC;
    format!(
        "router id 192.0.2.2;\n\
         protocol device {{ }}\n\
         protocol static {{ ipv4; route {v4} blackhole; }}\n\
         protocol static {{ ipv6; route {v6} blackhole; }}\n\
         protocol bgp node {{\n\
           local 192.0.2.2 as 64512;\n  neighbor 192.0.2.1 as 64601;\n\
           graceful restart on;\n  connect retry time 1;\n  connect delay time 1;\n\
           error wait time 1, 2;\n\
           ipv4 {{ import all; export all; }};\n\
           ipv6 {{ import all; export all; next hop address fd00:2::2; }};\n\
         }}\n"
    )
}

//! What the tests want of a router, whichever it is.

use std::process::Stdio;
use std::thread;

use anyhow::{Context, Result};
use brindle_lab::process::wait_until;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::world::{OUR_AS, PATIENCE, ROUTER, US, World};

/// Which implementation.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Bird,
    Frr,
}

/// A running router with one neighbour: us.
pub enum Router {
    Bird(Bird),
    Frr(Frr),
}

/// One path as the router shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    pub next_hop: String,
    pub as_path: String,
    pub local_pref: String,
}

impl Router {
    /// Starts one that connects to us over IPv4 (`transport` 0) or IPv6 (1) and has
    /// 10.200.0.0/24 and fd20::/64 of its own.
    pub fn start(kind: Kind, world: &World, transport: usize, as_number: u32) -> Result<Self> {
        let (local, us) = (ROUTER[transport], US[transport]);
        Ok(match kind {
            Kind::Bird => {
                let neighbour = Bird::neighbour(local, us, (as_number, OUR_AS), "");
                Self::Bird(Bird::start(world, &neighbour)?)
            }
            Kind::Frr => Self::Frr(Frr::start(world, us, (as_number, OUR_AS))?),
        })
    }

    /// The path that we gave it for a prefix.
    pub fn path(&self, prefix: &str) -> Result<Option<Path>> {
        match self {
            Self::Bird(bird) => bird.path(prefix),
            Self::Frr(frr) => frr.path(prefix),
        }
    }

    pub fn until_path(&self, prefix: &str) -> Result<Path> {
        let mut path = None;
        wait_until(PATIENCE, &format!("the router to have {prefix}"), || {
            path = self.path(prefix)?;
            Ok(path.is_some())
        })
        .with_context(|| self.describe())?;
        path.context("no path")
    }

    pub fn until_no_path(&self, prefix: &str) -> Result<()> {
        wait_until(PATIENCE, &format!("the router to lose {prefix}"), || {
            Ok(self.path(prefix)?.is_none())
        })
        .with_context(|| self.describe())
    }

    /// Asks us for all routes again and returns once it has sent the request.
    pub fn refresh(&self) -> Result<()> {
        match self {
            Self::Bird(bird) => bird.ask("reload in node").map(drop),
            Self::Frr(frr) => frr.ask("clear bgp * soft in").map(drop),
        }
    }

    /// How many UPDATE messages or routes it has counted from us; grows with each.
    pub fn updates_received(&self) -> Result<u64> {
        match self {
            Self::Bird(bird) => bird.import_updates(),
            Self::Frr(frr) => frr.updates_received(),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Bird(bird) => bird.ask("show protocols all node"),
            Self::Frr(frr) => frr.ask("show bgp neighbors json"),
        }
        .unwrap_or_else(|error| format!("{error:#}"))
    }
}

/// Lines of `ip monitor route` in the router's namespace from now on: what its forwarding table
/// went through.
pub struct RouteMonitor {
    child: std::process::Child,
    reader: Option<thread::JoinHandle<Vec<String>>>,
    world: brindle_lab::netns::Netns,
}

impl Drop for RouteMonitor {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl RouteMonitor {
    pub fn start(world: &World) -> Result<Self> {
        use std::io::BufRead;
        let mut command = world.router.command("ip");
        command.args(["monitor", "route"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let reader = thread::spawn(move || {
            std::io::BufReader::new(stdout).lines().map_while(|line| line.ok()).collect()
        });
        let monitor = Self {
            child,
            reader: Some(reader),
            world: brindle_lab::netns::Netns::existing(world.router.name()),
        };
        // It listens once its netlink socket is bound to the group.
        wait_until(PATIENCE, "ip monitor to listen", || {
            let sockets =
                std::fs::read_to_string(format!("/proc/{}/net/netlink", monitor.child.id()))?;
            let pid = monitor.child.id().to_string();
            Ok(sockets.lines().any(|l| l.split_whitespace().nth(2) == Some(&pid)))
        })?;
        Ok(monitor)
    }

    /// Ends and returns the lines about these prefixes.
    pub fn lines(mut self, prefixes: &[&str]) -> Result<Vec<String>> {
        // A route of our own comes last: when it was seen, so was everything before.
        self.world.ip(&["route", "add", "blackhole", "192.0.2.77/32"])?;
        self.world.ip(&["route", "del", "blackhole", "192.0.2.77/32"])?;
        self.child.kill()?;
        self.child.wait()?;
        let lines = self.reader.take().context("read twice")?.join().expect("reader");
        let wanted = |line: &String| prefixes.iter().any(|p| line.contains(p));
        Ok(lines.into_iter().filter(wanted).collect())
    }
}

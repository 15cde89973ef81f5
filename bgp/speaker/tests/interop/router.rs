//! What the tests want of a router, whichever it is.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use anyhow::{Context, Result, bail};
use brindle_lab::netns::Netns;
use brindle_lab::process::wait_until;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::gobgp::GoBgp;
use crate::openbgpd::OpenBgpd;
use crate::world::{OUR_AS, PATIENCE, ROUTER, US, World};

/// Which implementation.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Bird,
    Frr,
    GoBgp,
    OpenBgpd,
}

/// A running router with one neighbour: us.
pub enum Router {
    Bird(Bird),
    Frr(Frr),
    GoBgp(GoBgp),
    OpenBgpd(OpenBgpd),
}

/// One path as the router shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    pub next_hop: String,
    pub as_path: String,
    pub local_pref: String,
    pub med: String,
    /// Standard, then large ones, as in `65001:7 65001:1:2`.
    pub communities: String,
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
            Kind::GoBgp => Self::GoBgp(GoBgp::start(world, us, (as_number, OUR_AS))?),
            Kind::OpenBgpd => {
                let ases = (as_number, OUR_AS);
                Self::OpenBgpd(OpenBgpd::start(world, (local, us), ases)?)
            }
        })
    }

    /// The path that we gave it for a prefix.
    pub fn path(&self, prefix: &str) -> Result<Option<Path>> {
        match self {
            Self::Bird(bird) => bird.path(prefix),
            Self::Frr(frr) => frr.path(prefix),
            Self::GoBgp(gobgp) => gobgp.path(prefix),
            Self::OpenBgpd(bgpd) => bgpd.path(prefix),
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
            Self::GoBgp(_) => bail!("it keeps what it was told, and does not ask again"),
            Self::OpenBgpd(bgpd) => bgpd.refresh(),
        }
    }

    /// How many UPDATE messages or routes it has counted from us; grows with each.
    pub fn updates_received(&self) -> Result<u64> {
        match self {
            Self::Bird(bird) => bird.import_updates(),
            Self::Frr(frr) => frr.updates_received(),
            Self::GoBgp(gobgp) => gobgp.updates_received(),
            Self::OpenBgpd(bgpd) => bgpd.updates_received(),
        }
    }

    /// Why its session with us ended last, in its words.
    pub fn last_error(&self) -> Result<String> {
        match self {
            Self::Bird(bird) => bird.last_error(),
            Self::Frr(frr) => frr.last_error(),
            Self::GoBgp(gobgp) => gobgp.last_error(),
            Self::OpenBgpd(bgpd) => bgpd.last_error(),
        }
    }

    /// Everything about the session, in its words.
    pub fn describe(&self) -> String {
        match self {
            Self::Bird(bird) => bird.ask("show protocols all node"),
            Self::Frr(frr) => frr.ask("show bgp neighbors json"),
            Self::GoBgp(gobgp) => gobgp.ask("neighbor -j"),
            Self::OpenBgpd(bgpd) => bgpd.ask("show neighbor"),
        }
        .unwrap_or_else(|error| format!("{error:#}"))
    }
}

/// Lines of `ip monitor route` in the router's namespace from now on: what its forwarding table
/// went through.
pub struct RouteMonitor {
    child: std::process::Child,
    printed: Receiver<String>,
    world: Netns,
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
        let world = Netns::existing(world.router.name());
        let mut command = world.command("ip");
        command.args(["monitor", "route"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (print, printed) = mpsc::sync_channel(4096);
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(|line| line.ok());
            lines.map(|line| print.send(line)).take_while(|sent| sent.is_ok()).for_each(drop);
        });
        let monitor = Self { child, printed, world };
        // It listens from the moment that it prints a route which we come and go with.
        wait_until(PATIENCE, "ip monitor to listen", || {
            monitor.mark("192.0.2.76/32")?;
            Ok(monitor.printed.try_iter().any(|line| line.contains("192.0.2.76")))
        })?;
        Ok(monitor)
    }

    /// A route that comes and goes.
    fn mark(&self, prefix: &str) -> Result<()> {
        self.world.ip(&["route", "add", "blackhole", prefix])?;
        self.world.ip(&["route", "del", "blackhole", prefix])?;
        Ok(())
    }

    /// Ends and returns the lines about these prefixes.
    pub fn lines(self, prefixes: &[&str]) -> Result<Vec<String>> {
        // The kernel reports in order: once this mark is printed, so was everything before.
        self.mark("192.0.2.77/32")?;
        let mut wanted = Vec::new();
        loop {
            let line = self.printed.recv_timeout(PATIENCE).context("ip monitor went silent")?;
            if line.contains("192.0.2.77") {
                return Ok(wanted);
            }
            if prefixes.iter().any(|p| line.contains(p)) {
                wanted.push(line);
            }
        }
    }
}

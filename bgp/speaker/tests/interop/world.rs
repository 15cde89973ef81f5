//! Two namespaces with a link, our speaker in one of them, and what it reported.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use brindle_bgp_proto::family::FamilySet;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::speaker::routes::RouteStatus;
use brindle_bgp_proto::speaker::status::PeerStatus;
use brindle_bgp_speaker::{
    Command, Config, Event, Handle, Identity, News, Origin, PeerConfig, RouteQuery, RouteTable,
    Status,
};
use brindle_lab::netns::{Netns, veth};
use ipnet::IpNet;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

/// Our AS in all tests.
pub const OUR_AS: u32 = 65001;
/// The router's AS, if it is another.
pub const ROUTER_AS: u32 = 64512;
/// What waiting for anything may take at most.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Our addresses and the router's on the link.
pub const US: [&str; 2] = ["10.77.0.1", "fd77::1"];
pub const ROUTER: [&str; 2] = ["10.77.0.2", "fd77::2"];

/// `us` and `router`, joined by a veth pair.
pub struct World {
    pub us: Netns,
    pub router: Netns,
    pub dir: TempDir,
}

impl World {
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let us = Netns::create(&format!("bgpspeaker-us-{id}"))?;
        let router = Netns::create(&format!("bgpspeaker-rt-{id}"))?;
        veth((&us, "eth0"), (&router, "eth0"))?;
        for (netns, addresses) in [(&us, US), (&router, ROUTER)] {
            netns.ip(&["addr", "add", &format!("{}/24", addresses[0]), "dev", "eth0"])?;
            netns.ip(&["addr", "add", &format!("{}/64", addresses[1]), "dev", "eth0", "nodad"])?;
        }
        router.ip(&["addr", "add", &format!("{SECOND}/24"), "dev", "eth0"])?;
        us.ip(&["addr", "add", &format!("{BESIDE}/24"), "dev", "eth0"])?;
        Ok(Self { us, router, dir: TempDir::with_prefix("bgpspeaker")? })
    }

    /// A speaker that has just been started for the first time.
    pub fn speaker(&self) -> Result<Speaker> {
        self.speaker_with(first_start())
    }

    /// A speaker with the usual identity.
    pub fn speaker_with(&self, config: Config) -> Result<Speaker> {
        Self::speaker_in(&self.us, config, identity(OUR_AS))
    }

    /// A speaker in a namespace.
    pub fn speaker_in(netns: &Netns, config: Config, identity: Identity) -> Result<Speaker> {
        let handle = netns.enter(|| brindle_bgp_speaker::spawn(config))??;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut speaker = Speaker {
            handle,
            runtime,
            routes: BTreeMap::new(),
            converged: false,
            gone: Vec::new(),
            states: Vec::new(),
        };
        speaker.send(Command::SetIdentity(Some(identity)))?;
        Ok(speaker)
    }
}

/// A second address of the router, and one of ours.
pub const SECOND: &str = "10.77.0.3";
pub const BESIDE: &str = "10.77.0.4";

/// A speaker beside us, at [`BESIDE`], with a peer that it connects to.
pub fn second_speaker(world: &World, as_number: u32, config: PeerConfig) -> Result<Speaker> {
    let identity = Identity {
        router_id: BESIDE.parse()?,
        // We have the port.
        listen_port: 0,
        next_hops: [BESIDE.parse::<IpAddr>()?].into_iter().collect(),
        ..identity(as_number)
    };
    let mut speaker = World::speaker_in(&world.us, first_start(), identity)?;
    speaker.set_peer("peer", PeerConfig { source: Some(BESIDE.parse()?), ..config })?;
    Ok(speaker)
}

/// Facts of a first start.
pub fn first_start() -> Config {
    Config { restarting: false, forwarding_preserved: FamilySet::NONE, jitter_seed: 1 }
}

/// Who we are.
pub fn identity(as_number: u32) -> Identity {
    Identity {
        as_number,
        router_id: "10.77.0.1".parse().expect("address"),
        listen_port: 179,
        hold_time: 9,
        restart_time: 30,
        long_lived_stale_time: 0,
        next_hops: US.iter().map(|a| a.parse::<IpAddr>().expect("address")).collect(),
        notification_restart: false,
        cluster_id: None,
        drain: None,
    }
}

/// The router as our peer.
pub fn peer(address: &str, as_number: u32) -> PeerConfig {
    PeerConfig::new(address.parse().expect("address"), as_number)
}

/// Our speaker and everything it has said.
pub struct Speaker {
    handle: Handle,
    runtime: Runtime,
    /// Best routes as an owner of a forwarding table would hold them.
    pub routes: BTreeMap<IpNet, Vec<IpAddr>>,
    /// Whether the owner may sweep.
    pub converged: bool,
    /// Every prefix that was ever taken back.
    pub gone: Vec<IpNet>,
    /// All changes of sessions.
    pub states: Vec<(String, State, Option<String>)>,
}

impl Speaker {
    pub fn send(&mut self, command: Command) -> Result<()> {
        Ok(self.runtime.block_on(self.handle.commands.send(command))?)
    }

    pub fn set_peer(&mut self, name: &str, config: PeerConfig) -> Result<()> {
        self.send(Command::SetPeer(name.into(), config))
    }

    pub fn originate(&mut self, prefixes: &[&str]) -> Result<()> {
        prefixes
            .iter()
            .try_for_each(|p| self.send(Command::Originate(p.parse()?, Origin::default())))
    }

    pub fn status(&self) -> Result<Status> {
        Ok(self.runtime.block_on(self.handle.commands.status())?)
    }

    pub fn peer(&self, name: &str) -> Result<PeerStatus> {
        let peers = self.status()?.speaker.peers;
        peers.into_iter().find(|p| &*p.name == name).context("no such peer")
    }

    /// What neighbours advertised.
    pub fn received(&self) -> Result<Vec<RouteStatus>> {
        let query = RouteQuery { table: RouteTable::Received, peer: None, limit: usize::MAX };
        Ok(self.runtime.block_on(self.handle.commands.routes(query))?.routes)
    }

    /// Looks on from now on.
    pub fn monitor(&self) -> Result<Receiver<News>> {
        Ok(self.runtime.block_on(self.handle.commands.monitor())?)
    }

    /// The step where a prefix ends, outward or inward, as `step: detail`.
    pub fn why(&self, peer: &str, prefix: &str, outward: bool) -> Result<String> {
        let answer = self.handle.commands.explain(prefix.parse()?, Some(peer.into()));
        let report = self.runtime.block_on(answer)?;
        let traces = if outward { report.outward } else { report.inward };
        let step = traces.first().and_then(|trace| trace.steps.last()).context("no step")?;
        Ok(format!("{}: {}", step.step, step.detail))
    }

    /// The route to a prefix, as text.
    pub fn route(&self, prefix: &str) -> Option<String> {
        let hops = self.routes.get(&prefix.parse::<IpNet>().expect("prefix"))?;
        Some(hops.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
    }

    /// Takes in events until something holds.
    pub fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            while let Some(event) = self.next_event(Duration::from_millis(10)) {
                self.note(event);
            }
            if holds(self)? {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!("waited in vain for {what}; {:#?}", self.status()?.speaker.peers);
            }
        }
    }

    pub fn until_state(&mut self, name: &str, state: State) -> Result<()> {
        self.until(&format!("{name} in {state}"), |us| Ok(us.peer(name)?.state == state))
    }

    /// Stops and waits for the end.
    pub fn stop(mut self, graceful: bool) -> Result<()> {
        self.send(Command::Stop { graceful })?;
        self.handle.join();
        Ok(())
    }

    fn next_event(&mut self, within: Duration) -> Option<Event> {
        let events = &mut self.handle.events;
        self.runtime.block_on(async { tokio::time::timeout(within, events.recv()).await }).ok()?
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Best { prefix, next_hops } => drop(self.routes.insert(prefix, next_hops)),
            Event::Gone { prefix } => {
                assert!(self.routes.remove(&prefix).is_some(), "{prefix} was never there");
                self.gone.push(prefix);
            }
            Event::Converged => self.converged = true,
            Event::Peer { name, state, reason } => {
                self.states.push((name.to_string(), state, reason));
            }
        }
    }
}

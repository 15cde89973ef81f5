//! The bridge between the compiler's routing, the BGP speaker and the route table.
//!
//! ```text
//!  Batch.routing ──> Command ──> speaker (own thread and runtime)
//!  route table  <── Learned  <── Event::Best, Event::Gone
//! ```
//! It runs on a thread of its own: handing a route to a busy route table blocks, and what waits
//! then are the speaker's events, which it merges by prefix. No session waits.
//!
//! Should the speaker end by itself, the bridge goes on taking batches: policy must be enforced
//! though nothing is announced. Routes that were learned stay, and health says what happened.

mod filters;
mod passwords;
mod plans;
mod secrets;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use brindle_bgp_speaker::{
    BfdConfig, Command, Commands, Config, Drain, Event, Handle, Hops, Identity, InvalidCommand,
    NextHops, Origin, PeerConfig, PeerName, RangeConfig, Role, SendError, Stopped,
};
use brindle_dataplane_core::netlink::NextHop;
use brindle_dataplane_core::{DriverSender, RouteInput, RouteTable};
use brindle_model::routing::advertisement::Origination;
use brindle_model::routing::{self, Change, Peer, PeerAddress, Speaker};
use brindle_model::ruleset::Batch;
use tokio::sync::{Notify, mpsc};
use tracing::{error, info, warn};

use passwords::Passwords;
pub use plans::Plans;
use plans::Question;
pub use secrets::Secrets;

/// Batches that may wait for the bridge.
pub const QUEUE: usize = 64;
/// Stack of the bridge's thread, bytes.
const STACK: usize = 256 * 1024;

/// What the speaker is to be told of one change.
fn command(change: &Change, passwords: &mut Passwords) -> Command {
    match change {
        Change::Speaker(speaker) => Command::SetIdentity(speaker.as_ref().map(identity)),
        Change::Peer(name, None) => {
            passwords.forget(name);
            Command::RemovePeer(name.clone())
        }
        Change::Peer(name, Some(peer)) => {
            passwords.complete(name, neighbour(peer), peer).command(name.clone())
        }
        Change::Originate(prefix, Origination { origin, communities }) => {
            let words = origin.to_string().into();
            let communities = filters::communities(communities);
            Command::Originate(*prefix, Origin { words, communities })
        }
        Change::Withdraw(prefix) => Command::Withdraw(*prefix),
    }
}

/// A neighbour, or a range of them, as the speaker has it.
#[derive(Clone, Debug, PartialEq)]
enum Neighbour {
    One(PeerConfig),
    Range(RangeConfig),
}

impl Neighbour {
    fn config_mut(&mut self) -> &mut PeerConfig {
        match self {
            Self::One(config) => config,
            Self::Range(range) => &mut range.template,
        }
    }

    fn command(self, name: PeerName) -> Command {
        match self {
            Self::One(config) => Command::SetPeer(name, config),
            Self::Range(config) => Command::SetRange(name, config),
        }
    }
}

fn neighbour(peer: &Peer) -> Neighbour {
    match peer.address {
        PeerAddress::One(address) => Neighbour::One(peer_config(peer, address)),
        PeerAddress::Range { net, max_peers } => Neighbour::Range(RangeConfig {
            prefix: net,
            max_peers: max_peers.into(),
            template: peer_config(peer, net.addr()),
        }),
    }
}

fn peer_config(peer: &Peer, address: IpAddr) -> PeerConfig {
    PeerConfig {
        port: peer.port,
        passive: peer.passive,
        hops: match peer.settings.hops {
            routing::Hops::Usual => Hops::Usual,
            routing::Hops::Multihop(hops) => Hops::Multihop(hops),
            routing::Hops::Security(hops) => Hops::Security(hops),
        },
        bfd: peer.settings.bfd.map(|bfd| BfdConfig {
            desired_min_tx: Duration::from_millis(bfd.min_tx.into()),
            required_min_rx: Duration::from_millis(bfd.min_rx.into()),
            detect_mult: bfd.multiplier,
        }),
        shutdown: peer.settings.shutdown.clone(),
        unfit: peer.unfit.clone(),
        role: peer.settings.role.map(|role| match role {
            routing::Role::Provider => Role::Provider,
            routing::Role::RouteServer => Role::RouteServer,
            routing::Role::RouteServerClient => Role::RouteServerClient,
            routing::Role::Customer => Role::Customer,
            routing::Role::Peer => Role::Peer,
        }),
        require_role: peer.settings.require_role,
        policy: filters::policy(peer),
        ..PeerConfig::new(address, peer.as_number)
    }
}

fn identity(speaker: &Speaker) -> Identity {
    Identity {
        as_number: speaker.as_number,
        router_id: speaker.router_id,
        listen_port: speaker.listen_port,
        hold_time: speaker.hold_time,
        restart_time: speaker.restart_time,
        long_lived_stale_time: speaker.long_lived_stale_time,
        next_hops: speaker.next_hops.iter().copied().collect::<NextHops>(),
        notification_restart: speaker.notification_restart,
        cluster_id: speaker.cluster_id,
        drain: match speaker.drain {
            routing::Drain::No => None,
            routing::Drain::GracefulShutdown => Some(Drain::GracefulShutdown),
            routing::Drain::Withdraw => Some(Drain::Withdraw),
        },
    }
}

/// What the route table is to be told of one event.
fn route(event: Event) -> Option<RouteInput> {
    match event {
        Event::Best { prefix, next_hops } => {
            let hop = |gateway| NextHop { gateway, interface: None };
            Some(RouteInput::Learned(prefix, next_hops.into_iter().map(hop).collect()))
        }
        Event::Gone { prefix } => Some(RouteInput::Learned(prefix, BTreeSet::new())),
        Event::Converged => Some(RouteInput::LearnedComplete),
        Event::Peer { name, state, reason } => {
            info!(peer = %name, %state, reason, "BGP session");
            None
        }
    }
}

/// The speaker and the bridge, running.
pub struct Bgp {
    /// For questions.
    pub commands: Commands,
    /// For questions about what would be.
    pub plans: Plans,
    /// Says that sessions or neighbours are others than before.
    pub changed: Arc<Notify>,
    /// Secrets with passwords of neighbours.
    pub secrets: Secrets,
    /// The bridge.
    pub thread: JoinHandle<()>,
}

/// Starts the speaker and the bridge. The bridge ends when the sender of batches is gone; then it
/// stops the speaker without a NOTIFICATION, so that its neighbours keep our routes (RFC 4724).
///
/// # Errors
/// A thread could not be made.
pub fn spawn(
    config: Config,
    batches: mpsc::Receiver<Arc<Batch>>,
    routes: DriverSender<RouteTable>,
) -> io::Result<Bgp> {
    let speaker = brindle_bgp_speaker::spawn(config).map_err(io::Error::other)?;
    let commands = speaker.commands.clone();
    let (plans, questions) = Plans::new();
    let changed = Arc::new(Notify::new());
    let noted = changed.clone();
    let secrets = Secrets::default();
    let passwords = Passwords::new(secrets.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let thread = std::thread::Builder::new()
        .name("bgp-bridge".to_owned())
        .stack_size(STACK)
        .spawn(move || bridge(&runtime, speaker, batches, questions, passwords, &noted, &routes))?;
    Ok(Bgp { commands, plans, changed, secrets, thread })
}

fn bridge(
    runtime: &tokio::runtime::Runtime,
    mut speaker: Handle,
    mut batches: mpsc::Receiver<Arc<Batch>>,
    questions: mpsc::Receiver<Question>,
    passwords: Passwords,
    changed: &Notify,
    routes: &DriverSender<RouteTable>,
) {
    runtime.block_on(async {
        if connect(&mut speaker, &mut batches, questions, passwords, changed, routes).await.is_err()
        {
            error!("the BGP speaker has ended by itself: nothing is announced any more");
            while batches.recv().await.is_some() {}
            return;
        }
        // It fails only if the speaker has just ended by itself.
        if speaker.commands.send(Command::Stop { graceful: true }).await.is_err() {
            warn!("the BGP speaker stopped before it was told to");
        }
    });
    speaker.join();
}

/// Carries batches and events until there are no more batches, or nobody wants the events.
///
/// # Errors
/// The speaker has ended.
async fn connect(
    speaker: &mut Handle,
    batches: &mut mpsc::Receiver<Arc<Batch>>,
    mut questions: mpsc::Receiver<Question>,
    mut passwords: Passwords,
    changed: &Notify,
    routes: &DriverSender<RouteTable>,
) -> Result<(), Stopped> {
    let mut in_sync = false;
    let mut look = tokio::time::interval(passwords::INTERVAL);
    loop {
        tokio::select! {
            batch = batches.recv() => {
                let Some(batch) = batch else { return Ok(()) };
                forward(&speaker.commands, &batch, &mut passwords, !in_sync).await?;
                in_sync = true;
                if !batch.routing.is_empty() {
                    changed.notify_one();
                }
            }
            Some(question) = questions.recv() => {
                // Its changes follow those that the compiler has sent before.
                while let Ok(batch) = batches.try_recv() {
                    forward(&speaker.commands, &batch, &mut passwords, !in_sync).await?;
                    in_sync = true;
                }
                plans::answer(&speaker.commands, &passwords, question);
            }
            _ = look.tick() => {
                for (name, neighbour) in passwords.changed() {
                    give(&speaker.commands, neighbour.command(name)).await?;
                    changed.notify_one();
                }
            }
            event = speaker.events.recv() => {
                let event = event.ok_or(Stopped)?;
                if matches!(event, Event::Peer { .. }) {
                    changed.notify_one();
                }
                let Some(input) = route(event) else { continue };
                if routes.send(input).is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// The first batch is everything: after it the speaker may say that it has told all (RFC 4724
/// §4.1).
async fn forward(
    commands: &Commands,
    batch: &Batch,
    passwords: &mut Passwords,
    first: bool,
) -> Result<(), Stopped> {
    for change in &batch.routing {
        give(commands, command(change, passwords)).await?;
    }
    if first {
        give(commands, Command::InSync).await?;
    }
    Ok(())
}

/// An order; in place of one that makes no sense that its object is absent, and why.
fn sensible(command: Command) -> (Option<Command>, Option<InvalidCommand>) {
    let Err(reason) = command.validate() else { return (Some(command), None) };
    let absent = match command {
        Command::SetIdentity(_) => Some(Command::SetIdentity(None)),
        Command::SetPeer(name, _) | Command::SetRange(name, _) => Some(Command::RemovePeer(name)),
        _ => None,
    };
    (absent, Some(reason))
}

/// Gives an order.
async fn give(commands: &Commands, command: Command) -> Result<(), Stopped> {
    let (command, refused) = sensible(command);
    if let Some(reason) = refused {
        warn!(%reason, "BGP configuration is not used");
    }
    let Some(command) = command else { return Ok(()) };
    match commands.send(command).await {
        Ok(()) => Ok(()),
        Err(SendError::Stopped(stopped)) => Err(stopped),
        Err(SendError::Invalid(reason)) => {
            warn!(%reason, "BGP configuration is not used");
            Ok(())
        }
    }
}

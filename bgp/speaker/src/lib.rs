//! BGP sockets and timers, driving [`brindle_bgp_proto`].
//!
//! ```text
//!   owner                 thread "bgp" (own current-thread runtime)
//!  ┌──────────┐ commands ┌─────────┐  octets to write   ┌────────────────┐
//!  │ Commands ├─────────►│ Driver  ├───────────────────►│ one task for   ├──► TCP
//!  │ Events   │◄─────────┤ Speaker │◄───────────────────┤ each connection│◄──
//!  └──────────┘  events  └────▲────┘  octets, its end   └────────────────┘
//!                             └────── accepted ───────── one task for each listener
//! ```
//!
//! All arrows are bounded channels. The speaker has its own thread and runtime, so that nothing the
//! owner computes delays a KEEPALIVE. A connection task owns its socket and nothing else: whatever
//! happens to it ends in one message to the driver. Events that the owner does not fetch wait in
//! the speaker, merged by prefix, so a slow owner costs no session.

mod bfd;
mod connection;
mod datagram;
mod driver;
mod listener;
mod monitor;
mod sockopt;

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

pub use brindle_bgp_proto::bfd::Config as BfdConfig;
pub use brindle_bgp_proto::capability::Role;
pub use brindle_bgp_proto::rib::{Drain, Origin};
pub use brindle_bgp_proto::speaker::status::SpeakerStatus;
pub use brindle_bgp_proto::speaker::{
    Command, Config, Event, Hops, Identity, InvalidCommand, Md5Key, NextHops, Password, PeerConfig,
    PeerName, Plan, PrefixReport, RangeConfig, RouteList, RouteTable,
};
use ipnet::IpNet;
pub use monitor::News;

/// Commands that may wait.
const COMMANDS: usize = 1024;
/// Events that may wait in the channel; more wait in the speaker.
const EVENTS: usize = 1024;

/// How many routes a speaker may hold for a plan to be made: some tens of MiB.
pub const MAX_PLAN: usize = 400_000;

/// The speaker could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the BGP thread")]
pub struct SpawnError(#[source] std::io::Error);

/// The speaker's thread has ended: it was stopped before.
#[derive(Debug, thiserror::Error)]
#[error("the BGP speaker has stopped")]
pub struct Stopped;

/// A command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No speaker could obey it.
    #[error("invalid BGP command")]
    Invalid(#[from] InvalidCommand),
    /// Nobody is there.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// No plan was made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A question may not endanger the memory that the answer is about.
    #[error(
        "the speaker holds {held} routes: a plan is made on a copy, and of more than {MAX_PLAN} none \
         is made"
    )]
    TooLarge {
        /// How many routes there are.
        held: usize,
    },
    /// Our own error; the speaker itself did not notice.
    #[error("internal error: the plan could not be made")]
    Failed,
    /// Nobody is there.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A snapshot of speaker and sockets.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Sessions and routes.
    pub speaker: SpeakerStatus,
    /// Where connections are accepted.
    pub listening: Vec<SocketAddr>,
    /// Why not everywhere, if so; tried again every few seconds.
    pub listen_error: Option<String>,
    /// Why BFD cannot be used on an address of ours, if so.
    pub bfd_error: Option<String>,
    /// Seconds since the speaker started; all times of [`SpeakerStatus`] count from there.
    pub uptime: f64,
}

/// Both ends of a running speaker.
#[derive(Debug)]
pub struct Handle {
    /// For orders and questions; may be cloned. When the last one is dropped, the speaker closes
    /// its connections without NOTIFICATION and its thread ends.
    pub commands: Commands,
    /// What the speaker reports.
    pub events: Events,
    thread: JoinHandle<()>,
}

/// The way to give orders.
#[derive(Clone, Debug)]
pub struct Commands(mpsc::Sender<Request>);

/// The reports of the speaker.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

/// What goes through the command channel.
#[derive(Debug)]
enum Request {
    Command(Box<Command>),
    Status(oneshot::Sender<Status>),
    Explain(IpNet, Option<PeerName>, oneshot::Sender<PrefixReport>),
    Routes(RouteQuery, oneshot::Sender<RouteList>),
    Plan(Vec<Command>, oneshot::Sender<Result<Plan, PlanError>>),
    Monitor(mpsc::Sender<News>),
}

/// Which routes are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQuery {
    /// Of which table.
    pub table: RouteTable,
    /// Of which peer; of all unless said.
    pub peer: Option<PeerName>,
    /// How many at most.
    pub limit: usize,
}

/// Starts a speaker on its own thread. It has no identity and no peer yet: send
/// [`Command::SetIdentity`] and [`Command::SetPeer`].
///
/// # Errors
/// No thread or no runtime (too many of them, no file descriptors).
pub fn spawn(config: Config) -> Result<Handle, SpawnError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SpawnError)?;
    let (commands, requests) = mpsc::channel(COMMANDS);
    let (event_sender, events) = mpsc::channel(EVENTS);
    let thread = thread::Builder::new()
        .name("bgp".into())
        .spawn(move || runtime.block_on(driver::run(config, requests, event_sender)))
        .map_err(SpawnError)?;
    Ok(Handle { commands: Commands(commands), events: Events(events), thread })
}

impl Commands {
    /// Gives an order; waits while too many are queued.
    ///
    /// # Errors
    /// The order makes no sense, or the speaker has stopped.
    pub async fn send(&self, command: Command) -> Result<(), SendError> {
        command.validate()?;
        Ok(self.0.send(Request::Command(Box::new(command))).await.map_err(|_| Stopped)?)
    }

    /// A snapshot, taken after all orders that were sent before.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn status(&self) -> Result<Status, Stopped> {
        self.ask(Request::Status).await
    }

    /// Every step of a prefix to and from every peer, or one of them.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn explain(
        &self,
        prefix: IpNet,
        peer: Option<PeerName>,
    ) -> Result<PrefixReport, Stopped> {
        self.ask(|answer| Request::Explain(prefix, peer, answer)).await
    }

    /// The routes of a table.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn routes(&self, query: RouteQuery) -> Result<RouteList, Stopped> {
        self.ask(|answer| Request::Routes(query, answer)).await
    }

    /// What orders would do, without doing it. They are carried out on a copy, beside the speaker's
    /// thread; only the copying holds it up.
    ///
    /// # Errors
    /// There are more than [`MAX_PLAN`] routes, or the speaker has stopped.
    pub async fn plan(&self, commands: Vec<Command>) -> Result<Plan, PlanError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Request::Plan(commands, answer)).await.map_err(|_| Stopped)?;
        answered
            .await
            .map_err(|_| if self.has_stopped() { Stopped.into() } else { PlanError::Failed })?
    }

    /// Looks on from now on, until the receiver is dropped. Who does not keep up loses some and is
    /// told how much; no session waits.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn monitor(&self) -> Result<mpsc::Receiver<News>, Stopped> {
        let (news, receiver) = mpsc::channel(monitor::QUEUE);
        self.0.send(Request::Monitor(news)).await.map_err(|_| Stopped)?;
        Ok(receiver)
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.0.send(question(answer)).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// Whether the speaker's thread has ended, for whatever reason.
    pub fn has_stopped(&self) -> bool {
        self.0.is_closed()
    }
}

impl Events {
    /// The next report; `None` when the speaker has stopped.
    pub async fn recv(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Handle {
    /// Stops the speaker, without NOTIFICATION if nobody stopped it before, and waits for its
    /// thread, which first writes what is due. Blocks for about a second at most; call it outside
    /// async code.
    pub fn join(self) {
        let Self { commands, events, thread } = self;
        drop(events);
        // It fails only if the thread has ended already.
        let _ =
            commands.0.blocking_send(Request::Command(Box::new(Command::Stop { graceful: true })));
        if thread.join().is_err() {
            tracing::error!("the BGP thread panicked");
        }
    }
}

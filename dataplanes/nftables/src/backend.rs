//! The backend: what is desired, what the kernel holds, and the socket between them.
//!
//! ```text
//!            stage                       commit
//! delta ───────────> Desired ──────────────────────────> Program ──> batch ──> kernel
//!                       ^   Known: the difference since the last commit
//!                       │   Read:  the difference to what was read
//!   Unknown ── read ────┘
//! ```
//! A batch is bound to the generation of the tables for which it was made. If anybody has changed
//! any table since, the kernel refuses it, our table is read again, and the batch is made anew from
//! what is there: so a foreign change between two commits is found at the second at the latest.
//! Before that the kernel's news of it wakes the driver ([`TablesMonitor`]), and if those are lost,
//! its slow timer does.
//!
//! [`TablesMonitor`]: brindle_dataplane_core::nfnetlink::TablesMonitor

use brindle_dataplane_core::nflog::DROPS_PER_SECOND;
use brindle_dataplane_core::nfnetlink::News;
use brindle_dataplane_core::{Backend, Commit, Disturbance, Drift, Watch};
use brindle_model::Name;
use brindle_model::ruleset::{Load, RulesetDelta};
use nix::errno::Errno;

use crate::desired::{Desired, Known};
use crate::hits::Counters;
use crate::lower::{Recording, specimen};
use crate::netlink::{Encoded, Refusal, Snapshot, Socket, SocketError, encode};
use crate::program::{Command, Program};
use crate::table::TABLE;

/// How often a commit is made anew because somebody else changed tables in between.
const ATTEMPTS: usize = 8;

/// The largest program (decision 0022). A packet that meets so many rules that nothing joins waits
/// for more than half a millisecond (20 ns each), and so many members are about 1.6 GB of the
/// kernel's memory (100 bytes each).
const LIMITS: Load = Load { rules: 1 << 15, sets: 1 << 13, members: 1 << 24 };

/// What the kernel holds, as far as we know.
enum Kernel {
    /// It must be read before the next commit.
    Unknown,
    /// It was read, at a generation.
    Read(u32, Snapshot),
    /// It holds what we wrote, and had a generation then.
    Known(u32, Known),
}

/// The nftables backend.
pub struct Nftables {
    socket: Socket,
    kernel: Kernel,
    desired: Desired,
}

/// Opening failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot use nf_tables")]
pub struct OpenError(#[source] SocketError);

/// A kernel operation failed.
#[derive(Debug, thiserror::Error)]
pub enum NftablesError {
    /// Our table could not be read.
    #[error("cannot read table inet {TABLE}")]
    Read(#[source] SocketError),
    /// A transaction failed, but for no single object.
    #[error("cannot write table inet {TABLE}")]
    Write(#[source] SocketError),
    /// A transaction failed; nothing of it took effect.
    #[error("{object}: {}{} ({advice})", errno.desc(), if more > &0 { format!(", and {more} more") } else { String::new() })]
    Refused {
        /// The first object that was refused.
        object: String,
        /// Why.
        errno: Errno,
        /// What the kernel says, or what to look at next.
        advice: String,
        /// How many more objects were refused.
        more: usize,
    },
    /// Somebody else changes tables all the time.
    #[error("nf_tables was changed by somebody else {ATTEMPTS} times during a commit")]
    Restless,
}

impl Nftables {
    /// Opens the backend in the thread's network namespace.
    ///
    /// # Errors
    /// The kernel has no nf_tables (the source says what is missing), or the process may not use
    /// it.
    pub fn open() -> Result<Self, OpenError> {
        Self::telling(DROPS_PER_SECOND)
    }

    /// As [`Self::open`]; of each decision so many denied packets a second are told to the
    /// listeners of [`GROUP`](brindle_dataplane_core::nflog::GROUP), none if it is 0.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn telling(drops_per_second: u32) -> Result<Self, OpenError> {
        let mut socket = Socket::open().map_err(OpenError)?;
        let nflog = takes_logs(&mut socket).map_err(OpenError)?;
        if !nflog {
            tracing::warn!(
                "this kernel cannot tell of packets, so Log rules only count: check \
                 CONFIG_NFT_LOG and CONFIG_NETFILTER_NETLINK_LOG"
            );
        }
        let desired = Desired::new(Recording { drops_per_second, nflog });
        Ok(Self { socket, kernel: Kernel::Unknown, desired })
    }

    /// Whether a table of ours is there, of whichever agent.
    ///
    /// # Errors
    /// It could not be read.
    pub fn is_installed(&mut self) -> Result<bool, NftablesError> {
        let (_, snapshot) = self.socket.snapshot().map_err(NftablesError::Read)?;
        Ok(snapshot.table.is_some())
    }

    fn read(&mut self) -> Result<(), NftablesError> {
        self.kernel = Kernel::Unknown;
        let (generation, snapshot) = self.socket.snapshot().map_err(NftablesError::Read)?;
        self.desired.adopt(&snapshot);
        self.kernel = Kernel::Read(generation, snapshot);
        Ok(())
    }

    /// What the next commit would write: in nft syntax by `Display`.
    ///
    /// # Errors
    /// Our table could not be read.
    pub fn pending(&mut self) -> Result<Program, NftablesError> {
        if matches!(self.kernel, Kernel::Unknown) {
            self.read()?;
        }
        Ok(match &self.kernel {
            Kernel::Read(_, snapshot) => self.desired.repair(snapshot),
            Kernel::Known(_, known) => self.desired.update(known),
            Kernel::Unknown => Program::default(),
        })
    }

    /// Who is counted where: what [`Counters::read`] needs.
    pub fn counters(&self) -> Counters {
        Counters::new(self.desired.chains())
    }

    fn send(&mut self, program: &Program) -> Result<Sent, NftablesError> {
        let generation = match self.kernel {
            Kernel::Read(generation, _) | Kernel::Known(generation, _) => generation,
            Kernel::Unknown => return Ok(Sent::Stale),
        };
        let seq = self.socket.reserve(program.messages());
        let batch = encode(program, generation, seq);
        match self.socket.transact(&batch) {
            // The kernel counts transactions; 0 is skipped.
            Ok(()) => Ok(Sent::Done(generation.checked_add(1).unwrap_or(1))),
            Err(SocketError::Stale) => Ok(Sent::Stale),
            Err(SocketError::Refused(refusals)) => Err(refused(program, &batch, &refusals)),
            Err(other) => Err(NftablesError::Write(other)),
        }
    }
}

/// Whether the kernel takes rules that log. Nothing is changed by the question.
fn takes_logs(socket: &mut Socket) -> Result<bool, SocketError> {
    let chain: Name = "rehearsal".into();
    let (hook, comment) = (None, String::new());
    let rule = Command::AddRule { chain: chain.clone(), rule: specimen() };
    let mut commands = vec![Command::AddChain { name: chain, hook, comment }, rule];
    // In our table, or in one that would be made.
    let there = socket.rehearse(&Program { commands: commands.clone() })?;
    if there.is_none() {
        return Ok(true);
    }
    commands.insert(0, Command::AddTable);
    Ok(socket.rehearse(&Program { commands })?.is_none())
}

/// How a batch ended.
enum Sent {
    /// The kernel has this generation now.
    Done(u32),
    /// Nothing happened, since the batch was made for another generation.
    Stale,
}

fn refused(program: &Program, batch: &Encoded, refusals: &[Refusal]) -> NftablesError {
    let Some(first) = refusals.first() else { return NftablesError::Restless };
    let command = batch.command(first.seq).and_then(|at| program.commands.get(at));
    let object = command.map_or_else(|| format!("table inet {TABLE}"), Command::object);
    let advice = match (first.message.is_empty(), first.errno) {
        (false, _) => first.message.clone(),
        (true, Errno::EPERM) => {
            "check CAP_NET_ADMIN, and that no other process owns the table".to_owned()
        }
        (true, Errno::ENOENT) => {
            "check that the kernel has this kind of expression or set".to_owned()
        }
        (true, Errno::EBUSY) => "something else in the table refers to it".to_owned(),
        (true, _) => "see nft list table inet brindle".to_owned(),
    };
    NftablesError::Refused { object, errno: first.errno, advice, more: refusals.len() - 1 }
}

impl Backend for Nftables {
    type Error = NftablesError;

    fn name(&self) -> &'static str {
        "nftables"
    }

    fn limits(&self) -> Load {
        LIMITS
    }

    fn stage(&mut self, delta: &RulesetDelta) {
        self.desired.stage(delta);
    }

    fn stop_revoked(&mut self, stop: bool) {
        self.desired.stop_revoked(stop);
    }

    fn resync(&mut self) -> Result<Drift, NftablesError> {
        self.read()?;
        if !self.desired.staged() {
            return Ok(Drift::default());
        }
        let differing = self.pending()?.writes();
        if differing > 0 {
            tracing::info!(differing, "table differs from the desired state");
        }
        Ok(Drift { differing })
    }

    fn watch(&self) -> Watch {
        let own = self.socket.port();
        Watch::Told(Box::new(move |news| match news {
            News::Change(change) => {
                i32::from(change.family) == libc::NFPROTO_INET
                    && change.table == TABLE
                    && change.port != own
            }
            News::Lost => true,
        }))
    }

    /// The kernel counts transactions: if it is where our last one left it, nobody else's came
    /// after that, and one that came before made that one read everything again.
    fn disturbance(&mut self) -> Disturbance {
        match self.kernel {
            Kernel::Known(known, _) if self.socket.generation().is_ok_and(|now| now == known) => {
                Disturbance::Undone
            }
            _ => Disturbance::Perhaps,
        }
    }

    fn commit(&mut self) -> Result<Commit, NftablesError> {
        for _ in 0..ATTEMPTS {
            let program = self.pending()?;
            let generation = match self.kernel {
                Kernel::Read(generation, _) | Kernel::Known(generation, _) => generation,
                Kernel::Unknown => continue,
            };
            let sent =
                if program.is_empty() { Ok(Sent::Done(generation)) } else { self.send(&program) };
            let before = std::mem::replace(&mut self.kernel, Kernel::Unknown);
            match sent? {
                Sent::Done(generation) => {
                    let known = match before {
                        Kernel::Known(_, known) => Some(known),
                        Kernel::Read(..) | Kernel::Unknown => None,
                    };
                    self.kernel = Kernel::Known(generation, self.desired.settle(known));
                    return Ok(Commit { writes: program.writes() });
                }
                Sent::Stale => tracing::debug!("nf_tables changed in between; reading again"),
            }
        }
        Err(NftablesError::Restless)
    }

    fn uninstall(&mut self) -> Result<(), NftablesError> {
        for _ in 0..ATTEMPTS {
            self.read()?;
            match &self.kernel {
                Kernel::Read(_, snapshot) if snapshot.table.is_none() => return Ok(()),
                _ => {}
            }
            let sent = self.send(&Program { commands: vec![Command::DeleteTable] });
            self.kernel = Kernel::Unknown;
            if let Sent::Done(_) = sent? {
                return Ok(());
            }
        }
        Err(NftablesError::Restless)
    }
}

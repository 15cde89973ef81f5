//! The socket: transactions, dumps, and what can go wrong with them.

use std::io;

use brindle_dataplane_core::nfnetlink::{self, Failed, error_number};
use brindle_model::Name;
use nix::errno::Errno;

use super::attr::{self, NFGENMSG, Writer, be32, find};
use super::decode::{Snapshot, decode};
use super::encode::{Encoded, encode};
use super::numbers::{NFNL_SUBSYS_NFTABLES, attr as a, msg};
use crate::program::Program;
use crate::table::TABLE;

/// How often a dump that somebody else's change interrupts is begun anew.
const DUMP_ATTEMPTS: usize = 16;
const NLM_F_DUMP_INTR: u16 = libc::NLM_F_DUMP_INTR as u16;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A netlink socket of one network namespace: that of the thread that opened it.
pub struct Socket(nfnetlink::Socket);

/// Why an exchange with the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// There is no nf_tables.
    #[error(
        "the kernel has no nf_tables for family inet: check CONFIG_NF_TABLES and \
         CONFIG_NF_TABLES_INET, or load the module nf_tables"
    )]
    Unsupported(#[source] io::Error),
    /// A system call failed.
    #[error("netlink {operation} failed")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others changed tables all the time while they were read.
    #[error("nf_tables changed {DUMP_ATTEMPTS} times while table inet {TABLE} was read")]
    Restless,
    /// Somebody changed some table since the generation that the batch was made for.
    #[error("nf_tables was changed by somebody else in between")]
    Stale,
    /// The kernel refused messages; the whole batch had no effect.
    #[error("the kernel refused {} messages", .0.len())]
    Refused(Vec<Refusal>),
    /// The kernel did not say whether the batch took effect.
    #[error("the kernel did not acknowledge the batch")]
    NoAcknowledgement,
}

/// A message that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its sequence number.
    pub seq: u32,
    /// The error.
    pub errno: Errno,
    /// What the kernel says about it; may be empty.
    pub message: String,
}

impl From<Failed> for SocketError {
    fn from(Failed { operation, source }: Failed) -> Self {
        classify(operation, source)
    }
}

/// Tells a kernel without nf_tables from other failures: it knows no such protocol, subsystem or
/// family.
pub(crate) fn classify(operation: &'static str, source: io::Error) -> SocketError {
    match source.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => {
            SocketError::Unsupported(source)
        }
        _ => SocketError::Io { operation, source },
    }
}

impl Socket {
    /// Opens a socket in the thread's network namespace, and asks whether nf_tables is there.
    ///
    /// # Errors
    /// [`SocketError::Unsupported`] if the kernel lacks nf_tables.
    pub fn open() -> Result<Self, SocketError> {
        let mut socket = Self(nfnetlink::Socket::open()?);
        socket.generation().map_err(no_subsystem)?;
        Ok(socket)
    }

    /// The number by which the kernel calls this socket.
    pub fn port(&self) -> u32 {
        self.0.port()
    }

    /// The first sequence number of the next batch of so many messages at most.
    pub fn reserve(&mut self, messages: usize) -> u32 {
        self.0.reserve(messages)
    }

    /// The generation: it grows with every change of any table of the namespace.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn generation(&mut self) -> Result<u32, SocketError> {
        let seq = self.request(msg::GETGEN, 0, |_| {})?;
        let mut generation = None;
        while generation.is_none() {
            for message in attr::messages(self.receive()?) {
                if message.seq != seq {
                    continue;
                }
                if message.kind == libc::NLMSG_ERROR as u16 {
                    check(message.payload, "GETGEN")?;
                }
                let body = message.payload.get(NFGENMSG..).unwrap_or_default();
                generation = find(body, a::GEN_ID).and_then(be32).or(generation);
            }
        }
        Ok(generation.unwrap_or_default())
    }

    /// Sends a batch and waits for its end.
    ///
    /// # Errors
    /// [`SocketError::Stale`] and [`SocketError::Refused`] mean that nothing happened. After any
    /// other error it is not known.
    pub fn transact(&mut self, batch: &Encoded) -> Result<(), SocketError> {
        self.0.send(&batch.bytes)?;
        // The kernel has answered when `send` returns. Errors come in the order of their messages;
        // the last message asks for an answer in any case; an error of the frame is the only one.
        let mut refusals = Vec::new();
        let mut answered = false;
        while let Some(datagram) = self.0.receive(false)? {
            for message in attr::messages(datagram) {
                if message.kind != libc::NLMSG_ERROR as u16
                    || !(batch.begin..=batch.last).contains(&message.seq)
                {
                    continue;
                }
                answered |= message.seq == batch.last;
                if let Some(refusal) = refusal(&message) {
                    refusals.push(refusal);
                }
            }
        }
        match refusals.first() {
            None if answered => Ok(()),
            None => Err(SocketError::NoAcknowledgement),
            Some(r) if r.seq == batch.begin && r.errno == Errno::ERESTART => {
                Err(SocketError::Stale)
            }
            Some(r) if r.seq == batch.begin => Err(classify("batch", r.errno.into())),
            Some(_) => Err(SocketError::Refused(refusals)),
        }
    }

    /// Asks what the kernel would say to a program, without carrying it out. Returns the first
    /// message that it would refuse, if any.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn rehearse(&mut self, program: &Program) -> Result<Option<Refusal>, SocketError> {
        for _ in 0..DUMP_ATTEMPTS {
            let generation = self.generation()?;
            let seq = self.reserve(program.messages());
            match self.transact(&encode(program, generation, seq).without_end()) {
                Ok(()) => return Ok(None),
                Err(SocketError::Refused(refusals)) => return Ok(refusals.into_iter().next()),
                Err(SocketError::Stale) => {}
                Err(other) => return Err(other),
            }
        }
        Err(SocketError::Restless)
    }

    /// Reads our table, and the generation that was read.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn snapshot(&mut self) -> Result<(u32, Snapshot), SocketError> {
        for _ in 0..DUMP_ATTEMPTS {
            let generation = self.generation()?;
            let mut snapshot = Snapshot::default();
            let complete = self.read_into(&mut snapshot)?;
            if complete && self.generation()? == generation {
                return Ok((generation, snapshot));
            }
        }
        Err(SocketError::Restless)
    }

    /// Reads our chains with their rules, and nothing else. What changes meanwhile is read before or
    /// after its change.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn rules(&mut self) -> Result<Snapshot, SocketError> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut snapshot = Snapshot::default();
            if self.dump(msg::GETRULE, &mut snapshot, |w| w.string(a::RULE_TABLE, TABLE))? {
                return Ok(snapshot);
            }
        }
        Err(SocketError::Restless)
    }

    fn read_into(&mut self, snapshot: &mut Snapshot) -> Result<bool, SocketError> {
        // Attribute 1 is the table's name in every request.
        let by_table = |w: &mut Writer| w.string(a::TABLE_NAME, TABLE);
        for kind in [msg::GETTABLE, msg::GETCHAIN, msg::GETRULE, msg::GETSET] {
            if !self.dump(kind, snapshot, by_table)? {
                return Ok(false);
            }
            if snapshot.table.is_none() {
                return Ok(true);
            }
        }
        let sets: Vec<Name> = snapshot.sets.keys().cloned().collect();
        for set in sets {
            let complete = self.dump(msg::GETSETELEM, snapshot, |w| {
                w.string(a::ELEMENTS_TABLE, TABLE);
                w.string(a::ELEMENTS_SET, &set);
            })?;
            if !complete {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Dumps into the snapshot; false if a change interrupted it.
    fn dump(
        &mut self,
        kind: u16,
        snapshot: &mut Snapshot,
        body: impl FnOnce(&mut Writer),
    ) -> Result<bool, SocketError> {
        let seq = self.request(kind, libc::NLM_F_DUMP as u16, body)?;
        let mut consistent = true;
        loop {
            let datagram = match self.receive() {
                Ok(datagram) => datagram,
                Err(SocketError::Io { source, .. })
                    if source.raw_os_error() == Some(libc::ENOBUFS) =>
                {
                    // What was dropped is not known. The rest is still to come, and is skipped by
                    // its sequence number.
                    return Ok(false);
                }
                Err(other) => return Err(other),
            };
            let mut done = false;
            for message in attr::messages(datagram) {
                if message.seq != seq {
                    continue;
                }
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                if message.kind == libc::NLMSG_DONE as u16
                    || message.kind == libc::NLMSG_ERROR as u16
                {
                    done = true;
                    match check(message.payload, "dump") {
                        // The table or set went while it was read.
                        Err(SocketError::Io { source, .. })
                            if matches!(
                                source.raw_os_error(),
                                Some(libc::ENOENT | libc::EINTR)
                            ) =>
                        {
                            consistent = false;
                        }
                        other => other?,
                    }
                }
            }
            if own_dump(datagram, seq) {
                decode(snapshot, datagram);
            }
            if done {
                return Ok(consistent);
            }
        }
    }

    fn request(
        &mut self,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Writer),
    ) -> Result<u32, SocketError> {
        let seq = self.reserve(1);
        let mut writer = Writer::default();
        attr::message(&mut writer, kind, libc::NLM_F_REQUEST as u16 | flags, seq, body);
        self.0.send(&writer.buffer)?;
        Ok(seq)
    }

    fn receive(&mut self) -> Result<&[u8], SocketError> {
        Ok(self.0.receive(true)?.unwrap_or_default())
    }
}

fn own_dump(datagram: &[u8], seq: u32) -> bool {
    attr::messages(datagram).next().is_some_and(|message| message.seq == seq)
}

/// nfnetlink without nf_tables knows no such message.
fn no_subsystem(error: SocketError) -> SocketError {
    match error {
        SocketError::Io { source, .. } if source.raw_os_error() == Some(libc::EINVAL) => {
            SocketError::Unsupported(source)
        }
        other => other,
    }
}

/// The error of an `NLMSG_ERROR` or `NLMSG_DONE`, if it is one.
fn check(payload: &[u8], operation: &'static str) -> Result<(), SocketError> {
    match error_number(payload) {
        None | Some(0) => Ok(()),
        Some(number) => Err(classify(operation, io::Error::from_raw_os_error(number))),
    }
}

fn refusal(message: &attr::Message<'_>) -> Option<Refusal> {
    let number = error_number(message.payload).filter(|number| *number != 0)?;
    let attributes = if message.flags & NLM_F_ACK_TLVS == 0 {
        &[]
    } else {
        message.payload.get(4 + attr::NLMSG_HEADER..).unwrap_or_default()
    };
    let text = find(attributes, NLMSGERR_ATTR_MSG).and_then(attr::text);
    Some(Refusal {
        seq: message.seq,
        errno: Errno::from_raw(number),
        message: text.unwrap_or_default().to_owned(),
    })
}

const _: () = assert!(NFNL_SUBSYS_NFTABLES == libc::NFNL_SUBSYS_NFTABLES as u16);

//! The ctnetlink sockets: dumps, and changes of our bit.

use nix::errno::Errno;

use brindle_model::net::Family;

use super::decode::entry;
use super::{Entry, Key, MSG_GET, MSG_NEW, SUBSYSTEM, attr};
use crate::REVOKED_MARK;
use crate::nfnetlink::{Failed, Message, Socket, Writer, error_number, messages};

/// Changes that share a datagram.
const BATCH: usize = 128;

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;
const ERROR: u16 = libc::NLMSG_ERROR as u16;
const DONE: u16 = libc::NLMSG_DONE as u16;

/// Why connection tracking could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The kernel cannot be asked.
    #[error(
        "the kernel offers no marks of connections over netlink: check CONFIG_NF_CT_NETLINK and \
         CONFIG_NF_CONNTRACK_MARK, or load the module nf_conntrack_netlink"
    )]
    Unsupported(#[source] Errno),
    /// A system call failed.
    #[error("cannot speak with connection tracking")]
    Socket(#[from] Failed),
    /// The kernel said no.
    #[error("the kernel refused to {request}")]
    Refused {
        /// What was asked.
        request: &'static str,
        /// Its reason.
        #[source]
        errno: Errno,
    },
}

/// Which entries are dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those that carry our bit; the kernel chooses.
    Revoked,
}

/// A dump in progress: gives the entries of both families, a datagram at a time. The kernel goes on
/// only as it is read, so one that is dropped costs nothing more.
///
/// Entries that begin meanwhile need not be among them. Every older one is, unless it ends or the
/// kernel's table is resized.
pub struct Dump {
    socket: Socket,
    seq: u32,
    done: bool,
}

impl Dump {
    /// Begins one in the thread's network namespace.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn start(which: Which) -> Result<Self, ConntrackError> {
        let mut socket = Socket::open()?;
        let seq = socket.reserve(1);
        let mut request = Writer::default();
        let family = libc::AF_UNSPEC as u8;
        request.message((SUBSYSTEM << 8) | MSG_GET, REQUEST | DUMP, seq, family, 0, |w| {
            if which == Which::Revoked {
                w.u32(attr::MARK, REVOKED_MARK);
                w.u32(attr::MARK_MASK, REVOKED_MARK);
            }
        });
        socket.send(&request.buffer)?;
        Ok(Self { socket, seq, done: false })
    }

    /// The next entries; `None` at the end.
    ///
    /// # Errors
    /// [`ConntrackError::Unsupported`] if the kernel knows no connections or no marks, another if it
    /// broke the dump off.
    pub fn next_entries(&mut self) -> Result<Option<Vec<Entry>>, ConntrackError> {
        if self.done {
            return Ok(None);
        }
        let mut entries = Vec::new();
        for message in messages(self.socket.receive(true)?.unwrap_or_default()) {
            if message.seq != self.seq {
                continue;
            }
            if message.kind == DONE || message.kind == ERROR {
                self.done = true;
                check(&message, "list connections").map_err(|error| match error {
                    // No such subsystem; no marks to choose by.
                    ConntrackError::Refused {
                        errno: errno @ (Errno::EINVAL | Errno::EOPNOTSUPP),
                        ..
                    } => ConntrackError::Unsupported(errno),
                    other => other,
                })?;
            }
            entries.extend(entry(&message));
        }
        Ok(Some(entries))
    }
}

/// Changes of our bit, in the network namespace of the thread that opened it.
pub struct Marker(Socket);

impl Marker {
    /// Opens it.
    ///
    /// # Errors
    /// The kernel has no netfilter netlink.
    pub fn open() -> Result<Self, ConntrackError> {
        Ok(Self(Socket::open()?))
    }

    /// Sets our bit of these entries, or clears it, and leaves every other bit as it is at that
    /// moment. An entry that has ended is passed over. Returns how many were changed.
    ///
    /// # Errors
    /// The first refusal; the others are carried out all the same.
    pub fn mark(&mut self, changes: &[(Key, bool)]) -> Result<usize, ConntrackError> {
        let (mut ended, mut refused) = (0, None);
        for batch in changes.chunks(BATCH) {
            let first = self.0.reserve(batch.len());
            let mut request = Writer::default();
            let mut last = first;
            for ((key, revoked), seq) in batch.iter().zip(first..) {
                last = seq;
                let value = if *revoked { REVOKED_MARK } else { 0 };
                // The last answer must come, so that the others are known to be there.
                let ack = if seq - first + 1 == batch.len() as u32 { ACK } else { 0 };
                message(&mut request, MSG_NEW, ack, seq, key, |w| {
                    w.u32(attr::MARK, value);
                    w.u32(attr::MARK_MASK, REVOKED_MARK);
                });
            }
            self.0.send(&request.buffer)?;
            self.answers(last, |answer| match check(answer, "mark a connection") {
                Ok(()) => {}
                Err(ConntrackError::Refused { errno: Errno::ENOENT, .. }) => ended += 1,
                Err(other) => drop(refused.get_or_insert(other)),
            })?;
        }
        match refused {
            None => Ok(changes.len() - ended),
            Some(error) => Err(error),
        }
    }

    /// The entry of a key, if it has not ended.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn get(&mut self, key: &Key) -> Result<Option<Entry>, ConntrackError> {
        let seq = self.0.reserve(1);
        let mut request = Writer::default();
        message(&mut request, MSG_GET, 0, seq, key, |_| {});
        self.0.send(&request.buffer)?;
        let mut found = Ok(None);
        self.answers(seq, |answer| {
            found = match check(answer, "look a connection up") {
                Err(ConntrackError::Refused { errno: Errno::ENOENT, .. }) => Ok(None),
                Err(other) => Err(other),
                Ok(()) => Ok(entry(answer)),
            };
        })?;
        found
    }

    /// Reads answers up to that of the request `last`.
    fn answers(
        &mut self,
        last: u32,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), ConntrackError> {
        let mut complete = false;
        while !complete {
            for answer in messages(self.0.receive(true)?.unwrap_or_default()) {
                // What an exchange that failed left unread has older numbers.
                if answer.seq <= last {
                    each(&answer);
                    complete |= answer.seq == last;
                }
            }
        }
        Ok(())
    }
}

fn message(
    w: &mut Writer,
    kind: u16,
    flags: u16,
    seq: u32,
    key: &Key,
    body: impl FnOnce(&mut Writer),
) {
    let family = match key.family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    w.message((SUBSYSTEM << 8) | kind, REQUEST | flags, seq, family as u8, 0, |w| {
        w.nest(attr::TUPLE_ORIG, |w| w.buffer.extend_from_slice(&key.tuple));
        if let Some(zone) = &key.zone {
            w.attr(attr::ZONE, zone);
        }
        body(w);
    });
}

/// The refusal that a message holds, if it holds one.
fn check(answer: &Message<'_>, request: &'static str) -> Result<(), ConntrackError> {
    let number = match answer.kind {
        ERROR | DONE => error_number(answer.payload).unwrap_or(0),
        _ => 0,
    };
    if number == 0 {
        return Ok(());
    }
    Err(ConntrackError::Refused { request, errno: Errno::from_raw(number) })
}

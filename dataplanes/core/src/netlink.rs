//! Links, addresses, routes and neighbours: one narrow, typed, synchronous wrapper over rtnetlink.
//!
//! The message crate breaks its API several times a year, so none of its types leaves this module.
//! Requests are answered by the kernel before `send` returns; there is nothing to await, and
//! callers are plain threads. Many changes go out in one datagram ([`Connection::batch`]): the
//! kernel carries out each, answers only those that failed, and the last.

mod address;
mod link;
mod monitor;
mod neighbour;
mod route;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;

use brindle_model::net::Family;

pub use link::{Link, MacAddr, ParseMacError, VethPair};
pub use monitor::LinkMonitor;
pub use route::{LookedUp, NextHop, Route, RouteTarget};

/// Why an exchange with the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("could not open a route netlink socket")]
    Open(#[source] io::Error),
    /// The request did not go out.
    #[error("could not send the request to {0}")]
    Send(String, #[source] io::Error),
    /// The answer did not come in.
    #[error("could not receive the kernel's answer to {0}")]
    Receive(String, #[source] io::Error),
    /// The answer could not be read.
    #[error("the kernel's answer to {0} is not understood: {1}")]
    Malformed(String, String),
    /// The kernel said no.
    #[error("the kernel refused to {request}")]
    Refused {
        /// What was asked.
        request: String,
        /// Its reason.
        #[source]
        errno: Errno,
    },
}

impl NetlinkError {
    /// The kernel's reason, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// Room for an answer, bytes: the kernel never makes a dump datagram larger than this
/// (`NLMSG_GOODSIZE` growing to 32 KiB since 3.9).
const RECEIVE_BUFFER: usize = 32 * 1024;
/// How many requests share a datagram. Each may be answered by an error of about 800 bytes of
/// socket memory, and the default receive buffer holds 208 KiB.
const BATCH: usize = 128;
/// How often a dump is repeated that a concurrent change interrupted.
const DUMP_ATTEMPTS: usize = 8;

/// A route netlink socket of the network namespace in which it was opened.
pub struct Connection {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("fd", &self.socket.as_raw_fd()).finish_non_exhaustive()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

struct Request {
    message: RouteNetlinkMessage,
    flags: u16,
}

/// A change to make, for [`Connection::apply`].
pub struct Change {
    request: Request,
    /// Completes "the kernel refused to …".
    what: String,
}

impl Request {
    fn new(message: RouteNetlinkMessage, flags: u16) -> Self {
        Self { message, flags }
    }
}

impl Connection {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel gave none.
    pub fn open() -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Errors without a copy of the request; dumps filtered by the kernel (since 4.20).
            socket.set_cap_ack(true)?;
            socket.set_netlink_get_strict_chk(true)?;
            Ok(socket)
        };
        let socket = open().map_err(NetlinkError::Open)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BUFFER) })
    }

    /// Makes many changes, in order, with one exchange for every [`BATCH`] of them. After one that
    /// the kernel refuses the later ones are made all the same.
    ///
    /// # Errors
    /// The first refusal.
    pub fn apply(&mut self, changes: Vec<Change>) -> Result<(), NetlinkError> {
        let (requests, whats): (Vec<_>, Vec<_>) =
            changes.into_iter().map(|change| (change.request, change.what)).unzip();
        let failed = self.batch(requests.into_iter(), &"make changes")?;
        match failed.first() {
            None => Ok(()),
            Some((at, errno)) => {
                Err(NetlinkError::Refused { request: whats[*at].clone(), errno: *errno })
            }
        }
    }

    /// Sends one change and waits for its acknowledgement. `what` completes "the kernel refused
    /// to …".
    fn change(&mut self, request: Request, what: impl fmt::Display) -> Result<(), NetlinkError> {
        let failed = self.batch([request].into_iter(), &what)?;
        match failed.first() {
            None => Ok(()),
            Some((_, errno)) => {
                Err(NetlinkError::Refused { request: what.to_string(), errno: *errno })
            }
        }
    }

    /// Sends many changes; returns position and reason of those that the kernel refused.
    fn batch(
        &mut self,
        requests: impl Iterator<Item = Request>,
        what: &dyn fmt::Display,
    ) -> Result<Vec<(usize, Errno)>, NetlinkError> {
        let mut failed = Vec::new();
        let mut requests = requests.peekable();
        let mut done = 0;
        let mut datagram = Vec::new();
        while requests.peek().is_some() {
            datagram.clear();
            let first = self.sequence.wrapping_add(1);
            let mut count = 0;
            while let Some(request) = requests.next_if(|_| count < BATCH) {
                count += 1;
                let last = count == BATCH || requests.peek().is_none();
                let ack = if last { NLM_F_ACK } else { 0 };
                self.append(&mut datagram, request.message, request.flags | ack);
            }
            self.send(&datagram, what)?;
            let last = self.sequence;
            self.answers(what, |header, payload| {
                let offset = header.wrapping_sub(first) as usize;
                match payload {
                    NetlinkPayload::Error(error) if offset < count => {
                        if let Some(code) = error.code {
                            failed.push((done + offset, Errno::from_raw(-code.get())));
                        }
                        header == last
                    }
                    _ => false,
                }
            })?;
            done += count;
        }
        Ok(failed)
    }

    /// Asks for one object; `None` if the kernel says that there is none.
    fn get(
        &mut self,
        message: RouteNetlinkMessage,
        what: impl fmt::Display,
    ) -> Result<Option<RouteNetlinkMessage>, NetlinkError> {
        let mut datagram = Vec::new();
        self.append(&mut datagram, message, 0);
        self.send(&datagram, &what)?;
        let mut answer = None;
        let wanted = self.sequence;
        self.answers(&what, |sequence, payload| {
            if sequence != wanted {
                return false;
            }
            match payload {
                NetlinkPayload::InnerMessage(message) => answer = Some(Ok(message)),
                NetlinkPayload::Error(error) => {
                    let code = error.code.map_or(0, |code| -code.get());
                    answer = Some(Err(Errno::from_raw(code)));
                }
                _ => return false,
            }
            true
        })?;
        match answer {
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::ENETUNREACH)) | None => {
                Ok(None)
            }
            Some(Err(errno)) => Err(NetlinkError::Refused { request: what.to_string(), errno }),
        }
    }

    /// Lists objects; none if the kernel has not made the table yet (`ENOENT`). A list that a concurrent change interrupted is read again, so that what is
    /// returned was true at one moment.
    fn dump<T>(
        &mut self,
        message: &RouteNetlinkMessage,
        what: &str,
        keep: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(list) = self.dump_once(message, what, &keep)? {
                return Ok(list);
            }
        }
        Err(NetlinkError::Refused { request: what.to_owned(), errno: Errno::EINTR })
    }

    fn dump_once<T>(
        &mut self,
        message: &RouteNetlinkMessage,
        what: &str,
        keep: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<Vec<T>>, NetlinkError> {
        let mut datagram = Vec::new();
        self.append(&mut datagram, message.clone(), NLM_F_DUMP);
        self.send(&datagram, &what)?;
        let wanted = self.sequence;
        let mut list = Vec::new();
        let mut refused = None;
        let interrupted = self.answers(&what, |sequence, payload| {
            if sequence != wanted {
                return false;
            }
            match payload {
                NetlinkPayload::InnerMessage(message) => list.extend(keep(message)),
                NetlinkPayload::Error(error) => {
                    refused = error.code.map(|code| Errno::from_raw(-code.get()));
                    return true;
                }
                NetlinkPayload::Done(done) => {
                    refused = (done.code < 0).then(|| Errno::from_raw(-done.code));
                    return true;
                }
                _ => {}
            }
            false
        })?;
        match refused {
            Some(Errno::ENOENT) => Ok(Some(Vec::new())),
            Some(errno) => Err(NetlinkError::Refused { request: what.to_owned(), errno }),
            None => Ok((!interrupted).then_some(list)),
        }
    }

    fn append(&mut self, datagram: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.sequence_number = self.sequence;
        message.header.flags = NLM_F_REQUEST | flags;
        message.finalize();
        let start = datagram.len();
        datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut datagram[start..]);
    }

    fn send(&self, datagram: &[u8], what: &dyn fmt::Display) -> Result<(), NetlinkError> {
        self.socket
            .send(datagram, 0)
            .map(drop)
            .map_err(|error| NetlinkError::Send(what.to_string(), error))
    }

    /// Reads answers until `each` says that the last one was among them. Returns whether the
    /// kernel marked one as interrupted.
    fn answers(
        &mut self,
        what: &dyn fmt::Display,
        mut each: impl FnMut(u32, NetlinkPayload<RouteNetlinkMessage>) -> bool,
    ) -> Result<bool, NetlinkError> {
        let mut interrupted = false;
        loop {
            self.buffer.clear();
            self.socket
                .recv(&mut self.buffer, 0)
                .map_err(|error| NetlinkError::Receive(what.to_string(), error))?;
            let mut last = false;
            for message in Messages(&self.buffer) {
                let message =
                    message.map_err(|text| NetlinkError::Malformed(what.to_string(), text))?;
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                last |= each(message.header.sequence_number, message.payload);
            }
            if last {
                return Ok(interrupted);
            }
        }
    }
}

/// The messages of one datagram. Ends after the first that cannot be read.
struct Messages<'a>(&'a [u8]);

impl Iterator for Messages<'_> {
    type Item = Result<NetlinkMessage<RouteNetlinkMessage>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(self.0) {
            Ok(message) => {
                // `deserialize` has checked that the length covers a header and fits.
                let length = (message.header.length as usize).next_multiple_of(4);
                self.0 = self.0.get(length..).unwrap_or_default();
                Some(Ok(message))
            }
            Err(error) => {
                self.0 = &[];
                Some(Err(error.to_string()))
            }
        }
    }
}

/// Decodes a datagram as [`Connection`] does, for fuzzing: how many messages are readable.
#[cfg(any(test, feature = "testing"))]
pub fn count_messages(datagram: &[u8]) -> usize {
    Messages(datagram)
        .filter_map(Result::ok)
        .inspect(|message| {
            if let NetlinkPayload::InnerMessage(message) = &message.payload {
                // What the typed layer makes of it must not panic either.
                let _ = (route::read(message.clone()), link::read(message.clone()));
            }
        })
        .count()
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// Length of a host prefix.
fn host_prefix_len(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datagram() -> Vec<u8> {
        let mut kernel = Connection::open().expect("a netlink socket");
        let mut link = netlink_packet_route::link::LinkMessage::default();
        link.attributes.push(netlink_packet_route::link::LinkAttribute::IfName("lo".to_owned()));
        let mut bytes = Vec::new();
        kernel.append(&mut bytes, RouteNetlinkMessage::NewLink(link), 0);
        let route = netlink_packet_route::route::RouteMessage::default();
        kernel.append(&mut bytes, RouteNetlinkMessage::NewRoute(route), 0);
        bytes
    }

    #[test]
    fn a_datagram_is_read_whole() {
        assert_eq!(count_messages(&datagram()), 2);
    }

    proptest! {
        #[test]
        fn no_input_panics_or_hangs(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            count_messages(&bytes);
        }

        #[test]
        fn no_damaged_answer_panics_or_hangs(
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = datagram();
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            count_messages(&bytes);
        }
    }
}

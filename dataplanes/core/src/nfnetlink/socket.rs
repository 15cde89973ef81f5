//! A netfilter netlink socket. The kernel has answered a request when `send` returns, so nothing
//! waits for long.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

/// Room for the acknowledgements of a batch in which everything fails.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The kernel fills dumps in pieces of at most 32 KiB.
const DATAGRAM: usize = 64 << 10;
/// A reply is there when the request returns; this bounds a kernel that does not reply at all.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// A socket of one network namespace: that of the thread that opened it.
pub struct Socket {
    socket: netlink_sys::Socket,
    port: u32,
    seq: u32,
    send_buffer: usize,
    buffer: Vec<u8>,
}

/// A system call failed.
#[derive(Debug, thiserror::Error)]
#[error("netlink {operation} failed")]
pub struct Failed {
    /// What was tried.
    pub operation: &'static str,
    /// Why not.
    #[source]
    pub source: io::Error,
}

fn failed<E: Into<io::Error>>(operation: &'static str) -> impl Fn(E) -> Failed {
    move |error| Failed { operation, source: error.into() }
}

impl Socket {
    /// Opens a socket in the thread's network namespace.
    ///
    /// # Errors
    /// The kernel has no netfilter netlink, or the process may not use it.
    pub fn open() -> Result<Self, Failed> {
        let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(failed("socket"))?;
        let port = socket.bind_auto().map_err(failed("bind"))?.port_number();
        // Since Linux 4.2 and 4.12; without them errors are longer and say less.
        socket.set_cap_ack(true).map_err(failed("NETLINK_CAP_ACK"))?;
        socket.set_ext_ack(true).map_err(failed("NETLINK_EXT_ACK"))?;
        let timeout = TimeVal::seconds(REPLY_TIMEOUT.as_secs().cast_signed());
        setsockopt(&socket.as_fd(), sockopt::ReceiveTimeout, &timeout)
            .map_err(failed("SO_RCVTIMEO"))?;
        let forced = setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &RECEIVE_BUFFER);
        forced
            .or_else(|_| setsockopt(&socket.as_fd(), sockopt::RcvBuf, &RECEIVE_BUFFER))
            .map_err(failed("SO_RCVBUF"))?;
        Ok(Self { socket, port, seq: 1, send_buffer: 0, buffer: vec![0; DATAGRAM] })
    }

    /// The number by which the kernel calls this socket ([`Message::port`](super::Message::port)).
    pub fn port(&self) -> u32 {
        self.port
    }

    /// The first of so many sequence numbers, which are the caller's from then on.
    pub fn reserve(&mut self, messages: usize) -> u32 {
        let messages = u32::try_from(messages).expect("a batch has less than 4G messages");
        if self.seq.checked_add(messages).is_none() {
            self.seq = 1;
        }
        let seq = self.seq;
        self.seq += messages;
        seq
    }

    /// Sends one datagram, of any size.
    ///
    /// # Errors
    /// The system call failed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.grow_send_buffer(bytes.len())?;
        loop {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                other => return other.map(drop).map_err(failed("send")),
            }
        }
    }

    fn grow_send_buffer(&mut self, len: usize) -> Result<(), Failed> {
        if len <= self.send_buffer {
            return Ok(());
        }
        // The whole datagram must fit. The kernel doubles the number and keeps some.
        let wanted = len.max(128 << 10);
        setsockopt(&self.socket.as_fd(), sockopt::SndBufForce, &wanted)
            .or_else(|_| setsockopt(&self.socket.as_fd(), sockopt::SndBuf, &wanted))
            .map_err(failed("SO_SNDBUF"))?;
        self.send_buffer = wanted;
        Ok(())
    }

    /// Receives one datagram; `None` if there is none and `wait` is false.
    ///
    /// # Errors
    /// The system call failed, or no answer came in ten seconds.
    pub fn receive(&mut self, wait: bool) -> Result<Option<&[u8]>, Failed> {
        let flags = if wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, flags) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if !wait => return Ok(None),
                Err(errno) => return Err(failed("receive")(errno)),
                Ok(len) => return Ok(Some(&self.buffer[..len])),
            }
        }
    }
}

/// The positive error number of an `NLMSG_ERROR` or `NLMSG_DONE`; 0 is an acknowledgement.
pub fn error_number(payload: &[u8]) -> Option<i32> {
    let number = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    number.checked_neg()
}

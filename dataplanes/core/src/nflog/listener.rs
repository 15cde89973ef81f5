//! Hears what the kernel tells.

use std::io;

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;

use super::decode::SUBSYSTEM;
use super::{GROUP, Report, decode};
use crate::nfnetlink::{Writer, messages};
use crate::watcher::Watcher;

const MSG_CONFIG: u16 = 1;
const CFG_CMD: u16 = 1;
const CFG_MODE: u16 = 2;
const CFG_TIMEOUT: u16 = 4;
const CFG_QTHRESH: u16 = 5;
const CFG_FLAGS: u16 = 6;
const CMD_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const FLAG_SEQ: u16 = 1;

/// Bytes of a packet that are told: an IPv6 header, some extension headers, ports.
const COPY_RANGE: u32 = 128;
/// Longest time that the kernel collects packets for one datagram, in hundredths of a second.
const COLLECT: u32 = 10;
/// Packets after which it sends the datagram.
const COLLECT_PACKETS: u32 = 32;
/// Room for a datagram: the kernel's default for what it collects is a page.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// Nothing can be heard.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// No socket or no thread.
    #[error("cannot open a netfilter netlink socket")]
    Open(#[source] io::Error),
    /// The kernel refuses to tell us.
    #[error("cannot listen to nfnetlink_log group {GROUP}: {}", refusal(.0))]
    Refused(#[source] Errno),
}

fn refusal(errno: &Errno) -> &'static str {
    match errno {
        // The kernel says so of a group that is taken, too.
        Errno::EPERM => "another program does, or CAP_NET_ADMIN is missing",
        _ => "check CONFIG_NETFILTER_NETLINK_LOG, or load the module nfnetlink_log",
    }
}

/// What is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A packet.
    Packet(Report),
    /// Our buffer was full: packets are lost. How many, the next packet shows.
    Overrun,
    /// So many packets that the kernel told of could not be delivered.
    Lost(u64),
}

/// Listens in a network namespace. Ends on drop.
#[derive(Debug)]
pub struct Listener {
    _thread: Watcher,
}

impl Listener {
    /// Calls `told` for each packet that rules of the calling thread's network namespace tell of,
    /// in their order.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn spawn(mut told: impl FnMut(News) + Send + 'static) -> Result<Self, ListenError> {
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(ListenError::Open)?;
        socket.bind_auto().map_err(ListenError::Open)?;
        bind_group(&socket)?;
        let mut count = Count::default();
        let thread =
            Watcher::spawn("nflog", socket, move |socket| read(socket, &mut count, &mut told));
        Ok(Self { _thread: thread.map_err(ListenError::Open)? })
    }
}

/// The kernel answers before `send` returns.
fn bind_group(socket: &Socket) -> Result<(), ListenError> {
    let mut writer = Writer::default();
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    writer.message(SUBSYSTEM | MSG_CONFIG, flags, 1, libc::AF_UNSPEC as u8, GROUP, |w| {
        w.attr(CFG_CMD, &[CMD_BIND]);
        let mut mode = COPY_RANGE.to_be_bytes().to_vec();
        mode.extend([COPY_PACKET, 0]);
        w.attr(CFG_MODE, &mode);
        w.u32(CFG_TIMEOUT, COLLECT);
        w.u32(CFG_QTHRESH, COLLECT_PACKETS);
        w.attr(CFG_FLAGS, &FLAG_SEQ.to_be_bytes());
    });
    socket.send(&writer.buffer, 0).map_err(ListenError::Open)?;
    loop {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        socket.recv(&mut buffer, 0).map_err(ListenError::Open)?;
        let answer = messages(&buffer).find(|message| message.kind == libc::NLMSG_ERROR as u16);
        let number = answer
            .and_then(|answer| Some(i32::from_ne_bytes(answer.payload.get(..4)?.try_into().ok()?)));
        match number {
            Some(0) => return Ok(()),
            Some(number) => {
                return Err(ListenError::Refused(Errno::from_raw(number.wrapping_neg())));
            }
            // A packet came first.
            None => {}
        }
    }
}

fn read(socket: &Socket, count: &mut Count, told: &mut impl FnMut(News)) {
    loop {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        match socket.recv(&mut buffer, 0) {
            Ok(_) => {
                for message in decode(&buffer) {
                    let lost = message.sequence.map_or(0, |sequence| count.gap(sequence));
                    if lost > 0 {
                        told(News::Lost(lost));
                    }
                    if let Some(report) = message.report {
                        told(News::Packet(report));
                    }
                }
            }
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                told(News::Overrun);
            }
            Err(_) => return,
        }
    }
}

/// Follows the kernel's count of what it tells, which starts at 0 with each listener.
#[derive(Default)]
struct Count {
    next: u32,
}

impl Count {
    /// How many are missing before this one.
    fn gap(&mut self, sequence: u32) -> u64 {
        let gap = sequence.wrapping_sub(self.next);
        self.next = sequence.wrapping_add(1);
        gap.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted() {
        let mut count = Count::default();
        assert_eq!([0, 1, 4, 5].map(|sequence| count.gap(sequence)), [0, 0, 2, 0]);
        let mut count = Count { next: u32::MAX };
        assert_eq!([u32::MAX, 0, 2].map(|sequence| count.gap(sequence)), [0, 0, 1]);
        let mut count = Count::default();
        assert_eq!(count.gap(3), 3, "the first ones too");
    }
}

//! News of nf_tables: who has changed which table.

use std::io;
use std::os::fd::AsFd;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use super::frame::{NFGENMSG, find, messages, text};
use crate::watcher::Watcher;

/// `NFNLGRP_NFTABLES`: every message of every transaction that went through.
const GROUP: u32 = 7;
/// The name of the table, the first attribute of whatever a table holds (`NFTA_TABLE_NAME`,
/// `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE` and the others of `linux/netfilter/nf_tables.h`).
const TABLE: u16 = 1;
/// Room for news that wait, bytes: some ten thousand rules or elements of one transaction, which
/// all come at its end. What does not fit is noticed.
const WAITING: usize = 16 << 20;
/// Room for one datagram.
const DATAGRAM: usize = 64 << 10;

/// A message of a transaction that went through.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The socket that sent the transaction.
    pub port: u32,
    /// What was done: `NFT_MSG_*`, without the subsystem.
    pub kind: u8,
    /// The table's family: `NFPROTO_*`.
    pub family: u8,
    /// The table's name.
    pub table: &'a str,
    /// All attributes.
    pub attributes: &'a [u8],
}

/// What is heard.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// A change.
    Change(Change<'a>),
    /// There was no room for some.
    Lost,
}

/// Whether somebody has to look because of it.
pub type Concern = Box<dyn FnMut(News<'_>) -> bool + Send>;

/// Hears of changes in a network namespace. Ends on drop.
#[derive(Debug)]
pub struct TablesMonitor {
    _thread: Watcher,
}

impl TablesMonitor {
    /// Calls `changed` when news of the calling thread's network namespace are of concern, each time
    /// with everything read that was there. It runs after the transaction has taken effect.
    ///
    /// # Errors
    /// No socket or no thread, or the kernel has no nf_tables.
    pub fn spawn(
        mut concerns: Concern,
        mut changed: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let forced = setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &WAITING);
        forced.or_else(|_| setsockopt(&socket.as_fd(), sockopt::RcvBuf, &WAITING))?;
        socket.bind(&SocketAddr::new(0, 1 << (GROUP - 1)))?;
        let mut buffer = Vec::with_capacity(DATAGRAM);
        let thread = Watcher::spawn("nf-tables-news", socket, move |socket| {
            if read(socket, &mut buffer, &mut concerns) {
                changed();
            }
        });
        Ok(Self { _thread: thread? })
    }
}

/// Reads what is there; whether any of it is of concern.
fn read(socket: &Socket, buffer: &mut Vec<u8>, concerns: &mut Concern) -> bool {
    let mut ours = false;
    loop {
        buffer.clear();
        match socket.recv(buffer, 0) {
            Ok(_) => changes(buffer).for_each(|change| ours |= concerns(News::Change(change))),
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                ours |= concerns(News::Lost);
            }
            Err(_) => return ours,
        }
    }
}

/// The changes that a datagram tells of. The end of a transaction (`NFT_MSG_NEWGEN`) names no table.
fn changes(datagram: &[u8]) -> impl Iterator<Item = Change<'_>> {
    messages(datagram).filter_map(|message| {
        let (subsystem, kind) = ((message.kind >> 8) as u8, message.kind as u8);
        let family = *message.payload.first()?;
        let attributes = message.payload.get(NFGENMSG..)?;
        if subsystem != libc::NFNL_SUBSYS_NFTABLES as u8 || family == libc::NFPROTO_UNSPEC as u8 {
            return None;
        }
        let table = find(attributes, TABLE).and_then(text)?;
        Some(Change { port: message.port, kind, family, table, attributes })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfnetlink::Writer;

    #[test]
    fn changes_name_their_table() {
        let mut writer = Writer::default();
        let subsystem = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
        let (del_table, new_generation) = (2, 15);
        writer.message(subsystem | del_table, 0, 1, 1, 0, |w| w.string(TABLE, "brindle"));
        writer.message(subsystem | new_generation, 0, 1, 0, 0, |w| {
            w.u32(1, u32::from_be_bytes(*b"abc\0"))
        });
        writer.message(1 << 8, 0, 1, 2, 0, |w| w.string(TABLE, "brindle"));
        let told: Vec<_> = changes(&writer.buffer).map(|c| (c.kind, c.family, c.table)).collect();
        assert_eq!(told, [(2, 1, "brindle")]);
    }
}

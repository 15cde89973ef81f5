//! nfnetlink: what the netlink protocols of netfilter share. Connection tracking
//! ([`crate::conntrack`]), logged packets ([`crate::nflog`]) and the nftables backend speak through
//! it.

mod frame;
mod monitor;
mod socket;

pub use frame::{Message, NFGENMSG, NLMSG_HEADER, Writer, attrs, be32, find, messages, text};
pub use monitor::{Change, Concern, News, TablesMonitor};
pub use socket::{Failed, Socket, error_number};

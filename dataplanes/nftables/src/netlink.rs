//! The nf_tables netlink protocol: our own encoder of transactions and decoder of dumps.
//!
//! Message and attribute numbers are those of `linux/netfilter/nf_tables.h`. Numbers in attributes
//! are big-endian; netlink's own headers are in host order.

mod attr;
mod decode;
mod encode;
mod numbers;
mod raw;
mod socket;

#[cfg(test)]
pub(crate) use socket::classify;

pub use decode::{ChainDump, Counted, RawElement, RuleDump, SetDump, Snapshot, decode};
pub use encode::{Encoded, encode, hook_number};
pub use numbers::ct_state;
pub use raw::{RawKey, key_of, raw_keys, set_numbers};
pub use socket::{Refusal, Socket, SocketError};

//! One block: which of its addresses are taken, and which comes next.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::store::{Record, Revision, StoreError};

/// Most host bits of a block: beyond 65,536 addresses a block is a mistake.
pub(crate) const MAX_HOST_BITS: u8 = 16;

/// The shared record of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockRecord {
    /// The prefix.
    pub(crate) cidr: IpNet,
    /// The node that gives out its addresses.
    pub(crate) node: String,
}

impl BlockRecord {
    /// The record's key in the store: `10-0-0-0-26`, `fd00-10--40-122`.
    pub(crate) fn key(cidr: IpNet) -> String {
        cidr.to_string().replace(['.', ':', '/'], "-")
    }

    /// Reads a record of the store.
    pub(crate) fn parse(record: &Record) -> Result<Self, StoreError> {
        let damaged = |e: Box<dyn std::error::Error + Send + Sync>| {
            StoreError::new(format!("block record {} is damaged", record.key), e)
        };
        let block = Self::deserialize(&record.value).map_err(|e| damaged(e.into()))?;
        if block.cidr.max_prefix_len() - block.cidr.prefix_len() > MAX_HOST_BITS {
            return Err(damaged(format!("{} is too large", block.cidr).into()));
        }
        Ok(block)
    }
}

/// A block of this node.
///
/// Addresses from `fresh` on were never used. Those before it are taken, or wait in `freed` to be
/// used again, the one released longest ago first.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) cidr: IpNet,
    pub(crate) revision: Revision,
    /// Empty since the idle blocks were last looked for.
    pub(crate) idle: bool,
    taken: BTreeSet<u128>,
    fresh: u128,
    freed: VecDeque<(u64, u128)>,
}

impl Block {
    pub(crate) fn new(cidr: IpNet, revision: Revision) -> Self {
        let (taken, freed) = (BTreeSet::new(), VecDeque::new());
        Self { cidr, revision, idle: false, taken, fresh: 0, freed }
    }

    /// How many addresses it has.
    pub(crate) fn size(&self) -> u128 {
        1 << (self.cidr.max_prefix_len() - self.cidr.prefix_len())
    }

    /// How many addresses are taken.
    pub(crate) fn taken(&self) -> u128 {
        self.taken.len() as u128
    }

    /// When the address that [`Self::take`] would give was released; 0 is never. `None`: full.
    pub(crate) fn next_age(&self) -> Option<u64> {
        if self.fresh < self.size() {
            return Some(0);
        }
        self.freed.front().map(|(released, _)| *released)
    }

    /// Takes the next address.
    pub(crate) fn take(&mut self) -> Option<IpAddr> {
        let offset = if self.fresh < self.size() {
            self.fresh += 1;
            self.fresh - 1
        } else {
            self.freed.pop_front()?.1
        };
        self.idle = false;
        self.taken.insert(offset);
        Some(self.at(offset))
    }

    /// Takes this very address; false if it is taken or not of this block.
    pub(crate) fn take_exactly(&mut self, addr: IpAddr) -> bool {
        if !self.cidr.contains(&addr) {
            return false;
        }
        let offset = bits(addr) - bits(self.cidr.network());
        // What lies between was never used: it comes first among what is free again.
        while self.fresh <= offset {
            self.freed.push_front((0, self.fresh));
            self.fresh += 1;
        }
        self.freed.retain(|(_, freed)| *freed != offset);
        self.idle = false;
        self.taken.insert(offset)
    }

    /// Gives an address back; `release` is the number of the release.
    pub(crate) fn put_back(&mut self, addr: IpAddr, release: u64) {
        let offset = bits(addr) - bits(self.cidr.network());
        if self.taken.remove(&offset) {
            let at = self.freed.partition_point(|(earlier, _)| *earlier <= release);
            self.freed.insert(at, (release, offset));
        }
    }

    fn at(&self, offset: u128) -> IpAddr {
        address_like(self.cidr.network(), bits(self.cidr.network()) + offset)
    }
}

/// An address as a number.
pub(crate) fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address with this number, of the same family as `like`.
pub(crate) fn address_like(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        // The caller's number lies within a prefix of this family.
        IpAddr::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(cidr: &str) -> Block {
        Block::new(cidr.parse().unwrap(), Revision("1".into()))
    }

    fn take(block: &mut Block) -> String {
        block.take().unwrap().to_string()
    }

    #[test]
    fn every_address_is_given_out_the_first_and_the_last_too() {
        for (cidr, first, last) in
            [("10.0.0.64/30", "10.0.0.64", "10.0.0.67"), ("fd00::40/126", "fd00::40", "fd00::43")]
        {
            let mut block = block(cidr);
            let all: Vec<String> = (0..4).map(|_| take(&mut block)).collect();
            assert_eq!((all[0].as_str(), all[3].as_str()), (first, last));
            assert_eq!(block.take(), None);
            assert_eq!(block.next_age(), None);
        }
    }

    #[test]
    fn a_freed_address_comes_last() {
        let mut block = block("10.0.0.0/30");
        let (a, b) = (block.take().unwrap(), block.take().unwrap());
        block.put_back(b, 1);
        block.put_back(a, 2);
        let order: Vec<String> = (0..4).map(|_| take(&mut block)).collect();
        assert_eq!(order, ["10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.0"]);
    }

    #[test]
    fn what_a_restored_address_skips_is_not_lost() {
        let mut block = block("10.0.0.0/30");
        assert!(block.take_exactly("10.0.0.2".parse().unwrap()));
        assert!(!block.take_exactly("10.0.0.2".parse().unwrap()));
        assert!(!block.take_exactly("10.0.0.4".parse().unwrap()));
        let mut rest: Vec<String> = (0..3).map(|_| take(&mut block)).collect();
        rest.sort();
        assert_eq!(rest, ["10.0.0.0", "10.0.0.1", "10.0.0.3"]);
        assert_eq!(block.take(), None);
    }

    #[test]
    fn keys_are_names() {
        let key = |cidr: &str| BlockRecord::key(cidr.parse().unwrap());
        assert_eq!(key("10.0.0.64/26"), "10-0-0-64-26");
        assert_eq!(key("fd00:10::40/122"), "fd00-10--40-122");
    }
}

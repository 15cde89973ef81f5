//! Who owns an address (K35, K38, K39).
//!
//! A pod claims the addresses in its status and, if it hangs on this node, those of its
//! attachment. The attachment is the fact and the status is hearsay that may be late: an address
//! that an attachment of this node claims belongs to pods with such a claim alone, so a terminating
//! pod elsewhere whose status still lists it has lost it. Otherwise all who claim it own it, and a
//! late delete of one never takes the address from another.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::pods::PodIx;

/// Where a claim comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Basis {
    Status,
    Attachment,
}

/// All claims, by address.
#[derive(Debug, Default)]
pub(crate) struct Claims(BTreeSet<(IpAddr, Basis, PodIx)>);

impl Claims {
    pub fn insert(&mut self, addr: IpAddr, basis: Basis, pod: PodIx) {
        self.0.insert((addr, basis, pod));
    }

    pub fn remove(&mut self, addr: IpAddr, basis: Basis, pod: PodIx) {
        self.0.remove(&(addr, basis, pod));
    }

    /// Every pod that claims the address, owner or not; twice if on both bases.
    pub fn claimants(&self, addr: IpAddr) -> impl Iterator<Item = PodIx> {
        self.on(addr, Basis::Status).chain(self.on(addr, Basis::Attachment))
    }

    /// The pods that own the address.
    pub fn owners(&self, addr: IpAddr) -> impl Iterator<Item = PodIx> {
        let attached = self.on(addr, Basis::Attachment).next().is_some();
        self.on(addr, if attached { Basis::Attachment } else { Basis::Status })
    }

    fn on(&self, addr: IpAddr, basis: Basis) -> impl Iterator<Item = PodIx> {
        self.0.range((addr, basis, PodIx::MIN)..=(addr, basis, PodIx::MAX)).map(|(.., pod)| *pod)
    }
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    Status,
    Attachment,
}

/// All claims, by address. Those of attachments stand apart: they are few, and whether there is one
/// is asked for every address.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    status: BTreeSet<(IpAddr, PodIx)>,
    attachment: BTreeSet<(IpAddr, PodIx)>,
}

impl Claims {
    pub fn insert(&mut self, addr: IpAddr, basis: Basis, pod: PodIx) {
        self.on_mut(basis).insert((addr, pod));
    }

    pub fn remove(&mut self, addr: IpAddr, basis: Basis, pod: PodIx) {
        self.on_mut(basis).remove(&(addr, pod));
    }

    /// Every pod that claims the address, owner or not; twice if on both bases.
    pub fn claimants(&self, addr: IpAddr) -> impl Iterator<Item = PodIx> {
        at(&self.status, addr).chain(at(&self.attachment, addr))
    }

    /// The pods that own the address.
    pub fn owners(&self, addr: IpAddr) -> impl Iterator<Item = PodIx> {
        let attached = at(&self.attachment, addr).next().is_some();
        at(if attached { &self.attachment } else { &self.status }, addr)
    }

    /// Whether a pod that claims the address owns it.
    pub fn upheld(&self, addr: IpAddr, pod: PodIx) -> bool {
        let mut attached = at(&self.attachment, addr).peekable();
        attached.peek().is_none() || attached.any(|owner| owner == pod)
    }

    fn on_mut(&mut self, basis: Basis) -> &mut BTreeSet<(IpAddr, PodIx)> {
        match basis {
            Basis::Status => &mut self.status,
            Basis::Attachment => &mut self.attachment,
        }
    }
}

fn at(claims: &BTreeSet<(IpAddr, PodIx)>, addr: IpAddr) -> impl Iterator<Item = PodIx> {
    claims.range((addr, PodIx::MIN)..=(addr, PodIx::MAX)).map(|(_, pod)| *pod)
}

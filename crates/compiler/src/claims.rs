//! Who owns an address (K35, K38, K39).
//!
//! A pod claims the addresses in its status and, if it hangs on this node, those of its
//! attachment. The attachment is the fact and the status is hearsay that may be late: an address
//! that an attachment of this node claims belongs to pods with such a claim alone, so a terminating
//! pod elsewhere whose status still lists it has lost it. Otherwise all who claim it own it, and a
//! late delete of one never takes the address from another.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    status: Claimed,
    attachment: Claimed,
}

/// Who claims which address. Apart by family, as an IPv4 claim takes eight bytes and an IPv6 one
/// twenty.
#[derive(Debug, Default)]
struct Claimed {
    v4: BTreeSet<(Ipv4Addr, PodIx)>,
    v6: BTreeSet<(Ipv6Addr, PodIx)>,
}

impl Claims {
    pub fn insert(&mut self, addr: IpAddr, basis: Basis, pod: PodIx) {
        self.on_mut(basis).insert(addr, pod);
    }

    pub fn remove(&mut self, addr: IpAddr, basis: Basis, pod: PodIx) {
        self.on_mut(basis).remove(addr, pod);
    }

    /// Every pod that claims the address, owner or not; twice if on both bases.
    pub fn claimants(&self, addr: IpAddr) -> impl Iterator<Item = PodIx> {
        self.status.at(addr).chain(self.attachment.at(addr))
    }

    /// The pods that own the address.
    pub fn owners(&self, addr: IpAddr) -> impl Iterator<Item = PodIx> {
        let attached = self.attachment.at(addr).next().is_some();
        if attached { &self.attachment } else { &self.status }.at(addr)
    }

    /// Whether a pod that claims the address owns it.
    pub fn upheld(&self, addr: IpAddr, pod: PodIx) -> bool {
        let mut attached = self.attachment.at(addr).peekable();
        attached.peek().is_none() || attached.any(|owner| owner == pod)
    }

    fn on_mut(&mut self, basis: Basis) -> &mut Claimed {
        match basis {
            Basis::Status => &mut self.status,
            Basis::Attachment => &mut self.attachment,
        }
    }
}

impl Claimed {
    fn insert(&mut self, addr: IpAddr, pod: PodIx) {
        match addr {
            IpAddr::V4(addr) => self.v4.insert((addr, pod)),
            IpAddr::V6(addr) => self.v6.insert((addr, pod)),
        };
    }

    fn remove(&mut self, addr: IpAddr, pod: PodIx) {
        match addr {
            IpAddr::V4(addr) => self.v4.remove(&(addr, pod)),
            IpAddr::V6(addr) => self.v6.remove(&(addr, pod)),
        };
    }

    fn at(&self, addr: IpAddr) -> impl Iterator<Item = PodIx> {
        let (v4, v6) = match addr {
            IpAddr::V4(addr) => (Some(of(&self.v4, addr)), None),
            IpAddr::V6(addr) => (None, Some(of(&self.v6, addr))),
        };
        v4.into_iter().flatten().chain(v6.into_iter().flatten())
    }
}

fn of<A: Ord + Copy>(claims: &BTreeSet<(A, PodIx)>, addr: A) -> impl Iterator<Item = PodIx> {
    claims.range((addr, PodIx::MIN)..=(addr, PodIx::MAX)).map(|(_, pod)| *pod)
}

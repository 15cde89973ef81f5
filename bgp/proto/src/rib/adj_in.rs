//! Adj-RIB-In of one peer, with its size by family always at hand.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Rejection, Route};
use crate::family::Family;

/// One route as the peer advertised it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) route: Arc<Route>,
    /// From before the peer's restart (RFC 4724 §4.2).
    pub(super) stale: bool,
    /// Why it is not used.
    pub(super) rejection: Option<Rejection>,
}

/// What a peer has advertised and not withdrawn.
#[derive(Clone, Debug, Default)]
pub(super) struct AdjRibIn {
    routes: HashMap<IpNet, Received>,
    ipv4: usize,
}

impl AdjRibIn {
    pub(super) fn insert(&mut self, prefix: IpNet, received: Received) {
        if self.routes.insert(prefix, received).is_none() {
            self.ipv4 += is_ipv4(&prefix);
        }
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, prefix: &IpNet) -> bool {
        let known = self.routes.remove(prefix).is_some();
        if known {
            self.ipv4 -= is_ipv4(prefix);
        }
        known
    }

    /// Removes those for which the condition does not hold.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&IpNet, &Received) -> bool) {
        let ipv4 = &mut self.ipv4;
        self.routes.retain(|prefix, received| {
            let stays = keep(prefix, received);
            if !stays {
                *ipv4 -= is_ipv4(prefix);
            }
            stays
        });
    }

    pub(super) fn get(&self, prefix: &IpNet) -> Option<&Received> {
        self.routes.get(prefix)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&IpNet, &Received)> {
        self.routes.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&IpNet, &mut Received)> {
        self.routes.iter_mut()
    }

    pub(super) fn prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.routes.keys()
    }

    /// How many prefixes.
    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    /// How many prefixes of a family.
    pub(super) fn count(&self, family: Family) -> usize {
        match family {
            Family::Ipv4Unicast => self.ipv4,
            Family::Ipv6Unicast => self.routes.len() - self.ipv4,
        }
    }
}

fn is_ipv4(prefix: &IpNet) -> usize {
    usize::from(Family::of(prefix) == Family::Ipv4Unicast)
}

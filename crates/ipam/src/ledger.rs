//! What a node has given out: the state that its journal carries.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use brindle_model::Name;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::journal::State;

/// Who holds addresses: one interface of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle {
    /// `CNI_CONTAINERID`.
    pub container_id: Name,
    /// `CNI_IFNAME`.
    pub interface: Name,
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container_id, self.interface)
    }
}

/// Held and released addresses of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    held: BTreeMap<Handle, Vec<IpAddr>>,
    /// Addresses free again, with the number of their release: the higher, the later.
    released: BTreeMap<IpAddr, u64>,
    releases: u64,
}

/// One change of a [`Ledger`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// A handle holds all of these now.
    Assign(Handle, Vec<IpAddr>),
    /// A handle holds nothing any more.
    Release(Handle),
    /// These were released, in this order.
    Released(Vec<IpAddr>),
    /// The block goes back; the order of releases in it does not matter any more.
    Forget(IpNet),
}

impl Ledger {
    /// Every handle with its addresses.
    pub(crate) fn held(&self) -> &BTreeMap<Handle, Vec<IpAddr>> {
        &self.held
    }

    /// Addresses that were used and are free, the one released longest ago first.
    pub(crate) fn released(&self) -> Vec<IpAddr> {
        let mut released: Vec<_> = self.released.iter().map(|(addr, at)| (*at, *addr)).collect();
        released.sort_unstable();
        released.into_iter().map(|(_, addr)| addr).collect()
    }

    fn mark_released(&mut self, addr: IpAddr) {
        self.releases += 1;
        self.released.insert(addr, self.releases);
    }
}

impl State for Ledger {
    const KIND: &'static str = "address ledger";
    type Record = Entry;

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Assign(handle, addresses) => {
                for addr in &addresses {
                    self.released.remove(addr);
                }
                self.held.insert(handle, addresses);
            }
            Entry::Release(handle) => {
                for addr in self.held.remove(&handle).unwrap_or_default() {
                    self.mark_released(addr);
                }
            }
            Entry::Released(addresses) => {
                addresses.into_iter().for_each(|addr| self.mark_released(addr));
            }
            Entry::Forget(block) => self.released.retain(|addr, _| !block.contains(addr)),
        }
    }

    fn records(&self) -> Vec<Entry> {
        let released = Some(self.released()).filter(|r| !r.is_empty()).map(Entry::Released);
        let held = self.held.iter().map(|(h, addrs)| Entry::Assign(h.clone(), addrs.clone()));
        released.into_iter().chain(held).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(n: u8) -> Handle {
        Handle { container_id: format!("c{n}").into(), interface: "eth0".into() }
    }

    fn addr(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[test]
    fn its_records_rebuild_it() {
        let mut ledger = Ledger::default();
        for n in 0..5 {
            ledger.apply(Entry::Assign(handle(n), vec![addr(n)]));
        }
        for n in [3, 1, 1, 9] {
            ledger.apply(Entry::Release(handle(n)));
        }
        let mut rebuilt = Ledger::default();
        ledger.records().into_iter().for_each(|entry| rebuilt.apply(entry));
        assert_eq!(rebuilt, ledger);
        assert_eq!(rebuilt.released(), [addr(3), addr(1)]);
    }

    #[test]
    fn a_forgotten_block_leaves_no_trace() {
        let mut ledger = Ledger::default();
        ledger.apply(Entry::Assign(handle(1), vec![addr(1)]));
        ledger.apply(Entry::Release(handle(1)));
        ledger.apply(Entry::Forget("10.0.0.0/26".parse().unwrap()));
        assert!(ledger.released().is_empty());
    }
}

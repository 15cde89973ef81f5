//! The nodes of the cluster, found by address (A10).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::cluster::Node;

use crate::table::{Before, Table};

/// Nodes by name and by each of their addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes {
    table: Table<Name, Arc<Node>>,
    by_address: BTreeSet<(IpAddr, Name)>,
}

impl Nodes {
    /// Notes a node, or its absence, for the next advance.
    pub fn note(&mut self, name: Name, node: Option<Arc<Node>>) {
        self.table.note(name, node);
    }

    /// Whether anything was noted since the last advance.
    pub fn has_pending(&self) -> bool {
        self.table.has_pending()
    }

    /// Takes over what was noted.
    pub fn advance(&mut self) -> Before<Name, Arc<Node>> {
        let before = self.table.advance();
        for (name, old) in &before {
            for addr in old.iter().flat_map(|node| &node.all_addresses) {
                self.by_address.remove(&(*addr, name.clone()));
            }
            for addr in self.table.get(name).into_iter().flat_map(|node| &node.all_addresses) {
                self.by_address.insert((*addr, name.clone()));
            }
        }
        before
    }

    /// The current node of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Node>> {
        self.table.get(name)
    }

    /// All current nodes by ascending name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Arc<Node>)> {
        self.table.iter()
    }

    /// The nodes that have this address.
    pub fn at(&self, addr: IpAddr) -> impl Iterator<Item = (&Name, &Node)> {
        let names = self.by_address.range((addr, Name::from(""))..);
        let names = names.take_while(move |(a, _)| *a == addr);
        names.filter_map(|(_, name)| Some((name, &**self.table.get(name)?)))
    }
}

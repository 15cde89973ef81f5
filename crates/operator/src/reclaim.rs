//! Address blocks, and reports, of nodes that are gone.
//!
//! Only a Node object that is deleted counts: a node that is down keeps its blocks, because its pods
//! may still run. A node that comes back within the grace period has lost nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// A block as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The `IPAMBlock`'s name.
    pub name: Box<str>,
    /// The node that it belongs to.
    pub node: Box<str>,
    /// Its uid and resourceVersion: it is deleted only as it was read.
    pub uid: Box<str>,
    /// See `uid`.
    pub version: Box<str>,
}

/// Nodes, and what they leave.
#[derive(Debug, Default)]
pub struct Reclaim {
    blocks: BTreeMap<Box<str>, Block>,
    gone: BTreeMap<Box<str>, Instant>,
}

impl Reclaim {
    /// Takes in a block.
    pub fn put(&mut self, object: &Value) {
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().map(Box::<str>::from);
        let block = || {
            Some(Block {
                name: text(&metadata["name"])?,
                node: text(&object["spec"]["node"])?,
                uid: text(&metadata["uid"])?,
                version: text(&metadata["resourceVersion"])?,
            })
        };
        if let Some(block) = block() {
            self.blocks.insert(block.name.clone(), block);
        }
    }

    /// Forgets a block.
    pub fn remove(&mut self, name: &str) {
        self.blocks.remove(name);
    }

    /// The known blocks, by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.blocks.keys().map(|name| &**name)
    }

    /// The blocks and reports to delete now, and when to ask again. `reporters` are nodes that have
    /// said what they enforce.
    ///
    /// When no node exists at all, nothing is deleted: that is a cluster that is being taken down or
    /// restored, and nobody needs the addresses.
    pub fn due<'a>(
        &mut self,
        nodes: &BTreeSet<Box<str>>,
        reporters: impl Iterator<Item = &'a str>,
        grace: Duration,
        now: Instant,
    ) -> Due {
        let owners = self.blocks.values().map(|block| block.node.clone());
        let gone: BTreeSet<Box<str>> = owners
            .chain(reporters.map(Box::from))
            .filter(|node| !nodes.contains(node) && !nodes.is_empty())
            .collect();
        self.gone.retain(|node, _| gone.contains(node));
        for node in gone {
            self.gone.entry(node).or_insert(now);
        }
        let mut due = Due::default();
        for (node, since) in &self.gone {
            if *since + grace > now {
                let then = *since + grace;
                due.again = Some(due.again.map_or(then, |again| again.min(then)));
                continue;
            }
            due.nodes.push(node.clone());
            due.blocks.extend(self.blocks.values().filter(|b| b.node == *node).cloned());
        }
        due
    }
}

/// What is to be deleted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Nodes that are gone for good.
    pub nodes: Vec<Box<str>>,
    /// Their blocks.
    pub blocks: Vec<Block>,
    /// When the next node's grace period ends.
    pub again: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const GRACE: Duration = Duration::from_secs(600);

    fn nodes(names: &[&str]) -> BTreeSet<Box<str>> {
        names.iter().map(|name| Box::from(*name)).collect()
    }

    fn blocks(state: &mut Reclaim, alive: &[&str], now: Instant) -> Vec<Box<str>> {
        let due = state.due(&nodes(alive), ["n2"].into_iter(), GRACE, now);
        due.blocks.into_iter().map(|block| block.name).collect()
    }

    fn state() -> Reclaim {
        let mut state = Reclaim::default();
        for (name, node) in [("b1", "n1"), ("b2", "n2"), ("b3", "n2")] {
            let metadata = json!({"name": name, "uid": "u", "resourceVersion": "1"});
            state.put(&json!({"metadata": metadata, "spec": {"node": node}}));
        }
        state
    }

    #[test]
    fn blocks_of_a_node_are_due_after_its_grace_period() {
        let (mut state, start) = (state(), Instant::now());
        assert!(blocks(&mut state, &["n1", "n2"], start).is_empty());
        let due = state.due(&nodes(&["n1"]), std::iter::empty(), GRACE, start);
        assert_eq!(due, Due { again: Some(start + GRACE), ..Due::default() });
        assert!(blocks(&mut state, &["n1"], start + GRACE / 2).is_empty());
        assert_eq!(blocks(&mut state, &["n1"], start + GRACE), ["b2".into(), "b3".into()]);
    }

    #[test]
    fn a_node_that_comes_back_has_lost_nothing() {
        let (mut state, start) = (state(), Instant::now());
        assert!(blocks(&mut state, &["n1"], start).is_empty());
        assert!(blocks(&mut state, &["n1", "n2"], start + GRACE).is_empty());
        assert!(blocks(&mut state, &["n1"], start + GRACE * 2).is_empty(), "the clock began anew");
    }

    #[test]
    fn without_any_node_nothing_is_due() {
        let (mut state, start) = (state(), Instant::now());
        blocks(&mut state, &[], start);
        assert!(blocks(&mut state, &[], start + GRACE * 2).is_empty());
    }

    #[test]
    fn a_report_alone_is_due_too() {
        let (mut state, start) = (Reclaim::default(), Instant::now());
        let due = |state: &mut Reclaim, now| {
            state.due(&nodes(&["n1"]), ["n1", "n2"].into_iter(), GRACE, now).nodes
        };
        assert!(due(&mut state, start).is_empty());
        assert_eq!(due(&mut state, start + GRACE), ["n2".into()]);
    }
}

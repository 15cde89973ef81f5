//! What updates would change for BGP, tried on a copy of what routing follows.
//!
//! The copy costs a few words for each node, peer, filter, block, Service and slice; their contents
//! are shared. Nothing of policy is looked at.

use brindle_model::cluster::Update;
use brindle_model::routing::Change;

use crate::compiler::Compiler;
use crate::topology::Surroundings;

/// An update takes something away that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub Update);

impl Compiler {
    /// Whether updates of this kind are followed by routing at all.
    pub fn concerns_routing(update: &Update) -> bool {
        matches!(
            update,
            Update::Node(..)
                | Update::EndpointSlice(..)
                | Update::Service(..)
                | Update::BgpConfiguration(..)
                | Update::BgpPeer(..)
                | Update::BgpFilter(..)
                | Update::Block(..)
        )
    }

    /// The changes of routing that these updates would bring after the last flush, in order. Updates
    /// that do not concern routing count for nothing.
    ///
    /// # Errors
    /// One of them takes away what is not there.
    pub fn try_routing(&self, updates: Vec<Update>) -> Result<Vec<Change>, Missing> {
        let (mut nodes, mut slices) = (self.world.nodes.clone(), self.world.slices.clone());
        let mut topology = self.topology.clone();
        for update in updates {
            let known = match &update {
                Update::Node(name, None) => nodes.get(name).is_some(),
                Update::EndpointSlice(id, None) => slices.get(id).is_some(),
                Update::Service(id, None) => topology.announcements.services.get(id).is_some(),
                Update::BgpConfiguration(name, None) => topology.configurations.get(name).is_some(),
                Update::BgpPeer(name, None) => topology.peers.get(name).is_some(),
                Update::BgpFilter(name, None) => topology.filters.get(name).is_some(),
                Update::Block(net, None) => topology.blocks.get(net).is_some(),
                _ => true,
            };
            if !known {
                return Err(Missing(update));
            }
            match update {
                Update::Node(name, value) => nodes.note(name, value),
                Update::EndpointSlice(id, value) => slices.note(id, value),
                Update::Service(id, value) => topology.announcements.services.note(id, value),
                Update::BgpConfiguration(name, value) => topology.configurations.note(name, value),
                Update::BgpPeer(name, value) => topology.peers.note(name, value),
                Update::BgpFilter(name, value) => topology.filters.note(name, value),
                Update::Block(net, value) => topology.blocks.note(net, value),
                _ => {}
            }
        }
        let nodes_changed = !nodes.advance().is_empty();
        let slices_changed = slices.advance();
        Ok(topology.advance(&Surroundings {
            nodes: &nodes,
            nodes_changed,
            slices: &slices,
            slices_changed: &slices_changed,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use brindle_model::cluster::Node;
    use brindle_model::routing::{BgpConfiguration, Drain};

    use super::*;

    fn node(address: &str) -> Option<Arc<Node>> {
        let addresses = vec![address.parse().unwrap()];
        let all_addresses = addresses.clone();
        Some(Arc::new(Node { addresses, all_addresses, ..Node::default() }))
    }

    #[test]
    fn a_trial_says_what_a_flush_would_and_leaves_no_trace() {
        let mut compiler = Compiler::new("n1".into());
        compiler.apply(Update::Node("n1".into(), node("192.0.2.1")));
        compiler.apply(Update::Node("n2".into(), node("192.0.2.2")));
        compiler.apply(Update::Block("10.65.0.0/26".parse().unwrap(), Some(())));
        compiler.flush();
        let before = compiler.routing().clone();
        let drained = BgpConfiguration { drain: Some(Drain::Withdraw), ..Default::default() };
        let updates = vec![
            Update::BgpConfiguration("default".into(), Some(drained.into())),
            Update::Node("n2".into(), None),
            Update::Block("10.65.0.0/26".parse().unwrap(), None),
        ];
        let tried = compiler.try_routing(updates.clone()).unwrap();
        assert_eq!(*compiler.routing(), before);
        assert!(!compiler.has_pending());
        updates.into_iter().for_each(|update| compiler.apply(update));
        let batch = compiler.flush();
        assert_eq!(tried, batch.routing);
        assert_eq!(tried.len(), 3, "{tried:?}");
    }

    #[test]
    fn what_is_not_there_cannot_be_taken_away() {
        let compiler = Compiler::new("n1".into());
        let absent = Update::BgpPeer("tor".into(), None);
        assert_eq!(compiler.try_routing(vec![absent.clone()]), Err(Missing(absent)));
    }
}

//! The objects that an agent's settings depend on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AgentConfiguration, Effective, Origin, Settings, SettingsScope};
use crate::Name;
use crate::cluster::Update;
use crate::labels::Labels;

/// AgentConfigurations, and the labels of one node.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    configurations: BTreeMap<Name, Arc<AgentConfiguration>>,
    /// A node without a Node object has none that a selector could match.
    labels: Option<Labels>,
}

impl Objects {
    /// Those among these updates, for the node of this name.
    pub fn of(node: &str, updates: &[Update]) -> Self {
        let mut objects = Self::default();
        objects.take(node, updates);
        objects
    }

    /// Takes over updates; whether any of them matters.
    pub fn take(&mut self, node: &str, updates: &[Update]) -> bool {
        let mut any = false;
        for update in updates {
            match update {
                Update::AgentConfiguration(name, Some(value)) => {
                    self.configurations.insert(name.clone(), value.clone());
                }
                Update::AgentConfiguration(name, None) => {
                    self.configurations.remove(name);
                }
                Update::Node(name, value) if **name == *node => {
                    self.labels = value.as_ref().map(|node| node.labels.clone());
                }
                _ => continue,
            }
            any = true;
        }
        any
    }

    /// What counts for the node, with what its agent was started with and what it is told in an
    /// emergency.
    pub fn effective(&self, node: &str, start: &Settings, emergency: &Settings) -> Effective {
        let first = std::iter::once((Origin::Start, start));
        let last = std::iter::once((Origin::Emergency, emergency));
        Effective::of(first.chain(self.layers(node)).chain(last))
    }

    /// The objects that a node has to heed, the most specific last.
    fn layers(&self, node: &str) -> Vec<(Origin, &Settings)> {
        let rank = |scope: &SettingsScope| match scope {
            SettingsScope::All => Some(0),
            SettingsScope::Selected(selector) => {
                self.labels.as_ref().is_some_and(|labels| selector.matches(labels)).then_some(1)
            }
            SettingsScope::Node(name) => (**name == *node).then_some(2),
        };
        // Of one rank the first by name is to be laid on last.
        let all = self.configurations.iter().rev();
        let mut heeded: Vec<_> =
            all.filter_map(|(name, object)| Some((rank(&object.scope)?, name, object))).collect();
        heeded.sort_by_key(|(rank, ..)| *rank);
        let heeded = heeded.into_iter();
        heeded.map(|(_, name, object)| (Origin::Object(name.clone()), &object.settings)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Selector;

    fn object(scope: SettingsScope, settings: Settings) -> Arc<AgentConfiguration> {
        Arc::new(AgentConfiguration { scope, settings })
    }

    fn kept(packets: u32) -> Settings {
        Settings { packets_kept: Some(packets), ..Settings::default() }
    }

    #[test]
    fn the_most_specific_wins_field_by_field() {
        let rack = SettingsScope::Selected(Selector::equals("rack", "r1"));
        let more = Settings { drops_per_second: Some(9), ..kept(2) };
        let objects: BTreeMap<Name, _> = [
            ("default", object(SettingsScope::All, more)),
            ("a-rack", object(rack.clone(), kept(3))),
            ("b-rack", object(rack, kept(4))),
            ("node.n1", object(SettingsScope::Node("n1".into()), kept(5))),
        ]
        .into_iter()
        .map(|(name, object)| (name.into(), object))
        .collect();
        let labels: Labels = [("rack", "r1")].into_iter().collect();
        let nothing = Settings::default();
        let found = |node, labels: Option<&Labels>| {
            let objects = Objects { configurations: objects.clone(), labels: labels.cloned() };
            let effective = objects.effective(node, &nothing, &nothing);
            let origin = effective.origin("packetsKept").to_string();
            assert_eq!(effective.settings.drops_per_second, Some(9));
            (effective.settings.packets_kept.unwrap(), origin)
        };
        assert_eq!(found("n1", Some(&labels)), (5, "AgentConfiguration node.n1".into()));
        assert_eq!(found("n2", Some(&labels)), (3, "AgentConfiguration a-rack".into()));
        assert_eq!(found("n2", Some(&Labels::default())), (2, "AgentConfiguration default".into()));
        assert_eq!(found("n2", None), (2, "AgentConfiguration default".into()));
    }
}

//! Port criteria: numbers and names in one list are alternatives of one another (C19, C20).

use std::collections::BTreeSet;

use brindle_model::net::{PortRange, Protocol};
use brindle_model::ruleset::{PortMatch, SetDef};
use brindle_model::selector::Selector;
use brindle_model::{List, Name};

use super::Definitions;

/// Numbers and names of one list.
#[derive(Default)]
pub(super) struct Ports {
    pub ranges: Vec<PortRange>,
    pub names: BTreeSet<Name>,
}

impl Ports {
    /// The numbers: joined where they overlap or touch.
    pub fn numbers(&self) -> List<PortMatch> {
        PortRange::join(self.ranges.iter().copied()).into_iter().map(PortMatch::Range).collect()
    }

    /// The numbers, and the names as tuples of the pods in `scope` (K20). Where the rule gives no
    /// protocol, that of the container port decides: any that has ports (C19, A11).
    pub fn matches(
        &self,
        protocol: Option<Protocol>,
        scope: &Selector,
        definitions: &mut Definitions,
    ) -> List<PortMatch> {
        let mut matches = self.numbers();
        matches.extend(self.named(protocol, scope, definitions));
        matches
    }

    /// The names alone, likewise.
    pub fn named(
        &self,
        protocol: Option<Protocol>,
        scope: &Selector,
        definitions: &mut Definitions,
    ) -> List<PortMatch> {
        let mut matches = List::new();
        let protocols = match protocol {
            Some(protocol) => vec![protocol],
            None => vec![Protocol::TCP, Protocol::UDP, Protocol::SCTP],
        };
        for name in &self.names {
            matches.extend(protocols.iter().map(|protocol| {
                PortMatch::Named(definitions.define(SetDef::NamedPort {
                    name: name.clone(),
                    protocol: *protocol,
                    selector: scope.clone(),
                }))
            }));
        }
        matches
    }
}

//! From a policy as the user wrote it to rules that a backend can render.
//!
//! A user's rule says "any of these" in more places than a lowered rule can, so one becomes
//! several, all with the same decision and action, next to each other: they are alternatives. Users
//! write rules in two shapes, lists of peers and ports ([`lists`]) and criteria on both ends
//! ([`ends`]); [`ports`] is what the two share.
//!
//! Criteria that no packet satisfies (blocks that except everything, a selector that matches
//! nothing, an empty list) give no rule, whatever the action: conversion has already made sure that
//! what is broken matches nothing in an Allow and everything in a Deny (A13, C16).

mod ends;
mod lists;
mod ports;

use std::collections::BTreeMap;

use brindle_model::policy::{Criteria, Policy};
use brindle_model::ruleset::{PolicyRules, Rule, SetDef, SetId};
use brindle_model::verdict::{DecisionId, Direction, PolicyId};

/// A lowered policy, and the definitions of the sets that its rules name.
#[derive(Debug, Default)]
pub(crate) struct Lowered {
    pub rules: PolicyRules,
    pub sets: BTreeMap<SetId, SetDef>,
}

/// The definitions of the sets that rules name.
#[derive(Default)]
struct Definitions(BTreeMap<SetId, SetDef>);

impl Definitions {
    /// The set of this definition.
    fn define(&mut self, def: SetDef) -> SetId {
        let id = def.id();
        self.0.insert(id, def);
        id
    }
}

/// Lowers both directions of a policy.
pub(crate) fn lower(id: &PolicyId, policy: &Policy) -> Lowered {
    let mut definitions = Definitions::default();
    let [ingress, egress] = Direction::ALL.map(|direction| {
        let mut rules = Vec::new();
        for rule in policy.rules(direction).unwrap_or_default() {
            let alternatives = match &rule.criteria {
                Criteria::Lists { peers, ports } => {
                    let (peers, ports) = (peers.as_deref(), ports.as_deref());
                    lists::lower(direction, &policy.subject, peers, ports, &mut definitions)
                }
                Criteria::Ends(ends) => ends::lower(ends, &mut definitions),
            };
            let decision = DecisionId::Rule { policy: id.clone(), direction, index: rule.index };
            rules.extend(alternatives.into_iter().map(|matches| Rule {
                decision: decision.clone(),
                matches,
                action: rule.action,
            }));
        }
        rules
    });
    Lowered { rules: PolicyRules { ingress, egress }, sets: definitions.0 }
}

#[cfg(test)]
mod tests;

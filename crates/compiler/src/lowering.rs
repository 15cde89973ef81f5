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
//!
//! A criterion can also be in doubt because something that it names is incomplete
//! ([`crate::doubts`]). Then the action says how it is read ([`Reading`]): `Allow` and `Log` as what
//! surely matches, `Deny` as what may match; `Pass` passes what surely matches, and what only may
//! match is denied behind it, because to pass it on and to keep it could both admit it.

mod ends;
mod lists;
mod ports;

use std::collections::BTreeMap;

use brindle_model::policy::{Action, Criteria, Policy};
use brindle_model::ruleset::{Match, PolicyRules, Rule, SetDef, SetId};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, PolicyId};

use crate::world::World;

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

/// How criteria are read that are in doubt.
#[derive(Clone, Copy)]
struct Reading<'a> {
    world: &'a World,
    lean: Lean,
}

/// Which way to err.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lean {
    /// What surely matches.
    Surely,
    /// What may match.
    Perhaps,
}

/// Lowers both directions of a policy.
pub(crate) fn lower(id: &PolicyId, policy: &Policy, world: &World) -> Lowered {
    let mut definitions = Definitions::default();
    let [ingress, egress] = Direction::ALL.map(|direction| {
        let mut rules = Vec::new();
        for rule in policy.rules(direction).unwrap_or_default() {
            let mut read = |lean| {
                let reading = Reading { world, lean };
                reading.lower(direction, &policy.subject, &rule.criteria, &mut definitions)
            };
            let surely = read(match rule.action {
                Action::Allow | Action::Log | Action::Pass => Lean::Surely,
                Action::Deny => Lean::Perhaps,
            });
            let perhaps = match rule.action {
                Action::Pass => Some(read(Lean::Perhaps)).filter(|perhaps| *perhaps != surely),
                _ => None,
            };
            let decision = DecisionId::Rule { policy: id.clone(), direction, index: rule.index };
            let alternatives = surely.into_iter().map(|matches| (rule.action, matches));
            let behind = perhaps.into_iter().flatten().map(|matches| (Action::Deny, matches));
            rules.extend(alternatives.chain(behind).map(|(action, matches)| Rule {
                decision: decision.clone(),
                matches,
                action,
            }));
        }
        rules.into()
    });
    Lowered { rules: PolicyRules { ingress, egress }, sets: definitions.0 }
}

impl Reading<'_> {
    /// The alternatives of a rule of a policy with this subject.
    fn lower(
        self,
        direction: Direction,
        subject: &Selector,
        criteria: &Criteria,
        definitions: &mut Definitions,
    ) -> Vec<Match> {
        match criteria {
            Criteria::Lists { peers, ports } => {
                let (peers, ports) = (peers.as_deref(), ports.as_deref());
                lists::lower(self, direction, subject, peers, ports, definitions)
            }
            Criteria::Ends(ends) => ends::lower(self, ends, definitions),
        }
    }

    /// Whether this is the reading in which what is in doubt matches.
    fn is(self, lean: Lean) -> bool {
        self.lean == lean
    }
}

#[cfg(test)]
mod tests;

//! The ruleset is built wrongly: order and ends of tiers, alternatives of rules, members of sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::List;
use brindle_model::net::{Family, PortRange};
use brindle_model::ruleset::{
    Action, Member, PortMatch, Program, Rule, Ruleset, Set, SetDef, SetId, Side, TierEnd, TierStep,
};
use brindle_model::verdict::Verdict;

use super::Named;

/// See [`super::all`].
pub(super) const MISTAKES: &[Named<Ruleset>] = &[
    ("the tier's end is decided for each policy", |r| {
        programs(r, |program| {
            let each = |step: &TierStep| {
                let policies = step.policies.iter().cloned();
                let alone = |policy| TierStep { policies: vec![policy], ..step.clone() };
                policies.map(alone).collect::<Vec<_>>()
            };
            program.steps = program.steps.iter().flat_map(each).collect();
        });
    }),
    ("a tier has no end", |r| steps(r, |step| step.end = TierEnd::NextTier)),
    ("a tier ends with Deny for whomever it holds policies", |r| {
        steps(r, |step| step.end = TierEnd::Drop);
    }),
    ("tiers are walked from the last to the first", |r| {
        programs(r, |program| program.steps.reverse());
    }),
    ("policies of a tier are asked from the last to the first", |r| {
        steps(r, |step| step.policies.reverse());
    }),
    ("policies of a tier are asked by name", |r| steps(r, |step| step.policies.sort())),
    ("of a tier the first policy counts", |r| steps(r, |step| step.policies.truncate(1))),
    ("the last tier is lost", |r| programs(r, |program| drop(program.steps.pop()))),
    ("the first tier is lost", |r| {
        programs(r, |program| {
            let first = 1.min(program.steps.len());
            program.steps.drain(..first);
        });
    }),
    ("behind the last tier is Deny", |r| programs(r, |program| program.end.0 = Verdict::Deny)),
    ("whom nobody knows is open", |r| programs(r, |program| program.end.0 = Verdict::Allow)),
    ("egress runs the program of ingress", |r| {
        for endpoint in r.endpoints.values_mut() {
            let endpoint = Arc::make_mut(endpoint);
            std::mem::swap(&mut endpoint.ingress, &mut endpoint.egress);
        }
    }),
    ("a port name is its numbers, whoever has them", |r| {
        let numbers: BTreeMap<SetId, Vec<PortMatch>> =
            r.sets.iter().map(|(id, set)| (*id, numbers(set))).collect();
        sides(r, |side| {
            for ports in [&mut side.ports, &mut side.not_ports] {
                let wide = ports.iter().flat_map(|port| match port {
                    PortMatch::Named(set) => numbers[set].clone(),
                    range => vec![*range],
                });
                let wide: List<_> = wide.collect();
                // No number at all would be any port.
                if !wide.is_empty() {
                    *ports = wide;
                }
            }
        });
    }),
    ("a port name is any port of who has it", |r| {
        sides(r, |side| {
            for port in &mut side.ports {
                if let PortMatch::Named(_) = port {
                    *port = PortMatch::Range(PortRange { first: 0, last: u16::MAX });
                }
            }
        });
    }),
    ("an empty set matches everybody", |r| {
        let empty = empty(r);
        sides(r, |side| side.sets.retain(|set| !empty.contains(set)));
    }),
    ("nothing is outside an empty set", |r| {
        let empty = empty(r);
        rules(r, |rules| {
            rules.retain(|rule| {
                let sides = [&rule.matches.source, &rule.matches.destination];
                !sides.iter().any(|side| side.not_sets.iter().any(|set| empty.contains(set)))
            });
        });
    }),
    ("selectors do not pick network sets", |r| {
        let sets = of(r, |def| matches!(def, SetDef::NetworkSets(_)));
        rules(r, |rules| {
            rules.retain(|rule| {
                let sides = [&rule.matches.source, &rule.matches.destination];
                !sides.iter().any(|side| side.sets.iter().any(|set| sets.contains(set)))
            });
        });
    }),
    ("selectors pick network sets alone", |r| {
        let pods = of(r, |def| matches!(def, SetDef::Selector(_)));
        rules(r, |rules| {
            rules.retain(|rule| {
                let sides = [&rule.matches.source, &rule.matches.destination];
                !sides.iter().any(|side| side.sets.iter().any(|set| pods.contains(set)))
            });
        });
    }),
    ("negated selectors do not range over network sets", |r| {
        let sets = of(r, |def| matches!(def, SetDef::NetworkSets(_)));
        sides(r, |side| side.not_sets.retain(|set| !sets.contains(set)));
    }),
    ("sets have no IPv4 members", |r| members(r, |member| member.family() == Family::V6)),
    ("sets have no IPv6 members", |r| members(r, |member| member.family() == Family::V4)),
    ("sets of pods lack a member", |r| {
        for set in r.sets.values_mut().filter(|set| matches!(set.def, SetDef::Selector(_))) {
            set.members.pop_last();
        }
    }),
    ("covers lack a piece", |r| {
        for set in r.sets.values_mut().filter(|set| matches!(set.def, SetDef::NetworkSets(_))) {
            set.members.pop_first();
        }
    }),
    ("prefixes of rules lack a piece", |r| {
        for set in r.sets.values_mut().filter(|set| matches!(set.def, SetDef::Cidrs(_))) {
            set.members.pop_last();
        }
    }),
    ("a rule's family is lost", |r| each_rule(r, |rule| rule.matches.family = None)),
    ("a rule's protocol is lost", |r| each_rule(r, |rule| rule.matches.protocol = None)),
    ("of several sets of a side the first counts", |r| sides(r, |side| side.sets.truncate(1))),
    ("of several sets of a side the last counts", |r| {
        sides(r, |side| drop(side.sets.drain(..side.sets.len().saturating_sub(1))));
    }),
    ("of several negated sets the first counts", |r| {
        sides(r, |side| side.not_sets.truncate(1));
    }),
    ("of the alternatives of a rule the first counts", |r| {
        rules(r, |rules| rules.dedup_by(|b, a| a.decision == b.decision));
    }),
    ("names and numbers of ports must both hold", |r| {
        sides(r, |side| {
            let named = |port: &PortMatch| matches!(port, PortMatch::Named(_));
            if side.ports.iter().any(named) && !side.ports.iter().all(named) {
                side.ports.retain(named);
            }
        });
    }),
    ("negated ports are lost", |r| sides(r, |side| side.not_ports.clear())),
    ("a Service is its addresses, on any port", |r| {
        let services = of(r, |def| matches!(def, SetDef::Service { ports: true, .. }));
        let service =
            |port: &PortMatch| matches!(port, PortMatch::Named(set) if services.contains(set));
        sides(r, |side| {
            if side.ports.iter().any(service) {
                side.ports.clear();
            }
        });
    }),
    ("what only may pass is passed", |r| {
        rules(r, |rules| {
            let passes: BTreeSet<_> = rules
                .iter()
                .filter(|rule| rule.action == Action::Pass)
                .map(|rule| rule.decision.clone())
                .collect();
            for rule in rules.iter_mut().filter(|rule| passes.contains(&rule.decision)) {
                rule.action = Action::Pass;
            }
        });
    }),
    ("what only may pass is kept", |r| {
        rules(r, |rules| {
            let passes: BTreeSet<_> = rules
                .iter()
                .filter(|rule| rule.action == Action::Pass)
                .map(|rule| rule.decision.clone())
                .collect();
            rules.retain(|rule| rule.action == Action::Pass || !passes.contains(&rule.decision));
        });
    }),
];

fn programs(ruleset: &mut Ruleset, mut change: impl FnMut(&mut Program)) {
    ruleset.programs.values_mut().for_each(|program| change(Arc::make_mut(program)));
}

fn steps(ruleset: &mut Ruleset, mut change: impl FnMut(&mut TierStep)) {
    programs(ruleset, |program| program.steps.iter_mut().for_each(&mut change));
}

fn rules(ruleset: &mut Ruleset, mut change: impl FnMut(&mut Vec<Rule>)) {
    for policy in ruleset.policies.values_mut() {
        let policy = Arc::make_mut(policy);
        for rules in [&mut policy.ingress, &mut policy.egress] {
            let mut changed = rules.to_vec();
            change(&mut changed);
            *rules = changed.into();
        }
    }
}

fn each_rule(ruleset: &mut Ruleset, mut change: impl FnMut(&mut Rule)) {
    rules(ruleset, |rules| rules.iter_mut().for_each(&mut change));
}

fn sides(ruleset: &mut Ruleset, mut change: impl FnMut(&mut Side)) {
    each_rule(ruleset, |rule| {
        change(&mut rule.matches.source);
        change(&mut rule.matches.destination);
    });
}

fn members(ruleset: &mut Ruleset, keep: fn(&Member) -> bool) {
    ruleset.sets.values_mut().for_each(|set| set.members.retain(keep));
}

fn empty(ruleset: &Ruleset) -> BTreeSet<SetId> {
    let empty = ruleset.sets.iter().filter(|(_, set)| set.members.is_empty());
    empty.map(|(id, _)| *id).collect()
}

fn of(ruleset: &Ruleset, is: fn(&SetDef) -> bool) -> BTreeSet<SetId> {
    ruleset.sets.iter().filter(|(_, set)| is(&set.def)).map(|(id, _)| *id).collect()
}

fn numbers(set: &Set) -> Vec<PortMatch> {
    let ports = set.members.iter().filter_map(|member| match member {
        Member::Port(_, _, port) => Some(PortMatch::Range(PortRange::single(*port))),
        _ => None,
    });
    ports.collect()
}

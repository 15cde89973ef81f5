//! `brindlectl what-if`: which flows between pods an edit would decide otherwise.
//!
//! Every flow is put to two compiled rulesets, that of the objects and that of the edited ones; where
//! they differ, [`crate::explain`] has the reference evaluator say why, so the answer is checked.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use brindle_model::NamespacedName;
use brindle_model::cluster::Pod;
use brindle_model::net::{Family, Protocol};
use brindle_model::packet::Packet;
use brindle_model::ruleset::{Member, PortMatch, Ruleset};
use brindle_model::verdict::Direction;
use brindle_sources::snapshot::Snapshot;
use serde::Serialize;

use crate::cli::{Edits, End, PortAndProtocol, Question, WhatIf};
use crate::explain::{Explanation, Facts, explain, transport};
use crate::output::{self, Format};

/// A flow that the edit changes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// The pod that sends.
    pub from: String,
    /// The pod that is sent to.
    pub to: String,
    /// Port and protocol.
    pub port: String,
    /// Whether it is delivered as the objects stand.
    pub before: bool,
    /// Whether it is delivered after the edit.
    pub after: bool,
    /// What decides as the objects stand: the hop that denies, or both that allow.
    pub because_before: Vec<String>,
    /// What decides after the edit.
    pub because_after: Vec<String>,
}

/// Judges the flows of a question before and after its edits.
///
/// # Errors
/// An edit cannot be read, or the compiler and the reference evaluator disagree.
pub fn compare(read: Snapshot, question: &WhatIf) -> Result<Vec<Changed>> {
    if question.edits.with.is_empty() && question.edits.without.is_empty() {
        bail!("nothing to compare: give --with or --without");
    }
    let before = Facts::new(read.clone(), &Edits::default())?;
    let after = Facts::new(read, &question.edits)?;
    let ports = if question.port.is_empty() {
        ports_of_interest(&before, &after)
    } else {
        question.port.iter().copied().collect()
    };
    let mut changed = Vec::new();
    for (from, sender) in senders(&before, &after, question) {
        for (to, receiver) in before.pods().filter(|(to, _)| matches(question.to.as_ref(), to)) {
            // A pod's traffic to itself never leaves it (K28).
            if from == to {
                continue;
            }
            for port in &ports {
                let flow = Flow { from, sender, to, receiver, port: *port };
                changed.extend(flow.compare(&before, &after)?);
            }
        }
    }
    Ok(changed)
}

/// Pods that exist before and after, with an address, and are asked about.
fn senders<'a>(
    before: &'a Facts,
    after: &'a Facts,
    question: &'a WhatIf,
) -> impl Iterator<Item = (&'a NamespacedName, &'a Pod)> {
    let stays: BTreeSet<_> = after.pods().map(|(id, _)| id).collect();
    before.pods().filter(move |(id, _)| matches(question.from.as_ref(), id) && stays.contains(id))
}

fn matches(pattern: Option<&crate::cli::PodPattern>, pod: &NamespacedName) -> bool {
    pattern.is_none_or(|pattern| pattern.matches(pod))
}

struct Flow<'a> {
    from: &'a NamespacedName,
    sender: &'a Pod,
    to: &'a NamespacedName,
    receiver: &'a Pod,
    port: PortAndProtocol,
}

impl Flow<'_> {
    /// The change, if a packet of either family is decided otherwise.
    fn compare(&self, before: &Facts, after: &Facts) -> Result<Option<Changed>> {
        let differs = self.packets().any(|packet| {
            let delivered = |facts: &Facts| {
                facts.between_pods(self.from, self.to, &packet).map(|delivered| delivered.0)
            };
            delivered(before) != delivered(after)
        });
        if !differs {
            return Ok(None);
        }
        let question = Question {
            from: End::Pod(self.from.clone()),
            to: End::Pod(self.to.clone()),
            port: Some(self.port),
            edits: Edits::default(),
            origin: Default::default(),
        };
        let [before, after] = [explain(before, &question)?, explain(after, &question)?];
        Ok(Some(Changed {
            from: self.from.to_string(),
            to: self.to.to_string(),
            port: self.port.to_string(),
            before: before.iter().all(|answer| answer.delivered),
            after: after.iter().all(|answer| answer.delivered),
            because_before: reasons(&before),
            because_after: reasons(&after),
        }))
    }

    /// The first packet in each family that both pods have.
    fn packets(&self) -> impl Iterator<Item = Packet> {
        Family::ALL.into_iter().filter_map(|family| {
            let mine = |pod: &Pod| pod.addresses.iter().copied().find(|a| Family::of(*a) == family);
            Some(Packet {
                source: mine(self.sender)?,
                destination: mine(self.receiver)?,
                transport: transport(self.port, family),
            })
        })
    }
}

/// What decides a flow: the hops that deny it, else all of them.
fn reasons(answers: &[Explanation]) -> Vec<String> {
    let hops: Vec<_> = answers.iter().flat_map(|answer| &answer.hops).collect();
    let denied = hops.iter().any(|hop| hop.verdict == "deny");
    let deciding = hops.into_iter().filter(|hop| !denied || hop.verdict == "deny");
    let mut reasons: Vec<_> =
        deciding.map(|hop| format!("{} of {}: {}", hop.direction, hop.judge, hop.reason)).collect();
    reasons.sort();
    reasons.dedup();
    reasons
}

/// Ports at which the two rulesets can differ: the edges of those that policies name which are not
/// in both, those that pods name, and one of each protocol for rules without ports.
fn ports_of_interest(before: &Facts, after: &Facts) -> BTreeSet<PortAndProtocol> {
    let mut ports = BTreeSet::from([PortAndProtocol::Tcp(80), PortAndProtocol::Icmp]);
    let mut add = |protocol, port| match protocol {
        Some(Protocol::UDP) => drop(ports.insert(PortAndProtocol::Udp(port))),
        Some(Protocol::SCTP) => drop(ports.insert(PortAndProtocol::Sctp(port))),
        Some(Protocol::TCP) | None => drop(ports.insert(PortAndProtocol::Tcp(port))),
        Some(_) => {}
    };
    for (one, other) in [(before, after), (after, before)] {
        for (id, policy) in &one.ruleset().policies {
            if other.ruleset().policies.get(id) == Some(policy) {
                continue;
            }
            let rules = Direction::ALL.into_iter().flat_map(|d| policy.rules(d));
            for matches in rules.map(|rule| &rule.matches) {
                let criteria =
                    matches.destination.ports.iter().chain(&matches.destination.not_ports);
                for criterion in criteria {
                    match criterion {
                        PortMatch::Range(range) => {
                            add(matches.protocol, range.first);
                            add(matches.protocol, range.last);
                        }
                        PortMatch::Named(set) => named(one.ruleset(), *set, &mut add),
                    }
                }
                if matches.destination.ports.is_empty() {
                    add(matches.protocol, 80);
                }
            }
        }
        for port in one.pods().flat_map(|(_, pod)| &pod.ports) {
            add(Some(port.protocol), port.port);
        }
    }
    ports
}

fn named(
    ruleset: &Ruleset,
    set: brindle_model::ruleset::SetId,
    add: &mut impl FnMut(Option<Protocol>, u16),
) {
    for member in ruleset.sets.get(&set).into_iter().flat_map(|set| &set.members) {
        if let Member::Port(_, protocol, port) = member {
            add(Some(*protocol), *port);
        }
    }
}

/// Writes the changed flows.
///
/// # Errors
/// They cannot be written in the format.
pub fn render(changed: &[Changed], format: Format) -> Result<String> {
    output::render(format, &changed, || {
        if changed.is_empty() {
            return "no flow between pods would be decided otherwise\n".into();
        }
        let verdict = |delivered| if delivered { "allowed" } else { "DENIED" };
        let rows = changed.iter().map(|flow| {
            [
                flow.from.clone(),
                flow.to.clone(),
                flow.port.clone(),
                format!("{} -> {}", verdict(flow.before), verdict(flow.after)),
                flow.because_after.join("; "),
            ]
        });
        output::table(&["FROM", "TO", "PORT", "CHANGE", "BECAUSE"], rows)
    })
}

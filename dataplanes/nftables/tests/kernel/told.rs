//! What the kernel tells of packets, and counts, is what the evaluator says of them. Shared by the
//! tests of every backend.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use brindle_dataplane_core::Hit;
use brindle_dataplane_core::nflog::{Event, Listener, News, Report};
use brindle_model::packet::Packet;
use brindle_model::ruleset::{Action, Ruleset, evaluate};
use brindle_model::verdict::{DecisionId, Direction, Label, PolicyId, Verdict};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::generate::{addresses, endpoint_id};
use crate::node::{Node, udp};

/// Packets a second that the backend lets a Log rule tell of, and a burst of as many.
const LOGGED: usize = 10;

/// Hears what the namespace's kernel tells.
pub struct Witness {
    news: Receiver<News>,
    _listener: Listener,
}

impl Witness {
    /// Begins to listen.
    pub fn listen() -> Self {
        let (send, news) = sync_channel(100_000);
        let told = move |news| send.send(news).expect("somebody waits");
        Self { news, _listener: Listener::spawn(told).expect("listen") }
    }

    /// Everything told before a packet with a foreign source, which is sent now.
    pub fn until_forged(&self, node: &mut Node) -> Vec<Report> {
        let forged = udp(addresses(2)[0], addresses(1)[0]);
        node.deliver(0, &[forged]);
        let mut told = Vec::new();
        loop {
            match self.news.recv_timeout(Duration::from_secs(10)).expect("the last one is told") {
                News::Packet(report) if report.packet == Some(forged) => return told,
                News::Packet(report) => told.push(report),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A decision that is told as what its label would begin with.
type Told = (Event, String, Option<Packet>);

/// What must be told and counted.
#[derive(Default)]
pub struct Expected {
    told: BTreeMap<String, Vec<Told>>,
    /// Decisions whose counters are their own.
    own: BTreeMap<DecisionId, u64>,
    /// Rules that admit, or pass on, may be joined.
    joined: BTreeMap<(PolicyId, Direction), u64>,
    actions: BTreeMap<DecisionId, Action>,
}

impl Expected {
    /// By the evaluator, for packets from one pod to the other.
    pub fn of(ruleset: &Ruleset, from: usize, packets: &[Packet]) -> Self {
        let mut expected = Self::default();
        for policy in ruleset.policies.values() {
            for rule in policy.ingress.iter().chain(&policy.egress) {
                expected.actions.insert(rule.decision.clone(), rule.action);
            }
        }
        for packet in packets {
            if expected.judge(ruleset, from, Direction::Egress, packet) {
                expected.judge(ruleset, 1 - from, Direction::Ingress, packet);
            }
        }
        // The forged one of the witness.
        *expected.own.entry(DecisionId::Spoof).or_default() += 1;
        expected
    }

    fn judge(
        &mut self,
        ruleset: &Ruleset,
        pod: usize,
        direction: Direction,
        packet: &Packet,
    ) -> bool {
        let Some(endpoint) = ruleset.endpoints.get(&endpoint_id(pod)) else {
            // An unknown pod has no address of its own.
            self.denied(
                match direction {
                    Direction::Egress => &DecisionId::Spoof,
                    Direction::Ingress => &DecisionId::UnknownEndpoint,
                },
                packet,
            );
            return false;
        };
        let program = &ruleset.programs[&endpoint.program(direction)];
        let judgement = evaluate(ruleset, program, packet);
        for decision in judgement.staged {
            *self.own.entry(decision).or_default() += 1;
        }
        for decision in &judgement.logged {
            self.told(Event::Log, decision, packet);
            *self.own.entry(decision.clone()).or_default() += 1;
        }
        for step in &judgement.steps {
            let rules = ruleset.policies.get(&step.policy).map(|p| p.rules(direction));
            let matched = match step.outcome {
                brindle_model::ruleset::StepOutcome::Matched(at) => rules.map(|r| &r[at]),
                brindle_model::ruleset::StepOutcome::NoMatch => None,
            };
            let staged = step.policy.kind.is_staged();
            if let Some(Action::Allow | Action::Pass) =
                matched.filter(|_| !staged).map(|r| r.action)
            {
                *self.joined.entry((step.policy.clone(), direction)).or_default() += 1;
            }
        }
        match (judgement.verdict, &judgement.decision) {
            (Verdict::Deny, decision) => self.denied(decision, packet),
            (Verdict::Allow, DecisionId::Rule { .. }) => {}
            (Verdict::Allow, decision) => *self.own.entry(decision.clone()).or_default() += 1,
        }
        judgement.verdict == Verdict::Allow
    }

    fn denied(&mut self, decision: &DecisionId, packet: &Packet) {
        self.told(Event::Deny, decision, packet);
        *self.own.entry(decision.clone()).or_default() += 1;
    }

    fn told(&mut self, event: Event, decision: &DecisionId, packet: &Packet) {
        let label = decision.cut_label();
        let told = (event, label.clone(), Some(*packet));
        self.told.entry(label).or_default().push(told);
    }

    /// Compares with what came.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, reports: &[Report], hits: &[Hit]) -> Result<(), TestCaseError> {
        let mut told: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        for Report { event, decision, packet, .. } in reports {
            // How much of a label fits is each backend's affair.
            let label = match decision {
                Label::Decision(decision) => decision.cut_label(),
                Label::Cut(label) => label.split('/').take(2).collect::<Vec<_>>().join("/"),
            };
            told.entry(label.clone()).or_default().push((*event, label, *packet));
        }
        let labels: Vec<_> = self.told.keys().collect();
        prop_assert_eq!(told.keys().collect::<Vec<_>>(), labels);
        for (label, mut expected) in self.told.clone() {
            let told = &told[&label];
            if expected[0].0 == Event::Log && expected.len() > LOGGED {
                prop_assert!(told.len() >= LOGGED, "{}: {} told", label, told.len());
                expected.truncate(LOGGED);
                prop_assert_eq!(&told[..LOGGED], &expected[..]);
            } else {
                prop_assert_eq!(told, &expected);
            }
        }
        self.compare_counters(hits)
    }

    fn compare_counters(&self, hits: &[Hit]) -> Result<(), TestCaseError> {
        let mut own: BTreeMap<DecisionId, u64> = BTreeMap::new();
        let mut joined: BTreeMap<(PolicyId, Direction), u64> = BTreeMap::new();
        for hit in hits.iter().filter(|hit| hit.packets > 0) {
            prop_assert!(hit.bytes >= 20 * hit.packets);
            let first = &hit.decisions[0];
            match first {
                DecisionId::Rule { policy, direction, .. }
                    if !policy.kind.is_staged()
                        && matches!(self.actions[first], Action::Allow | Action::Pass) =>
                {
                    *joined.entry((policy.clone(), *direction)).or_default() += hit.packets;
                }
                _ => {
                    prop_assert_eq!(hit.decisions.len(), 1);
                    own.insert(first.clone(), hit.packets);
                }
            }
        }
        prop_assert_eq!(&own, &self.own);
        prop_assert_eq!(&joined, &self.joined);
        Ok(())
    }
}

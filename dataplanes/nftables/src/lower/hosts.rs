//! What judges packets on interfaces of the node itself. There are no such chains on a node that has
//! no host endpoint.
//!
//! ```text
//! host-raw-in (prerouting, raw)      untracked policy ── allow ──> host-untracked: notrack, marked
//! host-pre-dnat (prerouting, mangle) policy before DNAT ── allow ──> host-accepted: marked
//! forward        jump host-forward-in ──> … pods … ──> goto host-forward-out
//! input          goto host-input
//! host-output (output, filter)
//! host-raw-out (output, raw)         untracked policy, of what the node sends
//!
//! in each:  marked, or of a known flow      goes on   (not before connection tracking)
//!           neighbour discovery, failsafe   goes on   (not on the way through)
//!           iifname eth0 goto program-<id>  one rule an interface, then one for all others
//! ```
//! - *A packet that an early stage allows* skips the later stages of the interface that it came in
//!   on (C38). It bears [`HOST_ACCEPTED_MARK`] from there on; whatever else bears it when it comes
//!   in, such as what was taken out of a tunnel, loses it first.
//! - *Interfaces of pods* and the loopback are nobody's (C40).
//! - *On the way through* an allow of the interface that the packet came in on must not end the
//!   base chain: it is `return`, as in egress programs.
//! - *Failsafe ports* stand before the interfaces: on one that is not policed nothing is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::host::Failsafe;
use brindle_model::net::{Family, PortRange, Protocol};
use brindle_model::ruleset::{HostInterface, HostStages, ProgramId, Ruleset, Stage};
use brindle_model::verdict::{DecisionId, Direction};

use super::Lowered;
use super::policy::program_chain;
use super::skeleton::{base, drop_as, pod, regular, rule};
use super::walk::plain;
use crate::rule::{Criterion, CtState, Rule, Side, Target};
use crate::table::{Chain, HookPoint, Verdict};

/// Where an untracked allow leads.
pub const UNTRACKED: &str = "host-untracked";
/// Where an allow before DNAT leads.
pub const ACCEPTED: &str = "host-accepted";
/// Chains that base chains of the skeleton lead to.
pub const INPUT: &str = "host-input";
pub const FORWARD_IN: &str = "host-forward-in";
pub const FORWARD_OUT: &str = "host-forward-out";

/// Priorities of base chains: `raw`, before connection tracking at -200; `mangle`, before DNAT at
/// -100; `filter`.
const RAW: i32 = -300;
const MANGLE: i32 = -150;
const FILTER: i32 = 0;

/// Which stages some interface of the node has: what the skeleton must lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Some interface is policed at all.
    pub normal: bool,
    /// What comes in is judged on its way through.
    pub forward_in: bool,
    /// What goes out is.
    pub forward_out: bool,
    /// What pods send to the node ends here, once their egress policy has admitted it.
    pub drop_pods: bool,
}

impl Stages {
    /// Those of a ruleset.
    pub fn of(ruleset: &Ruleset) -> Self {
        let some = |stage, direction| {
            ruleset.hosts.values().any(|host| host.program(stage, direction).is_some())
        };
        Self {
            normal: own(ruleset).next().is_some(),
            drop_pods: ruleset.hosts.contains_key(&HostInterface::Pods),
            forward_in: some(Stage::Forward, Direction::Ingress),
            forward_out: some(Stage::Forward, Direction::Egress),
        }
    }
}

/// The interfaces of the node that are no pods'.
fn own(ruleset: &Ruleset) -> impl Iterator<Item = (&HostInterface, &Arc<HostStages>)> {
    ruleset.hosts.iter().filter(|(interface, _)| **interface != HostInterface::Pods)
}

/// The chains of the node's own interfaces.
pub fn hosts(ruleset: &Ruleset) -> Lowered {
    let Some((_, host)) = own(ruleset).next() else { return Lowered::default() };
    // An agent has one list for all of its host endpoints.
    let place = |stage, direction| Place { ruleset, host, stage, direction };
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    let mut chains: BTreeMap<Name, Arc<Chain>> = BTreeMap::new();
    let mut add = |name: &str, chain: Chain| {
        chains.insert(name.into(), Arc::new(chain));
    };
    add(INPUT, regular("what comes in for the node", place(Stage::Normal, ingress).rules()));
    let output = place(Stage::Normal, egress).rules();
    add("host-output", base(HookPoint::Output, FILTER, "what the node sends", output));
    for (name, comment, direction) in [
        (FORWARD_IN, "what comes in on its way through", ingress),
        (FORWARD_OUT, "what goes out on its way through", egress),
    ] {
        if let Some(rules) = place(Stage::Forward, direction).rules_if_any() {
            add(name, regular(comment, rules));
        }
    }
    let early = [
        ("host-raw-in", HookPoint::Prerouting, RAW, Stage::Untracked, ingress),
        ("host-raw-out", HookPoint::Output, RAW, Stage::Untracked, egress),
        ("host-pre-dnat", HookPoint::Prerouting, MANGLE, Stage::PreDnat, ingress),
    ];
    for (name, point, priority, stage, direction) in early {
        if let Some(rules) = place(stage, direction).rules_if_any() {
            let comment = match stage {
                Stage::Untracked => "before connection tracking",
                _ => "before DNAT",
            };
            add(name, base(point, priority, comment, rules));
        }
    }
    if chains.keys().any(|name| name.starts_with("host-raw")) {
        let mut rules = vec![Rule { target: Target::NoTrack, ..plain(Verdict::Return, "") }];
        rules.extend(accepted());
        chains.insert(
            UNTRACKED.into(),
            Arc::new(regular("admitted without connection tracking", rules)),
        );
    }
    if chains.contains_key("host-pre-dnat") {
        let chain = regular("admitted before DNAT", accepted().to_vec());
        chains.insert(ACCEPTED.into(), Arc::new(chain));
    }
    Lowered { chains, ..Lowered::default() }
}

/// Marks a packet, and lets it go on.
fn accepted() -> [Rule; 2] {
    let mark = Rule { target: Target::Mark(true), ..plain(Verdict::Return, "") };
    [mark, plain(Verdict::Accept, "")]
}

/// One stage and direction of all interfaces.
struct Place<'a> {
    ruleset: &'a Ruleset,
    /// Any of them.
    host: &'a HostStages,
    stage: Stage,
    direction: Direction,
}

impl Place<'_> {
    fn program(&self, host: &HostStages) -> Option<ProgramId> {
        host.program(self.stage, self.direction)
    }

    fn rules_if_any(&self) -> Option<Vec<Rule>> {
        self.any(self.stage).then(|| self.rules())
    }

    /// Whether some interface has a stage in this direction.
    fn any(&self, stage: Stage) -> bool {
        self.ruleset.hosts.values().any(|host| host.program(stage, self.direction).is_some())
    }

    fn incoming(&self) -> bool {
        self.direction == Direction::Ingress
    }

    fn rules(&self) -> Vec<Rule> {
        let accept = |criterion| rule(vec![criterion], Verdict::Accept);
        let mut rules = Vec::new();
        // What reaches a chain of another stage comes there from the skeleton, pods sorted out.
        let own_hook = match self.stage {
            Stage::Untracked | Stage::PreDnat => true,
            Stage::Normal => !self.incoming(),
            Stage::Forward => false,
        };
        if own_hook {
            rules.push(accept(pod(self.incoming(), true)));
        }
        if self.incoming()
            && (self.stage == Stage::Untracked
                || self.stage == Stage::PreDnat && !self.any(Stage::Untracked))
        {
            rules.push(Rule {
                criteria: vec![Criterion::HostAccepted],
                target: Target::Mark(false),
                ..plain(Verdict::Return, "")
            });
        }
        if self.stage != Stage::Forward {
            rules.push(accept(Criterion::Interface { input: self.incoming(), name: "lo".into() }));
        }
        match self.stage {
            Stage::Untracked => {}
            // Known flows have left before they come here.
            Stage::Forward if !self.incoming() => {}
            Stage::Forward => rules.extend(self.marked(Verdict::Return)),
            Stage::PreDnat => {
                rules.push(accept(Criterion::CtState(CtState::Accepted)));
                if self.any(Stage::Untracked) {
                    rules.push(accept(Criterion::HostAccepted));
                }
            }
            Stage::Normal => {
                rules.push(accept(Criterion::CtState(CtState::Accepted)));
                rules.extend(self.marked(Verdict::Accept));
            }
        }
        if self.stage != Stage::Forward {
            rules.extend(neighbour_discovery());
            rules.extend(self.failsafes());
        }
        let named = self.ruleset.hosts.iter().filter_map(|(interface, host)| match interface {
            HostInterface::Named(name) => Some((Some(name), host)),
            HostInterface::Others | HostInterface::Pods => None,
        });
        let others = self.ruleset.hosts.get(&HostInterface::Others);
        let spared = others.is_some_and(|host| self.program(host).is_some());
        for (name, host) in named.chain(others.map(|host| (None, host))) {
            let here = || -> Vec<Criterion> {
                let interface = |name: &Name| Criterion::Interface {
                    input: self.incoming(),
                    name: name.clone(),
                };
                name.map(interface).into_iter().collect()
            };
            let Some(program) = self.program(host) else {
                // It has a host endpoint of its own, which has nothing to say here.
                if spared && name.is_some() {
                    rules.push(rule(here(), Verdict::Return));
                }
                continue;
            };
            if self.stage != Stage::Untracked {
                let criteria = [here(), vec![Criterion::CtState(CtState::Invalid)]].concat();
                rules.push(drop_as(criteria, &DecisionId::Invalid));
            }
            let judge = match self.ruleset.programs.contains_key(&program) {
                true => rule(here(), Verdict::Goto(program_chain(program))),
                false => drop_as(here(), &DecisionId::UnknownEndpoint),
            };
            let comment = format!("HostEndpoint {}", host.endpoint);
            rules.push(Rule { comment: crate::table::comment(&comment), ..judge });
        }
        rules
    }

    /// A packet that an early stage of its interface has admitted, if there is such a stage.
    fn marked(&self, verdict: Verdict) -> Option<Rule> {
        let early = self.any(Stage::Untracked) || self.any(Stage::PreDnat);
        early.then(|| rule(vec![Criterion::HostAccepted], verdict))
    }

    /// C36: by destination port, and before connection tracking replies by source port.
    fn failsafes(&self) -> Vec<Rule> {
        let all = &self.host.failsafes;
        let (served, asked, peer) = match self.direction {
            Direction::Ingress => (&all.inbound, &all.outbound, Side::Source),
            Direction::Egress => (&all.outbound, &all.inbound, Side::Destination),
        };
        let mut rules: Vec<_> =
            served.iter().map(|f| failsafe(f, Side::Destination, peer)).collect();
        if self.stage == Stage::Untracked {
            rules.extend(asked.iter().map(|f| failsafe(f, Side::Source, peer)));
        }
        rules
    }
}

fn failsafe(failsafe: &Failsafe, port: Side, peer: Side) -> Rule {
    let prefix = |net| Criterion::Prefix { side: peer, equal: true, net };
    let mut criteria: Vec<_> = failsafe.net.map(prefix).into_iter().collect();
    criteria.push(Criterion::Protocol { equal: true, protocol: failsafe.protocol });
    let range = PortRange::single(failsafe.port);
    criteria.push(Criterion::Ports { side: port, equal: true, range });
    let (counter, decisions) = (true, [DecisionId::Failsafe].into());
    let comment = DecisionId::Failsafe.to_string();
    Rule { counter, decisions, comment, ..rule(criteria, Verdict::Accept) }
}

/// Neighbour and router discovery and MLD of both versions: an interface that is closed needs them
/// to be open for anybody at all, as IPv4 needs ARP, which passes no hook of ours.
fn neighbour_discovery() -> [Rule; 2] {
    [(130, 136), (143, 143)].map(|(first, last)| {
        let criteria = vec![
            Criterion::Family(Family::V6),
            Criterion::Protocol { equal: true, protocol: Protocol::ICMPV6 },
            Criterion::IcmpType { family: Family::V6, equal: true, first, last },
        ];
        let comment = DecisionId::NeighbourDiscovery.to_string();
        Rule { comment, ..rule(criteria, Verdict::Accept) }
    })
}

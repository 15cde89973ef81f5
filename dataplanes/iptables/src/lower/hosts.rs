//! What judges packets on interfaces of the node itself. There are no such chains on a node that has
//! no host endpoint, and none in `raw` and `mangle` while no policy is judged there.
//!
//! ```text
//! raw     PREROUTING  jump BRINDLE-RAW-IN       untracked policy ── allow ──> BRINDLE-UNTRACKED
//! raw     OUTPUT      jump BRINDLE-RAW-OUT      the same, of what the node sends
//! mangle  PREROUTING  jump BRINDLE-PRE-DNAT     policy before DNAT ── allow ──> BRINDLE-ACCEPTED
//! filter  FORWARD     BRINDLE-FORWARD: jump BRINDLE-HOST-FORWARD-IN, … pods …,
//!                     jump BRINDLE-HOST-FORWARD-OUT
//! filter  INPUT       BRINDLE-INPUT: goto BRINDLE-HOST-INPUT
//! filter  OUTPUT      jump BRINDLE-OUTPUT
//!
//! in each:  marked, or of a known flow      goes on   (not before connection tracking)
//!           neighbour discovery, failsafe   goes on   (not on the way through)
//!           from eth0     goto BRINDLE-h-<hash>, by the tree of interfaces; then one for all others
//! ```
//! - *An allow is RETURN*, at every stage: rules of the node's own firewall, which stand behind ours,
//!   are asked as they were before. So no chain of an ingress policy of pods, whose allow is ACCEPT,
//!   can be shared: rules stand in their program's chain.
//! - *A packet that an early stage allows* bears [`HOST_ACCEPTED_MARK`] from there on (C38).
//! - *A commit that changes several tables* may close in between ([`Gate::Closed`]).
//!
//! [`HOST_ACCEPTED_MARK`]: brindle_dataplane_core::HOST_ACCEPTED_MARK

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::host::Failsafe;
use brindle_model::net::{Family, PortRange, Protocol};
use brindle_model::ruleset::{HostInterface, HostStages, ProgramId, Ruleset, Stage};
use brindle_model::verdict::{DecisionId, Direction, is_plain};
use ipnet::IpNet;

use super::Lowered;
use super::dispatch::{MAX_INTERFACE, Tree};
use super::matches::chunks;
use super::policy::host_program_chain;
use super::record::{Recording, decided, drop_name, plain};
use super::skeleton::pod;
use crate::rule::{Chain, Criterion, Rule, Side, Target};
use crate::table::Table;

/// Where an untracked allow leads.
pub const UNTRACKED: &str = "BRINDLE-UNTRACKED";
/// Where an allow before DNAT leads.
pub const ACCEPTED: &str = "BRINDLE-ACCEPTED";
/// Chains that built-in chains jump to.
pub const RAW_IN: &str = "BRINDLE-RAW-IN";
pub const RAW_OUT: &str = "BRINDLE-RAW-OUT";
pub const PRE_DNAT: &str = "BRINDLE-PRE-DNAT";
pub const OUTPUT: &str = "BRINDLE-OUTPUT";
/// Chains that the skeleton leads to.
pub const INPUT: &str = "BRINDLE-HOST-INPUT";
pub const FORWARD_IN: &str = "BRINDLE-HOST-FORWARD-IN";
pub const FORWARD_OUT: &str = "BRINDLE-HOST-FORWARD-OUT";

/// ICMPv6 types of neighbour and router discovery and of MLD: what makes neighbours of a link is not
/// judged there, as ARP is not.
const DISCOVERY: [u8; 8] = [130, 131, 132, 133, 134, 135, 136, 143];

/// Which stages some interface of the node has: what the skeleton must lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Some interface is policed at all.
    pub normal: bool,
    /// What comes in is judged on its way through, or may have to be closed there.
    pub forward_in: bool,
    /// What goes out is judged on its way through.
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
        let into = |stage| some(stage, Direction::Ingress);
        Self {
            normal: own(ruleset).next().is_some(),
            drop_pods: ruleset.hosts.contains_key(&HostInterface::Pods),
            forward_in: into(Stage::Forward) || into(Stage::Untracked) || into(Stage::PreDnat),
            forward_out: some(Stage::Forward, Direction::Egress),
        }
    }
}

/// Whether programs are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They are.
    Open,
    /// They are, but on interfaces with an early stage, which are closed: this node cannot judge
    /// there.
    WithoutEarly,
    /// Nothing new passes a policed interface, whatever an early stage has said of it. What is known
    /// passes, and so do neighbour discovery and failsafe ports.
    Closed,
}

/// The interfaces of the node that are no pods'.
fn own(ruleset: &Ruleset) -> impl Iterator<Item = (&HostInterface, &Arc<HostStages>)> {
    ruleset.hosts.iter().filter(|(interface, _)| **interface != HostInterface::Pods)
}

/// Whether iptables can name an interface: a `+` at its end would mean others too.
fn can_name(name: &str) -> bool {
    name.len() <= MAX_INTERFACE && is_plain(name)
}

/// An interface that cannot be named, and so is not policed.
pub fn unnameable(ruleset: &Ruleset) -> Option<&HostInterface> {
    ruleset.hosts.keys().find(|interface| match interface {
        HostInterface::Named(name) => !can_name(name),
        HostInterface::Others | HostInterface::Pods => false,
    })
}

/// The table in which programs of a stage stand.
pub fn table_of(stage: Stage) -> Table {
    match stage {
        Stage::Untracked => Table::Raw,
        Stage::PreDnat => Table::Mangle,
        Stage::Forward | Stage::Normal => Table::Filter,
    }
}

fn is_early(stage: Stage) -> bool {
    matches!(stage, Stage::Untracked | Stage::PreDnat)
}

/// The programs that interfaces of the node run, with their tables.
pub fn host_programs(ruleset: &Ruleset, gate: Gate) -> BTreeMap<ProgramId, Table> {
    let all = own(ruleset).flat_map(|(_, host)| &host.programs);
    let all = all.filter(|place| gate == Gate::Open || !is_early(place.stage));
    let there = all.filter(|place| ruleset.programs.contains_key(&place.program));
    there.map(|place| (place.program, table_of(place.stage))).collect()
}

/// The chains of one table that lead to the programs of the node's own interfaces.
pub fn hosts(
    ruleset: &Ruleset,
    family: Family,
    recording: Recording,
    table: Table,
    gate: Gate,
) -> Lowered {
    let Some((_, host)) = own(ruleset).next() else { return Lowered::default() };
    if gate != Gate::Open && table != Table::Filter {
        return Lowered::default();
    }
    let mut chains: BTreeMap<Name, Arc<Chain>> = BTreeMap::new();
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    let places: &[(&str, Stage, Direction)] = match table {
        Table::Raw => &[(RAW_IN, Stage::Untracked, ingress), (RAW_OUT, Stage::Untracked, egress)],
        Table::Mangle => &[(PRE_DNAT, Stage::PreDnat, ingress)],
        Table::Filter => &[
            (INPUT, Stage::Normal, ingress),
            (OUTPUT, Stage::Normal, egress),
            (FORWARD_IN, Stage::Forward, ingress),
            (FORWARD_OUT, Stage::Forward, egress),
        ],
    };
    let stages = Stages::of(ruleset);
    for (name, stage, direction) in places {
        // An agent has one list of failsafe ports for all of its host endpoints.
        let (stage, direction) = (*stage, *direction);
        let place = Place { ruleset, host, family, stage, direction, gate };
        let there = match *name {
            FORWARD_IN => stages.forward_in,
            _ => place.any(stage),
        };
        if there {
            let rules = place.rules(&mut chains);
            chains.insert((*name).into(), Arc::new(Chain { rules }));
        }
    }
    if chains.is_empty() {
        return Lowered::default();
    }
    let mark = plain(Vec::new(), Target::Mark(true), "");
    let admitted = match table {
        Table::Raw => Some((UNTRACKED, vec![plain(Vec::new(), Target::NoTrack, ""), mark])),
        Table::Mangle => Some((ACCEPTED, vec![mark])),
        Table::Filter => None,
    };
    let chain = |(name, rules): (&str, _)| (name.into(), Arc::new(Chain { rules }));
    chains.extend(admitted.map(chain));
    let drops = [DecisionId::Invalid, DecisionId::UnknownEndpoint];
    chains.extend(drops.map(|decision| recording.drop_chain(&decision)));
    Lowered { chains, ..Lowered::default() }
}

/// One stage and direction of all interfaces.
struct Place<'a> {
    ruleset: &'a Ruleset,
    /// Any of them.
    host: &'a HostStages,
    family: Family,
    stage: Stage,
    direction: Direction,
    gate: Gate,
}

fn go_on(criterion: Criterion) -> Rule {
    plain(vec![criterion], Target::Return, "")
}

fn drop(criteria: Vec<Criterion>, decision: &DecisionId) -> Rule {
    plain(criteria, Target::Goto(drop_name(decision)), &decision.to_string())
}

impl Place<'_> {
    /// Whether some interface has a stage in this direction.
    fn any(&self, stage: Stage) -> bool {
        self.ruleset.hosts.values().any(|host| host.program(stage, self.direction).is_some())
    }

    fn incoming(&self) -> bool {
        self.direction == Direction::Ingress
    }

    /// Whether nothing new passes an interface here that a host endpoint polices.
    fn closes(&self, host: &HostStages) -> bool {
        // What goes out on its way through is judged in this table alone.
        let here = self.stage == Stage::Normal || self.incoming();
        here && match self.gate {
            Gate::Open => false,
            Gate::WithoutEarly => host.programs.iter().any(|place| is_early(place.stage)),
            Gate::Closed => true,
        }
    }

    fn interface(&self, name: Name) -> Criterion {
        Criterion::Interface { input: self.incoming(), equal: true, name }
    }

    /// The rules of the chain; those of its parts go to `chains`.
    fn rules(&self, chains: &mut BTreeMap<Name, Arc<Chain>>) -> Vec<Rule> {
        let mut rules = self.before_programs();
        let others = self.ruleset.hosts.get(&HostInterface::Others);
        let otherwise = others.map(|host| self.judge(None, host)).unwrap_or_default();
        let mut named = Vec::new();
        for (interface, host) in &self.ruleset.hosts {
            let HostInterface::Named(name) = interface else { continue };
            // One that has nothing to say here is only told from the others, if these have.
            let here = !self.judge(None, host).is_empty() || !otherwise.is_empty();
            if here && can_name(name) {
                named.push((&**name, &**host));
            }
        }
        if self.gate == Gate::Closed {
            // The chains of the tree stay as they are for what judges afterwards.
            let leaf = |(name, host): (&str, _)| self.leaf(self.interface(name.into()), host);
            rules.extend(named.into_iter().flat_map(leaf));
            rules.extend(otherwise);
            return rules;
        }
        let mut tree = Tree {
            letter: self.letter(),
            input: self.incoming(),
            leaf: &|interface, host| self.leaf(interface, host),
            otherwise: &otherwise,
            chains,
        };
        rules.extend(tree.rules(&named));
        rules
    }

    /// What goes on whatever the interface.
    fn before_programs(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        // What reaches a chain of another stage comes there from the skeleton, pods sorted out.
        let own_hook = match self.stage {
            Stage::Untracked | Stage::PreDnat => true,
            Stage::Normal => !self.incoming(),
            Stage::Forward => false,
        };
        rules.extend(own_hook.then(|| go_on(pod(self.incoming(), true))));
        let first = match self.stage {
            Stage::Untracked => self.incoming(),
            Stage::PreDnat => !self.any(Stage::Untracked),
            Stage::Forward | Stage::Normal => false,
        };
        if first {
            // What was taken out of a tunnel keeps the mark of what carried it.
            rules.push(plain(vec![Criterion::HostAccepted], Target::Mark(false), ""));
        }
        if self.stage != Stage::Forward {
            rules.push(go_on(self.interface("lo".into())));
        }
        if matches!(self.stage, Stage::PreDnat | Stage::Normal) {
            rules.push(go_on(Criterion::Known));
        }
        let marked = match self.stage {
            Stage::Untracked => false,
            Stage::PreDnat => self.any(Stage::Untracked),
            Stage::Forward => self.incoming() && self.any_early(),
            Stage::Normal => self.any_early(),
        };
        if marked && self.gate == Gate::Open {
            rules.push(go_on(Criterion::HostAccepted));
        }
        if self.stage != Stage::Forward {
            rules.extend(self.neighbour_discovery());
            rules.extend(self.failsafes());
        }
        rules
    }

    fn any_early(&self) -> bool {
        self.any(Stage::Untracked) || self.any(Stage::PreDnat)
    }

    fn leaf(&self, interface: Criterion, host: &HostStages) -> Vec<Rule> {
        let rules = self.judge(Some(&interface), host);
        if rules.is_empty() { vec![go_on(interface)] } else { rules }
    }

    /// What a host endpoint says at this place of one interface, or of all: nothing without a
    /// program.
    fn judge(&self, interface: Option<&Criterion>, host: &HostStages) -> Vec<Rule> {
        let here = || interface.into_iter().cloned().collect::<Vec<_>>();
        let of = |stage| host.program(stage, self.direction);
        let text = format!("HostEndpoint {}", host.endpoint);
        if self.closes(host) {
            let early = of(Stage::Untracked).or(of(Stage::PreDnat));
            let policed = self.stage == Stage::Normal || early.or(of(Stage::Forward)).is_some();
            return policed
                .then(|| drop(here(), &DecisionId::UnknownEndpoint))
                .into_iter()
                .collect();
        }
        let Some(program) = of(self.stage) else { return Vec::new() };
        let mut rules = Vec::new();
        if self.stage != Stage::Untracked {
            let criteria = [here(), vec![Criterion::Invalid]].concat();
            rules.push(drop(criteria, &DecisionId::Invalid));
        }
        rules.push(match self.ruleset.programs.contains_key(&program) {
            true => plain(here(), Target::Goto(host_program_chain(program)), &text),
            false => drop(here(), &DecisionId::UnknownEndpoint),
        });
        rules
    }

    /// Names the chains of the tree of interfaces at this place.
    fn letter(&self) -> char {
        match (self.stage, self.direction) {
            (Stage::Untracked, Direction::Ingress) => 'u',
            (Stage::Untracked, Direction::Egress) => 'v',
            (Stage::PreDnat, _) => 'n',
            (Stage::Forward, Direction::Ingress) => 'q',
            (Stage::Forward, Direction::Egress) => 'r',
            (Stage::Normal, Direction::Ingress) => 'i',
            (Stage::Normal, Direction::Egress) => 'o',
        }
    }

    /// C36: by destination port, and before connection tracking replies by source port.
    fn failsafes(&self) -> Vec<Rule> {
        let all = &self.host.failsafes;
        let (served, asked, peer) = match self.direction {
            Direction::Ingress => (&all.inbound, &all.outbound, Side::Source),
            Direction::Egress => (&all.outbound, &all.inbound, Side::Destination),
        };
        let mut rules = self.failsafes_of(served, Side::Destination, peer);
        if self.stage == Stage::Untracked {
            rules.extend(self.failsafes_of(asked, Side::Source, peer));
        }
        rules
    }

    /// Those of one protocol and peer are joined.
    fn failsafes_of(&self, all: &[Failsafe], side: Side, peer: Side) -> Vec<Rule> {
        let mut ports: BTreeMap<(Option<IpNet>, Protocol), BTreeSet<u16>> = BTreeMap::new();
        for failsafe in all.iter().filter(|f| f.family().is_none_or(|of| of == self.family)) {
            let key = (failsafe.net.filter(|net| net.prefix_len() > 0), failsafe.protocol);
            ports.entry(key).or_default().insert(failsafe.port);
        }
        let mut rules = Vec::new();
        for ((net, protocol), ports) in ports {
            let ports: Vec<_> = ports.into_iter().map(PortRange::single).collect();
            for ranges in chunks(&ports) {
                let prefix = |net| Criterion::Prefix { side: peer, equal: true, net };
                let mut criteria: Vec<_> = net.map(prefix).into_iter().collect();
                criteria.push(Criterion::Protocol { equal: true, protocol });
                criteria.push(Criterion::Ports { protocol, side, equal: true, ranges });
                rules.push(decided(criteria, Target::Return, &DecisionId::Failsafe));
            }
        }
        rules
    }

    fn neighbour_discovery(&self) -> Vec<Rule> {
        if self.family == Family::V4 {
            return Vec::new();
        }
        let text = DecisionId::NeighbourDiscovery.to_string();
        let rule = |icmp_type| {
            let protocol = Criterion::Protocol { equal: true, protocol: Protocol::ICMPV6 };
            let kind = Criterion::Icmp { family: Family::V6, equal: true, icmp_type, code: None };
            plain(vec![protocol, kind], Target::Return, &text)
        };
        DISCOVERY.map(rule).into()
    }
}

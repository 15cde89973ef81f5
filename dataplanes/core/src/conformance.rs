//! What any backend must do, without knowing which it is.
//!
//! A backend passes three functions: one that makes a backend (each call stands for a start of the
//! agent), one that shows what its kernel holds as a text in which equal rulesets are equal
//! whatever their history, and one that damages what the kernel holds of ours behind the agent's
//! back (flushing it, say). Each property panics with its name if it does not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::NamespacedName;
use brindle_model::cluster::EndpointId;
use brindle_model::net::{PortRange, Protocol};
use brindle_model::ruleset::{
    Action, Endpoint, HostInterface, HostStages, Match, Member, PolicyRules, PortMatch, Program,
    Rule, Ruleset, RulesetDelta, Set, SetDef, Side, Stage, StageProgram, TierEnd, TierStep,
};
use brindle_model::selector::Selector;
use brindle_model::verdict::{DecisionId, Direction, PolicyId, PolicyKind, Verdict};

use crate::backend::Backend;

/// Runs every property, each from an empty kernel.
///
/// # Panics
/// When a property does not hold.
pub fn conformance<B: Backend>(
    make: impl Fn() -> B,
    observe: impl Fn() -> String,
    damage: impl Fn(),
) {
    let suite = Suite { make, observe, damage, empty: String::new() };
    let suite = Suite { empty: (suite.observe)(), ..suite };
    suite.walk_equals_fresh();
    suite.idle_commit_writes_nothing();
    suite.restart_writes_nothing();
    suite.restart_sweeps();
    suite.damage_is_found_and_repaired();
    suite.commit_over_damage_recovers();
    suite.stopping_revoked_connections_is_desired_state();
    suite.uninstall_leaves_nothing();
    suite.hosts_leave_nothing();
}

struct Suite<M, O, D> {
    make: M,
    observe: O,
    damage: D,
    empty: String,
}

impl<B: Backend, M: Fn() -> B, O: Fn() -> String, D: Fn()> Suite<M, O, D> {
    /// A backend started on whatever the kernel holds, with `ruleset` committed.
    fn start(&self, ruleset: &Ruleset) -> (B, usize) {
        let mut backend = (self.make)();
        backend.resync().expect("resync at start");
        backend.stage(&RulesetDelta::between(&Ruleset::default(), ruleset));
        let commit = backend.commit().expect("commit of the first complete ruleset");
        (backend, commit.writes)
    }

    fn shows(&self, ruleset: &Ruleset) -> String {
        self.clear();
        self.start(ruleset);
        (self.observe)()
    }

    fn clear(&self) {
        let mut backend = (self.make)();
        backend.uninstall().expect("uninstall");
    }

    fn walk_equals_fresh(&self) {
        let states = states();
        let expected: Vec<String> = states.iter().map(|state| self.shows(state)).collect();
        self.clear();
        let (mut backend, _) = self.start(&states[0]);
        let last = states.len() - 1;
        for to in [1, 2, 3, 2, 0, 3, 1, 0, last, 2, last, 0] {
            let from = current(&states, &expected, &(self.observe)());
            backend.stage(&RulesetDelta::between(from, &states[to]));
            backend.commit().expect("commit of a delta");
            assert_eq!((self.observe)(), expected[to], "a walk of deltas equals a fresh start");
        }
        // Staged one after another and committed together.
        for (from, to) in [(0, 1), (1, last), (last, 3), (3, 2)] {
            backend.stage(&RulesetDelta::between(&states[from], &states[to]));
        }
        backend.commit().expect("commit of joined deltas");
        assert_eq!((self.observe)(), expected[2], "joined deltas equal single ones");
    }

    fn idle_commit_writes_nothing(&self) {
        self.clear();
        let (mut backend, _) = self.start(&states()[1]);
        let before = (self.observe)();
        let writes = backend.commit().expect("idle commit").writes;
        assert_eq!(writes, 0, "a commit with nothing pending writes nothing");
        let drift = backend.resync().expect("resync").differing;
        assert_eq!(drift, 0, "a read-back right after a commit finds no drift");
        assert_eq!(backend.commit().expect("commit").writes, 0, "nor does it lead to a write");
        assert_eq!((self.observe)(), before, "idle commits leave the kernel as it is");
    }

    fn restart_writes_nothing(&self) {
        for state in states() {
            self.clear();
            self.start(&state);
            let before = (self.observe)();
            let (_, writes) = self.start(&state);
            assert_eq!(writes, 0, "a restart with the same ruleset writes nothing");
            assert_eq!((self.observe)(), before, "a restart leaves the kernel as it is");
        }
    }

    fn restart_sweeps(&self) {
        let states = states();
        let expected = self.shows(&states[0]);
        self.clear();
        states[3..].iter().for_each(|state| drop(self.start(state)));
        self.start(&states[0]);
        assert_eq!((self.observe)(), expected, "a restart removes what is no longer wanted");
    }

    fn damage_is_found_and_repaired(&self) {
        self.clear();
        let (mut backend, _) = self.start(&states()[2]);
        let before = (self.observe)();
        (self.damage)();
        assert_ne!((self.observe)(), before, "the damage must show, or the suite proves nothing");
        let drift = backend.resync().expect("resync after damage").differing;
        assert!(drift > 0, "a read-back finds damage");
        assert!(backend.commit().expect("repair").writes > 0, "a repair writes");
        assert_eq!((self.observe)(), before, "a repair restores everything");
    }

    /// The delta may be refused, because what it builds on is gone; after a read-back it is not.
    fn commit_over_damage_recovers(&self) {
        let states = states();
        let expected = self.shows(&states[3]);
        self.clear();
        let (mut backend, _) = self.start(&states[2]);
        (self.damage)();
        backend.stage(&RulesetDelta::between(&states[2], &states[3]));
        // Either answer is right; what counts is what follows.
        let _ = backend.commit();
        backend.resync().expect("resync after a failure");
        backend.commit().expect("commit after a resync");
        assert_eq!((self.observe)(), expected, "an error leaves nothing undone behind");
    }

    fn stopping_revoked_connections_is_desired_state(&self) {
        let state = &states()[2];
        let without = self.shows(state);
        self.clear();
        let (mut backend, _) = self.start(state);
        backend.stop_revoked(true);
        assert!(backend.commit().expect("commit").writes > 0, "stopping is written");
        let with = (self.observe)();
        assert_ne!(with, without, "stopping shows");
        assert_eq!(backend.resync().expect("resync").differing, 0, "and is no drift");
        let (mut backend, writes) = self.start(state);
        assert_eq!((writes, (self.observe)()), (0, with.clone()), "a restart keeps it untold");
        (self.damage)();
        backend.resync().expect("resync after damage");
        backend.commit().expect("repair");
        assert_eq!((self.observe)(), with, "a repair restores it");
        backend.stop_revoked(false);
        backend.commit().expect("commit");
        assert_eq!((self.observe)(), without, "its end leaves nothing of it");
    }

    /// Interfaces of the node are policed from the start or by a delta, and leave nothing behind.
    fn hosts_leave_nothing(&self) {
        self.clear();
        let states = states();
        let hosted = states.iter().find(|state| !state.hosts.is_empty()).expect("one with hosts");
        let mut backend = (self.make)();
        backend.resync().expect("resync at start");
        backend.stage(&RulesetDelta::between(&Ruleset::default(), hosted));
        backend.commit().expect("a commit with interfaces of the node");
        let plain = self.shows(&states[1]);
        self.clear();
        let (mut backend, _) = self.start(&states[1]);
        backend.stage(&RulesetDelta::between(&states[1], hosted));
        backend.commit().expect("the same by a delta");
        backend.stage(&RulesetDelta::between(hosted, &states[1]));
        backend.commit().expect("a commit without them");
        assert_eq!((self.observe)(), plain, "nothing of them is left");
    }

    fn uninstall_leaves_nothing(&self) {
        self.clear();
        states()[3..].iter().for_each(|state| drop(self.start(state)));
        self.clear();
        assert_eq!((self.observe)(), self.empty, "uninstall leaves nothing behind");
        self.clear();
        assert_eq!((self.observe)(), self.empty, "uninstall of nothing is no error");
    }
}

fn current<'a>(states: &'a [Ruleset], shown: &[String], now: &str) -> &'a Ruleset {
    let at = shown.iter().position(|text| text == now);
    &states[at.expect("the kernel shows one of the states")]
}

/// Rulesets that differ in every kind of object: an open pod; isolated by a selector set; a second
/// pod, a CIDR set with members of both families and a named port; the first pod gone and members
/// changed; the first one, and interfaces of the node under policy at every stage.
pub(crate) fn states() -> Vec<Ruleset> {
    let (web, db) = (endpoint("web", 5), endpoint("db", 6));
    let mut open = Ruleset::default();
    add(&mut open, &web, &[]);

    let mut isolated = Ruleset::default();
    let clients = selector_set(&["10.99.0.7", "fd99::7"]);
    let from_clients = policy(&mut isolated, "from-clients", [rule(0, &clients, 80)]);
    isolated.sets.insert(clients.def.id(), clients);
    add(&mut isolated, &web, &[from_clients]);

    let mut mixed = isolated.clone();
    let nets = net_set(&["10.98.0.0/16", "fd98::/32", "192.0.2.128/25"]);
    let named = port_set("10.99.0.6", 5432);
    let from_nets = policy(&mut mixed, "from-nets", [rule(0, &nets, 443), named_rule(1, &named)]);
    mixed.sets.insert(nets.def.id(), nets);
    mixed.sets.insert(named.def.id(), named);
    add(&mut mixed, &db, &[from_nets]);

    let mut moved = mixed.clone();
    moved.endpoints.remove(&web.0);
    let ingress = web_programs(&moved);
    moved.programs.retain(|id, _| ingress.contains(id));
    for set in moved.sets.values_mut() {
        if matches!(set.def, SetDef::Selector(_)) {
            set.members = members(&["10.99.0.8", "10.99.0.9", "fd99::9"]);
        }
    }
    let from_clients = PolicyId::network_policy(&NamespacedName::new("ns", "from-clients"));
    moved.policies.remove(&from_clients);
    let used: BTreeSet<_> = moved.policies.values().flat_map(|policy| policy.sets()).collect();
    moved.sets.retain(|id, _| used.contains(id));
    let hosted = with_hosts(isolated.clone());
    vec![open, isolated, mixed, moved, hosted]
}

/// With one interface under its own policy at every stage, and all others closed.
fn with_hosts(mut ruleset: Ruleset) -> Ruleset {
    let clients = ruleset.sets.values().next().expect("a set").clone();
    let global = |name: &str| PolicyId {
        name: name.into(),
        namespace: None,
        kind: PolicyKind::GlobalNetworkPolicy,
    };
    let stages = [
        (Stage::Untracked, "raw", &Direction::ALL[..]),
        (Stage::PreDnat, "pre-dnat", &Direction::ALL[..1]),
        (Stage::Forward, "edge", &Direction::ALL),
        (Stage::Normal, "edge", &Direction::ALL),
    ];
    let mut named = Vec::new();
    for (stage, name, directions) in stages {
        let id = global(name);
        let rules = |direction| {
            let (index, matches) = rule(0, &clients, 53);
            let decision = DecisionId::Rule { policy: id.clone(), direction, index };
            vec![Rule { decision, matches, action: Action::Allow }].into()
        };
        let [ingress, egress] = Direction::ALL.map(rules);
        ruleset.policies.insert(id.clone(), Arc::new(PolicyRules { ingress, egress }));
        for direction in directions {
            let end = match stage {
                Stage::Normal => (Verdict::Deny, DecisionId::NoProfile),
                _ => (Verdict::Allow, DecisionId::StageEnd),
            };
            let tier_end = match stage {
                Stage::Forward | Stage::Normal => TierEnd::Drop,
                Stage::Untracked | Stage::PreDnat => TierEnd::NextTier,
            };
            let policies = vec![id.clone()];
            let step = TierStep { tier: "default".into(), policies, end: tier_end };
            let program = Program { stage, direction: *direction, steps: vec![step].into(), end };
            named.push(StageProgram { stage, direction: *direction, program: program.id() });
            ruleset.programs.insert(program.id(), Arc::new(program));
        }
    }
    let normal = named.iter().filter(|p| p.stage == Stage::Normal).copied().collect();
    for (interface, endpoint, programs) in [
        (HostInterface::Named("uplink0".into()), "uplink", named),
        (HostInterface::Others, "others", normal),
    ] {
        let failsafes = Arc::default();
        let host = HostStages { endpoint: endpoint.into(), programs, failsafes };
        ruleset.hosts.insert(interface, Arc::new(host));
    }
    ruleset
}

fn web_programs(ruleset: &Ruleset) -> BTreeSet<brindle_model::ruleset::ProgramId> {
    ruleset.endpoints.values().flat_map(|endpoint| [endpoint.ingress, endpoint.egress]).collect()
}

fn endpoint(name: &str, last: u8) -> (EndpointId, Vec<IpAddr>) {
    let id = EndpointId {
        pod: NamespacedName::new("ns", name),
        container_id: format!("container-of-{name}").into(),
        interface: "eth0".into(),
    };
    let v6 = format!("fd99::{last}").parse().expect("an IPv6 address");
    (id, vec![IpAddr::from([10, 99, 0, last]), v6])
}

fn add(ruleset: &mut Ruleset, (id, addresses): &(EndpointId, Vec<IpAddr>), policies: &[PolicyId]) {
    let profile = DecisionId::Profile { name: "kns.ns".into() };
    let steps = (!policies.is_empty()).then(|| TierStep {
        tier: "default".into(),
        policies: policies.to_vec(),
        end: TierEnd::Drop,
    });
    let program = |direction, steps: Option<TierStep>| {
        let end = (Verdict::Allow, profile.clone());
        Arc::new(Program {
            stage: Stage::Normal,
            direction,
            steps: steps.into_iter().collect(),
            end,
        })
    };
    let ingress = program(Direction::Ingress, steps);
    let egress = program(Direction::Egress, None);
    let endpoint = Endpoint {
        host_interface: format!("brd{}", id.pod.name).into(),
        addresses: addresses.clone(),
        ingress: ingress.id(),
        egress: egress.id(),
    };
    ruleset.programs.insert(ingress.id(), ingress);
    ruleset.programs.insert(egress.id(), egress);
    ruleset.endpoints.insert(id.clone(), Arc::new(endpoint));
    // An earlier call may have left a program that nobody runs any more.
    let used = web_programs(ruleset);
    ruleset.programs.retain(|id, _| used.contains(id));
}

fn policy<const N: usize>(ruleset: &mut Ruleset, name: &str, rules: [(u32, Match); N]) -> PolicyId {
    let id = PolicyId::network_policy(&NamespacedName::new("ns", name));
    let ingress = rules.map(|(index, matches)| Rule {
        decision: DecisionId::Rule { policy: id.clone(), direction: Direction::Ingress, index },
        matches,
        action: Action::Allow,
    });
    let rules = PolicyRules { ingress: ingress.into_iter().collect(), ..PolicyRules::default() };
    ruleset.policies.insert(id.clone(), Arc::new(rules));
    id
}

fn rule(index: u32, source: &Set, port: u16) -> (u32, Match) {
    let source = Side { sets: [source.def.id()].into(), ..Side::default() };
    let ports = [PortMatch::Range(PortRange::single(port))].into();
    let destination = Side { ports, ..Side::default() };
    (index, Match { protocol: Some(Protocol::TCP), source, destination, ..Match::default() })
}

fn named_rule(index: u32, named: &Set) -> (u32, Match) {
    let destination = Side { ports: [PortMatch::Named(named.def.id())].into(), ..Side::default() };
    (index, Match { protocol: Some(Protocol::TCP), destination, ..Match::default() })
}

fn members(addresses: &[&str]) -> BTreeSet<Member> {
    let parse = |text: &&str| Member::Addr(text.parse().expect("an address"));
    addresses.iter().map(parse).collect()
}

fn selector_set(addresses: &[&str]) -> Set {
    let def = SetDef::Selector(Selector::equals("app", "client"));
    Set { def, members: members(addresses) }
}

fn net_set(nets: &[&str]) -> Set {
    let nets: BTreeMap<_, ()> =
        nets.iter().map(|net| (net.parse().expect("a prefix"), ())).collect();
    let nets: Vec<_> = nets.into_keys().collect();
    let members = nets.iter().copied().map(Member::Net).collect();
    Set { def: SetDef::Cidrs(nets), members }
}

fn port_set(address: &str, port: u16) -> Set {
    let protocol = Protocol::TCP;
    let def = SetDef::NamedPort { name: "sql".into(), protocol, selector: Selector::All };
    let address = address.parse().expect("an address");
    Set { def, members: BTreeSet::from([Member::Port(address, protocol, port)]) }
}

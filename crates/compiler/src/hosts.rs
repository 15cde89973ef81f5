//! Which interfaces of this node which host endpoint polices (C34), and with which programs.
//!
//! A node has a handful of interfaces and of host endpoints, and both change rarely, so everything
//! here is worked out anew whenever something that it depends on changed. Of the host endpoints of
//! other nodes only their addresses and named ports matter, which an index by address finds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::cluster::HOST_INTERFACE_PREFIX;
use brindle_model::host::{
    DEFAULT_ALLOW_PROFILE, Failsafes, HostEndpoint, HostInterfaces, HostLink,
};
use brindle_model::labels::EffectiveLabels;
use brindle_model::ruleset::{HostInterface, HostStages, Program, ProgramId, Stage, StageProgram};
use brindle_model::verdict::{DecisionId, Direction, Verdict};

use crate::selection::Selection;
use crate::table::{Before, Table};

/// The loopback carries what a node says to itself, which nothing polices.
const LOOPBACK: &str = "lo";

/// Host endpoints of the cluster, the interfaces of this node, and what stays open on them.
#[derive(Debug)]
pub(crate) struct Hosts {
    node: Name,
    pub endpoints: Table<Name, Arc<HostEndpoint>>,
    /// Those of this node.
    local: BTreeSet<Name>,
    /// Those that have named ports, by their addresses.
    with_ports: BTreeMap<IpAddr, BTreeSet<Name>>,
    pub links: Table<Name, Arc<HostLink>>,
    pub failsafes: Arc<Failsafes>,
    /// Whether what pods send to this node is dropped, whatever their policies admit.
    drops_pods: bool,
    options_changed: bool,
}

/// What an advance changed.
#[derive(Debug)]
pub(crate) struct HostChanges {
    pub endpoints: Before<Name, Arc<HostEndpoint>>,
    pub others: bool,
}

/// What polices the interfaces of a node.
pub(crate) type Policed = BTreeMap<HostInterface, HostStages>;

impl Hosts {
    /// None, for the node of this name.
    pub fn new(node: Name) -> Self {
        Self {
            node,
            endpoints: Table::default(),
            local: BTreeSet::new(),
            with_ports: BTreeMap::new(),
            links: Table::default(),
            failsafes: Arc::default(),
            drops_pods: false,
            options_changed: false,
        }
    }

    /// Whether anything was noted since the last advance.
    pub fn has_pending(&self) -> bool {
        self.endpoints.has_pending() || self.links.has_pending() || self.options_changed
    }

    /// Takes over what was noted.
    pub fn advance(&mut self) -> HostChanges {
        let endpoints = self.endpoints.advance();
        for (name, before) in &endpoints {
            self.local.remove(name);
            for addr in before.iter().flat_map(|endpoint| &endpoint.expected_addresses) {
                if let Some(names) = self.with_ports.get_mut(addr) {
                    names.remove(name);
                    if names.is_empty() {
                        self.with_ports.remove(addr);
                    }
                }
            }
            let Some(endpoint) = self.endpoints.get(name) else { continue };
            if endpoint.node == self.node {
                self.local.insert(name.clone());
            }
            if !endpoint.ports.is_empty() {
                for addr in &endpoint.expected_addresses {
                    self.with_ports.entry(*addr).or_default().insert(name.clone());
                }
            }
        }
        let links = self.links.advance();
        let options = std::mem::take(&mut self.options_changed);
        HostChanges { endpoints, others: options || !links.is_empty() }
    }

    /// Sets what stays open.
    pub fn set_failsafes(&mut self, failsafes: Failsafes) {
        self.options_changed |= *self.failsafes != failsafes;
        self.failsafes = Arc::new(failsafes);
    }

    /// Sets whether what pods send to this node is dropped.
    pub fn drop_pods(&mut self, drop: bool) {
        self.options_changed |= self.drops_pods != drop;
        self.drops_pods = drop;
    }

    /// Whether an interface of this node is policed.
    pub fn any_here(&self) -> bool {
        self.drops_pods || !self.local.is_empty()
    }

    /// Those of this node, by name.
    fn here(&self) -> impl Iterator<Item = (&Name, &HostEndpoint)> {
        self.local.iter().filter_map(|name| Some((name, &**self.endpoints.get(name)?)))
    }

    /// Those with named ports that are known by an address.
    pub fn with_ports_at(&self, addr: IpAddr) -> impl Iterator<Item = &HostEndpoint> {
        let names = self.with_ports.get(&addr).into_iter().flatten();
        names.filter_map(|name| self.endpoints.get(name)).map(|endpoint| &**endpoint)
    }

    /// The addresses by which host endpoints with named ports are known.
    pub fn addresses_with_ports(&self) -> impl Iterator<Item = IpAddr> {
        self.with_ports.keys().copied()
    }

    /// The host endpoint of each interface: the first by name of those that mean it (C34).
    fn assigned(&self) -> BTreeMap<HostInterface, (&Name, &HostEndpoint)> {
        let mut assigned = BTreeMap::new();
        for (name, endpoint) in self.here() {
            for interface in self.meant(endpoint) {
                assigned.entry(interface).or_insert((name, endpoint));
            }
        }
        assigned
    }

    fn meant(&self, endpoint: &HostEndpoint) -> BTreeSet<HostInterface> {
        match &endpoint.interfaces {
            HostInterfaces::Named(name) => [HostInterface::Named(name.clone())].into(),
            HostInterfaces::All => [HostInterface::Others].into(),
            HostInterfaces::ByAddress => {
                let expected = &endpoint.expected_addresses;
                let holds = |link: &HostLink| link.addresses.iter().any(|a| expected.contains(a));
                let links = self.links.iter().filter(|(name, link)| is_own(name) && holds(link));
                links.map(|(name, _)| HostInterface::Named(name.clone())).collect()
            }
        }
    }

    /// What polices each interface, and the programs of that.
    pub fn compile(&self, selection: &Selection) -> (Policed, BTreeMap<ProgramId, Program>) {
        let mut programs = BTreeMap::new();
        let mut of_endpoint: BTreeMap<&Name, Vec<StageProgram>> = BTreeMap::new();
        let assigned = self.assigned();
        for (name, endpoint) in assigned.values() {
            of_endpoint.entry(name).or_insert_with(|| {
                let compiled = compile(endpoint, selection).into_iter().map(|program| {
                    let (stage, direction, id) = (program.stage, program.direction, program.id());
                    programs.insert(id, program);
                    StageProgram { stage, direction, program: id }
                });
                compiled.collect()
            });
        }
        let policed = assigned.into_iter().map(|(interface, (name, _))| {
            let (endpoint, programs) = (name.clone(), of_endpoint[name].clone());
            (interface, HostStages { endpoint, programs, failsafes: self.failsafes.clone() })
        });
        let mut policed: Policed = policed.collect();
        if self.drops_pods {
            let program = to_host();
            let (stage, direction, id) = (program.stage, program.direction, program.id());
            programs.insert(id, program);
            let stages = HostStages {
                endpoint: HostInterface::Pods.to_string().into(),
                programs: vec![StageProgram { stage, direction, program: id }],
                failsafes: self.failsafes.clone(),
            };
            policed.insert(HostInterface::Pods, stages);
        }
        (policed, programs)
    }
}

impl Hosts {
    /// What the host endpoints of this node ask for and do not find.
    pub fn remarks(&self) -> BTreeMap<Name, String> {
        let mut holders: BTreeMap<HostInterface, &Name> = BTreeMap::new();
        let mut remarks = BTreeMap::new();
        for (name, endpoint) in self.here() {
            let meant = self.meant(endpoint);
            let taken = meant.iter().find_map(|at| Some((at, holders.get(at)?)));
            let remark = match &endpoint.interfaces {
                _ if taken.is_some() => taken.map(|(interface, first)| {
                    format!("interface {interface} is policed by HostEndpoint {first}, the first by name")
                }),
                HostInterfaces::Named(interface) if self.links.get(interface).is_none() => {
                    Some(format!("there is no interface {interface}; policed as soon as there is"))
                }
                HostInterfaces::ByAddress if meant.is_empty() => {
                    Some("no interface holds one of expectedIPs; none is policed for it".to_owned())
                }
                _ => None,
            };
            remarks.extend(remark.map(|remark| (name.clone(), remark)));
            for interface in meant {
                holders.entry(interface).or_insert(name);
            }
        }
        remarks
    }
}

/// Whether an interface can be a host endpoint's.
fn is_own(interface: &str) -> bool {
    interface != LOOPBACK && !interface.starts_with(HOST_INTERFACE_PREFIX)
}

/// The effective labels of a host endpoint (C13).
pub(crate) fn labels(endpoint: &HostEndpoint) -> EffectiveLabels<'_> {
    let own = &endpoint.labels;
    EffectiveLabels { own, namespace: None, service_account: None, is_pod: false }
}

/// What drops whatever pods send to the node.
fn to_host() -> Program {
    let end = (Verdict::Deny, DecisionId::EndpointToHost);
    Program { stage: Stage::Normal, direction: Direction::Ingress, steps: Vec::new().into(), end }
}

/// Its programs, in the order of stages and directions.
fn compile(endpoint: &HostEndpoint, selection: &Selection) -> Vec<Program> {
    const STAGES: [(Stage, &[Direction]); 4] = [
        (Stage::Untracked, &Direction::ALL),
        (Stage::PreDnat, &[Direction::Ingress]),
        (Stage::Forward, &Direction::ALL),
        (Stage::Normal, &Direction::ALL),
    ];
    let labels = labels(endpoint);
    let all_interfaces = endpoint.interfaces == HostInterfaces::All;
    let mut programs = Vec::new();
    for (stage, directions) in STAGES {
        // C37: untracked policy is not for all interfaces at once.
        if stage == Stage::Untracked && all_interfaces {
            continue;
        }
        for direction in directions {
            let end = if stage == Stage::Normal { profile(endpoint) } else { stage_end() };
            let program = selection.program(&labels, stage, *direction, end);
            if stage == Stage::Normal || !program.steps.is_empty() {
                programs.push(program);
            }
        }
    }
    programs
}

/// C35: without a profile a host endpoint is closed; one that does not exist denies.
fn profile(endpoint: &HostEndpoint) -> (Verdict, DecisionId) {
    match endpoint.profiles.first() {
        Some(name) if **name == *DEFAULT_ALLOW_PROFILE => {
            (Verdict::Allow, DecisionId::Profile { name: name.clone() })
        }
        _ => (Verdict::Deny, DecisionId::NoProfile),
    }
}

fn stage_end() -> (Verdict, DecisionId) {
    (Verdict::Allow, DecisionId::StageEnd)
}

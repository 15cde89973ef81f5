//! What is known of objects, and what the compiler and their status are told of it: the part that
//! a folder and an API server have in common.
//!
//! An object is what its first *claim* says: a folder may have several documents that define one
//! object, an API server has one. What depends on several objects (pools that overlap, tiers that
//! share a place) is decided here, when what was touched is flushed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::host::HostInterfaces;
use brindle_model::policy::{Order, Policy, Tier};

use crate::convert::{Conversion, Input, convert, update};
use crate::decode::Decoded;
use crate::document::Revision;
use crate::event::Changes;
use crate::intern::Interner;
use crate::object::{Kind, ObjectKey};
use crate::problem::{Problem, Severity};
use crate::references::{Doubt, Named, References};
use crate::relations::{listed, overlaps, ties};
use crate::report::{ObjectReport, Place};

/// The objects of a source.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    names: Interner,
    entries: BTreeMap<ObjectKey, Entry>,
    touched: BTreeSet<ObjectKey>,
    references: References,
}

#[derive(Debug, Default)]
struct Entry {
    /// By place; the first one counts.
    claims: Vec<Claim>,
    published: Option<Input>,
    report: Option<Arc<ObjectReport>>,
}

/// What one document, or the API server, says of an object.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The document; `None` if this is the API server's object.
    pub place: Option<Place>,
    /// Identity of what was read.
    pub revision: Revision,
    /// What it means.
    pub conversion: Conversion,
}

/// What objects are to others of their kind, by name.
#[derive(Debug, Default)]
struct Neighbours {
    /// Pools that are rejected, each with the one that it overlaps.
    rejected_pools: BTreeMap<Name, Name>,
    /// Tiers that share a place, each with the others.
    tiers: BTreeMap<Name, String>,
    /// ClusterNetworkPolicies that share a place, likewise.
    policies: BTreeMap<Name, String>,
    /// HostEndpoints that mean one interface, likewise.
    hosts: BTreeMap<Name, String>,
}

impl Neighbours {
    /// The pool for which an object is rejected.
    fn overlapped(&self, key: &ObjectKey) -> Option<&Name> {
        self.rejected_pools.get(&key.name).filter(|_| key.kind == Kind::IpPool)
    }
}

/// Kinds whose objects name a tier.
const TIERED: [Kind; 4] = [
    Kind::NetworkPolicy,
    Kind::GlobalNetworkPolicy,
    Kind::StagedNetworkPolicy,
    Kind::StagedGlobalNetworkPolicy,
];

impl Objects {
    /// Makes a claim of a decoded object.
    pub fn convert(
        &mut self,
        key: ObjectKey,
        decoded: &Decoded,
        place: Option<Place>,
        revision: Revision,
    ) -> (ObjectKey, Claim) {
        let conversion = convert(&key, decoded, &mut self.names);
        let namespace = key.namespace.map(|n| self.names.intern(&n));
        (ObjectKey { namespace, ..key }, Claim { place, revision, conversion })
    }

    /// Adds a claim.
    pub fn claim(&mut self, key: ObjectKey, claim: Claim) {
        let entry = self.entries.entry(key.clone()).or_default();
        let at = entry.claims.partition_point(|c| c.place < claim.place);
        // Nearly always the only one: growth by doubling would waste three more.
        entry.claims.reserve_exact(1);
        entry.claims.insert(at, claim);
        self.touched.insert(key);
    }

    /// Takes back the claims of an object that `is_gone` picks.
    pub fn withdraw(&mut self, key: ObjectKey, is_gone: impl Fn(&Claim) -> bool) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.claims.retain(|claim| !is_gone(claim));
        }
        self.touched.insert(key);
    }

    /// What is claimed of an object; the first one counts.
    pub fn claims(&self, key: &ObjectKey) -> &[Claim] {
        self.entries.get(key).map_or(&[], |entry| &entry.claims)
    }

    /// The known objects of a kind.
    #[cfg(feature = "kubernetes")]
    pub fn keys(&self, kind: Kind) -> impl Iterator<Item = &ObjectKey> {
        self.of_kind(kind).map(|(key, _)| key)
    }

    /// How it stands with every object that has a status, as it was last told.
    #[cfg(feature = "kubernetes")]
    pub fn reports(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<ObjectReport>)> {
        self.entries.iter().filter_map(|(key, entry)| Some((key, entry.report.as_ref()?)))
    }

    /// Tells what has changed since the last time. `settled` hears of everything that was looked
    /// at, before it may be dropped.
    pub fn flush(&mut self, changes: &mut Changes, mut settled: impl FnMut(&[Claim])) {
        let mut touched = std::mem::take(&mut self.touched);
        let neighbours = self.neighbours(&mut touched);
        let mut concerned = BTreeSet::new();
        for key in &touched {
            self.publish(key, &neighbours, &mut concerned, changes);
        }
        self.renew_doubts(&mut concerned);
        touched.append(&mut concerned);
        for key in touched {
            settled(self.claims(&key));
            self.report(key, &neighbours, changes);
        }
    }

    /// What touched objects are to others of their kind. Adds those of whom that may have changed.
    fn neighbours(&self, touched: &mut BTreeSet<ObjectKey>) -> Neighbours {
        let mut neighbours = Neighbours::default();
        if self.touch_all(Kind::IpPool, touched) {
            neighbours.rejected_pools = overlaps(&self.pools());
        }
        if self.touch_all(Kind::ClusterNetworkPolicy, touched) {
            neighbours.policies = ties(self.cluster_policies());
        }
        if self.touch_all(Kind::HostEndpoint, touched) {
            neighbours.hosts = ties(self.host_endpoints());
        }
        let tiers: BTreeSet<Name> =
            touched.iter().filter(|k| k.kind == Kind::Tier).map(|k| k.name.clone()).collect();
        if self.touch_all(Kind::Tier, touched) {
            neighbours.tiers = ties(self.tiers());
            // Whoever stands in a tier that has come or gone.
            let policies = TIERED.into_iter().flat_map(|kind| self.of_kind(kind));
            let theirs = policies.filter(|(_, entry)| {
                entry.policy().is_some_and(|policy| tiers.contains(&policy.tier))
            });
            touched.extend(theirs.map(|(key, _)| key.clone()));
        }
        neighbours
    }

    /// Adds all objects of a kind to `touched` if one is there; whether it is.
    fn touch_all(&self, kind: Kind, touched: &mut BTreeSet<ObjectKey>) -> bool {
        let any = touched.iter().any(|key| key.kind == kind);
        if any {
            touched.extend(self.of_kind(kind).map(|(key, _)| key.clone()));
        }
        any
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Entry)> {
        // The least of its kind: no namespace, and a name that nothing has.
        let from = ObjectKey { kind, namespace: None, name: "".into() };
        self.entries.range(from..).take_while(move |(key, _)| key.kind == kind)
    }

    /// The pools that are valid by themselves.
    fn pools(&self) -> BTreeMap<Name, ipnet::IpNet> {
        let pools = self.of_kind(Kind::IpPool).filter_map(|(key, entry)| match entry.input() {
            Some(Input::IpPool(pool)) => Some((key.name.clone(), pool.cidr)),
            _ => None,
        });
        pools.collect()
    }

    /// The tiers by name, the built-in ones among them.
    fn tiers(&self) -> BTreeMap<Name, Order> {
        let built_in = Tier::BUILT_IN.map(|(name, tier)| (Name::from(name), tier.order));
        let own = self.of_kind(Kind::Tier).filter_map(|(key, entry)| match entry.input() {
            Some(Input::Tier(tier)) => Some((key.name.clone(), tier.order)),
            _ => None,
        });
        built_in.into_iter().chain(own).collect()
    }

    /// ClusterNetworkPolicies by name, each with its place.
    fn cluster_policies(&self) -> Vec<(Name, (Name, Order))> {
        let policies = self.of_kind(Kind::ClusterNetworkPolicy).filter_map(|(key, entry)| {
            let policy = entry.policy()?;
            Some((key.name.clone(), (policy.tier.clone(), policy.order)))
        });
        policies.collect()
    }

    /// HostEndpoints by name, each with its node and the interfaces that it means there, as far as
    /// the objects say.
    fn host_endpoints(&self) -> Vec<(Name, (Name, HostInterfaces))> {
        let endpoints = self.of_kind(Kind::HostEndpoint).filter_map(|(key, entry)| {
            match entry.input() {
                // Where addresses are, the node alone knows.
                Some(Input::HostEndpoint(e)) if e.interfaces != HostInterfaces::ByAddress => {
                    Some((key.name.clone(), (e.node.clone(), e.interfaces.clone())))
                }
                _ => None,
            }
        });
        endpoints.collect()
    }

    fn has_tier(&self, name: &Name) -> bool {
        let key = ObjectKey { kind: Kind::Tier, namespace: None, name: name.clone() };
        Tier::BUILT_IN.iter().any(|(built_in, _)| **built_in == **name)
            || self.entries.get(&key).is_some_and(|entry| entry.input().is_some())
    }

    /// What is to say of an object because of others, as problems of severity warning.
    fn remarks(&self, key: &ObjectKey, neighbours: &Neighbours) -> Vec<Problem> {
        let warning = |field: &str, message| Problem {
            severity: Severity::Warning,
            field: field.to_owned(),
            message,
        };
        let place = |what, kind, others: &String| {
            warning(what, format!("is also that of {kind} {others}; names decide which is first"))
        };
        let mut remarks = Vec::new();
        match key.kind {
            Kind::Tier => {
                let others = neighbours.tiers.get(&key.name);
                remarks.extend(others.map(|others| place("spec.order", key.kind, others)));
            }
            Kind::ClusterNetworkPolicy => {
                let others = neighbours.policies.get(&key.name);
                remarks.extend(others.map(|others| place("spec.priority", key.kind, others)));
            }
            Kind::HostEndpoint => {
                let others = neighbours.hosts.get(&key.name);
                remarks.extend(others.map(|others| {
                    let message =
                        format!("is also that of {} {others}: the first by name has it", key.kind);
                    warning("spec.interfaceName", message)
                }));
            }
            Kind::NetworkSet | Kind::GlobalNetworkSet => {
                let policies = listed(self.references.denying_by(key));
                remarks.extend(policies.map(|policies| {
                    warning("spec.nets", format!("rules that deny everybody for it: {policies}"))
                }));
            }
            _ => {}
        }
        let Some(policy) = self.entries.get(key).and_then(Entry::policy) else { return remarks };
        if TIERED.contains(&key.kind) && !self.has_tier(&policy.tier) {
            let message = format!(
                "there is no tier `{}`: the policy stands behind all tiers, with Deny as the end",
                policy.tier
            );
            remarks.push(warning("spec.tier", message));
        }
        for (field, named) in self.references.missing(policy) {
            let message = match named {
                Named::Service(service) => {
                    format!("Service {service} has no endpoint slice: it is no address")
                }
                Named::Account(Some(namespace), name) => format!(
                    "service account {namespace}/{name} is not there, and no pod runs as it"
                ),
                Named::Account(None, name) => {
                    format!("service account `{name}` is in no namespace, and no pod runs as it")
                }
            };
            remarks.push(warning(&field, message));
        }
        for Doubt { field, object, denies } in self.references.doubts(key) {
            let effect = if *denies { "denies everybody" } else { "matches nothing" };
            let message = format!("{object} cannot be read whole: the rule {effect}");
            remarks.push(warning(field, message));
        }
        remarks
    }

    /// Decides what an object is now, and tells if that is new. Adds those of whom something else
    /// may have to be said for it.
    fn publish(
        &mut self,
        key: &ObjectKey,
        neighbours: &Neighbours,
        concerned: &mut BTreeSet<ObjectKey>,
        changes: &mut Changes,
    ) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let input = entry.input().filter(|_| neighbours.overlapped(key).is_none()).cloned();
        if input != entry.published {
            let before = std::mem::replace(&mut entry.published, input.clone());
            self.references.replace(key, before.as_ref(), input.as_ref(), concerned);
            changes.updates.extend(update(key, input));
        }
    }

    fn renew_doubts(&mut self, concerned: &mut BTreeSet<ObjectKey>) {
        let Self { references, entries, .. } = self;
        let published = |key: &ObjectKey| entries.get(key)?.published.as_ref();
        let policies = entries.iter().filter_map(|(key, entry)| match &entry.published {
            Some(Input::Policy(policy)) => Some((key, &**policy)),
            _ => None,
        });
        references.renew_doubts(published, policies, concerned);
    }

    /// Says how it stands with an object, if that is new.
    fn report(&mut self, key: ObjectKey, neighbours: &Neighbours, changes: &mut Changes) {
        let remarks = match key.kind.has_status() {
            true => self.remarks(&key, neighbours),
            false => Vec::new(),
        };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let has_effect = entry.published.is_some();
        let report = || entry.report(has_effect, neighbours.overlapped(&key), remarks);
        let report = key.kind.has_status().then(report).flatten();
        if report.as_ref() != entry.report.as_deref() {
            entry.report = report.map(Arc::new);
            changes.objects.push((key.clone(), entry.report.clone()));
        }
        if entry.claims.is_empty() {
            self.entries.remove(&key);
        }
    }
}

impl Entry {
    /// The value by the document that counts.
    fn input(&self) -> Option<&Input> {
        self.claims.first()?.conversion.input.as_ref()
    }

    /// The same, of a policy.
    fn policy(&self) -> Option<&Policy> {
        match self.input()? {
            Input::Policy(policy) => Some(policy),
            _ => None,
        }
    }

    fn report(
        &self,
        has_effect: bool,
        overlapped: Option<&Name>,
        remarks: Vec<Problem>,
    ) -> Option<ObjectReport> {
        let (claim, others) = self.claims.split_first()?;
        let mut problems = claim.conversion.problems.clone();
        problems.extend(remarks);
        let mut error = |field: &str, message| {
            let field = field.to_owned();
            problems.push(Problem { severity: Severity::Error, field, message });
        };
        if let Some(other) = overlapped {
            error("spec.cidr", format!("overlaps IPPool {other}"));
        }
        for place in others.iter().filter_map(|other| other.place.as_ref()) {
            error("", format!("also defined in {place}, which does not count"));
        }
        let Claim { place, revision, .. } = claim;
        Some(ObjectReport { place: place.clone(), revision: *revision, has_effect, problems })
    }
}

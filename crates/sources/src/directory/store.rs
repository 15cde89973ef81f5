//! What a folder's files say about objects, and which of it counts: state without I/O.
//!
//! The text of a file is not kept. A file leaves behind a hash, its keys and its remarks; an object
//! its *claims*, one for each document that defines it, each with the converted value. Claims are
//! sorted by place, the first one counts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::policy::{Order, Policy, Tier};

use super::Changes;
use super::references::{Doubt, Named, References};
use crate::convert::{Conversion, Input, convert, update};
use crate::document::{Content, Document, Revision, parse};
use crate::intern::Interner;
use crate::object::{Kind, ObjectKey};
use crate::problem::{Problem, Severity, accepted};
use crate::relations::{listed, overlaps, ties};
use crate::report::{DocumentReport, FileReport, ObjectReport, Outcome, Place};

/// The objects of a folder. See the module's essay.
#[derive(Debug, Default)]
pub struct Store {
    names: Interner,
    files: BTreeMap<Arc<Path>, File>,
    objects: BTreeMap<ObjectKey, Entry>,
    touched_files: BTreeSet<Arc<Path>>,
    touched_objects: BTreeSet<ObjectKey>,
    references: References,
}

#[derive(Debug, Default)]
struct File {
    /// Identity of the contents last read; `None` before the first time and after an error.
    revision: Option<Revision>,
    /// Objects with a claim in this file, sorted.
    keys: Box<[ObjectKey]>,
    /// Few files have any, and there may be many files.
    faults: Option<Box<Faults>>,
    published: Option<Arc<FileReport>>,
}

/// What is wrong with a file, beyond its objects.
#[derive(Debug, Default, PartialEq)]
struct Faults {
    /// Why it could not be read the last time.
    error: Option<String>,
    /// Documents that hold no object of ours.
    remarks: Vec<DocumentReport>,
    /// Objects that only an earlier version of the file had.
    kept: Vec<ObjectKey>,
}

#[derive(Debug, Default)]
struct Entry {
    claims: Vec<Claim>,
    published: Option<Input>,
    report: Option<Arc<ObjectReport>>,
}

#[derive(Debug)]
struct Claim {
    place: Place,
    revision: Revision,
    conversion: Conversion,
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

impl Store {
    /// The file `path` now has these contents.
    pub fn put(&mut self, path: &Path, contents: &[u8]) {
        let revision = Revision::of(contents);
        let (path, file) = self
            .files
            .get_key_value(path)
            .map_or_else(|| (Arc::from(path), None), |(path, file)| (path.clone(), Some(file)));
        if file.is_some_and(|f| f.revision == Some(revision)) {
            return;
        }
        let text = match std::str::from_utf8(contents) {
            Ok(text) => text,
            Err(error) => return self.fail(&path, &io::Error::other(error)),
        };
        let mut keys = BTreeSet::new();
        let mut remarks = Vec::new();
        let mut claims = Vec::new();
        for document in parse(text) {
            match self.claim(&path, document) {
                Ok((key, claim)) => {
                    keys.insert(key.clone());
                    claims.push((key, claim));
                }
                Err(remark) => remarks.push(remark),
            }
        }
        let incomplete = remarks.iter().any(|r| r.outcome == Outcome::Unreadable);
        let before = self.files.remove(&path).unwrap_or_default();
        let (dropped, kept): (Vec<_>, Vec<_>) =
            before.keys.into_iter().partition(|key| keys.contains(key) || !incomplete);
        dropped.into_iter().for_each(|key| self.withdraw(&path, key));
        for (key, claim) in claims {
            let entry = self.objects.entry(key.clone()).or_default();
            let at = entry.claims.partition_point(|c| c.place < claim.place);
            // Nearly always the only one: growth by doubling would waste three more.
            entry.claims.reserve_exact(1);
            entry.claims.insert(at, claim);
            self.touched_objects.insert(key);
        }
        keys.extend(kept.iter().cloned());
        let faults = Faults { error: None, remarks, kept };
        let file = File {
            revision: Some(revision),
            keys: keys.into_iter().collect(),
            faults: (faults != Faults::default()).then(|| Box::new(faults)),
            published: before.published,
        };
        self.files.insert(path.clone(), file);
        self.touched_files.insert(path);
    }

    /// The file `path` is gone.
    pub fn remove(&mut self, path: &Path) {
        let Some((path, file)) = self.files.remove_entry(path) else { return };
        file.keys.into_iter().for_each(|key| self.withdraw(&path, key));
        // An empty entry remains until the report of the file is withdrawn.
        self.files.insert(path.clone(), File { published: file.published, ..File::default() });
        self.touched_files.insert(path);
    }

    /// The file `path` cannot be read; its objects stay as they are.
    pub fn fail(&mut self, path: &Path, error: &io::Error) {
        let path: Arc<Path> = path.into();
        let file = self.files.entry(path.clone()).or_default();
        file.revision = None;
        file.faults.get_or_insert_default().error = Some(error.to_string());
        self.touched_files.insert(path);
    }

    /// The files that are known and lie in or below `folder`.
    pub fn files_below(&self, folder: &Path) -> Vec<Arc<Path>> {
        let from = self
            .files
            .range::<Path, _>((std::ops::Bound::Included(folder), std::ops::Bound::Unbounded));
        from.map(|(path, _)| path).take_while(|path| path.starts_with(folder)).cloned().collect()
    }

    /// Takes what has changed since the last time.
    pub fn flush(&mut self) -> Changes {
        let mut touched = std::mem::take(&mut self.touched_objects);
        let neighbours = self.neighbours(&mut touched);
        let mut changes = Changes::default();
        let mut concerned = BTreeSet::new();
        for key in &touched {
            self.publish(key, &neighbours, &mut concerned, &mut changes);
        }
        self.renew_doubts(&mut concerned);
        touched.append(&mut concerned);
        for key in touched {
            self.report(key, &neighbours, &mut changes);
        }
        for path in std::mem::take(&mut self.touched_files) {
            self.report_file(path, &mut changes);
        }
        changes
    }

    /// What a document of `path` claims about an object, or what else is to say of it.
    fn claim(
        &mut self,
        path: &Arc<Path>,
        document: Document,
    ) -> Result<(ObjectKey, Claim), DocumentReport> {
        let Document { number, line, revision, content } = document;
        let remark = |object, outcome, problems| DocumentReport {
            document: number,
            line,
            object,
            outcome,
            problems,
        };
        match content {
            Content::Object { key, decoded } => {
                let conversion = convert(&key, &decoded, &mut self.names);
                let place = Place { file: path.clone(), document: number, line };
                let namespace = key.namespace.map(|n| self.names.intern(&n));
                Ok((ObjectKey { namespace, ..key }, Claim { place, revision, conversion }))
            }
            Content::OtherKind { api_version, kind, name } => {
                let object = format!("{api_version} {kind} {}", name.as_deref().unwrap_or("?"));
                Err(remark(Some(object), Outcome::Ignored, Vec::new()))
            }
            Content::Unreadable(message) => {
                let problem = Problem { severity: Severity::Error, field: String::new(), message };
                Err(remark(None, Outcome::Unreadable, vec![problem]))
            }
        }
    }

    fn withdraw(&mut self, path: &Path, key: ObjectKey) {
        if let Some(entry) = self.objects.get_mut(&key) {
            entry.claims.retain(|claim| *claim.place.file != *path);
        }
        self.touched_objects.insert(key);
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
        self.objects.range(from..).take_while(move |(key, _)| key.kind == kind)
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

    fn has_tier(&self, name: &Name) -> bool {
        let key = ObjectKey { kind: Kind::Tier, namespace: None, name: name.clone() };
        Tier::BUILT_IN.iter().any(|(built_in, _)| **built_in == **name)
            || self.objects.get(&key).is_some_and(|entry| entry.input().is_some())
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
            Kind::NetworkSet | Kind::GlobalNetworkSet => {
                let policies = listed(self.references.denying_by(key));
                remarks.extend(policies.map(|policies| {
                    warning("spec.nets", format!("rules that deny everybody for it: {policies}"))
                }));
            }
            _ => {}
        }
        let Some(policy) = self.objects.get(key).and_then(Entry::policy) else { return remarks };
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
        let Some(entry) = self.objects.get_mut(key) else { return };
        let input = entry.input().filter(|_| neighbours.overlapped(key).is_none()).cloned();
        if input != entry.published {
            let before = std::mem::replace(&mut entry.published, input.clone());
            self.references.replace(key, before.as_ref(), input.as_ref(), concerned);
            changes.updates.extend(update(key, input));
        }
    }

    fn renew_doubts(&mut self, concerned: &mut BTreeSet<ObjectKey>) {
        let Self { references, objects, .. } = self;
        let published = |key: &ObjectKey| objects.get(key)?.published.as_ref();
        let policies = objects.iter().filter_map(|(key, entry)| match &entry.published {
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
        let Some(entry) = self.objects.get_mut(&key) else { return };
        self.touched_files.extend(entry.claims.iter().map(|c| c.place.file.clone()));
        let has_effect = entry.published.is_some();
        let report = || entry.report(has_effect, neighbours.overlapped(&key), remarks);
        let report = key.kind.has_status().then(report).flatten();
        if report.as_ref() != entry.report.as_deref() {
            entry.report = report.map(Arc::new);
            changes.objects.push((key.clone(), entry.report.clone()));
        }
        if entry.claims.is_empty() {
            self.objects.remove(&key);
        }
    }

    fn report_file(&mut self, path: Arc<Path>, changes: &mut Changes) {
        let Some(file) = self.files.get(&path) else { return };
        let faults = file.faults.as_deref();
        let mut documents = faults.map_or_else(Vec::new, |faults| faults.remarks.clone());
        for key in &file.keys {
            let Some(entry) = self.objects.get(key) else { continue };
            for (i, claim) in entry.claims.iter().enumerate() {
                if claim.place.file == path {
                    documents.extend(claim.remark(key, (i > 0).then(|| &entry.claims[0].place)));
                }
            }
        }
        documents.sort_unstable();
        let error = faults.and_then(|faults| faults.error.clone());
        let kept = faults.map_or_else(Vec::new, |faults| faults.kept.clone());
        let report = FileReport { error, documents, kept };
        let report = (report != FileReport::default()).then(|| Arc::new(report));
        let gone = file.revision.is_none() && file.faults.is_none();
        if report != file.published {
            changes.files.push((path.clone(), report.clone()));
        }
        if gone {
            self.files.remove(&path);
        } else if let Some(file) = self.files.get_mut(&path) {
            file.published = report;
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
        for other in others {
            error("", format!("also defined in {}, which does not count", other.place));
        }
        let Claim { place, revision, .. } = claim;
        Some(ObjectReport { place: place.clone(), revision: *revision, has_effect, problems })
    }
}

impl Claim {
    /// What the report of the claim's file says about it, if anything. `counts` is the claim that
    /// counts instead.
    fn remark(&self, key: &ObjectKey, counts: Option<&Place>) -> Option<DocumentReport> {
        let mut problems = self.conversion.problems.clone();
        let outcome = if let Some(place) = counts {
            let message = format!("already defined in {place}, which counts");
            problems = vec![Problem { severity: Severity::Error, field: String::new(), message }];
            Outcome::Duplicate
        } else if key.kind.has_status() || problems.is_empty() {
            return None;
        } else if accepted(&problems) {
            Outcome::Accepted
        } else {
            Outcome::Rejected
        };
        let Place { document, line, .. } = self.place;
        Some(DocumentReport { document, line, object: Some(key.to_string()), outcome, problems })
    }
}

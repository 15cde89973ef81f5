//! What policies name in other objects, and what of it is missing or cannot be read whole.
//!
//! Nothing here changes what a policy means: a Service without endpoints has no address (C29), and
//! what is incomplete fails closed in the compiler (decision 0013). But it may not be what was
//! meant, so the status says so, and says it anew when the other object comes or goes.

use std::collections::{BTreeMap, BTreeSet};

use brindle_model::labels::{
    EffectiveLabels, NAMESPACE_NAME_LABEL, Parent, SERVICE_ACCOUNT_NAME_LABEL,
};
use brindle_model::policy::{Action, Criteria, Peer, Policy, Rule};
use brindle_model::selector::Selector;
use brindle_model::verdict::Direction;
use brindle_model::{Name, NamespacedName};

use crate::convert::Input;
use crate::object::{Kind, ObjectKey};

/// Something that a policy names, which may not be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Named {
    /// A Service: it is there if an endpoint slice is.
    Service(NamespacedName),
    /// A service account, in this namespace or in any: it is there if an object is, or a pod that
    /// runs as it.
    Account(Option<Name>, Name),
}

/// A criterion that is in doubt, because something that it names is incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// The criterion's end of the rule, as in `spec.ingress[0].source`.
    pub field: String,
    /// What is incomplete.
    pub object: ObjectKey,
    /// Whether the rule denies for it; else it matches nothing.
    pub denies: bool,
}

/// What is there, counted, and which policies name it.
#[derive(Debug, Default)]
pub(crate) struct References {
    there: BTreeMap<Named, usize>,
    named: BTreeMap<Named, BTreeSet<ObjectKey>>,
    /// Objects that are incomplete.
    incomplete: BTreeSet<ObjectKey>,
    /// Policies with criteria in doubt, as of the last [`References::renew_doubts`].
    doubts: BTreeMap<ObjectKey, Vec<Doubt>>,
    /// Whether something has changed that may bear on the doubts.
    stale: bool,
}

impl References {
    /// An object has another value; adds the policies that name what comes or goes with it.
    pub fn replace(
        &mut self,
        key: &ObjectKey,
        old: Option<&Input>,
        new: Option<&Input>,
        concerned: &mut BTreeSet<ObjectKey>,
    ) {
        let judged = key.kind.policy().is_some() || key.kind == Kind::Namespace;
        self.stale |= judged || lists_addresses(key.kind);
        for named in old.into_iter().flat_map(|old| brings(key, old)) {
            let count = self.there.entry(named.clone()).or_default();
            *count -= 1;
            if *count == 0 {
                self.there.remove(&named);
                concerned.extend(self.named.get(&named).into_iter().flatten().cloned());
            }
        }
        for named in new.into_iter().flat_map(|new| brings(key, new)) {
            if !self.there.contains_key(&named) {
                concerned.extend(self.named.get(&named).into_iter().flatten().cloned());
            }
            *self.there.entry(named).or_default() += 1;
        }
        for (_, named) in policy(old).into_iter().flat_map(names) {
            if let Some(policies) = self.named.get_mut(&named) {
                policies.remove(key);
                if policies.is_empty() {
                    self.named.remove(&named);
                }
            }
        }
        for (_, named) in policy(new).into_iter().flat_map(names) {
            self.named.entry(named).or_default().insert(key.clone());
        }
        match new.is_some_and(is_incomplete) {
            true => self.incomplete.insert(key.clone()),
            false => self.incomplete.remove(key),
        };
    }

    /// What a policy names that is not there, each with the field that names it.
    pub fn missing(&self, policy: &Policy) -> Vec<(String, Named)> {
        let mut missing = names(policy);
        missing.retain(|(_, named)| !self.there.contains_key(named));
        missing
    }

    /// The criteria of a policy that are in doubt.
    pub fn doubts(&self, policy: &ObjectKey) -> &[Doubt] {
        self.doubts.get(policy).map_or(&[], Vec::as_slice)
    }

    /// The policies that deny by an object because it is incomplete.
    pub fn denying_by<'a>(&'a self, object: &'a ObjectKey) -> impl Iterator<Item = &'a ObjectKey> {
        let denies = |doubts: &[Doubt]| doubts.iter().any(|d| d.denies && d.object == *object);
        self.doubts.iter().filter(move |(_, doubts)| denies(doubts)).map(|(policy, _)| policy)
    }

    /// Finds the doubts anew, if something has changed that bears on them; adds the policies and
    /// incomplete objects about which there is something else to say. Nearly always nothing is
    /// incomplete, and this costs nothing.
    pub fn renew_doubts<'a>(
        &mut self,
        objects: impl Fn(&ObjectKey) -> Option<&'a Input>,
        policies: impl Iterator<Item = (&'a ObjectKey, &'a Policy)>,
        concerned: &mut BTreeSet<ObjectKey>,
    ) {
        let stale = std::mem::take(&mut self.stale);
        if !stale || (self.incomplete.is_empty() && self.doubts.is_empty()) {
            return;
        }
        let mut doubts = BTreeMap::new();
        if !self.incomplete.is_empty() {
            let suspects = Suspects { incomplete: &self.incomplete, objects };
            let found = policies.map(|(key, policy)| (key.clone(), suspects.doubts(policy)));
            doubts.extend(found.filter(|(_, doubts)| !doubts.is_empty()));
        }
        let before = std::mem::replace(&mut self.doubts, doubts);
        let policies: BTreeSet<_> = before.keys().chain(self.doubts.keys()).collect();
        for policy in policies.into_iter().filter(|p| before.get(*p) != self.doubts.get(*p)) {
            concerned.insert(policy.clone());
            let theirs = [before.get(policy), self.doubts.get(policy)].into_iter().flatten();
            concerned.extend(theirs.flatten().map(|doubt| doubt.object.clone()));
        }
    }
}

/// What is incomplete, and the objects by key.
struct Suspects<'a, F> {
    incomplete: &'a BTreeSet<ObjectKey>,
    objects: F,
}

impl<'a, F: Fn(&ObjectKey) -> Option<&'a Input>> Suspects<'_, F> {
    fn doubts(&self, policy: &Policy) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for direction in Direction::ALL {
            for rule in policy.rules(direction).unwrap_or_default() {
                let at = format!("spec.{direction}[{}]", rule.index);
                self.rule(rule, &at, &mut doubts);
            }
        }
        doubts
    }

    fn rule(&self, rule: &Rule, at: &str, doubts: &mut Vec<Doubt>) {
        let denies = matches!(rule.action, Action::Deny | Action::Pass);
        let mut note = |field: String, objects: Vec<&ObjectKey>| {
            let objects = objects.into_iter().cloned();
            doubts.extend(objects.map(|object| Doubt { field: field.clone(), object, denies }));
        };
        match &rule.criteria {
            Criteria::Ends(ends) => {
                for (end, side) in [(&ends.source, "source"), (&ends.destination, "destination")] {
                    let at = format!("{at}.{side}");
                    if let Some(selector) = end.selector.as_ref().filter(|_| denies) {
                        note(at.clone(), self.sets(selector));
                    }
                    // What a Deny excludes for sure it excludes; a Pass is not passed.
                    let excludes = rule.action != Action::Deny;
                    if let Some(selector) = end.not_selector.as_ref().filter(|_| excludes) {
                        note(at.clone(), self.sets(selector));
                    }
                    if let Some(service) = end.service.as_ref().filter(|_| denies) {
                        note(at, self.slices(service));
                    }
                }
            }
            Criteria::Lists { peers, .. } => {
                for peer in peers.iter().flatten().filter(|_| denies) {
                    if let Peer::Nodes(selector) = peer {
                        note(format!("{at}.to"), self.nodes(selector));
                    }
                }
            }
        }
    }

    fn sets(&self, selector: &Selector) -> Vec<&ObjectKey> {
        let picked = |key: &&ObjectKey| {
            let Some(Input::NetworkSet(set)) = (self.objects)(key) else { return false };
            let namespace = match &key.namespace {
                Some(name) => match (self.objects)(&namespace_key(name)) {
                    Some(Input::Namespace(namespace)) => Some((name, &**namespace)),
                    // Nobody knows its labels yet (decision 0009).
                    _ => return false,
                },
                None => None,
            };
            let namespace =
                namespace.map(|(name, namespace)| Parent { name, labels: Some(&namespace.labels) });
            let own = &set.labels;
            let labels = EffectiveLabels { own, namespace, service_account: None, is_pod: false };
            selector.matches(&labels)
        };
        self.incomplete.iter().filter(picked).collect()
    }

    fn slices(&self, service: &NamespacedName) -> Vec<&ObjectKey> {
        let of = |key: &&ObjectKey| match (self.objects)(key) {
            Some(Input::EndpointSlice(slice)) => {
                slice.service == service.name && key.namespace.as_ref() == Some(&service.namespace)
            }
            _ => false,
        };
        self.incomplete.iter().filter(of).collect()
    }

    fn nodes(&self, selector: &Selector) -> Vec<&ObjectKey> {
        let picked = |key: &&ObjectKey| match (self.objects)(key) {
            Some(Input::Node(node)) => selector.matches(&node.labels),
            _ => false,
        };
        self.incomplete.iter().filter(picked).collect()
    }
}

fn namespace_key(name: &Name) -> ObjectKey {
    ObjectKey { kind: Kind::Namespace, namespace: None, name: name.clone() }
}

fn lists_addresses(kind: Kind) -> bool {
    use Kind::{EndpointSlice, GlobalNetworkSet, NetworkSet, Node};
    matches!(kind, NetworkSet | GlobalNetworkSet | EndpointSlice | Node)
}

fn is_incomplete(input: &Input) -> bool {
    match input {
        Input::NetworkSet(set) => set.incomplete,
        Input::EndpointSlice(slice) => slice.incomplete,
        Input::Node(node) => node.incomplete,
        _ => false,
    }
}

fn policy(input: Option<&Input>) -> Option<&Policy> {
    match input? {
        Input::Policy(policy) => Some(policy),
        _ => None,
    }
}

/// What is there because an object is.
fn brings(key: &ObjectKey, input: &Input) -> Vec<Named> {
    let Some(namespace) = &key.namespace else { return Vec::new() };
    let account = |name: &Name| {
        vec![
            Named::Account(Some(namespace.clone()), name.clone()),
            Named::Account(None, name.clone()),
        ]
    };
    match input {
        Input::EndpointSlice(slice) => {
            let (namespace, name) = (namespace.clone(), slice.service.clone());
            vec![Named::Service(NamespacedName { namespace, name })]
        }
        Input::ServiceAccount(_) => account(&key.name),
        Input::Pod(pod) => pod.service_account.as_ref().map(account).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// What a policy's rules name, each with the end that names it.
fn names(policy: &Policy) -> Vec<(String, Named)> {
    let mut found = Vec::new();
    for direction in Direction::ALL {
        for rule in policy.rules(direction).unwrap_or_default() {
            let Criteria::Ends(ends) = &rule.criteria else { continue };
            for (end, side) in [(&ends.source, "source"), (&ends.destination, "destination")] {
                let at = || format!("spec.{direction}[{}].{side}", rule.index);
                let service = end.service.iter().map(|service| Named::Service((**service).clone()));
                let accounts = end.selector.iter().flat_map(|selector| accounts(selector));
                found.extend(service.chain(accounts).map(|named| (at(), named)));
            }
        }
    }
    found
}

/// The service accounts that a selector lists.
fn accounts(selector: &Selector) -> Vec<Named> {
    let operands = match selector {
        Selector::And(operands) => operands.as_slice(),
        other => std::slice::from_ref(other),
    };
    let listed = |label: &str| {
        operands.iter().find_map(|operand| match operand {
            Selector::In(key, values) if **key == *label => Some(values),
            _ => None,
        })
    };
    let namespace = listed(NAMESPACE_NAME_LABEL).filter(|names| names.len() == 1);
    let namespace = namespace.and_then(|names| names.first());
    let accounts = listed(SERVICE_ACCOUNT_NAME_LABEL).into_iter().flatten();
    accounts.map(|name| Named::Account(namespace.cloned(), name.clone())).collect()
}

//! Who exists, with which labels, holding which addresses.
//!
//! A pod is *judged* only when both it and its namespace are known: its effective labels include
//! the namespace's, and a selector with a negation would match a label that is merely not known
//! yet. Until then it is a member of no set, and its endpoint is closed (K37). A network set of a
//! namespace that is not known is a member of no set either (decision 0009). A service account
//! without an object has a name and no labels: to have no object is what most of them do in a
//! folder, and a selector that asks for labels of theirs does not match.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::cluster::{
    Attachment, EndpointId, EndpointSlice, Namespace, NetworkSet, NetworkSetId, Node, Pod,
    ServiceAccount,
};
use brindle_model::labels::{EffectiveLabels, Parent};
use brindle_model::{Name, NamespacedName};

use crate::claims::{Basis, Claims};
use crate::doubts::Doubts;
use crate::label_lists::Labelled;
use crate::nodes::Nodes;
use crate::pods::{PodIx, Pods};
use crate::slices::Slices;
use crate::table::{Before, Table};

/// Everything that rules can speak of, and attachments, as of the last flush.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub namespaces: Labelled<Name, Namespace>,
    pub service_accounts: Labelled<NamespacedName, ServiceAccount>,
    pub network_sets: Labelled<NetworkSetId, NetworkSet>,
    pub slices: Slices,
    pub nodes: Nodes,
    pub attachments: Table<EndpointId, Arc<Attachment>>,
    pub pods: Pods,
    pub doubts: Doubts,
    claims: Claims,
    /// The attachments of each pod of this node.
    attached: BTreeMap<PodIx, BTreeSet<EndpointId>>,
}

/// What an advance changed.
#[derive(Debug, Default)]
pub(crate) struct WorldChanges {
    pub namespaces: Before<Name, Arc<Namespace>>,
    service_accounts: Before<NamespacedName, Arc<ServiceAccount>>,
    pub network_sets: Before<NetworkSetId, Arc<NetworkSet>>,
    pub slices: Before<NamespacedName, Arc<EndpointSlice>>,
    pub nodes: Before<Name, Arc<Node>>,
    pods: Before<PodIx, Arc<Pod>>,
    attachments: Before<EndpointId, Arc<Attachment>>,
    /// Whether something that is incomplete came, went or has other labels.
    pub doubts: bool,
    /// Addresses that a pod began or ceased to claim, or may have.
    disputed: Vec<IpAddr>,
}

impl World {
    /// Whether anything was noted since the last advance.
    pub fn has_pending(&self) -> bool {
        self.namespaces.has_pending()
            || self.service_accounts.has_pending()
            || self.network_sets.has_pending()
            || self.slices.has_pending()
            || self.nodes.has_pending()
            || self.attachments.has_pending()
            || self.pods.has_pending()
    }

    /// Takes over what was noted.
    pub fn advance(&mut self) -> WorldChanges {
        let mut changes = WorldChanges {
            namespaces: self.namespaces.advance(),
            service_accounts: self.service_accounts.advance(),
            network_sets: self.network_sets.advance(),
            slices: self.slices.advance(),
            nodes: self.nodes.advance(),
            pods: self.pods.advance(),
            attachments: self.attachments.advance(),
            ..WorldChanges::default()
        };
        changes.doubts = self.renew_doubts(&changes);
        self.renew_claims(&mut changes);
        changes
    }

    /// Pods whose memberships may have changed for other reasons than their labels, each with the
    /// addresses at which they may have.
    pub fn touched(&self, changes: &WorldChanges) -> BTreeMap<PodIx, BTreeSet<IpAddr>> {
        let mut touched: BTreeMap<PodIx, BTreeSet<IpAddr>> = BTreeMap::new();
        for addr in &changes.disputed {
            for ix in self.claims.claimants(*addr) {
                touched.entry(ix).or_default().insert(*addr);
            }
        }
        for (ix, before) in &changes.pods {
            if self.keeps_members(*ix, before.as_deref()) {
                continue;
            }
            let addresses = touched.entry(*ix).or_default();
            addresses.extend(before.iter().flat_map(|pod| &pod.addresses));
            addresses.extend(self.addresses(*ix));
        }
        for (id, before) in &changes.attachments {
            if let Some(ix) = self.pods.find(&id.pod) {
                let addresses = before.iter().flat_map(|attachment| &attachment.addresses);
                touched.entry(ix).or_default().extend(addresses);
            }
        }
        touched
    }

    /// Whether a changed pod still brings the same members into whatever picks it.
    fn keeps_members(&self, ix: PodIx, before: Option<&Pod>) -> bool {
        let same = |before: &Pod, now: &Pod| {
            (&before.addresses, &before.ports) == (&now.addresses, &now.ports)
        };
        before.zip(self.pods.get(ix)).is_some_and(|(before, now)| same(before, now))
    }

    /// Pods whose labels, own or inherited, may have changed.
    pub fn relabelled(&self, changes: &WorldChanges) -> impl Iterator<Item = PodIx> {
        let own = changes.pods.keys().copied();
        let inherited = self.inheriting(changes).filter(|ix| !changes.pods.contains_key(ix));
        own.chain(inherited)
    }

    /// Pods whose namespace or service account changed.
    fn inheriting(&self, changes: &WorldChanges) -> impl Iterator<Item = PodIx> {
        let lists = self.pods.lists();
        let namespaces = changes.namespaces.keys().flat_map(|name| lists.in_namespace(name));
        let accounts = changes.service_accounts.keys();
        namespaces.copied().chain(accounts.flat_map(|id| lists.of_service_account(id)))
    }

    /// Network sets whose memberships may have changed.
    pub fn touched_network_sets<'a>(
        &'a self,
        changes: &'a WorldChanges,
    ) -> BTreeSet<&'a NetworkSetId> {
        let relabelled = changes.namespaces.keys().flat_map(|name| self.network_sets_in(name));
        changes.network_sets.keys().chain(relabelled).collect()
    }

    /// The network sets of a namespace.
    pub fn network_sets_in(&self, namespace: &Name) -> impl Iterator<Item = &NetworkSetId> {
        let first = NetworkSetId { namespace: Some(namespace.clone()), name: "".into() };
        let from = self.network_sets.table().now().range(first..).map(|(id, _)| id);
        from.take_while(move |id| id.namespace.as_ref() == Some(namespace))
    }

    /// Brings the claims up to date, and lists those that came or went.
    fn renew_claims(&mut self, changes: &mut WorldChanges) {
        let disputed = &mut changes.disputed;
        for (ix, before) in &changes.pods {
            let old = before.as_ref().map_or(&[][..], |pod| &pod.addresses);
            let new = self.pods.get(*ix).map_or(&[][..], |pod| &pod.addresses);
            if old == new {
                continue;
            }
            old.iter().for_each(|addr| self.claims.remove(*addr, Basis::Status, *ix));
            new.iter().for_each(|addr| self.claims.insert(*addr, Basis::Status, *ix));
            disputed.extend(old.iter().chain(new));
        }
        // Two attachments of one pod may hold one address, a predecessor's and its successor's:
        // take away all that left first, then put back what is still held.
        let mut attached = BTreeSet::new();
        for (id, before) in &changes.attachments {
            let ix = self.pods.intern(&id.pod);
            for addr in before.iter().flat_map(|attachment| &attachment.addresses) {
                self.claims.remove(*addr, Basis::Attachment, ix);
                disputed.push(*addr);
            }
            let ids = self.attached.entry(ix).or_default();
            match self.attachments.get(id) {
                Some(_) => ids.insert(id.clone()),
                None => ids.remove(id),
            };
            attached.insert(ix);
        }
        for ix in attached {
            for addr in self.attached_addresses(ix).collect::<Vec<_>>() {
                self.claims.insert(addr, Basis::Attachment, ix);
                disputed.push(addr);
            }
            if self.attached[&ix].is_empty() {
                self.attached.remove(&ix);
            }
        }
    }

    /// Lets go of names that neither a pod nor an attachment bears any more.
    pub fn release(&mut self, changes: &WorldChanges) {
        let attached = changes.attachments.keys().filter_map(|id| self.pods.find(&id.pod));
        let concerned: BTreeSet<_> = attached.chain(changes.pods.keys().copied()).collect();
        for ix in concerned {
            if !self.attached.contains_key(&ix) {
                self.pods.release(ix);
            }
        }
    }

    /// Effective labels of a pod that is judged.
    pub fn labels(&self, ix: PodIx) -> Option<EffectiveLabels<'_>> {
        self.labels_of(ix, self.pods.get(ix)?, None)
    }

    /// Those of these pods that are judged, with their effective labels. Pods of one namespace and
    /// service account come together, so what such a run inherits is looked up once.
    pub fn judged(
        &self,
        pods: impl IntoIterator<Item = PodIx>,
    ) -> impl Iterator<Item = (PodIx, &Pod, EffectiveLabels<'_>)> {
        let mut last: Option<(&Name, Option<Parent<'_>>)> = None;
        let mut last_account: Option<(&Name, Parent<'_>)> = None;
        pods.into_iter().filter_map(move |ix| {
            let pod = self.pods.get(ix)?;
            let name = &self.pods.name(ix).namespace;
            let namespace = match last {
                Some((last, namespace)) if last == name => namespace,
                _ => {
                    let namespace = self.parent(name, None);
                    last = Some((name, namespace));
                    last_account = None;
                    namespace
                }
            };
            let service_account = pod.service_account.as_ref().map(|account| match last_account {
                Some((last, parent)) if last == account => parent,
                _ => {
                    let parent = self.service_account(name, account, None);
                    last_account = Some((account, parent));
                    parent
                }
            });
            let own = &pod.labels;
            let namespace = Some(namespace?);
            Some((ix, &**pod, EffectiveLabels { own, namespace, service_account, is_pod: true }))
        })
    }

    /// Effective labels of a pod before these changes, if it was judged then.
    pub fn labels_before<'a>(
        &'a self,
        changes: &'a WorldChanges,
        ix: PodIx,
    ) -> Option<EffectiveLabels<'a>> {
        let pod = match changes.pods.get(&ix) {
            Some(before) => before.as_ref(),
            None => self.pods.get(ix),
        };
        self.labels_of(ix, pod?, Some(changes))
    }

    /// Effective labels of this state of a pod, with what it inherits as it is, or was before some
    /// changes.
    fn labels_of<'a>(
        &'a self,
        ix: PodIx,
        pod: &'a Pod,
        before: Option<&'a WorldChanges>,
    ) -> Option<EffectiveLabels<'a>> {
        let namespace = &self.pods.name(ix).namespace;
        let account = pod.service_account.as_ref();
        let service_account = account.map(|name| self.service_account(namespace, name, before));
        Some(EffectiveLabels {
            own: &pod.labels,
            namespace: self.parent(namespace, before),
            service_account,
            is_pod: true,
        })
        .filter(|labels| labels.namespace.is_some())
    }

    /// A network set and its effective labels, if its namespace is known.
    pub fn network_set(&self, id: &NetworkSetId) -> Option<(&NetworkSet, EffectiveLabels<'_>)> {
        self.network_set_of(id, self.network_sets.table().get(id)?, None)
    }

    /// A network set before these changes, likewise.
    pub fn network_set_before<'a>(
        &'a self,
        changes: &'a WorldChanges,
        id: &'a NetworkSetId,
    ) -> Option<(&'a NetworkSet, EffectiveLabels<'a>)> {
        let set = self.network_sets.before(&changes.network_sets, id)?;
        self.network_set_of(id, set, Some(changes))
    }

    fn network_set_of<'a>(
        &'a self,
        id: &NetworkSetId,
        set: &'a NetworkSet,
        before: Option<&'a WorldChanges>,
    ) -> Option<(&'a NetworkSet, EffectiveLabels<'a>)> {
        let namespace = match &id.namespace {
            Some(name) => Some(self.parent(name, before)?),
            None => None,
        };
        let own = &set.labels;
        Some((set, EffectiveLabels { own, namespace, service_account: None, is_pod: false }))
    }

    /// A service account as it is, or was before some changes, whether or not it has an object.
    fn service_account<'a>(
        &'a self,
        namespace: &Name,
        name: &'a Name,
        before: Option<&'a WorldChanges>,
    ) -> Parent<'a> {
        let id = NamespacedName { namespace: namespace.clone(), name: name.clone() };
        let account = match before {
            Some(changes) => self.service_accounts.before(&changes.service_accounts, &id),
            None => self.service_accounts.table().get(&id),
        };
        Parent { name, labels: account.map(|account| &account.labels) }
    }

    /// A namespace that is known, or was before some changes.
    fn parent<'a>(&'a self, name: &str, before: Option<&'a WorldChanges>) -> Option<Parent<'a>> {
        let before = before.and_then(|changes| changes.namespaces.get_key_value(name));
        let (name, namespace) = match before {
            Some((name, before)) => (name, before.as_ref()?),
            None => self.namespaces.table().now().get_key_value(name)?,
        };
        Some(Parent { name, labels: Some(&namespace.labels) })
    }

    /// Every address that a pod claims, whether or not it owns it.
    pub fn addresses(&self, ix: PodIx) -> BTreeSet<IpAddr> {
        let status = self.pods.get(ix).into_iter().flat_map(|pod| &pod.addresses).copied();
        status.chain(self.attached_addresses(ix)).collect()
    }

    fn attached_addresses(&self, ix: PodIx) -> impl Iterator<Item = IpAddr> {
        let ids = self.attached.get(&ix).into_iter().flatten();
        ids.filter_map(|id| self.attachments.get(id)).flat_map(|a| &a.addresses).copied()
    }

    /// The pods that own an address.
    pub fn owners(&self, addr: IpAddr) -> impl Iterator<Item = PodIx> {
        self.claims.owners(addr)
    }

    /// The addresses that a pod owns; one may come twice.
    pub fn owned(&self, ix: PodIx) -> impl Iterator<Item = IpAddr> {
        let status = self.pods.get(ix).into_iter().flat_map(|pod| &pod.addresses).copied();
        status.filter(move |addr| self.claims.upheld(*addr, ix)).chain(self.attached_addresses(ix))
    }

    /// Endpoints on this node whose own object, pod, namespace or service account changed; those
    /// that are gone too.
    pub fn changed_endpoints(&self, changes: &WorldChanges) -> BTreeSet<EndpointId> {
        let pods = changes.pods.keys().copied().chain(self.inheriting(changes));
        let ids = pods.filter_map(|ix| self.attached.get(&ix)).flatten();
        changes.attachments.keys().chain(ids).cloned().collect()
    }
}

#[cfg(test)]
mod tests;

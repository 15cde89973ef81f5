//! Who exists, with which labels, holding which addresses.
//!
//! A pod is *judged* only when both it and its namespace are known: its effective labels include
//! the namespace's, and a selector with a negation would match a label that is merely not known
//! yet. Until then it is a member of no set, and its endpoint is closed (K37).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::cluster::{Attachment, EndpointId, Namespace, Pod};
use brindle_model::labels::{
    EffectiveLabels, NAMESPACE_LABEL_PREFIX, NAMESPACE_NAME_LABEL, Parent,
};
use brindle_model::selector::Selector;

use crate::claims::{Basis, Claims};
use crate::pods::{PodIx, Pods};
use crate::selector_index::{Restriction, restrictions};
use crate::table::{Before, Table};

/// Namespaces, pods and attachments as of the last flush.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub namespaces: Table<Name, Arc<Namespace>>,
    pub attachments: Table<EndpointId, Arc<Attachment>>,
    pub pods: Pods,
    claims: Claims,
    /// The attachments of each pod of this node.
    attached: BTreeMap<PodIx, BTreeSet<EndpointId>>,
}

/// What an advance changed.
#[derive(Debug, Default)]
pub(crate) struct WorldChanges {
    namespaces: Before<Name, Arc<Namespace>>,
    pods: Before<PodIx, Arc<Pod>>,
    attachments: Before<EndpointId, Arc<Attachment>>,
    /// Addresses that a pod began or ceased to claim, or may have.
    disputed: Vec<IpAddr>,
}

impl World {
    /// Whether anything was noted since the last advance.
    pub fn has_pending(&self) -> bool {
        self.namespaces.has_pending() || self.attachments.has_pending() || self.pods.has_pending()
    }

    /// Takes over what was noted.
    pub fn advance(&mut self) -> WorldChanges {
        let mut changes = WorldChanges {
            namespaces: self.namespaces.advance(),
            pods: self.pods.advance(),
            attachments: self.attachments.advance(),
            ..WorldChanges::default()
        };
        self.renew_claims(&mut changes);
        changes
    }

    /// Pods whose memberships may have changed, each with the addresses at which they may have.
    pub fn touched(&self, changes: &WorldChanges) -> BTreeMap<PodIx, BTreeSet<IpAddr>> {
        let mut touched: BTreeMap<PodIx, BTreeSet<IpAddr>> = BTreeMap::new();
        for addr in &changes.disputed {
            for ix in self.claims.claimants(*addr) {
                touched.entry(ix).or_default().insert(*addr);
            }
        }
        for (ix, before) in &changes.pods {
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
        for namespace in changes.namespaces.keys() {
            for ix in self.pods.lists().in_namespace(namespace) {
                touched.entry(*ix).or_default().extend(self.addresses(*ix));
            }
        }
        touched
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
        let namespace = &self.pods.name(ix).namespace;
        Some(effective(namespace, self.pods.get(ix)?, self.namespaces.get(namespace)?))
    }

    /// Effective labels of a pod before these changes, if it was judged then.
    pub fn labels_before<'a>(
        &'a self,
        changes: &'a WorldChanges,
        ix: PodIx,
    ) -> Option<EffectiveLabels<'a>> {
        let namespace = &self.pods.name(ix).namespace;
        let pod = match changes.pods.get(&ix) {
            Some(before) => before.as_ref(),
            None => self.pods.get(ix),
        };
        let labels = match changes.namespaces.get(namespace) {
            Some(before) => before.as_ref(),
            None => self.namespaces.get(namespace),
        };
        Some(effective(namespace, pod?, labels?))
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

    /// Endpoints on this node whose own object, pod or namespace changed; those that are gone too.
    pub fn changed_endpoints(&self, changes: &WorldChanges) -> BTreeSet<EndpointId> {
        let lists = self.pods.lists();
        let relabelled = changes.namespaces.keys().flat_map(|name| lists.in_namespace(name));
        let pods = changes.pods.keys().chain(relabelled);
        let ids = pods.filter_map(|ix| self.attached.get(ix)).flatten();
        changes.attachments.keys().chain(ids).cloned().collect()
    }

    /// Known pods among which every match of the selector is: those of the shortest list that a
    /// restriction of the selector names, as far as they stand in the other lists too; all pods if
    /// the selector restricts nothing.
    pub fn candidates(&self, selector: &Selector) -> Vec<PodIx> {
        /// Looking a pod up in more lists than this costs more than testing the selector on it.
        const FEW: usize = 4;
        let mut listed: Vec<Vec<&[PodIx]>> =
            restrictions(selector).into_iter().filter_map(|r| self.listed(r)).collect();
        listed.sort_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>());
        let Some((shortest, others)) = listed.split_first() else {
            return self.pods.all().collect();
        };
        let mut candidates = shortest.concat();
        for lists in others.iter().filter(|lists| lists.len() <= FEW) {
            candidates.retain(|ix| lists.iter().any(|list| list.binary_search(ix).is_ok()));
        }
        candidates
    }

    /// The lists of pods that satisfy a restriction; `None` if that is all of them.
    fn listed(&self, restriction: Restriction<'_>) -> Option<Vec<&[PodIx]>> {
        let lists = self.pods.lists();
        let namespaces = |satisfies: &dyn Fn(&Namespace) -> bool| {
            let satisfying = self.namespaces.iter().filter(|(_, namespace)| satisfies(namespace));
            satisfying.map(|(name, _)| lists.in_namespace(name)).collect()
        };
        Some(match restriction {
            Restriction::Never => Vec::new(),
            Restriction::In(key, values) if **key == *NAMESPACE_NAME_LABEL => {
                values.iter().map(|name| lists.in_namespace(name)).collect()
            }
            Restriction::Has(key) if **key == *NAMESPACE_NAME_LABEL => return None,
            Restriction::In(key, values) => match key.strip_prefix(NAMESPACE_LABEL_PREFIX) {
                Some(key) => {
                    namespaces(&|ns| ns.labels.get(key).is_some_and(|v| values.contains(v)))
                }
                None => lists.with_value(key, values),
            },
            Restriction::Has(key) => match key.strip_prefix(NAMESPACE_LABEL_PREFIX) {
                Some(key) => namespaces(&|ns| ns.labels.get(key).is_some()),
                None => lists.with_key(key),
            },
        })
    }
}

fn effective<'a>(namespace: &'a str, pod: &'a Pod, labels: &'a Namespace) -> EffectiveLabels<'a> {
    EffectiveLabels {
        own: &pod.labels,
        namespace: Some(Parent { name: namespace, labels: Some(&labels.labels) }),
        service_account: pod.service_account.as_deref().map(|name| Parent { name, labels: None }),
        is_pod: true,
    }
}

#[cfg(test)]
mod tests;

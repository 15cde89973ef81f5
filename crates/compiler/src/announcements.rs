//! Addresses of Services that this node announces.
//!
//! A **range** is announced whole, by every node: whoever gets a packet for it knows a way to the
//! endpoints. A range of one address is none: it is announced while a Service has the address.
//!
//! An **address** within a range is announced by itself where the range does not suffice: because its
//! Service has the traffic policy `Local`, by the nodes that have a ready endpoint of the address's
//! family (the others drop what comes); or because load balancer ranges are not announced whole, by
//! every node. `internalTrafficPolicy` is about cluster IPs, `externalTrafficPolicy` about the others,
//! wherever a packet comes from.
//!
//! A node with the label `node.kubernetes.io/exclude-from-external-load-balancers` announces none of
//! it, and one that is not known neither: nobody has seen its labels.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::cluster::{EndpointSlice, Node, Service};
use brindle_model::net::Family;
use brindle_model::routing::BgpConfiguration;
use brindle_model::routing::advertisement::Origin;
use brindle_model::{Name, NamespacedName};
use ipnet::IpNet;

use crate::slices::{Slices, service_of};
use crate::table::{Before, Table};

/// A node with this label, whatever its value, is no way into the cluster.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Services, and what of them this node announces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Announcements {
    pub services: Table<NamespacedName, Arc<Service>>,
    terms: Terms,
    /// The ranges that are announced whole.
    whole: BTreeSet<IpNet>,
    /// What each Service has announced.
    by_service: BTreeMap<NamespacedName, BTreeSet<IpNet>>,
    /// The Services that have it announced.
    by_prefix: BTreeMap<IpNet, BTreeSet<NamespacedName>>,
}

/// What may be announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Of cluster IPs.
    cluster: Vec<IpNet>,
    /// Of external IPs.
    external: Vec<IpNet>,
    /// Of load balancer IPs.
    load_balancer: Vec<IpNet>,
    /// Load balancer ranges are not announced whole.
    single_addresses: bool,
    /// This node announces nothing of it.
    excluded: bool,
}

impl Terms {
    /// What settings of this node, the more specific first, say about a node.
    pub fn new(layers: [Option<&BgpConfiguration>; 2], node: Option<&Node>) -> Self {
        let ranges = |field: fn(&BgpConfiguration) -> &Option<Vec<IpNet>>| {
            let found = layers.into_iter().flatten().find_map(|layer| field(layer).as_ref());
            found.cloned().unwrap_or_default()
        };
        let aggregation = |layer: &BgpConfiguration| layer.service_load_balancer_aggregation;
        let aggregated = layers.into_iter().flatten().find_map(aggregation);
        Self {
            cluster: ranges(|c| &c.service_cluster_ips),
            external: ranges(|c| &c.service_external_ips),
            load_balancer: ranges(|c| &c.service_load_balancer_ips),
            single_addresses: aggregated == Some(false),
            excluded: node.is_none_or(|node| node.labels.get(EXCLUDED).is_some()),
        }
    }

    /// The ranges that are announced whole.
    fn whole(&self) -> BTreeSet<IpNet> {
        let aggregated = if self.single_addresses { &[][..] } else { &self.load_balancer };
        let ranges = [&self.cluster[..], &self.external, aggregated].concat();
        ranges.into_iter().filter(|range| !self.excluded && !is_address(range)).collect()
    }

    /// The addresses of a Service by kind: what may be announced of them, whether that is done one
    /// by one, and the field that makes them local, if it does.
    fn kinds<'a>(&'a self, service: &'a Service) -> [Kind<'a>; 3] {
        let internal = service.internal_local.then_some("internalTrafficPolicy");
        let external = service.external_local.then_some("externalTrafficPolicy");
        [
            Kind {
                name: "a cluster IP",
                addresses: &service.cluster_ips,
                ranges: &self.cluster,
                single: false,
                local: internal,
            },
            Kind {
                name: "an external IP",
                addresses: &service.external_ips,
                ranges: &self.external,
                single: false,
                local: external,
            },
            Kind {
                name: "a load balancer IP",
                addresses: &service.load_balancer_ips,
                ranges: &self.load_balancer,
                single: self.single_addresses,
                local: external,
            },
        ]
    }

    /// What is announced of a Service that has ready endpoints of these families here.
    fn addresses(&self, service: &Service, ready: &BTreeSet<Family>) -> BTreeSet<IpNet> {
        let mut found = BTreeSet::new();
        for kind in self.kinds(service).iter().filter(|_| !self.excluded) {
            for address in kind.addresses {
                let mut ranges = kind.ranges.iter().filter(|range| range.contains(address));
                let by_itself = match kind.local {
                    Some(_) => ranges.next().is_some() && ready.contains(&Family::of(*address)),
                    None => ranges.any(|range| kind.single || is_address(range)),
                };
                if by_itself {
                    found.insert(IpNet::from(*address));
                }
            }
        }
        found
    }
}

/// The addresses of one kind of a Service.
struct Kind<'a> {
    name: &'static str,
    addresses: &'a [IpAddr],
    ranges: &'a [IpNet],
    single: bool,
    local: Option<&'static str>,
}

impl Announcements {
    /// Takes over what was noted, and these terms; returns the prefixes of which it may be told
    /// otherwise now.
    pub fn advance(
        &mut self,
        node: &Name,
        terms: Option<Terms>,
        slices: &Slices,
        changed: &Before<NamespacedName, Arc<EndpointSlice>>,
    ) -> BTreeSet<IpNet> {
        let mut concerned: BTreeSet<NamespacedName> = self.services.advance().into_keys().collect();
        for (id, before) in changed {
            let now = slices.get(id);
            concerned.extend(before.iter().chain(now).map(|slice| service_of(id, slice)));
        }
        let mut prefixes = BTreeSet::new();
        if let Some(terms) = terms.filter(|terms| *terms != self.terms) {
            let whole = terms.whole();
            prefixes.extend(self.whole.symmetric_difference(&whole));
            self.whole = whole;
            self.terms = terms;
            concerned.extend(self.services.now().keys().cloned());
        }
        for id in concerned {
            let announced = match self.services.get(&id) {
                Some(service) => self.terms.addresses(service, &ready(node, slices, &id)),
                None => BTreeSet::new(),
            };
            self.set(id, announced, &mut prefixes);
        }
        prefixes
    }

    fn set(
        &mut self,
        id: NamespacedName,
        announced: BTreeSet<IpNet>,
        prefixes: &mut BTreeSet<IpNet>,
    ) {
        let before = self.by_service.remove(&id).unwrap_or_default();
        for prefix in before.difference(&announced) {
            if let Some(services) = self.by_prefix.get_mut(prefix) {
                services.remove(&id);
                if services.is_empty() {
                    self.by_prefix.remove(prefix);
                }
            }
        }
        for prefix in announced.difference(&before) {
            self.by_prefix.entry(*prefix).or_default().insert(id.clone());
        }
        prefixes.extend(before.symmetric_difference(&announced));
        if !announced.is_empty() {
            self.by_service.insert(id, announced);
        }
    }

    /// Why this node announces a prefix, if it does because of Services.
    pub fn origin(&self, prefix: &IpNet) -> Option<Origin> {
        if let Some(services) = self.by_prefix.get(prefix) {
            return Some(Origin::Services(services.clone()));
        }
        self.whole.contains(prefix).then_some(Origin::ServiceRange)
    }

    /// What Services have an address within a prefix of one address, and why it is not announced by
    /// itself; `None` if it is, or no Service has it.
    pub fn remark(&self, node: &Name, slices: &Slices, prefix: &IpNet) -> Option<String> {
        if !is_address(prefix) || self.by_prefix.contains_key(prefix) {
            return None;
        }
        let address = prefix.addr();
        let has = |service: &Service| {
            let kinds = self.terms.kinds(service).into_iter();
            kinds.filter(|kind| kind.addresses.contains(&address)).map(|k| (k.name, k.local)).next()
        };
        let mut found = self.services.iter().filter_map(|(id, s)| Some((id, s, has(s)?)));
        let (id, service, (kind, local)) = found.next()?;
        let whose = format!("{address} is {kind} of Service {id}");
        let ranges = self.terms.kinds(service).into_iter().flat_map(|kind| {
            let has = kind.addresses.contains(&address);
            kind.ranges.iter().filter(move |range| has && range.contains(&address))
        });
        Some(match (self.terms.excluded, ranges.max(), local) {
            (true, ..) => format!("{whose}, and this node is excluded by its label {EXCLUDED}"),
            (_, None, _) => format!("{whose}, and no range of a BGPConfiguration contains it"),
            (_, _, Some(field)) if !ready(node, slices, id).contains(&Family::of(address)) => {
                format!("{whose} with {field} Local, and this node has no ready endpoint of it")
            }
            (_, Some(range), _) => format!("{whose}; {range} is announced for it"),
        })
    }
}

/// Of which families a node has ready endpoints of a Service.
fn ready(node: &Name, slices: &Slices, service: &NamespacedName) -> BTreeSet<Family> {
    let here = slices.of(service).filter(|(_, slice)| slice.ready_on.binary_search(node).is_ok());
    here.filter_map(|(_, slice)| slice.addresses.first().copied().map(Family::of)).collect()
}

fn is_address(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

#[cfg(test)]
mod tests;

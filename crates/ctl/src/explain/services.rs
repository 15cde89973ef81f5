//! Services: where a packet to one goes, as a service proxy would send it.
//!
//! ```text
//! svc/NAMESPACE/NAME:PORT, or a cluster IP ──> port of the Service ──> slices ──> ready backends
//! ```
//! Policy sees a packet behind DNAT (K25), so what is judged is one packet for each backend that may
//! be chosen: those that are ready; if there is none, those that still serve while they terminate; on
//! the sender's node alone under `internalTrafficPolicy: Local`. Session affinity and topology choose
//! among them, so they make no difference to what may happen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use brindle_model::net::Family;
use brindle_model::{Name, NamespacedName};
use k8s_openapi::api::core::v1::{Service, ServicePort as WrittenPort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::cli::{PortAndProtocol, ServicePort};

/// The Services; of one that cannot be read, why.
#[derive(Debug, Default)]
pub(super) struct Services(BTreeMap<NamespacedName, Result<Service, String>>);

/// What was asked of which Service.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// The Service.
    pub id: &'a NamespacedName,
    /// The family of the address that was asked for, if one was.
    pub family: Option<Family>,
    service: &'a Service,
}

/// A port of a Service, and where packets to it go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The port in words, as in `80/tcp (http)`.
    pub port: String,
    /// Where packets go: address, port and protocol behind DNAT; sorted, never empty.
    pub backends: Vec<(IpAddr, PortAndProtocol)>,
}

impl Services {
    pub fn new(read: BTreeMap<NamespacedName, Result<Service, String>>) -> Self {
        Self(read)
    }

    /// The Service of a name.
    ///
    /// # Errors
    /// There is none, it cannot be read, or it has no cluster IP.
    pub fn named<'a>(&'a self, id: &'a NamespacedName) -> Result<Asked<'a>> {
        let service = self.0.get(id).with_context(|| format!("there is no Service {id}"))?;
        let service = match service {
            Ok(service) => service,
            Err(why) => bail!("Service {id} cannot be read: {why}"),
        };
        let spec = service.spec.as_ref();
        if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
            bail!("Service {id} is a name for another host: no packet has its address");
        }
        if cluster_ips(service).any(|ip| ip == "None") {
            bail!("Service {id} is headless: its clients send to its pods; ask about one of those");
        }
        Ok(Asked { id, family: None, service })
    }

    /// The Service that has a cluster IP.
    pub fn at(&self, address: IpAddr) -> Option<Asked<'_>> {
        let has = |service: &Service| {
            cluster_ips(service).any(|ip| ip.parse::<IpAddr>().ok() == Some(address))
        };
        let readable = self.0.iter().filter_map(|(id, service)| Some((id, service.as_ref().ok()?)));
        let (id, service) = { readable }.find(|(_, service)| has(service))?;
        Some(Asked { id, family: Some(Family::of(address)), service })
    }
}

impl Asked<'_> {
    /// The backends of the port that is meant, for a sender on a node.
    ///
    /// # Errors
    /// The Service has no such port, or it is not clear which is meant; no backend is ready.
    pub fn target(
        &self,
        named: Option<&ServicePort>,
        asked: Option<PortAndProtocol>,
        slices: &[EndpointSlice],
        node: Option<&Name>,
    ) -> Result<Target> {
        let id = self.id;
        let port = self.port(named, asked)?;
        let spec = self.service.spec.as_ref();
        let policy = spec.and_then(|spec| spec.internal_traffic_policy.as_deref());
        let only_on = node.filter(|_| policy == Some("Local"));
        let served = self.endpoints(port, slices);
        let here = served.iter().filter(|(endpoint, ..)| {
            only_on.is_none_or(|node| endpoint.node_name.as_deref() == Some(node))
        });
        let here: Vec<_> = here.collect();
        let ready: Vec<_> = here.iter().filter(|(endpoint, ..)| is_ready(endpoint)).collect();
        let chosen = match ready.is_empty() {
            false => ready,
            true => here.iter().filter(|(endpoint, ..)| is_leaving(endpoint)).collect(),
        };
        let backends: BTreeSet<_> = chosen.iter().map(|(_, address, to)| (*address, *to)).collect();
        let port = in_words(port);
        if backends.is_empty() {
            let known = served.len();
            match only_on {
                Some(node) => bail!(
                    "Service {id} has no ready endpoint at {port} on node {node}, and its \
                     internalTrafficPolicy is Local; {known} elsewhere or not ready"
                ),
                None => bail!("Service {id} has no ready endpoint at {port}; {known} not ready"),
            }
        }
        Ok(Target { port, backends: backends.into_iter().collect() })
    }

    /// The port that is meant.
    fn port(
        &self,
        named: Option<&ServicePort>,
        asked: Option<PortAndProtocol>,
    ) -> Result<&WrittenPort> {
        let ports = self.service.spec.as_ref().and_then(|spec| spec.ports.as_deref());
        let ports = ports.unwrap_or_default();
        let fits = |port: &&WrittenPort| {
            let names = named.is_none_or(|named| match named {
                ServicePort::Number(number) => port.port == i32::from(*number),
                ServicePort::Name(name) => port.name.as_ref() == Some(name),
            });
            names && asked.is_none_or(|asked| at(port, port.port) == Some(asked))
        };
        let mut fitting: Vec<_> = ports.iter().filter(fits).collect();
        if fitting.len() > 1 && matches!(named, Some(ServicePort::Number(_))) {
            // As everywhere, tcp unless said.
            fitting.retain(|port| protocol(port) == "TCP");
        }
        let all: Vec<_> = ports.iter().map(in_words).collect();
        let (id, all) = (self.id, all.join(", "));
        let meant = match (named, asked) {
            (Some(named), _) => named.to_string(),
            (None, Some(asked)) => asked.to_string(),
            (None, None) => "every port".to_owned(),
        };
        match fitting[..] {
            [port] => Ok(port),
            _ if ports.is_empty() => bail!("Service {id} has no port"),
            [] => bail!("{meant} is no port of Service {id}, which has {all}"),
            _ => bail!("{meant} of Service {id} could be meant: {all}; say which"),
        }
    }

    /// Everything that the slices list behind a port, ready or not, in the families that are asked
    /// about.
    fn endpoints<'b>(
        &self,
        port: &WrittenPort,
        slices: &'b [EndpointSlice],
    ) -> Vec<(&'b Endpoint, IpAddr, PortAndProtocol)> {
        const SERVICE_NAME: &str = "kubernetes.io/service-name";
        let own = |slice: &&EndpointSlice| {
            let metadata = &slice.metadata;
            let labels = metadata.labels.as_ref();
            metadata.namespace.as_deref().unwrap_or("default") == &*self.id.namespace
                && labels.and_then(|labels| labels.get(SERVICE_NAME)).map(String::as_str)
                    == Some(&*self.id.name)
        };
        let mut found = Vec::new();
        for slice in slices.iter().filter(own) {
            // A port without a name has the empty one, on either side.
            let name = |name: &Option<String>| name.clone().unwrap_or_default();
            let listed = slice.ports.iter().flatten().filter(|listed| {
                name(&listed.name) == name(&port.name)
                    && listed.protocol.as_deref().unwrap_or("TCP") == protocol(port)
            });
            let numbers: Vec<_> = listed.filter_map(|listed| at(port, listed.port?)).collect();
            for endpoint in &slice.endpoints {
                let addresses = endpoint.addresses.iter().filter_map(|text| text.parse().ok());
                let mut addresses = addresses.filter(|address: &IpAddr| {
                    self.family.is_none_or(|family| Family::of(*address) == family)
                });
                // Addresses of one endpoint are the same backend; proxies take the first.
                if let Some(address) = addresses.next() {
                    found.extend(numbers.iter().map(|number| (endpoint, address, *number)));
                }
            }
        }
        found
    }
}

/// Unless said otherwise, an endpoint is ready.
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

/// Whether an endpoint still serves while it terminates.
fn is_leaving(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    let is = |condition: Option<bool>| condition.unwrap_or(false);
    conditions.is_some_and(|conditions| is(conditions.serving) && is(conditions.terminating))
}

fn cluster_ips(service: &Service) -> impl Iterator<Item = &str> {
    let spec = service.spec.as_ref();
    let single = spec.and_then(|spec| spec.cluster_ip.as_deref());
    let list = spec.and_then(|spec| spec.cluster_ips.as_deref()).unwrap_or_default();
    single.into_iter().chain(list.iter().map(String::as_str))
}

fn protocol(port: &WrittenPort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// A number with the protocol of a Service's port.
fn at(port: &WrittenPort, number: i32) -> Option<PortAndProtocol> {
    let number = u16::try_from(number).ok().filter(|number| *number != 0)?;
    Some(match protocol(port) {
        "TCP" => PortAndProtocol::Tcp(number),
        "UDP" => PortAndProtocol::Udp(number),
        "SCTP" => PortAndProtocol::Sctp(number),
        _ => return None,
    })
}

fn in_words(port: &WrittenPort) -> String {
    let number = format!("{}/{}", port.port, protocol(port).to_ascii_lowercase());
    match &port.name {
        Some(name) => format!("{number} ({name})"),
        None => number,
    }
}

//! What selectors may pick (C23): the pods and network sets that hold an address, and their labels
//! (C11–C13).

use std::net::IpAddr;

use brindle_api::HostEndpoint;
use brindle_model::net::Protocol;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cidr::Cidr;
use crate::host::expected;
use crate::port::{named_ports, transport};
use crate::trace::Action;
use crate::world::{
    World, is_inherited, is_system, label_of, name_of, namespace_of, pod_label, service_account_of,
};

/// A known endpoint or network set.
#[derive(Clone, Copy)]
pub(crate) enum Member<'a> {
    Pod(&'a Pod),
    /// C27: a set matches like an endpoint that owns these nets. Without a namespace it is a
    /// GlobalNetworkSet.
    Set(&'a ObjectMeta, Option<&'a str>),
    /// C34: by its expected addresses.
    Host(&'a HostEndpoint),
}

/// How to take a list of addresses of which something cannot be read (A13, decision 0013).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It holds what can be read, and no more.
    HoldsNothing,
    /// It may hold any address.
    HoldsAll,
}

impl Doubt {
    /// A13: by it an Allow, Log or Pass matches nothing, a Deny everything.
    pub(crate) fn of(action: Action) -> Self {
        match action {
            Action::Allow | Action::Log | Action::Pass => Self::HoldsNothing,
            Action::Deny => Self::HoldsAll,
        }
    }

    /// The other one: what is in doubt for a criterion counts the other way for its negation.
    pub(crate) fn negated(self) -> Self {
        match self {
            Self::HoldsNothing => Self::HoldsAll,
            Self::HoldsAll => Self::HoldsNothing,
        }
    }
}

/// Every known endpoint and network set that holds an address.
pub(crate) fn holding(world: &World, addr: IpAddr, doubt: Doubt) -> Vec<Member<'_>> {
    let holds = |nets: &[String]| {
        // C27: any CIDRs, overlap and nesting allowed.
        let mut read = nets.iter().map(|net| Cidr::parse_net(net));
        read.any(|net| net.map_or(doubt == Doubt::HoldsAll, |net| net.contains(addr)))
    };
    let pods = world.known_owners(addr).map(Member::Pod);
    let sets = world.network_sets.iter().filter(|set| holds(&set.spec.nets)).map(|set| {
        let metadata = &set.metadata;
        Member::Set(metadata, Some(namespace_of(metadata)))
    });
    // As for pods (K37): in an unknown namespace a set's labels are not known.
    let sets = sets.filter(|set| set.namespace().is_some_and(|n| world.knows_namespace(n)));
    let global = world.global_network_sets.iter().filter(|set| holds(&set.spec.nets));
    let global = global.map(|set| Member::Set(&set.metadata, None));
    let hosts = world.host_endpoints.iter();
    let hosts = hosts.filter(|endpoint| expected(endpoint).contains(&addr)).map(Member::Host);
    pods.chain(sets).chain(global).chain(hosts).collect()
}

impl<'a> Member<'a> {
    /// Its namespace, if its kind has one.
    pub(crate) fn namespace(self) -> Option<&'a str> {
        match self {
            Self::Pod(pod) => Some(namespace_of(&pod.metadata)),
            Self::Set(_, namespace) => namespace,
            Self::Host(_) => None,
        }
    }

    /// The service account it runs as: pods only.
    pub(crate) fn service_account(self) -> Option<&'a str> {
        match self {
            Self::Pod(pod) => Some(service_account_of(pod)),
            Self::Set(..) | Self::Host(_) => None,
        }
    }

    /// The value of an effective label.
    pub(crate) fn label(self, world: &'a World, key: &str) -> Option<&'a str> {
        // C11: labels of the namespace and of the service account, each under its prefix.
        if let Some(key) = key.strip_prefix("pcns.") {
            return world.namespace_label(self.namespace()?, key);
        }
        if let Some(key) = key.strip_prefix("pcsa.") {
            return world.service_account_label(self.namespace()?, self.service_account()?, key);
        }
        match self {
            Self::Pod(pod) => pod_label(pod, key),
            // C13: own labels and the namespace under its key. A system label is never an object's
            // own, or whoever may write a set could have it pass for pods (decision 0009).
            Self::Set(_, namespace) if key == "projectcalico.org/namespace" => namespace,
            Self::Set(..) | Self::Host(_) if is_inherited(key) || is_system(key) => None,
            Self::Host(endpoint) => label_of(&endpoint.metadata, key),
            Self::Set(metadata, _) => label_of(metadata, key),
        }
    }

    /// The numbers of its ports of this name and protocol (C20); a network set has none.
    pub(crate) fn named_ports(self, name: &str, protocol: Protocol) -> Vec<i32> {
        match self {
            Self::Pod(pod) => named_ports(pod, name, protocol),
            Self::Set(..) => Vec::new(),
            Self::Host(endpoint) => {
                let ports = endpoint.spec.ports.iter().filter(|port| port.name == name);
                let written = |p: &IntOrString| match p {
                    IntOrString::Int(number) => u8::try_from(*number).ok().map(Protocol),
                    IntOrString::String(name) => transport(name),
                };
                let ports = ports.filter(|port| written(&port.protocol) == Some(protocol));
                ports.map(|port| port.port).collect()
            }
        }
    }

    /// For traces.
    pub(crate) fn named(self) -> String {
        match self {
            Self::Pod(pod) => {
                format!("pod {}/{}", namespace_of(&pod.metadata), name_of(&pod.metadata))
            }
            Self::Set(metadata, Some(namespace)) => {
                format!("network set {namespace}/{}", name_of(metadata))
            }
            Self::Set(metadata, None) => format!("global network set {}", name_of(metadata)),
            Self::Host(endpoint) => format!("host endpoint {}", name_of(&endpoint.metadata)),
        }
    }
}

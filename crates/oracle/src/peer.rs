//! Peers: who may talk (§1.2).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer};

use crate::cidr::Cidr;
use crate::label_selector::{self, Reading};
use crate::world::{World, namespace_of, pod_label};

/// The other end of a packet: its address, and the pod that owns it, if one does.
#[derive(Clone, Copy)]
pub(crate) struct OtherEnd<'a> {
    pub(crate) addr: IpAddr,
    pub(crate) pod: Option<&'a Pod>,
}

/// What one entry of `from` or `to` says: rule number, whether it matched, and why.
pub(crate) type Answer = (&'static str, bool, String);

/// Puts one entry to the other end.
pub(crate) fn read(
    world: &World,
    policy_namespace: &str,
    peer: &NetworkPolicyPeer,
    end: OtherEnd<'_>,
) -> Answer {
    match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
        (Some(block), None, None) => read_block(block, end.addr),
        (Some(_), _, _) => no("K14", "broken: ipBlock excludes the selectors"),
        (None, None, None) => no("K10", "broken: neither ipBlock nor a selector is set"),
        (None, _, _) => read_selectors(world, policy_namespace, peer, end),
    }
}

fn no(rule: &'static str, why: impl Into<String>) -> Answer {
    (rule, false, why.into())
}

fn read_selectors(
    world: &World,
    policy_namespace: &str,
    peer: &NetworkPolicyPeer,
    end: OtherEnd<'_>,
) -> Answer {
    // K27, K38 and §1.2: selectors only ever match pods, not outside addresses, not nodes.
    let Some(pod) = end.pod else {
        return no("K10", format!("{} is not the address of a pod", end.addr));
    };
    let namespace = namespace_of(&pod.metadata);
    if !world.knows(pod) {
        return no("K37", format!("namespace {namespace} of the pod is not known"));
    }
    // K10: nil namespaceSelector = the policy's own namespace; empty = all.
    match &peer.namespace_selector {
        None if namespace != policy_namespace => {
            return no(
                "K10",
                format!("the pod is in namespace {namespace}, not {policy_namespace}"),
            );
        }
        None => {}
        Some(selector) => {
            match label_selector::read(selector, &|key| world.namespace_label(namespace, key)) {
                Reading::Matched => {}
                Reading::Failed(why) => return no("K11", format!("namespace {namespace}: {why}")),
                Reading::Broken(why) => {
                    return no("K11", format!("broken: namespaceSelector: {why}"));
                }
            }
        }
    }
    // K10: nil podSelector beside a namespaceSelector = all pods there. Both = AND.
    if let Some(selector) = &peer.pod_selector {
        match label_selector::read(selector, &|key| pod_label(pod, key)) {
            Reading::Matched => {}
            Reading::Failed(why) => return no("K11", format!("the pod: {why}")),
            Reading::Broken(why) => return no("K11", format!("broken: podSelector: {why}")),
        }
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    ("K10", true, format!("pod {namespace}/{name} is selected"))
}

fn read_block(block: &IPBlock, addr: IpAddr) -> Answer {
    // K16: legacy spellings are read leniently; what cannot be read matches nothing.
    let Some(cidr) = Cidr::parse(&block.cidr) else {
        return no("K16", format!("broken: {:?} is not a CIDR", block.cidr));
    };
    let mut hole = None;
    for text in block.except.iter().flatten() {
        let Some(except) = Cidr::parse(text) else {
            return no("K16", format!("broken: except {text:?} is not a CIDR"));
        };
        // K14: except must lie within cidr and be longer.
        if !cidr.strictly_covers(except) {
            return no("K14", format!("broken: except {except} is not inside {cidr}"));
        }
        if except.contains(addr) {
            hole = Some(except);
        }
    }
    // K16: per family.
    if !cidr.same_family(addr) {
        return no("K16", format!("{addr} is not of the family of {cidr}"));
    }
    // K13: addresses count, whoever holds them.
    if !cidr.contains(addr) {
        return no("K13", format!("{addr} is outside {cidr}"));
    }
    // K14: except subtracts inside its own peer only.
    match hole {
        Some(except) => no("K14", format!("{addr} is inside except {except}")),
        None => ("K13", true, format!("{addr} is inside {cidr}")),
    }
}

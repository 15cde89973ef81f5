//! The table: a fixed world, policies as YAML, and rows of a flow and who decides it.

use std::net::IpAddr;

use brindle_model::NamespacedName;
use brindle_model::packet::{ConnState, Flow, Origin, Packet, Transport};
use brindle_model::verdict::{DecisionId, Direction, PolicyKind, Verdict};
use brindle_oracle::{Hop, Outcome, World, judge};
use serde::de::DeserializeOwned;

const NAMESPACES: &str = "
metadata: {name: x, labels: {team: red}}
---
metadata: {name: y, labels: {team: blue}}
---
metadata: {name: z}
";

const NODES: &str = "
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.1.0.1}, {type: InternalIP, address: 'fd01::1'}]}
---
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 10.1.0.2}, {type: InternalIP, address: 'fd01::2'}]}
";

/// x/a, x/b, y/a, y/b and z/c on two nodes; x/host is host-network, x/done finished.
const PODS: &str = "
metadata: {name: a, namespace: x, labels: {app: a, env: ''}}
spec:
  nodeName: n1
  containers:
  - {name: main, ports: [{name: web, containerPort: 80}, {name: dns, containerPort: 53, protocol: UDP}]}
  - {name: side, ports: [{name: web, containerPort: 81}]}
  initContainers:
  - {name: proxy, restartPolicy: Always, ports: [{name: admin, containerPort: 15000}]}
status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
metadata: {name: b, namespace: x, labels: {app: b}}
spec: {nodeName: n1, containers: [{name: main, ports: [{name: web, containerPort: 8080}]}]}
status: {podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}, {ip: 'fd00::2'}]}
---
metadata: {name: a, namespace: y, labels: {app: a}}
spec: {nodeName: n2, containers: [{name: main, ports: [{name: web, containerPort: 80}]}]}
status: {podIP: 10.0.1.1, podIPs: [{ip: 10.0.1.1}, {ip: 'fd00::101'}]}
---
metadata: {name: b, namespace: y, labels: {app: b}}
spec: {nodeName: n2, containers: [{name: main}]}
status: {podIP: 10.0.1.2, podIPs: [{ip: 10.0.1.2}, {ip: 'fd00::102'}]}
---
metadata: {name: c, namespace: z}
spec: {nodeName: n2, containers: [{name: main, ports: [{name: web, containerPort: 80, protocol: UDP}]}]}
status: {podIP: 10.0.2.3, podIPs: [{ip: 10.0.2.3}, {ip: 'fd00::203'}]}
---
metadata: {name: host, namespace: x, labels: {app: a}}
spec: {nodeName: n1, hostNetwork: true, containers: [{name: main, ports: [{name: web, containerPort: 80}]}]}
status: {podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: 'fd01::1'}]}
---
metadata: {name: done, namespace: x, labels: {app: a}}
spec: {nodeName: n1, containers: [{name: main, ports: [{name: web, containerPort: 80}]}]}
status: {phase: Succeeded, podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}]}
";

/// The fixed world with these policies. Each document is a NetworkPolicy.
pub fn world(policies: &str) -> World {
    World {
        namespaces: documents(NAMESPACES),
        pods: documents(PODS),
        network_policies: documents(policies),
        nodes: documents(NODES),
        ..World::default()
    }
}

/// The fixed world with these objects: policies of every kind, tiers, network sets, endpoint slices
/// and service accounts. `apiVersion` is left out: only Kubernetes' own kinds say it.
pub fn world_of(objects: &str) -> World {
    let mut world = world("");
    for mut object in documents::<serde_json::Value>(objects) {
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        let kubernetes = object.get("apiVersion").is_some();
        let version = match kind.as_str() {
            "ClusterNetworkPolicy" => brindle_api::POLICY_API_VERSION,
            "ServiceAccount" => "v1",
            "EndpointSlice" => "discovery.k8s.io/v1",
            _ => brindle_api::API_VERSION,
        };
        if !kubernetes {
            object["apiVersion"] = version.into();
        }
        match kind.as_str() {
            "NetworkPolicy" if kubernetes => take(&mut world.network_policies, object),
            "NetworkPolicy" => take(&mut world.tiered_policies, object),
            "GlobalNetworkPolicy" => take(&mut world.global_network_policies, object),
            "StagedNetworkPolicy" => take(&mut world.staged_network_policies, object),
            "StagedGlobalNetworkPolicy" => take(&mut world.staged_global_network_policies, object),
            "StagedKubernetesNetworkPolicy" => {
                take(&mut world.staged_kubernetes_network_policies, object);
            }
            "ClusterNetworkPolicy" => take(&mut world.cluster_network_policies, object),
            "Tier" => take(&mut world.tiers, object),
            "NetworkSet" => take(&mut world.network_sets, object),
            "GlobalNetworkSet" => take(&mut world.global_network_sets, object),
            "EndpointSlice" => take(&mut world.endpoint_slices, object),
            "HostEndpoint" => take(&mut world.host_endpoints, object),
            "ServiceAccount" => take(&mut world.service_accounts, object),
            other => panic!("no table has a {other}"),
        }
    }
    world
}

fn take<T: DeserializeOwned>(objects: &mut Vec<T>, value: serde_json::Value) {
    objects.push(serde_json::from_value(value).expect("an object of its kind"));
}

/// Parses a stream of YAML documents.
pub fn documents<T: DeserializeOwned>(yaml: &str) -> Vec<T> {
    // YAML 1.2: `y` is a namespace, not a truth.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_multiple_with_options(yaml, options).expect("the table's YAML is valid")
}

/// One policy named `p` in namespace x with this spec, in flow style.
pub fn policy(spec: &str) -> String {
    format!("metadata: {{name: p, namespace: x}}\nspec: {spec}\n")
}

/// Checks rows of `flow` and `decision` at the hop of one direction.
///
/// A flow is `FROM > TO PROTOCOL`, over IPv6 with `>6`; a decision is `open` (not isolated), `end`
/// (isolated, nothing matched), `NAME:INDEX` (that rule of that Kubernetes policy), `allow
/// NAME:INDEX` or `deny NAME:INDEX` (of another kind) or the decision's own text.
pub fn check(world: &World, direction: Direction, rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        let outcome = judge(world, &flow(world, text));
        let hop = outcome.hops.iter().find(|hop| hop.direction == direction);
        let got = hop.map_or_else(|| "no hop".to_owned(), decision);
        assert_eq!(got, *expected, "{direction} of {text}\n{}", shown(&outcome));
    }
}

fn decision(hop: &Hop) -> String {
    match (&hop.decision, hop.verdict) {
        (DecisionId::Profile { name }, Verdict::Allow)
            if **name == *format!("kns.{}", hop.pod.namespace) =>
        {
            "open".to_owned()
        }
        (DecisionId::TierEnd { tier }, Verdict::Deny) if &**tier == "default" => "end".to_owned(),
        (DecisionId::Rule { policy, index, .. }, verdict)
            if policy.kind != PolicyKind::KubernetesNetworkPolicy =>
        {
            format!("{verdict} {}:{index}", policy.name)
        }
        (DecisionId::Rule { policy, direction, index }, Verdict::Allow)
            if policy.namespace.as_ref() == Some(&hop.pod.namespace)
                && *direction == hop.direction =>
        {
            format!("{}:{index}", policy.name)
        }
        (other, verdict) => format!("{verdict} {other}"),
    }
}

/// The trace of every hop, for messages.
pub fn shown(outcome: &Outcome) -> String {
    let mut text = String::new();
    for hop in &outcome.hops {
        text += &format!("{} of {}: {} {}\n", hop.direction, hop.pod, hop.verdict, hop.decision);
        for step in &hop.trace {
            text += &format!("  {step}\n");
        }
    }
    text
}

/// Parses a flow. FROM and TO are `ns/pod`, `node NAME`, `unknown ns/pod` or an address; PROTOCOL is
/// `tcp/80`, `udp/53`, `sctp/7`, `icmp/8` (type), `proto/47`; ` est`, ` rel` and ` inv` after it
/// set the state.
pub fn flow(world: &World, text: &str) -> Flow {
    let (from, rest) = text.split_once(" >").expect("a flow has an arrow");
    let (v6, rest) = match rest.strip_prefix('6') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim();
    let (rest, state) = match rest.rsplit_once(' ') {
        Some((rest, "est")) => (rest, ConnState::Established),
        Some((rest, "rel")) => (rest, ConnState::Related),
        Some((rest, "inv")) => (rest, ConnState::Invalid),
        _ => (rest, ConnState::New),
    };
    let (to, protocol) = rest.rsplit_once(' ').expect("a flow has a protocol");
    let (origin, source) = end(world, from, v6);
    let (_, destination) = end(world, to, v6);
    let (protocol, number) = protocol.split_once('/').expect("a protocol has a number");
    let number: u16 = number.parse().expect("a number");
    let source_port = 40000;
    let transport = match protocol {
        "tcp" => Transport::Tcp { source: source_port, destination: number },
        "udp" => Transport::Udp { source: source_port, destination: number },
        "sctp" => Transport::Sctp { source: source_port, destination: number },
        "icmp" => Transport::Icmp { icmp_type: number as u8, code: 0 },
        "proto" => Transport::Other(number as u8),
        other => panic!("unknown protocol {other}"),
    };
    Flow { origin, packet: Packet { source, destination, transport }, state }
}

fn end(world: &World, text: &str, v6: bool) -> (Origin, IpAddr) {
    let pick = |addresses: Vec<IpAddr>| {
        addresses.into_iter().find(|a| a.is_ipv6() == v6).expect("an address of the family")
    };
    // `ns/pod as ADDRESS` sends from an address that may not be the pod's own.
    if let Some((from, address)) = text.split_once(" as ") {
        let (origin, _) = end(world, from, v6);
        return (origin, address.parse().expect("an address"));
    }
    if let Some(name) = text.strip_prefix("node ") {
        let node = world.nodes.iter().find(|n| n.metadata.name.as_deref() == Some(name));
        let status = node.and_then(|n| n.status.as_ref()).expect("a node with a status");
        let addresses = status.addresses.iter().flatten();
        let addresses = addresses.map(|a| a.address.parse().expect("an address")).collect();
        return (Origin::Node(name.into()), pick(addresses));
    }
    if let Some(id) = text.strip_prefix("unknown ") {
        let (namespace, name) = id.split_once('/').expect("a pod");
        let address = if v6 { "fd00::99" } else { "10.0.0.99" };
        let id = NamespacedName::new(namespace, name);
        return (Origin::Pod(id), address.parse().expect("an address"));
    }
    if let Some((namespace, name)) = text.split_once('/') {
        let pod = world.pods.iter().find(|p| {
            p.metadata.namespace.as_deref() == Some(namespace)
                && p.metadata.name.as_deref() == Some(name)
        });
        let status = pod.and_then(|p| p.status.as_ref()).expect("a pod with a status");
        let addresses = status.pod_ips.iter().flatten();
        let addresses = addresses.map(|a| a.ip.parse().expect("an address")).collect();
        return (Origin::Pod(NamespacedName::new(namespace, name)), pick(addresses));
    }
    (Origin::Outside, text.parse().expect("an address"))
}

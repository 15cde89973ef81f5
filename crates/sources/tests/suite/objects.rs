//! Namespaces, nodes, pods, pools, services, tiers and network sets.

use brindle_model::cluster::{EndpointSlice, NamedPort, Node, Pod, Service};
use brindle_model::net::Protocol;
use brindle_model::policy::{Order, Tier, TierEnd};
use brindle_sources::convert::Input;

use super::{accepted, convert};

fn pod(rest: &str) -> (Option<Pod>, Vec<String>) {
    match convert(&format!("apiVersion: v1\nkind: Pod\n{rest}")) {
        (Some(Input::Pod(pod)), problems) => (Some((*pod).clone()), problems),
        (None, problems) => (None, problems),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_namespace_carries_its_name() {
    let yaml = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a, kubernetes.io/metadata.name: forged}}";
    let Input::Namespace(namespace) = accepted(yaml) else { panic!() };
    let labels: Vec<_> = namespace.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["kubernetes.io/metadata.name=shop", "team=a"], "K12");
}

#[test]
fn a_node_has_its_internal_addresses() {
    let yaml = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {rack: r1}}\nstatus: {addresses: [{type: Hostname, address: n1}, {type: InternalIP, address: 10.0.0.1}, {type: ExternalIP, address: 192.0.2.1}, {type: InternalIP, address: 'fd00::1'}]}";
    let Input::Node(node) = accepted(yaml) else { panic!() };
    let expected = Node {
        labels: [("rack", "r1")].into_iter().collect(),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        all_addresses: ["10.0.0.1", "192.0.2.1", "fd00::1"].map(|a| a.parse().unwrap()).into(),
        incomplete: false,
    };
    assert_eq!(*node, expected);
}

#[test]
fn a_pod_has_labels_addresses_and_ports() {
    let (found, problems) = pod("metadata: {name: a, namespace: shop, labels: {role: web, pcns.team: a, pcsa.x: y}}
spec:
  nodeName: n1
  initContainers:
  - {name: sidecar, restartPolicy: Always, ports: [{name: admin, containerPort: 9901}]}
  containers:
  - {name: web, ports: [{name: http, containerPort: 8080}, {containerPort: 1}, {name: dns, containerPort: 53, protocol: UDP}]}
  - {name: two, ports: [{name: http, containerPort: 8081}]}
status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: 'fd01::1'}]}");
    let port = |name: &str, protocol, port| NamedPort { name: name.into(), protocol, port };
    let expected = Pod {
        uid: None,
        node: Some("n1".into()),
        labels: [("role", "web")].into_iter().collect(),
        service_account: Some("default".into()),
        addresses: ["10.1.0.1", "fd01::1"].map(|text| text.parse().unwrap()).into_iter().collect(),
        ports: [
            port("admin", Protocol::TCP, 9901),
            port("dns", Protocol::UDP, 53),
            port("http", Protocol::TCP, 8080),
            port("http", Protocol::TCP, 8081),
        ]
        .into(),
    };
    assert_eq!((found, problems), (Some(expected), vec![]), "C12, K22, K35");
}

#[test]
fn a_pods_life() {
    let with = |spec: &str, status: &str| {
        pod(&format!("metadata: {{name: a, namespace: shop}}\nspec: {spec}\nstatus: {status}"))
    };
    let (pending, _) = with("{containers: []}", "{phase: Pending}");
    let blank = Pod { service_account: Some("default".into()), ..Pod::default() };
    assert_eq!(pending, Some(blank.clone()), "no node and no address yet");
    for phase in ["Succeeded", "Failed"] {
        let (finished, _) = with("{nodeName: n1}", &format!("{{phase: {phase}, podIP: 10.1.0.1}}"));
        assert!(finished.unwrap().addresses.is_empty(), "K38: {phase}");
    }
    let (terminating, _) = pod(
        "metadata: {name: a, deletionTimestamp: '2026-01-01T00:00:00Z'}\nstatus: {phase: Running, podIP: 10.1.0.1}",
    );
    assert_eq!(terminating.unwrap().addresses.len(), 1, "K38: owns it until CNI DEL");
    let host = with("{hostNetwork: true}", "{podIP: 10.0.0.1}");
    assert_eq!(host, (None, vec![]), "K27");
    let (odd, problems) =
        with("{containers: [{name: c, ports: [{name: x, containerPort: 0}]}]}", "{podIP: here}");
    assert_eq!(odd, Some(blank));
    assert_eq!(
        problems,
        [
            "status.podIP: `here` is not an IP address",
            "spec.containers[0].ports[0].containerPort: 0 is not a port: 1 to 65535 are",
        ]
    );
}

#[test]
fn pools_have_blocks() {
    for (spec, cidr, block, disabled) in [
        ("{cidr: 10.244.0.0/16}", "10.244.0.0/16", 26, false),
        ("{cidr: 'fd00:10::/48'}", "fd00:10::/48", 122, false),
        ("{cidr: 10.0.0.0/28, blockSize: 30, disabled: true}", "10.0.0.0/28", 30, true),
    ] {
        let head = "apiVersion: brindle.io/v1alpha1\nkind: IPPool\nmetadata: {name: p}\n";
        let Input::IpPool(pool) = accepted(&format!("{head}spec: {spec}")) else { panic!() };
        assert_eq!(
            (pool.cidr.to_string().as_str(), pool.block_size, pool.disabled),
            (cidr, block, disabled)
        );
    }
}

#[test]
fn a_service_account_has_labels() {
    let yaml = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, namespace: x, labels: {team: a, pcns.b: c}}";
    let Input::ServiceAccount(account) = accepted(yaml) else { panic!() };
    let labels: Vec<_> = account.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["pcns.b=c", "team=a"], "they are prefixed whole");
}

fn slice(rest: &str) -> (Option<EndpointSlice>, Vec<String>) {
    match convert(&format!("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n{rest}")) {
        (Some(Input::EndpointSlice(slice)), problems) => (Some((*slice).clone()), problems),
        (None, problems) => (None, problems),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slice_is_all_endpoints_of_a_service() {
    const META: &str =
        "metadata: {name: db-1, namespace: x, labels: {kubernetes.io/service-name: db}}";
    let (found, problems) = slice(&format!(
        "{META}\naddressType: IPv4\nendpoints: [{{addresses: [10.0.0.1], nodeName: n2}}, {{addresses: [10.0.0.2], nodeName: n3, conditions: {{ready: false}}}}, {{addresses: [10.0.0.1], nodeName: n1, conditions: {{ready: true}}}}, {{addresses: [10.0.0.1], nodeName: n1}}]\nports: [{{name: a, port: 5432}}, {{port: 53, protocol: UDP}}, {{name: any}}]"
    ));
    let expected = EndpointSlice {
        service: "db".into(),
        addresses: ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.1"].map(address).into(),
        ports: vec![(Protocol::TCP, 5432), (Protocol::UDP, 53)],
        incomplete: false,
        ready_on: vec!["n1".into(), "n2".into()],
    };
    assert_eq!((found, problems), (Some(expected), vec![]), "C26");

    let (found, problems) = slice(&format!(
        "{META}\naddressType: IPv6\nendpoints: [{{addresses: [10.0.0.1, here, 'fd00::1']}}]\nports: [{{port: 0}}, {{port: 1, protocol: ICMP}}]"
    ));
    let expected = EndpointSlice {
        service: "db".into(),
        addresses: vec!["fd00::1".parse().unwrap()],
        ports: vec![],
        incomplete: true,
        ready_on: vec![],
    };
    assert_eq!(found, Some(expected));
    assert_eq!(
        problems,
        [
            "endpoints[0].addresses[0]: 10.0.0.1 is not of IPv6",
            "endpoints[0].addresses[1]: `here` is not an IP address",
            "ports[0].port: 0 is not a port: 1 to 65535 are",
            "ports[1].protocol: `ICMP` is not one of TCP, UDP, SCTP",
        ]
    );
    for (rest, problem) in [
        ("metadata: {name: a}\naddressType: IPv4\nendpoints: []".to_owned(), None),
        (
            format!("{META}\naddressType: FQDN\nendpoints: [{{addresses: [a.b]}}]"),
            Some("warning: addressType: names of hosts are not resolved: ignored"),
        ),
        (
            "metadata: {name: a, labels: {kubernetes.io/service-name: A}}\naddressType: IPv4\nendpoints: []".into(),
            Some("metadata.labels.kubernetes.io/service-name: `A` is not a Service's name"),
        ),
    ] {
        let problems = problem.into_iter().map(ToOwned::to_owned).collect();
        assert_eq!(slice(&rest), (None, problems), "{rest}");
    }
}

/// A slice that is gone whole would leave a hole in every rule that denies by its Service.
#[test]
fn a_slice_that_cannot_be_read_is_still_one_of_its_service() {
    const META: &str =
        "metadata: {name: db-1, namespace: x, labels: {kubernetes.io/service-name: db}}";
    for rest in [
        "addressType: IPX\nendpoints: []",
        "addressType: IPX\nendpoints: [{addresses: [10.0.0.1]}]",
        "endpoints: []",
        "addressType: IPv4\nendpoints: 7",
        "addressType: IPv4\nendpoints: [{addresses: 10.0.0.1}]",
        "addressType: IPv4\nendpoints: []\nports: [{port: http}]",
    ] {
        let (found, problems) = slice(&format!("{META}\n{rest}"));
        let expected =
            EndpointSlice { service: "db".into(), incomplete: true, ..EndpointSlice::default() };
        let found = found.map(|slice| EndpointSlice { addresses: Vec::new(), ..slice });
        assert_eq!(found, Some(expected), "{rest}: {problems:?}");
        assert!(!problems.is_empty(), "{rest}");
    }
}

#[test]
fn a_node_with_an_address_that_cannot_be_read_is_incomplete() {
    const HEAD: &str =
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {rack: 'as written'}}\n";
    for (status, addresses) in [
        (
            "status: {addresses: [{type: InternalIP, address: here}, {type: InternalIP, address: 10.0.0.1}]}",
            1,
        ),
        ("status: {addresses: [{type: ExternalIP, address: ''}]}", 0),
        ("status: {addresses: [{type: InternalIP}]}", 0),
        ("status: []", 0),
    ] {
        let (Some(Input::Node(node)), problems) = convert(&format!("{HEAD}{status}")) else {
            panic!("{status}")
        };
        assert!(node.incomplete && !problems.is_empty(), "{status}: {problems:?}");
        assert_eq!(node.all_addresses.len(), addresses, "{status}");
        assert_eq!(node.labels.get("rack").map(|v| &**v), Some("as written"), "{status}");
    }
}

#[test]
fn tiers() {
    let tier = |name: &str, spec: &str| {
        let head = "apiVersion: brindle.io/v1alpha1\nkind: Tier\n";
        convert(&format!("{head}metadata: {{name: {name}}}\nspec: {spec}"))
    };
    let order = |order| Order::new(order).unwrap();
    for (name, spec, expected) in [
        ("a", "{}", Tier { order: Order::LAST, end: TierEnd::Drop }),
        (
            "a",
            "{order: 7, defaultAction: Pass}",
            Tier { order: order(7.0), end: TierEnd::NextTier },
        ),
        ("default", "{}", Tier { order: order(1e6), end: TierEnd::Drop }),
        (
            "default",
            "{order: 1000000.0, defaultAction: Deny}",
            Tier { order: order(1e6), end: TierEnd::Drop },
        ),
        ("kube-admin", "{defaultAction: Pass}", Tier { order: order(1e3), end: TierEnd::NextTier }),
        ("kube-baseline", "{order: 1e7}", Tier { order: order(1e7), end: TierEnd::NextTier }),
    ] {
        assert_eq!(
            tier(name, spec),
            (Some(Input::Tier(expected.into())), vec![]),
            "C3: {name} {spec}"
        );
    }
    for (name, spec, problem) in [
        ("a.b", "{}", "metadata.name: `a.b` is not a tier's name: it may have no dots"),
        ("a", "{defaultAction: Allow}", "spec.defaultAction: `Allow` is not one of Deny, Pass"),
        (
            "a",
            "{orders: 1}",
            "spec.orders: unknown field `orders`, expected `order` or `defaultAction`",
        ),
        ("default", "{order: 5}", "spec.order: tier default is built in with order 1000000"),
        (
            "default",
            "{defaultAction: Pass}",
            "spec.defaultAction: tier default is built in with Deny",
        ),
        (
            "kube-admin",
            "{defaultAction: Deny}",
            "spec.defaultAction: tier kube-admin is built in with Pass",
        ),
    ] {
        assert_eq!(tier(name, spec), (None, vec![problem.into()]), "C3: {name} {spec}");
    }
}

#[test]
fn network_sets() {
    for kind in ["NetworkSet", "GlobalNetworkSet"] {
        let head = format!("apiVersion: brindle.io/v1alpha1\nkind: {kind}\n");
        let yaml = format!(
            "{head}metadata: {{name: a, labels: {{list: bad, pcns.team: a, pcsa.x: y}}}}\nspec: {{nets: [10.1.2.3/8, 'fd00::1', 10.0.0.0/8, nowhere, 10.1.0.0/16]}}"
        );
        let (Some(Input::NetworkSet(set)), problems) = convert(&yaml) else { panic!() };
        let labels: Vec<_> = set.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(labels, ["list=bad"], "C12");
        let nets: Vec<_> = set.nets.iter().map(ToString::to_string).collect();
        assert_eq!(nets, ["10.0.0.0/8", "10.1.0.0/16", "fd00::1/128"], "C27");
        assert_eq!(
            problems,
            [
                "warning: spec.nets[0]: 10.1.2.3/8 has host bits, read as 10.0.0.0/8",
                "spec.nets[3]: `nowhere` is not a CIDR such as 10.0.0.0/8 or fd00::/8",
                INCOMPLETE,
            ]
        );
        assert!(set.incomplete, "{kind}");
        let odd = format!("{head}metadata: {{name: a, labels: {{a: '-'}}}}\nspec: {{nets: []}}");
        let (Some(Input::NetworkSet(set)), problems) = convert(&odd) else { panic!() };
        assert_eq!(set.labels.get("a").map(|v| &**v), Some("-"), "it is picked as it is written");
        assert_eq!(problems, ["metadata.labels.a: `-` is not a valid label value"]);
        assert!(!set.incomplete);
        let broken = format!("{head}metadata: {{name: a, labels: {{a: 7}}}}\nspec: {{nets: []}}");
        assert_eq!(convert(&broken).0, None, "nobody knows who picks it");
    }
}

const INCOMPLETE: &str =
    "spec.nets: cannot be read whole: rules that deny by this set deny everybody";

#[test]
fn network_sets_that_are_no_lists_of_prefixes_are_incomplete() {
    let head = "apiVersion: brindle.io/v1alpha1\nkind: GlobalNetworkSet\nmetadata: {name: a}\n";
    for (rest, kept, problem) in [
        ("", 0, "spec: is not there, or is not a mapping"),
        ("spec: [10.0.0.0/8]", 0, "spec: is not there, or is not a mapping"),
        ("spec: {nets: 10.0.0.0/8}", 0, "spec.nets: this is not a list"),
        ("spec: {nets: [10.0.0.0/8, 7]}", 1, "spec.nets[1]: this is not a text"),
        ("spec: {nets: [10.0.0.0/8, null]}", 1, "spec.nets[1]: this is not a text"),
        ("spec: {net: [10.0.0.0/8]}", 0, "spec.net: unknown field"),
        (
            "spec: {nets: [10.0.0.0/8], allowedEgressDomains: []}",
            1,
            "spec.allowedEgressDomains: unknown field",
        ),
    ] {
        let (Some(Input::NetworkSet(set)), problems) = convert(&format!("{head}{rest}")) else {
            panic!("{rest}")
        };
        assert!(set.incomplete, "{rest}");
        assert_eq!(set.nets.len(), kept, "{rest}");
        assert_eq!(problems, [problem, INCOMPLETE], "{rest}");
    }
    let (Some(Input::NetworkSet(set)), problems) = convert(&format!("{head}spec: {{nets: null}}"))
    else {
        panic!()
    };
    assert!(!set.incomplete && problems.is_empty(), "{problems:?}");
}

fn address(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

#[test]
fn services_have_the_addresses_that_nodes_answer_for() {
    let yaml = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: x}
spec:
  clusterIP: 10.96.0.1
  clusterIPs: [10.96.0.1, 'fd96::1']
  externalIPs: [198.51.100.1, here, '']
  internalTrafficPolicy: Local
  externalTrafficPolicy: Cluster
status: {loadBalancer: {ingress: [{ip: 203.0.113.1}, {ip: 203.0.113.2, ipMode: Proxy}, {hostname: lb}, {ip: 203.0.113.3, ipMode: VIP}]}}";
    let (Some(Input::Service(found)), problems) = convert(yaml) else { panic!() };
    let expected = Service {
        cluster_ips: ["10.96.0.1", "fd96::1"].map(address).into(),
        external_ips: vec![address("198.51.100.1")],
        load_balancer_ips: ["203.0.113.1", "203.0.113.3"].map(address).into(),
        internal_local: true,
        external_local: false,
    };
    assert_eq!(*found, expected);
    assert_eq!(problems, ["spec.externalIPs[1]: `here` is not an IP address"]);

    let headless = "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: x}\nspec: {clusterIP: None, clusterIPs: [None], externalTrafficPolicy: Local}";
    let (Some(Input::Service(found)), problems) = convert(headless) else { panic!() };
    let expected = Service { external_local: true, ..Service::default() };
    assert_eq!((&*found, problems), (&expected, vec![]));
}

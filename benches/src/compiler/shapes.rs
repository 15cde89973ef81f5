//! Clusters in the shapes by which the field measures policy engines.

use brindle_model::cluster::{NetworkSet, NetworkSetId, Update};
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::{End, EndPort, Ends};
use brindle_model::selector::Selector;
use brindle_model::verdict::PolicyKind;
use ipnet::IpNet;

use super::objects::{Maker, address, governs};

/// Namespaces of the first two shapes.
const NAMESPACES: usize = 100;
/// Keys of which every endpoint has one.
const MARKERS: usize = 30;
/// Rules of a policy over labels.
const RULES: usize = 5;
/// Pods of a customer: two at the front, two behind, a database.
const ROLES: [&str; 5] = ["frontend", "frontend", "backend", "backend", "database"];

/// A cluster, and how much of it must be in force on this node.
pub struct Shape {
    pub updates: Vec<Update>,
    pub local: usize,
    pub policies: usize,
}

/// Endpoints that each have one of thirty marker labels, and policies for the endpoints with one
/// marker that admit those with five others. All policies are in force here.
pub fn label_policies(maker: &mut Maker, endpoints: usize, policies: usize, local: usize) -> Shape {
    let mut updates = namespaces(maker);
    for i in 0..policies {
        let marked = |maker: &mut Maker, n: usize| {
            maker.selector(&format!("has(marker.example.org/m{})", n % MARKERS))
        };
        let rules = (0..RULES).map(|j| {
            let selector = marked(maker, i + j);
            let source = from(maker, selector);
            maker.allow(j, Ends { source, ..Ends::default() })
        });
        let rules = rules.collect();
        let subject = marked(maker, i);
        let policy = maker.policy(subject, rules, Vec::new());
        updates.push(governs(PolicyKind::GlobalNetworkPolicy, None, format!("labels-{i}"), policy));
    }
    add_endpoints(maker, endpoints, local, &mut updates);
    Shape { updates, local, policies }
}

/// Endpoints, and policies for all of them that each admit a network set of their own: seven of
/// ten sets are small, one holds a hundred addresses and one a thousand.
pub fn network_sets(maker: &mut Maker, endpoints: usize, policies: usize, local: usize) -> Shape {
    const SIZES: [usize; 10] = [1, 1, 1, 1, 2, 3, 4, 5, 100, 1_000];
    let mut updates = namespaces(maker);
    let mut next = endpoints + local;
    for i in 0..policies {
        let size = SIZES[i % SIZES.len()];
        let nets = (next..next + size).map(|n| IpNet::from(address(n))).collect();
        next += size;
        let labels = maker.labels([("set", format!("set-{i}"))]);
        let id = NetworkSetId { namespace: None, name: format!("set-{i}").into() };
        let set = NetworkSet { labels, nets, incomplete: false };
        updates.push(Update::NetworkSet(id, Some(set.into())));
        let selector = maker.selector(&format!("set == 'set-{i}'"));
        let source = from(maker, selector);
        let rules = vec![maker.allow(0, Ends { source, ..Ends::default() })];
        let policy = maker.policy(Selector::All, rules, Vec::new());
        updates.push(governs(PolicyKind::GlobalNetworkPolicy, None, format!("sets-{i}"), policy));
    }
    add_endpoints(maker, endpoints, local, &mut updates);
    Shape { updates, local, policies }
}

/// Namespaces of five pods and three policies each, which admit a customer's own pods, name
/// resolution and what watches over all. Pods of the first customers hang on this node.
pub fn customers(maker: &mut Maker, customers: usize, local: usize) -> Shape {
    let mut updates = vec![maker.namespace::<&str>("system", None)];
    let mut pods = 0;
    for customer in 0..customers {
        let namespace = format!("customer-{customer}");
        updates.push(maker.namespace::<&str>(&namespace, None));
        customer_policies(maker, &namespace, &mut updates);
        for (i, role) in ROLES.into_iter().enumerate() {
            let labels = maker.labels([("role", role)]);
            let id = maker.pod_name(&namespace, format!("{role}-{i}"));
            let addresses = vec![address(pods)];
            if pods < local {
                updates.push(maker.endpoint(&id, pods, &addresses));
            }
            let pod = maker.pod(labels, addresses);
            updates.push(Update::Pod(id, Some(pod.into())));
            pods += 1;
        }
    }
    let labels = maker.labels([("role", "monitoring")]);
    for i in 0..10 {
        let id = maker.pod_name("system", format!("monitoring-{i}"));
        let pod = maker.pod(labels.clone(), vec![address(pods + i)]);
        updates.push(Update::Pod(id, Some(pod.into())));
    }
    // Three policies for every five pods, and every role hangs here.
    Shape { updates, local, policies: local / ROLES.len() * 3 }
}

fn customer_policies(maker: &mut Maker, namespace: &str, updates: &mut Vec<Update>) {
    const NAMESPACE: &str = "projectcalico.org/namespace";
    let labelled = |maker: &mut Maker, namespace: &str, role: &str| {
        maker.selector(&format!("{NAMESPACE} == '{namespace}' && role == '{role}'"))
    };
    let of = |maker: &mut Maker, namespace: &str, role: &str| {
        let selector = labelled(maker, namespace, role);
        from(maker, selector)
    };
    let resolver: IpNet = "10.96.0.10/32".parse().expect("a prefix");
    for (role, after, before, port) in [
        ("frontend", Some("backend"), None, 8_080),
        ("backend", Some("database"), Some("frontend"), 5_432),
        ("database", None, Some("backend"), 0),
    ] {
        let watched = of(maker, "system", "monitoring");
        let mut ingress = vec![maker.allow(0, tcp(watched, on(End::default(), 9_090)))];
        if let Some(before) = before {
            let before = of(maker, namespace, before);
            ingress.push(maker.allow(1, tcp(before, on(End::default(), 8_080))));
        }
        let resolved = on(End { nets: Some([resolver].into()), ..End::default() }, 53);
        let protocol = Some(Protocol::UDP);
        let mut egress =
            vec![maker.allow(0, Ends { protocol, destination: resolved, ..Ends::default() })];
        if let Some(after) = after {
            let after = on(of(maker, namespace, after), port);
            egress.push(maker.allow(1, tcp(End::default(), after)));
        }
        let subject = labelled(maker, namespace, role);
        let policy = maker.policy(subject, ingress, egress);
        let namespace = maker.name(namespace);
        let kind = PolicyKind::NetworkPolicy;
        updates.push(governs(kind, Some(namespace), maker.name(role), policy));
    }
}

fn namespaces(maker: &mut Maker) -> Vec<Update> {
    (0..NAMESPACES).map(|i| maker.namespace::<&str>(format!("ns{i}"), None)).collect()
}

/// Endpoints that share their labels with about five others, the first of them on this node.
fn add_endpoints(maker: &mut Maker, endpoints: usize, local: usize, updates: &mut Vec<Update>) {
    for i in 0..endpoints + local {
        let cycles = [10, 11, 20, 30, 40].map(|n| (format!("one-in-{n}"), format!("v{}", i % n)));
        let marker = (format!("marker.example.org/m{}", i % MARKERS), "true".to_owned());
        let labels = maker.labels(cycles.into_iter().chain([marker]));
        let id = maker.pod_name(format!("ns{}", i % NAMESPACES), format!("wep-{i}"));
        let addresses = vec![address(i)];
        if i < local {
            updates.push(maker.endpoint(&id, i, &addresses));
        }
        updates.push(Update::Pod(id, Some(maker.pod(labels, addresses).into())));
    }
}

fn tcp(source: End, destination: End) -> Ends {
    Ends { protocol: Some(Protocol::TCP), source, destination, ..Ends::default() }
}

fn from(maker: &mut Maker, selector: Selector) -> End {
    End { selector: Some(maker.share(selector)), ..End::default() }
}

fn on(end: End, port: u16) -> End {
    End { ports: Some([EndPort::Range(PortRange::single(port))].into()), ..end }
}

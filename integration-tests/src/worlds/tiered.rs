//! NetworkPolicy and GlobalNetworkPolicy of a world, enforced and staged, with every criterion and,
//! at low weight, every way to break one.

use brindle_api::{
    EntityRule, GlobalNetworkPolicy, GlobalNetworkPolicySpec, IcmpFields, NetworkPolicy,
    NetworkPolicySpec, PolicyRule, ServiceAccountMatch, ServiceMatch, StagedGlobalNetworkPolicy,
    StagedGlobalNetworkPolicySpec, StagedKubernetesNetworkPolicy,
    StagedKubernetesNetworkPolicySpec, StagedNetworkPolicy, StagedNetworkPolicySpec,
};
use brindle_oracle::World;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::addresses;
use super::expressions::expression;
use super::generate::{NAMESPACES, PORT_NAMES, PORTS};
use super::objects::{ACCOUNTS, MISSING_TIER, ORDERS, SERVICES, TIERS};
use super::policies::{self, NAMES, spelled};
use super::random::Random;
use super::selectors::Of;

/// Fills in policies; names tie, of one kind and across kinds.
pub(super) fn generate(random: &mut Random, world: &mut World) {
    for name in NAMES {
        if random.once_in(2) {
            let metadata = named(name, None);
            let spec = global(random);
            world.global_network_policies.push(GlobalNetworkPolicy { metadata, spec });
        }
        for namespace in NAMESPACES {
            let metadata = || named(name, Some(namespace));
            if random.once_in(3) {
                let spec = namespaced(random);
                world.tiered_policies.push(NetworkPolicy { metadata: metadata(), spec });
            }
            if random.once_in(12) {
                let (staged_action, policy) = (staged_action(random), namespaced(random));
                let spec = StagedNetworkPolicySpec { staged_action, policy };
                world
                    .staged_network_policies
                    .push(StagedNetworkPolicy { metadata: metadata(), spec });
            }
            if random.once_in(12) {
                let spec = staged_kubernetes(random);
                let policy = StagedKubernetesNetworkPolicy { metadata: metadata(), spec };
                world.staged_kubernetes_network_policies.push(policy);
            }
        }
        if random.once_in(5) {
            let (staged_action, policy) = (staged_action(random), global(random));
            let spec = StagedGlobalNetworkPolicySpec { staged_action, policy };
            let policy = StagedGlobalNetworkPolicy { metadata: named(name, None), spec };
            world.staged_global_network_policies.push(policy);
        }
    }
}

fn named(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ObjectMeta::default()
    }
}

fn staged_action(random: &mut Random) -> Option<String> {
    let action = match random.below(8) {
        0 => Some("Ignore"),
        1 if random.flaw(2) => *random.pick(&[Some("Delete"), Some("Learn"), Some("set")]),
        2 | 3 => Some("Set"),
        _ => None,
    };
    action.map(str::to_owned)
}

fn staged_kubernetes(random: &mut Random) -> StagedKubernetesNetworkPolicySpec {
    let spec = policies::spec(random);
    StagedKubernetesNetworkPolicySpec {
        staged_action: staged_action(random),
        pod_selector: spec.pod_selector,
        policy_types: spec.policy_types,
        ingress: spec.ingress,
        egress: spec.egress,
    }
}

fn namespaced(random: &mut Random) -> NetworkPolicySpec {
    let (tier, types) = (tier(random), types(random));
    let (ingress, egress) = (rules(random, true, false), rules(random, false, false));
    NetworkPolicySpec {
        tier,
        order: *random.pick(&ORDERS),
        selector: (!random.once_in(3)).then(|| expression(random, Of::Pod)),
        service_account_selector: random.once_in(6).then(|| expression(random, Of::ServiceAccount)),
        types,
        ingress,
        egress,
    }
}

fn global(random: &mut Random) -> GlobalNetworkPolicySpec {
    let (tier, types) = (tier(random), types(random));
    let (ingress, egress) = (rules(random, true, true), rules(random, false, true));
    let mut spec = GlobalNetworkPolicySpec {
        tier,
        order: *random.pick(&ORDERS),
        selector: (!random.once_in(3)).then(|| expression(random, Of::Pod)),
        namespace_selector: random.once_in(4).then(|| expression(random, Of::Namespace)),
        service_account_selector: random.once_in(6).then(|| expression(random, Of::ServiceAccount)),
        types,
        ingress,
        egress,
        ..GlobalNetworkPolicySpec::default()
    };
    if random.flaw(20) {
        spec.apply_on_forward = !random.once_in(3);
        spec.do_not_track = random.once_in(3);
        spec.pre_dnat = random.once_in(3);
    }
    spec
}

fn tier(random: &mut Random) -> Option<String> {
    let tier = match random.below(10) {
        0..4 => None,
        4 => Some("default"),
        5..8 => Some(*random.pick(&TIERS)),
        8 => Some(*random.pick(&[MISSING_TIER, "kube-admin", "kube-baseline"])),
        _ if random.flaw(6) => Some("a.dot"),
        _ => Some(TIERS[0]),
    };
    tier.map(str::to_owned)
}

fn types(random: &mut Random) -> Option<Vec<String>> {
    let types: &[&str] = match random.below(10) {
        0..5 => return None,
        5 => &[],
        6 => &["Ingress"],
        7 => &["Egress"],
        8 if random.flaw(3) => &["Ingress", "egress"],
        _ => &["Ingress", "Egress"],
    };
    Some(types.iter().map(|t| (*t).to_owned()).collect())
}

fn rules(random: &mut Random, ingress: bool, global: bool) -> Vec<PolicyRule> {
    match random.below(4) {
        0 => Vec::new(),
        _ => random.list(1, 4, |random| rule(random, ingress, global)),
    }
}

/// One to four criteria, most of them on the other end: more are seldom met.
fn rule(random: &mut Random, ingress: bool, global: bool) -> PolicyRule {
    let actions =
        ["Allow", "Allow", "Allow", "Allow", "Deny", "Deny", "Deny", "Pass", "Pass", "Log"];
    let mut rule = PolicyRule {
        action: random.pick(&actions).to_string(),
        ip_version: random.once_in(12).then(|| *random.pick(&[4, 4, 6])),
        ..PolicyRule::default()
    };
    protocols(random, &mut rule);
    let v6 = rule.ip_version.map_or_else(|| random.once_in(4), |version| version == 6);
    let ports = transport(rule.protocol.as_ref());
    {
        let (other, own) = if ingress {
            (&mut rule.source, &mut rule.destination)
        } else {
            (&mut rule.destination, &mut rule.source)
        };
        if !random.once_in(6) {
            peer(random, other, v6, global);
        }
        if random.once_in(8) {
            peer(random, other, v6, global);
        }
        if random.once_in(8) {
            own.selector = Some(expression(random, Of::Pod));
        }
        if random.once_in(20) {
            own.not_nets = nets(random, v6);
        }
    }
    if random.once_in(2) && rule.destination.services.is_none() {
        criteria_on_ports(random, &mut rule.destination, ports);
    }
    if random.once_in(10) {
        criteria_on_ports(random, &mut rule.source, ports);
    }
    keep_services_alone(&mut rule);
    if random.flaw(25) {
        break_rule(random, &mut rule);
    }
    rule
}

fn protocols(random: &mut Random, rule: &mut PolicyRule) {
    let name = |name: &str| Some(IntOrString::String(name.to_owned()));
    rule.protocol = match random.below(20) {
        0..7 => None,
        7..13 => name("TCP"),
        13 | 14 => name("UDP"),
        15 => name("SCTP"),
        16 => name(if rule.ip_version == Some(6) { "ICMPv6" } else { "ICMP" }),
        17 => name(if rule.ip_version == Some(4) { "ICMP" } else { "ICMPv6" }),
        18 => Some(IntOrString::Int(*random.pick(&[6, 17, 47, 132, 255]))),
        _ => name("UDPLite"),
    };
    if random.once_in(10) {
        rule.not_protocol = name(random.pick::<&str>(&["TCP", "UDP", "SCTP", "UDPLite"]));
    }
    let v6 = match &rule.protocol {
        Some(IntOrString::String(name)) if name == "ICMP" => false,
        Some(IntOrString::String(name)) if name == "ICMPv6" => true,
        _ => return,
    };
    let fields = |random: &mut Random| IcmpFields {
        icmp_type: Some(*random.pick(if v6 { &[128, 128, 1] } else { &[8, 8, 3] })),
        code: random.once_in(3).then(|| random.below(2) as i32),
    };
    if random.once_in(2) {
        rule.icmp = Some(fields(random));
    }
    if random.once_in(4) {
        rule.not_icmp = Some(fields(random));
    }
}

/// Whether port numbers may stand beside a protocol; `None` if no ports may.
fn transport(protocol: Option<&IntOrString>) -> Option<bool> {
    match protocol {
        None => Some(false),
        Some(IntOrString::Int(number)) => [6, 17, 132].contains(number).then_some(true),
        Some(IntOrString::String(name)) => {
            ["TCP", "UDP", "SCTP"].contains(&name.as_str()).then_some(true)
        }
    }
}

fn nets(random: &mut Random, v6: bool) -> Vec<String> {
    random.list(1, 3, |random| {
        // A catch-all may not be negated, and matters little where it stands alone.
        let net = addresses::prefix_of(random, v6);
        let longer = net.prefix_len().max(1);
        let net = ipnet::IpNet::new_assert(net.addr(), longer);
        if random.once_in(12) { net.addr().to_string() } else { spelled(random, net) }
    })
}

fn peer(random: &mut Random, end: &mut EntityRule, v6: bool, global: bool) {
    match random.below(15) {
        0..3 => end.nets = nets(random, v6),
        3 => end.not_nets = nets(random, v6),
        4..7 => end.selector = Some(expression(random, Of::NetworkSet)),
        7 | 8 => end.not_selector = Some(expression(random, Of::NetworkSet)),
        9 => end.namespace_selector = Some(namespaces(random)),
        10 => {
            end.selector = Some(expression(random, Of::NetworkSet));
            end.namespace_selector = Some(namespaces(random));
        }
        11 | 12 => {
            let names = random.list(0, 2, |random| random.pick(&ACCOUNTS).to_string());
            let selector = (names.is_empty() || random.once_in(3))
                .then(|| expression(random, Of::ServiceAccount));
            end.service_accounts = Some(ServiceAccountMatch { names, selector });
        }
        _ => {
            let namespace =
                (global || random.once_in(3)).then(|| random.pick(&NAMESPACES).to_string());
            let name = random.pick(&SERVICES).to_string();
            end.services = Some(ServiceMatch { name, namespace });
        }
    }
}

fn namespaces(random: &mut Random) -> String {
    match random.below(5) {
        0 => "all()".to_owned(),
        1 => random.pick(&["global()", " global() "]).to_string(),
        _ => expression(random, Of::Namespace),
    }
}

fn criteria_on_ports(random: &mut Random, end: &mut EntityRule, numbers: Option<bool>) {
    let Some(numbers) = numbers else { return };
    let entries = random.list(1, 3, |random| port(random, numbers));
    if random.once_in(5) {
        end.not_ports = entries;
    } else {
        end.ports = entries;
    }
}

fn port(random: &mut Random, numbers: bool) -> IntOrString {
    let number = *random.pick(&PORTS);
    match random.below(8) {
        0..3 if numbers => IntOrString::Int(number),
        3 | 4 if numbers => {
            let last = (number + random.below(3) as i32).min(65535);
            IntOrString::String(format!("{number}:{last}"))
        }
        5 if numbers => IntOrString::String(number.to_string()),
        _ => IntOrString::String(random.pick(&PORT_NAMES).to_string()),
    }
}

/// C26: a Service excludes the other criteria of its end.
fn keep_services_alone(rule: &mut PolicyRule) {
    let destination = rule.destination.services.is_some();
    for end in [&mut rule.source, &mut rule.destination] {
        if let Some(services) = end.services.take() {
            let (ports, not_ports) =
                (std::mem::take(&mut end.ports), std::mem::take(&mut end.not_ports));
            *end = EntityRule { services: Some(services), ..EntityRule::default() };
            if !destination {
                (end.ports, end.not_ports) = (ports, not_ports);
            }
        }
    }
}

fn break_rule(random: &mut Random, rule: &mut PolicyRule) {
    let text = |text: &str| IntOrString::String(text.to_owned());
    let other_family = |rule: &PolicyRule| {
        let nets = rule.source.nets.iter().chain(&rule.destination.nets);
        nets.into_iter().any(|net| net.contains(':'))
    };
    let v6 = other_family(rule);
    let first = if random.once_in(2) { &mut rule.source } else { &mut rule.destination };
    match random.below(20) {
        0 => rule.action = random.pick(&["allow", "Accept", ""]).to_string(),
        1 => rule.ip_version = Some(5),
        2 => rule.protocol = Some(text(random.pick::<&str>(&["tcp", "GRE", ""]))),
        3 => rule.not_protocol = Some(IntOrString::Int(*random.pick(&[0, 256, -1]))),
        4 => rule.icmp = Some(IcmpFields { icmp_type: Some(255), code: None }),
        5 => rule.not_icmp = Some(IcmpFields { icmp_type: None, code: Some(0) }),
        6 => rule.http = Some(serde_json::json!({ "methods": ["GET"] })),
        7 => first.nets.push("10.0.0.0/33".to_owned()),
        8 => first.not_nets.push(if v6 { "::/0" } else { "0.0.0.0/0" }.to_owned()),
        9 => first.nets.extend(["10.0.0.0/8", "fd00::/8"].map(str::to_owned)),
        10 => first.ports.push(text(random.pick::<&str>(&["81:80", "80:", "Web", "0:65536", ""]))),
        11 => first.not_ports.push(IntOrString::Int(*random.pick(&[-1, 65536]))),
        12 => {
            rule.protocol = random.pick(&[None, Some(text("ICMP")), Some(text("UDPLite"))]).clone();
            rule.destination.ports.push(IntOrString::Int(80));
        }
        13 => first.selector = Some("global()".to_owned()),
        14 => first.namespace_selector = Some("!global()".to_owned()),
        15 => first.service_accounts = Some(ServiceAccountMatch::default()),
        16 => {
            let name = SERVICES[0].to_owned();
            first.services = Some(ServiceMatch { name, namespace: None });
            first.selector = Some("all()".to_owned());
        }
        17 => {
            let services = random.pick(&["shop", "Not-A-Name", ""]).to_string();
            first.services = Some(ServiceMatch { name: services, namespace: Some("x".to_owned()) });
        }
        18 => {
            rule.ip_version = Some(if v6 { 4 } else { 6 });
            first.nets.push(if v6 { "fd00::/8" } else { "10.0.0.0/8" }.to_owned());
        }
        _ => {
            rule.ip_version = Some(4);
            rule.protocol = Some(text("ICMPv6"));
        }
    }
}

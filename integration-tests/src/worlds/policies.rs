//! NetworkPolicies of a world, with every feature and, at low weight, every way to break one.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::addresses;
use super::generate::{NAMESPACES, PORT_NAMES, PORTS};
use super::random::Random;
use super::selectors::{Of, selector};

/// Names of policies of every kind, so that ties are common.
pub(super) const NAMES: [&str; 3] = ["p", "q", "r"];

/// None to seven policies; equal names in several namespaces happen.
pub(super) fn generate(random: &mut Random) -> Vec<NetworkPolicy> {
    let mut policies: Vec<NetworkPolicy> = Vec::new();
    for _ in 0..random.below(8) {
        let policy = policy(random);
        if policies.iter().all(|p| p.metadata != policy.metadata) {
            policies.push(policy);
        }
    }
    policies
}

fn policy(random: &mut Random) -> NetworkPolicy {
    let spec = spec(random);
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(random.pick(&NAMES).to_string()),
            namespace: Some(random.pick(&NAMESPACES).to_string()),
            ..ObjectMeta::default()
        },
        spec: (!random.once_in(40)).then_some(spec),
    }
}

/// What a Kubernetes NetworkPolicy asks for, enforced or staged.
pub(super) fn spec(random: &mut Random) -> NetworkPolicySpec {
    let ingress = !random.once_in(4);
    let egress = !random.once_in(4);
    let named = |types: &[&str]| Some(types.iter().map(|t| (*t).to_owned()).collect());
    let policy_types = match random.below(12) {
        0..4 => None,
        4 => Some(Vec::new()),
        5 | 6 => named(&["Ingress"]),
        7 | 8 => named(&["Egress"]),
        9 if random.flaw(4) => named(&["Ingress", "egress"]),
        _ => named(&["Ingress", "Egress"]),
    };
    NetworkPolicySpec {
        pod_selector: (!random.once_in(6)).then(|| selector(random, Of::Pod)),
        policy_types,
        ingress: ingress.then(|| {
            random.list(0, 3, |random| NetworkPolicyIngressRule {
                from: peers(random),
                ports: ports(random),
            })
        }),
        egress: egress.then(|| {
            random.list(0, 3, |random| NetworkPolicyEgressRule {
                to: peers(random),
                ports: ports(random),
            })
        }),
    }
}

fn peers(random: &mut Random) -> Option<Vec<NetworkPolicyPeer>> {
    match random.below(6) {
        0 => None,
        1 if random.once_in(3) => Some(Vec::new()),
        _ => Some(random.list(1, 3, peer)),
    }
}

fn peer(random: &mut Random) -> NetworkPolicyPeer {
    let mut peer = NetworkPolicyPeer::default();
    match random.below(10) {
        0..2 => peer.pod_selector = Some(selector(random, Of::Pod)),
        2..4 => peer.namespace_selector = Some(selector(random, Of::Namespace)),
        4..6 => {
            peer.pod_selector = Some(selector(random, Of::Pod));
            peer.namespace_selector = Some(selector(random, Of::Namespace));
        }
        _ => peer.ip_block = Some(block(random)),
    }
    if random.flaw(40) {
        match random.below(3) {
            0 => peer = NetworkPolicyPeer::default(),
            1 => peer.ip_block = Some(block(random)),
            _ => peer.pod_selector = Some(selector(random, Of::Pod)),
        }
    }
    peer
}

fn block(random: &mut Random) -> IPBlock {
    let cidr = addresses::prefix(random);
    let count = random.below(4).saturating_sub(1);
    let mut except: Vec<_> = (0..count)
        .filter_map(|_| {
            let net = addresses::inside(random, cidr)?;
            Some(spelled(random, net))
        })
        .collect();
    if random.flaw(30) {
        let broken = match random.below(4) {
            0 => spelled(random, cidr),
            1 => addresses::prefix(random).to_string(),
            2 => cidr.addr().to_string(),
            _ => "elsewhere".to_owned(),
        };
        except.push(broken);
    }
    let cidr = match random.flaw(30) {
        true if random.once_in(2) => cidr.addr().to_string(),
        true => format!("{}/129", cidr.addr()),
        false => spelled(random, cidr),
    };
    IPBlock { cidr, except: (count > 0 || !except.is_empty()).then_some(except) }
}

/// A CIDR as written: mostly masked, sometimes in one of the legacy spellings of K16.
pub(super) fn spelled(random: &mut Random, net: IpNet) -> String {
    match (random.below(20), net) {
        (0, _) => net.to_string(),
        (1, IpNet::V4(v4)) => {
            let octets = v4.network().octets().map(|o| format!("{o:03}"));
            format!("{}/{:02}", octets.join("."), v4.prefix_len())
        }
        _ => net.trunc().to_string(),
    }
}

fn ports(random: &mut Random) -> Option<Vec<NetworkPolicyPort>> {
    match random.below(5) {
        0 => None,
        1 if random.once_in(3) => Some(Vec::new()),
        _ => Some(random.list(1, 3, port)),
    }
}

fn port(random: &mut Random) -> NetworkPolicyPort {
    let number = *random.pick(&PORTS);
    let mut port = NetworkPolicyPort {
        protocol: random.pick(&[None, Some("TCP"), Some("UDP"), Some("SCTP")]).map(str::to_owned),
        ..NetworkPolicyPort::default()
    };
    match random.below(10) {
        0 => {}
        1..3 => {
            port.port = Some(IntOrString::Int(number));
            port.end_port = Some(number + random.below(3) as i32).filter(|end| *end <= 65535);
        }
        3..6 => port.port = Some(IntOrString::String(random.pick(&PORT_NAMES).to_string())),
        _ => port.port = Some(IntOrString::Int(number)),
    }
    if random.flaw(30) {
        match random.below(7) {
            0 => port.protocol = Some(random.pick(&["ICMP", "tcp", "6", ""]).to_string()),
            1 => port.port = Some(IntOrString::Int(*random.pick(&[0, -1, 65536, 70000]))),
            2 => port.end_port = Some(*random.pick(&[0, 1, 78, 65536])),
            3 => port.port = None,
            4 => {
                port.port =
                    Some(IntOrString::String(random.pick(&["", "80", "nowhere"]).to_string()))
            }
            5 => {
                port.port = None;
                port.end_port = Some(number);
            }
            _ => {
                port.port = Some(IntOrString::String("web".to_owned()));
                port.end_port = Some(number);
            }
        }
    }
    port
}

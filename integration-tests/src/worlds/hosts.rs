//! Host endpoints of a world, and global policies for their stages (§2.6).

use brindle_api::{GlobalNetworkPolicySpec, HostEndpoint, HostEndpointPort, HostEndpointSpec};
use brindle_oracle::World;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::addresses;
use super::generate::{NODES, PORT_NAMES, PORTS};
use super::policies::NAMES;
use super::random::Random;
use super::selectors::{Of, labels};

/// Ports that stay open, among those that flows try: both ways, inbound and outbound alone.
pub(super) const FAILSAFES: [u16; 4] = [179, 22, 53, 68];

/// Fills in host endpoints; two may mean one interface, or none that is there. Some global policies
/// move to other stages than the normal one.
pub(super) fn generate(random: &mut Random, world: &mut World) {
    for name in NAMES.into_iter().chain(["s"]) {
        if random.once_in(4) {
            continue;
        }
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            labels: labels(random, Of::NetworkSet),
            ..ObjectMeta::default()
        };
        world.host_endpoints.push(HostEndpoint { metadata, spec: spec(random) });
    }
    world.drops_pods_to_node = random.once_in(4);
    let enforced = world.global_network_policies.iter_mut().map(|policy| &mut policy.spec);
    let staged = world.staged_global_network_policies.iter_mut();
    for spec in enforced.chain(staged.map(|policy| &mut policy.spec.policy)) {
        flags(random, spec);
    }
}

fn spec(random: &mut Random) -> HostEndpointSpec {
    let number = 1 + random.below(NODES.len()) as u8;
    let own = [false, true].map(|v6| addresses::of_node(v6, number).to_string());
    let interface_name = match random.below(8) {
        0..3 => Some("eth0"),
        3 => Some("spare0"),
        4 | 5 => Some("*"),
        6 => Some(""),
        _ => None,
    };
    let by_address = interface_name.is_none_or(str::is_empty);
    let mut expected_ips: Vec<String> = match random.below(4) {
        0 if !by_address => Vec::new(),
        0 => vec![addresses::of_node(false, 3 - number).to_string()],
        1 => own[..1].to_vec(),
        _ => own.to_vec(),
    };
    if random.flaw(20) {
        expected_ips.push("nowhere".to_owned());
    }
    let profiles = match random.below(4) {
        0 | 1 => Vec::new(),
        2 if random.flaw(3) => vec!["missing", "projectcalico-default-allow"],
        _ => vec!["projectcalico-default-allow"],
    };
    HostEndpointSpec {
        node: NODES[usize::from(number) - 1].to_owned(),
        interface_name: interface_name.map(str::to_owned),
        expected_ips,
        profiles: profiles.into_iter().map(str::to_owned).collect(),
        ports: random.list(0, 2, port),
    }
}

fn port(random: &mut Random) -> HostEndpointPort {
    HostEndpointPort {
        name: random.pick(&PORT_NAMES).to_string(),
        protocol: random
            .pick(&[
                IntOrString::String("TCP".to_owned()),
                IntOrString::String("UDP".to_owned()),
                IntOrString::Int(132),
            ])
            .clone(),
        port: *random.pick(&PORTS),
    }
}

/// C37: a policy belongs to one stage.
fn flags(random: &mut Random, spec: &mut GlobalNetworkPolicySpec) {
    // Most selectors of namespaces and accounts leave host endpoints out.
    if !random.once_in(3) {
        (spec.namespace_selector, spec.service_account_selector) = (None, None);
    }
    match random.below(8) {
        0..3 => spec.apply_on_forward = true,
        3 => (spec.apply_on_forward, spec.do_not_track) = (true, true),
        4 => {
            (spec.apply_on_forward, spec.pre_dnat) = (true, true);
            if !random.flaw(6) {
                spec.egress.clear();
                spec.types = spec.types.take().filter(|types| types.iter().all(|t| t == "Ingress"));
            }
        }
        _ => {}
    }
}

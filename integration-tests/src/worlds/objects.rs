//! What rules of tiered policies speak of beside pods: tiers, service accounts, network sets,
//! endpoint slices.

use brindle_api::{GlobalNetworkSet, NetworkSet, NetworkSetSpec, Tier, TierSpec};
use brindle_oracle::World;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::generate::{NAMESPACES, PORTS};
use super::policies::spelled;
use super::random::Random;
use super::selectors::{Of, labels};
use super::{addresses, policies};

/// Tiers that a world may have beside the built-in ones.
pub(super) const TIERS: [&str; 3] = ["early", "late", "audit"];
/// A tier that policies name and no world has.
pub(super) const MISSING_TIER: &str = "missing";
/// Service accounts that pods run as and rules name; `default` is what pods have that name none.
pub(super) const ACCOUNTS: [&str; 3] = ["default", "s", "t"];
/// Services that rules name; the last never has a slice.
pub(super) const SERVICES: [&str; 3] = ["shop", "dns", "gone"];

/// Orders of policies: none, equal ones, and those around Kubernetes NetworkPolicies (C30).
pub(super) const ORDERS: [Option<f64>; 8] =
    [None, Some(0.0), Some(1.0), Some(1.0), Some(999.0), Some(1000.0), Some(1001.0), Some(-0.5)];

/// Fills in what tiered policies need.
pub(super) fn generate(random: &mut Random, world: &mut World) {
    for name in TIERS {
        if !random.once_in(3) {
            world.tiers.push(tier(random, name));
        }
    }
    // C3: a built-in tier may be stated as it is; nothing else is taken.
    if random.once_in(20) {
        world.tiers.push(tier(random, "default"));
    }
    for namespace in NAMESPACES {
        for name in ACCOUNTS {
            if random.once_in(2) {
                let metadata = metadata(random, name, Some(namespace), Of::ServiceAccount);
                world.service_accounts.push(ServiceAccount { metadata, ..Default::default() });
            }
        }
    }
    for pod in &mut world.pods {
        let account = random.pick(&[None, Some("default"), Some("s"), Some("s"), Some("t")]);
        if let Some(spec) = &mut pod.spec {
            spec.service_account_name = account.map(str::to_owned);
        }
    }
    network_sets(random, world);
    for (number, service) in SERVICES.iter().take(2).enumerate() {
        for namespace in NAMESPACES {
            if random.once_in(2) {
                let slices = random.list(1, 2, |random| slice(random, world, service));
                for (i, mut slice) in slices.into_iter().enumerate() {
                    slice.metadata.name = Some(format!("{service}-{number}{i}"));
                    slice.metadata.namespace = Some(namespace.to_owned());
                    world.endpoint_slices.push(slice);
                }
            }
        }
    }
}

fn network_sets(random: &mut Random, world: &mut World) {
    for _ in 0..random.below(4) {
        let (name, namespace) = (*random.pick(&policies::NAMES), *random.pick(&NAMESPACES));
        let metadata = metadata(random, name, Some(namespace), Of::NetworkSet);
        let set = NetworkSet { metadata, spec: nets(random) };
        let same = |other: &NetworkSet| {
            let key = |m: &ObjectMeta| (m.name.clone(), m.namespace.clone());
            key(&other.metadata) == key(&set.metadata)
        };
        if !world.network_sets.iter().any(same) {
            world.network_sets.push(set);
        }
    }
    for name in policies::NAMES {
        if random.once_in(3) {
            let metadata = metadata(random, name, None, Of::NetworkSet);
            world.global_network_sets.push(GlobalNetworkSet { metadata, spec: nets(random) });
        }
    }
}

fn metadata(random: &mut Random, name: &str, namespace: Option<&str>, of: Of) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: labels(random, of),
        ..ObjectMeta::default()
    }
}

fn tier(random: &mut Random, name: &str) -> Tier {
    let orders = [
        None,
        Some(0.0),
        Some(1.0),
        Some(1.0),
        Some(999.0),
        Some(1000.0),
        Some(1001.0),
        Some(1_000_000.0),
        Some(2_000_000.0),
        Some(20_000_000.0),
    ];
    let end = match random.flaw(40) {
        true => Some("Allow"),
        false => *random.pick(&[None, Some("Deny"), Some("Pass"), Some("Pass")]),
    };
    Tier {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: TierSpec { order: *random.pick(&orders), default_action: end.map(str::to_owned) },
    }
}

fn nets(random: &mut Random) -> NetworkSetSpec {
    let nets = random.list(0, 4, |random| {
        let net = addresses::prefix(random);
        match random.below(12) {
            0 => net.addr().to_string(),
            1 if random.flaw(2) => "nowhere/8".to_owned(),
            _ => spelled(random, net),
        }
    });
    NetworkSetSpec { nets }
}

/// Some of the pods, whatever they are, and sometimes an address outside.
fn slice(random: &mut Random, world: &World, service: &str) -> EndpointSlice {
    let v6 = random.once_in(3);
    let endpoint = |random: &mut Random, address: String| Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: *random.pick(&[None, Some(true), Some(false)]),
            ..EndpointConditions::default()
        }),
        ..Endpoint::default()
    };
    let mut endpoints = Vec::new();
    for pod in &world.pods {
        let ips = pod.status.iter().flat_map(|s| s.pod_ips.iter().flatten());
        let own = ips.map(|ip| ip.ip.clone()).find(|ip| ip.contains(':') == v6);
        if let Some(address) = own.filter(|_| random.once_in(3)) {
            endpoints.push(endpoint(random, address));
        }
    }
    if random.once_in(3) {
        let address = addresses::outside(random, v6).to_string();
        endpoints.push(endpoint(random, address));
    }
    let ports = random.list(0, 2, |random| EndpointPort {
        port: (!random.once_in(8)).then(|| *random.pick(&PORTS)),
        protocol: match random.flaw(30) {
            true => Some("ICMP".to_owned()),
            false => {
                random.pick(&[None, Some("TCP"), Some("UDP"), Some("SCTP")]).map(str::to_owned)
            }
        },
        ..EndpointPort::default()
    });
    let address_type = match random.once_in(20) {
        true => "FQDN",
        _ if random.flaw(60) => "IPv5",
        false if v6 => "IPv6",
        false => "IPv4",
    };
    if random.flaw(12) {
        // No address, or one of the other family.
        let of_the_other_family = if v6 { "10.0.0.1" } else { "fd00::1" };
        let address = random.pick(&["nowhere", of_the_other_family]).to_string();
        endpoints.push(endpoint(random, address));
    }
    if address_type == "FQDN" {
        endpoints = vec![endpoint(random, "shop.example".to_owned())];
    }
    let labels = [("kubernetes.io/service-name".to_owned(), service.to_owned())];
    EndpointSlice {
        metadata: ObjectMeta {
            labels: (!random.once_in(20)).then(|| labels.into()),
            ..ObjectMeta::default()
        },
        address_type: address_type.to_owned(),
        endpoints,
        ports: Some(ports),
    }
}

//! Makes a failure small (§7.4): fewer objects, then smaller policies, then smaller pods, accepting a
//! step only if the same kind of mismatch remains.

use brindle_model::packet::Flow;
use brindle_oracle::World;
use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::compare::{Evaluator, Mismatch, first_mismatch};

/// A world and a flow on which an evaluator differs from the oracle.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The world.
    pub world: World,
    /// The flow.
    pub flow: Flow,
    /// How they differ.
    pub mismatch: Mismatch,
}

/// Shrinks until no single step can be taken any more.
pub fn shrink<E: Evaluator>(evaluator: &E, mut failure: Failure) -> Failure {
    let kind = failure.mismatch.kind;
    let still_fails = |world: &World, flow: &Flow| {
        let flows = std::slice::from_ref(flow);
        // A step that the evaluator cannot take in is no step.
        let found = first_mismatch(evaluator, world, flows).ok().flatten();
        found.map(|(_, mismatch)| mismatch).filter(|mismatch| mismatch.kind == kind)
    };
    loop {
        let steps = halves(&failure.world).into_iter().chain(steps(&failure.world));
        let smaller = steps.filter(|world| *world != failure.world).find_map(|world| {
            let mismatch = still_fails(&world, &failure.flow)?;
            Some((world, mismatch))
        });
        let Some((world, mismatch)) = smaller else { return failure };
        failure = Failure { world, flow: failure.flow, mismatch };
    }
}

/// Each kind of object with one half of it gone.
fn halves(world: &World) -> Vec<World> {
    fn both<T>(world: &World, of: impl Fn(&mut World) -> &mut Vec<T>) -> [World; 2] {
        [true, false].map(|first| {
            let mut world = world.clone();
            let objects = of(&mut world);
            let middle = objects.len() / 2;
            if first {
                objects.drain(..middle);
            } else {
                objects.truncate(middle);
            }
            world
        })
    }
    let policies = both(world, |w| &mut w.network_policies);
    let pods = both(world, |w| &mut w.pods);
    policies.into_iter().chain(pods).collect()
}

/// Every world that is one step smaller.
fn steps(world: &World) -> Vec<World> {
    let mut steps = Vec::new();
    let mut push = |edit: &dyn Fn(&mut World) -> bool| {
        let mut smaller = world.clone();
        if edit(&mut smaller) {
            steps.push(smaller);
        }
    };
    for i in 0..world.network_policies.len() {
        push(&|w| removed(&mut w.network_policies, i));
    }
    for i in 0..world.pods.len() {
        push(&|w| removed(&mut w.pods, i));
    }
    for i in 0..world.namespaces.len() {
        push(&|w| removed(&mut w.namespaces, i));
    }
    for i in 0..world.nodes.len() {
        push(&|w| removed(&mut w.nodes, i));
    }
    for (i, policy) in world.network_policies.iter().enumerate() {
        for spec in policy.spec.iter().flat_map(smaller_specs) {
            push(&|w| {
                w.network_policies[i].spec = Some(spec.clone());
                true
            });
        }
    }
    for (i, pod) in world.pods.iter().enumerate() {
        push(&|w| w.pods[i].metadata.labels.take().is_some());
        for key in pod.metadata.labels.iter().flat_map(|l| l.keys()) {
            push(&|w| w.pods[i].metadata.labels.as_mut().is_some_and(|l| l.remove(key).is_some()));
        }
        push(&|w| w.pods[i].spec.as_mut().is_some_and(|s| s.init_containers.take().is_some()));
        push(&|w| w.pods[i].spec.as_mut().is_some_and(|s| s.containers.pop().is_some()));
        for (j, container) in pod.spec.iter().flat_map(|s| &s.containers).enumerate() {
            for k in 0..container.ports.as_ref().map_or(0, Vec::len) {
                push(&|w| {
                    let spec = w.pods[i].spec.as_mut();
                    spec.is_some_and(|s| removed_in(&mut s.containers[j].ports, k))
                });
            }
        }
    }
    for i in 0..world.namespaces.len() {
        push(&|w| w.namespaces[i].metadata.labels.take().is_some());
    }
    steps
}

fn removed<T>(list: &mut Vec<T>, at: usize) -> bool {
    list.remove(at);
    true
}

/// Removes an entry of an optional list, but never the last: an empty list means another thing.
fn removed_in<T>(list: &mut Option<Vec<T>>, at: usize) -> bool {
    list.as_mut().filter(|list| list.len() > 1).is_some_and(|list| removed(list, at))
}

/// Every spec that is one step smaller.
fn smaller_specs(spec: &NetworkPolicySpec) -> Vec<NetworkPolicySpec> {
    let mut specs = Vec::new();
    let mut push = |edit: &dyn Fn(&mut NetworkPolicySpec) -> bool| {
        let mut smaller = spec.clone();
        if edit(&mut smaller) {
            specs.push(smaller);
        }
    };
    push(&|s| s.pod_selector.take().is_some());
    push(&|s| s.policy_types.take().is_some());
    push(&|s| s.ingress.take().is_some());
    push(&|s| s.egress.take().is_some());
    for selector in spec.pod_selector.iter().flat_map(smaller_selectors) {
        push(&|s| s.pod_selector.replace(selector.clone()).is_some());
    }
    for (i, rule) in spec.ingress.iter().flatten().enumerate() {
        push(&|s| s.ingress.as_mut().is_some_and(|rules| removed(rules, i)));
        for (peers, ports) in smaller_rules(rule.from.as_ref(), rule.ports.as_ref()) {
            push(&|s| {
                let rule = s.ingress.as_mut().map(|rules| &mut rules[i]);
                rule.is_some_and(|r| {
                    (r.from, r.ports) = (peers.clone(), ports.clone());
                    true
                })
            });
        }
    }
    for (i, rule) in spec.egress.iter().flatten().enumerate() {
        push(&|s| s.egress.as_mut().is_some_and(|rules| removed(rules, i)));
        for (peers, ports) in smaller_rules(rule.to.as_ref(), rule.ports.as_ref()) {
            push(&|s| {
                let rule = s.egress.as_mut().map(|rules| &mut rules[i]);
                rule.is_some_and(|r| {
                    (r.to, r.ports) = (peers.clone(), ports.clone());
                    true
                })
            });
        }
    }
    specs
}

type Peers = Option<Vec<NetworkPolicyPeer>>;
type Ports = Option<Vec<NetworkPolicyPort>>;

/// A rule without its peers, without its ports, and with each entry gone or smaller.
fn smaller_rules(
    peers: Option<&Vec<NetworkPolicyPeer>>,
    ports: Option<&Vec<NetworkPolicyPort>>,
) -> Vec<(Peers, Ports)> {
    let (peers, ports) = (peers.cloned(), ports.cloned());
    let mut rules = Vec::new();
    if peers.is_some() {
        rules.push((None, ports.clone()));
    }
    if ports.is_some() {
        rules.push((peers.clone(), None));
    }
    for i in 0..peers.as_ref().map_or(0, Vec::len) {
        let mut fewer = peers.clone();
        if removed_in(&mut fewer, i) {
            rules.push((fewer, ports.clone()));
        }
    }
    for i in 0..ports.as_ref().map_or(0, Vec::len) {
        let mut fewer = ports.clone();
        if removed_in(&mut fewer, i) {
            rules.push((peers.clone(), fewer));
        }
    }
    for (i, peer) in peers.iter().flatten().enumerate() {
        for smaller in smaller_peers(peer) {
            let mut list = peers.clone();
            list.iter_mut().for_each(|list| list[i] = smaller.clone());
            rules.push((list, ports.clone()));
        }
    }
    for (i, port) in ports.iter().flatten().enumerate() {
        for smaller in smaller_ports(port) {
            let mut list = ports.clone();
            list.iter_mut().for_each(|list| list[i] = smaller.clone());
            rules.push((peers.clone(), list));
        }
    }
    rules
}

fn smaller_peers(peer: &NetworkPolicyPeer) -> Vec<NetworkPolicyPeer> {
    let mut peers = Vec::new();
    let given = [&peer.pod_selector, &peer.namespace_selector].into_iter().flatten().count();
    if peer.ip_block.is_none() && given == 2 {
        peers.push(NetworkPolicyPeer { pod_selector: None, ..peer.clone() });
        peers.push(NetworkPolicyPeer { namespace_selector: None, ..peer.clone() });
    }
    for selector in peer.pod_selector.iter().flat_map(smaller_selectors) {
        peers.push(NetworkPolicyPeer { pod_selector: Some(selector), ..peer.clone() });
    }
    for selector in peer.namespace_selector.iter().flat_map(smaller_selectors) {
        peers.push(NetworkPolicyPeer { namespace_selector: Some(selector), ..peer.clone() });
    }
    for i in 0..peer.ip_block.iter().flat_map(|b| b.except.iter().flatten()).count() {
        let mut smaller = peer.clone();
        let except = smaller.ip_block.as_mut().and_then(|b| b.except.as_mut());
        except.into_iter().for_each(|except| {
            except.remove(i);
        });
        peers.push(smaller);
    }
    peers
}

fn smaller_ports(port: &NetworkPolicyPort) -> Vec<NetworkPolicyPort> {
    let mut ports = vec![
        NetworkPolicyPort { protocol: None, ..port.clone() },
        NetworkPolicyPort { end_port: None, ..port.clone() },
    ];
    if port.end_port.is_none() {
        ports.push(NetworkPolicyPort { port: None, ..port.clone() });
    }
    ports.retain(|smaller| smaller != port);
    ports
}

fn smaller_selectors(selector: &LabelSelector) -> Vec<LabelSelector> {
    let mut selectors = vec![
        LabelSelector { match_labels: None, ..selector.clone() },
        LabelSelector { match_expressions: None, ..selector.clone() },
    ];
    for i in 0..selector.match_expressions.as_ref().map_or(0, Vec::len) {
        let mut smaller = selector.clone();
        smaller.match_expressions.iter_mut().for_each(|list| {
            list.remove(i);
        });
        selectors.push(smaller);
    }
    selectors.retain(|smaller| smaller != selector);
    selectors
}

//! Tracked connections, without a kernel: the oracle of K33 against what the agent asks of the
//! ruleset, and whether a change that is said to revoke nothing does not.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;
use brindle_compiler::Compiler;
use brindle_dataplane_core::conntrack::{Entry, Locals, refusal};
use brindle_integration_tests::worlds::compiled::Compiled;
use brindle_integration_tests::worlds::{choose, generate, yaml};
use brindle_model::packet::{ConnState, Flow, Origin, Transport};
use brindle_model::ruleset::RulesetDelta;
use brindle_model::verdict::Verdict;
use brindle_oracle::{ExistingConnections, World, judge, judge_packet};

const WORLDS: u64 = if cfg!(debug_assertions) { 200 } else { 2_000 };
const FLOWS: usize = 40;

fn compile(world: &World) -> Result<Compiled> {
    Compiled::of(&yaml::write(world)?, world)
}

fn addresses_of_node(world: &World, node: &str) -> BTreeSet<IpAddr> {
    let nodes = world.nodes.iter().filter(|n| n.metadata.name.as_deref() == Some(node));
    let status = nodes.filter_map(|n| n.status.as_ref());
    let addresses = status.flat_map(|s| s.addresses.iter().flatten());
    addresses.filter_map(|a| a.address.parse().ok()).collect()
}

/// Whether an entry can stand for the flow: neighbour discovery is not tracked, what a pod sends to
/// itself never leaves it (K28), and an entry does not tell a source that speaks for somebody else.
fn tracked(world: &World, compiled: &Compiled, flow: &Flow) -> bool {
    let source = flow.packet.source;
    let endpoints = compiled.nodes().iter().flat_map(|c| c.ruleset().endpoints.iter());
    let owners: Vec<_> =
        endpoints.filter(|(_, e)| e.addresses.contains(&source)).map(|(id, _)| &id.pod).collect();
    let discovery = matches!(flow.packet.transport,
        Transport::Icmp { icmp_type: 130..=136, .. } if source.is_ipv6());
    let own = |node: &str| addresses_of_node(world, node).contains(&source);
    let nodes = world.nodes.iter().filter_map(|n| n.metadata.name.as_deref());
    let of_some_node = nodes.into_iter().any(own);
    let honest = match &flow.origin {
        Origin::Pod(pod) if owners.is_empty() => {
            // A host-network pod is its node (K27).
            let mut pods = world.pods.iter();
            let object = pods.find(|p| {
                p.metadata.name.as_deref() == Some(&*pod.name)
                    && p.metadata.namespace.as_deref() == Some(&*pod.namespace)
            });
            let node = object.and_then(|p| p.spec.as_ref()?.node_name.as_deref());
            node.is_some_and(own)
        }
        Origin::Pod(pod) => owners == [pod],
        Origin::Node(node) => owners.is_empty() && own(node),
        Origin::Outside => owners.is_empty() && !of_some_node,
    };
    honest && !discovery && source != flow.packet.destination
}

/// Whether a node's agent would revoke the connection.
fn revoked(world: &World, compiler: &Compiler, node: &str, flow: &Flow) -> bool {
    let locals = Locals::new(compiler.ruleset(), addresses_of_node(world, node));
    let entry = Entry::begun_by(flow.packet);
    locals.touches(&entry) && refusal(compiler.ruleset(), &locals, &entry.first_packet()).is_some()
}

#[test]
fn the_agent_revokes_what_the_oracle_revokes() -> Result<()> {
    let mut counts = [0; 2];
    for seed in 0..WORLDS {
        let before = generate(seed);
        let mut now = before.clone();
        now.network_policies = generate(seed + 1_000_000).network_policies;
        let compiled = compile(&now)?;
        for flow in choose(&before, seed, FLOWS) {
            let first = Flow { state: ConnState::New, ..flow };
            if !judge(&before, &first).delivered || !tracked(&now, &compiled, &first) {
                continue;
            }
            let packet = Flow { state: ConnState::Established, ..first.clone() };
            let option = ExistingConnections::Reevaluate;
            let outcome = judge_packet(&before, &now, &first, &packet, option);
            let names = now.nodes.iter().filter_map(|n| n.metadata.name.as_deref());
            for (node, compiler) in names.zip(compiled.nodes()) {
                let denies = outcome
                    .hops
                    .iter()
                    .any(|hop| hop.node.as_deref() == Some(node) && hop.verdict == Verdict::Deny);
                let revokes = revoked(&now, compiler, node, &first);
                assert_eq!(revokes, denies, "seed {seed} {node} {first:?}\n{outcome:?}");
                counts[usize::from(revokes)] += 1;
            }
        }
    }
    println!("{} kept, {} revoked", counts[0], counts[1]);
    assert!(counts.iter().all(|count| *count > 1000), "too few of one kind: {counts:?}");
    Ok(())
}

/// One object comes or goes; if the ruleset says that this revokes nothing, it does not.
#[test]
fn what_may_not_revoke_does_not() -> Result<()> {
    let mut counts = [0; 2];
    for seed in 0..WORLDS {
        let whole = generate(seed);
        let mut part = whole.clone();
        let at = seed as usize;
        if seed % 3 == 0 && !part.network_policies.is_empty() {
            part.network_policies.remove(at % whole.network_policies.len());
        } else {
            part.pods.remove(at % whole.pods.len());
        }
        let [less, more] = [&part, &whole].map(compile);
        let (less, more) = (less?, more?);
        let flows = choose(&whole, seed, FLOWS);
        let names = whole.nodes.iter().filter_map(|n| n.metadata.name.as_deref());
        for (node, (less, more)) in names.zip(less.nodes().iter().zip(more.nodes())) {
            for (old, new) in [(less, more), (more, less)] {
                let delta = RulesetDelta::between(old.ruleset(), new.ruleset());
                let may = new.ruleset().may_revoke(&delta);
                counts[usize::from(may)] += 1;
                for flow in flows.iter().filter(|_| !may) {
                    let was = revoked(&whole, old, node, flow);
                    let is = revoked(&whole, new, node, flow);
                    assert!(was || !is, "seed {seed} {node}: {flow:?} is revoked by {delta:?}");
                }
            }
        }
    }
    println!("{} changes that cannot revoke, {} that may", counts[0], counts[1]);
    assert!(counts.iter().all(|count| *count > 100), "too few of one kind: {counts:?}");
    Ok(())
}

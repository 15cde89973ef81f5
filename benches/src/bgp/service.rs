//! From a file that changes to the wire of two neighbours, through a real agent.

use std::time::Instant;

use anyhow::{Context, Result};
use brindle_bgp_proto::message::Message;
use brindle_lab::agent::Agent;
use brindle_lab::fabric::Node;
use brindle_lab::netns::Netns;
use ipnet::IpNet;

use super::session::Session;
use super::subject::{OUR_AS, sender_as};
use super::{Lab, address};
use crate::row::Row;

/// Changes that are timed; every second one takes back the one before.
const CHANGES: usize = 60;

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.7, externalTrafficPolicy: Local}
status: {loadBalancer: {ingress: [{ip: 203.0.113.7}]}}
---
";

/// Milliseconds from an endpoint that becomes ready, or no longer is, to the UPDATE at both
/// neighbours: the median and the worst but one of a hundred.
///
/// # Errors
/// The agent does not start, or does not tell.
pub fn service(lab: &Lab) -> Result<Vec<Row>> {
    let dir = lab.dir.join("agent");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(dir.join("objects"))?;
    let write = |file: &str, text: &str| -> Result<()> {
        let next = dir.join("next");
        std::fs::write(&next, text)?;
        std::fs::rename(&next, dir.join("objects").join(file)).context("write an object")
    };
    write("cluster.yaml", &cluster())?;
    write("service.yaml", &(SERVICE.to_owned() + &slice(false)))?;
    let node = Node {
        name: "n1".into(),
        netns: Netns::existing(lab.dut.name()),
        v4: "10.99.0.1".into(),
        v6: "fd99::1".into(),
        asn: OUR_AS,
        agent: None,
    };
    let agent = Agent::start(&node, &dir, &[])?;
    let mut peers =
        (0..2).map(|i| Session::open(&lab.outside, i, sender_as(i))).collect::<Result<Vec<_>>>()?;
    for peer in &mut peers {
        until(peer, "203.0.113.0/24", true)?;
    }
    let mut times = Vec::with_capacity(CHANGES);
    for change in 0..CHANGES {
        let ready = change % 2 == 0;
        let text = SERVICE.to_owned() + &slice(ready);
        let start = Instant::now();
        write("service.yaml", &text)?;
        for peer in &mut peers {
            until(peer, "203.0.113.7/32", ready)?;
        }
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    drop(peers);
    agent.end(nix::sys::signal::Signal::SIGTERM)?;
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[(CHANGES - 1) * share / 100];
    Ok(vec![
        Row::absolute("a Service's endpoint to the wire of 2 peers, p50", at(50), "ms"),
        Row::absolute("a Service's endpoint to the wire of 2 peers, p95", at(95), "ms"),
    ])
}

/// Reads until a neighbour is told of a prefix.
fn until(peer: &mut Session, prefix: &str, there: bool) -> Result<()> {
    let prefix: IpNet = prefix.parse()?;
    loop {
        let Message::Update(update) = peer.read()? else { continue };
        let mut announced = update.reach.iter().flat_map(|reach| &reach.prefixes);
        let told = match there {
            true => announced.any(|p| *p == prefix),
            false => update.withdrawn.contains(&prefix),
        };
        if told {
            return Ok(());
        }
    }
}

fn cluster() -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: n1}}\n\
         status: {{addresses: [{{type: InternalIP, address: 10.99.0.1}}]}}\n---\n\
         apiVersion: brindle.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
         spec: {{asNumber: {OUR_AS}, serviceLoadBalancerIPs: [{{cidr: 203.0.113.0/24}}]}}\n"
    );
    for i in 0..2 {
        text += &format!(
            "---\napiVersion: brindle.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: tor{i}}}\n\
             spec: {{peerIP: {}, asNumber: {}, passive: true}}\n",
            address(i),
            sender_as(i)
        );
    }
    text
}

fn slice(ready: bool) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\n\
         endpoints: [{{addresses: [10.65.0.1], nodeName: n1, conditions: {{ready: {ready}}}}}]\n"
    )
}

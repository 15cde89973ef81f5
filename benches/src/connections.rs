//! What it costs to judge tracked connections again: a real agent, and a table full of connections of
//! one of its pods.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use brindle_dataplane_core::nfnetlink::{Socket, Writer, error_number, messages};
use brindle_lab::agent::Agent;
use brindle_lab::fabric::Fabric;
use brindle_lab::objects;
use brindle_lab::pod::Pod;
use brindle_lab::process::wait_until;
use serde_json::Value;

use crate::row::Row;

const SIZES: [u32; 2] = [10_000, 100_000];
/// Repetitions; the median counts.
const TURNS: usize = 5;

/// Peers of the connections are 172.16.0.0/14, half of which the policy always admits.
const HALF: &str = "172.16.0.0/15";
const WHOLE: &str = "172.16.0.0/14";

/// Measures passes that change nothing, and the revocation of half of all connections.
///
/// # Errors
/// The lab does not come up.
pub fn connections() -> Result<Vec<Row>> {
    let fabric = Fabric::build("brd-bench-ct", Path::new("/run/brd-bench-ct"), 1)?;
    fabric.write("namespaces.yaml", &objects::namespace("shop", "retail"))?;
    let pod = Pod::create(&fabric, 0, "shop", "web", |addresses| {
        objects::pod("shop", "web", "web", "n1", addresses)
    })?;
    let IpAddr::V4(address) = pod.address(false)? else { unreachable!("asked for IPv4") };
    let agent = fabric.nodes[0].agent.as_ref().context("the agent does not run")?;
    let mut rows = Vec::new();
    let mut there = 0;
    for size in SIZES {
        fabric.nodes[0].netns.enter(|| fill(address, there..size))??;
        there = size;
        let (mut admitting, mut revoking, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            admitting.push(turn(&fabric, agent, WHOLE, size, 0)?.0);
            let (pass, until) = turn(&fabric, agent, HALF, size, size / 2)?;
            revoking.push(pass);
            stopped.push(until);
        }
        for (case, times) in [
            ("pass that admits half again", &mut admitting),
            ("pass that revokes half", &mut revoking),
            ("Applied to half of them stopped", &mut stopped),
        ] {
            times.sort();
            let millis = times[TURNS / 2].as_secs_f64() * 1e3;
            rows.push(Row::absolute(format!("{size} connections, {case}"), millis, "ms"));
        }
        let again = settled(agent)?;
        let case = format!("{size} connections, pass that changes nothing");
        rows.push(Row::absolute(case, again.as_secs_f64() * 1e3, "ms"));
        rows.push(Row::absolute(
            format!("agent with {size} connections"),
            agent.resident()? as f64 / 1024.0,
            "MiB",
        ));
    }
    pod.delete(&fabric)?;
    Ok(rows)
}

fn status(agent: &Agent) -> Result<Value> {
    Ok(serde_json::from_str(&agent.ctl(&["status", "-o", "json"])?)?)
}

fn seconds(status: &Value) -> Duration {
    Duration::from_secs_f64(status["connections"]["seconds"].as_f64().unwrap_or_default())
}

/// Admits these peers and waits until so many connections are stopped. Returns what the pass took,
/// and how long after `Applied` it was over.
fn turn(
    fabric: &Fabric,
    agent: &Agent,
    peers: &str,
    size: u32,
    revoked: u32,
) -> Result<(Duration, Duration)> {
    settled(agent)?;
    let policy = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: peers, namespace: shop}}\n\
         spec: {{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {{cidr: {peers}}}}}]}}]}}\n"
    );
    fabric.write("policies/peers.yaml", &policy)?;
    agent.barrier()?;
    let applied = Instant::now();
    let mut took = Duration::ZERO;
    wait_until(Duration::from_secs(20), "a pass over all of them", || {
        let status = status(agent)?;
        took = seconds(&status);
        let connections = &status["connections"];
        Ok(connections["judged"] == size && connections["revoked"] == revoked)
    })?;
    Ok((took, applied.elapsed()))
}

/// Waits until a second has gone by without a pass, and returns what the last took.
fn settled(agent: &Agent) -> Result<Duration> {
    let passes = |status: &Value| status["connections"]["passes"].as_u64().unwrap_or(0);
    let mut last = (passes(&status(agent)?), Instant::now());
    let mut took = Duration::ZERO;
    wait_until(Duration::from_secs(20), "passes to end", || {
        let status = status(agent)?;
        took = seconds(&status);
        if passes(&status) != last.0 {
            last = (passes(&status), Instant::now());
        }
        Ok(last.1.elapsed() > Duration::from_secs(1))
    })?;
    Ok(took)
}

/// Puts UDP connections from many peers to the pod into the kernel's table.
fn fill(pod: Ipv4Addr, numbers: std::ops::Range<u32>) -> Result<()> {
    const CREATE: u16 =
        (libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK) as u16;
    const NEW: u16 = (libc::NFNL_SUBSYS_CTNETLINK << 8) as u16;
    let mut socket = Socket::open()?;
    for number in numbers {
        // Peers alternate between the halves.
        let peer = Ipv4Addr::from(0xac10_0000 + (number >> 1) + ((number & 1) << 17));
        let seq = socket.reserve(1);
        let mut w = Writer::default();
        w.message(NEW, CREATE, seq, libc::AF_INET as u8, 0, |w| {
            tuple(w, 1, (peer, 4000), (pod, 53));
            tuple(w, 2, (pod, 53), (peer, 4000));
            // CTA_STATUS: confirmed, seen in both directions; CTA_TIMEOUT, seconds.
            w.u32(3, 0xa);
            w.u32(7, 3600);
        });
        socket.send(&w.buffer)?;
        let answer = socket.receive(true)?.unwrap_or_default();
        let errors = messages(answer).filter_map(|m| error_number(m.payload));
        ensure!(errors.sum::<i32>() == 0, "connection {number} was refused");
    }
    Ok(())
}

/// `CTA_TUPLE_*` with `CTA_TUPLE_IP` and `CTA_TUPLE_PROTO` (linux/netfilter/nfnetlink_conntrack.h).
fn tuple(w: &mut Writer, kind: u16, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) {
    w.nest(kind, |w| {
        w.nest(1, |w| {
            w.attr(1, &from.0.octets());
            w.attr(2, &to.0.octets());
        });
        w.nest(2, |w| {
            w.attr(1, &[17]);
            w.attr(2, &from.1.to_be_bytes());
            w.attr(3, &to.1.to_be_bytes());
        });
    });
}

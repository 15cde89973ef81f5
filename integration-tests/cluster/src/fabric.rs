//! The segment that joins router, control plane and nodes, and the router.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brindle_lab::netns::{Netns, run, veth};
use brindle_lab::process::{Daemon, wait_until};

use crate::plan::{self, CONTROL, Families, TOR, TOR_AS};

/// The bridge, in the router's namespace.
const SEGMENT: &str = "segment";

/// Makes the namespaces of a cluster of `nodes` nodes and joins them. They stay.
///
/// # Errors
/// This is not root, or iproute2 is missing.
pub fn make(families: Families, nodes: usize) -> Result<()> {
    let mut tor = Netns::create(TOR)?;
    tor.keep();
    tor.ip(&["link", "add", SEGMENT, "type", "bridge"])?;
    tor.ip(&["link", "set", SEGMENT, "up"])?;
    for family in families.each() {
        address(&tor, SEGMENT, &format!("{}/{}", family.tor(), family.segment_length()))?;
    }
    tor.sysctl("net/ipv4/ip_forward", "1")?;
    tor.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    let control = families.each().iter().map(|f| (f.control(), *f)).collect();
    join(&tor, CONTROL, "control", control)?;
    for index in 1..=nodes {
        let addresses = families.each().iter().map(|f| (f.node(index), *f)).collect();
        join(&tor, &plan::node_netns(index), &plan::node_name(index), addresses)?;
    }
    Ok(())
}

/// Makes a namespace with a port on the segment and the router as its way out.
fn join(
    tor: &Netns,
    netns: &str,
    port: &str,
    addresses: Vec<(String, plan::Family)>,
) -> Result<()> {
    let mut netns = Netns::create(netns)?;
    netns.keep();
    veth((tor, port), (&netns, "eth0"))?;
    tor.ip(&["link", "set", port, "master", SEGMENT])?;
    for (own, family) in addresses {
        address(&netns, "eth0", &format!("{own}/{}", family.segment_length()))?;
        let via = family.tor();
        netns.ip(&[family.option(), "route", "add", "default", "via", &via, "dev", "eth0"])?;
    }
    Ok(())
}

fn address(netns: &Netns, interface: &str, address: &str) -> Result<()> {
    // Nobody else is there to have taken an IPv6 address: it need not wait to be usable.
    let unchecked: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
    let arguments = [&["address", "add", address, "dev", interface], unchecked].concat();
    netns.ip(&arguments).map(drop)
}

/// Starts BIRD as the router. It takes the pods' blocks that the nodes announce and tells them
/// nothing: the segment's default route already leads to it.
///
/// # Errors
/// BIRD is missing or refuses its configuration.
pub fn start_router(logs: &Path, families: Families, nodes: usize) -> Result<()> {
    let [config, socket] = ["bird.conf", "bird.ctl"].map(|name| logs.join(name));
    fs::write(&config, configuration(families, nodes))
        .with_context(|| format!("write {}", config.display()))?;
    let mut command = Netns::existing(TOR).command("bird");
    command.arg("-f").arg("-c").arg(&config).arg("-s").arg(&socket);
    let mut bird = Daemon::start("bird", command, &logs.join("bird.log"))?;
    let asked = socket.display().to_string();
    wait_until(Duration::from_secs(10), "the router's BIRD to answer", || {
        ensure!(bird.exited()?.is_none(), "BIRD ended: see {}", logs.join("bird.log").display());
        Ok(run("birdc", &["-s", &asked, "show", "status"]).is_ok())
    })?;
    bird.let_go();
    Ok(())
}

fn configuration(families: Families, nodes: usize) -> String {
    let mut text = "router id 10.100.0.1;\n\
                    log stderr all;\n\
                    protocol device { scan time 5; }\n\
                    protocol kernel { ipv4 { import none; export all; }; }\n\
                    protocol kernel { ipv6 { import none; export all; }; }\n"
        .to_owned();
    let family = families.primary();
    let channels = families.each().iter().map(|family| match family {
        plan::Family::V4 => "ipv4 { import all; export none; };",
        plan::Family::V6 => "ipv6 { import all; export none; };",
    });
    let channels = channels.collect::<Vec<_>>().join(" ");
    for index in 1..=nodes {
        let (name, node, tor) = (plan::node_name(index), family.node(index), family.tor());
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "protocol bgp {name} {{\n  local {tor} as {TOR_AS};\n  neighbor {node} external;\n  \
             connect retry time 1;\n  {channels}\n}}"
        );
    }
    text
}

/// Static routes to each node's range, for the reference plugin, which has no routing of its own.
/// `ranges` are those of the nodes in order, each a list by family.
///
/// # Errors
/// A route is refused.
pub fn route_statically(families: Families, ranges: &[Vec<String>]) -> Result<()> {
    for (owner, ranges_of_owner) in (1..).zip(ranges) {
        for (family, range) in families.each().iter().zip(ranges_of_owner) {
            let others = (1..=ranges.len()).filter(|index| *index != owner);
            let places = others.map(plan::node_netns).chain([TOR.to_owned()]);
            for place in places {
                let place = Netns::existing(&place);
                place.ip(&[
                    family.option(),
                    "route",
                    "replace",
                    range,
                    "via",
                    &family.node(owner),
                ])?;
            }
        }
    }
    Ok(())
}

/// Whether the router has a route to a block on each node.
///
/// # Errors
/// The router does not answer.
pub fn routed(logs: &Path, nodes: usize) -> Result<bool> {
    let socket = logs.join("bird.ctl").display().to_string();
    let routes = run("birdc", &["-s", &socket, "show", "route", "where", "source = RTS_BGP"])?;
    Ok((1..=nodes).all(|index| routes.contains(&format!("[{} ", plan::node_name(index)))))
}

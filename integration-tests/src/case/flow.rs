//! A flow in one line of text.
//!
//! ```text
//! FROM > TO PROTOCOL [ipv6] [from PORT] [established | related | invalid]
//!
//! FROM      ns/pod | node NAME | ADDRESS (outside), the first two with `as ADDRESS` if they send
//!           from that one
//! TO        ns/pod | node NAME | ADDRESS
//! PROTOCOL  tcp/80 | udp/53 | sctp/7 | icmp/8 | icmp/3.1 (type and code) | protocol/47
//! ```
//! A name stands for the object's address of the family, IPv4 unless `ipv6` is said.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use brindle_model::NamespacedName;
use brindle_model::packet::{ConnState, Flow, Origin, Packet, Transport};
use brindle_oracle::World;

/// The source port where none is said.
const SOURCE_PORT: u16 = 40000;

/// Parses a flow; names are looked up in the world.
///
/// # Errors
/// Another syntax, a name that the world lacks, or an object without an address of the family.
pub fn parse(world: &World, text: &str) -> Result<Flow> {
    parse_words(world, text).with_context(|| format!("flow {text:?}"))
}

fn parse_words(world: &World, text: &str) -> Result<Flow> {
    let (from, rest) = text.split_once(" > ").context("there is no ` > `")?;
    let mut words = rest.split_whitespace().peekable();
    let mut to = words.next().context("the destination is missing")?.to_owned();
    if to == "node" {
        to = format!("node {}", words.next().context("the node's name is missing")?);
    }
    let protocol = words.next().context("the protocol is missing")?;
    let mut v6 = [from, &to].into_iter().any(|end| end.contains(':'));
    let mut source_port = SOURCE_PORT;
    let mut state = ConnState::New;
    while let Some(word) = words.next() {
        match word {
            "ipv6" => v6 = true,
            "from" => source_port = words.next().context("a port must follow `from`")?.parse()?,
            "established" => state = ConnState::Established,
            "related" => state = ConnState::Related,
            "invalid" => state = ConnState::Invalid,
            other => bail!("unknown word {other:?}"),
        }
    }
    let (origin, source) = match from.split_once(" as ") {
        Some((from, address)) => (origin(from)?, address.parse()?),
        None => (origin(from)?, address(world, from, v6)?),
    };
    let destination = address(world, &to, v6)?;
    ensure!(source.is_ipv6() == destination.is_ipv6(), "the families differ");
    let transport = transport(protocol, source_port)?;
    Ok(Flow { origin, packet: Packet { source, destination, transport }, state })
}

fn origin(text: &str) -> Result<Origin> {
    if let Some(name) = text.strip_prefix("node ") {
        return Ok(Origin::Node(name.into()));
    }
    if let Some((namespace, name)) = text.split_once('/') {
        return Ok(Origin::Pod(NamespacedName::new(namespace, name)));
    }
    text.parse::<IpAddr>().with_context(|| format!("{text:?} is neither object nor address"))?;
    Ok(Origin::Outside)
}

fn address(world: &World, text: &str, v6: bool) -> Result<IpAddr> {
    let texts: Vec<&str> = match origin(text)? {
        Origin::Outside => return Ok(text.parse()?),
        Origin::Node(name) => {
            let node = world.nodes.iter().find(|n| n.metadata.name.as_deref() == Some(&name));
            let status = node.with_context(|| format!("there is no {text}"))?.status.iter();
            status.flat_map(|s| s.addresses.iter().flatten()).map(|a| a.address.as_str()).collect()
        }
        Origin::Pod(id) => {
            let pod = world.pods.iter().find(|p| {
                p.metadata.namespace.as_deref().unwrap_or("default") == &*id.namespace
                    && p.metadata.name.as_deref() == Some(&id.name)
            });
            let status = pod.with_context(|| format!("there is no pod {text}"))?.status.iter();
            status.flat_map(|s| s.pod_ips.iter().flatten()).map(|a| a.ip.as_str()).collect()
        }
    };
    let mut parsed = texts.into_iter().filter_map(|text| text.parse::<IpAddr>().ok());
    parsed.find(|a| a.is_ipv6() == v6).with_context(|| format!("{text} has no such address"))
}

fn transport(text: &str, source: u16) -> Result<Transport> {
    let (name, number) = text.split_once('/').context("a protocol is written tcp/80")?;
    if name == "icmp" {
        let (icmp_type, code) = number.split_once('.').unwrap_or((number, "0"));
        return Ok(Transport::Icmp { icmp_type: icmp_type.parse()?, code: code.parse()? });
    }
    if name == "protocol" {
        return Ok(Transport::Other(number.parse()?));
    }
    let destination = number.parse()?;
    Ok(match name {
        "tcp" => Transport::Tcp { source, destination },
        "udp" => Transport::Udp { source, destination },
        "sctp" => Transport::Sctp { source, destination },
        other => bail!("unknown protocol {other:?}"),
    })
}

/// Writes a flow so that [`parse`] reads it back, whatever the world.
pub fn format(flow: &Flow) -> String {
    let Flow { origin, packet: Packet { source, destination, transport }, state } = flow;
    let from = match origin {
        Origin::Pod(id) => format!("{id} as {source}"),
        Origin::Node(name) => format!("node {name} as {source}"),
        Origin::Outside => source.to_string(),
    };
    let ports = |name: &str, source: u16, destination: u16| match source {
        SOURCE_PORT => format!("{name}/{destination}"),
        source => format!("{name}/{destination} from {source}"),
    };
    let transport = match *transport {
        Transport::Tcp { source, destination } => ports("tcp", source, destination),
        Transport::Udp { source, destination } => ports("udp", source, destination),
        Transport::Sctp { source, destination } => ports("sctp", source, destination),
        Transport::Icmp { icmp_type, code: 0 } => format!("icmp/{icmp_type}"),
        Transport::Icmp { icmp_type, code } => format!("icmp/{icmp_type}.{code}"),
        Transport::Other(number) => format!("protocol/{number}"),
    };
    let state = match state {
        ConnState::New => "",
        ConnState::Established => " established",
        ConnState::Related => " related",
        ConnState::Invalid => " invalid",
    };
    format!("{from} > {destination} {transport}{state}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worlds;

    #[test]
    fn what_is_written_is_read_back() {
        for seed in 0..100 {
            let world = worlds::generate(seed);
            for flow in worlds::choose(&world, seed, 30) {
                let text = format(&flow);
                assert_eq!(parse(&World::default(), &text).expect("it parses"), flow, "{text}");
            }
        }
    }

    #[test]
    fn bad_flows_say_what_is_wrong() {
        let world = worlds::generate(0);
        for (text, why) in [
            ("x/a tcp/80", "no ` > `"),
            ("x/a > y/b", "the protocol is missing"),
            ("x/a > y/q tcp/80", "there is no pod y/q"),
            ("node n9 > 10.0.0.1 tcp/80", "there is no node n9"),
            ("10.0.0.1 > fd00::1 tcp/80", "the families differ"),
            ("10.0.0.1 > 10.0.0.2 tcp/80 maybe", "unknown word"),
            ("10.0.0.1 > 10.0.0.2 quic/80", "unknown protocol"),
            ("10.0.0.1 > 10.0.0.2 tcp/http", "invalid digit"),
            ("somewhere > 10.0.0.2 tcp/80", "neither object nor address"),
        ] {
            let error = format!("{:#}", parse(&world, text).expect_err(text));
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

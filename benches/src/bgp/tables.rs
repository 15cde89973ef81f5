//! The BGP codec and tables: what a node does with the routes of a big fabric.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Result, ensure};
use brindle_bgp_proto::attribute::{AsPath, Attributes, Community, LargeCommunity};
use brindle_bgp_proto::decode::{decode, frame};
use brindle_bgp_proto::encode::encode;
use brindle_bgp_proto::family::{Family, FamilySet};
use brindle_bgp_proto::message::{Message, NextHop, Reach, Update};
use brindle_bgp_proto::negotiated::Negotiated;
use brindle_bgp_proto::policy::PeerPolicy;
use brindle_bgp_proto::rib::{Local, PeerId, PeerSession, Rib, RibEvent};
use ipnet::IpNet;

use crate::cpu;
use crate::row::Row;

/// Nodes of the fabric, each with [`BLOCKS`] blocks: one UPDATE each, as its path differs.
const NODES: u32 = 5_000;
/// Blocks of a node.
const BLOCKS: u32 = 4;
/// Top-of-rack routers that each advertise all of it.
const TORS: u8 = 2;
/// Runs; the best counts.
const RUNS: usize = 5;

const LOCAL_AS: u32 = 65_010;

/// Messages a second, and two routers' tables from the octets to the Loc-RIB and back, in CPU
/// time of one thread.
///
/// # Errors
/// A message does not survive the codec, or a table does not hold what was sent.
pub fn tables() -> Result<Vec<Row>> {
    let updates: Vec<Update> = (0..NODES).map(|node| update(node, 1)).collect();
    let session = negotiated(1);
    let stream = encode_all(&updates, &session)?;
    let per_second = |ms: f64| f64::from(NODES) / ms * 1000.0;
    let encoding = best(|| encode_all(&updates, &session).map(drop))?;
    let decoding = best(|| {
        let read = decode_all(&stream, &session)?;
        ensure!(read.len() == updates.len(), "{} of {} messages", read.len(), updates.len());
        Ok(())
    })?;
    let streams: Vec<Vec<u8>> = (1..=TORS)
        .map(|tor| {
            let updates: Vec<Update> = (0..NODES).map(|node| update(node, tor)).collect();
            encode_all(&updates, &negotiated(tor))
        })
        .collect::<Result<_>>()?;
    let (mut learning, mut withdrawing) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..RUNS {
        let (learned, withdrawn) = learn_and_withdraw(&streams)?;
        learning = learning.min(learned);
        withdrawing = withdrawing.min(withdrawn);
    }
    Ok(vec![
        Row::absolute("encode", per_second(encoding), "msg/s"),
        Row::absolute("decode", per_second(decoding), "msg/s"),
        Row::absolute("2 x 20000 from octets to loc-rib, tables alone", learning, "ms"),
        Row::absolute("2 x 20000 withdrawn, tables alone", withdrawing, "ms"),
    ])
}

/// Milliseconds of the best run.
fn best(run: impl Fn() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = cpu_time();
        run()?;
        best = best.min(cpu_time() - start);
    }
    Ok(best)
}

/// Milliseconds of processor time that this thread has had.
fn cpu_time() -> f64 {
    cpu::now().as_secs_f64() * 1000.0
}

/// Milliseconds from octets to events, and from lost sessions to events.
fn learn_and_withdraw(streams: &[Vec<u8>]) -> Result<(f64, f64)> {
    let mut rib = Rib::new(Local {
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        next_hop_ipv4: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100))),
        next_hop_ipv6: None,
        drain: None,
        cluster_id: Ipv4Addr::new(10, 0, 0, 1),
    });
    for tor in 1..=TORS {
        rib.peer_up(PeerId(tor.into()), peer_session(tor));
    }
    let start = cpu_time();
    for (tor, stream) in (1..=TORS).zip(streams) {
        for message in decode_all(stream, &negotiated(tor))? {
            if let Message::Update(update) = message {
                rib.update(PeerId(tor.into()), &update);
            }
        }
    }
    let mut best = 0;
    while let Some(event) = rib.poll_event() {
        let all =
            matches!(&event, RibEvent::Best { paths, .. } if paths.len() == usize::from(TORS));
        ensure!(all, "not over every router: {event:?}");
        best += 1;
    }
    let learned = cpu_time() - start;
    ensure!(best == NODES * BLOCKS, "{best} prefixes");

    let start = cpu_time();
    for tor in 1..=TORS {
        rib.peer_down(PeerId(tor.into()), FamilySet::NONE);
    }
    let gone = std::iter::from_fn(|| rib.poll_event()).count();
    let withdrawn = cpu_time() - start;
    ensure!(gone == best as usize, "{gone} withdrawn");
    Ok((learned, withdrawn))
}

fn encode_all(updates: &[Update], session: &Negotiated) -> Result<Vec<u8>> {
    let mut stream = Vec::new();
    for update in updates {
        encode(&Message::Update(update.clone()), session, &mut stream)?;
    }
    Ok(stream)
}

fn decode_all(mut stream: &[u8], session: &Negotiated) -> Result<Vec<Message>> {
    let mut messages = Vec::with_capacity(NODES as usize);
    while let Some(len) = frame(stream, session)? {
        messages.push(decode(&stream[..len], session)?);
        stream = &stream[len..];
    }
    Ok(messages)
}

fn tor_as(tor: u8) -> u32 {
    65_020 + u32::from(tor)
}

fn negotiated(tor: u8) -> Negotiated {
    Negotiated {
        peer_as: tor_as(tor),
        four_octet_as: true,
        families: FamilySet::ALL,
        ..Negotiated::before_open(LOCAL_AS)
    }
}

fn peer_session(tor: u8) -> PeerSession {
    PeerSession {
        negotiated: negotiated(tor),
        router_id: Ipv4Addr::new(10, 0, 1, tor),
        peer_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, tor)),
        local_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100)),
        role: None,
        policy: PeerPolicy::default(),
    }
}

/// One node's blocks as a router advertises them: a path of three, two communities.
fn update(node: u32, tor: u8) -> Update {
    let block = |i: u32| {
        let address = Ipv4Addr::from(0x0a00_0000 + ((node * BLOCKS + i) << 6));
        IpNet::new(address.into(), 26).expect("26 bits of 32")
    };
    let attributes = Attributes {
        as_path: AsPath::sequence([tor_as(tor), 64_999, 4_200_000_000 + node]),
        communities: vec![Community(0xfde8_0001)],
        large_communities: vec![LargeCommunity { global: 65_000, local1: 1, local2: node }],
        ..Attributes::default()
    };
    let reach = Reach {
        family: Family::Ipv4Unicast,
        next_hop: NextHop::V4(Ipv4Addr::new(192, 0, 2, tor)),
        prefixes: (0..BLOCKS).map(block).collect(),
    };
    Update { reach: vec![reach], attributes: Arc::new(attributes), ..Update::default() }
}

//! What a neighbour has to say, encoded before the clock runs.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;
use brindle_bgp_proto::attribute::{AsPath, Attributes, Community, LargeCommunity};
use brindle_bgp_proto::encode::encode;
use brindle_bgp_proto::family::{Family, FamilySet};
use brindle_bgp_proto::message::{Message, NextHop, Reach, Update};
use brindle_bgp_proto::negotiated::Negotiated;
use ipnet::IpNet;

use super::subject::{OUR_AS, sender_as};

/// Octets written at once, whole messages.
const CHUNK: usize = 64 * 1024;
/// Nodes of the fabric, each with blocks and a path of its own.
const NODES: u32 = 5_000;
/// Prefixes of an UPDATE of the fabric.
pub const BLOCKS: u32 = 4;
/// Attribute sets of the full table.
const SETS: u32 = 100_000;
/// Prefixes of each.
const PREFIXES: u32 = 10;

/// The routes of a neighbour.
pub struct Feed {
    /// How many prefixes they are.
    pub prefixes: usize,
    /// The first address of the first.
    pub base: u32,
    /// Address bits within a prefix.
    pub shift: u32,
    /// UPDATEs with all of them, in chunks.
    pub announcements: Vec<Vec<u8>>,
    /// UPDATEs that withdraw all of them.
    pub withdrawals: Vec<Vec<u8>>,
}

impl Feed {
    /// Four blocks of each of 5,000 nodes, as a top-of-rack router tells of them.
    pub fn fabric(sender: usize) -> Result<Self> {
        let path = |node| [sender_as(sender), 64_999, 4_200_000_000 + node];
        Self::new(sender, Ipv4Addr::new(20, 0, 0, 0), 26, NODES, BLOCKS, path)
    }

    /// A million /24 with a hundred thousand attribute sets.
    pub fn full() -> Result<Self> {
        let path = |set| [sender_as(0), 64_000 + set % 900, 4_200_000_000 + set];
        Self::new(0, Ipv4Addr::new(20, 0, 0, 0), 24, SETS, PREFIXES, path)
    }

    /// Four blocks of a client of a reflector.
    pub fn of_client(client: usize) -> Result<Self> {
        let first = u32::from(Ipv4Addr::new(20, 0, 0, 0));
        let (base, shift): (u32, u32) = (first, 6);
        let from = first + ((u32::try_from(client)? * BLOCKS) << shift);
        let prefixes = (0..BLOCKS).map(|i| Ipv4Addr::from(from + (i << shift)));
        let prefixes = prefixes.map(|address| IpNet::new(address.into(), 26));
        let prefixes = prefixes.collect::<Result<Vec<_>, _>>()?;
        let next_hop = NextHop::V4(super::address(client));
        let reach = Reach { family: Family::Ipv4Unicast, next_hop, prefixes: prefixes.clone() };
        let attributes = Attributes { local_pref: Some(100), ..Attributes::default() };
        let update =
            Update { reach: vec![reach], attributes: Arc::new(attributes), ..Update::default() };
        let session = Negotiated {
            peer_as: OUR_AS,
            four_octet_as: true,
            families: FamilySet::ALL,
            ..Negotiated::before_open(OUR_AS)
        };
        let (mut announcements, mut withdrawals) = (Chunks::default(), Chunks::default());
        announcements.add(update, &session)?;
        withdrawals.add(Update::withdraw(prefixes), &session)?;
        Ok(Self {
            prefixes: BLOCKS as usize,
            base,
            shift,
            announcements: announcements.0,
            withdrawals: withdrawals.0,
        })
    }

    fn new(
        sender: usize,
        first: Ipv4Addr,
        length: u8,
        sets: u32,
        each: u32,
        path: impl Fn(u32) -> [u32; 3],
    ) -> Result<Self> {
        let (base, shift) = (u32::from(first), 32 - u32::from(length));
        let prefix = |i: u32| IpNet::new(Ipv4Addr::from(base + (i << shift)).into(), length);
        let session = Negotiated {
            peer_as: OUR_AS,
            four_octet_as: true,
            families: FamilySet::ALL,
            ..Negotiated::before_open(sender_as(sender))
        };
        let (mut announcements, mut withdrawals) = (Chunks::default(), Chunks::default());
        for set in 0..sets {
            let prefixes =
                (set * each..(set + 1) * each).map(prefix).collect::<Result<Vec<_>, _>>()?;
            let attributes = Attributes {
                as_path: AsPath::sequence(path(set)),
                communities: vec![Community(0xfde8_0001)],
                large_communities: vec![LargeCommunity { global: 65_000, local1: 1, local2: set }],
                ..Attributes::default()
            };
            let next_hop = NextHop::V4(super::address(sender));
            let reach = Reach { family: Family::Ipv4Unicast, next_hop, prefixes: prefixes.clone() };
            let update = Update {
                reach: vec![reach],
                attributes: Arc::new(attributes),
                ..Update::default()
            };
            announcements.add(update, &session)?;
            withdrawals.add(Update::withdraw(prefixes), &session)?;
        }
        Ok(Self {
            prefixes: (sets * each) as usize,
            base,
            shift,
            announcements: announcements.0,
            withdrawals: withdrawals.0,
        })
    }
}

/// Whole messages.
#[derive(Default)]
struct Chunks(Vec<Vec<u8>>);

impl Chunks {
    fn add(&mut self, update: Update, session: &Negotiated) -> Result<()> {
        if self.0.last().is_none_or(|chunk| chunk.len() > CHUNK) {
            self.0.push(Vec::with_capacity(CHUNK + 4096));
        }
        if let Some(chunk) = self.0.last_mut() {
            encode(&Message::Update(update), session, chunk)?;
        }
        Ok(())
    }
}

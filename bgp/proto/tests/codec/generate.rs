//! Random messages that have an encoding.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use brindle_bgp_proto::attribute::{
    Aggregator, AsPath, Attributes, Community, LargeCommunity, Origin, Segment, SegmentKind,
    UnknownAttribute,
};
use brindle_bgp_proto::capability::{
    Capability, ExtendedNextHop, GracefulRestart, LongLivedFamily, RestartFamily, Role,
};
use brindle_bgp_proto::family::{AfiSafi, Family};
use brindle_bgp_proto::message::{NextHop, Open, Reach, Update};
use brindle_bgp_proto::negotiated::{Negotiated, PeerKind};
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A prefix of a family, host bits zero.
pub fn prefix(family: Family) -> BoxedStrategy<IpNet> {
    match family {
        Family::Ipv4Unicast => (any::<u32>(), 0..=32_u8)
            .prop_map(|(bits, len)| net(IpAddr::V4(Ipv4Addr::from(bits)), len))
            .boxed(),
        Family::Ipv6Unicast => (any::<u128>(), 0..=128_u8)
            .prop_map(|(bits, len)| net(IpAddr::V6(Ipv6Addr::from(bits)), len))
            .boxed(),
    }
}

fn net(address: IpAddr, len: u8) -> IpNet {
    IpNet::new(address, len).expect("a length of the family").trunc()
}

fn host_v4() -> impl Strategy<Value = Ipv4Addr> {
    (1..=126_u8, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d))
}

fn host_v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<[u16; 7]>().prop_map(|[b, c, d, e, f, g, h]| Ipv6Addr::new(0x2001, b, c, d, e, f, g, h))
}

fn link_local() -> impl Strategy<Value = Ipv6Addr> {
    any::<u64>().prop_map(|id| Ipv6Addr::from((0xfe80_u128 << 112) | u128::from(id)))
}

fn next_hop(family: Family, session: &Negotiated) -> BoxedStrategy<NextHop> {
    let ipv6 = (host_v6(), option::of(link_local()))
        .prop_map(|(global, link_local)| NextHop::V6 { global, link_local });
    let ipv4 = host_v4().prop_map(NextHop::V4);
    match (family, session.extended_next_hop) {
        (Family::Ipv6Unicast, _) => ipv6.boxed(),
        (Family::Ipv4Unicast, true) => prop_oneof![ipv4, ipv6].boxed(),
        (Family::Ipv4Unicast, false) => ipv4.boxed(),
    }
}

fn as_number() -> impl Strategy<Value = u32> {
    prop_oneof![1..=65_535_u32, 65_536..=u32::MAX]
}

/// A path such as the peer may send.
pub fn as_path(kind: PeerKind) -> impl Strategy<Value = AsPath> {
    let kinds = match kind {
        PeerKind::External => vec![SegmentKind::Sequence, SegmentKind::Set],
        PeerKind::Internal => vec![
            SegmentKind::Sequence,
            SegmentKind::Set,
            SegmentKind::ConfedSequence,
            SegmentKind::ConfedSet,
        ],
    };
    let numbers = prop_oneof![9 => vec(as_number(), 1..6), 1 => vec(as_number(), 250..=255)];
    let segment = (proptest::sample::select(kinds), numbers)
        .prop_map(|(kind, numbers)| Segment { kind, numbers });
    vec(segment, 0..4).prop_map(|segments| AsPath { segments })
}

fn unknown() -> impl Strategy<Value = Vec<UnknownAttribute>> {
    let kinds = prop_oneof![Just(11_u8), 19..=31_u8, 36..=254_u8];
    let values = prop_oneof![4 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 250..300)];
    proptest::collection::btree_map(kinds, values, 0..4).prop_map(|map| {
        map.into_iter().map(|(kind, value)| UnknownAttribute { kind, value }).collect()
    })
}

/// Attributes such as a peer of this kind may send.
pub fn attributes(kind: PeerKind) -> impl Strategy<Value = Attributes> {
    let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    let path = (origin, as_path(kind), option::of(any::<u32>()), any::<bool>());
    let aggregator = (as_number(), host_v4())
        .prop_map(|(as_number, router_id)| Aggregator { as_number, router_id });
    let tags = (
        option::of(aggregator),
        vec(any::<u32>().prop_map(Community), 0..70),
        vec(any::<[u8; 8]>(), 0..5),
        proptest::collection::btree_set(any::<[u32; 3]>(), 0..5).prop_map(|set| {
            set.into_iter()
                .map(|[global, local1, local2]| LargeCommunity { global, local1, local2 })
                .collect::<Vec<_>>()
        }),
        option::of(as_number()),
        unknown(),
    );
    let inside = (option::of(any::<u32>()), option::of(host_v4()), vec(host_v4(), 0..4));
    (path, tags, inside).prop_map(move |(path, tags, inside)| {
        let internal = kind == PeerKind::Internal;
        Attributes {
            origin: path.0,
            as_path: path.1,
            med: path.2,
            atomic_aggregate: path.3,
            aggregator: tags.0,
            communities: tags.1,
            extended_communities: tags.2,
            large_communities: tags.3,
            only_to_customer: tags.4,
            unknown: tags.5,
            local_pref: inside.0.filter(|_| internal),
            originator_id: inside.1.filter(|_| internal),
            cluster_list: if internal { inside.2 } else { Vec::new() },
        }
    })
}

/// UPDATEs of a session, up to several messages long.
pub fn update(session: Negotiated) -> impl Strategy<Value = Update> {
    let families = proptest::sample::subsequence(Family::ALL.to_vec(), 0..=2);
    let count = prop_oneof![8 => 0..20_usize, 1 => 1500..2000_usize];
    let withdrawn = (families.clone(), count.clone()).prop_flat_map(|(families, count)| {
        let each: Vec<_> = families.into_iter().map(|f| vec(prefix(f), count)).collect();
        each.prop_map(|all| all.concat())
    });
    let kind = session.peer_kind();
    let reach = (families, count).prop_flat_map(move |(families, count)| {
        let reach = |family: Family| {
            (next_hop(family, &session), vec(prefix(family), count.max(1)))
                .prop_map(move |(next_hop, prefixes)| Reach { family, next_hop, prefixes })
        };
        families.into_iter().map(reach).collect::<Vec<_>>()
    });
    (withdrawn, reach, attributes(kind)).prop_map(|(withdrawn, reach, attributes)| Update {
        withdrawn,
        reach,
        attributes: Arc::new(attributes),
        ..Update::default()
    })
}

fn afi_safi() -> impl Strategy<Value = AfiSafi> {
    prop_oneof![
        Just(Family::Ipv4Unicast.afi_safi()),
        Just(Family::Ipv6Unicast.afi_safi()),
        Just(AfiSafi { afi: 25, safi: 70 }),
    ]
}

fn capability() -> impl Strategy<Value = Capability> {
    let triples = vec((afi_safi(), 1..=2_u16), 1..4).prop_map(|all| {
        let triple = |(family, next_hop_afi)| ExtendedNextHop { family, next_hop_afi };
        Capability::ExtendedNextHop(all.into_iter().map(triple).collect())
    });
    let families = proptest::collection::hash_map(0..3_usize, any::<bool>(), 0..3);
    let restart = (any::<[bool; 2]>(), 0..4096_u16, families).prop_map(|(bits, time, families)| {
        let known = [(1, 1), (2, 1), (25, 70)];
        let family = |(at, forwarding): (usize, bool)| RestartFamily {
            family: AfiSafi { afi: known[at].0, safi: known[at].1 },
            forwarding,
        };
        Capability::GracefulRestart(GracefulRestart {
            restarted: bits[0],
            notification: bits[1],
            restart_time: time,
            families: families.into_iter().map(family).collect(),
        })
    });
    let long_lived = (afi_safi(), any::<bool>(), 0..1_u32 << 24).prop_map(|(family, f, time)| {
        let entry = LongLivedFamily { family, forwarding: f, stale_time: time };
        Capability::LongLivedGracefulRestart(vec![entry])
    });
    prop_oneof![
        afi_safi().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        triples,
        Just(Capability::ExtendedMessage),
        (0..=4_u8).prop_map(|octet| Capability::Role(Role::from_octet(octet))),
        restart,
        Just(Capability::EnhancedRouteRefresh),
        long_lived,
        (vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..20))
            .prop_map(|(host, domain)| Capability::Fqdn { host, domain }),
        (128..=255_u8, vec(any::<u8>(), 0..60))
            .prop_map(|(code, value)| Capability::Unknown { code, value }),
    ]
}

/// OPENs, with and without four octets.
pub fn open() -> impl Strategy<Value = Open> {
    let hold_time = prop_oneof![Just(0_u16), 3..=u16::MAX];
    (as_number(), any::<bool>(), hold_time, host_v4(), vec(capability(), 0..12)).prop_map(
        |(number, four_octets, hold_time, router_id, mut capabilities)| {
            let as_number = if four_octets { number } else { number & 0xfffe | 1 };
            if four_octets {
                capabilities.push(Capability::FourOctetAs(as_number));
            }
            Open { as_number, hold_time, router_id, capabilities }
        },
    )
}

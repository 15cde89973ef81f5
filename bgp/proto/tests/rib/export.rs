//! What a peer is told: rules, and that it ends up with exactly that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_bgp_proto::attribute::{AsPath, Attributes, Community};
use brindle_bgp_proto::family::{Family, FamilySet};
use brindle_bgp_proto::message::{NextHop, Update};
use brindle_bgp_proto::negotiated::Negotiated;
use brindle_bgp_proto::rib::{Local, Origin, PeerId, PeerSession, Rib};
use ipnet::IpNet;
use proptest::prelude::*;

use crate::fixture::*;

/// Everything that waits for a peer.
fn told(rib: &mut Rib, id: PeerId, session: &PeerSession) -> Receiver {
    let mut receiver = Receiver::default();
    receiver.receive(rib, id, &session.negotiated, usize::MAX);
    receiver
}

#[test]
fn what_we_originate_goes_to_everyone() {
    let (external, internal) = (session(1, external_as(1)), session(2, LOCAL_AS));
    let mut rib = Rib::new(local());
    rib.peer_up(PeerId(1), external.clone());
    rib.peer_up(PeerId(2), internal.clone());
    rib.originate(net("10.65.0.0/26"), Origin::default());
    rib.originate(net("2001:db8:65::/122"), Origin::default());

    let outside = told(&mut rib, PeerId(1), &external);
    let (next_hop, attributes) = &outside.routes[&net("10.65.0.0/26")];
    assert_eq!(next_hop.address(), address("192.0.2.10"));
    assert_eq!(attributes.as_path, AsPath::sequence([LOCAL_AS]));
    assert_eq!(attributes.local_pref, None, "RFC 4271 §5.1.5");
    let (next_hop, _) = &outside.routes[&net("2001:db8:65::/122")];
    assert_eq!(next_hop.address(), address("2001:db8::10"));

    let inside = told(&mut rib, PeerId(2), &internal);
    let (_, attributes) = &inside.routes[&net("10.65.0.0/26")];
    assert_eq!((attributes.as_path.is_empty(), attributes.local_pref), (true, Some(100)));
}

/// A node between two top-of-rack routers.
#[test]
fn nothing_learned_goes_out_by_default() {
    let mut rib = rib_with_peers(2);
    let internal = session(3, LOCAL_AS);
    rib.peer_up(PeerId(3), internal.clone());
    rib.update(PeerId(1), &announce(1, attributes(1), &[net("10.1.0.0/26")]));
    let external = session(2, external_as(2));
    assert!(told(&mut rib, PeerId(2), &external).routes.is_empty());
    assert!(told(&mut rib, PeerId(3), &internal).routes.is_empty());
}

/// From external 1, internal 2, to external 3, internal 4, all of which take transit.
fn transit_rib() -> (Rib, [PeerSession; 4]) {
    let sessions = [
        transit(1, external_as(1)),
        transit(2, LOCAL_AS),
        transit(3, external_as(3)),
        transit(4, LOCAL_AS),
    ];
    let mut rib = Rib::new(local());
    for (id, session) in (1..).zip(&sessions) {
        rib.peer_up(PeerId(id), session.clone());
    }
    (rib, sessions)
}

#[test]
fn transit_follows_the_rules_of_the_as_border() {
    let (mut rib, sessions) = transit_rib();
    let mut rich = Attributes { med: Some(5), ..attributes(1) };
    rich.communities = vec![Community(7)];
    rib.update(PeerId(1), &announce(1, rich, &[net("10.1.0.0/26")]));
    let mut inner = Attributes { local_pref: Some(200), ..Attributes::default() };
    inner.originator_id = Some("10.0.0.77".parse().expect("an id"));
    inner.cluster_list = vec!["10.0.0.78".parse().expect("an id")];
    rib.update(PeerId(2), &announce(2, inner, &[net("10.2.0.0/26")]));

    let outside = told(&mut rib, PeerId(3), &sessions[2]);
    let (next_hop, attributes) = &outside.routes[&net("10.1.0.0/26")];
    assert_eq!(next_hop.address(), address("192.0.2.10"), "next hop self");
    assert_eq!(attributes.as_path.to_string(), "65010 65101 65500");
    assert_eq!(attributes.med, None, "RFC 4271 §5.1.4");
    assert_eq!(attributes.communities, [Community(7)]);
    let (_, attributes) = &outside.routes[&net("10.2.0.0/26")];
    assert_eq!(attributes.as_path.to_string(), "65010");
    assert_eq!((attributes.local_pref, attributes.originator_id), (None, None));
    assert!(attributes.cluster_list.is_empty());

    let inside = told(&mut rib, PeerId(4), &sessions[3]);
    let (next_hop, attributes) = &inside.routes[&net("10.1.0.0/26")];
    assert_eq!(next_hop.address(), address("192.0.2.1"), "unchanged inside");
    assert_eq!(attributes.as_path.to_string(), "65101 65500");
    assert_eq!((attributes.local_pref, attributes.med), (Some(100), Some(5)));
    assert!(!inside.routes.contains_key(&net("10.2.0.0/26")), "RFC 4271 §9.2: iBGP to iBGP");

    let back = told(&mut rib, PeerId(1), &sessions[0]);
    assert!(!back.routes.contains_key(&net("10.1.0.0/26")), "never back to who said it");
}

#[test]
fn well_known_communities_hold_routes_back() {
    let cases = [
        (Community::NO_EXPORT, false, true),
        (Community::NO_EXPORT_SUBCONFED, false, true),
        (Community::NO_ADVERTISE, false, false),
        (Community(1), true, true),
    ];
    for (community, outside, inside) in cases {
        let (mut rib, sessions) = transit_rib();
        let marked = Attributes { communities: vec![community], ..attributes(1) };
        rib.update(PeerId(1), &announce(1, marked, &[net("10.1.0.0/26")]));
        let mut has = |n: usize| {
            let id = PeerId(u32::try_from(n).expect("small") + 1);
            !told(&mut rib, id, &sessions[n]).routes.is_empty()
        };
        assert_eq!((has(2), has(3)), (outside, inside), "{community:?}");
    }
}

/// RFC 4271 §5.1.3: never the peer's own address; and of a family that the session knows.
#[test]
fn next_hops_suit_the_peer() {
    let v4 = net("10.65.0.0/26");
    let v6 = net("2001:db8:65::/122");
    let hops = |local: Local, session: PeerSession| {
        let mut rib = Rib::new(local);
        rib.peer_up(PeerId(1), session.clone());
        rib.originate(v4, Origin::default());
        rib.originate(v6, Origin::default());
        let told = told(&mut rib, PeerId(1), &session);
        [v4, v6].map(|prefix| told.routes.get(&prefix).map(|(hop, _)| hop.address()))
    };
    let nowhere = Local { next_hop_ipv4: None, next_hop_ipv6: None, ..local() };
    let base = session(1, external_as(1));
    let over_v6 = PeerSession {
        peer_address: address("2001:db8::1"),
        local_address: address("2001:db8::10"),
        ..base.clone()
    };
    let own = Some(address("192.0.2.10"));
    let own_v6 = Some(address("2001:db8::10"));
    assert_eq!(hops(local(), base.clone()), [own, own_v6]);
    assert_eq!(hops(nowhere.clone(), base.clone()), [own, None], "the session's own address");
    assert_eq!(hops(nowhere.clone(), over_v6.clone()), [None, own_v6]);
    let extended = PeerSession {
        negotiated: Negotiated { extended_next_hop: true, ..over_v6.negotiated.clone() },
        ..over_v6
    };
    assert_eq!(hops(nowhere, extended), [own_v6, own_v6], "RFC 8950");
    // Our configured next hop is the peer itself: the session's address is left.
    let theirs = Local { next_hop_ipv4: Some(address("192.0.2.1")), ..local() };
    assert_eq!(hops(theirs.clone(), base.clone()), [own, own_v6]);
    let same = PeerSession { local_address: address("192.0.2.1"), ..base };
    assert_eq!(hops(theirs, same), [None, own_v6], "no next hop, no route");
}

#[test]
fn prefixes_of_one_attribute_set_share_messages() {
    let mut rib = rib_with_peers(1);
    for i in 0..5000_u32 {
        rib.originate(
            IpNet::new(std::net::Ipv4Addr::from(0x0a00_0000 + (i << 6)).into(), 26)
                .expect("a prefix"),
            Origin::default(),
        );
    }
    let peer = told(&mut rib, PeerId(1), &session(1, external_as(1)));
    assert_eq!(peer.routes.len(), 5000);
    // 5 octets each, 4,096 a message.
    assert!(peer.messages <= 5000 * 5 / 4000 + 1, "{} messages", peer.messages);
}

#[test]
fn attributes_too_long_for_a_peer_withdraw() {
    let (mut rib, sessions) = transit_rib();
    let prefix = net("10.1.0.0/26");
    rib.update(PeerId(1), &announce(1, attributes(1), &[prefix]));
    let mut peer = Receiver::default();
    peer.receive(&mut rib, PeerId(3), &sessions[2].negotiated, usize::MAX);
    assert_eq!(peer.routes.len(), 1);
    let long = Attributes { communities: vec![Community(1); 2000], ..attributes(1) };
    rib.update(PeerId(1), &announce(1, long, &[prefix, net("10.2.0.0/26")]));
    peer.receive(&mut rib, PeerId(3), &sessions[2].negotiated, usize::MAX);
    assert_eq!((peer.routes.len(), peer.withdrawn), (0, 1), "what it has is no longer true");
}

#[test]
fn a_refresh_sends_everything_again() {
    let mut rib = rib_with_peers(1);
    let session = session(1, external_as(1));
    rib.originate(net("10.65.0.0/26"), Origin::default());
    rib.originate(net("2001:db8:65::/122"), Origin::default());
    let mut peer = Receiver::default();
    peer.receive(&mut rib, PeerId(1), &session.negotiated, usize::MAX);
    rib.refresh(PeerId(1), Family::Ipv4Unicast);
    peer.receive(&mut rib, PeerId(1), &session.negotiated, usize::MAX);
    assert_eq!(peer.announced, 3, "one family only");
    // Withdrawn while the refresh waits: announced no more, withdrawn once.
    rib.refresh(PeerId(1), Family::Ipv4Unicast);
    rib.withdraw(net("10.65.0.0/26"));
    peer.receive(&mut rib, PeerId(1), &session.negotiated, usize::MAX);
    assert_eq!((peer.announced, peer.withdrawn), (3, 1));
}

/// One step of a life with peers that take transit.
#[derive(Clone, Debug)]
enum Step {
    Announce { from: u8, prefix: u8, med: u32 },
    Withdraw { from: u8, prefix: u8 },
    Originate(u8),
    Unoriginate(u8),
    SetLocal(bool),
    Refresh(u8),
    Bounce(u8),
    Receive { peer: u8, limit: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (peer, prefix) = (1..=4_u8, 0..12_u8);
    prop_oneof![
        6 => (1..=2_u8, prefix.clone(), 0..3_u32)
            .prop_map(|(from, prefix, med)| Step::Announce { from, prefix, med }),
        3 => (1..=2_u8, prefix.clone()).prop_map(|(from, prefix)| Step::Withdraw { from, prefix }),
        2 => prefix.clone().prop_map(Step::Originate),
        2 => prefix.prop_map(Step::Unoriginate),
        1 => any::<bool>().prop_map(Step::SetLocal),
        1 => peer.clone().prop_map(Step::Refresh),
        1 => peer.clone().prop_map(Step::Bounce),
        4 => (peer, 1..4_usize).prop_map(|(peer, limit)| Step::Receive { peer, limit }),
    ]
}

fn block(i: u8) -> IpNet {
    match i % 2 {
        0 => net(&format!("10.{i}.0.0/16")),
        _ => net(&format!("2001:db8:{i:x}::/48")),
    }
}

/// Attributes that peers 1 (outside) and 2 (inside) may send.
fn from_peer(from: u8, med: u32) -> Attributes {
    let med = Some(med);
    match from {
        1 => Attributes { med, communities: vec![Community(1)], ..attributes(1) },
        _ => Attributes { med, local_pref: Some(99), ..Attributes::default() },
    }
}

fn routes(receiver: &Receiver) -> BTreeSet<(IpNet, NextHop, Arc<Attributes>)> {
    receiver.routes.iter().map(|(p, (hop, a))| (*p, *hop, a.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// However changes and messages interleave, each peer ends with what a new session of the
    /// same kind would be sent, and is never sent a withdrawal of what it does not have
    /// (the receiver checks).
    #[test]
    fn every_peer_ends_with_a_fresh_export(steps in prop::collection::vec(step(), 1..80)) {
        let (mut rib, sessions) = transit_rib();
        rib.set_in_sync();
        let mut receivers = vec![Receiver::default(); 4];
        for step in &steps {
            match *step {
                Step::Announce { from, prefix, med } => {
                    let update = announce(from, from_peer(from, med), &[block(prefix)]);
                    rib.update(PeerId(from.into()), &update);
                }
                Step::Withdraw { from, prefix } => {
                    rib.update(PeerId(from.into()), &Update::withdraw(vec![block(prefix)]));
                }
                Step::Originate(i) => rib.originate(block(i), Origin::default()),
                Step::Unoriginate(i) => rib.withdraw(block(i)),
                Step::SetLocal(other) => {
                    let hop = address(if other { "192.0.2.11" } else { "192.0.2.10" });
                    rib.set_local(Local { next_hop_ipv4: Some(hop), ..local() });
                }
                Step::Refresh(peer) => rib.refresh(PeerId(peer.into()), Family::Ipv4Unicast),
                Step::Bounce(peer) => {
                    let at = usize::from(peer) - 1;
                    rib.peer_down(PeerId(peer.into()), FamilySet::ALL);
                    rib.peer_up(PeerId(peer.into()), sessions[at].clone());
                    receivers[at] = Receiver::default();
                }
                Step::Receive { peer, limit } => {
                    let at = usize::from(peer) - 1;
                    let session = &sessions[at].negotiated;
                    receivers[at].receive(&mut rib, PeerId(peer.into()), session, limit);
                }
            }
        }
        for (at, session) in sessions.iter().enumerate() {
            let id = PeerId(u32::try_from(at).expect("small") + 1);
            let receiver = &mut receivers[at];
            receiver.receive(&mut rib, id, &session.negotiated, usize::MAX);
            let advertised = rib.advertised(id).into_iter().map(|route| (route.prefix, (route.next_hop, route.attributes)));
            prop_assert_eq!(advertised.collect::<BTreeMap<_, _>>(), receiver.routes.clone());
            prop_assert_eq!(&receiver.end_of_rib, &Family::ALL);
        }
        // A new peer of either kind beside the old ones, which are 3 and 4: they send nothing.
        for (fresh, old) in [(transit(33, external_as(33)), 2), (transit(44, LOCAL_AS), 3)] {
            let id = PeerId(100 + u32::try_from(old).expect("small"));
            rib.peer_up(id, fresh.clone());
            let fresh = told(&mut rib, id, &fresh);
            prop_assert_eq!(routes(&fresh), routes(&receivers[old]));
        }
    }
}

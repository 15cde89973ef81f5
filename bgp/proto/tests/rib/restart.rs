//! Stale routes while a peer restarts (RFC 4724 §4.2), and our own End-of-RIB (§4.1).

use brindle_bgp_proto::attribute::{AsPath, Attributes, Community};
use brindle_bgp_proto::family::{Family, FamilySet};
use brindle_bgp_proto::rib::{Origin, PeerId, Rib, RibEvent};

use crate::fixture::*;

const PEER: PeerId = PeerId(1);

fn with_two_routes() -> Rib {
    let mut rib = rib_with_peers(1);
    rib.update(PEER, &announce(1, attributes(1), &[net("10.1.0.0/26"), net("10.2.0.0/26")]));
    rib.update(PEER, &announce(1, attributes(1), &[net("2001:db8:1::/122")]));
    while rib.poll_event().is_some() {}
    rib
}

fn ipv4() -> FamilySet {
    [Family::Ipv4Unicast].into_iter().collect()
}

#[test]
fn stale_routes_stay_until_the_sweep() {
    let mut rib = with_two_routes();
    rib.peer_down(PEER, ipv4());
    let prefix = net("2001:db8:1::/122");
    assert_eq!(rib.poll_event(), Some(RibEvent::Withdrawn { prefix }), "only IPv6 goes");
    assert_eq!(rib.poll_event(), None);
    assert_eq!(rib.counts(PEER, Family::Ipv4Unicast).stale, 2);

    rib.peer_up(PEER, session(1, external_as(1)));
    rib.update(PEER, &announce(1, attributes(1), &[net("10.1.0.0/26")]));
    assert_eq!(rib.poll_event(), None, "nothing changed for forwarding");
    assert_eq!(rib.counts(PEER, Family::Ipv4Unicast).stale, 1);

    rib.sweep(PEER, Family::Ipv4Unicast);
    let prefix = net("10.2.0.0/26");
    assert_eq!(rib.poll_event(), Some(RibEvent::Withdrawn { prefix }));
    assert_eq!(rib.poll_event(), None);
    assert_eq!(rib.counts(PEER, Family::Ipv4Unicast).accepted, 1);
}

#[test]
fn a_second_restart_ends_the_time_of_stale_routes() {
    let mut rib = with_two_routes();
    rib.peer_down(PEER, ipv4());
    rib.peer_up(PEER, session(1, external_as(1)));
    rib.update(PEER, &announce(1, attributes(1), &[net("10.1.0.0/26")]));
    rib.peer_down(PEER, ipv4());
    let counts = rib.counts(PEER, Family::Ipv4Unicast);
    assert_eq!((counts.received, counts.stale), (1, 1), "only the route of the second session");
}

#[test]
fn without_keeping_everything_goes() {
    let mut rib = with_two_routes();
    rib.peer_down(PEER, FamilySet::NONE);
    let gone: Vec<_> = std::iter::from_fn(|| rib.poll_event()).collect();
    assert_eq!(gone.len(), 3);
    assert!(gone.iter().all(|event| matches!(event, RibEvent::Withdrawn { .. })));
    rib.update(PEER, &announce(1, attributes(1), &[net("10.1.0.0/26")]));
    assert_eq!(rib.poll_event(), None, "a peer that is not up says nothing");
    assert_eq!(rib.learned_prefixes(), 0);
}

#[test]
fn end_of_rib_waits_for_our_sources_and_comes_once() {
    let mut rib = rib_with_peers(1);
    let session = session(1, external_as(1));
    let mut peer = Receiver::default();
    rib.originate(net("10.65.0.0/26"), Origin::default());
    peer.receive(&mut rib, PEER, &session.negotiated, usize::MAX);
    assert_eq!((peer.routes.len(), peer.end_of_rib.len()), (1, 0), "not in sync yet");

    rib.originate(net("2001:db8:65::/122"), Origin::default());
    rib.set_in_sync();
    peer.receive(&mut rib, PEER, &session.negotiated, 1);
    assert_eq!((peer.routes.len(), peer.end_of_rib.len()), (2, 0), "routes first");
    peer.receive(&mut rib, PEER, &session.negotiated, usize::MAX);
    assert_eq!(peer.end_of_rib, Family::ALL);
    assert!(rib.counts(PEER, Family::Ipv6Unicast).end_of_rib_sent);

    rib.originate(net("10.66.0.0/26"), Origin::default());
    peer.receive(&mut rib, PEER, &session.negotiated, usize::MAX);
    assert_eq!((peer.routes.len(), peer.end_of_rib.len()), (3, 2), "never again");
}

/// What a peer has of a prefix: its standard communities.
fn told(rib: &mut Rib, to: u32, prefix: &str) -> Option<Vec<Community>> {
    while rib.poll_updates(PeerId(to)).is_some() {}
    let routes = rib.advertised(PeerId(to));
    let route = routes.into_iter().find(|route| route.prefix == net(prefix))?;
    Some(route.attributes.communities.clone())
}

#[test]
fn after_the_restart_time_routes_are_the_last_resort() {
    let mut rib = rib_with_peers(2);
    for (n, knows) in [(3, true), (4, false)] {
        let mut session = transit(n, external_as(n));
        session.negotiated.long_lived_restart = knows;
        rib.peer_up(PeerId(n.into()), session);
    }
    let as_path = AsPath::sequence([external_as(2), 9, 9, 9]);
    let longer = Attributes { as_path, ..attributes(2) };
    let refused = Attributes { communities: vec![Community::NO_LLGR], ..attributes(1) };
    rib.update(PEER, &announce(1, attributes(1), &[net("10.1.0.0/26"), net("10.2.0.0/26")]));
    rib.update(PEER, &announce(1, refused, &[net("10.3.0.0/26")]));
    rib.update(PeerId(2), &announce(2, longer, &[net("10.1.0.0/26")]));
    while rib.poll_event().is_some() {}
    rib.peer_down(PEER, FamilySet::ALL);
    assert_eq!(rib.poll_event(), None, "the restart time changes nothing");
    assert_eq!(told(&mut rib, 4, "10.2.0.0/26"), Some(Vec::new()));

    rib.keep_for_long(PEER, Family::Ipv4Unicast);
    let events: Vec<_> = std::iter::from_fn(|| rib.poll_event()).collect();
    let [RibEvent::Best { prefix, paths }, RibEvent::Withdrawn { prefix: gone }] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*prefix, paths.len(), paths[0].peer), (net("10.1.0.0/26"), 1, PeerId(2)));
    assert_eq!(*gone, net("10.3.0.0/26"), "NO_LLGR");
    assert_eq!(told(&mut rib, 3, "10.2.0.0/26"), Some(vec![Community::LLGR_STALE]));
    assert_eq!(told(&mut rib, 4, "10.2.0.0/26"), None, "it would take it for a fresh one");
    assert_eq!(told(&mut rib, 4, "10.1.0.0/26"), Some(Vec::new()));

    // It is back and says one of them again.
    rib.peer_up(PEER, session(1, external_as(1)));
    rib.update(PEER, &announce(1, attributes(1), &[net("10.1.0.0/26")]));
    rib.sweep(PEER, Family::Ipv4Unicast);
    let events: Vec<_> = std::iter::from_fn(|| rib.poll_event()).collect();
    let [RibEvent::Best { paths, .. }, RibEvent::Withdrawn { prefix }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((paths[0].peer, *prefix), (PEER, net("10.2.0.0/26")));
}

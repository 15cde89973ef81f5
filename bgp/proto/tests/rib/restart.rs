//! Stale routes while a peer restarts (RFC 4724 §4.2), and our own End-of-RIB (§4.1).

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

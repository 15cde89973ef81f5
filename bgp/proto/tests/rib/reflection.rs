//! A node as route reflector (RFC 4456): who is told what, and with which attributes.

use std::net::Ipv4Addr;

use brindle_bgp_proto::attribute::Attributes;
use brindle_bgp_proto::policy::PeerPolicy;
use brindle_bgp_proto::rib::{Local, PeerId, PeerSession, Rejection, Rib};

use crate::fixture::*;

const CLIENTS: [u8; 2] = [1, 2];
const OTHERS: [u8; 2] = [3, 4];
const EXTERNAL: u8 = 5;

fn client(n: u8) -> PeerSession {
    let policy = PeerPolicy { reflector_client: true, ..PeerPolicy::default() };
    PeerSession { policy, ..session(n, LOCAL_AS) }
}

/// Two clients, two internal peers that are none, and an external one.
fn reflector() -> (Rib, Vec<PeerSession>) {
    let mut rib = Rib::new(local());
    let mut sessions: Vec<_> = CLIENTS.into_iter().map(client).collect();
    sessions.extend(OTHERS.map(|n| session(n, LOCAL_AS)));
    sessions.push(session(EXTERNAL, external_as(EXTERNAL)));
    for (id, session) in (1..).zip(&sessions) {
        rib.peer_up(PeerId(id), session.clone());
    }
    (rib, sessions)
}

/// Who of all has a prefix.
fn told(rib: &mut Rib, sessions: &[PeerSession], prefix: &str) -> Vec<u32> {
    let has = |(id, session): (u32, &PeerSession)| {
        let mut receiver = Receiver::default();
        receiver.receive(rib, PeerId(id), &session.negotiated, usize::MAX);
        receiver.routes.contains_key(&net(prefix)).then_some(id)
    };
    (1..).zip(sessions).filter_map(has).collect()
}

#[test]
fn what_a_client_tells_goes_inside_and_what_others_tell_goes_to_clients() {
    for (from, prefix, expected) in [
        (1, "10.1.0.0/26", vec![2, 3, 4]),
        (3, "10.3.0.0/26", vec![1, 2]),
        (EXTERNAL, "10.5.0.0/26", vec![1, 2]),
    ] {
        let (mut rib, sessions) = reflector();
        let said = if from == EXTERNAL { attributes(from) } else { Attributes::default() };
        rib.update(PeerId(from.into()), &announce(from, said, &[net(prefix)]));
        assert_eq!(told(&mut rib, &sessions, prefix), expected, "from {from}");
    }
}

#[test]
fn what_is_reflected_keeps_its_attributes_and_says_who_began() {
    let (mut rib, sessions) = reflector();
    let said = Attributes { local_pref: Some(200), med: Some(5), ..Attributes::default() };
    rib.update(PeerId(1), &announce(1, said, &[net("10.1.0.0/26")]));
    let mut receiver = Receiver::default();
    receiver.receive(&mut rib, PeerId(3), &sessions[2].negotiated, usize::MAX);
    let (next_hop, attributes) = &receiver.routes[&net("10.1.0.0/26")];
    assert_eq!(next_hop.address(), address("192.0.2.1"), "RFC 4456 §10");
    assert_eq!((attributes.local_pref, attributes.med), (Some(200), Some(5)));
    assert!(attributes.as_path.is_empty());
    assert_eq!(attributes.originator_id, Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!(attributes.cluster_list, [local().cluster_id]);
}

#[test]
fn the_first_originator_stays_and_never_hears_of_it() {
    let far = Ipv4Addr::new(10, 9, 9, 9);
    let originator = Some(Ipv4Addr::new(10, 0, 0, 2));
    let said =
        Attributes { originator_id: originator, cluster_list: vec![far], ..Attributes::default() };
    let update = announce(3, said, &[net("10.1.0.0/26")]);
    let (mut rib, sessions) = reflector();
    rib.update(PeerId(3), &update);
    assert_eq!(told(&mut rib, &sessions, "10.1.0.0/26"), [1], "client 2 began it");

    let (mut rib, sessions) = reflector();
    rib.update(PeerId(3), &update);
    let mut receiver = Receiver::default();
    receiver.receive(&mut rib, PeerId(1), &sessions[0].negotiated, usize::MAX);
    let (_, attributes) = &receiver.routes[&net("10.1.0.0/26")];
    assert_eq!(attributes.originator_id, originator);
    assert_eq!(attributes.cluster_list, [local().cluster_id, far]);
}

#[test]
fn a_loop_through_our_cluster_is_not_used() {
    let cluster_id = Ipv4Addr::new(10, 7, 7, 7);
    let mut rib = Rib::new(Local { cluster_id, ..local() });
    rib.peer_up(PeerId(1), client(1));
    let said = Attributes { cluster_list: vec![cluster_id], ..Attributes::default() };
    rib.update(PeerId(1), &announce(1, said, &[net("10.1.0.0/26")]));
    let received = rib.received(PeerId(1));
    assert_eq!(received[0].rejection, Some(Rejection::OwnCluster));
}

/// The next hop of a reflected route is not bent to the reflector.
#[test]
fn a_client_is_not_told_of_itself_as_next_hop() {
    let (mut rib, sessions) = reflector();
    // Peer 3 tells of a route over client 2.
    rib.update(PeerId(3), &announce(2, Attributes::default(), &[net("10.1.0.0/26")]));
    assert_eq!(told(&mut rib, &sessions[..2], "10.1.0.0/26"), [1]);
}

#[test]
fn a_session_that_becomes_a_client_is_told_at_once() {
    let (mut rib, sessions) = reflector();
    rib.update(PeerId(3), &announce(3, Attributes::default(), &[net("10.3.0.0/26")]));
    let mut receiver = Receiver::default();
    receiver.receive(&mut rib, PeerId(4), &sessions[3].negotiated, usize::MAX);
    assert!(receiver.routes.is_empty());
    rib.set_policy(PeerId(4), client(4).policy);
    receiver.receive(&mut rib, PeerId(4), &sessions[3].negotiated, usize::MAX);
    assert_eq!(receiver.routes.len(), 1);
    rib.set_policy(PeerId(4), PeerPolicy::default());
    receiver.receive(&mut rib, PeerId(4), &sessions[3].negotiated, usize::MAX);
    assert!(receiver.routes.is_empty());
}

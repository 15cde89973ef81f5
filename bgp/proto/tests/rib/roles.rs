//! Only to Customer, clause by clause (RFC 9234 §5).

use brindle_bgp_proto::attribute::Attributes;
use brindle_bgp_proto::capability::Role;
use brindle_bgp_proto::rib::{Origin, PeerId, PeerSession, Rejection, Rib};

use crate::fixture::*;

const PREFIX: &str = "10.1.0.0/26";
/// A mark of neither side.
const FAR: u32 = 65_999;

/// External peer `n`, to which we have a role, and which is told everything.
fn external(n: u8, role: Option<Role>) -> PeerSession {
    PeerSession { role, ..transit(n, external_as(n)) }
}

fn marked(only_to_customer: Option<u32>) -> Attributes {
    Attributes { only_to_customer, ..attributes(1) }
}

/// What becomes of a route of peer 1: why it is not used, or how it is marked.
fn taken(role: Option<Role>, mark: Option<u32>) -> Result<Option<u32>, Rejection> {
    let mut rib = Rib::new(local());
    rib.peer_up(PeerId(1), external(1, role));
    rib.update(PeerId(1), &announce(1, marked(mark), &[net(PREFIX)]));
    match rib.received(PeerId(1))[0].rejection {
        Some(rejection) => Err(rejection),
        None => {
            let routes: Vec<_> = rib.routes().collect();
            Ok(routes[0].paths[0].attributes.only_to_customer)
        }
    }
}

#[test]
fn what_comes_in() {
    let theirs = external_as(1);
    let leak = Err(Rejection::RouteLeak);
    for (role, unmarked, by_them, by_others) in [
        (None, Ok(None), Ok(Some(theirs)), Ok(Some(FAR))),
        // From a customer, or a client of a route server.
        (Some(Role::Provider), Ok(None), leak, leak),
        (Some(Role::RouteServer), Ok(None), leak, leak),
        // From a lateral peer.
        (Some(Role::Peer), Ok(Some(theirs)), Ok(Some(theirs)), leak),
        // From a provider, or a route server.
        (Some(Role::Customer), Ok(Some(theirs)), Ok(Some(theirs)), Ok(Some(FAR))),
        (Some(Role::RouteServerClient), Ok(Some(theirs)), Ok(Some(theirs)), Ok(Some(FAR))),
    ] {
        assert_eq!(taken(role, None), unmarked, "{role:?}");
        assert_eq!(taken(role, Some(theirs)), by_them, "{role:?}");
        assert_eq!(taken(role, Some(FAR)), by_others, "{role:?}");
    }
}

/// How a route reaches peer 2: not at all, or marked so.
fn told(role: Option<Role>, mark: Option<u32>) -> Option<Option<u32>> {
    let mut rib = Rib::new(local());
    rib.peer_up(PeerId(1), external(1, None));
    let to = external(2, role);
    rib.peer_up(PeerId(2), to.clone());
    rib.update(PeerId(1), &announce(1, marked(mark), &[net(PREFIX)]));
    rib.originate(net("10.65.0.0/26"), Origin::default());
    let mut receiver = Receiver::default();
    receiver.receive(&mut rib, PeerId(2), &to.negotiated, usize::MAX);
    let (_, ours) = &receiver.routes[&net("10.65.0.0/26")];
    let from_above = matches!(role, Some(Role::Provider | Role::RouteServer | Role::Peer));
    assert_eq!(ours.only_to_customer, from_above.then_some(LOCAL_AS), "what is ours: {role:?}");
    let route = receiver.routes.get(&net(PREFIX));
    route.map(|(_, attributes)| attributes.only_to_customer)
}

#[test]
fn what_goes_out() {
    for (role, unmarked, marked) in [
        (None, Some(None), Some(Some(FAR))),
        // To a customer, or a client of a route server.
        (Some(Role::Provider), Some(Some(LOCAL_AS)), Some(Some(FAR))),
        (Some(Role::RouteServer), Some(Some(LOCAL_AS)), Some(Some(FAR))),
        // To a lateral peer.
        (Some(Role::Peer), Some(Some(LOCAL_AS)), None),
        // To a provider, or a route server.
        (Some(Role::Customer), Some(None), None),
        (Some(Role::RouteServerClient), Some(None), None),
    ] {
        assert_eq!(told(role, None), unmarked, "{role:?}");
        assert_eq!(told(role, Some(FAR)), marked, "{role:?}");
    }
}

#[test]
fn roles_fit_as_the_table_of_the_rfc_says() {
    use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient, Unassigned};
    let fitting = [
        (Provider, Customer),
        (Customer, Provider),
        (RouteServer, RouteServerClient),
        (RouteServerClient, RouteServer),
        (Peer, Peer),
    ];
    let all = [Provider, Customer, RouteServer, RouteServerClient, Peer, Unassigned(9)];
    for ours in all {
        for theirs in all {
            assert_eq!(ours.fits(theirs), fitting.contains(&(ours, theirs)), "{ours} {theirs}");
        }
    }
}

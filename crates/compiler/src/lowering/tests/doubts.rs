//! What is in doubt matches nothing in an Allow and everything in a Deny (A13, decision 0013).

use std::sync::Arc;

use brindle_model::NamespacedName;
use brindle_model::cluster::{EndpointSlice, NetworkSet, NetworkSetId, Node};

use super::*;

/// A world in which the network set `app: bad`, a slice of Service `shop/api` and the node
/// `rack: a` are incomplete.
fn doubtful() -> World {
    let mut world = World::default();
    let id = NetworkSetId { namespace: None, name: "bad".into() };
    let labels = [("app", "bad")].into_iter().collect();
    let set = NetworkSet { labels, incomplete: true, ..NetworkSet::default() };
    world.network_sets.note(id, Some(Arc::new(set)));
    let slice =
        EndpointSlice { service: "api".into(), incomplete: true, ..EndpointSlice::default() };
    world.slices.note(NamespacedName::new("shop", "api-1"), Some(Arc::new(slice)));
    let labels = [("rack", "a")].into_iter().collect();
    let node = Node { labels, incomplete: true, ..Node::default() };
    world.nodes.note("n1".into(), Some(Arc::new(node)));
    world.advance();
    world
}

/// The lines of an ingress rule, each with its action.
fn lines(direction: Direction, action: Action, criteria: Criteria) -> Vec<String> {
    let lowered = lowered_in(&doubtful(), direction, action, criteria);
    let actions = lowered.rules.rules(direction).iter().map(|rule| rule.action);
    actions.zip(text(&lowered)).map(|(action, line)| format!("{action} {line}")).collect()
}

fn from(action: Action, source: End) -> Vec<String> {
    let ends = Ends { source, ..Ends::default() };
    lines(Direction::Ingress, action, Criteria::Ends(Arc::new(ends)))
}

fn to(action: Action, destination: End) -> Vec<String> {
    let ends = Ends { destination, ..Ends::default() };
    lines(Direction::Egress, action, Criteria::Ends(Arc::new(ends)))
}

#[test]
fn a_selector() {
    let bad = || End { selector: Some(app("bad").into()), ..End::default() };
    let (pods, sets) = ("pods app == \"bad\"", "network sets app == \"bad\"");
    for action in [Action::Allow, Action::Log] {
        let surely = [pods, sets].map(|set| format!("{action} any from({set}; )"));
        assert_eq!(from(action, bad()), surely);
    }
    let perhaps = [format!("deny any from({pods}; )"), "deny any".to_owned()];
    assert_eq!(from(Action::Deny, bad()), perhaps);
    let passed = [pods, sets].map(|set| format!("pass any from({set}; )"));
    assert_eq!(from(Action::Pass, bad()), [passed, perhaps].concat());
    // The other criteria of the end hold all the same; a port name is a pod's alone.
    let ports = Some([EndPort::Range(80.into()), EndPort::Named("web".into())].into());
    let some = End { ports, nets: Some(["10.0.0.0/8".parse().unwrap()].into()), ..bad() };
    assert_eq!(from(Action::Deny, some)[1], "deny V4 any from(nets 10.0.0.0/8; 80)");
    let named = End { ports: Some([EndPort::Named("web".into())].into()), ..bad() };
    assert_eq!(from(Action::Deny, named).len(), 1);
    // Nothing is in doubt about other sets.
    let good = || End { selector: Some(app("good").into()), ..End::default() };
    assert_eq!(from(Action::Deny, good()).len(), 2);
    assert_eq!(from(Action::Pass, good()).len(), 2);
}

#[test]
fn a_negated_selector() {
    let not_bad = || End { not_selector: Some(app("bad").into()), ..End::default() };
    for action in [Action::Allow, Action::Log] {
        assert_eq!(from(action, not_bad()), [""; 0]);
    }
    let perhaps = "any from(!pods app == \"bad\" & !network sets app == \"bad\"; )";
    assert_eq!(from(Action::Deny, not_bad()), [format!("deny {perhaps}")]);
    assert_eq!(from(Action::Pass, not_bad()), [format!("deny {perhaps}")]);
}

#[test]
fn a_service() {
    let service = |name| {
        let service = Some(NamespacedName::new("shop", name).into());
        End { service, ..End::default() }
    };
    let addresses = "any from(addresses of service shop/api; )";
    assert_eq!(from(Action::Allow, service("api")), [format!("allow {addresses}")]);
    assert_eq!(from(Action::Deny, service("api")), ["deny any"]);
    assert_eq!(
        from(Action::Pass, service("api")),
        [format!("pass {addresses}"), "deny any".to_owned()]
    );
    assert_eq!(to(Action::Allow, service("api")), ["allow any to(; ports of service shop/api)"]);
    // A packet without ports is to no port of a Service, whatever that may be.
    assert_eq!(to(Action::Deny, service("api")), ["deny any to(; 0-65535)"]);
    assert_eq!(to(Action::Deny, service("db")), ["deny any to(; ports of service shop/db)"]);
}

#[test]
fn nodes() {
    let peers = |rack| {
        let peers = vec![Peer::Nodes(Selector::equals("rack", rack)), Peer::Pods(app("web"))];
        Criteria::Lists { peers: Some(peers.into()), ports: None }
    };
    let egress = |action, rack| lines(Direction::Egress, action, peers(rack));
    let surely =
        ["pods app == \"web\"", "nodes rack == \"a\""].map(|set| format!("any to({set}; )"));
    assert_eq!(egress(Action::Allow, "a"), surely.each_ref().map(|line| format!("allow {line}")));
    assert_eq!(egress(Action::Deny, "a"), ["deny any"]);
    let passed = surely.each_ref().map(|line| format!("pass {line}"));
    assert_eq!(egress(Action::Pass, "a"), [&passed[..], &["deny any".to_owned()]].concat());
    assert_eq!(egress(Action::Deny, "b").len(), 2);
}

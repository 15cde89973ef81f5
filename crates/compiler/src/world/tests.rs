use brindle_model::NamespacedName;
use brindle_model::labels::Labels;

use super::*;

fn name(index: usize) -> NamespacedName {
    NamespacedName::new("shop", format!("p{index}"))
}

fn pod(app: &str) -> Arc<Pod> {
    let labels = [("app", app)].into_iter().collect();
    Arc::new(Pod { labels, addresses: vec![IpAddr::from([10, 0, 0, 1])], ..Pod::default() })
}

fn attachment(index: usize) -> EndpointId {
    EndpointId { pod: name(index), container_id: "c".into(), interface: "eth0".into() }
}

fn advance(world: &mut World) {
    let changes = world.advance();
    world.release(&changes);
}

#[test]
fn pods_that_are_gone_leave_nothing_behind_and_their_numbers_are_used_again() {
    let mut world = World::default();
    for round in 0..3 {
        let pods = (0..10).map(|i| (i + round, Some(pod("web"))));
        let attached = Attachment { host_interface: "brd1".into(), addresses: vec![] };
        world.attachments.note(attachment(100 + round), Some(Arc::new(attached)));
        pods.for_each(|(i, pod)| world.pods.note(name(i), pod));
        advance(&mut world);
        assert_eq!(world.pods.all().count(), 10);
        (0..10).for_each(|i| world.pods.note(name(i + round), None));
        world.attachments.note(attachment(100 + round), None);
        advance(&mut world);
        assert_eq!(world.pods.numbers(), (0, 11), "in use, and ever made");
        assert_eq!(world.owners(IpAddr::from([10, 0, 0, 1])).count(), 0);
        assert!(world.attached.is_empty() && world.candidates(&Selector::All).is_empty());
        assert!(world.candidates(&Selector::equals("app", "web")).is_empty());
    }
}

#[test]
fn candidates_stand_in_every_short_list() {
    let mut world = World::default();
    let labels: Labels = [("team", "red")].into_iter().collect();
    world.namespaces.note("shop".into(), Some(Arc::new(Namespace { labels })));
    world.namespaces.note("bank".into(), Some(Arc::default()));
    (0..9).for_each(|i| world.pods.note(name(i), Some(pod("web"))));
    world.pods.note(name(9), Some(pod("db")));
    world.pods.note(NamespacedName::new("bank", "p"), Some(pod("web")));
    advance(&mut world);
    let in_ns = |ns: &str| Selector::equals(NAMESPACE_NAME_LABEL, ns);
    let red = Selector::equals("pcns.team", "red");
    let app = |app: &str| Selector::equals("app", app);
    for (selector, expected) in [
        (Selector::All, 11),
        (Selector::None, 0),
        (Selector::Not(Box::new(app("web"))), 11),
        (Selector::Has("app".into()), 11),
        (app("db"), 1),
        (in_ns("bank"), 1),
        (red.clone(), 10),
        (Selector::Has("pcns.team".into()), 10),
        (Selector::and([red, app("db")]), 1),
        (Selector::and([in_ns("bank"), app("web")]), 1),
        (Selector::and([in_ns("shop"), app("web")]), 9),
        (Selector::and([in_ns("bank"), app("db")]), 0),
        (Selector::In("app".into(), BTreeSet::from(["db".into(), "web".into()])), 11),
    ] {
        assert_eq!(world.candidates(&selector).len(), expected, "{selector}");
    }
}

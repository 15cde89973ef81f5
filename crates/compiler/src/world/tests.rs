use brindle_model::labels::{
    Labels, NAMESPACE_NAME_LABEL, ORCHESTRATOR_LABEL, SERVICE_ACCOUNT_NAME_LABEL,
};
use brindle_model::selector::Selector;

use super::*;

fn name(index: usize) -> NamespacedName {
    NamespacedName::new("shop", format!("p{index}"))
}

fn pod(app: &str) -> Arc<Pod> {
    let labels = [("app", app)].into_iter().collect();
    Arc::new(Pod { labels, addresses: [IpAddr::from([10, 0, 0, 1])].into(), ..Pod::default() })
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
        assert!(world.network_sets.lists().is_empty() && world.service_accounts.lists().is_empty());
        assert!(world.candidates(&Selector::equals("app", "web")).is_empty());
    }
}

/// Ten pods in `shop`, of team red and account `bot`, and one in `bank`; a network set in each, and
/// a global one.
fn two_namespaces() -> World {
    let mut world = World::default();
    let labels = || -> Labels { [("team", "red")].into_iter().collect() };
    world.namespaces.note("shop".into(), Some(Arc::new(Namespace { labels: labels() })));
    world.namespaces.note("bank".into(), Some(Arc::default()));
    let bot = Arc::new(ServiceAccount { labels: labels() });
    world.service_accounts.note(NamespacedName::new("shop", "bot"), Some(bot));
    for (i, app) in ["web"; 9].into_iter().chain(["db"]).enumerate() {
        let mut pod = Arc::unwrap_or_clone(pod(app));
        pod.service_account = Some("bot".into());
        world.pods.note(name(i), Some(Arc::new(pod)));
    }
    world.pods.note(NamespacedName::new("bank", "p"), Some(pod("web")));
    for (namespace, app) in [(Some("shop"), "web"), (Some("bank"), "web"), (None, "db")] {
        let id = NetworkSetId { namespace: namespace.map(Name::from), name: "n".into() };
        let labels = [("app", app)].into_iter().collect();
        world.network_sets.note(id, Some(Arc::new(NetworkSet { labels, ..NetworkSet::default() })));
    }
    advance(&mut world);
    world
}

#[test]
fn candidates_stand_in_every_short_list() {
    let world = two_namespaces();
    let in_ns = |ns: &str| Selector::equals(NAMESPACE_NAME_LABEL, ns);
    let red = || Selector::equals("pcns.team", "red");
    let app = |app: &str| Selector::equals("app", app);
    let has = |key: &str| Selector::Has(key.into());
    let starts = |key: &str, text: &str| Selector::StartsWith(key.into(), text.into());
    for (selector, pods, network_sets) in [
        (Selector::All, 11, 3),
        (Selector::None, 0, 0),
        (Selector::not(app("web")), 11, 3),
        (has("app"), 11, 3),
        (app("db"), 1, 1),
        (in_ns("bank"), 1, 1),
        (red(), 10, 1),
        (has("pcns.team"), 10, 1),
        (Selector::and([red(), app("db")]), 1, 1),
        (Selector::and([in_ns("bank"), app("web")]), 1, 1),
        (Selector::and([in_ns("shop"), app("web")]), 9, 1),
        (Selector::and([in_ns("bank"), app("db")]), 0, 1),
        (Selector::In("app".into(), ["db".into(), "web".into()].into_iter().collect()), 11, 3),
        (Selector::or([app("db"), in_ns("bank")]), 2, 2),
        (Selector::or([app("db"), Selector::and([in_ns("shop"), app("db")])]), 1, 1),
        (Selector::or([app("db"), Selector::not(app("db"))]), 11, 3),
        (Selector::and([in_ns("bank"), Selector::or([app("db"), app("web")])]), 1, 1),
        (starts("app", "d"), 1, 1),
        (starts("app", "x"), 0, 0),
        (Selector::EndsWith("app".into(), "b".into()), 11, 3),
        (starts(NAMESPACE_NAME_LABEL, "b"), 1, 1),
        (starts("pcns.projectcalico.org/name", "b"), 1, 1),
        (Selector::equals("pcns.projectcalico.org/name", "shop"), 10, 1),
        (has("pcns.projectcalico.org/name"), 11, 3),
        (Selector::equals(ORCHESTRATOR_LABEL, "k8s"), 11, 0),
        (Selector::equals(ORCHESTRATOR_LABEL, "other"), 0, 0),
        (Selector::and([Selector::equals(ORCHESTRATOR_LABEL, "k8s"), app("db")]), 1, 0),
        (Selector::equals(SERVICE_ACCOUNT_NAME_LABEL, "bot"), 10, 0),
        (Selector::equals("pcsa.projectcalico.org/name", "bot"), 10, 0),
        (Selector::equals("pcsa.team", "red"), 10, 0),
        (Selector::equals("pcsa.team", "blue"), 0, 0),
    ] {
        assert_eq!(world.candidates(&selector).len(), pods, "{selector}");
        let candidates = world.candidate_network_sets(&selector);
        assert_eq!(candidates.len(), network_sets, "network sets {selector}");
    }
}

#[test]
fn selectors_that_only_pods_match_are_told_from_the_others() {
    use crate::candidates::matches_pods_alone;
    let pods = || Selector::equals(ORCHESTRATOR_LABEL, "k8s");
    let app = || Selector::equals("app", "web");
    for selector in [
        pods(),
        Selector::None,
        Selector::and([pods(), app()]),
        Selector::and([Selector::equals("pcsa.team", "red"), app()]),
        Selector::or([pods(), Selector::Has(SERVICE_ACCOUNT_NAME_LABEL.into())]),
    ] {
        assert!(matches_pods_alone(&selector), "{selector}");
    }
    for selector in [
        Selector::All,
        app(),
        Selector::not(pods()),
        Selector::or([pods(), app()]),
        Selector::equals(NAMESPACE_NAME_LABEL, "shop"),
        Selector::equals("pcns.team", "red"),
    ] {
        assert!(!matches_pods_alone(&selector), "{selector}");
    }
}

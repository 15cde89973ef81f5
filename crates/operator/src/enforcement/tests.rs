use serde_json::json;

use super::*;

const POLICY: Enforceable = Enforceable::GlobalNetworkPolicy;

/// An aggregator with nodes that have reported nothing.
struct World {
    state: Enforcement,
    now: Instant,
}

impl World {
    fn new(nodes: &[&str]) -> Self {
        let mut state = Enforcement::default();
        state.set_nodes(&nodes.iter().map(|node| Box::from(*node)).collect());
        Self { state, now: Instant::now() }
    }

    fn report(&mut self, node: &str, version: u32) {
        let versions = json!({ POLICY.resource(): version.to_string() });
        self.state.report(node, &json!({"spec": {"node": node, "resourceVersions": versions}}));
    }

    fn policy(&mut self, generation: i64, version: u32, status: Value) {
        let object = json!({
            "metadata": {"name": "p", "generation": generation, "resourceVersion": version.to_string()},
            "status": status,
        });
        self.state.put(POLICY, &object, true, self.now);
    }

    /// What is said after some time, with the message.
    fn news(&mut self, after: Duration) -> Vec<(Reason, String)> {
        self.now += after;
        let (news, _) = self.state.news(self.now);
        let said = |(_, verdict): (ObjectKey, Verdict)| {
            let status = verdict.status(Timestamp::UNIX_EPOCH);
            let text = status["conditions"][0]["message"].as_str().unwrap().to_owned();
            (verdict.reason, text)
        };
        news.into_iter().map(said).collect()
    }
}

use k8s_openapi::jiff::Timestamp;

fn accepted(generation: i64, status: &str) -> Value {
    json!({"conditions": [
        {"type": "Accepted", "status": status, "observedGeneration": generation},
    ]})
}

fn reasons(news: &[(Reason, String)]) -> Vec<Reason> {
    news.iter().map(|(reason, _)| *reason).collect()
}

const AT_ONCE: Duration = Duration::ZERO;

#[test]
fn a_change_that_is_fast_is_said_once() {
    let mut world = World::new(&["n1", "n2"]);
    world.report("n1", 9);
    world.report("n2", 9);
    world.policy(1, 10, Value::Null);
    assert_eq!(world.news(AT_ONCE), []);
    world.policy(1, 11, accepted(1, "True"));
    world.report("n1", 10);
    assert_eq!(world.news(Duration::from_millis(100)), []);
    world.report("n2", 10);
    let news = world.news(Duration::from_millis(100));
    assert_eq!(reasons(&news), [Reason::Enforced]);
    assert_eq!(news[0].1, "on 2 of 2 nodes, 0.2 s after the change; among the last was n2");
    assert_eq!(world.news(Duration::from_secs(5)), []);
}

#[test]
fn a_node_that_lags_is_named_with_its_problem() {
    let mut world = World::new(&["n1", "n2", "n3"]);
    for node in ["n1", "n2", "n3"] {
        world.report(node, 10);
    }
    world.policy(1, 11, accepted(1, "True"));
    world.report("n1", 11);
    world.state.report(
        "n3",
        &json!({"spec": {"resourceVersions": {POLICY.resource(): "10"}, "problem": "no memory"}}),
    );
    let news = world.news(PATIENCE);
    assert_eq!(reasons(&news), [Reason::Pending]);
    assert_eq!(news[0].1, "on 1 of 3 nodes; not on n2, n3: no memory");
    world.report("n2", 11);
    assert_eq!(world.news(AT_ONCE), [], "progress is not told at every step");
    assert_eq!(world.news(PROGRESS)[0].1, "on 2 of 3 nodes; not on n3: no memory");
    world.report("n3", 12);
    assert_eq!(reasons(&world.news(AT_ONCE)), [Reason::Enforced]);
}

#[test]
fn a_new_generation_is_not_what_nodes_enforce() {
    let mut world = World::new(&["n1"]);
    world.report("n1", 11);
    world.policy(1, 10, accepted(1, "True"));
    assert_eq!(reasons(&world.news(AT_ONCE)), [Reason::Enforced]);
    world.policy(2, 20, accepted(1, "True"));
    assert_eq!(reasons(&world.news(PATIENCE)), [Reason::Pending]);
    world.report("n1", 20);
    assert_eq!(reasons(&world.news(PROGRESS)), [Reason::NotJudged]);
    world.policy(2, 21, accepted(2, "True"));
    assert_eq!(reasons(&world.news(AT_ONCE)), [Reason::Enforced]);
}

#[test]
fn what_is_broken_is_not_enforced_as_written() {
    let mut world = World::new(&["n1"]);
    world.report("n1", 20);
    world.policy(1, 10, accepted(1, "False"));
    assert_eq!(reasons(&world.news(AT_ONCE)), [Reason::NotAccepted]);
}

#[test]
fn a_write_of_a_status_asks_nothing_of_nodes() {
    let mut world = World::new(&["n1"]);
    world.report("n1", 10);
    world.policy(1, 10, accepted(1, "True"));
    assert_eq!(reasons(&world.news(AT_ONCE)), [Reason::Enforced]);
    world.policy(1, 12, accepted(1, "True"));
    assert_eq!(world.news(PROGRESS), []);
}

#[test]
fn an_operator_that_starts_believes_the_status_that_it_finds() {
    let mut world = World::new(&["n1"]);
    world.report("n1", 10);
    world.policy(1, 10, accepted(1, "True"));
    let (_, verdict) = world.state.news(world.now).0.remove(0);
    let mut status = verdict.status(Timestamp::UNIX_EPOCH);
    status["conditions"].as_array_mut().unwrap().push(accepted(1, "True")["conditions"][0].clone());
    let mut next = World::new(&["n1"]);
    next.report("n1", 10);
    // Its own write has moved the version.
    next.policy(1, 15, status.clone());
    assert_eq!(next.news(PROGRESS), []);
    // Of another generation it says nothing.
    next.policy(2, 16, status);
    assert_eq!(reasons(&next.news(PATIENCE)), [Reason::Pending]);
}

#[test]
fn nodes_that_come_ask_nothing_and_those_that_go_are_not_waited_for() {
    let mut world = World::new(&["n1", "n2"]);
    world.report("n1", 10);
    world.policy(1, 10, accepted(1, "True"));
    let news = world.news(AT_ONCE);
    assert_eq!(news[0].1, "on 1 of 1 nodes, 0.0 s after the change", "n2 has never had an agent");
    world.report("n2", 12);
    assert_eq!(world.news(PROGRESS), [], "a node that joins enforces all from its start");
    world.policy(2, 20, accepted(2, "True"));
    world.report("n1", 20);
    assert_eq!(reasons(&world.news(PATIENCE)), [Reason::Pending]);
    world.state.set_nodes(&BTreeSet::from(["n1".into()]));
    assert_eq!(reasons(&world.news(AT_ONCE)), [Reason::Enforced]);
}

#[test]
fn without_nodes_nothing_is_enforced() {
    let mut world = World::new(&[]);
    world.policy(1, 10, accepted(1, "True"));
    assert_eq!(reasons(&world.news(PATIENCE)), [Reason::NoNodes]);
}

/// A host endpoint asks for nothing elsewhere.
#[test]
fn a_host_endpoint_is_one_node_s() {
    let kind = Enforceable::HostEndpoint;
    let mut world = World::new(&["n1", "n2"]);
    let report = |world: &mut World, node: &str, version: &str| {
        let versions = json!({ kind.resource(): version });
        world.state.report(node, &json!({"spec": {"resourceVersions": versions}}));
    };
    report(&mut world, "n1", "9");
    report(&mut world, "n2", "9");
    let object = json!({
        "metadata": {"name": "h", "generation": 1, "resourceVersion": "10"},
        "spec": {"node": "n2"},
        "status": accepted(1, "True"),
    });
    world.state.put(kind, &object, true, world.now);
    assert_eq!(world.news(PATIENCE)[0].1, "on 0 of 1 nodes; not on n2");
    report(&mut world, "n1", "10");
    assert_eq!(world.news(PROGRESS), []);
    report(&mut world, "n2", "10");
    assert_eq!(reasons(&world.news(AT_ONCE)), [Reason::Enforced]);
}

/// The time it took is of the first time only.
#[test]
fn what_was_enforced_once_took_no_time_again() {
    let mut world = World::new(&["n1"]);
    world.report("n1", 10);
    world.policy(1, 10, accepted(1, "True"));
    let took = |world: &mut World| {
        let (news, _) = world.state.news(world.now);
        news.into_iter()
            .map(|(_, verdict)| (verdict.reason, verdict.took.is_some()))
            .collect::<Vec<_>>()
    };
    assert_eq!(took(&mut world), [(Reason::Enforced, true)]);
    world.report("n1", 9);
    world.now += PROGRESS;
    assert_eq!(took(&mut world)[0].0, Reason::Pending);
    world.report("n1", 10);
    assert_eq!(took(&mut world), [(Reason::Enforced, false)]);
}

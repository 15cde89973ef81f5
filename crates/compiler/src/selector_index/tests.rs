use std::collections::BTreeSet;

use brindle_model::labels::{Labels, Parent};

use super::*;

fn labelled<'a>(own: &'a Labels, namespace_labels: &'a Labels) -> EffectiveLabels<'a> {
    let namespace = Some(Parent { name: "shop", labels: Some(namespace_labels) });
    let service_account = Some(Parent { name: "bot", labels: Some(namespace_labels) });
    EffectiveLabels { own, namespace, service_account, is_pod: true }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn not(selector: Selector) -> Selector {
    Selector::Not(Box::new(selector))
}

/// Selectors of every shape, negation-only ones and contradictions among them.
fn selectors() -> Vec<Selector> {
    let in_ns = |ns: &str| Selector::equals(NAMESPACE_NAME_LABEL, ns);
    let team = |team: &str| Selector::equals("pcns.team", team);
    let app = |app: &str| Selector::equals("app", app);
    let any_app = Selector::In("app".into(), ["web".into(), "db".into()].into_iter().collect());
    vec![
        Selector::All,
        Selector::None,
        Selector::Has("app".into()),
        Selector::Has("pcns.team".into()),
        Selector::In("app".into(), [].into_iter().collect()),
        app("web"),
        app(""),
        any_app.clone(),
        not(app("web")),
        not(not(app("web"))),
        in_ns("shop"),
        team("red"),
        Selector::and([in_ns("shop"), app("web")]),
        Selector::and([in_ns("bank"), app("web")]),
        Selector::and([team("red"), not(app("web"))]),
        Selector::and([any_app, not(Selector::Has("role".into()))]),
        Selector::and([Selector::Has("role".into()), not(team("red"))]),
        Selector::and([app("web"), app("db")]),
        Selector::or([app("web"), app("db")]),
        Selector::or([app("web"), app("web"), Selector::Has("role".into())]),
        Selector::or([in_ns("shop"), not(app("web"))]),
        Selector::or([in_ns("bank"), Selector::and([app("db"), team("red")])]),
        Selector::and([Selector::or([app("web"), team("red")]), not(Selector::Has("role".into()))]),
        not(Selector::or([app("web"), in_ns("bank")])),
        Selector::StartsWith("app".into(), "w".into()),
        Selector::StartsWith("app".into(), "web".into()),
        Selector::StartsWith("app".into(), "webs".into()),
        Selector::StartsWith("app".into(), "".into()),
        Selector::EndsWith("app".into(), "b".into()),
        Selector::Contains("app".into(), "".into()),
        Selector::StartsWith(NAMESPACE_NAME_LABEL.into(), "sh".into()),
        Selector::equals(ORCHESTRATOR_LABEL, "k8s"),
        Selector::equals(ORCHESTRATOR_LABEL, "other"),
        Selector::equals("pcsa.team", "red"),
        Selector::equals(SERVICE_ACCOUNT_NAME_LABEL, "bot"),
        Selector::Has("pcns.projectcalico.org/name".into()),
    ]
}

#[test]
fn finds_exactly_what_matches() {
    let selectors = selectors();
    let mut index = SelectorIndex::default();
    for (key, selector) in selectors.iter().enumerate() {
        index.insert(key, selector.clone());
    }
    let values = [None, Some("web"), Some("db"), Some("")];
    for app in values {
        for (role, team) in [(None, None), (Some("x"), Some("red")), (None, Some("blue"))] {
            let pair = |key, value: Option<&'static str>| value.map(|value| (key, value));
            let own: Labels =
                [pair("app", app), pair("role", role)].into_iter().flatten().collect();
            let namespace: Labels = pair("team", team).into_iter().collect();
            let labels = labelled(&own, &namespace);
            let scan = |(key, s): (usize, &Selector)| s.matches(&labels).then_some(key);
            let expected: BTreeSet<_> = selectors.iter().enumerate().filter_map(scan).collect();
            let found = BTreeSet::from_iter(index.matching(&labels).into_iter().copied());
            assert_eq!(found, expected, "{labels:?}");
            let differing = index.differing([Some(&labels), None]);
            assert_eq!(differing.len(), expected.len(), "{labels:?}");
            assert!(index.differing([Some(&labels); 2]).is_empty(), "{labels:?}");
        }
    }
}

#[test]
fn removal_leaves_nothing_behind() {
    let mut index = SelectorIndex::default();
    for round in 0..2 {
        for (key, selector) in selectors().into_iter().enumerate() {
            index.insert(key, if round == 0 { Selector::All } else { selector });
        }
    }
    for key in 0..selectors().len() {
        index.remove(&key);
        index.remove(&key);
    }
    assert!(index.is_empty() && index.unrestricted.0.is_empty());
    assert_eq!(index.slots.len(), selectors().len(), "numbers are used again");
    assert!(index.by_label.is_empty());
}

#[test]
fn an_event_visits_only_selectors_that_may_match() {
    let mut index = SelectorIndex::default();
    for n in 0..1000 {
        let namespace = Selector::equals(NAMESPACE_NAME_LABEL, "shop");
        index.insert(n, Selector::and([namespace, Selector::equals("app", format!("app{n}"))]));
    }
    let own = labels(&[("app", "app7")]);
    let empty = Labels::default();
    let labels = labelled(&own, &empty);
    assert!(visits(&index, &labels) <= 2, "of 1000 selectors for one pod");
    assert_eq!(index.matching(&labels), [&7]);
}

fn visits(index: &SelectorIndex<i32>, labels: &EffectiveLabels<'_>) -> usize {
    let mut visited = 0;
    index.visit(labels, |_| visited += 1);
    visited
}

#[test]
fn disjunctions_and_beginnings_are_filed_where_they_may_match_and_labels_of_everybody_last() {
    let of = |key: &str, n| Selector::equals(key, format!("{n}"));
    let pods = || Selector::equals(ORCHESTRATOR_LABEL, "k8s");
    let shapes: [&dyn Fn(i32) -> Selector; 5] = [
        &|n| Selector::or([of("app", n), of("role", n)]),
        &|n| Selector::and([pods(), of("app", n)]),
        &|n| Selector::and([pods(), Selector::StartsWith("app".into(), format!("{n}").into())]),
        &|n| {
            Selector::and([
                Selector::Has(NAMESPACE_NAME_LABEL.into()),
                Selector::Has(format!("{n}").into()),
            ])
        },
        &|n| {
            Selector::and([
                pods(),
                Selector::or([of("app", n), Selector::and([pods(), of("role", n)])]),
            ])
        },
    ];
    let own = labels(&[("app", "777"), ("role", "888"), ("999", "")]);
    let empty = Labels::default();
    for (i, shape) in shapes.iter().enumerate() {
        let mut index = SelectorIndex::default();
        (100..1100).for_each(|n| index.insert(n, shape(n)));
        let labels = labelled(&own, &empty);
        assert!(visits(&index, &labels) <= 2, "shape {i}");
        assert!(!index.matching(&labels).is_empty(), "shape {i}");
    }
    let mut index = SelectorIndex::default();
    (0..1000)
        .for_each(|n| index.insert(n, Selector::or([of("app", n), Selector::not(of("role", n))])));
    assert_eq!(visits(&index, &labelled(&own, &empty)), 1000, "one operand may match anybody");
}

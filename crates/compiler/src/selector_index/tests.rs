use brindle_model::labels::{Labels, NAMESPACE_NAME_LABEL, Parent};

use super::*;

fn labelled<'a>(own: &'a Labels, namespace_labels: &'a Labels) -> EffectiveLabels<'a> {
    let namespace = Some(Parent { name: "shop", labels: Some(namespace_labels) });
    EffectiveLabels { own, namespace, service_account: None, is_pod: true }
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
    let any_app = Selector::In("app".into(), BTreeSet::from(["web".into(), "db".into()]));
    vec![
        Selector::All,
        Selector::None,
        Selector::Has("app".into()),
        Selector::Has("pcns.team".into()),
        Selector::In("app".into(), BTreeSet::new()),
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
            assert_eq!(index.matching(&labels), expected, "{labels:?}");
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
    assert!(index.selectors.is_empty() && index.unrestricted.is_empty());
    assert!(index.by_value.is_empty() && index.by_key.is_empty());
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
    let mut visited = 0;
    labelled(&own, &empty).for_each(|label, value| {
        visited += index.by_value.get(label).and_then(|l| l.get(value)).map_or(0, BTreeSet::len);
        visited += index.by_key.get(label).map_or(0, BTreeSet::len);
    });
    visited += index.unrestricted.len();
    assert!(visited <= 2, "{visited} of 1000 selectors visited for one pod");
    assert_eq!(index.matching(&labelled(&own, &empty)), BTreeSet::from([7]));
}

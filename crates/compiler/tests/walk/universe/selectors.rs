//! Selectors of every shape.

use brindle_model::Name;
use brindle_model::labels::{
    NAMESPACE_NAME_LABEL, ORCHESTRATOR, ORCHESTRATOR_LABEL, SERVICE_ACCOUNT_NAME_LABEL,
};
use brindle_model::selector::Selector;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{ACCOUNTS, NAMESPACES, VALUES};

/// Mostly what conversion makes of label selectors, a conjunction of simple terms; now and then a
/// disjunction of two of them, or nothing.
pub fn selector() -> impl Strategy<Value = Selector> {
    let conjunction = || prop::collection::vec(term(), 0..3).prop_map(Selector::and);
    prop_oneof![
        8 => conjunction(),
        2 => (conjunction(), conjunction()).prop_map(|(a, b)| Selector::or([a, b])),
        1 => (conjunction(), conjunction())
            .prop_map(|(a, b)| Selector::not(Selector::or([a, b]))),
        1 => Just(Selector::None),
    ]
}

fn term() -> impl Strategy<Value = Selector> {
    let key = || {
        let keys = &["app", "role", "pcns.team", "pcsa.team"][..];
        select(keys).prop_map(Name::from)
    };
    let one_of = (key(), subsequence(&VALUES[..], 1..3))
        .prop_map(|(key, values)| Selector::In(key, values.into_iter().map(Name::from).collect()));
    let named = |keys: &'static [&'static str], names: &'static [&'static str]| {
        (select(keys), select(names)).prop_map(|(key, name)| Selector::equals(key, name))
    };
    let text = || select(&["a", "", "x"][..]).prop_map(Name::from);
    let term = prop_oneof![
        6 => one_of,
        2 => key().prop_map(Selector::Has),
        1 => (key(), text()).prop_map(|(key, text)| Selector::StartsWith(key, text)),
        1 => (key(), text()).prop_map(|(key, text)| Selector::EndsWith(key, text)),
        1 => (key(), text()).prop_map(|(key, text)| Selector::Contains(key, text)),
        4 => named(&[NAMESPACE_NAME_LABEL, "pcns.projectcalico.org/name"], &NAMESPACES),
        2 => named(&[SERVICE_ACCOUNT_NAME_LABEL, "pcsa.projectcalico.org/name"], &ACCOUNTS),
        1 => named(&[ORCHESTRATOR_LABEL], &[ORCHESTRATOR]),
    ];
    (term, weighted(0.2, Just(()))).prop_map(|(term, negated)| match negated {
        Some(()) => Selector::not(term),
        None => term,
    })
}

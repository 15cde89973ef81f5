//! Selectors in the selector language (§2.3).

use super::random::Random;
use super::selectors::{self, Of};

/// Keys of effective labels that no object carries itself (C11, C12).
const EFFECTIVE: [(&str, &[&str]); 7] = [
    ("pcns.team", &["a", "b", ""]),
    ("pcsa.team", &["a", "b", ""]),
    ("pcns.projectcalico.org/name", &["x", "y", "z"]),
    ("pcsa.projectcalico.org/name", &["default", "s", "t"]),
    ("projectcalico.org/namespace", &["x", "y", "z"]),
    ("projectcalico.org/serviceaccount", &["default", "s", "t"]),
    ("projectcalico.org/orchestrator", &["k8s", "vm"]),
];

/// What cannot be read, or is legal only elsewhere.
const BROKEN: [&str; 12] = [
    "app",
    "app == a",
    "has (app)",
    "all ()",
    "app = 'a'",
    "app in 'a'",
    "(app == 'a'",
    "global()",
    "!global()",
    "app == 'a' &&",
    "app\n== 'a'",
    "app not 'a'",
];

/// A selector over labels of `of`; broken once in sixty times.
pub(super) fn expression(random: &mut Random, of: Of) -> String {
    if random.flaw(60) {
        return random.pick(&BROKEN).to_string();
    }
    match random.below(12) {
        0 => random.pick(&["all()", "", " ", "all( )"]).to_string(),
        1..8 => term(random, of),
        8 | 9 => format!("{} && {}", term(random, of), term(random, of)),
        10 => format!("{}||{}", term(random, of), term(random, of)),
        _ => {
            let (a, b, c) = (term(random, of), term(random, of), term(random, of));
            format!("!({a} || {b}) && {c}")
        }
    }
}

fn term(random: &mut Random, of: Of) -> String {
    let effective = matches!(of, Of::Pod | Of::NetworkSet) && random.once_in(6);
    let (key, value) = if effective {
        let (key, values) = random.pick(&EFFECTIVE);
        (*key, *random.pick(values))
    } else if !matches!(of, Of::Pod | Of::NetworkSet) && random.once_in(6) {
        let values: &[&str] = match of {
            Of::Namespace => &["x", "y", "z"],
            _ => &["default", "s", "t"],
        };
        ("projectcalico.org/name", *random.pick(values))
    } else {
        let key = of.key(random);
        (key, selectors::value(random, key))
    };
    let quote = if random.once_in(4) { '"' } else { '\'' };
    let text = format!("{quote}{value}{quote}");
    let not = if random.once_in(5) { "!" } else { "" };
    let term = match random.below(16) {
        0..5 => format!("{key} == {text}"),
        5..7 => format!("{key} != {text}"),
        7 => format!("has({key})"),
        8 => format!("!has( {key} )"),
        9 => format!("{key} in {{{text}}}"),
        10 => format!("{key} in {{{text}, 'b',}}"),
        11 => format!("{key} not in {{{text}}}"),
        12 => format!("{key} notin{{}}"),
        13 => format!("{key} contains {text}"),
        14 => format!("{key} starts with {text}"),
        _ => format!("{key} endswith\t{text}"),
    };
    format!("{not}{term}")
}

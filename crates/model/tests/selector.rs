//! The selector language as text: its edges, its errors, and random selectors against what they
//! were written from.

use std::collections::BTreeMap;
use std::fmt::Write;

use brindle_model::labels::Labels;
use brindle_model::selector::{MAX_DEPTH, MAX_LENGTH, Scope, Selector, is_global};
use proptest::prelude::*;

fn canonical(text: &str) -> String {
    match Selector::parse(text) {
        Ok(selector) => selector.to_string(),
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The error as its words, and the piece of the text that it points at.
fn error(text: &str) -> (String, &str) {
    let error = Selector::parse(text).expect_err(text);
    (error.to_string(), &text[error.span])
}

#[test]
fn every_operator_in_every_spelling() {
    for (text, expected) in [
        ("", "all()"),
        (" \t", "all()"),
        ("all()", "all()"),
        ("all( )", "all()"),
        ("has(role)", "has(role)"),
        ("has( role\t)", "has(role)"),
        ("!has(role)", "!(has(role))"),
        ("k == 'v'", "k == \"v\""),
        ("k==\"v\"", "k == \"v\""),
        ("k == ''", "k == \"\""),
        ("k != 'v'", "!(k == \"v\")"),
        ("k!='v'", "!(k == \"v\")"),
        ("k in {'b', 'a','b',}", "k in {\"a\", \"b\"}"),
        ("k in{'a'}", "k == \"a\""),
        ("k in { }", "!all()"),
        ("k not in {}", "all()"),
        ("k not in {'a'}", "!(k == \"a\")"),
        ("k not \t in {'a'}", "!(k == \"a\")"),
        ("k notin {'a'}", "!(k == \"a\")"),
        ("k contains 's'", "k contains \"s\""),
        ("k contains''", "has(k)"),
        ("k starts with 's'", "k starts with \"s\""),
        ("k startswith 's'", "k starts with \"s\""),
        ("k starts with ''", "has(k)"),
        ("k ends with 's'", "k ends with \"s\""),
        ("k endswith 's'", "k ends with \"s\""),
        ("k ends with ''", "has(k)"),
        ("a.b/c_d-E9 == 'x'", "a.b/c_d-E9 == \"x\""),
        ("k == 'all()'", "k == \"all()\""),
        ("k == 'a\"b'", "k == 'a\"b'"),
        ("k == \"a'b\"", "k == \"a'b\""),
        ("k == 'ü (&& ||'", "k == \"ü (&& ||\""),
        // There are no escapes: the quote behind a backslash ends the text.
        ("k == 'v\\'", "k == \"v\\\""),
    ] {
        assert_eq!(canonical(text), expected, "{text}");
        assert_eq!(canonical(expected), expected, "canonical text stands for itself");
    }
}

#[test]
fn operator_words_are_keys() {
    for word in [
        "in",
        "not",
        "notin",
        "contains",
        "starts",
        "with",
        "startswith",
        "ends",
        "endswith",
        "has",
        "all",
        "global",
    ] {
        assert_eq!(canonical(&format!("{word} == 'x'")), format!("{word} == \"x\""));
        assert_eq!(canonical(&format!("has({word})")), format!("has({word})"));
        assert_eq!(canonical(&format!("{word} in {{'x'}}")), format!("{word} == \"x\""));
        assert_eq!(canonical(&format!("{word} not in {{'x'}}")), format!("!({word} == \"x\")"));
        assert_eq!(canonical(&format!("{word} contains 'x'")), format!("{word} contains \"x\""));
    }
}

#[test]
fn precedence() {
    for (text, expected) in [
        ("has(a) || has(b) && has(c)", "(has(a) || (has(b) && has(c)))"),
        ("(has(a) || has(b)) && has(c)", "(has(c) && (has(a) || has(b)))"),
        ("!has(a) && has(b)", "(has(b) && !(has(a)))"),
        ("!k == 'v'", "!(k == \"v\")"),
        ("!!k == 'v'", "k == \"v\""),
        ("! ! !has(a)", "!(has(a))"),
        ("!(has(a) || has(b))", "!((has(a) || has(b)))"),
        ("!(!(has(a)))", "has(a)"),
        ("!all()", "!all()"),
        ("has(a) && all()", "has(a)"),
        ("has(a) || all()", "all()"),
        ("has(b)&&has(a)&&has(b)", "(has(a) && has(b))"),
        ("((((has(a)))))", "has(a)"),
        ("(has(a) && (has(b) && has(c)))", "(has(a) && has(b) && has(c))"),
    ] {
        assert_eq!(canonical(text), expected, "{text}");
    }
}

#[test]
fn scopes_are_put_on_the_tree() {
    for (text, namespace, account) in [
        ("all()", "has(projectcalico.org/namespace)", "has(projectcalico.org/serviceaccount)"),
        ("", "has(projectcalico.org/namespace)", "has(projectcalico.org/serviceaccount)"),
        ("team == 'all()'", "pcns.team == \"all()\"", "pcsa.team == \"all()\""),
        (
            "projectcalico.org/name == 'x'",
            "pcns.projectcalico.org/name == \"x\"",
            "pcsa.projectcalico.org/name == \"x\"",
        ),
        (
            "has(in) && a != ''",
            "(has(pcns.in) && !(pcns.a == \"\"))",
            "(has(pcsa.in) && !(pcsa.a == \"\"))",
        ),
        (
            "!all() || has(a)",
            "(has(projectcalico.org/namespace) && (has(pcns.a) || !(has(projectcalico.org/namespace))))",
            "(has(projectcalico.org/serviceaccount) && (has(pcsa.a) || !(has(projectcalico.org/serviceaccount))))",
        ),
        // What has no namespace has none of its labels: a negation must not hold for it.
        (
            "a != 'b'",
            "(has(projectcalico.org/namespace) && !(pcns.a == \"b\"))",
            "(has(projectcalico.org/serviceaccount) && !(pcsa.a == \"b\"))",
        ),
    ] {
        let read = |scope| Selector::parse_in(text, scope).unwrap().to_string();
        assert_eq!(read(Scope::Namespace), namespace, "C11, C14, C23: {text}");
        assert_eq!(read(Scope::ServiceAccount), account, "C11, C14, C10: {text}");
    }
    for (text, global) in [
        ("global()", true),
        (" global( )\t", true),
        ("global ()", false),
        ("(global())", false),
        ("global() || all()", false),
        ("'global()'", false),
        ("", false),
    ] {
        assert_eq!(is_global(text), global, "{text}");
    }
}

#[test]
fn errors_point_at_the_character() {
    const OPERATOR: &str = "an operator: ==, !=, in, not in, contains, starts with or ends with";
    for (text, message, piece) in [
        ("has (x)", format!("character 5: expected {OPERATOR}, found `(`"), "("),
        ("all ()", format!("character 5: expected {OPERATOR}, found `(`"), "("),
        ("any()", format!("character 4: expected {OPERATOR}, found `(`"), "("),
        ("k", format!("character 2: expected {OPERATOR}, found the end"), ""),
        ("k = 'v'", format!("character 3: expected {OPERATOR}, found `=`"), "="),
        ("k isn't", format!("character 3: expected {OPERATOR}, found `isn`"), "isn"),
        ("k not with 'x'", format!("character 3: expected {OPERATOR}"), "not"),
        ("k IN {'a'}", format!("character 3: expected {OPERATOR}, found `IN`"), "IN"),
        (
            "has(a)\n&& has(b)",
            "character 7: expected &&, || or the end, found \"\\n\"".into(),
            "\n",
        ),
        ("has(a) has(b)", "character 8: expected &&, || or the end, found `has`".into(), "has"),
        ("has(a) & has(b)", "character 8: expected &&, || or the end, found `&`".into(), "&"),
        ("has(a))", "character 7: expected &&, || or the end, found `)`".into(), ")"),
        ("(has(a) 'x'", "character 9: expected &&, || or ), found `'`".into(), "'"),
        ("has(a) && (has(b)", "character 11: this parenthesis is not closed".into(), "("),
        ("has(a) &&", "character 10: expected a key, all(), has(key), ! or (, found the end".into(), ""),
        ("()", "character 2: expected a key, all(), has(key), ! or (, found `)`".into(), ")"),
        ("!", "character 2: expected a key, all(), has(key), ! or (, found the end".into(), ""),
        ("ä == 'x'", "character 1: expected a key, all(), has(key), ! or (, found `ä`".into(), "ä"),
        ("has()", "character 5: expected a key, found `)`".into(), ")"),
        ("has(a b)", "character 7: expected ), found `b`".into(), "b"),
        ("all(a)", "character 5: expected ), found `a`".into(), "a"),
        ("k == v", "character 6: expected a text in quotes, found `v`".into(), "v"),
        ("'ü' == k", "character 1: expected a key, all(), has(key), ! or (, found `'`".into(), "'"),
        ("k == 'ü' x", "character 10: expected &&, || or the end, found `x`".into(), "x"),
        ("k == 'v", "character 6: this quote is not closed".into(), "'"),
        ("k == 'a\nb'", "character 8: '\\n' cannot stand in a text".into(), "\n"),
        ("k in 'a'", "character 6: expected a set such as {'a', 'b'}, found `'`".into(), "'"),
        ("k in {'a' 'b'}", "character 11: expected , or }, found `'`".into(), "'"),
        ("k in {a}", "character 7: expected a text in quotes or }, found `a`".into(), "a"),
        ("k in {,}", "character 7: expected a text in quotes or }, found `,`".into(), ","),
        ("k in {'a'", "character 10: expected , or }, found the end".into(), ""),
        (
            "!global()",
            "character 2: global() may only be the whole namespaceSelector of a rule's source or destination".into(),
            "global",
        ),
    ] {
        assert_eq!(error(text), (message, piece), "{text:?}");
    }
}

#[test]
fn limits() {
    let longest = format!("has({})", "k".repeat(512));
    assert_eq!(canonical(&longest), longest);
    let text = format!("k{} == 'v'", "k".repeat(512));
    assert_eq!(
        error(&text),
        ("character 1: a key has at most 512 characters".into(), &text[..513])
    );

    let exact = format!("k == '{}'", "ü".repeat(MAX_LENGTH - 7));
    assert!(Selector::parse(&exact).is_ok(), "characters, not bytes");
    let text = exact.replace("==", " ==");
    assert_eq!(
        error(&text),
        ("character 1025: a selector has at most 1024 characters".into(), "'")
    );

    // A pair of parentheses that groups nothing makes no tree, a negated conjunction makes two.
    let flat = format!("{}has(a){}", "(".repeat(509), ")".repeat(509));
    assert_eq!(canonical(&flat), "has(a)");
    let nested = |levels| format!("{}has(a){}", "!(has(b)&&".repeat(levels), ")".repeat(levels));
    let deepest = (MAX_DEPTH - 1) / 2;
    let selector = Selector::parse(&nested(deepest)).unwrap();
    assert_eq!(
        Selector::parse(&selector.to_string()),
        Ok(selector.clone()),
        "its canonical text too"
    );
    assert!(selector.matches(&Labels::default()), "the outermost operand of `!` does not match");
    let (message, _) = error(&nested(deepest + 1));
    assert_eq!(message, "character 2: nested more than 64 deep");
    for deep in ["(".repeat(10_000), "!".repeat(10_000), "!(".repeat(10_000), "(".repeat(1024)] {
        assert!(Selector::parse(&deep).is_err());
    }
}

/// What a random selector is written from, and what it must mean.
#[derive(Clone, Debug)]
enum Written {
    All,
    Has(String),
    Equals(String, String),
    Differs(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Contains(String, String),
    Starts(String, String),
    Ends(String, String),
    Not(Box<Written>),
    And(Vec<Written>),
    Or(Vec<Written>),
}

impl Written {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::All => true,
            Self::Has(k) => labels.contains_key(k),
            Self::Equals(k, v) => labels.get(k) == Some(v),
            Self::Differs(k, v) => labels.get(k) != Some(v),
            Self::In(k, vs) => labels.get(k).is_some_and(|v| vs.contains(v)),
            Self::NotIn(k, vs) => labels.get(k).is_none_or(|v| !vs.contains(v)),
            Self::Contains(k, s) => labels.get(k).is_some_and(|v| v.contains(s)),
            Self::Starts(k, s) => labels.get(k).is_some_and(|v| v.starts_with(s)),
            Self::Ends(k, s) => labels.get(k).is_some_and(|v| v.ends_with(s)),
            Self::Not(x) => !x.matches(labels),
            Self::And(xs) => xs.iter().all(|x| x.matches(labels)),
            Self::Or(xs) => xs.iter().any(|x| x.matches(labels)),
        }
    }

    /// The text, in a style that `style` chooses bit by bit.
    fn write(&self, style: &mut dyn FnMut() -> bool, text: &mut String) {
        let space = if style() { " " } else { "" };
        let quote = if style() { '"' } else { '\'' };
        let list = |vs: &[String]| {
            let quoted: Vec<_> = vs.iter().map(|v| format!("{quote}{v}{quote}")).collect();
            quoted.join(&format!("{space},"))
        };
        let joint = |xs: &[Self], op: &str, style: &mut dyn FnMut() -> bool, text: &mut String| {
            for (i, x) in xs.iter().enumerate() {
                if i > 0 {
                    write!(text, "{space}{op}\t").unwrap();
                }
                let bare = !matches!(x, Self::And(_) | Self::Or(_)) && style();
                text.push_str(if bare { "" } else { "(" });
                x.write(style, text);
                text.push_str(if bare { "" } else { ")" });
            }
        };
        match self {
            Self::All => text.push_str("all()"),
            Self::Has(k) => write!(text, "has({space}{k})").unwrap(),
            Self::Equals(k, v) => write!(text, "{k}{space}=={quote}{v}{quote}").unwrap(),
            Self::Differs(k, v) => write!(text, "{k}{space}!={space}{quote}{v}{quote}").unwrap(),
            Self::In(k, vs) => write!(text, "{k} in{space}{{{}}}", list(vs)).unwrap(),
            Self::NotIn(k, vs) => write!(text, "{k} not{space}in {{{}}}", list(vs)).unwrap(),
            Self::Contains(k, s) => write!(text, "{k} contains{space}{quote}{s}{quote}").unwrap(),
            Self::Starts(k, s) => write!(text, "{k} starts{space}with{quote}{s}{quote}").unwrap(),
            Self::Ends(k, s) => write!(text, "{k} ends{space}with {quote}{s}{quote}").unwrap(),
            Self::Not(x) => {
                write!(text, "!{space}(").unwrap();
                x.write(style, text);
                text.push(')');
            }
            Self::And(xs) => joint(xs, "&&", style, text),
            Self::Or(xs) => joint(xs, "||", style, text),
        }
    }
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "in", "not", "has", "x.y/z"]).prop_map(Into::into)
}

fn value() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "ab", "b", "all()"]).prop_map(Into::into)
}

fn written() -> impl Strategy<Value = Written> {
    let values = || prop::collection::vec(value(), 0..3);
    let term = prop_oneof![
        Just(Written::All),
        key().prop_map(Written::Has),
        (key(), value()).prop_map(|(k, v)| Written::Equals(k, v)),
        (key(), value()).prop_map(|(k, v)| Written::Differs(k, v)),
        (key(), values()).prop_map(|(k, vs)| Written::In(k, vs)),
        (key(), values()).prop_map(|(k, vs)| Written::NotIn(k, vs)),
        (key(), value()).prop_map(|(k, s)| Written::Contains(k, s)),
        (key(), value()).prop_map(|(k, s)| Written::Starts(k, s)),
        (key(), value()).prop_map(|(k, s)| Written::Ends(k, s)),
    ];
    term.prop_recursive(4, 16, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            inner.clone().prop_map(|x| Written::Not(Box::new(x))),
            some().prop_map(Written::And),
            some().prop_map(Written::Or),
        ]
    })
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(key(), value(), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_text_means_what_it_was_written_from(
        written in written(),
        style in any::<u64>(),
        labels in prop::collection::vec(labels(), 4),
    ) {
        let (mut text, mut bits) = (String::new(), style);
        written.write(&mut || { bits = bits.rotate_left(1); bits & 1 == 1 }, &mut text);
        prop_assume!(text.chars().count() <= MAX_LENGTH);
        let selector = Selector::parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
        for labels in labels {
            let given: Labels = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            prop_assert_eq!(selector.matches(&given), written.matches(&labels), "{} on {:?}", text, labels);
        }
        let canonical = selector.to_string();
        prop_assume!(canonical.chars().count() <= MAX_LENGTH);
        prop_assert_eq!(Selector::parse(&canonical), Ok(selector), "{}", canonical);
    }

    #[test]
    fn any_text_is_read_or_refused(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "all()", "has(", "has(a)", "a", "b", "==", "!=", "!", "(", ")", "{", "}", ",", "'", "\"",
                "'x'", "in", "not in", "notin", "contains", "starts", "with", "&&", "||", " ", "\t",
                "\n", "é", "\0", "global()", "&", "=",
            ]),
            0..40,
        ),
    ) {
        let text = pieces.concat();
        match Selector::parse(&text) {
            Ok(selector) => {
                prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
            }
            Err(error) => {
                prop_assert!(text.get(error.span.clone()).is_some(), "{:?} of {:?}", error, text);
                prop_assert_eq!(error.character, text[..error.span.start].chars().count() + 1);
            }
        }
    }

    #[test]
    fn any_characters_are_read_or_refused(text in ".{0,60}") {
        let _ = Selector::parse(&text);
    }
}

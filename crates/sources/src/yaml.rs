//! YAML text to values, one document at a time, with limits.
//!
//! A stream is cut at its `---` lines before anything is parsed, as `kubectl` does it, so that a
//! syntax error costs the document that has it and none of its neighbours. The limits make hostile
//! text (alias bombs, deep nesting, endless keys) an error instead of a hang.

use serde_json::Value;
use serde_saphyr::UserMessageFormatter;
use serde_saphyr::options::MergeKeyPolicy;

/// Deepest nesting of a document. Kubernetes objects need about 15.
const MAX_DEPTH: usize = 64;
/// Most nodes of a document. A large Pod has a few thousand.
const MAX_NODES: usize = 250_000;
/// Most anchors and aliases of a document, and how much aliases may multiply it.
const MAX_ALIASES: usize = 256;
const MAX_REPLAYED_EVENTS: usize = 20_000;

/// One document of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Position in the stream, from 1; documents without content count too.
    pub number: u32,
    /// Line of the stream on which `text` begins, from 1.
    pub line: u32,
    /// The document, without its `---`.
    pub text: &'a str,
}

/// Cuts a stream into documents, leaving out those that hold nothing but white space and comments.
pub fn sections(stream: &str) -> impl Iterator<Item = Section<'_>> {
    let mut cuts = vec![(0, 0, 1)];
    let mut at = 0;
    for (i, line) in stream.split_inclusive('\n').enumerate() {
        let next = at + line.len();
        if is_separator(line) {
            // Content may follow on the separator's own line: `--- {kind: Pod}`.
            cuts.push((at, at + "---".len(), i as u32 + 1));
        }
        at = next;
    }
    cuts.push((stream.len(), stream.len(), 0));
    (1..cuts.len()).filter_map(move |i| {
        let ((_, start, line), (end, ..)) = (cuts[i - 1], cuts[i]);
        let text = &stream[start..end];
        // What precedes the first separator is a document only if it has content.
        let leading = cuts.len() > 2 && is_blank(&stream[..cuts[1].0]);
        let number = i as u32 - u32::from(leading);
        (!is_blank(text)).then_some(Section { number, line, text })
    })
}

/// Parses one document.
///
/// # Errors
/// It is not YAML, has a key twice, or exceeds a limit; the message ends with the place, counted
/// from `section.line`.
pub fn parse(section: Section<'_>) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 2,
            max_anchors: MAX_ALIASES,
            max_aliases: MAX_ALIASES,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED_EVENTS,
            max_replay_stack_depth: 8,
        },
        merge_keys: MergeKeyPolicy::Error,
        // `y`, `no` and `on` are words, as in YAML 1.2.
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(section.text, options)
        .map_err(|error| describe(&error, section.line))
}

/// The parser's message with the place counted in the stream rather than in the document.
fn describe(error: &serde_saphyr::Error, first_line: u32) -> String {
    let message = error.without_snippet().render_with_formatter(&UserMessageFormatter);
    match error.location() {
        Some(place) => {
            let message = message.split(" at line ").next().unwrap_or(&message);
            let line = place.line() + u64::from(first_line) - 1;
            format!("{message} at line {line}, column {}", place.column())
        }
        None => message,
    }
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn is_blank(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(stream: &str) -> Vec<(u32, u32, &str)> {
        sections(stream).map(|s| (s.number, s.line, s.text.trim())).collect()
    }

    fn parse_text(text: &str) -> Result<Value, String> {
        parse(Section { number: 1, line: 10, text })
    }

    #[test]
    fn a_stream_is_cut_at_separators() {
        assert_eq!(numbered("a: 1"), [(1, 1, "a: 1")]);
        assert_eq!(numbered("a: 1\n---\nb: 1\n"), [(1, 1, "a: 1"), (2, 2, "b: 1")]);
        assert_eq!(
            numbered("# head\n---\na: 1\n--- \n# none\n---\nc: 1"),
            [(1, 2, "a: 1"), (3, 6, "c: 1")]
        );
        assert_eq!(numbered("---\r\na: 1\r\n---\r\n"), [(1, 1, "a: 1")]);
        assert_eq!(numbered("a: |\n  ---\n---- no\n"), [(1, 1, "a: |\n  ---\n---- no")]);
        assert_eq!(numbered(""), []);
    }

    #[test]
    fn an_error_names_its_place_in_the_stream() {
        for (text, place) in [
            ("a: [1", "at line 10, column 4"),
            ("a: 1\na: 2", "at line 11, column 1"),
            ("a:\n\tb: 1", "at line 11"),
            ("<<: {a: 1}", "at line 10"),
        ] {
            let error = parse_text(text).unwrap_err();
            assert!(error.contains(place) && error.matches(" line ").count() == 1, "{error}");
        }
    }

    /// As JSON has none, they would be read as null: an option that has one would count as absent.
    #[test]
    fn numbers_that_are_none_are_errors() {
        for text in ["a: .inf", "a: -.Inf", "a: .nan", "a: 1e999", "a: [.nan]"] {
            let error = parse_text(text).unwrap_err();
            assert!(error.contains("not a finite number at line 10"), "{error}");
        }
    }

    #[test]
    fn hostile_documents_are_errors() {
        let aliases = |n: usize| (0..n).map(|_| "*a").collect::<Vec<_>>().join(",");
        let bomb = format!(
            "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [{b}]\nc: &c [{c}]\nd: [{d}]",
            b = aliases(20),
            c = aliases(20).replace("*a", "*b"),
            d = aliases(20).replace("*a", "*c"),
        );
        let wide = "- a\n".repeat(MAX_NODES + 1);
        let keys: String = (0..MAX_NODES).map(|i| format!("k{i}: v\n")).collect();
        for text in [
            &bomb,
            &"[".repeat(100_000),
            &"{a: ".repeat(100_000),
            &"- ".repeat(100_000),
            &wide,
            &keys,
        ] {
            assert!(parse_text(text).is_err(), "{}", &text[..20]);
        }
    }
}

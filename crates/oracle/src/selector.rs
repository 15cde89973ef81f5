//! The selector language (§2.3), read from its text and answered in one pass: there is no tree.
//!
//! ```text
//! or    = and { "||" and }
//! and   = not { "&&" not }
//! not   = { "!" } term
//! term  = "(" or ")" | "all()" | "has(" key ")" | key operator
//! ```
//! Both operands of an operator are always read, so whether a text can be read never depends on the
//! labels it is asked about.

use crate::label_selector::Reading;

/// Longest selector, in characters (C8).
const MAX_CHARACTERS: usize = 1024;
/// Longest label key, in characters (§2.3).
const MAX_KEY: usize = 512;

/// Whether a text is `global()`: a marker that may only be the whole `namespaceSelector` of a rule's
/// peer (§2.3).
pub(crate) fn is_global(text: &str) -> bool {
    let inside = text.trim_matches([' ', '\t']).strip_prefix("global(");
    inside.and_then(|rest| rest.strip_suffix(')')).is_some_and(|rest| rest.trim().is_empty())
}

/// Puts a selector to labels. `all` is what `all()` says of the object: C14 rewrites it in the
/// selectors of namespaces and service accounts.
pub(crate) fn read<'a>(text: &str, all: bool, label: &dyn Fn(&str) -> Option<&'a str>) -> Reading {
    match answer(text, all, label) {
        Ok(true) => Reading::Matched,
        Ok(false) => Reading::Failed(format!("{text:?} does not match")),
        Err(why) => Reading::Broken(why),
    }
}

/// Why a selector cannot be read, if it cannot (C16).
pub(crate) fn broken(text: &str) -> Option<String> {
    answer(text, true, &|_| None).err()
}

fn answer<'a>(
    text: &str,
    all: bool,
    label: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<bool, String> {
    if text.chars().count() > MAX_CHARACTERS {
        return Err(format!("a selector of more than {MAX_CHARACTERS} characters"));
    }
    let mut reader = Reader { text, rest: text, all, label };
    reader.skip_blanks();
    // Blank = all().
    if reader.rest.is_empty() {
        return Ok(all);
    }
    let answer = reader.or()?;
    if reader.rest.is_empty() { Ok(answer) } else { Err(reader.wanted("the end")) }
}

struct Reader<'t, 'l, 'a> {
    text: &'t str,
    rest: &'t str,
    all: bool,
    label: &'l dyn Fn(&str) -> Option<&'a str>,
}

impl<'t, 'a> Reader<'t, '_, 'a> {
    fn or(&mut self) -> Result<bool, String> {
        let mut any = self.and()?;
        while self.eat("||") {
            any |= self.and()?;
        }
        Ok(any)
    }

    fn and(&mut self) -> Result<bool, String> {
        let mut all = self.not()?;
        while self.eat("&&") {
            all &= self.not()?;
        }
        Ok(all)
    }

    /// `!` binds to the next single term, so `!k == 'v'` is `!(k == 'v')`.
    fn not(&mut self) -> Result<bool, String> {
        let mut negated = false;
        while self.eat("!") {
            negated = !negated;
        }
        Ok(self.term()? != negated)
    }

    fn term(&mut self) -> Result<bool, String> {
        if self.eat("(") {
            let inner = self.or()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let key = self.word();
        let call = self.rest.starts_with('(');
        let answer = match key {
            "" => return Err(self.wanted("a term")),
            "all" if call => {
                self.expect("(")?;
                self.expect(")")?;
                return Ok(self.all);
            }
            "has" if call => {
                self.expect("(")?;
                let key = self.key()?;
                self.expect(")")?;
                return Ok(self.value(key).is_some());
            }
            // §2.3: global() is a marker, never a term.
            "global" if call => {
                return Err(format!("global() inside the selector {:?}", self.text));
            }
            key => self.comparison(key)?,
        };
        self.skip_blanks();
        Ok(answer)
    }

    fn comparison(&mut self, key: &str) -> Result<bool, String> {
        check_key(key)?;
        self.skip_blanks();
        let value = self.value(key);
        if self.eat("==") {
            let wanted = self.literal()?;
            return Ok(value == Some(wanted));
        }
        // Absent or different.
        if self.eat("!=") {
            let wanted = self.literal()?;
            return Ok(value != Some(wanted));
        }
        let mut operator = self.word().to_owned();
        self.skip_blanks();
        // `not in`, `starts with` and `ends with` may be written apart.
        if matches!(&*operator, "not" | "starts" | "ends") {
            operator += self.word();
            self.skip_blanks();
        }
        match &*operator {
            "in" => Ok(self.set()?.iter().any(|listed| value == Some(*listed))),
            // Absent or not listed.
            "notin" => Ok(!self.set()?.iter().any(|listed| value == Some(*listed))),
            // Present and so: an absent key has no text.
            "contains" => self.literal().map(|part| value.is_some_and(|v| v.contains(part))),
            "startswith" => self.literal().map(|part| value.is_some_and(|v| v.starts_with(part))),
            "endswith" => self.literal().map(|part| value.is_some_and(|v| v.ends_with(part))),
            _ => Err(self.wanted("an operator")),
        }
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        (self.label)(key)
    }

    /// `{'a', 'b'}`; none is legal, and so is a comma behind the last.
    fn set(&mut self) -> Result<Vec<&'t str>, String> {
        self.expect("{")?;
        let mut listed = Vec::new();
        while !self.eat("}") {
            listed.push(self.literal()?);
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(listed)
    }

    /// A string in either quotes; there are no escapes.
    fn literal(&mut self) -> Result<&'t str, String> {
        self.skip_blanks();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or_else(|| self.wanted("a quoted string"))?;
        let inside = &self.rest[1..];
        let end = inside.find(quote).ok_or_else(|| self.wanted("a string that ends"))?;
        let text = &inside[..end];
        // A newline is an error wherever it stands, and no label value has such a character.
        if text.contains(|c: char| c.is_control()) {
            return Err(self.wanted("a string without control characters"));
        }
        self.rest = &inside[end + 1..];
        self.skip_blanks();
        Ok(text)
    }

    fn key(&mut self) -> Result<&'t str, String> {
        self.skip_blanks();
        match self.word() {
            "" => Err(self.wanted("a label key")),
            key => check_key(key).map(|()| key),
        }
    }

    /// The longest run of characters that a key may have.
    fn word(&mut self) -> &'t str {
        let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
        let end = self.rest.find(|c| !is_key(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Takes a mark, if it comes next, and the blanks behind it.
    fn eat(&mut self, mark: &str) -> bool {
        self.skip_blanks();
        let Some(rest) = self.rest.strip_prefix(mark) else { return false };
        self.rest = rest;
        self.skip_blanks();
        true
    }

    fn expect(&mut self, mark: &str) -> Result<(), String> {
        if self.eat(mark) { Ok(()) } else { Err(self.wanted(mark)) }
    }

    /// Space and tab only: a newline is an error.
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn wanted(&self, what: &str) -> String {
        format!("{:?} has {:?} where {what} is wanted", self.text, self.rest)
    }
}

fn check_key(key: &str) -> Result<(), String> {
    if key.len() > MAX_KEY {
        return Err(format!("a label key of more than {MAX_KEY} characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str, labels: &[(&str, &'static str)]) -> Option<bool> {
        let label = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        match read(text, true, &label) {
            Reading::Matched => Some(true),
            Reading::Failed(_) => Some(false),
            Reading::Broken(_) => None,
        }
    }

    /// §2.3, the table of operators: on an absent key, an empty value, and two others.
    #[test]
    fn operators() {
        for (text, absent, empty, a, b) in [
            ("all()", true, true, true, true),
            ("", true, true, true, true),
            (" \t ", true, true, true, true),
            ("has(k)", false, true, true, true),
            ("!has(k)", true, false, false, false),
            ("k == 'a'", false, false, true, false),
            ("k==\"a\"", false, false, true, false),
            ("k == ''", false, true, false, false),
            ("k == 'A'", false, false, false, false),
            ("k != 'a'", true, true, false, true),
            ("k in {'a'}", false, false, true, false),
            ("k in {'a', \"b\",}", false, false, true, true),
            ("k in {}", false, false, false, false),
            ("k not in {'a'}", true, true, false, true),
            ("k notin{'a'}", true, true, false, true),
            ("k not in {}", true, true, true, true),
            ("k contains ''", false, true, true, true),
            ("k contains 'a'", false, false, true, false),
            ("k starts with 'a'", false, false, true, false),
            ("k startswith 'a'", false, false, true, false),
            ("k ends  with 'a'", false, false, true, false),
            ("k endswith''", false, true, true, true),
            ("!k startswith 'a'", true, true, false, true),
            ("!k == 'a'", true, true, false, true),
            ("!!k == 'a'", false, false, true, false),
            ("!(k == 'a' || k == 'b')", true, true, false, false),
            ("k == 'a' || k == 'b' && k == ''", false, false, true, false),
            ("(k == 'a' || k == 'b') && k == 'b'", false, false, false, true),
            ("! has(k) || k=='a'", true, false, true, false),
            ("k == 'all()' || k == 'global()'", false, false, false, false),
        ] {
            let of = |labels: &[(&str, &'static str)]| says(text, labels);
            let found = [of(&[]), of(&[("k", "")]), of(&[("k", "a")]), of(&[("k", "b")])];
            assert_eq!(found, [absent, empty, a, b].map(Some), "{text:?}");
        }
    }

    #[test]
    fn operator_words_are_keys() {
        for (text, key) in [
            ("in in {'v'}", "in"),
            ("not not in {'w'}", "not"),
            ("has == 'v'", "has"),
            ("all == 'v'", "all"),
            ("global == 'v'", "global"),
            ("contains contains 'v'", "contains"),
            ("starts starts with 'v'", "starts"),
            ("has(has)", "has"),
            ("A-Z_0.9/b == 'v'", "A-Z_0.9/b"),
        ] {
            assert_eq!(says(text, &[(key, "v")]), Some(true), "{text:?}");
        }
    }

    #[test]
    fn c14_a_literal_is_no_call_and_all_is_told() {
        let says_of = |text| matches!(read(text, false, &|_| Some("all()")), Reading::Matched);
        assert!(says_of("x == 'all()'"));
        assert!(!says_of("all()") && !says_of("") && says_of("!all()"));
    }

    #[test]
    fn what_is_no_selector() {
        let long = format!("k == '{}'", "v".repeat(MAX_CHARACTERS));
        let key = format!("{} == ''", "k".repeat(MAX_KEY + 1));
        for text in [
            "has (k)",
            "all ()",
            "global()",
            "!global()",
            "k",
            "k ==",
            "k == v",
            "k = 'v'",
            "k in",
            "k in 'a'",
            "k in {a}",
            "k in {'a' 'b'}",
            "k not {'a'}",
            "k not 'a'",
            "(k == 'a'",
            "k == 'a')",
            "k == 'a' k == 'b'",
            "k == 'a' &&",
            "|| k == 'a'",
            "k == 'a' & k == 'b'",
            "k == 'a",
            "k\n== 'a'",
            "has()",
            "has(k",
            "()",
            "!",
            "k startwith 'a'",
            "k in {,}",
            "ä == 'a'",
            "'a' == k",
            &long,
            &key,
        ] {
            assert_eq!(says(text, &[("k", "a")]), None, "{text:?}");
        }
    }
}

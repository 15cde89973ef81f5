//! The selector language (§2.3) as text.
//!
//! ```text
//! or      = and *( "||" and )
//! and     = operand *( "&&" operand )
//! operand = *"!" ( "(" or ")" / term )
//! term    = "all()" / "has(" key ")" / key operator
//! ```
//! White space is space and tab. A word before `(` is a function only if nothing stands between
//! them, so that every operator and function word is a legal key too. The parser keeps its own
//! stack: how deep a text nests is bounded by its length, and how deep a tree does by a limit, so
//! that everything which walks trees may recurse.

use std::fmt;
use std::ops::Range;

use super::Selector;
use crate::Name;
use crate::labels::{
    Labels, NAMESPACE_LABEL_PREFIX, NAMESPACE_NAME_LABEL, SERVICE_ACCOUNT_LABEL_PREFIX,
    SERVICE_ACCOUNT_NAME_LABEL,
};

/// Longest selector, characters (C8).
pub const MAX_LENGTH: usize = 1024;
/// Longest key, characters (§2.3).
pub const MAX_KEY_LENGTH: usize = 512;
/// Deepest tree: a term is 1 deep, and each `!`, `&&` and `||` around it adds one.
pub const MAX_DEPTH: usize = 64;

/// Whose labels a selector's text speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The effective labels of an endpoint or network set: keys stand as they are written.
    Endpoint,
    /// The labels of its namespace, without their prefix (C11). `all()` is whatever has a namespace
    /// (C10).
    Namespace,
    /// The labels of its service account, likewise.
    ServiceAccount,
}

/// Why a text is no selector, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The bytes that are wrong; empty at the end of the text.
    pub span: Range<usize>,
    /// The character where they begin, from 1.
    pub character: usize,
    message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {}: {}", self.character, self.message)
    }
}

impl std::error::Error for ParseError {}

impl Selector {
    /// Reads a selector over effective labels. A blank text is `all()`.
    ///
    /// # Errors
    /// It is no selector of the language, or exceeds a limit: [`MAX_LENGTH`], [`MAX_KEY_LENGTH`],
    /// [`MAX_DEPTH`].
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Self::parse_in(text, Scope::Endpoint)
    }

    /// Reads a selector over the labels of `scope` and writes it onto effective labels. That is
    /// done on the tree, so a literal that looks like a function stays a literal (C14). What has no
    /// namespace (or service account) has none of its labels either, so a negation would hold for
    /// it; the result asks for one first (C10, C23).
    ///
    /// # Errors
    /// As [`Selector::parse`].
    pub fn parse_in(text: &str, scope: Scope) -> Result<Self, ParseError> {
        Self::parse_with(text, scope, &mut |text| text.into())
    }

    /// As [`Selector::parse_in`], with keys and values made by `name`, so that they can be shared
    /// with those of other objects.
    ///
    /// # Errors
    /// As [`Selector::parse`].
    pub fn parse_with(
        text: &str,
        scope: Scope,
        name: &mut dyn FnMut(&str) -> Name,
    ) -> Result<Self, ParseError> {
        let parser = Parser { text, at: 0, scope, name };
        let all = parser.all();
        let written = parser.selector()?;
        Ok(match all != Self::All && written.matches(&Labels::default()) {
            true => Self::and([all, written]),
            false => written,
        })
    }
}

/// Whether a text is `global()`, the marker for what has no namespace. It is no selector: it may
/// only be the whole `namespaceSelector` of a rule's peer.
pub fn is_global(text: &str) -> bool {
    let text = text.trim_matches(SPACE).strip_prefix("global(");
    text.and_then(|rest| rest.strip_suffix(')'))
        .is_some_and(|rest| rest.trim_matches(SPACE).is_empty())
}

const SPACE: [char; 2] = [' ', '\t'];

struct Parser<'a> {
    text: &'a str,
    /// Byte position of what comes next.
    at: usize,
    scope: Scope,
    /// Makes a key or value of its text.
    name: &'a mut dyn FnMut(&str) -> Name,
}

/// A selector and the depth of its tree.
struct Operand {
    selector: Selector,
    depth: usize,
}

/// What is open: the whole text, or a parenthesis.
#[derive(Default)]
struct Frame {
    /// Where it begins.
    start: usize,
    /// Whether it stands behind an odd number of `!`.
    negated: bool,
    /// Finished operands of `||`.
    any: Vec<Operand>,
    /// Operands of the `&&` that is being read.
    all: Vec<Operand>,
}

impl Frame {
    fn close_and(&mut self) {
        let all = std::mem::take(&mut self.all);
        self.any.push(Operand::joined(all, Selector::and));
    }

    fn close(mut self) -> Operand {
        self.close_and();
        Operand::joined(self.any, Selector::or).negated_if(self.negated)
    }
}

impl Operand {
    fn joined(mut operands: Vec<Self>, join: fn(Vec<Selector>) -> Selector) -> Self {
        if operands.len() == 1 {
            return operands.remove(0);
        }
        let deepest = operands.iter().map(|o| o.depth).max().unwrap_or_default();
        let depth = deepest + 1;
        Self { selector: join(operands.into_iter().map(|o| o.selector).collect()), depth }
    }

    fn negated_if(self, negated: bool) -> Self {
        if !negated {
            return self;
        }
        Self { selector: Selector::not(self.selector), depth: self.depth + 1 }
    }
}

impl<'a> Parser<'a> {
    fn selector(mut self) -> Result<Selector, ParseError> {
        if let Some((at, _)) = self.text.char_indices().nth(MAX_LENGTH) {
            let message = format!("a selector has at most {MAX_LENGTH} characters");
            return Err(self.error(at..self.text.len(), message));
        }
        if self.text.trim_matches(SPACE).is_empty() {
            return Ok(self.all());
        }
        let mut open = vec![Frame::default()];
        loop {
            let negated = self.negations();
            let start = self.at;
            if self.take("(") {
                open.push(Frame { start, negated, ..Frame::default() });
                continue;
            }
            let term = Operand { selector: self.term()?, depth: 1 }.negated_if(negated);
            if let Some(selector) = self.after_operand(&mut open, term)? {
                return Ok(selector);
            }
        }
    }

    /// Reads on behind an operand up to where the next one begins; the whole selector at the end of
    /// the text.
    fn after_operand(
        &mut self,
        open: &mut Vec<Frame>,
        mut operand: Operand,
    ) -> Result<Option<Selector>, ParseError> {
        loop {
            let nested = open.len() > 1;
            let frame = open.last_mut().expect("the frame of the whole text is never closed here");
            frame.all.push(operand);
            self.skip_space();
            if self.take("&&") {
                return Ok(None);
            }
            if self.take("||") {
                frame.close_and();
                return Ok(None);
            }
            let at_end = self.at == self.text.len();
            match (at_end, nested) {
                (true, false) => {}
                (true, true) => {
                    let unclosed = frame.start..frame.start + 1;
                    return Err(self.error(unclosed, "this parenthesis is not closed".into()));
                }
                (false, true) if self.take(")") => {}
                (false, true) => return Err(self.expected("&&, || or )")),
                (false, false) => return Err(self.expected("&&, || or the end")),
            }
            let frame = open.pop().expect("it was the last");
            let start = frame.start;
            operand = frame.close();
            if operand.depth > MAX_DEPTH {
                let message = format!("nested more than {MAX_DEPTH} deep");
                return Err(self.error(start..self.at, message));
            }
            if at_end {
                return Ok(Some(operand.selector));
            }
        }
    }

    /// Reads any number of `!`; whether it is odd.
    fn negations(&mut self) -> bool {
        let mut negated = false;
        self.skip_space();
        while self.take("!") {
            negated = !negated;
            self.skip_space();
        }
        negated
    }

    fn term(&mut self) -> Result<Selector, ParseError> {
        let start = self.at;
        let key = self.word();
        if key.is_empty() {
            return Err(self.expected("a key, all(), has(key), ! or ("));
        }
        if self.peek() == Some(b'(') {
            match key {
                "all" => {
                    self.at += 1;
                    self.closing()?;
                    return Ok(self.all());
                }
                "has" => {
                    self.at += 1;
                    self.skip_space();
                    let key = self.key()?;
                    self.closing()?;
                    return Ok(Selector::Has(key));
                }
                "global" => {
                    let message = "global() may only be the whole namespaceSelector of a rule's \
                                   source or destination";
                    return Err(self.error(start..self.at, message.into()));
                }
                _ => {}
            }
        }
        self.at = start;
        let key = self.key()?;
        self.operator(key)
    }

    /// Reads an operator and what stands on its right.
    fn operator(&mut self, key: Name) -> Result<Selector, ParseError> {
        const OPERATOR: &str =
            "an operator: ==, !=, in, not in, contains, starts with or ends with";
        self.skip_space();
        let start = self.at;
        if self.take("==") {
            return Ok(Selector::equals(key, self.literal()?));
        }
        if self.take("!=") {
            return Ok(Selector::not(Selector::equals(key, self.literal()?)));
        }
        let first = self.word();
        let end = self.at;
        // Of two words the second may follow the first without a space; then they are one word.
        let second = match first {
            "not" => Some("in"),
            "starts" | "ends" => Some("with"),
            _ => None,
        };
        if let Some(second) = second {
            self.skip_space();
            if self.word() != second {
                return Err(self.error(start..end, format!("expected {OPERATOR}")));
            }
        }
        match first {
            "in" => self.set(key),
            "not" | "notin" => Ok(Selector::not(self.set(key)?)),
            "contains" => Ok(with_text(key, self.literal()?, Selector::Contains)),
            "starts" | "startswith" => Ok(with_text(key, self.literal()?, Selector::StartsWith)),
            "ends" | "endswith" => Ok(with_text(key, self.literal()?, Selector::EndsWith)),
            _ => {
                self.at = start;
                Err(self.expected(OPERATOR))
            }
        }
    }

    /// Reads `{…}`. Nothing is in the empty set.
    fn set(&mut self, key: Name) -> Result<Selector, ParseError> {
        self.skip_space();
        if !self.take("{") {
            return Err(self.expected("a set such as {'a', 'b'}"));
        }
        let mut values = Vec::new();
        loop {
            self.skip_space();
            if self.take("}") {
                break;
            }
            if !matches!(self.peek(), Some(b'\'' | b'"')) {
                return Err(self.expected("a text in quotes or }"));
            }
            values.push(self.literal()?);
            self.skip_space();
            if !self.take(",") && self.peek() != Some(b'}') {
                return Err(self.expected(", or }"));
            }
        }
        Ok(if values.is_empty() {
            Selector::None
        } else {
            Selector::In(key, values.into_iter().collect())
        })
    }

    /// Reads a text in quotes of either kind. There are no escapes.
    fn literal(&mut self) -> Result<Name, ParseError> {
        self.skip_space();
        let start = self.at;
        let Some(quote @ (b'\'' | b'"')) = self.peek() else {
            return Err(self.expected("a text in quotes"));
        };
        let rest = &self.text[start + 1..];
        let Some(length) = rest.bytes().position(|b| b == quote) else {
            return Err(self.error(start..start + 1, "this quote is not closed".into()));
        };
        let text = &rest[..length];
        if let Some((i, c)) = text.char_indices().find(|(_, c)| c.is_control()) {
            let at = start + 1 + i;
            let message = format!("{c:?} cannot stand in a text");
            return Err(self.error(at..at + c.len_utf8(), message));
        }
        self.at = start + 1 + length + 1;
        Ok((self.name)(text))
    }

    /// Reads a key and puts it into the scope.
    fn key(&mut self) -> Result<Name, ParseError> {
        let start = self.at;
        let key = self.word();
        if key.is_empty() {
            return Err(self.expected("a key"));
        }
        if key.len() > MAX_KEY_LENGTH {
            let message = format!("a key has at most {MAX_KEY_LENGTH} characters");
            return Err(self.error(start..self.at, message));
        }
        Ok(match self.scope {
            Scope::Endpoint => (self.name)(key),
            Scope::Namespace => (self.name)(&format!("{NAMESPACE_LABEL_PREFIX}{key}")),
            Scope::ServiceAccount => (self.name)(&format!("{SERVICE_ACCOUNT_LABEL_PREFIX}{key}")),
        })
    }

    fn all(&self) -> Selector {
        match self.scope {
            Scope::Endpoint => Selector::All,
            Scope::Namespace => Selector::Has(NAMESPACE_NAME_LABEL.into()),
            Scope::ServiceAccount => Selector::Has(SERVICE_ACCOUNT_NAME_LABEL.into()),
        }
    }

    fn closing(&mut self) -> Result<(), ParseError> {
        self.skip_space();
        if self.take(")") { Ok(()) } else { Err(self.expected(")")) }
    }

    /// The characters of a key or operator word that come next, perhaps none.
    fn word(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.bytes().position(|b| !is_key_byte(b)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.text[self.at..].starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// Something else was expected than what comes next.
    fn expected(&self, expected: &str) -> ParseError {
        let rest = &self.text[self.at..];
        let word = rest.bytes().position(|b| !is_key_byte(b)).unwrap_or(rest.len());
        let length = match rest.chars().next() {
            Some(first) if word == 0 => first.len_utf8(),
            _ => word,
        };
        let found = match &rest[..length] {
            "" => "the end".to_owned(),
            // Long words say no more than their beginnings.
            found if found.chars().any(char::is_control) => format!("{found:?}"),
            found => format!("`{}`", found.chars().take(32).collect::<String>()),
        };
        let message = format!("expected {expected}, found {found}");
        self.error(self.at..self.at + length, message)
    }

    fn error(&self, span: Range<usize>, message: String) -> ParseError {
        let character = self.text[..span.start].chars().count() + 1;
        ParseError { span, character, message }
    }
}

/// A term with a text; every value has the empty text in it.
fn with_text(key: Name, text: Name, build: fn(Name, Name) -> Selector) -> Selector {
    if text.is_empty() { Selector::Has(key) } else { build(key, text) }
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-')
}

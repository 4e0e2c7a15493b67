//! From text to a tree, as the servers read it.
//!
//! Seen on 0.40.6 and 0.22.26, and kept here:
//! - A group is cut out of the text first, by brackets and quotes alone: a `)` or a quote in a comment counts.
//! - A group may stand anywhere. One that interrupts a comparison (`a (b = 1)`) takes its place; one that follows a
//!   comparison without `&&` or `||` is joined as the one before it was.
//! - Blanks are space, tab and LF; CR is none.
//! - Numbers have no exponent, no `+`, and digits on both sides of the dot.

use std::fmt;

/// Groups may be nested so deep here. Servers take more (seen: 1,700), so that going deeper is no error of the syntax.
const MAX_DEPTH: usize = 100;
/// Comparisons in one filter, from 0.23 on; and 0.22 takes fewer.
const MAX_COMPARISONS: usize = 200;
/// Bytes of a filter in a list request; and 0.22 takes fewer.
pub(super) const MAX_BYTES: usize = 3_500;
const LEFT: &str = "a field or a value";
const RIGHT: &str = "a field or a value after the sign";

/// Calls within calls.
const MAX_CALL_DEPTH: usize = 3;

/// How a server reads texts and names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grammar {
    /// From 0.39 on `\n \t \r \\ \' \"` are escapes; before, only a backslash before the text's own quote was.
    pub(super) escapes: bool,
    /// From 0.27 on `name(` begins a call.
    pub(super) calls: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Compare(Box<Comparison>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    pub(super) left: Token,
    pub(super) op: Op,
    /// A `?` stood before the sign: any value of many will do.
    pub(super) any: bool,
    pub(super) right: Token,
    /// As it was written.
    pub(super) source: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Number(f64),
    Call(String, Vec<Token>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Equal,
    NotEqual,
    Like,
    NotLike,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Why a filter cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Of the first character that does not fit, counted from 1.
    pub(crate) column: usize,
    pub(crate) reason: String,
    /// No server takes it. Otherwise only this parser does not.
    pub(crate) is_certain: bool,
    /// More text before or after could mend it.
    pub(crate) is_open: bool,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at column {}", self.reason, self.column)
    }
}

pub(super) fn parse(text: &str, grammar: Grammar) -> Result<Tree, SyntaxError> {
    if let Some(at) = text.find('\0') {
        let column = text[..at].chars().count() + 1;
        let reason = "a NUL character, which servers take for an end or for nothing".to_owned();
        return Err(SyntaxError { column, reason, is_certain: false, is_open: false });
    }
    let mut parser = Parser { text, at: 0, end: text.len(), grammar, comparisons: 0 };
    parser.group(0)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Where the group ends that is being read.
    end: usize,
    grammar: Grammar,
    comparisons: usize,
}

/// What comes next.
enum Step {
    Left,
    Sign(Token, usize),
    Right(Token, usize, Op, bool),
    Join,
}

impl<'a> Parser<'a> {
    /// Everything up to the end of a group.
    fn group(&mut self, depth: usize) -> Result<Tree, SyntaxError> {
        // A list of conjunctions: `&&` binds tighter.
        let mut alternatives: Vec<Vec<Tree>> = Vec::new();
        let mut or = false;
        let mut put = |tree: Tree, or: bool| match alternatives.last_mut() {
            Some(last) if !or => last.push(tree),
            _ => alternatives.push(vec![tree]),
        };
        let mut step = Step::Left;
        while let Some(character) = self.next_character()? {
            if character == '(' {
                put(self.inner(depth)?, or);
                step = Step::Join;
                continue;
            }
            let begin = self.at;
            step = match step {
                Step::Left => {
                    let left = self.operand(LEFT)?;
                    Step::Sign(left, begin)
                }
                Step::Sign(left, from) => {
                    let (op, any) = self.sign()?;
                    Step::Right(left, from, op, any)
                }
                Step::Right(left, from, op, any) => {
                    let right = self.operand(RIGHT)?;
                    self.count(from)?;
                    let source = self.text[from..self.at].to_owned();
                    put(Tree::Compare(Box::new(Comparison { left, op, any, right, source })), or);
                    Step::Join
                }
                Step::Join => {
                    or = self.join()?;
                    Step::Left
                }
            };
        }
        match step {
            Step::Join => Ok(Tree::from(alternatives)),
            Step::Left if alternatives.is_empty() => {
                Err(self.error_at(self.at, "nothing to compare: a comparison such as `a = 1` is expected"))
            }
            Step::Left => Err(self.error_at(self.at, "a comparison is expected after `&&` and `||`")),
            Step::Sign(..) => Err(self.error_at(self.at, "a sign such as `=` or `~` is expected")),
            Step::Right(..) => Err(self.error_at(self.at, "a field or a value is expected after the sign")),
        }
    }

    /// A group in brackets: its end is looked for first, as servers do.
    fn inner(&mut self, depth: usize) -> Result<Tree, SyntaxError> {
        let open = self.at;
        if depth == MAX_DEPTH {
            let reason = format!("groups are nested more than {MAX_DEPTH} deep");
            return Err(SyntaxError { is_certain: false, ..self.error_at(open, reason) });
        }
        let mut level = 0;
        let mut at = open;
        let close = loop {
            let Some(character) = self.text[at..self.end].chars().next() else {
                let reason = "the `(` is not closed: `)` is expected before the end,";
                return Err(SyntaxError { is_open: true, ..self.error_at(open, reason) });
            };
            match character {
                '(' => level += 1,
                ')' if level == 1 => break at,
                ')' => level -= 1,
                '"' | '\'' => {
                    at = self.end_of_text(at)?;
                    continue;
                }
                _ => {}
            }
            at += character.len_utf8();
        };
        let outer = std::mem::replace(&mut self.end, close);
        self.at = open + 1;
        let tree = self.group(depth + 1)?;
        (self.at, self.end) = (close + 1, outer);
        Ok(tree)
    }

    /// The character that the next token begins with, past blanks and comments.
    fn next_character(&mut self) -> Result<Option<char>, SyntaxError> {
        loop {
            match self.peek() {
                None => return Ok(None),
                Some(' ' | '\t' | '\n') => self.at += 1,
                Some('/') => {
                    if !self.text[self.at..self.end].starts_with("//") {
                        return Err(self.unexpected());
                    }
                    self.comment();
                }
                Some(character) => return Ok(Some(character)),
            }
        }
    }

    fn comment(&mut self) {
        let rest = &self.text[self.at..self.end];
        self.at += rest.find('\n').unwrap_or(rest.len());
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..self.end].chars().next()
    }

    fn operand(&mut self, wanted: &str) -> Result<Token, SyntaxError> {
        match self.peek() {
            Some('"' | '\'') => self.quoted(),
            Some('-' | '0'..='9') => self.number(),
            Some(c) if c.is_ascii_alphabetic() || matches!(c, '_' | '@' | '#') => self.name(0),
            Some(c) if is_sign(c) || matches!(c, '&' | '|') => {
                let error = self.error_at(self.at, format!("{wanted} is expected and not `{c}`"));
                Err(SyntaxError {
                    is_open: error.is_open || self.comparisons == 0 && wanted == LEFT,
                    ..error
                })
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Where the text that begins at `at` ends, behind its quote.
    fn end_of_text(&self, at: usize) -> Result<usize, SyntaxError> {
        let quote = self.text.as_bytes()[at];
        let mut escaped = false;
        for (i, byte) in self.text.as_bytes()[..self.end].iter().copied().enumerate().skip(at + 1) {
            match byte {
                b if b == quote && !escaped => return Ok(i + 1),
                // An old server looks at the character before alone.
                b'\\' => escaped = !(escaped && self.grammar.escapes),
                _ => escaped = false,
            }
        }
        let quote = char::from(quote);
        Err(self
            .error_at(at, format!("the text is not closed: {quote} is expected before the end, for the one")))
    }

    fn quoted(&mut self) -> Result<Token, SyntaxError> {
        let begin = self.at;
        self.at = self.end_of_text(begin)?;
        let quote = &self.text[begin..=begin];
        let inner = &self.text[begin + 1..self.at - 1];
        if !self.grammar.escapes {
            return Ok(Token::Text(inner.replace(&format!("\\{quote}"), quote)));
        }
        let mut text = String::with_capacity(inner.len());
        let mut characters = inner.chars();
        while let Some(character) = characters.next() {
            if character != '\\' {
                text.push(character);
                continue;
            }
            match characters.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some('t') => text.push('\t'),
                Some(c @ ('\\' | '"' | '\'')) => text.push(c),
                other => {
                    text.push('\\');
                    text.extend(other);
                }
            }
        }
        Ok(Token::Text(text))
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let begin = self.at;
        let mut had_dot = false;
        while let Some(c) = self.peek() {
            if !(c.is_ascii_digit() || c == '-' && self.at == begin || c == '.' && !had_dot) {
                break;
            }
            had_dot |= c == '.';
            self.at += 1;
        }
        let literal = &self.text[begin..self.at];
        if literal == "-" || literal.ends_with('.') {
            return Err(
                self.error_at(begin, format!("`{literal}` is no number: digits are expected behind it,"))
            );
        }
        let number: f64 = literal.parse().unwrap_or_default();
        // What does not fit into a float is 0 to newer servers, and no number to 0.22.
        match number.is_finite() {
            true => Ok(Token::Number(number)),
            false if self.grammar.calls => Ok(Token::Number(0.0)),
            false => Err(self.error_at(begin, "the number is too large")),
        }
    }

    fn name(&mut self, calls: usize) -> Result<Token, SyntaxError> {
        let begin = self.at;
        self.at += 1;
        while let Some(c) = self.peek() {
            if !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':')) {
                break;
            }
            self.at += 1;
        }
        let name = &self.text[begin..self.at];
        // A field may be named `_`, to 0.22.
        if matches!(name, "@" | "#") || name == "_" && self.grammar.calls || name.ends_with(['.', ':']) {
            return Err(self.error_at(begin, format!("`{name}` is no complete name")));
        }
        if self.grammar.calls && self.peek() == Some('(') {
            return self.call(name.to_owned(), begin, calls + 1);
        }
        Ok(Token::Name(name.to_owned()))
    }

    fn call(&mut self, name: String, begin: usize, depth: usize) -> Result<Token, SyntaxError> {
        if depth > MAX_CALL_DEPTH {
            return Err(self.error_at(begin, format!("calls are nested more than {MAX_CALL_DEPTH} deep")));
        }
        self.at += 1;
        let mut arguments = Vec::new();
        let mut wants_comma = false;
        loop {
            match self.next_character()? {
                None => {
                    return Err(
                        self.error_at(begin, format!("the call of `{name}` is not closed: `)` is expected,"))
                    );
                }
                Some(')') => break,
                Some(',') if wants_comma => {
                    wants_comma = false;
                    self.at += 1;
                }
                Some(_) if wants_comma => {
                    return Err(self.error_at(self.at, "`,` or `)` is expected between arguments"));
                }
                Some(c) => {
                    arguments.push(match c {
                        '"' | '\'' => self.quoted()?,
                        '-' | '0'..='9' => self.number()?,
                        c if c.is_ascii_alphabetic() || matches!(c, '_' | '@' | '#') => self.name(depth)?,
                        _ => return Err(self.error_at(self.at, format!("`{c}` is no argument"))),
                    });
                    wants_comma = true;
                }
            }
        }
        self.at += 1;
        Ok(Token::Call(name, arguments))
    }

    fn sign(&mut self) -> Result<(Op, bool), SyntaxError> {
        let begin = self.at;
        let sign = self.run(is_sign);
        let (any, plain) = sign.strip_prefix('?').map_or((false, sign), |plain| (true, plain));
        let op = match plain {
            "=" => Op::Equal,
            "!=" => Op::NotEqual,
            "~" => Op::Like,
            "!~" => Op::NotLike,
            "<" => Op::Less,
            "<=" => Op::LessOrEqual,
            ">" => Op::Greater,
            ">=" => Op::GreaterOrEqual,
            "" if !any => return Err(self.no_sign()),
            _ => {
                let signs = "= != ~ !~ < <= > >=, or one with `?` before it";
                return Err(self.error_at(begin, format!("`{sign}` is no sign: one of {signs}, is expected")));
            }
        };
        Ok((op, any))
    }

    fn no_sign(&self) -> SyntaxError {
        match self.peek() {
            Some(c) if c.is_ascii_graphic() && !matches!(c, ')' | ';' | ',') => {
                let error =
                    self.error_at(self.at, format!("a sign such as `=` or `~` is expected and not `{c}`"));
                SyntaxError { is_open: error.is_open || self.comparisons == 0, ..error }
            }
            _ => self.unexpected(),
        }
    }

    /// Whether it is `||`.
    fn join(&mut self) -> Result<bool, SyntaxError> {
        let begin = self.at;
        match self.run(|c| matches!(c, '&' | '|')) {
            "&&" => Ok(false),
            "||" => Ok(true),
            _ => Err(self.error_at(begin, "`&&` or `||` is expected between comparisons")),
        }
    }

    fn run(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest: &'a str = &self.text[self.at..self.end];
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn count(&mut self, at: usize) -> Result<(), SyntaxError> {
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return Err(self.error_at(at, format!("there are more than {MAX_COMPARISONS} comparisons")));
        }
        Ok(())
    }

    fn unexpected(&self) -> SyntaxError {
        let what = match self.text[self.at..].chars().next() {
            Some(character) => format!("unexpected {character:?}"),
            None => "unexpected end".to_owned(),
        };
        self.error_at(self.at, what)
    }

    fn error_at(&self, at: usize, reason: impl Into<String>) -> SyntaxError {
        let column = self.text[..at].chars().count() + 1;
        let rest = self.text[at..].trim();
        let is_open = rest.is_empty() || rest.starts_with(')');
        SyntaxError { column, reason: reason.into(), is_certain: true, is_open }
    }
}

fn is_sign(character: char) -> bool {
    matches!(character, '=' | '?' | '!' | '>' | '<' | '~')
}

impl From<Vec<Vec<Tree>>> for Tree {
    fn from(alternatives: Vec<Vec<Tree>>) -> Self {
        let mut alternatives: Vec<Tree> =
            alternatives.into_iter().map(|all| one_or(all, Tree::All)).collect();
        match alternatives.len() {
            1 => alternatives.remove(0),
            _ => Tree::Any(alternatives),
        }
    }
}

fn one_or(mut parts: Vec<Tree>, many: impl Fn(Vec<Tree>) -> Tree) -> Tree {
    if parts.len() == 1 { parts.remove(0) } else { many(parts) }
}

impl Tree {
    pub(super) fn comparisons(&self) -> Vec<&Comparison> {
        match self {
            Tree::All(parts) | Tree::Any(parts) => parts.iter().flat_map(Tree::comparisons).collect(),
            Tree::Compare(comparison) => vec![comparison],
        }
    }
}

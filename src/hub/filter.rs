//! The filter language of record lists and subscriptions: a parser and an
//! evaluator over records in memory.
//!
//! Knows nothing of HTTP or streams; what a name in a filter stands for comes
//! from a [`Names`]. The comparisons follow what the real server was seen to
//! answer: it runs filters as SQL, and its quirks are SQLite's.

use std::cmp::Ordering;

use serde_json::Value;

/// A parsed filter.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Compare { left: Operand, op: Op, any: bool, right: Operand },
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    /// A field, a macro (`@now`) or a path through relations and JSON.
    Name {
        path: Vec<String>,
        modifier: Option<Modifier>,
    },
    Text(String),
    Number(f64),
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modifier {
    Lower,
    Length,
    Each,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Like,
    NotLike,
}

/// What the names in a filter stand for.
pub(super) trait Names {
    /// The values behind a path: one, or several through a relation to many.
    fn resolve(&self, path: &[String]) -> Vec<Found>;
}

/// A value found behind a name.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) value: Value,
    /// Reached inside a JSON value: SQL compares those strictly, while a
    /// column that holds nothing equals the empty string.
    pub(super) in_json: bool,
}

/// The filter could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unparsable;

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self, Unparsable> {
        let mut parser = Parser { rest: text };
        let filter = parser.disjunction(0)?;
        parser.skip_blank();
        if parser.rest.is_empty() { Ok(filter) } else { Err(Unparsable) }
    }

    /// Every path that the filter names, in order.
    pub(super) fn paths(&self) -> Vec<&[String]> {
        match self {
            Filter::All(parts) | Filter::Any(parts) => parts.iter().flat_map(Filter::paths).collect(),
            Filter::Compare { left, right, .. } => [left, right]
                .into_iter()
                .filter_map(|operand| match operand {
                    Operand::Name { path, .. } => Some(path.as_slice()),
                    _ => None,
                })
                .collect(),
        }
    }

    pub(super) fn matches(&self, names: &impl Names) -> bool {
        match self {
            Filter::All(parts) => parts.iter().all(|part| part.matches(names)),
            Filter::Any(parts) => parts.iter().any(|part| part.matches(names)),
            Filter::Compare { left, op, any, right } => {
                let left = left.terms(names);
                let right = right.terms(names);
                let mut pairs = left.iter().flat_map(|l| right.iter().map(move |r| (l, r)));
                if *any { pairs.any(|(l, r)| op.holds(l, r)) } else { pairs.all(|(l, r)| op.holds(l, r)) }
            }
        }
    }
}

/// One side of a comparison, ready to compare.
#[derive(Debug, Clone)]
struct Term {
    scalar: Scalar,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Scalar {
    Null,
    Number(f64),
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Column,
    Json,
    Literal,
}

impl Operand {
    fn terms(&self, names: &impl Names) -> Vec<Term> {
        let literal = |scalar| vec![Term { scalar, origin: Origin::Literal }];
        match self {
            Operand::Text(text) => literal(Scalar::Text(text.clone())),
            Operand::Number(number) => literal(Scalar::Number(*number)),
            Operand::Null => literal(Scalar::Null),
            Operand::Name { path, modifier } => {
                let mut terms = Vec::new();
                for found in names.resolve(path) {
                    let origin = if found.in_json { Origin::Json } else { Origin::Column };
                    let each = match (modifier, found.value) {
                        (Some(Modifier::Each), Value::Array(items)) => items,
                        (Some(Modifier::Length), Value::Array(items)) => vec![items.len().into()],
                        (Some(Modifier::Length), _) => vec![0.into()],
                        (_, value) => vec![value],
                    };
                    for value in each {
                        let mut scalar = Scalar::of(&value);
                        if let (Some(Modifier::Lower), Scalar::Text(text)) = (modifier, &mut scalar) {
                            *text = text.to_lowercase();
                        }
                        terms.push(Term { scalar, origin });
                    }
                }
                if terms.is_empty() {
                    terms.push(Term { scalar: Scalar::Null, origin: Origin::Column });
                }
                terms
            }
        }
    }
}

impl Scalar {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Scalar::Null,
            Value::Bool(b) => Scalar::Number(f64::from(u8::from(*b))),
            Value::Number(n) => Scalar::Number(n.as_f64().unwrap_or(f64::NAN)),
            Value::String(s) => Scalar::Text(s.clone()),
            other => Scalar::Text(other.to_string()),
        }
    }

    fn text(&self) -> String {
        match self {
            Scalar::Null => String::new(),
            Scalar::Number(n) => n.to_string(),
            Scalar::Text(t) => t.clone(),
        }
    }
}

impl Op {
    fn holds(self, left: &Term, right: &Term) -> bool {
        let ordered = |wanted: fn(Ordering) -> bool| order(left, right).is_some_and(wanted);
        match self {
            Op::Equal => equal(left, right),
            Op::NotEqual => !equal(left, right),
            Op::Greater => ordered(Ordering::is_gt),
            Op::GreaterOrEqual => ordered(Ordering::is_ge),
            Op::Less => ordered(Ordering::is_lt),
            Op::LessOrEqual => ordered(Ordering::is_le),
            Op::Like => like(left, right),
            Op::NotLike => !like(left, right),
        }
    }
}

fn equal(left: &Term, right: &Term) -> bool {
    match (&left.scalar, &right.scalar) {
        (Scalar::Null, Scalar::Null) => true,
        (Scalar::Null, Scalar::Text(text)) | (Scalar::Text(text), Scalar::Null) => {
            text.is_empty() && left.origin != Origin::Json && right.origin != Origin::Json
        }
        (Scalar::Null, _) | (_, Scalar::Null) => false,
        (Scalar::Number(l), Scalar::Number(r)) => l == r,
        (Scalar::Text(l), Scalar::Text(r)) => l == r,
        (Scalar::Number(number), Scalar::Text(text)) => match (left.origin, right.origin) {
            (Origin::Column, Origin::Literal) => text.trim().parse() == Ok(*number),
            (Origin::Literal, Origin::Column) => equal(right, left),
            _ => false,
        },
        (Scalar::Text(text), Scalar::Number(number)) => match (left.origin, right.origin) {
            (Origin::Column, Origin::Literal) => *text == as_real(*number),
            (Origin::Literal, Origin::Column) => equal(right, left),
            _ => false,
        },
    }
}

fn order(left: &Term, right: &Term) -> Option<Ordering> {
    match (&left.scalar, &right.scalar) {
        (Scalar::Null, _) | (_, Scalar::Null) => None,
        (Scalar::Number(l), Scalar::Number(r)) => l.partial_cmp(r),
        (Scalar::Text(l), Scalar::Text(r)) => Some(l.cmp(r)),
        (Scalar::Number(number), Scalar::Text(text)) => {
            if left.origin == Origin::Column && right.origin == Origin::Literal {
                // SQLite's numeric affinity: a number in quotes counts as one.
                if let Ok(other) = text.trim().parse::<f64>() {
                    return number.partial_cmp(&other);
                }
            } else if left.origin == Origin::Literal && right.origin == Origin::Column {
                // And its text affinity: the number is compared as text.
                return Some(as_real(*number).cmp(text));
            }
            Some(Ordering::Less)
        }
        (Scalar::Text(_), Scalar::Number(_)) => order(right, left).map(Ordering::reverse),
    }
}

/// The server hands a literal number to SQLite as a real; beside a text column
/// it becomes text, with its fraction: `title > 1` compares with "1.0".
fn as_real(number: f64) -> String {
    format!("{number:?}")
}

/// `LIKE` without regard to ASCII case. A pattern without a `%` of its own is
/// looked for anywhere, its `_` and `\` standing for themselves.
fn like(left: &Term, right: &Term) -> bool {
    let text = left.scalar.text();
    let operand = right.scalar.text();
    let mut pattern = Vec::new();
    let mut wild = false;
    let mut escaped = false;
    for c in operand.chars() {
        if c == '\\' && !escaped {
            escaped = true;
            continue;
        }
        if escaped && !matches!(c, '%' | '_' | '\\') {
            pattern.push(Glyph::Is('\\'));
        }
        pattern.push(match c {
            '%' if !escaped => {
                wild = true;
                Glyph::Any
            }
            '_' if !escaped => Glyph::One,
            c => Glyph::Is(c),
        });
        escaped = false;
    }
    if escaped {
        pattern.push(Glyph::Is('\\'));
    }
    if !wild {
        for glyph in &mut pattern {
            if let Glyph::One = glyph {
                *glyph = Glyph::Is('_');
            }
        }
        pattern.insert(0, Glyph::Any);
        pattern.push(Glyph::Any);
    }
    glob(&text.chars().collect::<Vec<_>>(), &pattern)
}

#[derive(Debug, Clone, Copy)]
enum Glyph {
    Is(char),
    One,
    Any,
}

fn glob(text: &[char], pattern: &[Glyph]) -> bool {
    // The classic two-pointer walk: on a mismatch go back to the last `%` and
    // let it swallow one character more.
    let (mut t, mut p) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match pattern.get(p) {
            Some(Glyph::Any) => {
                back = Some((t, p));
                p += 1;
                continue;
            }
            Some(Glyph::One) if t < text.len() => {
                (t, p) = (t + 1, p + 1);
                continue;
            }
            Some(Glyph::Is(c)) if text.get(t).is_some_and(|x| x.eq_ignore_ascii_case(c)) => {
                (t, p) = (t + 1, p + 1);
                continue;
            }
            None if t == text.len() => return true,
            _ => {}
        }
        match back {
            Some((from, star)) if from < text.len() => {
                back = Some((from + 1, star));
                (t, p) = (from + 1, star + 1);
            }
            _ => return false,
        }
    }
}

/// Deeper parentheses than this are refused: the parser recurses.
const MAX_DEPTH: usize = 64;

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn disjunction(&mut self, depth: usize) -> Result<Filter, Unparsable> {
        let mut parts = vec![self.conjunction(depth)?];
        while self.eat("||") {
            parts.push(self.conjunction(depth)?);
        }
        Ok(Filter::Any(parts))
    }

    fn conjunction(&mut self, depth: usize) -> Result<Filter, Unparsable> {
        let mut parts = vec![self.term(depth)?];
        while self.eat("&&") {
            parts.push(self.term(depth)?);
        }
        Ok(Filter::All(parts))
    }

    fn term(&mut self, depth: usize) -> Result<Filter, Unparsable> {
        if self.eat("(") {
            if depth == MAX_DEPTH {
                return Err(Unparsable);
            }
            let inner = self.disjunction(depth + 1)?;
            return if self.eat(")") { Ok(inner) } else { Err(Unparsable) };
        }
        let left = self.operand()?;
        let any = self.eat("?");
        // Longer operators first, so that `>` does not take half of `>=`.
        let op = [
            ("!=", Op::NotEqual),
            ("!~", Op::NotLike),
            (">=", Op::GreaterOrEqual),
            ("<=", Op::LessOrEqual),
            ("=", Op::Equal),
            (">", Op::Greater),
            ("<", Op::Less),
            ("~", Op::Like),
        ]
        .into_iter()
        .find(|(token, _)| self.eat(token))
        .ok_or(Unparsable)?
        .1;
        let right = self.operand()?;
        Ok(Filter::Compare { left, op, any, right })
    }

    fn operand(&mut self) -> Result<Operand, Unparsable> {
        self.skip_blank();
        let first = self.rest.chars().next().ok_or(Unparsable)?;
        match first {
            '"' | '\'' => self.quoted(first),
            '-' | '0'..='9' => self.number(),
            'a'..='z' | 'A'..='Z' | '_' | '@' => self.name(),
            _ => Err(Unparsable),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Operand, Unparsable> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Ok(Operand::Text(text));
                }
                '\\' => match chars.next().ok_or(Unparsable)?.1 {
                    c @ ('\\' | '"' | '\'') => text.push(c),
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    't' => text.push('\t'),
                    other => text.extend(['\\', other]),
                },
                c => text.push(c),
            }
        }
        Err(Unparsable)
    }

    fn number(&mut self) -> Result<Operand, Unparsable> {
        let token = self.take_while(|c| c.is_ascii_digit() || c == '.' || c == '-');
        // Rust reads `1.` and a lone sign's neighbours differently from the server.
        let digits = token.strip_prefix('-').unwrap_or(token);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(fraction) {
            return Err(Unparsable);
        }
        token.parse().map(Operand::Number).map_err(|_| Unparsable)
    }

    fn name(&mut self) -> Result<Operand, Unparsable> {
        let token = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '@' | '.' | ':'));
        match token.to_ascii_lowercase().as_str() {
            "true" => return Ok(Operand::Number(1.0)),
            "false" => return Ok(Operand::Number(0.0)),
            "null" => return Ok(Operand::Null),
            _ => {}
        }
        let (path, modifier) = match token.split_once(':') {
            None => (token, None),
            Some((path, "lower")) => (path, Some(Modifier::Lower)),
            Some((path, "length")) => (path, Some(Modifier::Length)),
            Some((path, "each")) => (path, Some(Modifier::Each)),
            Some(_) => return Err(Unparsable),
        };
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(Unparsable);
        }
        Ok(Operand::Name { path, modifier })
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &str {
        let end = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        token
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_blank();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_blank(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with("//") {
                return;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, after)| after);
        }
    }
}

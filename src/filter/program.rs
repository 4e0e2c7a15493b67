//! A filter, ready to be evaluated.

use std::borrow::Cow;

use super::{
    Schema,
    clock::Moment,
    kinds::{Kind, Kinds},
    like::Pattern,
    syntax::{Op, Token, Tree},
    value::{Affinity, Number, Shape, Sql, Term},
};

/// A tree, ready to be evaluated.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) root: Node,
    /// The fields whose values are looked at one by one: the server makes a row of each.
    pub(super) joins: Vec<String>,
    pub(super) is_old: bool,
    /// Whether it matters.
    pub(super) depends_on_age: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Compare(Box<Comparison>),
}

#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) left: Operand,
    pub(super) op: Op,
    pub(super) any: bool,
    pub(super) right: Operand,
    pub(super) source: String,
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    Value {
        term: Term<'static>,
        pattern: Pattern,
    },
    Field(Field),
    Moment(Moment),
    /// `true`, `false`, `null`, unless a field is named so.
    Word {
        field: Field,
        term: Term<'static>,
    },
    Strftime {
        format: String,
        time: Box<Operand>,
    },
    Distance(Box<[Operand; 4]>),
    /// Only the server can say what this is, and why.
    Server(&'static str),
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kinds: Kinds,
    /// What follows the name: into JSON, or along a relation.
    pub(super) path: Vec<String>,
    /// The same for JSON, which knows no modifiers: of `a:lower` the server makes `alower`.
    pub(super) json_path: Vec<String>,
    pub(super) modifier: Modifier,
    /// Its place among the joins.
    pub(super) join: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modifier {
    None,
    Lower,
    Length,
    Each,
    /// One that does nothing to a field of a record (seen: `:isset`, and `:changed` where it is known).
    Idle,
    /// One that there is not.
    Unknown,
}

impl Program {
    /// `None` where the server refuses the filter whatever the fields are. One that `lacks_newer` things is 0.22;
    /// one that `is_old` compares as that does.
    pub(super) fn new(tree: &Tree, lacks_newer: bool, is_old: bool) -> Option<Self> {
        let mut compiler = Compiler { lacks_newer, joins: Vec::new() };
        let root = compiler.node(tree)?;
        let depends_on_age = root.depends_on_age();
        Some(Self { root, joins: compiler.joins, is_old, depends_on_age })
    }

    pub(super) fn know(&mut self, schema: &Schema) {
        self.root.know(schema);
        self.depends_on_age = self.root.depends_on_age();
    }
}

/// What is known while a program is made.
struct Compiler {
    lacks_newer: bool,
    joins: Vec<String>,
}

impl Compiler {
    fn node(&mut self, tree: &Tree) -> Option<Node> {
        let mut parts = |parts: &[Tree]| parts.iter().map(|part| self.node(part)).collect::<Option<_>>();
        Some(match tree {
            Tree::All(all) => Node::All(parts(all)?),
            Tree::Any(any) => Node::Any(parts(any)?),
            Tree::Compare(comparison) => Node::Compare(Box::new(Comparison {
                left: self.operand(&comparison.left)?,
                op: comparison.op,
                any: comparison.any,
                right: self.operand(&comparison.right)?,
                source: comparison.source.clone(),
            })),
        })
    }

    fn operand(&mut self, token: &Token) -> Option<Operand> {
        let literal = |sql: Sql<'static>, pattern: &str, shape| Operand::Value {
            term: Term { sql, affinity: Affinity::None, shape },
            pattern: Pattern::of_value(pattern),
        };
        Some(match token {
            Token::Text(text) => literal(Sql::Text(Cow::Owned(text.clone())), text, Shape::Value),
            Token::Number(number) => {
                literal(Sql::Number(Number::bound(*number, false)), &number.to_string(), Shape::Value)
            }
            Token::Name(name) => self.named(name)?,
            Token::Call(name, arguments) => match (name.as_str(), arguments.as_slice()) {
                ("strftime", [Token::Text(_)]) => {
                    Operand::Server("`strftime` without a date is the server's clock")
                }
                ("strftime", [Token::Text(format), time @ (Token::Name(_) | Token::Text(_))]) => {
                    Operand::Strftime { format: format.clone(), time: Box::new(self.operand(time)?) }
                }
                ("strftime", [Token::Text(_), Token::Name(_) | Token::Text(_) | Token::Number(_), ..]) => {
                    Operand::Server("`strftime` with modifiers or of a number is the server's")
                }
                ("geoDistance", [a, b, c, d])
                    if arguments.iter().all(|of| matches!(of, Token::Name(_) | Token::Number(_))) =>
                {
                    let mut at = |token| self.operand(token);
                    Operand::Distance(Box::new([at(a)?, at(b)?, at(c)?, at(d)?]))
                }
                _ => return None,
            },
        })
    }

    fn named(&mut self, name: &str) -> Option<Operand> {
        if let Some(moment) = Moment::named(name) {
            let is_newer = matches!(moment, Moment::Yesterday | Moment::Tomorrow);
            return if self.lacks_newer && is_newer { None } else { Some(Operand::Moment(moment)) };
        }
        if name.starts_with('@') && !name.starts_with("@request.") && !name.starts_with("@collection.") {
            return None;
        }
        let word = |sql, shape| Operand::Word {
            field: Field::plain(name),
            term: Term { sql, affinity: Affinity::None, shape },
        };
        match name.to_ascii_lowercase().as_str() {
            "null" => return Some(word(Sql::Null, Shape::Null)),
            "true" => return Some(word(Sql::Number(Number::integer(1)), Shape::Constant)),
            "false" => return Some(word(Sql::Number(Number::integer(0)), Shape::Constant)),
            _ => {}
        }
        let mut path: Vec<String> = name.split('.').map(str::to_owned).collect();
        // 0.40 refuses it; 0.22 fails while it reads records, and answers with those it has got until then.
        if path.iter().any(String::is_empty) {
            return None;
        }
        let json_path = path[1..].iter().map(|step| step.replace(':', "")).collect();
        let last = path.last_mut()?;
        let mut modifier = Modifier::None;
        if let Some((plain, modified)) = last.clone().split_once(':') {
            *last = plain.to_owned();
            modifier = match modified {
                "lower" if !self.lacks_newer => Modifier::Lower,
                "length" => Modifier::Length,
                "each" => Modifier::Each,
                "isset" => Modifier::Idle,
                "changed" if !self.lacks_newer => Modifier::Idle,
                _ => Modifier::Unknown,
            };
        }
        let first = path.remove(0);
        if modifier == Modifier::Unknown && path.is_empty() || first.contains(':') {
            return None;
        }
        let mut field = Field { path, json_path, modifier, ..Field::plain(&first) };
        if field.modifier == Modifier::Each && field.path.is_empty() {
            let place = self.joins.iter().position(|join| *join == field.name).unwrap_or(self.joins.len());
            if place == self.joins.len() {
                self.joins.push(field.name.clone());
            }
            field.join = Some(place);
        }
        Some(Operand::Field(field))
    }
}

impl Node {
    pub(super) fn comparisons(&self) -> Vec<&Comparison> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::comparisons).collect(),
            Self::Compare(comparison) => vec![comparison],
        }
    }

    fn depends_on_age(&self) -> bool {
        self.comparisons().iter().any(|comparison| comparison.depends_on_age())
    }

    fn know(&mut self, schema: &Schema) {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter_mut().for_each(|part| part.know(schema)),
            Self::Compare(comparison) => {
                comparison.left.know(schema);
                comparison.right.know(schema);
            }
        }
    }
}

impl Comparison {
    pub(super) fn depends_on_age(&self) -> bool {
        self.left.depends_on_age() || self.right.depends_on_age()
    }
}

impl Operand {
    fn depends_on_age(&self) -> bool {
        match self {
            Self::Field(field) => {
                matches!(field.modifier, Modifier::Length | Modifier::Each)
                    || field.path.is_empty() && field.kinds.iter().any(Kind::is_list)
            }
            Self::Strftime { time, .. } => time.depends_on_age(),
            _ => false,
        }
    }

    fn know(&mut self, schema: &Schema) {
        match self {
            Self::Field(field) | Self::Word { field, .. } => field.kinds = schema.kinds(&field.name),
            Self::Strftime { time, .. } => time.know(schema),
            Self::Distance(at) => at.iter_mut().for_each(|operand| operand.know(schema)),
            Self::Value { .. } | Self::Moment(_) | Self::Server(_) => {}
        }
    }
}

impl Field {
    fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kinds: Kinds::ANY,
            path: Vec::new(),
            json_path: Vec::new(),
            modifier: Modifier::None,
            join: None,
        }
    }
}

//! Whether a record passes a filter: yes, no, or not known here.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::Value;

use super::{
    Answer,
    clock::Reading,
    functions,
    kinds::{Kind, Kinds},
    like::Pattern,
    program::{Comparison, Field, Modifier, Node, Operand, Program},
    syntax::Op,
    value::{Affinity, Number, Shape, Sql, Term, Truth, holds, list_text},
};

/// So many rows are looked at for one record; a filter over several lists makes as many as they have pairs.
const MAX_ROWS: usize = 1_000;

/// What a filter is asked about.
pub(crate) trait Source {
    /// The value of a field. `None` if it is not there: hidden, left out by `fields`, or no field at all.
    fn value(&self, field: &str) -> Option<&Value>;

    /// What the field is, if this knows better than the filter's schema; `is_entered` by a path that leads on.
    fn kinds(&self, _field: &str, _is_entered: bool) -> Option<Kinds> {
        None
    }

    /// What is behind a path that leads out of the record: through a relation, or to `@request`.
    fn beyond(&self, _path: &[&str]) -> Option<Vec<Found>> {
        None
    }

    /// Whether an e-mail address passes no filter where its owner hides it, although it may be in the payload.
    fn hides_email(&self) -> bool {
        true
    }
}

/// A value from beyond the record.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) value: Value,
    pub(crate) kind: Kind,
    /// It was reached inside of a JSON value.
    pub(crate) in_json: bool,
}

impl Source for Value {
    fn value(&self, field: &str) -> Option<&Value> {
        // In each payload, and no fields: a filter that names them is refused.
        if matches!(field, "collectionId" | "collectionName" | "expand") { None } else { self.get(field) }
    }
}

impl Program {
    pub(super) fn evaluate(&self, source: &impl Source, now: u64) -> Answer {
        let record = Record { source, now, is_old: self.is_old, rows: Vec::new(), row: Vec::new() };
        if self.joins.is_empty() {
            return self.root.answer(&record);
        }
        let rows: Vec<_> = self.joins.iter().map(|field| rows(source, field, self.is_old)).collect();
        let sizes: Vec<usize> = rows.iter().map(|rows| rows.as_ref().map_or(1, Vec::len)).collect();
        if sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size)).is_none_or(|all| all > MAX_ROWS)
        {
            return Answer::Unknown;
        }
        let mut record = Record { row: vec![0; sizes.len()], rows, ..record };
        let mut answer = Answer::Out;
        loop {
            answer = answer.or(self.root.answer(&record));
            let mut place = 0;
            loop {
                if answer == Answer::In || place == sizes.len() {
                    return answer;
                }
                record.row[place] += 1;
                if record.row[place] < sizes[place] {
                    break;
                }
                record.row[place] = 0;
                place += 1;
            }
        }
    }
}

impl Answer {
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Answer::In, _) | (_, Answer::In) => Answer::In,
            (Answer::Out, Answer::Out) => Answer::Out,
            _ => Answer::Unknown,
        }
    }
}

impl Node {
    fn answer<S: Source>(&self, record: &Record<'_, S>) -> Answer {
        match self {
            Self::All(parts) => {
                let mut answer = Answer::In;
                for part in parts {
                    match part.answer(record) {
                        Answer::Out => return Answer::Out,
                        Answer::Unknown => answer = Answer::Unknown,
                        Answer::In => {}
                    }
                }
                answer
            }
            Self::Any(parts) => {
                let mut answer = Answer::Out;
                for part in parts {
                    match part.answer(record) {
                        Answer::In => return Answer::In,
                        Answer::Unknown => answer = Answer::Unknown,
                        Answer::Out => {}
                    }
                }
                answer
            }
            Self::Compare(comparison) => comparison.answer(record),
        }
    }
}

impl Operand {
    fn pattern(&self) -> Option<&Pattern> {
        match self {
            Self::Value { pattern, .. } => Some(pattern),
            _ => None,
        }
    }

    /// The kinds to try: one of those that compare alike.
    fn kinds<S: Source>(&self, record: &Record<'_, S>) -> Kinds {
        match self {
            Self::Field(field) => field.kinds_in(record.source),
            Self::Word { field, .. } if record.source.value(&field.name).is_some() => {
                field.kinds_in(record.source)
            }
            Self::Strftime { time, .. } => time.kinds(record),
            // No matter: tried once.
            _ => Kind::Text.into(),
        }
    }

    fn is_field(&self, name: &str) -> bool {
        matches!(self, Self::Field(field) if field.name == name && field.path.is_empty())
    }
}

/// One record, at one time, in one row.
struct Record<'a, S> {
    source: &'a S,
    now: u64,
    is_old: bool,
    /// The values of each join, where they are known.
    rows: Vec<Option<Vec<Sql<'a>>>>,
    row: Vec<usize>,
}

/// What an operand is in a record.
enum Side<'a> {
    One(Term<'a>),
    /// The value in this row, and those of all rows: every one must pass, unless the sign has a `?`.
    Row(Term<'a>, Vec<Term<'a>>),
    /// Several values from beyond, each for itself.
    Several(Vec<Term<'a>>),
    /// The server refuses this for a field of this kind, so that it is none.
    Refused,
    Unknown,
}

impl Comparison {
    fn answer<S: Source>(&self, record: &Record<'_, S>) -> Answer {
        let mut answer = None;
        let rights = self.right.kinds(record);
        for left_kind in self.left.kinds(record).iter() {
            for right_kind in rights.iter() {
                let left = record.side(&self.left, left_kind);
                let right = record.side(&self.right, right_kind);
                let Some(found) = self.decided(&left, &right, record.is_old) else {
                    continue;
                };
                if found == Answer::Unknown || answer.is_some_and(|answer| answer != found) {
                    return Answer::Unknown;
                }
                answer = Some(found);
            }
        }
        match answer {
            Some(Answer::In) if self.is_of_hidden_email(record.source) => Answer::Unknown,
            answer => answer.unwrap_or(Answer::Unknown),
        }
    }

    fn is_of_hidden_email(&self, source: &impl Source) -> bool {
        (self.left.is_field("email") || self.right.is_field("email"))
            && source.hides_email()
            && source.value("emailVisibility").is_some_and(|is_visible| *is_visible != Value::Bool(true))
    }

    /// `None` where there can be no such filter.
    fn decided(&self, left: &Side<'_>, right: &Side<'_>, is_old: bool) -> Option<Answer> {
        let pattern = self.right.pattern();
        let holds = |left: &Term<'_>, right: &Term<'_>| match holds(self.op, left, right, pattern) {
            Truth::True => Answer::In,
            Truth::False | Truth::Null => Answer::Out,
            Truth::Unknown => Answer::Unknown,
        };
        Some(match (left, right) {
            (Side::Refused, _) | (_, Side::Refused) => return None,
            (Side::Unknown, _) | (_, Side::Unknown) => Answer::Unknown,
            (Side::One(left), Side::One(right)) => holds(left, right),
            (Side::Row(left, all), Side::One(right)) => {
                holds(left, right).and(|| self.all_pass(all, is_old, |left| self.truth(left, right)))
            }
            (Side::One(left), Side::Row(right, all)) => {
                holds(left, right).and(|| self.all_pass(all, is_old, |right| self.truth(left, right)))
            }
            // The server pairs the rows of both.
            (Side::Row(..), _) | (_, Side::Row(..)) => Answer::Unknown,
            (left, right) => {
                let (left, right) = (left.terms(), right.terms());
                let pairs = left.iter().flat_map(|left| right.iter().map(move |right| holds(left, right)));
                match self.any {
                    true => pairs.fold(Answer::Out, Answer::or),
                    false => pairs.fold(Answer::In, |all, one| all.and(|| one)),
                }
            }
        })
    }

    fn truth(&self, left: &Term<'_>, right: &Term<'_>) -> Truth {
        holds(self.op, left, right, self.right.pattern())
    }

    /// That no row fails. Null is no failure; but for an old server it is, unless the sign is `=`.
    fn all_pass<'t>(
        &self,
        all: &'t [Term<'t>],
        is_old: bool,
        truth: impl Fn(&'t Term<'t>) -> Truth,
    ) -> Answer {
        if self.any {
            return Answer::In;
        }
        all.iter().fold(Answer::In, |answer, term| {
            let one = match truth(term) {
                _ if is_old && self.op != Op::Equal && term.sql == Sql::Null => Answer::Out,
                Truth::True | Truth::Null => Answer::In,
                Truth::False => Answer::Out,
                Truth::Unknown => Answer::Unknown,
            };
            answer.and(|| one)
        })
    }
}

impl Answer {
    fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Answer::Out => Answer::Out,
            Answer::In => other(),
            Answer::Unknown => match other() {
                Answer::Out => Answer::Out,
                _ => Answer::Unknown,
            },
        }
    }
}

impl<'a> Side<'a> {
    fn terms(&self) -> &[Term<'a>] {
        match self {
            Self::One(term) => std::slice::from_ref(term),
            Self::Several(terms) => terms,
            Self::Row(..) | Self::Refused | Self::Unknown => &[],
        }
    }
}

impl Field {
    fn kinds_in(&self, source: &impl Source) -> Kinds {
        if let Some(kinds) = source.kinds(&self.name, !self.path.is_empty()) {
            return kinds;
        }
        let kinds = match source.value(&self.name) {
            Some(value) => self.kinds.narrowed(Kinds::of_value(value)),
            None => self.kinds,
        };
        // These compare alike, as long as nothing asks what they are.
        let is_plain = self.path.is_empty() && !matches!(self.modifier, Modifier::Length | Modifier::Each);
        if is_plain { kinds.plain() } else { kinds }
    }
}

impl<'a, S: Source> Record<'a, S> {
    fn side<'t>(&'t self, operand: &'t Operand, kind: Kind) -> Side<'t> {
        match operand {
            Operand::Value { term, .. } => Side::One(borrowed(term)),
            Operand::Word { field, term } => match self.source.value(&field.name) {
                None => Side::One(borrowed(term)),
                Some(_) => self.field(field, kind),
            },
            Operand::Moment(moment) => {
                let sql = match moment.reading(self.now) {
                    Reading::Text(text) => Sql::Text(Cow::Owned(text)),
                    Reading::Number(number) => Sql::Number(Number::integer(number.into())),
                };
                Side::One(Term { sql, affinity: Affinity::None, shape: Shape::Value })
            }
            Operand::Strftime { format, time } => match self.side(time, kind) {
                Side::One(time) => functions::strftime(format, &time.sql).map_or(Side::Unknown, Side::One),
                Side::Refused => Side::Refused,
                _ => Side::Unknown,
            },
            Operand::Distance(at) => self.distance(at),
            Operand::Server(_) => Side::Unknown,
            Operand::Field(field) if field.name == "@request" || field.name == "@collection" => {
                self.beyond(field)
            }
            Operand::Field(field) => self.field(field, kind),
        }
    }

    fn distance(&self, at: &[Operand; 4]) -> Side<'_> {
        let mut terms = Vec::with_capacity(4);
        for operand in at {
            let kinds = operand.kinds(self);
            let mut kinds = kinds.iter();
            // A number is the same in each kind that can have one.
            match kinds.next().map(|kind| self.side(operand, kind)) {
                Some(Side::One(term)) if matches!(term.sql, Sql::Number(_) | Sql::Null) => terms.push(term),
                _ => return Side::Unknown,
            }
        }
        match terms.as_slice() {
            [a, b, c, d] => {
                functions::distance([&a.sql, &b.sql, &c.sql, &d.sql]).map_or(Side::Unknown, Side::One)
            }
            _ => Side::Unknown,
        }
    }

    fn field<'t>(&'t self, field: &'t Field, kind: Kind) -> Side<'t> {
        let Some(value) = self.source.value(&field.name) else {
            return Side::Unknown;
        };
        if !field.path.is_empty() {
            return match kind {
                Kind::Json | Kind::Point => match inside(value, &field.json_path) {
                    Some(sql) => Side::One(Term { sql, affinity: Affinity::None, shape: Shape::Strict }),
                    None => Side::Unknown,
                },
                Kind::Relation | Kind::Relations if field.modifier != Modifier::Unknown => self.beyond(field),
                _ => Side::Refused,
            };
        }
        let is_many = kind.is_multiple();
        match (field.modifier, field.join) {
            (Modifier::Length, _) if is_many => Side::One(length(value, self.is_old)),
            (Modifier::Each, Some(join)) if is_many => match &self.rows[join] {
                Some(rows) => self.row(rows, self.row[join], kind.is_list()),
                None => Side::Unknown,
            },
            (Modifier::Lower, _) => {
                let term = column(value, kind, self.is_old);
                Side::One(Term { sql: term.sql.lowered(), affinity: Affinity::None, ..term })
            }
            _ => Side::One(column(value, kind, self.is_old)),
        }
    }

    fn row<'t>(&'t self, rows: &'t [Sql<'a>], row: usize, is_list: bool) -> Side<'t> {
        let term =
            |sql: &'t Sql<'a>| Term { sql: clone(sql), affinity: Affinity::Blob, shape: Shape::Column };
        match is_list {
            true => Side::Row(term(&rows[row]), rows.iter().map(term).collect()),
            false => Side::One(term(&rows[row])),
        }
    }

    fn beyond(&self, field: &Field) -> Side<'_> {
        let path: Vec<&str> =
            std::iter::once(field.name.as_str()).chain(field.path.iter().map(String::as_str)).collect();
        let Some(found) = self.source.beyond(&path) else {
            return Side::Unknown;
        };
        let mut terms = Vec::new();
        for Found { value, kind, in_json } in found {
            match (field.modifier, &value) {
                (Modifier::Each, Value::Array(items)) => {
                    terms.extend(items.iter().map(|item| {
                        owned(Term { sql: Sql::json(item), affinity: Affinity::None, shape: Shape::Column })
                    }));
                }
                (Modifier::Length, _) => terms.push(owned(length(&value, self.is_old))),
                (modifier, _) => {
                    let mut term = match in_json {
                        true => {
                            Term { sql: Sql::json(&value), affinity: Affinity::None, shape: Shape::Strict }
                        }
                        false => column(&value, kind, self.is_old),
                    };
                    if modifier == Modifier::Lower {
                        (term.sql, term.affinity) = (term.sql.lowered(), Affinity::None);
                    }
                    terms.push(owned(term));
                }
            }
        }
        if terms.is_empty() {
            terms.push(Term { sql: Sql::Null, affinity: Affinity::None, shape: Shape::Column });
        }
        Side::Several(terms)
    }
}

fn clone<'t>(sql: &'t Sql<'_>) -> Sql<'t> {
    match sql {
        Sql::Text(text) => Sql::text(text),
        Sql::Null => Sql::Null,
        Sql::Number(number) => Sql::Number(*number),
        Sql::Unclear(first) => Sql::Unclear(*first),
        Sql::Anything => Sql::Anything,
    }
}

fn borrowed<'t>(term: &'t Term<'static>) -> Term<'t> {
    Term { sql: clone(&term.sql), ..*term }
}

fn owned(term: Term<'_>) -> Term<'static> {
    let sql = match term.sql {
        Sql::Text(text) => Sql::Text(Cow::Owned(text.into_owned())),
        Sql::Null => Sql::Null,
        Sql::Number(number) => Sql::Number(number),
        Sql::Unclear(first) => Sql::Unclear(first),
        Sql::Anything => Sql::Anything,
    };
    Term { sql, affinity: term.affinity, shape: term.shape }
}

/// A field as a column of that kind has it.
fn column(value: &Value, kind: Kind, is_old: bool) -> Term<'_> {
    let (sql, affinity, shape) = match kind {
        Kind::Text | Kind::Choice | Kind::Relation => (Sql::of_column(value), Affinity::Text, Shape::Column),
        Kind::Number | Kind::Bool => (Sql::of_column(value), Affinity::Numeric, Shape::Column),
        // JSON in a column of SQLite's type NUMERIC.
        Kind::Choices | Kind::Relations => {
            let sql = match value {
                Value::Array(items) => list_text(items, is_old),
                other => Sql::of_column(other),
            };
            (sql, Affinity::Numeric, Shape::Column)
        }
        Kind::Point => (Sql::Unclear(Some(b'{')), Affinity::Numeric, Shape::Column),
        Kind::Json => (Sql::of_json_column(value), Affinity::None, Shape::Strict),
    };
    Term { sql, affinity, shape }
}

/// What a path leads to inside of a JSON value; nothing if only the server can read it.
fn inside<'v>(value: &'v Value, path: &[String]) -> Option<Sql<'v>> {
    let mut value = value;
    for step in path {
        let is_place = step.bytes().all(|byte| byte.is_ascii_digit());
        let next = match value {
            Value::Array(items) if is_place => items.get(step.parse::<usize>().ok()?),
            Value::Object(fields) if !is_place => fields.get(step),
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => return Some(Sql::Null),
        }
    }
    Some(Sql::json(value))
}

/// The values that a column holds one by one. The text of a single choice may happen to be JSON.
fn rows<'v>(source: &'v impl Source, field: &str, is_old: bool) -> Option<Vec<Sql<'v>>> {
    let rows: Vec<Sql<'v>> = match source.value(field)? {
        Value::Array(items) => items.iter().map(Sql::json).collect(),
        Value::String(text) => match (serde_json::from_str::<Value>(text), is_old) {
            (Ok(Value::Array(items)), _) => items
                .iter()
                .map(|item| {
                    owned(Term { sql: Sql::json(item), affinity: Affinity::None, shape: Shape::Column }).sql
                })
                .collect(),
            (Ok(Value::Object(_)), true) => return None,
            (Ok(scalar), true) => vec![match Sql::json(&scalar) {
                Sql::Text(_) => return None,
                sql => owned(Term { sql, affinity: Affinity::None, shape: Shape::Column }).sql,
            }],
            _ => vec![Sql::text(text)],
        },
        _ => return None,
    };
    Some(if rows.is_empty() { vec![Sql::Null] } else { rows })
}

fn length(value: &Value, is_old: bool) -> Term<'static> {
    let count = match value {
        Value::Array(items) => items.len(),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(items)) => items.len(),
            // Seen on 0.22: what is JSON by chance, such as `10`, has no values.
            Ok(_) if is_old => 0,
            _ => usize::from(!text.is_empty()),
        },
        _ => 0,
    };
    let sql = Sql::Number(Number::integer(i64::try_from(count).unwrap_or(i64::MAX)));
    Term { sql, affinity: Affinity::None, shape: Shape::Column }
}

/// The order of two values in a column, as `ORDER BY` has it, if all kinds that the column may be of agree.
pub(crate) fn compare(kinds: Kinds, left: &Value, right: &Value) -> Option<Ordering> {
    let ages = kinds.plain().iter().flat_map(|kind| [(kind, false), (kind, true)]);
    agreed(ages.map(|(kind, is_old)| column(left, kind, is_old).sql.order(&column(right, kind, is_old).sql)))
}

/// The same for values inside of JSON, at a path.
pub(crate) fn compare_inside(path: &[String], left: &Value, right: &Value) -> Option<Ordering> {
    inside(left, path)?.order(&inside(right, path)?)
}

/// The one answer that all give.
fn agreed<T: PartialEq>(mut answers: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = answers.next()??;
    answers.all(|answer| answer.as_ref() == Some(&first)).then_some(first)
}

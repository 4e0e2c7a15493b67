//! What of a filter can be decided here, before there is a record.

use serde_json::Value;

use super::{
    Filter,
    clock::{Moment, Reading},
    kinds::Kind,
    program::{Comparison, Field, Modifier, Node, Operand},
    syntax::Op,
};

/// Who decides a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// We do. (Of a value that is at the border of what a server keeps, such as a float with 17 digits in JSON, it may
    /// still have to be asked.)
    Exact,
    /// We do, and the result may change while nothing happens. The next time, in milliseconds since 1970, is
    /// the same for all records, or depends on each: then [`Filter::next_flip`] says it.
    ExactWithClock { next_flip: Option<u64> },
    /// We do for some records. For the others the server has to be asked, because of these comparisons. If there is a time
    /// among them, [`Filter::next_flip`] says when to do so again.
    Partly { ask: Vec<String> },
    /// The server does.
    ServerOnly { why: String },
}

/// Who decides one comparison.
enum Part {
    Exact,
    /// We do where kind and value allow.
    Partly,
    Server(&'static str),
}

impl Filter {
    /// Who decides the filter, with the kinds of fields as they are known now.
    pub(crate) fn plan(&self, now: u64) -> Plan {
        let [reading] = self.readings.as_slice() else {
            let why = match self.readings.is_empty() {
                true => "no server takes it: a function, macro or modifier in it is unknown",
                false => "servers read it differently, depending on their age",
            };
            return Plan::ServerOnly { why: why.to_owned() };
        };
        let program = &reading[0];
        let is_any_age = reading.len() > 1;
        let comparisons = program.root.comparisons();
        let parts: Vec<Part> = comparisons.iter().map(|comparison| part(comparison, is_any_age)).collect();
        if let Some(why) = parts.iter().find_map(|part| match part {
            Part::Server(why) => Some(*why),
            _ => None,
        }) {
            let mut left = parts.iter().map(|part| !matches!(part, Part::Server(_)));
            if reach(&program.root, &mut left) == (false, false) {
                return Plan::ServerOnly { why: why.to_owned() };
            }
        }
        let ask: Vec<String> = comparisons
            .iter()
            .zip(&parts)
            .filter(|(_, part)| !matches!(part, Part::Exact))
            .map(|(comparison, _)| comparison.source.clone())
            .collect();
        if !ask.is_empty() {
            return Plan::Partly { ask };
        }
        let moments: Vec<Moment> = comparisons.iter().flat_map(|comparison| comparison.moments()).collect();
        match moments.iter().map(|moment| moment.next_step(now)).min() {
            None => Plan::Exact,
            Some(_) if moments.iter().any(|moment| moment.is_flowing()) => {
                Plan::ExactWithClock { next_flip: None }
            }
            next_flip => Plan::ExactWithClock { next_flip },
        }
    }

    /// When the answer for this record may change next while nothing happens, if ever.
    pub(crate) fn next_flip(&self, record: &Value, now: u64) -> Option<u64> {
        let comparisons = self.readings.iter().flatten().flat_map(|program| program.root.comparisons());
        comparisons.filter_map(|comparison| comparison.next_flip(record, now)).min()
    }
}

/// Whether comparisons that are `free` to be true or false can make the result In, and Out.
fn reach(node: &Node, free: &mut impl Iterator<Item = bool>) -> (bool, bool) {
    match node {
        Node::Compare(_) => {
            let is_free = free.next().unwrap_or(false);
            (is_free, is_free)
        }
        Node::All(parts) => parts
            .iter()
            .map(|part| reach(part, free))
            .fold((true, false), |(all, any), (i, o)| (all & i, any | o)),
        Node::Any(parts) => parts
            .iter()
            .map(|part| reach(part, free))
            .fold((false, true), |(any, all), (i, o)| (any | i, all & o)),
    }
}

fn part(comparison: &Comparison, is_any_age: bool) -> Part {
    let sides = [&comparison.left, &comparison.right];
    for side in sides {
        if let Some(why) = servers(side) {
            return Part::Server(why);
        }
    }
    if is_any_age && comparison.depends_on_age() {
        return Part::Partly;
    }
    let is_exact = match sides {
        [Operand::Field(field), other] | [other, Operand::Field(field)] => {
            is_exact(field, comparison.op, other)
        }
        [left, right] => is_constant(left) && is_constant(right),
    };
    if is_exact { Part::Exact } else { Part::Partly }
}

fn is_constant(operand: &Operand) -> bool {
    matches!(operand, Operand::Value { .. } | Operand::Moment(_))
}

fn servers(operand: &Operand) -> Option<&'static str> {
    match operand {
        Operand::Server(why) => Some(*why),
        Operand::Field(field) => match field.name.as_str() {
            "@request" => Some("`@request` is the server's"),
            "@collection" => Some("`@collection` is about other records"),
            name if name.contains("_via_") => Some("a back relation is about other records"),
            _ if field.path.is_empty() => None,
            _ if [Kind::Json, Kind::Point].iter().any(|kind| field.kinds.has(*kind)) => None,
            _ => Some("a relation's fields are in another record"),
        },
        Operand::Strftime { time, .. } => servers(time),
        Operand::Distance(at) => at.iter().find_map(servers),
        Operand::Value { .. } | Operand::Moment(_) | Operand::Word { .. } => None,
    }
}

/// Whether a field of known kind compares with this without doubt.
fn is_exact(field: &Field, op: Op, other: &Operand) -> bool {
    let is_like = matches!(op, Op::Like | Op::NotLike);
    let other_kind = match other {
        Operand::Value { .. } | Operand::Moment(_) | Operand::Word { .. } => None,
        Operand::Field(other) if other.kinds.only().is_some() => other.kinds.only(),
        _ => return false,
    };
    let is_plain = |kind: Kind, modifier: Modifier| match (kind, modifier) {
        (Kind::Text | Kind::Choice | Kind::Relation, Modifier::None | Modifier::Lower | Modifier::Idle) => {
            true
        }
        (Kind::Choice | Kind::Choices | Kind::Relation | Kind::Relations, Modifier::Length) => !is_like,
        (Kind::Choice | Kind::Choices | Kind::Relation | Kind::Relations, Modifier::Each) => {
            other_kind.is_none()
        }
        (Kind::Number | Kind::Bool, Modifier::None | Modifier::Idle) => !is_like,
        (Kind::Text | Kind::Number | Kind::Bool, _) => !is_like && modifier != Modifier::Lower,
        // Numbers and compounds in JSON, and lists as text, are clear only value by value.
        _ => false,
    };
    let sides = field.kinds.only().is_some() && field.path.is_empty() && field.name != "email";
    sides
        && field.kinds.iter().all(|kind| is_plain(kind, field.modifier))
        && match other {
            Operand::Field(other) => {
                other.path.is_empty()
                    && other.modifier != Modifier::Each
                    && field.modifier != Modifier::Each
                    && other.kinds.iter().all(|kind| is_plain(kind, other.modifier))
            }
            _ => true,
        }
}

impl Comparison {
    fn moments(&self) -> Vec<Moment> {
        fn collect(operand: &Operand, found: &mut Vec<Moment>) {
            match operand {
                Operand::Moment(moment) => found.push(*moment),
                Operand::Strftime { time, .. } => collect(time, found),
                Operand::Distance(at) => at.iter().for_each(|operand| collect(operand, found)),
                Operand::Value { .. } | Operand::Field(_) | Operand::Word { .. } | Operand::Server(_) => {}
            }
        }
        let mut found = Vec::new();
        collect(&self.left, &mut found);
        collect(&self.right, &mut found);
        found
    }

    fn next_flip(&self, record: &Value, now: u64) -> Option<u64> {
        let (moment, other) = match (&self.left, &self.right) {
            (Operand::Moment(moment), other) | (other, Operand::Moment(moment)) => (*moment, other),
            // Within a call: it may change with each step.
            _ => return self.moments().iter().map(|moment| moment.next_step(now)).min(),
        };
        if !moment.is_flowing() {
            return Some(moment.next_step(now));
        }
        let is_plain = |field: &Field| field.path.is_empty() && field.modifier == Modifier::None;
        match other {
            Operand::Field(field) if is_plain(field) && !matches!(self.op, Op::Like | Op::NotLike) => {
                match record.get(&field.name)? {
                    Value::String(text) => passes(moment, text, now),
                    // Numbers are below texts, and lists above dates, for ever.
                    _ => None,
                }
            }
            Operand::Value { term, .. } => match &term.sql {
                super::value::Sql::Text(text) => passes(moment, text, now),
                _ => None,
            },
            // `null`, `true`.
            Operand::Word { .. } => None,
            _ => Some(now + 1),
        }
    }
}

/// When a moment that flows gets as far as a text, or beyond it.
fn passes(moment: Moment, text: &str, now: u64) -> Option<u64> {
    reaches(moment, text, now, false).or_else(|| reaches(moment, text, now, true))
}

/// When a moment that flows is as far as a text, or beyond it, and was not before.
pub(super) fn reaches(moment: Moment, text: &str, now: u64, is_beyond: bool) -> Option<u64> {
    // The day after it is the last with four digits of the year.
    const END: u64 = 253_402_300_799_999 - 86_400_000;
    let reads = |at: u64| match moment.reading(at) {
        Reading::Text(text) => text,
        Reading::Number(number) => number.to_string(),
    };
    // What holds goes on to hold.
    let holds = |at: u64| if is_beyond { reads(at).as_str() > text } else { reads(at).as_str() >= text };
    if holds(now) || !holds(END) {
        return None;
    }
    let (mut before, mut after) = (now, END);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        *if holds(middle) { &mut after } else { &mut before } = middle;
    }
    Some(after)
}

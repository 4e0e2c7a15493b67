//! The filter language of PocketBase: a parser, a planner and an evaluator.
//!
//! The answer of a filter to a record is one of three ([`Answer`]): In and Out are what the server would say, and
//! where that cannot be known here, it is Unknown, and the server has to be asked. `Out && Unknown` is Out.
//!
//! | filter | record | answer, and why |
//! |---|---|---|
//! | `title = "a" && n > 3` | `{"title":"a","n":4}` | In |
//! | `x = ""` | `{"x":""}` | In, whether it is a text or a JSON value |
//! | `x = null` | `{"x":""}` | Unknown: a text would pass, a JSON value would not |
//! | `n > 3 && author.name = "b"` | `{"n":1,"author":"…"}` | Out, whoever the author is |
//!
//! What this knows of: a record as a payload shows it, a [`Schema`] (given, or learned from payloads), the time. What it
//! does not know: other records, who asks, which version the server has (unless told by a [`Dialect`]). It holds for
//! PocketBase's SQLite and its base and auth collections (in a view a text may be null); BosBase keeps records in Postgres, where texts compare
//! differently: there use the parser alone.
//!
//! Everything that is said here about servers was seen on 0.40.6 and 0.22.26, and is asked of them again by
//! `tests/filter_pairs.rs`, with random filters and records.

mod ahead;
mod clock;
mod evaluate;
mod explain;
mod functions;
mod kinds;
mod like;
mod plan;
mod program;
mod quote;
mod syntax;
#[cfg(test)]
mod tests;
mod value;

use syntax::{Grammar, Tree};

pub(crate) use ahead::{Ahead, Rise};
pub(crate) use clock::stamp;
pub(crate) use evaluate::{Found, Source, compare, compare_inside};
pub use explain::explain_filter;
pub(crate) use kinds::{Kind, Kinds, Schema};
pub(crate) use plan::Plan;
pub(crate) use quote::{for_both, quote, quote_for_old};
pub(crate) use syntax::SyntaxError;

use program::Program;

/// Whether a record passes a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    In,
    Out,
    /// Only the server can say.
    Unknown,
}

/// Which servers a filter is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// PocketBase from 0.39 on.
    New,
    /// PocketBase from 0.23 to 0.38, and BosBase, as far as they are known: a backslash escapes less.
    Between,
    /// PocketBase 0.22.
    Old,
    /// Not known. Where they differ, nothing is said.
    Any,
}

/// The longest filter that servers take, in characters.
pub(crate) const MAX_CHARACTERS: usize = 3_500;

const NEW: Grammar = Grammar { escapes: true, calls: true };
const BETWEEN: Grammar = Grammar { escapes: false, calls: true };
const OLD: Grammar = Grammar { escapes: false, calls: false };

/// A parsed filter.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// What servers make of it; one that all agree on, as a rule. Each for newer servers, and for older ones if those
    /// may be meant.
    readings: Vec<Vec<Program>>,
    names: Vec<String>,
}

impl Filter {
    pub(crate) fn parse(text: &str, dialect: Dialect) -> Result<Self, SyntaxError> {
        let grammars = match dialect {
            Dialect::New => &[NEW][..],
            Dialect::Between => &[BETWEEN],
            Dialect::Old => &[OLD],
            Dialect::Any => &[NEW, BETWEEN, OLD],
        };
        let mut error = None;
        let mut trees: Vec<(Tree, Grammar)> = Vec::new();
        for grammar in grammars {
            match syntax::parse(text, *grammar) {
                Ok(tree) if trees.iter().all(|(known, _)| *known != tree) => trees.push((tree, *grammar)),
                Ok(_) => {}
                Err(found) => error = error.or(Some(found)),
            }
        }
        let names = match (trees.first(), error) {
            (None, Some(error)) => return Err(error),
            (first, _) => first.map(|(tree, _)| names(tree)).unwrap_or_default(),
        };
        let ages: &[bool] = match dialect {
            Dialect::New | Dialect::Between => &[false],
            Dialect::Old => &[true],
            Dialect::Any => &[false, true],
        };
        let reading = |(tree, grammar): &(Tree, Grammar)| -> Vec<Program> {
            ages.iter().filter_map(|is_old| Program::new(tree, *grammar == OLD, *is_old)).collect()
        };
        let readings = trees.iter().map(reading).filter(|reading| !reading.is_empty()).collect();
        Ok(Self { readings, names })
    }

    /// Learns what the fields are. Until then each may be anything that its value allows.
    pub(crate) fn know(&mut self, schema: &Schema) {
        self.readings.iter_mut().flatten().for_each(|program| program.know(schema));
    }

    /// The answer for a record, `now` being milliseconds since 1970 on the server's clock.
    pub(crate) fn evaluate(&self, source: &impl Source, now: u64) -> Answer {
        let mut answers = self.readings.iter().flat_map(|reading| {
            let ages = if reading[0].depends_on_age { reading.len() } else { 1 };
            reading[..ages].iter().map(|program| program.evaluate(source, now))
        });
        let first = answers.next().unwrap_or(Answer::Unknown);
        if answers.all(|answer| answer == first) { first } else { Answer::Unknown }
    }

    /// How many comparisons it has, of which servers take 200.
    pub(crate) fn comparisons(&self) -> usize {
        self.readings.iter().flatten().map(|program| program.root.comparisons().len()).max().unwrap_or(0)
    }

    /// Every field, macro and path that it names, modifiers included.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether every server refuses it, whatever the fields are: an unknown function, macro or modifier.
    pub(crate) fn is_refused(&self) -> bool {
        self.readings.is_empty()
    }
}

fn names(tree: &Tree) -> Vec<String> {
    fn of(token: &syntax::Token, names: &mut Vec<String>) {
        match token {
            syntax::Token::Name(name) => names.push(name.clone()),
            syntax::Token::Call(_, arguments) => arguments.iter().for_each(|token| of(token, names)),
            syntax::Token::Text(_) | syntax::Token::Number(_) => {}
        }
    }
    let mut names = Vec::new();
    for comparison in tree.comparisons() {
        of(&comparison.left, &mut names);
        of(&comparison.right, &mut names);
    }
    names
}

/// Refuses what no server can read, old or new. Whether fields exist is not looked at.
pub(crate) fn check(text: &str) -> Result<(), SyntaxError> {
    match Filter::parse(text, Dialect::Any) {
        Err(error) if error.is_certain => Err(error),
        _ => Ok(()),
    }
}

/// Whether servers of any age read it as a whole filter. What 0.22 has no functions for is left aside.
pub(crate) fn is_read_at_any_age(text: &str) -> bool {
    [NEW, BETWEEN].iter().all(|grammar| syntax::parse(text, *grammar).is_ok())
}

/// The same for what may become a part of a filter: what more text could mend is no error.
pub(crate) fn check_part(text: &str) -> Result<(), SyntaxError> {
    check(text).or_else(|error| if error.is_open { Ok(()) } else { Err(error) })
}

/// Both filters in one, where no server reads that otherwise than as both: a comment may hide a bracket, and servers have
/// limits.
pub(crate) fn joined(left: &str, right: &str) -> Option<String> {
    let is_both = |text: &String| {
        text.chars().count() <= MAX_CHARACTERS
            && [NEW, BETWEEN, OLD].iter().all(|grammar| {
                let parts = (syntax::parse(left, *grammar), syntax::parse(right, *grammar));
                match (parts, syntax::parse(text, *grammar)) {
                    ((Ok(left), Ok(right)), Ok(whole)) => whole == Tree::All(vec![left, right]),
                    // What it refuses alone, it must refuse in company.
                    ((Ok(_), Ok(_)), Err(_)) | (_, Ok(_)) => false,
                    (_, Err(_)) => true,
                }
            })
    };
    // A comment ends with the group: servers look for its bracket first.
    Some(format!("({left}) && ({right})")).filter(is_both)
}

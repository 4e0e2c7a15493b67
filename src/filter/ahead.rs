//! What comes into a filter because time passes: which records to know of before it does.

use serde_json::Value;

use super::{
    BETWEEN, NEW, OLD,
    clock::{Moment, Reading},
    plan::reaches,
    syntax::{self, Comparison, Op, Token, Tree},
};

/// How a filter changes its answers as time passes, where that can be said before.
#[derive(Debug, Clone)]
pub(crate) struct Ahead {
    pub(crate) rises: Vec<Rise>,
    /// Moments at which any answer may change.
    steps: Vec<Moment>,
}

/// A comparison such as `due < @now`, which becomes true for one record after the other, and stays so.
#[derive(Debug, Clone)]
pub(crate) struct Rise {
    pub(crate) field: String,
    moment: Moment,
    /// The sign between the field and the moment while that is still to come.
    sign: &'static str,
    /// What must hold beside it for a record to match then.
    rest: Option<String>,
}

impl Rise {
    /// The records for which it becomes true after this time, and which may match then.
    pub(crate) fn filter(&self, after: u64) -> String {
        let Self { field, sign, .. } = self;
        let moment = match self.moment.reading(after) {
            Reading::Text(text) => text,
            Reading::Number(number) => number.to_string(),
        };
        match &self.rest {
            Some(rest) => format!("{field} {sign} '{moment}' && ({rest})"),
            None => format!("{field} {sign} '{moment}'"),
        }
    }

    /// When it becomes true for this record, in milliseconds since 1970: `None` if it is, or never will be.
    pub(crate) fn at(&self, record: &Value, now: u64) -> Option<u64> {
        reaches(self.moment, record[&self.field].as_str()?, now, self.sign == ">=")
    }

    /// Whether it is true for this record.
    pub(crate) fn has_come(&self, record: &Value, now: u64) -> bool {
        self.at(record, 0).is_some_and(|at| at <= now)
    }
}

/// More lists than this are more than asking again now and then.
const MOST: usize = 3;

impl Ahead {
    /// `None` where records may come in at any time, as with `=` or a part of a clock that changes all the time.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let mut trees = [NEW, BETWEEN, OLD].iter().filter_map(|grammar| syntax::parse(text, *grammar).ok());
        let tree = trees.next()?;
        if trees.any(|other| other != tree) {
            return None;
        }
        let (mut rises, mut steps) = (Vec::new(), Vec::new());
        let rest = relaxed(&tree);
        for comparison in tree.comparisons() {
            match part(comparison)? {
                Part::Still | Part::Falling => {}
                Part::Stepping(moment) => steps.push(moment),
                Part::Rising { field, is_or_equal, moment } => {
                    let sign = if is_or_equal { ">" } else { ">=" };
                    rises.push(Rise { field: field.to_owned(), moment, sign, rest: rest.clone() });
                }
            }
        }
        (rises.len() <= MOST).then_some(Self { rises, steps })
    }

    /// The next moment at which any answer may change.
    pub(crate) fn next_step(&self, now: u64) -> Option<u64> {
        self.steps.iter().map(|moment| moment.next_step(now)).min()
    }
}

/// What time does to a comparison.
enum Part<'a> {
    Still,
    /// It becomes true, once.
    Rising {
        field: &'a str,
        is_or_equal: bool,
        moment: Moment,
    },
    /// It becomes false, once: that brings nothing in.
    Falling,
    /// It changes with a day, or an hour.
    Stepping(Moment),
}

/// `None` where nothing can be said.
fn part(comparison: &Comparison) -> Option<Part<'_>> {
    let moment = |token: &Token| match token {
        Token::Name(name) => Moment::named(name),
        _ => None,
    };
    let (field, moment, is_turned) = match (&comparison.left, &comparison.right) {
        (left, right) if is_still(left) && is_still(right) => return Some(Part::Still),
        (left, right) if is_still(left) => (left, moment(right)?, false),
        (left, right) if is_still(right) => (right, moment(left)?, true),
        _ => return None,
    };
    if !moment.is_flowing() {
        // A minute: to list each second is too much.
        let is_slow = moment.next_step(0) >= 60_000;
        return is_slow.then_some(Part::Stepping(moment));
    }
    let is_below = match (comparison.op, is_turned) {
        (Op::Less | Op::LessOrEqual, false) | (Op::Greater | Op::GreaterOrEqual, true) => true,
        (Op::Greater | Op::GreaterOrEqual, false) | (Op::Less | Op::LessOrEqual, true) => false,
        _ => return None,
    };
    match field {
        _ if !is_below => Some(Part::Falling),
        Token::Name(field) if is_plain(field) && !comparison.any => {
            let is_or_equal = matches!(comparison.op, Op::LessOrEqual | Op::GreaterOrEqual);
            Some(Part::Rising { field, is_or_equal, moment })
        }
        _ => None,
    }
}

/// A field of the record itself.
fn is_plain(name: &str) -> bool {
    let is_word = ["true", "false", "null"].contains(&name.to_ascii_lowercase().as_str());
    !is_word && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether time does nothing to it.
fn is_still(token: &Token) -> bool {
    match token {
        Token::Name(name) => !name.starts_with('@'),
        Token::Text(_) | Token::Number(_) => true,
        Token::Call(_, arguments) => arguments.iter().all(is_still),
    }
}

/// The filter, with all that becomes true taken for true already. `None` if that is all of it.
fn relaxed(tree: &Tree) -> Option<String> {
    match tree {
        Tree::All(parts) => {
            let parts: Vec<String> = parts.iter().filter_map(relaxed).collect();
            (!parts.is_empty()).then(|| format!("({})", parts.join(" && ")))
        }
        Tree::Any(parts) => {
            let parts: Option<Vec<String>> = parts.iter().map(relaxed).collect();
            parts.map(|parts| format!("({})", parts.join(" || ")))
        }
        Tree::Compare(comparison) => match part(comparison) {
            Some(Part::Rising { .. } | Part::Stepping(_)) => None,
            // A comment ends with its line.
            _ => Some(format!("{}\n", comparison.source)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(text: &str) -> Option<Vec<String>> {
        let ahead = Ahead::of(text)?;
        Some(ahead.rises.into_iter().map(|rise| rise.filter(86_400_000).replace('\n', "")).collect())
    }

    #[test]
    fn what_is_to_come_is_a_filter_of_its_own() {
        let is = |text: &str, wanted: &[&str]| {
            assert_eq!(
                filters(text).as_deref(),
                Some(&wanted.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            )
        };
        is("due < @now", &["due >= '1970-01-02 00:00:00.000Z'"]);
        is("@now >= due", &["due > '1970-01-02 00:00:00.000Z'"]);
        is("due > @now", &[]);
        is("due < @now && open = true", &["due >= '1970-01-02 00:00:00.000Z' && ((open = true))"]);
        is("(due<@now || n > 3) && open = true", &["due >= '1970-01-02 00:00:00.000Z' && ((open = true))"]);
        is("start <= @now && end > @now", &["start > '1970-01-02 00:00:00.000Z' && ((end > @now))"]);
        is(
            "a < @now || b < @tomorrow",
            &["a >= '1970-01-02 00:00:00.000Z'", "b >= '1970-01-03 00:00:00.000Z'"],
        );
        is("due >= @todayStart", &[]);
        is("n = 1 // due < @now", &[]);
        for text in [
            "due = @now",
            "n = @second",
            "author.due < @now",
            "due ?< @now",
            "a < @now || b < @now || c < @now || d < @now",
        ] {
            assert!(filters(text).is_none(), "{text}");
        }
        assert_eq!(Ahead::of("due >= @todayStart").unwrap().next_step(5), Some(86_400_000));
    }

    #[test]
    fn it_says_when() {
        let ahead = Ahead::of("due <= @now").unwrap();
        let record = serde_json::json!({"due": "1970-01-01 00:00:01.000Z"});
        assert_eq!(ahead.rises[0].at(&record, 5), Some(1_000));
        assert_eq!(ahead.rises[0].at(&record, 1_000), None);
        assert!(!ahead.rises[0].has_come(&record, 999) && ahead.rises[0].has_come(&record, 1_000));
        let strictly = Ahead::of("@now > due").unwrap();
        assert_eq!(strictly.rises[0].at(&record, 5), Some(1_001));
        let never = serde_json::json!({"due": "never"});
        assert!(strictly.rises[0].at(&never, 5).is_none() && !strictly.rises[0].has_come(&never, 5));
    }
}

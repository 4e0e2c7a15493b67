//! What is asked of the server: pages by key, records by id.

use serde_json::json;

use super::{arrange::Order, look::AHEAD, rows::Row};
use crate::{Error, filter::Rise};

/// What servers take: characters and comparisons of a filter (seen on 0.22 and 0.40).
pub(super) const CHARACTERS: usize = 3_500;
const COMPARISONS: usize = 200;

/// Ids asked for at once, at most.
const IDS: usize = 150;

/// An id and what is around it: ids have 15 characters, those of BosBase 36.
const ID_LENGTH: usize = 45;

/// What servers before 0.23 take, in bytes of the whole encoded query, less what stands in it beside filter and `expand`.
const SHORT: usize = 2_048 - 120;
const ENCODED_ID: usize = 34;

/// What is left for ids and keys beside a filter of the host.
const ROOM: usize = 500;

/// What a view lists.
#[derive(Clone, Debug)]
pub(super) struct Question {
    filter: String,
    expand: Option<String>,
    /// Comparisons in the filter.
    comparisons: usize,
    /// Queries are to be short.
    is_short: bool,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// Of records, with these parameters.
    List { query: Vec<(&'static str, String)> },
    /// Whether the server takes the token.
    Proof,
}

impl Question {
    /// # Errors
    /// `InvalidArgument` where the filter leaves no room for what is asked beside it.
    pub(super) fn new(filter: &str, comparisons: usize, expand: Option<String>) -> Result<Self, Error> {
        let length = filter.chars().count();
        if length > CHARACTERS - ROOM || comparisons > COMPARISONS - 20 {
            let reason = format!(
                "it has {length} characters and {comparisons} comparisons; servers take {CHARACTERS} and {COMPARISONS}, \
                 of which a view needs {ROOM} and 20 itself"
            );
            return Err(Error::argument("filter", reason));
        }
        Ok(Self { filter: filter.trim().to_owned(), comparisons, expand, is_short: false })
    }

    /// So many records in the order of the list, after one of them. If `thin`, what tells whether they have changed.
    pub(super) fn page(
        &self,
        order: &Order,
        after: Option<&Row>,
        count: usize,
        thin: bool,
    ) -> Result<Wanted, Error> {
        let after = after.map(|row| order.after(row)).transpose()?;
        let filter = self.with(after.as_deref());
        let mut query =
            vec![("page", "1".to_owned()), ("skipTotal", "1".to_owned()), ("perPage", count.to_string())];
        query.push(("sort", order.text()));
        if thin {
            query.push(("fields", order.fields()));
        }
        query.extend(filter.map(|filter| ("filter", filter)));
        if !thin {
            query.extend(self.expand.clone().map(|expand| ("expand", expand)));
        }
        Ok(Wanted::List { query })
    }

    /// The next records that time may bring in, and when.
    pub(super) fn ahead(&self, rise: &Rise, since: u64) -> Wanted {
        let query = vec![
            ("page", "1".to_owned()),
            ("skipTotal", "1".to_owned()),
            ("perPage", AHEAD.to_string()),
            ("sort", rise.field.clone()),
            ("fields", format!("id,{}", rise.field)),
            ("filter", rise.filter(since)),
        ];
        Wanted::List { query }
    }

    /// Those of these records that match.
    pub(super) fn ids<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Wanted {
        let ids: Vec<String> = ids.map(|id| format!("id={}", quoted(id))).collect();
        let count = ids.len();
        let mut query =
            vec![("page", "1".to_owned()), ("skipTotal", "1".to_owned()), ("perPage", count.to_string())];
        query.extend(self.with(Some(&ids.join("||"))).map(|filter| ("filter", filter)));
        query.extend(self.expand.clone().map(|expand| ("expand", expand)));
        Wanted::List { query }
    }

    /// Asks in shorter queries from now on. Whether that is another way than before.
    pub(super) fn shorten(&mut self) -> bool {
        !std::mem::replace(&mut self.is_short, true)
    }

    /// How many ids fit beside the filter.
    pub(super) fn ids_at_once(&self) -> usize {
        let room = match self.is_short {
            true => {
                let encoded = |text: &str| {
                    url::form_urlencoded::byte_serialize(text.as_bytes()).map(str::len).sum::<usize>()
                };
                let own: usize = encoded(&self.filter) + encoded(self.expand.as_deref().unwrap_or_default());
                SHORT.saturating_sub(own) / ENCODED_ID
            }
            false => (CHARACTERS - self.filter.chars().count().min(CHARACTERS)) / ID_LENGTH,
        };
        IDS.min(room).min(COMPARISONS - self.comparisons).max(1)
    }

    /// The filter, and one more. A comment in it ends with its line.
    fn with(&self, other: Option<&str>) -> Option<String> {
        match (self.filter.as_str(), other) {
            ("", None) => None,
            ("", Some(other)) => Some(other.to_owned()),
            (own, None) => Some(own.to_owned()),
            (own, Some(other)) if own.contains("//") => Some(format!("({other})&&({own}\n)")),
            (own, Some(other)) => Some(format!("({other})&&({own})")),
        }
    }
}

/// An id comes from the server, and from anyone who may make records.
fn quoted(id: &str) -> String {
    crate::client::filter("{:id}", json!({"id": id})).unwrap_or_else(|_| "''".to_owned())
}

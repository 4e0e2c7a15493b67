//! Topic keys as clients submit them: `posts/*?options={…}`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::filter::{Dialect, Filter, SyntaxError};

/// One submitted topic with its options read.
#[derive(Debug)]
pub(super) struct Topic {
    /// As submitted, byte for byte: the event name echoes it.
    pub(super) key: String,
    pub(super) options: Options,
}

/// What rides in `?options=`.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: BTreeMap<String, String>,
    /// The parsed `query.filter`; an unparsable one lets nothing through.
    pub(super) filter: Option<Result<Filter, SyntaxError>>,
}

impl Topic {
    pub(super) fn parse(key: &str, dialect: Dialect) -> Self {
        let mut options = Options::default();
        if let Some(json) = options_json(key) {
            options.read(&json);
        }
        options.filter = match options.query.get("filter").map(String::as_str) {
            None | Some("") => None,
            Some(filter) => Some(Filter::parse(filter, dialect)),
        };
        Self { key: key.to_owned(), options }
    }

    /// The key without its query: what is compared with `posts/*` and the like.
    pub(super) fn base(&self) -> &str {
        self.key.split_once('?').map_or(&self.key, |(base, _)| base)
    }

    /// An option of the query; the empty string counts as absent.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.options.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The raw options, or nothing where the server's URL parser would give up.
fn options_json(key: &str) -> Option<String> {
    if key.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return None;
    }
    let key = key.split_once('#').map_or(key, |(before, _)| before);
    let (_, query) = key.split_once('?')?;
    query
        .split('&')
        // Go's query parser skips a pair with a semicolon or a bad escape.
        .filter(|pair| !pair.contains(';') && well_escaped(pair))
        .filter_map(|pair| url::form_urlencoded::parse(pair.as_bytes()).next())
        .find(|(name, _)| name == "options")
        .map(|(_, value)| value.into_owned())
}

fn well_escaped(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|after| after.len() >= 2 && after.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit))
}

impl Options {
    /// Reads as far as the JSON goes and keeps what was read before an error:
    /// `{"query":{…},"headers":5}` still has its query, as on the real server.
    fn read(&mut self, json: &str) {
        let mut json = serde_json::Deserializer::from_str(json);
        let _ = OptionsSeed(self).deserialize(&mut json);
    }
}

struct OptionsSeed<'a>(&'a mut Options);

impl<'de> DeserializeSeed<'de> for OptionsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OptionsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of options")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "query" => map.next_value_seed(PairsSeed(&mut self.0.query, str::to_owned))?,
                "headers" => map.next_value_seed(PairsSeed(&mut self.0.headers, snake_case))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct PairsSeed<'a>(&'a mut BTreeMap<String, String>, fn(&str) -> String);

impl<'de> DeserializeSeed<'de> for PairsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match Option::<Pairs>::deserialize(deserializer)?.unwrap_or_default() {
            Pairs(pairs) => {
                for (name, value) in pairs {
                    self.0.insert((self.1)(&name), plain(&value));
                }
            }
        }
        Ok(())
    }
}

#[derive(Default, Deserialize)]
struct Pairs(BTreeMap<String, Value>);

/// Query values become strings; lists and objects become nothing.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(b) => b.to_string(),
        _ => String::new(),
    }
}

/// `X-My-Header` → `x_my_header`.
pub(super) fn snake_case(name: &str) -> String {
    name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

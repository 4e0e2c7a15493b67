//! Topic keys: the exact string that stands on the wire.

use std::{collections::BTreeMap, sync::Arc};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Error;

/// A topic's name with the options that ride in it.
///
/// Options are kept sorted, so that equal options make equal keys, whatever order they were given in, and share
/// one topic on the wire: the server's writes slow down with every distinct key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: BTreeMap<String, String>,
}

/// What `encodeURIComponent` leaves alone. Encoding everything else matters: options that the server cannot
/// parse are dropped without an error and the subscription is then unfiltered.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

impl Topic {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The canonical key, at most `max` bytes long.
    pub(crate) fn key(&self, max: usize) -> Result<Arc<str>, Error> {
        let invalid = |reason: String| {
            let topic = without_options(&self.name).chars().take(80).collect();
            Err(Error::InvalidTopic { topic, reason })
        };
        if self.name.is_empty() {
            return invalid("it is empty; name a collection and `*` or a record id, as in `posts/*`".into());
        }
        if let Some(at) = self.name.find(|c: char| c.is_control()) {
            return invalid(format!("it has a control character at byte {at}"));
        }
        if self.name.starts_with(' ') {
            // It would come back without it: "If value starts with a U+0020 SPACE character, remove it from value."
            return invalid("it begins with a space, which an event stream does not keep".into());
        }
        let has_options = !self.query.is_empty() || !self.headers.is_empty();
        if has_options && without_options(&self.name) != self.name {
            // The server reads the first ones alone.
            return invalid("it has options already; give them all in one way".into());
        }
        let mut key = self.name.clone();
        if has_options {
            let mut options = serde_json::Map::new();
            if !self.query.is_empty() {
                options.insert("query".into(), text_map(&self.query));
            }
            if !self.headers.is_empty() {
                options.insert("headers".into(), text_map(&self.headers));
            }
            let json = serde_json::Value::Object(options).to_string();
            key.push_str(if self.name.contains('?') { "&options=" } else { "?options=" });
            key.extend(utf8_percent_encode(&json, COMPONENT));
        }
        if key.len() > max {
            let size = key.len();
            return invalid(format!(
                "it is {size} bytes long with its options encoded, and the server takes {max}"
            ));
        }
        Ok(key.into())
    }
}

/// The key as it may be shown: the options may hold a header that is a secret.
pub(crate) fn without_options(key: &str) -> &str {
    key.find("options=").map_or(key, |at| key[..at].trim_end_matches(['?', '&']))
}

/// Whether `key` is `name`, with or without options. An empty name stands for every key.
pub(crate) fn is_named(key: &str, name: &str) -> bool {
    has_prefix(key, name) && matches!(key.as_bytes().get(name.len()), None | Some(b'?' | b'&'))
}

/// Whether a name would not stay where it is put in a path: as a segment it names the folder, or the one above.
pub(crate) fn is_dots(name: &str) -> bool {
    matches!(name, "." | "..")
}

/// Whether `key` begins with `prefix`.
pub(crate) fn has_prefix(key: &str, prefix: &str) -> bool {
    key.starts_with(prefix)
}

fn text_map(map: &BTreeMap<String, String>) -> serde_json::Value {
    map.iter().map(|(k, v)| (k.clone(), serde_json::Value::String(v.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 2500;

    fn with_query(name: &str, query: &[(&str, &str)]) -> Topic {
        let query = query.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Topic { name: name.into(), query, ..Topic::default() }
    }

    #[test]
    fn options_are_encoded_as_encode_uri_component_does() {
        let key = with_query("posts/*", &[("filter", "a = 'ü' && b != \"x\"")]).key(MAX).unwrap();
        assert_eq!(
            &*key,
            "posts/*?options=%7B%22query%22%3A%7B%22filter%22%3A%22a%20%3D%20'%C3%BC'%20%26%26%20b%20!%3D%20%5C%22x\
             %5C%22%22%7D%7D"
        );
    }

    #[test]
    fn equal_options_make_equal_keys_in_any_order() {
        let a = with_query("posts/*", &[("expand", "author"), ("filter", "x=1")]).key(MAX).unwrap();
        let b = with_query("posts/*", &[("filter", "x=1"), ("expand", "author")]).key(MAX).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn options_follow_an_ampersand_where_the_topic_has_a_query() {
        let key = with_query("jobs?kind=a", &[("x", "y")]).key(MAX).unwrap();
        assert!(key.starts_with("jobs?kind=a&options=%7B"), "{key}");
    }

    #[test]
    fn bad_topics_are_refused_with_what_is_wrong() {
        for (name, text) in [
            ("", "empty"),
            ("posts/\n*", "control character at byte 6"),
            ("a\0", "at byte 1"),
            (" jobs", "begins with a space"),
        ] {
            let error = Topic::new(name).key(MAX).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn options_are_given_in_one_way_and_never_shown() {
        let name = "posts/*?options=%7B%22headers%22%3A%7B%22x%22%3A%22secret%22%7D%7D";
        assert_eq!(&*Topic::new(name).key(MAX).unwrap(), name);
        let error = with_query(name, &[("filter", "x=1")]).key(MAX).unwrap_err().to_string();
        assert!(error.contains("options already") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn the_length_limit_counts_bytes_of_the_encoded_key() {
        assert!(Topic::new("x".repeat(2500)).key(MAX).is_ok());
        assert!(Topic::new("x".repeat(2501)).key(MAX).is_err());
        assert!(Topic::new("ü".repeat(1251)).key(MAX).is_err());
        let spaces = " ".repeat(1000);
        let error = with_query("posts/*", &[("filter", &spaces)]).key(MAX).unwrap_err().to_string();
        assert!(error.contains("3063 bytes") && error.contains("2500"), "{error}");
    }

    #[test]
    fn a_name_matches_its_key_with_and_without_options() {
        assert!(is_named("posts/*", "posts/*"));
        assert!(is_named("posts/*?options=x", "posts/*"));
        assert!(!is_named("posts/*b", "posts/*"));
        assert!(!is_named("posts/", "posts/*"));
    }
}

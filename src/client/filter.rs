//! Filter expressions with safely quoted values.

use serde::Serialize;
use serde_json::Value;

use crate::{
    Error,
    filter::{check_part, for_both, is_read_at_any_age, quote, quote_for_old},
};

/// Replaces the placeholders `{:name}` of a filter expression with `values`, quoted so that no value can change the
/// meaning of the expression.
///
/// Text is quoted and escaped; numbers, `true`, `false` and `null` are inserted as they are; lists and objects become
/// quoted JSON text.
///
/// ```
/// let filter = tidings::filter("title = {:title} && likes > {:n}", serde_json::json!({"title": "it's", "n": 7}))?;
/// assert_eq!(filter, r"title = 'it\'s' && likes > 7");
/// # Ok::<(), tidings::Error>(())
/// ```
///
/// # Backslashes
/// PocketBase reads `\\` in a text as one backslash since 0.39; before that, and in BosBase, it is two. What is returned
/// means the same to both. Most values need nothing for that. For those that do (a backslash before `n`, `r`, `t`,
/// a quote or another backslash) the expression is written twice, once for each kind of server, and a comparison that
/// only one of them finds true chooses: no server has to be asked, and none has to be named. Such a result is more than
/// twice as long. The expression must then be a whole one: of a part, to be joined with others, only the form for 0.39
/// and newer is returned.
///
/// A text that ends in a backslash, or that has a backslash before a `'` and another before a `"`, cannot be written for
/// older servers. The form for 0.39 and newer is returned; on an older one it matches nothing or the server answers 400,
/// and it never means something else. Tried on 0.22.26 and 0.40.6.
///
/// ```
/// let filter = tidings::filter("path = {:path}", serde_json::json!({"path": r"C:\new"}))?;
/// assert_eq!(
///     filter,
///     r"('\\.' = '\.' && (path = 'C:\\new')) || ('\\.' != '\.' && (path = 'C:\new'))"
/// );
/// # Ok::<(), tidings::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidArgument`] when
/// - `values` is not a map with text keys;
/// - a placeholder has no value, has no closing brace, or stands between quotes;
/// - a text contains a NUL character, which would end the expression;
/// - the expression has a syntax error that no server takes, and that more text before or after it cannot mend. The column
///   is that of `expression`.
pub fn filter(expression: &str, values: impl Serialize) -> Result<String, Error> {
    let values =
        serde_json::to_value(values).map_err(|error| Error::argument("filter", error.to_string()))?;
    let Value::Object(values) = values else {
        return Err(Error::argument("filter", "the values are not a map from names to values"));
    };
    let template = Template::parse(expression, &values)?;
    check_part(&template.outline).map_err(|error| Error::argument("filter", error.to_string()))?;
    // Where a backslash cannot be escaped, a text that ends in one runs on to the next quote. None of the other
    // values may offer it one.
    let is_open = |value: &Value| value.as_str().is_some_and(|text| text.ends_with('\\'));
    let guarded = values.values().any(is_open);
    let new = template.fill(|text| Some(quote(text, guarded))).expect("newer servers read every text");
    let Some(old) = template.fill(quote_for_old).filter(|old| *old != new) else { return Ok(new) };
    // A comment goes on to the end of its line.
    let end = if expression.contains("//") { "\n" } else { "" };
    let both = for_both(&format!("{new}{end}"), &format!("{old}{end}"));
    // Not so a part of an expression, nor one with a comment that would hide a bracket.
    let is_whole = is_read_at_any_age(&template.outline) && is_read_at_any_age(&both);
    Ok(if is_whole { both } else { new })
}

/// An expression cut at its placeholders.
struct Template<'a> {
    /// What stands before a placeholder, and what replaces it.
    parts: Vec<(&'a str, Content)>,
    rest: &'a str,
    /// The expression with texts of the placeholders' length, so that columns stay what they are.
    outline: String,
}

/// What replaces a placeholder.
enum Content {
    /// As it is.
    Plain(String),
    Text(String),
}

impl<'a> Template<'a> {
    fn parse(expression: &'a str, values: &serde_json::Map<String, Value>) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut outline = String::with_capacity(expression.len());
        let mut rest = expression;
        let mut quote_open = None;
        while let Some(at) = rest.find("{:") {
            let (before, place) = rest.split_at(at);
            outline.push_str(before);
            quote_open = quote_after(quote_open, before);
            let Some(end) = place.find('}') else {
                let why = format!("a placeholder is not closed: {place:?} has no }}");
                return Err(Error::argument("filter", why));
            };
            let name = &place[2..end];
            if quote_open.is_some() {
                let why =
                    format!("{{:{name}}} stands between quotes; leave them out, the value is quoted for you");
                return Err(Error::argument("filter", why));
            }
            let value = values.get(name).ok_or_else(|| {
                let why = format!("the placeholder {{:{name}}} has no value");
                Error::argument("filter", why)
            })?;
            parts.push((before, Content::of(name, value)?));
            outline.push_str(&format!("'{}'", "x".repeat(name.chars().count() + 1)));
            rest = &place[end + 1..];
        }
        outline.push_str(rest);
        Ok(Self { parts, rest, outline })
    }

    /// The expression, unless a text cannot be quoted.
    fn fill(&self, quote: impl Fn(&str) -> Option<String>) -> Option<String> {
        let mut out = String::new();
        for (before, content) in &self.parts {
            out += before;
            match content {
                Content::Plain(plain) => out += plain,
                Content::Text(text) => out += &quote(text)?,
            }
        }
        out += self.rest;
        Some(out)
    }
}

impl Content {
    fn of(name: &str, value: &Value) -> Result<Self, Error> {
        let text = match value {
            // The language knows no exponents.
            Value::Number(number) if number.is_f64() => {
                return Ok(Self::Plain(number.as_f64().unwrap_or_default().to_string()));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => return Ok(Self::Plain(value.to_string())),
            Value::String(text) => text.clone(),
            Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        match text.contains('\0') {
            true => {
                Err(Error::argument("filter", format!("the value of {{:{name}}} contains a NUL character")))
            }
            false => Ok(Self::Text(text)),
        }
    }
}

/// The quote that is still open after some more of an expression.
fn quote_after(open: Option<char>, text: &str) -> Option<char> {
    let mut escaped = false;
    text.chars().fold(open, |open, character| {
        let was_escaped = escaped;
        escaped = character == '\\' && !was_escaped;
        match open {
            None if matches!(character, '\'' | '"') => Some(character),
            Some(quote) if quote == character && !was_escaped => None,
            open => open,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_as_the_language_wants_them() {
        let cases = [
            (json!("it's"), r"'it\'s'"),
            (json!(r#"say "hi""#), r#"'say "hi"'"#),
            (json!(r"C:\dir\new"), r"'C:\dir\\new'"),
            (json!(r"a\'b"), r"'a\\\'b'"),
            (json!(-1.5), "-1.5"),
            (json!(1e21), "1000000000000000000000"),
            (json!(1.5e-7), "0.00000015"),
            (json!(true), "true"),
            (json!(null), "null"),
            (json!(["a", 1]), r#"'["a",1]'"#),
        ];
        for (value, literal) in cases {
            assert_eq!(filter("{:v}", json!({"v": value})).unwrap(), literal);
        }
    }

    #[test]
    fn what_ages_of_servers_read_differently_is_written_for_both() {
        for (value, new, old) in [
            (r"C:\new", r"'C:\\new'", r"'C:\new'"),
            (r"a\\b", r"'a\\\b'", r"'a\\b'"),
            (r"b\'q", r"'b\\\'q'", r#""b\'q""#),
            (r#"b\'q""#, r#"'b\\\'q"'"#, r#""b\'q\"""#),
        ] {
            let filled = filter("a = {:v} // same", json!({"v": value})).unwrap();
            let expected =
                format!("(r'' = r && (a = {new} // same\n)) || (r'' != r && (a = {old} // same\n))");
            let expected = expected
                .replace("r''", r"'\\.'")
                .replace(" = r ", r" = '\.' ")
                .replace(" != r ", r" != '\.' ");
            assert_eq!(filled, expected, "{value}");
        }
        for (value, new) in
            [(r"a\", r"'a\\'"), (r#"\'\""#, r#"'\\\'\\"'"#), (r"a\b", r"'a\b'"), ("it's", r"'it\'s'")]
        {
            assert_eq!(filter("a = {:v}", json!({"v": value})).unwrap(), format!("a = {new}"), "{value}");
        }
    }

    #[test]
    fn a_part_of_an_expression_stays_a_part() {
        for part in [
            "{:v}",
            "&& a = {:v}",
            "a = {:v} ||",
            "(a = {:v}",
            "a = {:v})",
            "a =",
            "a = {:v} // it's",
            "'=' {:v}",
            "a =",
        ] {
            let filled = filter(part, json!({"v": r"a\\b"})).unwrap();
            assert_eq!(filled, part.replace("{:v}", r"'a\\\b'"));
        }
        for whole in ["a = {:v}", "(a ?~ {:v})", "a = {:v} && (b = ')' || c != \"(\")"] {
            assert!(
                filter(whole, json!({"v": r"a\\b"})).unwrap().starts_with(r"('\\.' = '\.' && ("),
                "{whole}"
            );
        }
    }

    #[test]
    fn a_text_that_an_old_server_cannot_close_finds_no_quote_in_another_value() {
        let made = filter("a = {:a} || b = {:b}", json!({"a": "\\", "b": "' || 1=1 || \"\""})).unwrap();
        assert_eq!(made, r#"a = '\\' || b = '\' || 1=1 || \"\"'"#);
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused() {
        assert!(filter("{:x}", json!({"y": 1})).unwrap_err().to_string().contains("{:x}"));
        assert!(filter("{:x}", json!({"x": "a\0"})).unwrap_err().to_string().contains("NUL"));
        assert!(filter("{:x}", json!([1])).is_err());
        assert_eq!(filter("a = '{b'", json!({})).unwrap(), "a = '{b'");
        assert!(filter("a = {:a", json!({"a": 1})).unwrap_err().to_string().contains("not closed"));
    }

    #[test]
    fn a_syntax_error_is_named_with_its_column() {
        let error = filter("title = {:title} && n == {:n}", json!({"title": "a", "n": 1})).unwrap_err();
        assert!(error.to_string().contains("`==`") && error.to_string().ends_with("at column 23"), "{error}");
        assert!(filter("a = {:a} b = 2", json!({"a": 1})).is_err());
        assert_eq!(filter("&& a = {:a} ||", json!({"a": 1})).unwrap(), "&& a = 1 ||");
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_is_not_filled_in() {
        assert_eq!(filter("{:a} {:b}", json!({"a": "{:b}", "b": "x"})).unwrap(), "'{:b}' 'x'");
    }
}

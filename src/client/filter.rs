//! Filter expressions with safely quoted values.

use serde::Serialize;
use serde_json::Value;

use crate::{Error, filter::check_part};

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
/// PocketBase before 0.39 and BosBase cannot express a backslash before a quote or at the end of a text. There such a
/// value matches nothing or the server answers 400; it never changes the meaning.
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
    // Where a backslash cannot be escaped, a text that ends in one runs on to the next quote. None of the other
    // values may offer it one.
    let is_open = |value: &Value| value.as_str().is_some_and(|text| text.ends_with('\\'));
    let guarded = values.values().any(is_open);
    let mut out = String::with_capacity(expression.len());
    // The same with texts of the placeholders' length, so that columns stay what they are.
    let mut outline = String::with_capacity(expression.len());
    let mut rest = expression;
    let mut quote_open = None;
    while let Some(at) = rest.find("{:") {
        let (before, place) = rest.split_at(at);
        out.push_str(before);
        outline.push_str(before);
        quote_open = quote_after(quote_open, before);
        let Some(end) = place.find('}') else {
            return Err(Error::argument(
                "filter",
                format!("a placeholder is not closed: {place:?} has no }}"),
            ));
        };
        let name = &place[2..end];
        if quote_open.is_some() {
            let why =
                format!("{{:{name}}} stands between quotes; leave them out, the value is quoted for you");
            return Err(Error::argument("filter", why));
        }
        let value = values
            .get(name)
            .ok_or_else(|| Error::argument("filter", format!("the placeholder {{:{name}}} has no value")))?;
        out.push_str(&literal(name, value, guarded)?);
        outline.push_str(&format!("'{}'", "x".repeat(name.chars().count() + 1)));
        rest = &place[end + 1..];
    }
    out.push_str(rest);
    outline.push_str(rest);
    check_part(&outline).map_err(|error| Error::argument("filter", error.to_string()))?;
    Ok(out)
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

fn literal(name: &str, value: &Value, guarded: bool) -> Result<String, Error> {
    Ok(match value {
        // The language knows no exponents.
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or_default().to_string(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quote(name, text, guarded)?,
        Value::Array(_) | Value::Object(_) => quote(name, &value.to_string(), guarded)?,
    })
}

fn quote(name: &str, text: &str, guarded: bool) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(Error::argument("filter", format!("the value of {{:{name}}} contains a NUL character")));
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let is_special = match character {
            '\'' => true,
            '"' => guarded,
            // Doubled only where it would otherwise begin an escape: servers before 0.39 know only that of the quote.
            '\\' => matches!(characters.peek(), None | Some('\\' | '\'' | '"' | 'n' | 'r' | 't')),
            _ => false,
        };
        if is_special {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('\'');
    Ok(out)
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

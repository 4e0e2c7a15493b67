//! Filter expressions with values put in safely.

use serde::Serialize;
use serde_json::Value;

use crate::Error;

/// Puts `values` into the places `{:name}` of a filter expression, quoted so that no value can change what the
/// expression means.
///
/// Text is quoted and escaped, numbers, `true`, `false` and `null` stand as they are, and lists and objects become
/// quoted JSON text.
///
/// ```
/// let filter = tidings::filter("title = {:title} && likes > {:n}", serde_json::json!({"title": "it's", "n": 7}))?;
/// assert_eq!(filter, r"title = 'it\'s' && likes > 7");
/// # Ok::<(), tidings::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidArgument`] when `values` is not a map with text keys, when a place has no value, when a
/// number is not finite, or when a text ends in a backslash: the server's language has no way to say that, since
/// it takes the closing quote after a backslash for a part of the text.
pub fn filter(expression: &str, values: impl Serialize) -> Result<String, Error> {
    let values =
        serde_json::to_value(values).map_err(|error| Error::argument("filter", error.to_string()))?;
    let Value::Object(values) = values else {
        return Err(Error::argument("filter", "the values are not a map from names to values"));
    };
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some(at) = rest.find("{:") {
        let (before, place) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = place.find('}') else { break };
        let name = &place[2..end];
        let value = values.get(name).ok_or_else(|| {
            Error::argument("filter", format!("the expression has {{:{name}}} and no value is named so"))
        })?;
        out.push_str(&literal(name, value)?);
        rest = &place[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn literal(name: &str, value: &Value) -> Result<String, Error> {
    Ok(match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quote(name, text)?,
        Value::Array(_) | Value::Object(_) => quote(name, &value.to_string())?,
    })
}

fn quote(name: &str, text: &str) -> Result<String, Error> {
    if text.ends_with('\\') {
        let reason = format!("the value of {{:{name}}} ends in a backslash, which a filter cannot express");
        return Err(Error::argument("filter", reason));
    }
    Ok(format!("'{}'", text.replace('\'', r"\'")))
}

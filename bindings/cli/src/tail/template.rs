//! Lines of the user's own form: `{action} {id} {record.title}`.

use std::borrow::Cow;

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Field(Vec<String>),
}

const NAMES: [&str; 5] = ["topic", "action", "id", "record", "data"];

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.peek() == Some(&c) => literal.extend(chars.next()),
                '{' => {
                    let name: String = chars.by_ref().take_while(|c| *c != '}').collect();
                    let path: Vec<String> = name.split('.').map(str::to_owned).collect();
                    if !NAMES.contains(&path[0].as_str())
                        || (path.len() > 1 && !matches!(&*path[0], "record" | "data"))
                    {
                        return Err(format!(
                            "unknown placeholder {{{name}}}; there are {{topic}}, {{action}}, {{id}}, {{record}}, \
                             {{record.FIELD}}, {{data}} and {{data.FIELD}}; write {{{{ for a brace"
                        ));
                    }
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                    parts.push(Part::Field(path));
                }
                '}' => return Err("a } without a {; write }} for a brace".to_owned()),
                '\\' => match chars.next() {
                    Some('n') => literal.push('\n'),
                    Some('t') => literal.push('\t'),
                    Some('0') => literal.push('\0'),
                    Some('\\') | None => literal.push('\\'),
                    Some(other) => literal.extend(['\\', other]),
                },
                c => literal.push(c),
            }
        }
        parts.push(Part::Text(literal));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self(parts))
    }

    /// What is not there is empty. `show` is applied to what comes from the server.
    pub(crate) fn fill(&self, event: &Value, show: fn(&str) -> Cow<'_, str>) -> String {
        let mut line = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Field(path) => {
                    let found = path.iter().try_fold(event, |value, step| match value {
                        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
                        value => value.get(step),
                    });
                    match found {
                        None | Some(Value::Null) => {}
                        Some(Value::String(text)) => line.push_str(&show(text)),
                        Some(other) => line.push_str(&show(&other.to_string())),
                    }
                }
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_are_filled_with_what_is_there() {
        let event = json!({
            "topic": "posts/*", "action": "update", "id": "x",
            "record": {"title": "a\tb", "n": 1.5, "tags": ["p", "q"], "at": {"lon": 2}, "none": null},
        });
        for (template, line) in [
            ("{action} {id}", "update x"),
            ("{record.title}|{record.n}|{record.tags.1}|{record.at.lon}", "a\tb|1.5|q|2"),
            ("[{record.none}{record.missing}{record.title.deeper}]", "[]"),
            ("{{{action}}}\\t\\\\", "{update}\t\\"),
            ("{record.tags}", r#"["p","q"]"#),
            ("no placeholder", "no placeholder"),
        ] {
            assert_eq!(
                Template::parse(template).unwrap().fill(&event, |text| text.into()),
                line,
                "{template}"
            );
        }
    }

    #[test]
    fn what_cannot_be_filled_is_refused() {
        for (template, said) in [
            ("{titel}", "unknown placeholder {titel}"),
            ("{id.x}", "unknown placeholder {id.x}"),
            ("{", "unknown placeholder {}"),
            ("a}", "a } without a {"),
        ] {
            assert!(Template::parse(template).unwrap_err().contains(said), "{template}");
        }
    }
}

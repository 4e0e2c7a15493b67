//! The parts of a list rule that can be tried one by one.

/// The parts of a rule that all have to be true, with the user's id filled in. A part that asks for more of the request
/// cannot be tried as somebody else, and is left out.
pub(super) fn clauses(rule: &str, user: &str) -> Vec<(String, String)> {
    let quoted = format!("\"{}\"", user.replace(['"', '\\'], ""));
    let filled =
        parts(rule).into_iter().map(|part| (part.to_owned(), part.replace("@request.auth.id", &quoted)));
    filled.filter(|(_, filled)| !filled.contains("@request")).collect()
}

/// Split at each `&&` that is neither in brackets nor in a text; one part if there is an `||` beside it.
fn parts(rule: &str) -> Vec<&str> {
    let bytes = rule.as_bytes();
    let (mut parts, mut from, mut depth, mut at) = (Vec::new(), 0, 0_i32, 0);
    let mut quote = None;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(mark), byte) if byte == mark => quote = None,
            (Some(_), _) => {}
            (None, mark @ (b'"' | b'\'')) => quote = Some(mark),
            (None, b'(') => depth += 1,
            (None, b')') => depth -= 1,
            (None, b'|') if depth == 0 && rule[at..].starts_with("||") => return vec![rule.trim()],
            (None, b'&') if depth == 0 && rule[at..].starts_with("&&") => {
                parts.push(rule[from..at].trim());
                (at, from) = (at + 1, at + 2);
            }
            (None, _) => {}
        }
        at += 1;
    }
    parts.push(rule[from..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_split_where_all_has_to_be_true() {
        assert_eq!(
            parts("a = 1 && (b = 2 && c = 3) && d = \"&&\""),
            ["a = 1", "(b = 2 && c = 3)", "d = \"&&\""]
        );
        assert_eq!(parts("a = 1 && b = 2 || c = 3"), ["a = 1 && b = 2 || c = 3"]);
        assert_eq!(parts("a = 'it\\'s && so' && ü = 'ä'"), ["a = 'it\\'s && so'", "ü = 'ä'"]);
        assert_eq!(parts(""), [""]);
    }

    #[test]
    fn only_the_users_id_can_be_filled_in() {
        let clauses = clauses("owner = @request.auth.id && @request.auth.role = 'x' && open = true", "abc");
        assert_eq!(
            clauses,
            [
                ("owner = @request.auth.id".to_owned(), "owner = \"abc\"".to_owned()),
                ("open = true".to_owned(), "open = true".to_owned()),
            ]
        );
    }
}

//! `LIKE` as SQLite has it, and what PocketBase makes of its right side.

/// A pattern, ready to be matched.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    glyphs: Vec<Glyph>,
    /// It ends in a backslash, which then escapes nothing: SQLite says no to every text.
    is_broken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Glyph {
    Is(char),
    One,
    Many,
}

impl Pattern {
    /// Of a value in the filter: looked for anywhere, unless it has a `%` that is not escaped.
    pub(super) fn of_value(text: &str) -> Self {
        if has_wildcard(text) { Self::raw(text.chars()) } else { Self::anywhere(escaped(text)) }
    }

    /// Of another field: looked for anywhere, while what it holds is a pattern still.
    pub(super) fn of_field(text: &str) -> Self {
        Self::anywhere(text.chars())
    }

    fn anywhere(text: impl IntoIterator<Item = char>) -> Self {
        Self::raw(std::iter::once('%').chain(text).chain(['%']))
    }

    fn raw(text: impl IntoIterator<Item = char>) -> Self {
        let mut glyphs = Vec::new();
        let mut text = text.into_iter();
        while let Some(character) = text.next() {
            glyphs.push(match character {
                '%' => Glyph::Many,
                '_' => Glyph::One,
                '\\' => match text.next() {
                    Some(escaped) => Glyph::Is(escaped),
                    None => return Self { glyphs, is_broken: true },
                },
                other => Glyph::Is(other),
            });
        }
        Self { glyphs, is_broken: false }
    }

    /// Whether every text matches.
    pub(super) fn takes_all(&self) -> bool {
        !self.is_broken && !self.glyphs.is_empty() && self.glyphs.iter().all(|glyph| *glyph == Glyph::Many)
    }

    /// Case is ignored in ASCII alone.
    pub(super) fn matches(&self, text: &str) -> bool {
        if self.is_broken {
            return false;
        }
        let mut rest = text.chars();
        let mut at = 0;
        // On a mismatch the last `%` takes one character more.
        let mut back: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let mut ahead = rest.clone();
            match (self.glyphs.get(at), ahead.next()) {
                (Some(Glyph::Many), _) => {
                    back = Some((at + 1, rest.clone()));
                    at += 1;
                    continue;
                }
                (None, None) => return true,
                (Some(Glyph::One), Some(_)) => {
                    (rest, at) = (ahead, at + 1);
                    continue;
                }
                (Some(Glyph::Is(wanted)), Some(found)) if found.eq_ignore_ascii_case(wanted) => {
                    (rest, at) = (ahead, at + 1);
                    continue;
                }
                _ => {}
            }
            let Some((star, from)) = &mut back else {
                return false;
            };
            if from.next().is_none() {
                return false;
            }
            (rest, at) = (from.clone(), *star);
        }
    }
}

/// Whether there is a `%` without a backslash of its own before it.
fn has_wildcard(text: &str) -> bool {
    let mut before = '\0';
    text.chars().any(|character| {
        let found = character == '%' && before != '\\';
        before = if character == '\\' && before == '\\' { '\0' } else { character };
        found
    })
}

/// Puts a backslash before `\`, `%` and `_`, read from the end. The server passes over the character before each such
/// one, whatever it is: of `__` only the second is escaped (seen on 0.40.6).
fn escaped(text: &str) -> Vec<char> {
    let mut backwards = Vec::with_capacity(text.len() + 2);
    let mut characters = text.chars().rev();
    while let Some(character) = characters.next() {
        backwards.push(character);
        if matches!(character, '\\' | '%' | '_') {
            let before = characters.next();
            if before != Some('\\') {
                backwards.push('\\');
            }
            backwards.extend(before);
        }
    }
    backwards.reverse();
    backwards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_looked_for_anywhere_unless_they_have_a_wildcard() {
        // Each line was asked of 0.40.6 and 0.22.26.
        for (value, text, is_match) in [
            ("abc", "xABCx", true),
            ("", "", true),
            ("a_c", "abc", false),
            ("a_c%", "Abc_%", true),
            ("_", "abc", false),
            ("__", "a_", true),
            ("__", "ab", false),
            ("%", "", true),
            (r"\%", "Abc_%", true),
            (r"\%", "abc", false),
            ("É", "é", false),
            ("ä", "ä", true),
            (r"%\", r"a\", false),
            (r"a\b%", "abc", true),
            (r"\", r"a\b", true),
        ] {
            assert_eq!(Pattern::of_value(value).matches(text), is_match, "{text:?} ~ {value:?}");
        }
    }

    #[test]
    fn what_another_field_holds_is_a_pattern() {
        assert!(Pattern::of_field("a_c").matches("xabcx"));
        assert!(!Pattern::of_field(r"a\b").matches(r"a\b"));
        assert!(Pattern::of_field(r"b\").matches("ab%"));
    }
}

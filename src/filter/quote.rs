//! Texts in a filter, for servers that read backslashes and for those that do not.

/// For servers since 0.39, and for older ones where they read it the same.
pub(crate) fn quote(text: &str, guarded: bool) -> String {
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
    out
}

/// For servers before 0.39: a backslash stands for itself but before the text's own quote, so one before a quote wants
/// the other quotes, and one at the end cannot be written.
pub(crate) fn quote_for_old(text: &str) -> Option<String> {
    let quote = ['\'', '"'].into_iter().find(|quote| !text.contains(&format!("\\{quote}")))?;
    let quoted = text.replace(quote, &format!("\\{quote}"));
    (!text.ends_with('\\')).then(|| format!("{quote}{quoted}{quote}"))
}

/// A filter written twice, for newer servers and for older ones. A comparison that only one of them finds true chooses.
pub(crate) fn for_both(new: &str, old: &str) -> String {
    format!(r"('\\.' = '\.' && ({new})) || ('\\.' != '\.' && ({old}))")
}

//! Text from elsewhere, made fit to be shown.

/// Text from elsewhere as it may stand in an error or a log: at most `limit` characters, and none that a terminal or a
/// reader of logs would obey instead of show. The code of a colour, or a line break with a forged line behind it, comes
/// out as `\u{1b}` and `\n`.
pub(crate) fn shown(text: &str, limit: usize) -> String {
    // Characters that reorder, hide or break what stands beside them (Unicode Standard Annex 9 and 14).
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
    };
    let mut shown = String::new();
    let mut rest = text.chars();
    for c in rest.by_ref().take(limit) {
        if is_odd(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if rest.next().is_some() {
        shown.push('…');
    }
    shown
}

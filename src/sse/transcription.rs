//! The standard's words as code: slow, short, and what the decoder is compared with.
//!
//! The comments quote "Server-sent events" of the WHATWG HTML standard, sections "Parsing
//! an event stream" and "Interpreting an event stream". The fuzz target includes this file
//! too, so it uses nothing of the crate.

/// What a stream tells. `limit` stands for an item that the standard does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Message { event: String, data: String, id: String },
    Comment(String),
    Retry(u64),
    TooLarge { limit: usize },
}

/// What a whole stream tells, and the last event ID string after it.
///
/// `limit` is the decoder's own: the standard has none. It is exact for valid UTF-8, and for
/// texts that are shorter than `SHORT_TEXT_LIMIT`.
pub(crate) fn interpret(stream: &[u8], limit: usize) -> (Vec<Told>, String) {
    let mut told = Vec::new();

    // "Streams must be decoded using the UTF-8 decode algorithm. [It] strips one leading
    // UTF-8 Byte Order Mark (BOM), if any."
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let text = String::from_utf8_lossy(stream);

    // "When a stream is parsed, a data buffer, an event type buffer, and a last event ID
    // buffer must be associated with it. They must be initialized to the empty string."
    let mut data = String::new();
    let mut event = String::new();
    let mut id = String::new();
    let mut last_event_id = String::new();

    // Not of the standard: whether the id was set in this message, and whether the message
    // is too large.
    let mut own_id = false;
    let mut oversize = false;

    for line in lines(&text) {
        // "If the line is empty (a blank line): Dispatch the event"
        if line.is_empty() {
            // "1. Set the last event ID string of the event source to the value of the last
            // event ID buffer."
            last_event_id.clone_from(&id);
            own_id = false;
            if std::mem::take(&mut oversize) {
                continue;
            }
            // "2. If the data buffer is an empty string, set the data buffer and the event
            // type buffer to the empty string and return."
            if data.is_empty() {
                event.clear();
                continue;
            }
            // "3. If the data buffer's last character is a U+000A LINE FEED (LF) character,
            // then remove the last character from the data buffer."
            if data.ends_with('\n') {
                data.pop();
            }
            // "Initialize event's type attribute to "message", its data attribute to data,
            // ... its lastEventId attribute to the last event ID string of the event source."
            // "If the event type buffer has a value other than the empty string, change the
            // type of the newly created event to equal the value of the event type buffer."
            told.push(Told::Message {
                event: if event.is_empty() { "message".into() } else { event.clone() },
                data: data.clone(),
                id: last_event_id.clone(),
            });
            // "Set the data buffer and the event type buffer to the empty string."
            data.clear();
            event.clear();
            continue;
        }
        let (field, value) = match line.split_once(':') {
            // "If the line starts with a U+003A COLON character (:): Ignore the line."
            Some(("", comment)) => {
                let comment = comment.strip_prefix(' ').unwrap_or(comment);
                let mut end = comment.len().min(limit);
                while !comment.is_char_boundary(end) {
                    end -= 1;
                }
                told.push(Told::Comment(comment[..end].into()));
                continue;
            }
            // "If the line contains a U+003A COLON character (:): Collect the characters on
            // the line before the first U+003A COLON character (:), and let field be that
            // string. Collect the characters on the line after the first U+003A COLON
            // character (:), and let value be that string. If value starts with a U+0020
            // SPACE character, remove it from value."
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            // "Otherwise, the string is not empty but does not contain a U+003A COLON
            // character (:): Process the field using the steps described below, using the
            // whole line as the field name, and the empty string as the field value."
            None => (line, ""),
        };
        let id_size = if own_id { id.len() } else { 0 };
        let data_size = data.len().saturating_sub(1);
        let size;
        match field {
            // "If the field name is "event": Set the event type buffer to field value."
            "event" => {
                size = data_size + id_size + value.len();
                if !oversize {
                    event = value.into();
                }
            }
            // "If the field name is "data": Append the field value to the data buffer, then
            // append a single U+000A LINE FEED (LF) character to the data buffer."
            "data" => {
                size = data.len() + value.len() + event.len() + id_size;
                if !oversize {
                    data.push_str(value);
                    data.push('\n');
                }
            }
            // "If the field name is "id": If the field value does not contain U+0000 NULL,
            // then set the last event ID buffer to the field value. Otherwise, ignore the
            // field."
            "id" => {
                let nul = value.find('\0');
                let taken = nul.unwrap_or(value.len());
                size = data_size + event.len() + id_size + taken;
                if nul.is_none() && size <= limit {
                    id = value.into();
                    own_id = true;
                }
            }
            // "If the field name is "retry": If the field value consists of only ASCII
            // digits, then interpret the field value as an integer in base ten, and set the
            // event stream's reconnection time to that integer."
            "retry" => {
                if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
                    told.push(Told::Retry(value.parse().unwrap_or(u64::MAX)));
                }
                continue;
            }
            // "Otherwise: The field is ignored."
            _ => continue,
        }
        if size > limit && !oversize {
            oversize = true;
            data.clear();
            event.clear();
            told.push(Told::TooLarge { limit });
        }
    }
    // "Once the end of the file is reached, any pending data must be discarded. (If the file
    // ends in the middle of an event, before the final empty line, the incomplete event is
    // not dispatched.)"
    (told, last_event_id)
}

/// "Lines must be separated by either a U+000D CARRIAGE RETURN U+000A LINE FEED (CRLF)
/// character pair, a single U+000A LINE FEED (LF) character, or a single U+000D CARRIAGE
/// RETURN (CR) character." What comes after the last of these is no line.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\r', '\n']) {
        lines.push(&rest[..end]);
        let after = &rest[end..];
        rest = after.strip_prefix("\r\n").unwrap_or(&after[1..]);
    }
    lines
}

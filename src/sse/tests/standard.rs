//! One test for each rule. The quotes are from the standard's examples where it has one.

use super::*;

#[test]
fn joins_data_lines_by_line_feeds() {
    expect("data: YHOO\ndata: +2\ndata: 10\n\n", &[data("YHOO\n+2\n10")]);
}

#[test]
fn follows_the_example_with_four_blocks() {
    let stream =
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
    expect(
        stream,
        &[
            comment("test stream"),
            message("message", "first event", "1"),
            message("message", "second event", ""),
            message("message", " third event", ""),
        ],
    );
}

#[test]
fn follows_the_example_with_empty_data() {
    expect("data\n\ndata\ndata\n\ndata:", &[data(""), data("\n")]);
}

#[test]
fn follows_the_example_with_and_without_a_space() {
    expect("data:test\n\ndata: test\n\n", &[data("test"), data("test")]);
}

#[test]
fn lines_end_in_lf_cr_or_crlf() {
    expect("data: a\n\ndata: b\r\rdata: c\r\n\r\n", &[data("a"), data("b"), data("c")]);
    expect("data: a\r\ndata: b\rdata: c\ndata: d\n\r", &[data("a\nb\nc\nd")]);
    expect("data: a\r\n\n", &[data("a")]);
    expect("data: a\n\r\n\ndata: b\r\r\n\ndata: c\n\n", &[data("a"), data("b"), data("c")]);
}

#[test]
fn a_line_feed_after_cr_is_no_second_line_end() {
    expect("data: a\r\ndata: b\r\n\r\n", &[data("a\nb")]);
}

#[test]
fn other_characters_do_not_end_a_line() {
    let text = "a\u{85}b\u{2028}c\u{2029}d\u{b}e\u{c}f\tg\0h";
    expect(format!("data: {text}\n\n"), &[data(text)]);
}

#[test]
fn delivers_at_the_carriage_return_that_ends_the_message() {
    let mut decoder = Decoder::new();
    assert_eq!(decode(&mut decoder, [&b"data: a\r\r"[..]]), [data("a")]);
    assert_eq!(decode(&mut decoder, [&b"\ndata: b\r\n\r"[..]]), [data("b")]);
    assert_eq!(decode(&mut decoder, [&b"\n"[..], b"", b"\n"]), []);
    // An empty chunk does not part CR from LF.
    assert_eq!(decode(&mut decoder, [&b"data: c\r"[..], b"", b"\n", b"\n"]), [data("c")]);
}

#[test]
fn drops_one_leading_bom() {
    expect("\u{FEFF}data: a\n\n", &[data("a")]);
    expect("\u{FEFF}\ndata: a\n\n", &[data("a")]);
    expect("\u{FEFF}\u{FEFF}data: a\n\n", &[]);
    expect("\n\u{FEFF}data: a\n\ndata: b\n\n", &[data("b")]);
    expect("data: \u{FEFF}a\n\n", &[data("\u{FEFF}a")]);
}

#[test]
fn what_only_begins_like_a_bom_is_a_line() {
    expect(b"\xEF\xBBdata: a\n\ndata: b\n\n", &[data("b")]);
    expect(b"\xEF\ndata: a\n\n", &[data("a")]);
    expect(b"\xEF\xBB\n\ndata: a\n\n", &[data("a")]);
    expect(b"\xEF\xEF\xBB\xBFdata: a\ndata: b\n\n", &[data("b")]);
    expect(b"\xEF\xBB:\n\xEF\xBB\xBFdata: a\n\n", &[]);
    expect(b"\xEF\xBB", &[]);
}

#[test]
fn removes_one_space_after_the_colon_and_nothing_else() {
    expect("data:  a \n\n", &[data(" a ")]);
    expect("data:\ta\n\n", &[data("\ta")]);
    expect("data: \n\n", &[data("")]);
    expect("data:  \n\n", &[data(" ")]);
    expect("data:\u{a0}a\n\n", &[data("\u{a0}a")]);
}

#[test]
fn only_the_first_colon_ends_the_name() {
    expect("data: a: b:c\n\n", &[data("a: b:c")]);
    expect("data::\n\n", &[data(":")]);
    expect("event::data: a\ndata:x\n\n", &[message(":data: a", "x", "")]);
}

#[test]
fn a_line_without_a_colon_is_a_name() {
    expect("data\n\n", &[data("")]);
    expect("event\ndata\n\n", &[data("")]);
    expect("id: 1\nid\ndata\n\n", &[data("")]);
    expect("retry\n\n", &[]);
}

#[test]
fn names_are_compared_exactly() {
    expect("DATA: a\nData: a\n data: a\ndata : a\ndat: a\ndataa: a\n\n", &[]);
    expect("Event: e\nID: 1\nRetry: 5\ndata: a\n\n", &[data("a")]);
    expect("eventx: e\nidx: 1\nretryx: 5\nx: y\ndata2\nevents\nid2\ni\ndat\ndata: a\n\n", &[data("a")]);
    expect("dаta: cyrillic\n\n\0: x\ndata\0: a\n\n", &[]);
}

#[test]
fn a_nul_is_part_of_a_value() {
    expect("data: \0\nevent: \0\n\n", &[message("\0", "\0", "")]);
    expect("data\0\n\n", &[]);
}

#[test]
fn the_last_event_field_gives_the_type() {
    expect("event: a\nevent: b\ndata: x\nevent: c\n\n", &[message("c", "x", "")]);
    expect("event: a\ndata: x\nevent:\n\n", &[data("x")]);
    expect("event:  a \ndata: x\n\n", &[message(" a ", "x", "")]);
}

#[test]
fn the_type_does_not_outlive_its_message() {
    expect("event: a\ndata: x\n\ndata: y\n\n", &[message("a", "x", ""), data("y")]);
}

#[test]
fn without_data_nothing_is_dispatched_but_the_type_is_reset() {
    expect("event: a\n\ndata: x\n\n", &[data("x")]);
    expect("\n\n\n", &[]);
}

#[test]
fn empty_data_is_dispatched() {
    expect("data:\n\ndata\n\nevent: e\ndata\n\n", &[data(""), data(""), message("e", "", "")]);
    expect("data\ndata:\ndata: \n\n", &[data("\n\n")]);
}

#[test]
fn an_id_stays_until_there_is_another() {
    expect(
        "id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\n",
        &[message("message", "a", "1"), message("message", "b", "1"), message("message", "c", "2")],
    );
    expect("id: 1\nid: 2\ndata: a\n\n", &[message("message", "a", "2")]);
}

#[test]
fn an_id_counts_also_where_nothing_is_dispatched() {
    expect("id: 1\n\ndata: a\n\n", &[message("message", "a", "1")]);
    let mut decoder = Decoder::new();
    assert_eq!(decode(&mut decoder, [&b"id: 1\n"[..]]), []);
    assert_eq!(decoder.last_event_id(), "");
    assert_eq!(decode(&mut decoder, [&b"\n"[..]]), []);
    assert_eq!(decoder.last_event_id(), "1");
}

#[test]
fn an_empty_id_resets() {
    expect("id: 1\ndata: a\n\nid\ndata: b\n\n", &[message("message", "a", "1"), data("b")]);
    expect("id: 1\ndata: a\n\nid:\ndata: b\n\n", &[message("message", "a", "1"), data("b")]);
    expect("id: 1\nid: \ndata: b\n\n", &[data("b")]);
}

#[test]
fn an_id_with_nul_is_ignored() {
    expect("id: 1\nid: 2\x003\ndata: a\n\n", &[message("message", "a", "1")]);
    expect("id: 1\n\nid: \0\ndata: a\n\n", &[message("message", "a", "1")]);
}

#[test]
fn an_unfinished_message_is_dropped() {
    expect("data: a\n\ndata: b\n", &[data("a")]);
    expect("data: a\n\ndata: b", &[data("a")]);
    let mut decoder = Decoder::new();
    decode(&mut decoder, [&b"id: 1\ndata: a\n\nid: 2\ndata: b\n"[..]]);
    assert_eq!(decoder.last_event_id(), "1");
}

#[test]
fn retry_takes_ascii_digits_only() {
    expect("retry: 1000\n", &[Told::Retry(1000)]);
    expect("retry:0\nretry: 007\n", &[Told::Retry(0), Told::Retry(7)]);
    expect("retry: 10 \nretry: +1\nretry: -1\nretry: 1.5\nretry: 1e3\nretry:  1\nretry: 0x1\n", &[]);
    expect("retry: \u{0661}\nretry: 1\u{b2}\nretry: 5\0\n", &[]);
    expect("retry\nretry:\nretry: \n", &[]);
    let mut decoder = Decoder::new();
    assert_eq!(decoder.retry(), None);
    decode(&mut decoder, [&b"retry: 1000\nretry: no\n\n"[..]]);
    assert_eq!(decoder.retry(), Some(std::time::Duration::from_secs(1)));
}

#[test]
fn retry_saturates() {
    expect("retry: 18446744073709551615\n", &[Told::Retry(u64::MAX)]);
    expect("retry: 18446744073709551616\n", &[Told::Retry(u64::MAX)]);
    expect(format!("retry: {}\n", "9".repeat(100)), &[Told::Retry(u64::MAX)]);
    expect(format!("retry: {}1\n", "0".repeat(100)), &[Told::Retry(1)]);
}

#[test]
fn retry_counts_within_and_without_a_message() {
    expect("data: a\nretry: 1\ndata: b\n\n", &[Told::Retry(1), data("a\nb")]);
}

#[test]
fn unknown_fields_are_ignored() {
    expect("data: a\nfoo: bar\nfoo\ndata: b\n\n", &[data("a\nb")]);
}

#[test]
fn comments_do_not_part_a_message() {
    expect(
        ":\n: \n:  a\n:b\n::\ndata: a\n:x\ndata: b\n\n:c\n",
        &[
            comment(""),
            comment(""),
            comment(" a"),
            comment("b"),
            comment(":"),
            comment("x"),
            data("a\nb"),
            comment("c"),
        ],
    );
}

#[test]
fn comments_are_dropped_unless_asked_for() {
    let mut decoder = Decoder::new();
    let stream = b":a\ndata: x\n: b\n\n: \xFFlong enough to be recognised\n";
    assert_eq!(decode(&mut decoder, [&stream[..]]), [data("x")]);
    assert_eq!(decode(&mut decoder, stream.chunks(1)), [data("x")]);
}

#[test]
fn utf8_is_decoded() {
    for text in ["é", "€", "😀", "a\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}z", "日本語テキスト"]
    {
        expect(
            format!(":{text}\nid: {text}\nevent: {text}\ndata: {text}\n\n"),
            &[comment(text), message(text, text, text)],
        );
    }
}

/// The number of replacement characters is that of the Encoding standard: one for each
/// maximal part of a sequence that could have become valid.
#[test]
fn invalid_utf8_is_replaced() {
    for (bytes, text) in [
        (&b"\xFF"[..], "\u{FFFD}"),
        (b"\x80\x80", "\u{FFFD}\u{FFFD}"),
        (b"\xC3", "\u{FFFD}"),
        (b"\xC3\xC3\xA9", "\u{FFFD}é"),
        (b"\xE2\x82", "\u{FFFD}"),
        (b"\xE2\x82\xE2\x82\xAC", "\u{FFFD}€"),
        (b"\xF0\x9F\x98", "\u{FFFD}"),
        (b"\xF0\x9F\x98 \x80", "\u{FFFD} \u{FFFD}"),
        (b"\xE0\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}"),
        (b"\xED\xA0\x80", "\u{FFFD}\u{FFFD}\u{FFFD}"),
        (b"\xF5\x80", "\u{FFFD}\u{FFFD}"),
        (b"\xF4\x90\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"),
        (b"\xC0\xAF", "\u{FFFD}\u{FFFD}"),
        (b"a\xFFb\xE2\x82c", "a\u{FFFD}b\u{FFFD}c"),
    ] {
        let mut stream = Vec::new();
        for name in ["data: ", "data: ", "event:", "id:", ":"] {
            stream.extend_from_slice(name.as_bytes());
            stream.extend_from_slice(bytes);
            stream.push(b'\n');
        }
        stream.push(b'\n');
        let twice = format!("{text}\n{text}");
        expect(&stream, &[comment(text), message(text, &twice, text)]);
        let stream = [b"data:", bytes, b"\r\r"].concat();
        expect(&stream, &[data(text)]);
    }
}

/// Long chunks are checked as a whole, apart from the characters that they cut.
#[test]
fn a_character_may_be_cut_between_long_chunks() {
    let text = "日本語 😀 é x";
    let stream = format!("event: {text}\nid: {text}\n: {text}\ndata: {text}\n\n").repeat(30);
    let expected = vec![[comment(text), message(text, text, text)]; 30].concat();
    let mut broken = stream.clone().into_bytes();
    broken.extend_from_slice(b"data: \xFF\n\n");
    for size in 250..330 {
        let mut decoder = Decoder::new().comments(true);
        assert_eq!(decode(&mut decoder, stream.as_bytes().chunks(size)), expected);
        let mut decoder = Decoder::new().comments(true);
        let mut told = decode(&mut decoder, broken.chunks(size));
        assert_eq!(told.pop(), Some(message("message", "\u{FFFD}", text)));
        assert_eq!(told, expected);
    }
}

/// Short pieces are decoded together, in portions that end anywhere.
#[test]
fn a_long_value_may_come_in_any_pieces() {
    let text = ["日本語 😀 é x".as_bytes(), b"\xF0\x9F\x98 \x80\xFF", "ünï".as_bytes()].concat().repeat(300);
    let stream =
        [b"event: ", &text[..], b"\nid: ", &text, b"\n: ", &text, b"\ndata: ", &text, b"\n\n"].concat();
    let (expected, _) = interpret(&stream, DEFAULT_LIMIT);
    for size in (1..20).chain((20..3000).step_by(37)) {
        let mut decoder = Decoder::new().comments(true);
        assert_eq!(decode(&mut decoder, stream.chunks(size)), expected, "in chunks of {size}");
    }
}

/// A sequence that a line end cuts is not continued on the next line.
#[test]
fn a_line_end_ends_an_incomplete_sequence() {
    expect(b"data: \xF0\x9F\ndata: \x98\x80\n\n", &[data("\u{FFFD}\n\u{FFFD}\u{FFFD}")]);
    expect(b"data\xC3: a\n\xC3data: b\n\n", &[]);
    expect(b"\xC3\n\ndata: a\n\n", &[data("a")]);
}

#[test]
fn a_reset_begins_a_new_stream() {
    let mut decoder = Decoder::new();
    let stream = b"\xEF\xBB\xBFretry: 5\nid: 1\ndata: a\n\nid: 2\nevent: e\ndata: b\ndata: c";
    decode(&mut decoder, [&stream[..]]);
    decoder.reset();
    assert_eq!(decoder.buffered(), 0);
    assert_eq!(decoder.last_event_id(), "1");
    assert_eq!(decoder.retry(), Some(std::time::Duration::from_millis(5)));
    let told = decode(&mut decoder, [&b"\xEF\xBB"[..], b"\xBFdata: d\n\n"]);
    assert_eq!(told, [message("message", "d", "1")]);
    // A CR at the end of the old stream does not swallow an LF of the new one.
    decode(&mut decoder, [&b"data: e\r"[..]]);
    decoder.reset();
    assert_eq!(decode(&mut decoder, [&b"\ndata: f\n\n"[..]]), [message("message", "f", "1")]);
    // A message too large is not skipped any more.
    let mut small = Decoder::with_limit(1);
    decode(&mut small, [&b"data: too large\n"[..]]);
    small.reset();
    assert_eq!(decode(&mut small, [&b"data: i\n\n"[..]]), [data("i")]);
    // Nor does half a BOM go on.
    decoder.reset();
    decode(&mut decoder, [&b"\xEF\xBB"[..]]);
    decoder.reset();
    assert_eq!(decode(&mut decoder, [&b"\xBFdata: g\n\ndata: h\n\n"[..]]), [message("message", "h", "1")]);
}

#[test]
fn a_known_id_is_in_force_from_the_start() {
    let mut decoder = Decoder::new().resume_from("41");
    assert_eq!(decoder.last_event_id(), "41");
    let told = decode(&mut decoder, [&b"data: a\n\nid: 42\ndata: b\n\n"[..]]);
    assert_eq!(told, [message("message", "a", "41"), message("message", "b", "42")]);
}

//! Tests of heads and trailers.

use proptest::prelude::*;

use super::*;
use crate::h1::{FieldRoom, Framing, Method as Asked, parse_request, parse_response};
use crate::h2::Follows;

const TO: HeadOut<'static> = HeadOut {
    client_minor: 1,
    keep_alive: true,
    date: b"today",
    edits: None,
    alt_svc: None,
};

const KEY: &[u8; 24] = b"dGhlIHNhbXBsZSBub25jZQ==";

type Fields<'f> = Vec<(&'f str, &'f str)>;

/// A section with these fields as they are: a writer of ours would make their names small.
fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 0];
    for (name, value) in fields {
        qpack::write_literal(&mut out, name.as_bytes(), value.as_bytes());
    }
    out
}

fn text(fields: &[(&str, &str)], follows: Follows<'_>) -> Result<String, SectionFault> {
    let mut out = Vec::new();
    let head = read_section(&section(fields), &mut out, 1 << 16)?;
    assert_eq!(head.is_websocket, matches!(follows, Follows::WebSocket(_)));
    head.finish(&mut out, follows).map_err(SectionFault::Head)?;
    parse_request(&out, &mut FieldRoom::new(), 64).map_err(SectionFault::Head)?;
    Ok(String::from_utf8(out).unwrap())
}

/// What every request has, and `fields` behind it.
fn get<'f>(fields: &[(&'f str, &'f str)]) -> Fields<'f> {
    let pseudo = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a"),
        (":path", "/"),
    ];
    pseudo.into_iter().chain(fields.iter().copied()).collect()
}

/// The same with another value of one of them, or without it.
fn but<'f>(name: &str, value: Option<&'f str>) -> Fields<'f> {
    let mut fields = get(&[]);
    match value {
        Some(value) => fields
            .iter_mut()
            .filter(|(other, _)| *other == name)
            .for_each(|field| field.1 = value),
        None => fields.retain(|(other, _)| *other != name),
    }
    fields
}

#[test]
fn a_request_is_written_as_http_1_1_has_it() {
    let fields = get(&[("cookie", "a=1"), ("x-one", "1"), ("cookie", "b=2"), ("te", "trailers")]);
    assert_eq!(
        text(&fields, Follows::Nothing).unwrap(),
        "GET / HTTP/1.1\r\nx-one: 1\r\nte: trailers\r\nhost: a\r\ncookie: a=1; b=2\r\n\r\n"
    );
    let known = text(&get(&[("content-length", "3")]), Follows::Body).unwrap();
    assert!(known.contains("content-length: 3\r\n") && !known.contains("chunked"));
    assert!(
        text(&get(&[]), Follows::Body)
            .unwrap()
            .ends_with("transfer-encoding: chunked\r\n\r\n")
    );
    let mut named = but(":authority", None);
    named.push(("host", "b"));
    assert!(text(&named, Follows::Nothing).unwrap().contains("host: b\r\n"));
    let mut options = but(":method", Some("OPTIONS"));
    options[3].1 = "*";
    assert!(
        text(&options, Follows::Nothing)
            .unwrap()
            .starts_with("OPTIONS * HTTP/1.1")
    );
}

/// RFC 9114 §4.1.2, §4.2, §4.3.
#[test]
fn what_http_3_calls_malformed_is_malformed() {
    let mut cases = vec![
        get(&[("X-Upper", "1")]),
        get(&[("", "1")]),
        get(&[("a b", "1")]),
        get(&[("a:b", "1")]),
        get(&[("a\r\nb", "1")]),
        get(&[("x", "a\r\nb: c")]),
        get(&[("x", "a\0b")]),
        get(&[(":method", "GET")]),
        get(&[("x", "1"), (":method", "GET")]),
        get(&[(":status", "200")]),
        get(&[(":other", "1")]),
        get(&[(":protocol", "websocket")]),
        get(&[("connection", "close")]),
        get(&[("keep-alive", "timeout=5")]),
        get(&[("proxy-connection", "close")]),
        get(&[("transfer-encoding", "chunked")]),
        get(&[("upgrade", "websocket")]),
        get(&[("te", "gzip")]),
        get(&[("host", "b")]),
    ];
    for name in [":method", ":scheme", ":path"] {
        cases.push(but(name, None));
    }
    for name in [":method", ":scheme", ":path", ":authority"] {
        cases.push(but(name, Some("")));
        cases.push(but(name, Some("a b")));
        cases.push(but(name, Some("a\r\nb")));
    }
    cases.push(but(":path", Some("https://a/")));
    cases.push(but(":path", Some("*")));
    cases.push(but(":scheme", Some("ftp")));
    for case in cases {
        let read = text(&case, Follows::Nothing);
        assert!(matches!(read, Err(SectionFault::Malformed(_))), "{case:?}: {read:?}");
    }
}

#[test]
fn what_http_1_1_refuses_is_refused() {
    for case in [
        but(":authority", None),
        but(":method", Some("CONNECT")),
        get(&[("host", "a"), ("host", "a")]),
        get(&[("content-length", "3"), ("content-length", "3")]),
        get(&[("content-length", "+3")]),
        get(&[("transfer_encoding", "chunked")]),
        get(&[("x", "\u{1}")]),
        get(&[("a(b", "1")]),
    ] {
        let read = text(&case, Follows::Body);
        assert!(matches!(read, Err(SectionFault::Head(_))), "{case:?}: {read:?}");
    }
    let long = "a".repeat(70_000);
    let read = text(&get(&[("x", &long)]), Follows::Nothing);
    assert_eq!(read, Err(SectionFault::Head(HeadFault::TooLarge)));
    let read = read_section(b"\x00\x00\x80", &mut Vec::new(), 100).map(drop);
    assert_eq!(read, Err(SectionFault::Connection(Code::DECOMPRESSION_FAILED)));
}

#[test]
fn a_websocket_is_asked_for_as_http_1_1_does() {
    let mut fields = but(":method", Some("CONNECT"));
    fields.extend([
        (":protocol", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "theirs"),
    ]);
    let asked = text(&fields, Follows::WebSocket(KEY)).unwrap();
    let mut room = FieldRoom::new();
    let head = parse_request(asked.as_bytes(), &mut room, 64).unwrap();
    assert!(head.upgrade_websocket && head.framing == Framing::None && head.method == "GET");
    assert_eq!(head.first("sec-websocket-key"), Some(&KEY[..]));
    fields[4].1 = "connect-udp";
    assert!(matches!(text(&fields, Follows::Nothing), Err(SectionFault::Head(_))));
}

/// The fields of the section in a frame of ours.
fn fields_of(mut frame: &[u8]) -> Vec<(String, String)> {
    let kind = super::super::varint::read(&mut frame);
    let length = super::super::varint::read(&mut frame);
    assert_eq!((kind, length), (Some(HEADERS), Some(frame.len() as u64)));
    let (mut fields, text) = (Vec::new(), |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap());
    qpack::read(frame, (&mut Vec::new(), 1 << 16), |name, value| {
        fields.push((text(name), text(value)));
        Ok::<(), qpack::Fault>(())
    })
    .unwrap();
    fields
}

fn told(bytes: &[u8]) -> Vec<(String, String)> {
    let mut room = FieldRoom::new();
    let head = parse_response(bytes, &mut room, Asked::Other).unwrap();
    let mut out = Vec::new();
    write_response(&mut out, &head, &TO).unwrap();
    fields_of(&out)
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn an_answer_loses_what_concerns_a_connection_and_is_dated() {
    let bytes = b"HTTP/1.1 200 OK\r\nConnection: close, x-gone\r\nX-Gone: 1\r\nKeep-Alive: timeout=5\r\n\
                  Transfer-Encoding: chunked\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    let expected = [
        (":status", "200"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
        ("date", "today"),
    ];
    assert_eq!(told(bytes), pairs(&expected));
    let granted = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                    sec-websocket-accept: x\r\nsec-websocket-protocol: chat\r\n\r\n";
    assert_eq!(
        told(granted),
        pairs(&[(":status", "200"), ("sec-websocket-protocol", "chat")])
    );
}

#[test]
fn trailers_come_back_as_they_were_but_for_what_may_not_stand_there() {
    let lines = read_trailers(&section(&[("grpc-status", "0"), ("host", "evil"), ("x-sum", "1")])).unwrap();
    assert_eq!(lines, b"grpc-status: 0\r\nx-sum: 1\r\n");
    let mut out = Vec::new();
    write_trailers(&mut out, &lines);
    assert_eq!(fields_of(&out), pairs(&[("grpc-status", "0"), ("x-sum", "1")]));
    for fields in [&[(":status", "200")][..], &[("X", "1")], &[("x", "a\nb")]] {
        assert!(matches!(
            read_trailers(&section(fields)),
            Err(SectionFault::Malformed(_))
        ));
    }
    let many = vec![("x", "1"); TRAILER_FIELDS_MAX + 1];
    assert_eq!(
        read_trailers(&section(&many)),
        Err(SectionFault::Head(HeadFault::TooLarge))
    );
}

proptest! {
    /// Whatever a section says, the text of it is one head, and no more than one.
    #[test]
    fn no_section_is_more_than_a_head(
        fields in prop::collection::vec((".{0,12}|:path|:method|host|cookie|content-length", ".{0,40}|\\PC*"), 0..6),
        bytes in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let with: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        for section in [section(&with), section(&get(&with)), [vec![0, 0], bytes].concat()] {
            let mut out = Vec::new();
            if let Ok(head) = read_section(&section, &mut out, 4096)
                && head.finish(&mut out, if head.is_websocket { Follows::WebSocket(KEY) } else { Follows::Nothing }).is_ok()
            {
                let ends: Vec<_> = out.windows(4).enumerate().filter(|(_, four)| *four == b"\r\n\r\n").collect();
                prop_assert_eq!(ends.len(), 1);
                prop_assert_eq!(ends[0].0, out.len() - 4);
            }
        }
    }
}

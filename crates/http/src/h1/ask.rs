//! The head of a question about a request: the request's own fields, without those of its body, and where it came from.

use plimsoll_core::filter::Ask;

use super::request::RequestHead;
use super::write::{RequestOut, Seen, copy_runs, line, write_forwarded};
use crate::field::Class;

/// How a question goes out.
#[derive(Clone, Copy, Debug)]
pub struct AskOut<'a> {
    /// What is asked.
    pub ask: &'a Ask,
    /// Who asks for what the question is about, and what filters have made of its fields.
    pub from: RequestOut<'a>,
}

/// Fields of the request that its service does not see: those of a body that is not sent, conditions about another
/// resource, what would make the answer one that cannot be passed on, and what we say ourselves.
const LEFT_OUT: [&str; 12] = [
    "accept-encoding",
    "content-encoding",
    "content-length",
    "content-type",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
    "x-forwarded-method",
    "x-forwarded-uri",
];

/// Writes the head of a question about the request of `head`.
pub fn write_ask_head(out: &mut Vec<u8>, head: &RequestHead<'_>, to: &AskOut<'_>) {
    let AskOut { ask, from } = to;
    out.extend_from_slice(b"GET ");
    out.extend_from_slice(ask.target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    line(out, b"host", ask.host.as_bytes());
    let wanted = |name: &str| {
        let only = ask.only.as_ref();
        only.is_none_or(|only| only.iter().any(|known| name.eq_ignore_ascii_case(known)))
            && !LEFT_OUT.iter().any(|known| is_called(name, known))
    };
    let mut seen = Seen::default();
    copy_runs(
        out,
        head.bytes,
        head.fields.len(),
        |at| head.line_start(at),
        |at| {
            let (class, field) = (head.classes[at], &head.fields[at]);
            let empty_id = class == Class::RequestId && field.value.is_empty();
            if empty_id || from.edits.removes(field.name) || !wanted(field.name) {
                return false;
            }
            let kept = match class {
                Class::Plain | Class::Credentials | Class::UserAgent => true,
                Class::ForwardedProto | Class::ForwardedHost | Class::RequestId | Class::TrustedOnly => from.trusted,
                _ => false,
            };
            if kept {
                seen.see(class);
            }
            kept
        },
    );
    write_forwarded(out, head, from, seen);
    line(out, b"x-forwarded-method", ask.method.as_bytes());
    line(out, b"x-forwarded-uri", ask.uri.as_bytes());
    for (name, value) in from.edits.added().filter(|(name, _)| wanted(name)) {
        line(out, name.as_bytes(), value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether `name` is `known` in any case, with underscores for hyphens as well.
fn is_called(name: &str, known: &str) -> bool {
    let same = |(byte, known): (u8, u8)| byte.eq_ignore_ascii_case(&known) || (byte == b'_' && known == b'-');
    name.len() == known.len() && name.bytes().zip(known.bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plimsoll_core::filter::Edits;

    use super::super::{FIELDS_MAX, FieldRoom, parse_request};
    use super::*;

    const ASKED: &str = "POST /a?b HTTP/1.1\r\nHost: shop.example\r\nCookie: s=1\r\nContent-Length: 5\r\nContent_Type: x\r\n\
        Accept-Encoding: br\r\nX-Forwarded-Uri: /evil\r\nX_Forwarded_Method: GET\r\nX-Forwarded-For: 6.6.6.6\r\nX-User: eve\r\n\
        Expect: 100-continue\r\nConnection: keep-alive\r\nRange: bytes=0-1\r\nX-A: 1\r\n\r\n";

    fn written(only: Option<&[&str]>, trusted: bool) -> String {
        let ask = Ask {
            to: ([127, 0, 0, 1], 4180).into(),
            host: "127.0.0.1:4180".into(),
            target: "/auth?x".into(),
            method: "POST".into(),
            uri: "/a?b".into(),
            only: only.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            timeout: Duration::from_secs(1),
        };
        let mut edits = Edits::default();
        edits.remove("x-user");
        edits.set("x-b", b"2");
        let from = RequestOut {
            path: "/a",
            query: Some("b"),
            upgrade: false,
            trusted,
            peer: [192, 0, 2, 1].into(),
            proto: "http",
            request_id: b"7",
            host: None,
            default_host: "",
            edits: &edits,
            trace: None,
        };
        let mut room = FieldRoom::new();
        let head = parse_request(ASKED.as_bytes(), &mut room, FIELDS_MAX).unwrap();
        let mut out = Vec::new();
        write_ask_head(&mut out, &head, &AskOut { ask: &ask, from });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_question_has_the_requests_fields_and_no_word_of_its_body() {
        let expected = "GET /auth?x HTTP/1.1\r\nhost: 127.0.0.1:4180\r\nCookie: s=1\r\nX-A: 1\r\n\
            x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: shop.example\r\nx-request-id: 7\r\n\
            x-forwarded-method: POST\r\nx-forwarded-uri: /a?b\r\nx-b: 2\r\n\r\n";
        assert_eq!(written(None, false), expected);
        assert!(written(None, true).contains("x-forwarded-for: 6.6.6.6, 192.0.2.1\r\n"));
    }

    #[test]
    fn only_fields_that_are_named_go_along() {
        let told = written(Some(&["cookie", "content-type"]), false);
        assert!(
            told.contains("Cookie: s=1\r\n") && !told.contains("X-A") && !told.contains("x-b"),
            "{told}"
        );
        assert!(!told.to_lowercase().contains("content"), "{told}");
    }
}

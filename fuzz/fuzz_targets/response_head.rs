//! Answers' heads: found however they are cut, and written so that the client finds the answer's end where we put it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_fuzz::head::{self, Field, Limits};
use plimsoll_http::h1::{
    FIELDS_MAX, FieldRoom, Framing, HeadOut, Method, ResponseHead, Scanned, parse_response, write_response_head,
};

const WIDE: Limits = Limits {
    line: 8 << 10,
    head: 64 << 10,
};
const NARROW: Limits = Limits { line: 24, head: 64 };

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fuzz_target!(|data: &[u8]| {
    let [options, seed, bytes @ ..] = data else { return };
    let method = if options & 1 == 0 { Method::Other } else { Method::Head };
    for limits in [WIDE, NARROW] {
        head::found(bytes, *seed, limits, |head| {
            parse_response(head, &mut FieldRoom::new(), method).is_err()
        });
    }
    let Ok(Scanned::Head(length)) = head::scan(bytes, WIDE) else {
        return;
    };
    let mut room = FieldRoom::new();
    let Ok(read) = parse_response(&bytes[..length], &mut room, method) else {
        return;
    };
    let to = HeadOut {
        client_minor: options >> 1 & 1,
        keep_alive: options & 4 != 0,
        date: DATE.as_bytes(),
        edits: None,
    };
    answer(&read, &to, method);
});

/// Passes an answer on as the data plane does, and reads what the client gets.
fn answer(read: &ResponseHead<'_>, to: &HeadOut<'_>, method: Method) {
    let mut out = Vec::new();
    let framing = write_response_head(&mut out, read, to);
    let came = head::fields_of(read.fields);
    came_framed(&came, read, method);
    let fields = one_answer(&out, read);
    framed_for_the_client(&fields, read, to, method, framing);
    hop_by_hop_ended(&came, &fields, read, to, framing);
    the_rest_is_untouched(&came, &fields);
    let dates = head::values(&fields, "date");
    match head::values(&came, "date") {
        came if came.is_empty() && read.status >= 200 => assert_eq!(dates, [DATE.as_bytes()]),
        came => assert_eq!(dates, came),
    }
    reads_again(&out, read, method, framing);
}

/// What we took for the body's framing is what the backend's fields say to a literal reader.
fn came_framed(came: &[Field], read: &ResponseHead<'_>, method: Method) {
    let said = head::framing(came, Framing::UntilClose);
    assert_eq!(
        seen(read.status, method, said),
        seen(read.status, method, read.framing),
        "read differently"
    );
    // RFC 9112 §6.1: the framing of an HTTP/1.0 message with a transfer coding is not to be relied on.
    let doubtful = read.minor == 0 && said == Framing::Chunked;
    assert!(!read.keep_alive || !doubtful, "a doubtful connection is used again");
    assert!(!read.keep_alive || read.framing != Framing::UntilClose);
}

/// The framing of an answer, when its fields say `said`.
fn seen(status: u16, method: Method, said: Framing) -> Framing {
    let bodiless = method == Method::Head || status < 200 || matches!(status, 204 | 304);
    match said {
        _ if bodiless => Framing::None,
        Framing::Length(0) => Framing::None,
        said => said,
    }
}

/// Whoever reads it, line by line or with httparse, reads one answer: this one.
fn one_answer(out: &[u8], read: &ResponseHead<'_>) -> Vec<Field> {
    let (first, by_line) = head::fields_by_line(out);
    assert_eq!(first, format!("HTTP/1.1 {} {}", read.status, read.phrase));
    let mut room = [httparse::EMPTY_HEADER; head::ROOM];
    let mut response = httparse::Response::new(&mut room);
    let status = response.parse(out).expect("what is sent is well-formed");
    assert_eq!(status, httparse::Status::Complete(out.len()), "more than one answer");
    assert_eq!((response.code, response.version), (Some(read.status), Some(1)));
    let fields = head::fields_of(response.headers);
    assert_eq!(fields, by_line);
    fields
}

fn framed_for_the_client(
    fields: &[Field],
    read: &ResponseHead<'_>,
    to: &HeadOut<'_>,
    method: Method,
    framing: Framing,
) {
    let said = head::framing(fields, Framing::UntilClose);
    assert_eq!(
        seen(read.status, method, said),
        framing,
        "the client looks for another end"
    );
    if read.status < 200 || read.status == 204 {
        assert_eq!(
            said,
            Framing::UntilClose,
            "RFC 9112 §6.1 and RFC 9110 §8.6: such an answer says no framing"
        );
    }
    assert!(
        to.client_minor == 1 || said != Framing::Chunked,
        "an HTTP/1.0 client knows no chunks"
    );
    // The body itself is re-framed, never shortened or lengthened.
    match (read.framing, framing) {
        (Framing::Chunked | Framing::UntilClose, Framing::Chunked | Framing::UntilClose) => {}
        (came, goes) => assert_eq!(came, goes),
    }
}

fn hop_by_hop_ended(came: &[Field], fields: &[Field], read: &ResponseHead<'_>, to: &HeadOut<'_>, framing: Framing) {
    let stays = to.keep_alive && framing != Framing::UntilClose;
    let connection: &[&[u8]] = match (read.status, stays, to.client_minor) {
        (101, _, _) => &[b"upgrade"],
        (..200, _, _) => &[],
        (_, false, 1) => &[b"close"],
        (_, true, 0) => &[b"keep-alive"],
        _ => &[],
    };
    assert_eq!(head::values(fields, "connection"), connection);
    let upgrade = if read.status == 101 {
        head::values(came, "upgrade")
    } else {
        Vec::new()
    };
    assert_eq!(head::values(fields, "upgrade"), upgrade);
    for (name, _) in fields {
        let name = name.replace('_', "-");
        assert!(
            !matches!(&*name, "keep-alive" | "proxy-connection" | "http2-settings"),
            "{name} goes on"
        );
    }
}

/// What means nothing to us goes on as it came, in its order, unless `Connection` names it.
fn the_rest_is_untouched(came: &[Field], fields: &[Field]) {
    const KNOWN: &[&str] = &[
        "connection",
        "content-length",
        "date",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    let named = head::members(came, "connection");
    let plain = |fields: &[Field]| -> Vec<Field> {
        let plain = |name: &str| {
            let hyphens = name.replace('_', "-");
            !KNOWN.contains(&&*hyphens) && !named.iter().any(|option| option == name)
        };
        fields.iter().filter(|(name, _)| plain(name)).cloned().collect()
    };
    assert_eq!(plain(came), plain(fields));
}

/// Another of us before the client reads the same answer.
fn reads_again(out: &[u8], read: &ResponseHead<'_>, method: Method, framing: Framing) {
    if read.fields.len() + 8 > FIELDS_MAX {
        return;
    }
    let mut room = FieldRoom::new();
    let again = parse_response(out, &mut room, method).expect("we refuse what we sent");
    assert_eq!((again.status, again.framing), (read.status, framing));
}

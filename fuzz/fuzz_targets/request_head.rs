//! Requests' heads: found however they are cut, read strictly, and written so that nobody behind us reads another
//! request than the one that was decided on.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use plimsoll_core::filter::Edits;
use plimsoll_core::route::{Target, host, path};
use plimsoll_fuzz::head::{self, Field, Limits};
use plimsoll_http::h1::{FIELDS_MAX, FieldRoom, RequestHead, RequestOut, Scanned, parse_request, write_request_head};

const WIDE: Limits = Limits {
    line: 8 << 10,
    head: 64 << 10,
};
const NARROW: Limits = Limits { line: 24, head: 64 };

const ID: &str = "0123456789abcdef";
const DEFAULT_HOST: &str = "[::1]:8080";

/// What later hops rely on: `Connection` cannot name it away.
const PROTECTED: &[&str] = &[
    "authorization",
    "content-length",
    "cookie",
    "host",
    "trailer",
    "transfer-encoding",
    "expect",
];

fuzz_target!(|data: &[u8]| {
    let [options, seed, bytes @ ..] = data else { return };
    parts(bytes);
    for limits in [WIDE, NARROW] {
        head::found(bytes, *seed, limits, |head| {
            parse_request(head, &mut FieldRoom::new(), FIELDS_MAX).is_err()
        });
    }
    let Ok(Scanned::Head(length)) = head::scan(bytes, WIDE) else {
        return;
    };
    let _ = parse_request(&bytes[..length], &mut FieldRoom::new(), usize::from(*seed));
    let mut room = FieldRoom::new();
    if let Ok(read) = parse_request(&bytes[..length], &mut room, FIELDS_MAX) {
        forward(&read, *options);
    }
});

/// Paths and hosts on their own: what is normal stays as it is.
fn parts(bytes: &[u8]) {
    let _ = path::split(bytes);
    for allow_encoded_slash in [false, true] {
        if let Ok(first) = path::canonical(bytes, allow_encoded_slash) {
            assert!(
                first
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"?#\\".contains(&byte)),
                "{first}"
            );
            assert!(first.starts_with('/') && !first.contains("//"), "{first}");
            assert!(
                !first.split('/').any(|segment| matches!(segment, "." | "..")),
                "{first}"
            );
            assert_eq!(
                path::canonical(first.as_bytes(), allow_encoded_slash).as_ref(),
                Ok(&first)
            );
        }
    }
    if let Ok(Some(first)) = host::normalise(bytes) {
        let again = host::normalise(first.host.as_bytes()).ok().flatten();
        assert_eq!(again.map(|again| again.host).as_ref(), Some(&first.host));
    }
}

/// Sends a request on as the data plane does, and reads what was sent.
fn forward(read: &RequestHead<'_>, options: u8) {
    let Ok(asked) = read.asked(options & 1 != 0) else {
        return;
    };
    let to = RequestOut {
        path: &asked.path,
        query: asked.query,
        upgrade: read.upgrade_websocket && options & 2 != 0,
        trusted: options & 4 != 0,
        peer: if options & 8 == 0 {
            IpAddr::from([192, 0, 2, 1])
        } else {
            IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1])
        },
        proto: if options & 16 == 0 { "http" } else { "https" },
        request_id: ID.as_bytes(),
        host: None,
        default_host: DEFAULT_HOST,
        edits: &Edits::default(),
    };
    let mut out = Vec::new();
    write_request_head(&mut out, read, &to);
    let fields = one_request(&out, read, &to);
    let came = head::fields_of(read.fields);
    framed_alike(&came, &fields, read);
    hop_by_hop_ended(&came, &fields, read, &to);
    only_the_trusted_are_believed(&fields, read, &to);
    the_rest_is_untouched(&came, &fields);
    reads_again(&out, read, &to);
}

/// Whoever reads it, line by line or with httparse, reads one request: ours.
fn one_request(out: &[u8], read: &RequestHead<'_>, to: &RequestOut<'_>) -> Vec<Field> {
    let (first, by_line) = head::fields_by_line(out);
    let query = to.query.map(|query| format!("?{query}")).unwrap_or_default();
    assert_eq!(first, format!("{} {}{query} HTTP/1.1", read.method, to.path));
    let mut room = [httparse::EMPTY_HEADER; head::ROOM];
    let mut request = httparse::Request::new(&mut room);
    let status = request.parse(out).expect("what is sent is well-formed");
    assert_eq!(status, httparse::Status::Complete(out.len()), "more than one request");
    assert_eq!((request.method, request.version), (Some(read.method), Some(1)));
    let fields = head::fields_of(request.headers);
    assert_eq!(fields, by_line);
    assert_eq!(
        head::scan(
            out,
            Limits {
                line: usize::MAX,
                head: usize::MAX
            }
        ),
        Ok(Scanned::Head(out.len()))
    );
    fields
}

fn framed_alike(came: &[Field], fields: &[Field], read: &RequestHead<'_>) {
    let none = plimsoll_http::h1::Framing::None;
    assert_eq!(head::framing(came, none), read.framing, "read differently");
    assert_eq!(head::framing(fields, none), read.framing, "sent differently");
}

fn hop_by_hop_ended(came: &[Field], fields: &[Field], read: &RequestHead<'_>, to: &RequestOut<'_>) {
    let te = !to.upgrade && read.te_trailers;
    let only = |value: &'static str, is_there: bool| -> Vec<&[u8]> {
        is_there.then_some(value.as_bytes()).into_iter().collect()
    };
    let connection = if te { "te" } else { "upgrade" };
    assert_eq!(head::values(fields, "connection"), only(connection, te || to.upgrade));
    assert_eq!(head::values(fields, "upgrade"), only("websocket", to.upgrade));
    assert_eq!(head::values(fields, "te"), only("trailers", te));
    for (name, _) in fields {
        let name = name.replace('_', "-");
        assert!(
            !matches!(&*name, "keep-alive" | "proxy-connection" | "http2-settings"),
            "{name} goes on"
        );
    }
    for option in head::members(came, "connection") {
        let ours = matches!(&*option, "close" | "keep-alive" | "upgrade" | "te" | "connection");
        let kept = PROTECTED.contains(&&*option) || option == "forwarded" || option.starts_with("x-");
        assert!(
            ours || kept || head::values(fields, &option).is_empty(),
            "{option} was named and goes on"
        );
    }
    let expects = head::values(fields, "expect");
    assert_eq!(expects.is_empty(), !read.expect_continue);
}

fn only_the_trusted_are_believed(fields: &[Field], read: &RequestHead<'_>, to: &RequestOut<'_>) {
    let asked = if read.host.is_empty() {
        DEFAULT_HOST.as_bytes()
    } else {
        read.host
    };
    assert_eq!(head::values(fields, "host"), [asked]);
    let peer = to.peer.to_string();
    let [from] = &head::values(fields, "x-forwarded-for")[..] else {
        panic!("x-forwarded-for is not one field")
    };
    assert!(from.ends_with(peer.as_bytes()));
    if to.trusted {
        return;
    }
    assert_eq!(*from, peer.as_bytes());
    assert_eq!(head::values(fields, "x-forwarded-proto"), [to.proto.as_bytes()]);
    assert_eq!(head::values(fields, "x-request-id"), [ID.as_bytes()]);
    assert_eq!(
        head::values(fields, "x-forwarded-host").len(),
        usize::from(!read.host.is_empty())
    );
    for (name, _) in fields {
        let hyphens = name.replace('_', "-");
        let ours = matches!(
            &**name,
            "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-request-id"
        );
        let claims = ["x-forwarded-", "x-plimsoll-"]
            .iter()
            .any(|start| hyphens.starts_with(start))
            || matches!(&*hyphens, "forwarded" | "x-real-ip" | "x-request-id");
        assert!(ours || !claims, "{name} goes on from a stranger");
    }
}

/// What means nothing to us goes on as it came, in its order, unless `Connection` names it.
fn the_rest_is_untouched(came: &[Field], fields: &[Field]) {
    let named = head::members(came, "connection");
    let plain = |fields: &[Field]| -> Vec<Field> {
        let plain = |name: &str| {
            let hyphens = name.replace('_', "-");
            !hyphens.starts_with("x-") && !KNOWN.contains(&&*hyphens) && !named.iter().any(|option| option == name)
        };
        fields.iter().filter(|(name, _)| plain(name)).cloned().collect()
    };
    assert_eq!(plain(came), plain(fields));
}

/// The fields that a proxy changes or ends.
const KNOWN: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Another of us behind us reads the same request.
fn reads_again(out: &[u8], read: &RequestHead<'_>, to: &RequestOut<'_>) {
    if read.fields.len() + 8 > FIELDS_MAX {
        return;
    }
    let mut room = FieldRoom::new();
    let again = parse_request(out, &mut room, FIELDS_MAX).expect("we refuse what we sent");
    assert_eq!(
        (again.method, again.minor, again.framing),
        (read.method, 1, read.framing)
    );
    assert_eq!((again.keep_alive, again.expect_continue), (true, read.expect_continue));
    assert_eq!(
        (again.upgrade_websocket, again.te_trailers),
        (to.upgrade, !to.upgrade && read.te_trailers)
    );
    match again.target {
        Target::Origin(target) => {
            let split = path::split(target).expect("we refuse our target");
            assert_eq!((split.path, split.query), (to.path.as_bytes(), to.query));
        }
        Target::Asterisk => assert_eq!(to.path, "*"),
        Target::Absolute(_) => panic!("no absolute target is sent"),
    }
}

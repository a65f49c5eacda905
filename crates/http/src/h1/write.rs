//! Heads on their way out. Lines that stay as they were are copied in runs, several at once.

use std::io::Write;
use std::net::IpAddr;

use plimsoll_core::filter::{Chosen, Edits};
use plimsoll_core::route::Target;
use plimsoll_core::trace::{Context, PARENT, STATE};

use super::phrase::phrase;
use super::request::{Framing, RequestHead};
use super::response::ResponseHead;
use crate::field::Class;

/// How a request goes upstream.
#[derive(Clone, Copy, Debug)]
pub struct RequestOut<'a> {
    /// The canonical path.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
    /// Whether it asks to become a WebSocket.
    pub upgrade: bool,
    /// Whether what the sender said about where it came from is believed.
    pub trusted: bool,
    /// The sender's address.
    pub peer: IpAddr,
    /// `http` or `https`.
    pub proto: &'a str,
    /// The request's id, when it does not bring one that is believed.
    pub request_id: &'a [u8],
    /// The Host to send instead of the request's.
    pub host: Option<&'a str>,
    /// The Host to send when the request names none.
    pub default_host: &'a str,
    /// What filters have made of its fields, ours among them.
    pub edits: &'a Edits,
    /// What is said of its trace, when it has one; what the request brings of one is passed on as it is otherwise.
    pub trace: Option<TraceOut>,
}

/// What a request says of its trace upstream.
#[derive(Clone, Copy, Debug)]
pub struct TraceOut {
    /// The trace, and who asks; the span is written anew for each attempt.
    pub context: Context,
    /// Whether the state that the request brings belongs to that trace.
    pub keeps_state: bool,
}

/// Bytes of a span's id, and of what stands behind it in its field's line.
const SPAN_BYTES: usize = 16;
const BEHIND_SPAN: usize = "-00\r\n".len();

/// Writes the head of `head` as it goes upstream. Where the id of the span stands in `out`, when it has one.
pub fn write_request_head(out: &mut Vec<u8>, head: &RequestHead<'_>, to: &RequestOut<'_>) -> Option<usize> {
    let keep_host = write_first_lines(out, head, to);
    let mut seen = Seen::default();
    let edited = !to.edits.is_empty();
    copy_runs(
        out,
        head.bytes,
        head.fields.len(),
        |at| head.line_start(at),
        |at| {
            let class = head.classes[at];
            // An empty id is none.
            if class == Class::RequestId && head.fields[at].value.is_empty() {
                return false;
            }
            if edited && to.edits.removes(head.fields[at].name) {
                return false;
            }
            if let Some(trace) = &to.trace
                && class == Class::Plain
                && trace.replaces(head.fields[at].name)
            {
                return false;
            }
            seen.see(class);
            match class {
                Class::Plain | Class::Credentials | Class::Date | Class::UserAgent | Class::Trailer => true,
                // What frames the body is written by us: in the sender's spelling it might be read otherwise.
                Class::ContentLength | Class::TransferEncoding => false,
                Class::Host => keep_host,
                Class::Expect => head.expect_continue,
                Class::ForwardedProto | Class::ForwardedHost | Class::RequestId | Class::TrustedOnly => to.trusted,
                Class::Connection | Class::Upgrade | Class::Te | Class::HopByHop | Class::ForwardedFor => false,
            }
        },
    );
    match head.framing {
        Framing::Length(length) => line(out, b"content-length", itoa::Buffer::new().format(length).as_bytes()),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    write_forwarded(out, head, to, seen);
    let span_at = to.trace.as_ref().and_then(|trace| write_trace(out, trace, to.edits));
    for (name, value) in to.edits.added() {
        line(out, name.as_bytes(), value);
    }
    match (to.upgrade, head.te_trailers) {
        (true, _) => out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n"),
        (false, true) => out.extend_from_slice(b"connection: te\r\nte: trailers\r\n"),
        (false, false) => {}
    }
    out.extend_from_slice(b"\r\n");
    span_at
}

/// The request line, and the Host unless the request's own is kept, which is answered.
fn write_first_lines(out: &mut Vec<u8>, head: &RequestHead<'_>, to: &RequestOut<'_>) -> bool {
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(to.path.as_bytes());
    if let Some(query) = to.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let keep_host =
        to.host.is_none() && matches!(head.target, Target::Origin(_) | Target::Asterisk) && !head.host.is_empty();
    if !keep_host {
        line(
            out,
            b"host",
            match to.host {
                Some(host) => host.as_bytes(),
                None if head.host.is_empty() => to.default_host.as_bytes(),
                None => head.host,
            },
        );
    }
    keep_host
}

impl TraceOut {
    /// Whether what the request brings in this field is not passed on.
    fn replaces(&self, name: &str) -> bool {
        match name.len() {
            11 => name.eq_ignore_ascii_case(PARENT),
            10 => !self.keeps_state && name.eq_ignore_ascii_case(STATE),
            _ => false,
        }
    }
}

/// Says who asks, unless filters want otherwise; where the span's id stands.
fn write_trace(out: &mut Vec<u8>, trace: &TraceOut, edits: &Edits) -> Option<usize> {
    if edits.removes(PARENT) {
        return None;
    }
    line(out, PARENT.as_bytes(), trace.context.written().as_bytes());
    Some(out.len() - BEHIND_SPAN - SPAN_BYTES)
}

/// Which of the fields that we add were there already.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    proto: bool,
    host: bool,
    id: bool,
}

impl Seen {
    pub(super) fn see(&mut self, class: Class) {
        match class {
            Class::ForwardedProto => self.proto = true,
            Class::ForwardedHost => self.host = true,
            Class::RequestId => self.id = true,
            _ => {}
        }
    }
}

pub(super) fn write_forwarded(out: &mut Vec<u8>, head: &RequestHead<'_>, to: &RequestOut<'_>, seen: Seen) {
    let edited = !to.edits.is_empty();
    let wanted = |name: &str| !(edited && to.edits.removes(name));
    if wanted("x-forwarded-for") {
        write_forwarded_for(out, head, to);
    }
    if !(to.trusted && seen.proto) && wanted("x-forwarded-proto") {
        line(out, b"x-forwarded-proto", to.proto.as_bytes());
    }
    if !(head.host.is_empty() || to.trusted && seen.host) && wanted("x-forwarded-host") {
        line(out, b"x-forwarded-host", head.host);
    }
    if !(to.trusted && seen.id) && wanted("x-request-id") {
        line(out, b"x-request-id", to.request_id);
    }
}

fn write_forwarded_for(out: &mut Vec<u8>, head: &RequestHead<'_>, to: &RequestOut<'_>) {
    out.extend_from_slice(b"x-forwarded-for: ");
    if to.trusted {
        for (field, class) in head.fields.iter().zip(&*head.classes) {
            if *class == Class::ForwardedFor && !field.value.is_empty() {
                out.extend_from_slice(field.value);
                out.extend_from_slice(b", ");
            }
        }
    }
    write_address(out, to.peer);
    out.extend_from_slice(b"\r\n");
}

/// Writes an address. Nearly every request carries one, and the formatting machinery costs ten times as much.
fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            let mut digits = itoa::Buffer::new();
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(digits.format(octet).as_bytes());
            }
        }
        IpAddr::V6(v6) => {
            // Writing into a Vec cannot fail.
            let _ = write!(out, "{v6}");
        }
    }
}

pub(super) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Copies the lines that `keep` names, each run of neighbours in one go.
pub(super) fn copy_runs(
    out: &mut Vec<u8>,
    bytes: &[u8],
    count: usize,
    start: impl Fn(usize) -> usize,
    mut keep: impl FnMut(usize) -> bool,
) {
    let mut run = None;
    for at in 0..count {
        match (keep(at), run) {
            (true, None) => run = Some(start(at)),
            (false, Some(from)) => {
                out.extend_from_slice(&bytes[from..start(at)]);
                run = None;
            }
            _ => {}
        }
    }
    if let Some(from) = run {
        out.extend_from_slice(&bytes[from..start(count)]);
    }
}

/// How an answer goes to the client.
#[derive(Clone, Copy, Debug)]
pub struct HeadOut<'a> {
    /// The client's HTTP/1.x.
    pub client_minor: u8,
    /// Whether the connection goes on after the answer.
    pub keep_alive: bool,
    /// The time, for an answer that brings none.
    pub date: &'a [u8],
    /// What filters want of its fields, and the backend that they may name.
    pub edits: Option<(&'a Edits, Chosen<'a>)>,
    /// Where else the same can be had, by HTTP/3 (RFC 7838 §3), for an answer that says nothing of it.
    pub alt_svc: Option<&'a [u8]>,
}

impl HeadOut<'_> {
    /// What `head` is to say of [`alt_svc`](Self::alt_svc).
    pub fn alt_svc_beside(&self, head: &ResponseHead<'_>) -> Option<&[u8]> {
        self.alt_svc
            .filter(|_| head.status >= 200 && head.first("alt-svc").is_none())
    }
}

/// Writes the head of an answer as it goes to the client, and says how its body is to be framed there.
pub fn write_response_head(out: &mut Vec<u8>, head: &ResponseHead<'_>, to: &HeadOut<'_>) -> Framing {
    let upgraded = head.status == 101;
    let framing = match head.framing {
        Framing::Chunked | Framing::UntilClose if to.client_minor == 0 => Framing::UntilClose,
        Framing::UntilClose => Framing::Chunked,
        as_it_is => as_it_is,
    };
    write_status_line(out, head.status, head.phrase);
    let may_frame = head.status >= 200 && head.status != 204;
    let mut dated = false;
    copy_runs(
        out,
        head.bytes,
        head.fields.len(),
        |at| head.line_start(at),
        |at| match head.classes[at] {
            Class::Connection | Class::HopByHop => false,
            Class::Upgrade => upgraded,
            Class::ContentLength => may_frame,
            Class::TransferEncoding => may_frame && to.client_minor == 1,
            _ if to.edits.is_some_and(|(edits, _)| edits.removes(head.fields[at].name)) => false,
            Class::Date => {
                dated = true;
                true
            }
            _ => true,
        },
    );
    if head.framing == Framing::UntilClose && framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if head.framing == Framing::Length(0) {
        line(out, b"content-length", b"0");
    }
    // RFC 9110 §6.6.1: whoever has a clock dates an answer that it forwards undated.
    if !dated && head.status >= 200 {
        line(out, b"date", to.date);
    }
    if let Some(alt_svc) = to.alt_svc_beside(head) {
        line(out, b"alt-svc", alt_svc);
    }
    if let Some((edits, chosen)) = to.edits {
        for (name, value) in edits.added() {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            chosen.write(out, value);
            out.extend_from_slice(b"\r\n");
        }
    }
    write_connection(
        out,
        upgraded,
        to.keep_alive && framing != Framing::UntilClose,
        to.client_minor,
        head.status,
    );
    out.extend_from_slice(b"\r\n");
    framing
}

fn write_connection(out: &mut Vec<u8>, upgraded: bool, keep_alive: bool, client_minor: u8, status: u16) {
    match (upgraded, keep_alive, client_minor) {
        (true, _, _) => out.extend_from_slice(b"connection: upgrade\r\n"),
        _ if status < 200 => {}
        // Also for HTTP/1.0, whose clients are answered in HTTP/1.1 and would take the connection for one that goes on.
        (_, false, _) => out.extend_from_slice(b"connection: close\r\n"),
        (_, true, 0) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        _ => {}
    }
}

fn write_status_line(out: &mut Vec<u8>, status: u16, phrase: &str) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(phrase.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The head of a reply of our own.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHead<'a> {
    /// The status.
    pub status: u16,
    /// Fields besides those that frame and date it.
    pub fields: &'a [(&'a str, &'a [u8])],
    /// Length of the body.
    pub length: usize,
    /// As in [`HeadOut`].
    pub to: HeadOut<'a>,
}

/// Writes the head of a reply of our own.
pub fn write_reply_head(out: &mut Vec<u8>, reply: &ReplyHead<'_>) {
    write_status_line(out, reply.status, phrase(reply.status));
    for (name, value) in reply.fields {
        line(out, name.as_bytes(), value);
    }
    if reply.status != 204 && reply.status != 304 {
        line(
            out,
            b"content-length",
            itoa::Buffer::new().format(reply.length).as_bytes(),
        );
    }
    line(out, b"date", reply.to.date);
    if let Some(alt_svc) = reply.to.alt_svc {
        line(out, b"alt-svc", alt_svc);
    }
    write_connection(out, false, reply.to.keep_alive, reply.to.client_minor, reply.status);
    out.extend_from_slice(b"\r\n");
}

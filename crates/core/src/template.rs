//! Text with placeholders: `"{client.ip}"`, `"/v2{request.path}"`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::document::{Decode, Faults, Json, Node, expect_text, nearest};
use crate::route::{Asked, Fields};
use crate::secured::Secured;

/// The longest text that a template becomes, in bytes, unless it is longer without its placeholders; what is longer is
/// cut, so that no client's field swells a head beyond what backends take.
pub const RENDERED_MAX: usize = 16 << 10;

/// Stands in a value for what is known only once a backend was chosen. Values hold no control characters of their own.
pub(crate) const BACKEND_NAME: u8 = 0x01;
pub(crate) const BACKEND_ADDRESS: u8 = 0x02;

/// Text with placeholders of the request in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// The same where the backend is known as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerTemplate(pub Template);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Arc<str>),
    Place(Place),
}

/// What a placeholder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    ClientIp,
    ClientPort,
    RequestId,
    RequestMethod,
    RequestScheme,
    RequestHost,
    RequestPath,
    RequestQuery,
    RequestHeader(String),
    Route,
    Pool,
    TlsSni,
    TlsClientSubject,
    TlsClientFingerprint,
    BackendName,
    BackendAddress,
}

/// Placeholders without a name of their own.
const PLACES: [(&str, Place); 15] = [
    ("client.ip", Place::ClientIp),
    ("client.port", Place::ClientPort),
    ("request.id", Place::RequestId),
    ("request.method", Place::RequestMethod),
    ("request.scheme", Place::RequestScheme),
    ("request.host", Place::RequestHost),
    ("request.path", Place::RequestPath),
    ("request.query", Place::RequestQuery),
    ("route", Place::Route),
    ("pool", Place::Pool),
    ("tls.sni", Place::TlsSni),
    ("tls.client.subject", Place::TlsClientSubject),
    ("tls.client.fingerprint", Place::TlsClientFingerprint),
    ("backend.name", Place::BackendName),
    ("backend.address", Place::BackendAddress),
];

/// The beginning of a placeholder that names a field.
const HEADER: &str = "request.header.";

/// What placeholders stand for in one request.
#[derive(Clone, Copy)]
pub struct Values<'v> {
    /// What is asked for.
    pub asked: &'v Asked<'v>,
    /// Its fields as they are now.
    pub fields: &'v dyn Fields,
    /// The client.
    pub client: IpAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The request's id.
    pub request_id: &'v str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// What is known of the client's TLS, when it speaks it with us.
    pub tls: Option<&'v Secured>,
    /// The route's name; empty before there is one.
    pub route: &'v str,
    /// The pool's name; empty when there is none.
    pub pool: &'v str,
}

/// Where a text is to stand, which says what has to be escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The value of a header field: no control characters (RFC 9110 §5.5).
    Field,
    /// A part of a URL: what is no URL yet is percent-encoded (RFC 3986 §2).
    Url,
    /// Plain text.
    Plain,
    /// Text or the value of an attribute in HTML.
    Html,
    /// Inside of a string in JSON.
    Json,
}

impl Template {
    /// A text without placeholders.
    pub fn text(text: impl Into<String>) -> Self {
        Template {
            pieces: vec![Piece::Text(text.into().into())],
        }
    }

    /// The text, when it holds no placeholders.
    pub fn as_text(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text itself, when it holds no placeholders: all who send it share it.
    pub fn shared(&self) -> Option<Arc<str>> {
        match self.pieces.as_slice() {
            [Piece::Text(text)] => Some(text.clone()),
            _ => None,
        }
    }

    /// Whether it is made of placeholders alone, which may all turn out to be empty.
    pub fn is_only_places(&self) -> bool {
        !self.pieces.is_empty() && !self.pieces.iter().any(|piece| matches!(piece, Piece::Text(_)))
    }

    /// Writes it for one request, escaped for where it stands.
    pub fn render(&self, out: &mut Vec<u8>, position: Position, values: &Values<'_>) {
        // What the configuration says itself is as long as that allows.
        let own = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Place(_) => 0,
        };
        let end = out.len() + RENDERED_MAX.max(self.pieces.iter().map(own).sum());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Place(place) => place.render(out, position, values),
            }
        }
        out.truncate(end);
    }

    /// [`render`](Self::render) to text of its own.
    pub fn rendered(&self, position: Position, values: &Values<'_>) -> String {
        let mut out = Vec::new();
        self.render(&mut out, position, values);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn read(node: &Node, backend: bool, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "text", faults)?;
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, found) = rest.split_at(at);
            plain.push_str(before);
            let doubled = found.starts_with("{{");
            let name = placeholder(&found[usize::from(doubled)..]);
            let Some(name) = name else {
                plain.push('{');
                rest = &found[1..];
                continue;
            };
            let skip = name.len() + 2;
            if doubled && found[1 + skip..].starts_with('}') {
                plain.push_str(&found[1..=skip]);
                rest = &found[skip + 2..];
                continue;
            }
            let found = &found[usize::from(doubled)..];
            if doubled {
                plain.push('{');
            }
            let place = place(name, node, backend, faults)?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(Piece::Place(place));
            rest = &found[skip..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Some(Template { pieces })
    }
}

/// The name in `{name}` at the beginning of `text`, when it looks like one of ours: JSON's and CSS's braces are text.
fn placeholder(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('{')?.split_once('}')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (name.as_bytes().first()?.is_ascii_alphabetic() && name.bytes().all(plain)).then_some(name)
}

fn place(name: &str, node: &Node, backend: bool, faults: &mut Faults) -> Option<Place> {
    if let Some(header) = name.strip_prefix(HEADER).filter(|header| !header.is_empty()) {
        return Some(Place::RequestHeader(header.to_ascii_lowercase()));
    }
    let known = PLACES.iter().find(|(known, _)| *known == name);
    let Some((_, place)) = known else {
        let names = PLACES.iter().map(|(name, _)| *name);
        let fault = faults.error(node.span, format!("there is no placeholder {{{name}}}"));
        fault.help(match nearest(name, names.clone()) {
            Some(near) => format!("did you mean {{{near}}}? Braces that are meant are doubled: {{{{{name}}}}}"),
            None => format!(
                "known here: {}, {HEADER}NAME; braces that are meant are doubled: {{{{{name}}}}}",
                names.collect::<Vec<_>>().join(", ")
            ),
        });
        return None;
    };
    if !backend && matches!(place, Place::BackendName | Place::BackendAddress) {
        faults
            .error(node.span, format!("{{{name}}} is not known yet here"))
            .help("the backend is chosen after the request's filters; the answer's fields may name it");
        return None;
    }
    Some(place.clone())
}

impl Place {
    fn render(&self, out: &mut Vec<u8>, position: Position, values: &Values<'_>) {
        let asked = values.asked;
        match self {
            Place::ClientIp => match values.client {
                IpAddr::V4(address) => put_ipv4(out, address),
                IpAddr::V6(address) => put(out, position, address.to_string().as_bytes()),
            },
            Place::ClientPort => put(out, position, values.peer.port().to_string().as_bytes()),
            Place::RequestId => put(out, position, values.request_id.as_bytes()),
            Place::RequestMethod => put(out, position, asked.method.as_bytes()),
            Place::RequestScheme => put(out, position, values.scheme.as_bytes()),
            // Host, path and query are parts of a URL, and in one spelling: they are not encoded twice.
            Place::RequestHost if position == Position::Url => out.extend_from_slice(asked.host().as_bytes()),
            Place::RequestPath if position == Position::Url => out.extend_from_slice(asked.path.as_bytes()),
            Place::RequestQuery if position == Position::Url => {
                out.extend_from_slice(asked.query.unwrap_or_default().as_bytes());
            }
            Place::RequestHost => put(out, position, asked.host().as_bytes()),
            Place::RequestPath => put(out, position, asked.path.as_bytes()),
            Place::RequestQuery => put(out, position, asked.query.unwrap_or_default().as_bytes()),
            Place::RequestHeader(name) => {
                let mut first = true;
                values.fields.each(name, &mut |value| {
                    // RFC 9110 §5.3: several lines of one field are one list.
                    if !std::mem::take(&mut first) {
                        put(out, position, b", ");
                    }
                    put(out, position, value);
                    true
                });
            }
            Place::Route => put(out, position, values.route.as_bytes()),
            Place::Pool => put(out, position, values.pool.as_bytes()),
            Place::TlsSni => put(out, position, Secured::sni_of(values.tls).as_bytes()),
            Place::TlsClientSubject => put(out, position, Secured::subject_of(values.tls).as_bytes()),
            Place::TlsClientFingerprint => put(out, position, Secured::fingerprint_of(values.tls).as_bytes()),
            Place::BackendName => out.push(BACKEND_NAME),
            Place::BackendAddress => out.push(BACKEND_ADDRESS),
        }
    }
}

/// Writes an address, which needs no escaping anywhere. The formatting machinery costs twenty times as much.
fn put_ipv4(out: &mut Vec<u8>, address: Ipv4Addr) {
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

/// Writes `value`, escaped for where it stands.
pub(crate) fn put(out: &mut Vec<u8>, position: Position, value: &[u8]) {
    if position == Position::Field && !value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)) {
        return out.extend_from_slice(value);
    }
    for &byte in value {
        match (position, byte) {
            (Position::Field, 0..=8 | 10..=31 | 127) => {}
            (Position::Url, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') => out.push(byte),
            (Position::Url, _) => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            (Position::Html, b'&') => out.extend_from_slice(b"&amp;"),
            (Position::Html, b'<') => out.extend_from_slice(b"&lt;"),
            (Position::Html, b'>') => out.extend_from_slice(b"&gt;"),
            (Position::Html, b'"') => out.extend_from_slice(b"&quot;"),
            (Position::Html, b'\'') => out.extend_from_slice(b"&#39;"),
            (Position::Json, b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            (Position::Json, 0..=31) => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

/// As users write it.
impl fmt::Display for Template {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.write_str(text)?,
                Piece::Place(Place::RequestHeader(name)) => write!(out, "{{{HEADER}{name}}}")?,
                Piece::Place(place) => {
                    let known = PLACES.iter().find(|(_, known)| known == place);
                    write!(out, "{{{}}}", known.map_or("", |(name, _)| name))?;
                }
            }
        }
        Ok(())
    }
}

impl Decode for Template {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        Template::read(node, false, faults)
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string" })
    }
}

impl Decode for AnswerTemplate {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        Template::read(node, true, faults).map(AnswerTemplate)
    }

    fn schema() -> Json {
        Template::schema()
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;

//! From the fields of a request of HTTP/2 or HTTP/3 to the text of HTTP/1.1, which is then read by the same strict parser
//! as any other, so that nothing malformed gets past by its version.

use crate::h1::HeadFault;
use crate::h2::Follows;

/// What a field's name means to whoever writes it as HTTP/1.1 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `:method`, and so on: the pseudo-header fields of a request (RFC 9113 §8.3.1, RFC 8441 §4).
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    /// One that requests do not have.
    UnknownPseudo,
    /// It is no name (RFC 9113 §8.2.1).
    Malformed,
    /// It concerns a connection of HTTP/1.1 (RFC 9113 §8.2.2).
    OfConnection,
    Te,
    Host,
    Cookie,
    ContentLength,
    WebSocketKey,
    /// It is passed on as it came.
    Plain,
}

impl Kind {
    /// What this name means.
    pub(crate) const fn of(name: &[u8]) -> Kind {
        match name {
            b":method" => Kind::Method,
            b":scheme" => Kind::Scheme,
            b":authority" => Kind::Authority,
            b":path" => Kind::Path,
            b":protocol" => Kind::Protocol,
            [b':', ..] => Kind::UnknownPseudo,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
                Kind::OfConnection
            }
            b"te" => Kind::Te,
            b"host" => Kind::Host,
            b"cookie" => Kind::Cookie,
            b"content-length" => Kind::ContentLength,
            b"sec-websocket-key" => Kind::WebSocketKey,
            name if is_name(name) => Kind::Plain,
            _ => Kind::Malformed,
        }
    }
}

const fn is_name(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if !name[at].is_ascii_graphic() || name[at].is_ascii_uppercase() || name[at] == b':' {
            return false;
        }
        at += 1;
    }
    at > 0
}

/// Whether a value has nothing in it that could end a line, or be read as something else by whoever takes the text for
/// HTTP/1.1 (RFC 9113 §8.2.1, RFC 9114 §4.2).
#[inline]
pub(crate) fn is_sound(value: &[u8]) -> bool {
    memchr::memchr3(b'\0', b'\r', b'\n', value).is_none()
}

/// A field of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'f> {
    pub(crate) name: &'f [u8],
    pub(crate) value: &'f [u8],
    pub(crate) kind: Kind,
    /// Whether the value [is](is_sound), when that is known.
    pub(crate) sound: bool,
}

/// Why fields are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextFault {
    /// They are malformed by the rules of their version (RFC 9113 §8.1.1, RFC 9114 §4.1.2): the stream ends.
    Malformed(&'static str),
    /// They can be answered like a head of HTTP/1.1.
    Head(HeadFault),
}

/// What a request's head asks for besides what its text says.
#[derive(Clone, Copy, Debug)]
pub struct HeadText {
    /// It is a CONNECT for a WebSocket (RFC 8441, RFC 9220).
    pub is_websocket: bool,
    has_length: bool,
    /// How long the body is said to be, where that can be read.
    pub(crate) length: Option<u64>,
}

impl HeadText {
    /// Writes the rest of the head.
    ///
    /// # Errors
    /// It says what cannot be.
    pub fn finish(self, out: &mut Vec<u8>, follows: Follows<'_>) -> Result<(), HeadFault> {
        follows.finish(out, self.has_length)
    }
}

/// What stands aside while a head is written, to be used again for the next.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// Values of pseudo-header fields and of `Host`.
    values: Vec<u8>,
    /// RFC 9113 §8.2.3: cookies may come one by one, and are one field again for whoever reads HTTP/1.1.
    cookies: Vec<u8>,
}

impl Aside {
    /// Gives back what a large head has needed.
    pub(crate) fn shrink(&mut self, most: usize) {
        for vector in [&mut self.values, &mut self.cookies] {
            vector.clear();
            vector.shrink_to(most);
        }
    }
}

/// Where a value stands in [`Aside::values`].
type Span = Option<(usize, usize)>;

/// A head on its way to the text of HTTP/1.1.
pub(crate) struct Text<'o> {
    out: &'o mut Vec<u8>,
    aside: &'o mut Aside,
    most: usize,
    /// By the order of [`Kind`].
    pseudo: [Span; 5],
    host: Span,
    /// The request line is written: no pseudo-header field may follow.
    begun: bool,
    is_websocket: bool,
    has_length: bool,
    length: Option<u64>,
}

impl<'o> Text<'o> {
    /// Writes behind what is in `out`, no more than `most` bytes.
    pub(crate) fn new(out: &'o mut Vec<u8>, aside: &'o mut Aside, most: usize) -> Self {
        aside.values.clear();
        aside.cookies.clear();
        Text {
            out,
            aside,
            most,
            pseudo: [None; 5],
            host: None,
            begun: false,
            is_websocket: false,
            has_length: false,
            length: None,
        }
    }

    /// Takes a field.
    ///
    /// # Errors
    /// See [`TextFault`].
    pub(crate) fn field(&mut self, field: Field<'_>) -> Result<(), TextFault> {
        let Field {
            name,
            value,
            kind,
            sound,
        } = field;
        if !sound && !is_sound(value) {
            return Err(TextFault::Malformed(
                "a field's value has a character that it may not have",
            ));
        }
        // What is written later counts as well.
        if self.out.len() + self.aside.cookies.len() + name.len() + value.len() > self.most {
            return Err(TextFault::Head(HeadFault::TooLarge));
        }
        if (kind as usize) < self.pseudo.len() {
            return self.pseudo(kind, value);
        }
        if kind == Kind::UnknownPseudo {
            return Err(TextFault::Malformed("an unknown pseudo-header field"));
        }
        if !self.begun {
            self.begin()?;
        }
        match kind {
            Kind::Malformed => {
                return Err(TextFault::Malformed(
                    "a field's name has a character that it may not have",
                ));
            }
            Kind::OfConnection => {
                return Err(TextFault::Malformed("a field that concerns a connection of HTTP/1.1"));
            }
            Kind::Te if !value.eq_ignore_ascii_case(b"trailers") => {
                return Err(TextFault::Malformed("a TE other than trailers"));
            }
            Kind::Host if self.host.is_some() => {
                return Err(TextFault::Head(HeadFault::Malformed("there has to be one Host field")));
            }
            Kind::Host => self.host = self.keep(value),
            Kind::Cookie => {
                if !self.aside.cookies.is_empty() {
                    self.aside.cookies.extend_from_slice(b"; ");
                }
                self.aside.cookies.extend_from_slice(value);
            }
            Kind::WebSocketKey if self.is_websocket => {}
            Kind::ContentLength => {
                self.has_length = true;
                self.length = number(value);
                line(self.out, name, value);
            }
            _ => line(self.out, name, value),
        }
        Ok(())
    }

    fn keep(&mut self, value: &[u8]) -> Span {
        let start = self.aside.values.len();
        self.aside.values.extend_from_slice(value);
        Some((start, self.aside.values.len()))
    }

    fn pseudo(&mut self, kind: Kind, value: &[u8]) -> Result<(), TextFault> {
        if self.begun {
            return Err(TextFault::Malformed("a pseudo-header field behind other fields"));
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_graphic) {
            return Err(TextFault::Malformed("an empty or unreadable pseudo-header field"));
        }
        let span = self.keep(value);
        if std::mem::replace(&mut self.pseudo[kind as usize], span).is_some() {
            return Err(TextFault::Malformed("a pseudo-header field that is repeated"));
        }
        Ok(())
    }

    /// Writes the request line.
    fn begin(&mut self) -> Result<(), TextFault> {
        let value = |span: Span| span.map(|(start, end)| &self.aside.values[start..end]);
        let [method, scheme, authority, path, protocol] = self.pseudo.map(value);
        let method = method.ok_or(TextFault::Malformed("there is no :method"))?;
        let method = match (method, protocol) {
            (b"CONNECT", Some(b"websocket")) if authority.is_some() => {
                self.is_websocket = true;
                b"GET"
            }
            (b"CONNECT", _) => {
                let says = "a CONNECT that is for no WebSocket, or the other way round";
                return Err(TextFault::Head(HeadFault::Malformed(says)));
            }
            (_, Some(_)) => return Err(TextFault::Malformed("a :protocol without CONNECT")),
            (method, None) => method,
        };
        let scheme = scheme.ok_or(TextFault::Malformed("there is no :scheme"))?;
        if !scheme.eq_ignore_ascii_case(b"https") && !scheme.eq_ignore_ascii_case(b"http") {
            return Err(TextFault::Malformed("the :scheme is neither https nor http"));
        }
        let path = path.ok_or(TextFault::Malformed("there is no :path"))?;
        let is_asterisk = path == b"*" && method == b"OPTIONS";
        if path[0] != b'/' && !is_asterisk {
            return Err(TextFault::Malformed("the :path does not begin with a slash"));
        }
        self.out.extend_from_slice(method);
        self.out.push(b' ');
        self.out.extend_from_slice(path);
        self.out.extend_from_slice(b" HTTP/1.1\r\n");
        self.begun = true;
        Ok(())
    }

    /// Writes what could not be written before all fields had come.
    ///
    /// # Errors
    /// See [`TextFault`].
    pub(crate) fn end(mut self) -> Result<HeadText, TextFault> {
        if !self.begun {
            self.begin()?;
        }
        let value = |span: Span| span.map(|(start, end)| &self.aside.values[start..end]);
        let (authority, host) = (value(self.pseudo[Kind::Authority as usize]), value(self.host));
        if let (Some(authority), Some(host)) = (authority, host)
            && !authority.eq_ignore_ascii_case(host)
        {
            // RFC 9113 §8.3.1, RFC 9114 §4.3.1
            return Err(TextFault::Malformed("the :authority and the Host field differ"));
        }
        if let Some(name) = authority.or(host) {
            line(self.out, b"host", name);
        }
        if !self.aside.cookies.is_empty() {
            line(self.out, b"cookie", &self.aside.cookies);
        }
        Ok(HeadText {
            is_websocket: self.is_websocket,
            has_length: self.has_length,
            length: self.length,
        })
    }
}

#[inline]
pub(crate) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A number of digits alone; what is none is refused by whoever reads the text.
fn number(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

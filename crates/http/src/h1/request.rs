//! Request heads, read strictly: whatever two parsers could read differently is refused, never guessed.

use httparse::{Header, Status};
use plimsoll_core::route::{Asked, AskedFault, Fields, Target};

use super::{FieldRoom, HeadFault, offset};
use crate::field::{Class, classify, list};

/// How a message's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes. Of an answer, none at all means that it ended with its head without saying that it would: HTTP/2
    /// has no need to, and HTTP/1.1 is told.
    Length(u64),
    /// In chunks (RFC 9112 §7.1).
    Chunked,
    /// Until the connection ends; answers alone.
    UntilClose,
}

/// A request's head, over the bytes that arrived.
#[derive(Debug)]
pub struct RequestHead<'b> {
    /// All bytes of the head, with the empty line.
    pub bytes: &'b [u8],
    /// The method.
    pub method: &'b str,
    /// The target.
    pub target: Target<'b>,
    /// 0 or 1, of `HTTP/1.x`.
    pub minor: u8,
    /// The host that is asked for, as it was written; empty when an HTTP/1.0 client named none.
    pub host: &'b [u8],
    /// The fields.
    pub fields: &'b [Header<'b>],
    /// What each field means.
    pub classes: &'b mut [Class; super::FIELDS_MAX],
    /// The body.
    pub framing: Framing,
    /// Whether the client wants to go on after this request.
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expect_continue: bool,
    /// It asks to become a WebSocket (RFC 6455 §4.1). Any other upgrade is not offered to anybody: h2c never.
    pub upgrade_websocket: bool,
    /// `TE: trailers`.
    pub te_trailers: bool,
}

/// Reads the head that fills `bytes`.
///
/// # Errors
/// See [`HeadFault`]; RFC 9112 where it says MUST, and stricter where it leaves room.
pub fn parse_request<'b>(
    bytes: &'b [u8],
    room: &'b mut FieldRoom<'b>,
    fields_max: usize,
) -> Result<RequestHead<'b>, HeadFault> {
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut room.headers) {
        Ok(Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(HeadFault::Malformed("the head does not end where its empty line is")),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadFault::TooLarge),
        Err(error) => return Err(HeadFault::Malformed(syntax(error))),
    }
    let fields: &'b [Header<'b>] = parsed.headers;
    if fields.len() > fields_max {
        return Err(HeadFault::TooLarge);
    }
    let (method, minor) = (parsed.method.unwrap_or_default(), parsed.version.unwrap_or_default());
    let mut head = RequestHead {
        bytes,
        method,
        target: Target::Asterisk,
        minor,
        host: &[],
        fields,
        classes: &mut room.classes,
        framing: Framing::None,
        keep_alive: minor == 1,
        expect_continue: false,
        upgrade_websocket: false,
        te_trailers: false,
    };
    if !super::lines_end_in_crlf(bytes, head.fields.len(), |at| head.line_start(at)) {
        return Err(HeadFault::Malformed("a line ends in LF without CR"));
    }
    let facts = head.read_fields()?;
    head.read_target(parsed.path.unwrap_or_default().as_bytes(), facts.hosts)?;
    head.framing = facts.framing(minor)?;
    head.upgrade_websocket = facts.upgrade_listed && facts.websocket && minor == 1 && method == "GET";
    Ok(head)
}

fn syntax(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a field's name has a character that it may not have, or space before the colon",
        httparse::Error::HeaderValue => "a field's value has a control character",
        httparse::Error::NewLine => "a line does not end in CRLF",
        httparse::Error::Token => "the request line is malformed",
        httparse::Error::Version => "the version is neither HTTP/1.0 nor HTTP/1.1",
        _ => "the head is malformed",
    }
}

/// What the fields say together.
#[derive(Default)]
struct Facts {
    hosts: usize,
    length: Option<u64>,
    lengths: usize,
    codings: usize,
    chunked: bool,
    websocket: bool,
    upgrade_listed: bool,
    /// `Connection` names something else than what every proxy knows.
    names_others: bool,
}

impl Facts {
    /// RFC 9112 §6.3, without its leniencies: those are what request smuggling lives on.
    fn framing(&self, minor: u8) -> Result<Framing, HeadFault> {
        match (self.codings, self.lengths) {
            (0, 0) => Ok(Framing::None),
            (0, 1) => Ok(Framing::Length(
                self.length
                    .ok_or(HeadFault::Malformed("Content-Length is not a number"))?,
            )),
            (0, _) => Err(HeadFault::Malformed("Content-Length is repeated")),
            (_, 1..) => Err(HeadFault::Malformed("Content-Length beside Transfer-Encoding")),
            (1, 0) if self.chunked && minor == 1 => Ok(Framing::Chunked),
            _ => Err(HeadFault::Malformed("a Transfer-Encoding other than a single chunked")),
        }
    }
}

impl<'b> RequestHead<'b> {
    fn read_fields(&mut self) -> Result<Facts, HeadFault> {
        let mut facts = Facts::default();
        for (at, field) in self.fields.iter().enumerate() {
            let class = classify(field.name);
            self.classes[at] = class;
            match class {
                Class::Plain => {}
                Class::Host => {
                    facts.hosts += 1;
                    self.host = field.value;
                }
                Class::ContentLength => {
                    self.check_framing_line(at)?;
                    facts.lengths += 1;
                    facts.length = decimal(field.value);
                }
                Class::TransferEncoding => {
                    self.check_framing_line(at)?;
                    facts.codings += 1;
                    facts.chunked = field.value.eq_ignore_ascii_case(b"chunked");
                }
                Class::Connection => self.read_connection(field.value, &mut facts),
                Class::Upgrade => {
                    facts.websocket |= list(field.value).any(|member| member.eq_ignore_ascii_case(b"websocket"));
                }
                Class::Expect => {
                    if !field.value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(HeadFault::Malformed("an expectation other than 100-continue"));
                    }
                    self.expect_continue = self.minor == 1;
                }
                Class::Te => self.te_trailers |= list(field.value).any(|m| m.eq_ignore_ascii_case(b"trailers")),
                _ => {}
            }
        }
        if facts.names_others {
            self.drop_what_connection_names();
        }
        Ok(facts)
    }

    /// A field that frames the body, spelled in a way that some do not take for it: those who smuggle count on that.
    fn check_framing_line(&self, at: usize) -> Result<(), HeadFault> {
        if self.fields[at].name.as_bytes().contains(&b'_') {
            return Err(HeadFault::Malformed(
                "a field that frames the body is spelled with an underscore",
            ));
        }
        // RFC 9110 §5.6.3 allows a tab around a value, and nobody else sends one.
        if self.bytes[self.line_start(at)..self.line_start(at + 1)].contains(&b'\t') {
            return Err(HeadFault::Malformed("a tab stands in a field that frames the body"));
        }
        Ok(())
    }

    fn read_connection(&mut self, value: &[u8], facts: &mut Facts) {
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.keep_alive = false;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                // "close" wins over it, in either order.
                self.keep_alive |= self.minor == 0 && !self.names_close();
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                facts.upgrade_listed = true;
            } else {
                facts.names_others = true;
            }
        }
    }

    fn names_close(&self) -> bool {
        connection_options(self.fields).any(|option| option.eq_ignore_ascii_case(b"close"))
    }

    /// Fields that `Connection` names end here (RFC 9110 §7.6.1), but for those that later hops rely on.
    fn drop_what_connection_names(&mut self) {
        let fields = self.fields;
        for option in connection_options(self.fields) {
            if [&b"close"[..], b"keep-alive", b"upgrade", b"te"]
                .iter()
                .any(|known| option.eq_ignore_ascii_case(known))
            {
                continue;
            }
            for (class, field) in self.classes.iter_mut().zip(fields) {
                if field.name.as_bytes().eq_ignore_ascii_case(option) && class.may_be_named_by_connection() {
                    *class = Class::HopByHop;
                }
            }
        }
    }

    /// RFC 9112 §3.2 and §3.2.2. In absolute form the target's host is the one that counts, and a Host field that
    /// names another server is refused, as HAProxy does it: nobody sends that in good faith.
    fn read_target(&mut self, target: &'b [u8], hosts: usize) -> Result<(), HeadFault> {
        if self.method == "CONNECT" {
            return Err(HeadFault::Malformed("CONNECT is not served"));
        }
        if hosts > 1 || (hosts == 0 && self.minor == 1) {
            return Err(HeadFault::Malformed("there has to be one Host field"));
        }
        self.target = match target {
            [b'/', ..] => Target::Origin(target),
            b"*" if self.method == "OPTIONS" => Target::Asterisk,
            _ => {
                let (rest, port) =
                    strip_scheme(target).ok_or(HeadFault::Malformed("the request target has no known form"))?;
                let end = rest
                    .iter()
                    .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
                    .unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                if authority.is_empty() || (hosts == 1 && !is_same_authority(authority, self.host, port)) {
                    return Err(HeadFault::Malformed("the target's host and the Host field differ"));
                }
                // RFC 9112 §3.2.4: the asterisk, as clients of proxies write it; the Host field stays as it is.
                if path.is_empty() && self.method == "OPTIONS" && hosts == 1 {
                    Target::Asterisk
                } else {
                    self.host = authority;
                    Target::Absolute(path)
                }
            }
        };
        Ok(())
    }

    /// What it asks for, in its one spelling.
    ///
    /// # Errors
    /// A host or a path that can be read in more than one way.
    pub fn asked(&self, allow_encoded_slash: bool) -> Result<Asked<'_>, AskedFault> {
        Asked::read(self.method, self.host, self.target, self, allow_encoded_slash)
    }

    /// Where the lines of the fields begin; one more than there are fields, the last one the empty line.
    pub(super) fn line_start(&self, at: usize) -> usize {
        match self.fields.get(at) {
            Some(field) => offset(self.bytes, field.name.as_bytes()),
            None => self.bytes.len() - 2,
        }
    }

    /// The first value of the field `name`.
    pub fn first(&self, name: &str) -> Option<&'b [u8]> {
        let fields: &'b [Header<'b>] = self.fields;
        fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }
}

impl Fields for RequestHead<'_> {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        for field in self.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)) {
            if !visit(field.value) {
                return;
            }
        }
    }
}

/// The options of all `Connection` fields.
fn connection_options<'b>(fields: &'b [Header<'b>]) -> impl Iterator<Item = &'b [u8]> {
    fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("connection"))
        .flat_map(|field| list(field.value))
}

/// What follows the scheme of a URL, and the scheme's port with its colon.
fn strip_scheme(target: &[u8]) -> Option<(&[u8], &'static [u8])> {
    let schemes: [(&[u8], &[u8]); 2] = [(b"http://", b":80"), (b"https://", b":443")];
    schemes.into_iter().find_map(|(scheme, port)| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some((rest, port))
    })
}

/// Whether two authorities name the same server: the scheme's port may be left out, and be empty (RFC 9110 §4.2.3).
fn is_same_authority(one: &[u8], other: &[u8], port: &[u8]) -> bool {
    let bare = |authority: &'_ [u8]| -> usize {
        let without = authority.strip_suffix(port).or_else(|| authority.strip_suffix(b":"));
        without.map_or(authority.len(), <[u8]>::len)
    };
    one[..bare(one)].eq_ignore_ascii_case(&other[..bare(other)])
}

/// Digits and nothing else, below 10^18; a sign, a space or a list is no number here.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

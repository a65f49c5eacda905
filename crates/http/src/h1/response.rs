//! Answers' heads. A backend is trusted more than a client, but never to frame what we pass on.

use httparse::{Header, Status};
use plimsoll_core::route::Fields;

use super::request::decimal;
use super::{FieldRoom, Framing, HeadFault, offset};
use crate::field::{Class, classify, list};

/// An answer's head, over the bytes that arrived.
#[derive(Debug)]
pub struct ResponseHead<'b> {
    /// All bytes of the head, with the empty line.
    pub bytes: &'b [u8],
    /// The status.
    pub status: u16,
    /// 0 or 1, of `HTTP/1.x`.
    pub minor: u8,
    /// The reason phrase.
    pub phrase: &'b str,
    /// The fields.
    pub fields: &'b [Header<'b>],
    /// What each field means.
    pub classes: &'b mut [Class; super::FIELDS_MAX],
    /// The body, for the method that was asked with.
    pub framing: Framing,
    /// Whether the backend will take another request on this connection.
    pub keep_alive: bool,
}

/// Reads the head that fills `bytes`, of an answer to `method`.
///
/// # Errors
/// See [`HeadFault`].
pub fn parse_response<'b>(
    bytes: &'b [u8],
    room: &'b mut FieldRoom<'b>,
    method: Method,
) -> Result<ResponseHead<'b>, HeadFault> {
    let mut parsed = httparse::Response::new(&mut []);
    let parse =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, &mut room.headers);
    match parse {
        Ok(Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(HeadFault::Malformed("the head does not end where its empty line is")),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadFault::TooLarge),
        Err(_) => return Err(HeadFault::Malformed("the backend's head is malformed")),
    }
    let minor = parsed.version.unwrap_or_default();
    let status = parsed.code.unwrap_or_default();
    if !(100..600).contains(&status) {
        return Err(HeadFault::Malformed("the backend's status is out of range"));
    }
    let mut head = ResponseHead {
        bytes,
        status,
        minor,
        phrase: parsed.reason.unwrap_or_default(),
        fields: parsed.headers,
        classes: &mut room.classes,
        framing: Framing::None,
        keep_alive: minor == 1,
    };
    if !super::lines_end_in_crlf(bytes, head.fields.len(), |at| head.line_start(at)) {
        return Err(HeadFault::Malformed("a line ends in LF without CR"));
    }
    head.framing = head.read_fields(method)?;
    Ok(head)
}

/// What an answer's framing depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// HEAD: the answer has no body, whatever its fields say.
    Head,
    /// Any other.
    Other,
}

impl Fields for ResponseHead<'_> {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let mut fields = self.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        let _ = fields.all(|field| visit(field.value));
    }
}

impl<'b> ResponseHead<'b> {
    /// RFC 9112 §6.3 for answers.
    fn read_fields(&mut self, method: Method) -> Result<Framing, HeadFault> {
        let (mut length, mut lengths, mut codings, mut chunked) = (None, 0, 0, false);
        let mut names_others = false;
        for (at, field) in self.fields.iter().enumerate() {
            let class = classify(field.name);
            self.classes[at] = class;
            match class {
                Class::ContentLength | Class::TransferEncoding if field.name.as_bytes().contains(&b'_') => {
                    // The client would not know it for what we took it for, and look for the body's end elsewhere.
                    return Err(HeadFault::Malformed(
                        "the backend spells a field that frames with an underscore",
                    ));
                }
                Class::ContentLength => {
                    lengths += 1;
                    length = decimal(field.value);
                }
                Class::TransferEncoding => {
                    codings += 1;
                    chunked = field.value.eq_ignore_ascii_case(b"chunked");
                }
                // What nearly all say that say anything.
                Class::Connection if field.value.eq_ignore_ascii_case(b"keep-alive") => {
                    self.keep_alive |= self.minor == 0;
                }
                Class::Connection => {
                    for option in list(field.value) {
                        if option.eq_ignore_ascii_case(b"close") {
                            self.keep_alive = false;
                        } else if option.eq_ignore_ascii_case(b"keep-alive") {
                            self.keep_alive |= self.minor == 0;
                        } else {
                            names_others = true;
                        }
                    }
                }
                _ => {}
            }
        }
        if names_others {
            self.drop_what_connection_names();
        }
        // RFC 9112 §6.1: the framing of such a message counts as faulty, and its connection ends with it.
        self.keep_alive &= self.minor == 1 || codings == 0;
        if lengths > 1 || (lengths == 1 && length.is_none()) {
            return Err(HeadFault::Malformed(
                "the backend's Content-Length is repeated or no number",
            ));
        }
        if codings > 1 || (codings == 1 && (!chunked || lengths > 0)) {
            return Err(HeadFault::Malformed(
                "the backend's Transfer-Encoding is not a single chunked",
            ));
        }
        let bodiless = method == Method::Head || self.status < 200 || self.status == 204 || self.status == 304;
        Ok(match (bodiless, chunked, length) {
            (true, _, _) => Framing::None,
            (false, true, _) => Framing::Chunked,
            (false, false, Some(0)) => Framing::None,
            (false, false, Some(length)) => Framing::Length(length),
            (false, false, None) => {
                self.keep_alive = false;
                Framing::UntilClose
            }
        })
    }

    fn drop_what_connection_names(&mut self) {
        let fields: &'b [Header<'b>] = self.fields;
        let named = fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("connection"));
        for option in named.flat_map(|field| list(field.value)) {
            for (class, field) in self.classes.iter_mut().zip(fields) {
                if *class == Class::Plain && field.name.as_bytes().eq_ignore_ascii_case(option) {
                    *class = Class::HopByHop;
                }
            }
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

    /// The first value of the field `name`, no line of which is passed on.
    pub fn withhold(&mut self, name: &str) -> Option<&'b [u8]> {
        let fields: &'b [Header<'b>] = self.fields;
        let mut first = None;
        for (class, field) in self.classes.iter_mut().zip(fields) {
            if field.name.eq_ignore_ascii_case(name) {
                *class = Class::HopByHop;
                first = first.or(Some(field.value));
            }
        }
        first
    }

    /// Where the lines of the fields begin; one more than there are fields, the last one the empty line.
    pub(super) fn line_start(&self, at: usize) -> usize {
        match self.fields.get(at) {
            Some(field) => offset(self.bytes, field.name.as_bytes()),
            None => self.bytes.len() - 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The framing of an answer to GET, and whether its connection can be used again.
    fn read(head: &str) -> Result<(Framing, bool), HeadFault> {
        parse_response(head.as_bytes(), &mut FieldRoom::new(), Method::Other)
            .map(|head| (head.framing, head.keep_alive))
    }

    #[test]
    fn fields_that_frame_are_known_by_their_right_name_alone() {
        for line in [
            "Content_Length: 5",
            "transfer_encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent_Length: 5",
        ] {
            let read = read(&format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n"));
            assert!(matches!(read, Err(HeadFault::Malformed(_))), "{line}: {read:?}");
        }
    }

    #[test]
    fn a_connection_ends_with_chunks_in_http_1_0() {
        let head = "200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(read(&format!("HTTP/1.0 {head}")), Ok((Framing::Chunked, false)));
        assert_eq!(read(&format!("HTTP/1.1 {head}")), Ok((Framing::Chunked, true)));
    }
}

//! Heads and trailers. A request becomes the text of HTTP/1.1 and is then read by the same strict parser as any other, so
//! that nothing malformed gets past by its version.

use super::frame::{HEADERS, write_frame_head};
use super::{Code, qpack};
use crate::field::{Class, classify};
use crate::h1::{HeadFault, HeadOut, ResponseHead, TRAILER_FIELDS_MAX, TRAILERS_MAX};
use crate::h2::{Follows, HeadError};

/// Why a section is no head, or no trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionFault {
    /// The connection ends with this.
    Connection(Code),
    /// It is malformed by the rules of HTTP/3 (RFC 9114 §4.1.2): the stream ends with MESSAGE_ERROR.
    Malformed(&'static str),
    /// It can be answered like one of HTTP/1.1.
    Head(HeadFault),
}

impl From<qpack::Fault> for SectionFault {
    fn from(fault: qpack::Fault) -> Self {
        match fault {
            qpack::Fault::Unreadable => SectionFault::Connection(Code::DECOMPRESSION_FAILED),
            qpack::Fault::TooLong => SectionFault::Head(HeadFault::TooLarge),
        }
    }
}

/// What a request's head asks for besides what its text says.
#[derive(Clone, Copy, Debug)]
pub struct HeadText {
    /// It is a CONNECT for a WebSocket (RFC 9220).
    pub is_websocket: bool,
    has_length: bool,
}

/// Writes the head whose section this is as HTTP/1.1 has it, up to where it says what follows it, in no more than `most`
/// bytes.
///
/// # Errors
/// See [`SectionFault`].
pub fn read_section(section: &[u8], out: &mut Vec<u8>, most: usize) -> Result<HeadText, SectionFault> {
    let mut text = Text {
        out,
        most,
        pseudo: Default::default(),
        begun: false,
        is_websocket: false,
        has_length: false,
        host: None,
        cookies: Vec::new(),
    };
    qpack::read(section, (&mut Vec::new(), most), |name, value| text.field(name, value))?;
    text.end()
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

/// The pseudo-header fields of a request (RFC 9114 §4.3.1, RFC 9220 §3).
#[derive(Clone, Copy)]
enum Pseudo {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
}

/// A head on its way to the text of HTTP/1.1.
struct Text<'o> {
    out: &'o mut Vec<u8>,
    most: usize,
    pseudo: [Option<Box<[u8]>>; 5],
    /// The request line is written: no pseudo-header field may follow.
    begun: bool,
    is_websocket: bool,
    has_length: bool,
    host: Option<Box<[u8]>>,
    /// RFC 9114 §4.2.1: they may come one by one, and are one field again for whoever reads HTTP/1.1.
    cookies: Vec<u8>,
}

impl Text<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), SectionFault> {
        check_value(value)?;
        // What is written later counts as well.
        if self.out.len() + self.cookies.len() + name.len() + value.len() > self.most {
            return Err(SectionFault::Head(HeadFault::TooLarge));
        }
        if let Some(pseudo) = name.strip_prefix(b":") {
            return self.pseudo(pseudo, value);
        }
        check_name(name)?;
        if !self.begun {
            self.begin()?;
        }
        match name {
            // §4.2
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
                return Err(SectionFault::Malformed(
                    "a field that concerns a connection of HTTP/1.1",
                ));
            }
            b"te" if !value.eq_ignore_ascii_case(b"trailers") => {
                return Err(SectionFault::Malformed("a TE other than trailers"));
            }
            b"host" if self.host.replace(value.into()).is_some() => {
                return Err(SectionFault::Head(HeadFault::Malformed(
                    "there has to be one Host field",
                )));
            }
            b"host" => {}
            b"cookie" => {
                if !self.cookies.is_empty() {
                    self.cookies.extend_from_slice(b"; ");
                }
                self.cookies.extend_from_slice(value);
            }
            b"sec-websocket-key" if self.is_websocket => {}
            _ => {
                self.has_length |= name == b"content-length";
                line(self.out, name, value);
            }
        }
        Ok(())
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), SectionFault> {
        if self.begun {
            return Err(SectionFault::Malformed("a pseudo-header field behind other fields"));
        }
        let pseudo = match name {
            b"method" => Pseudo::Method,
            b"scheme" => Pseudo::Scheme,
            b"authority" => Pseudo::Authority,
            b"path" => Pseudo::Path,
            b"protocol" => Pseudo::Protocol,
            _ => return Err(SectionFault::Malformed("an unknown pseudo-header field")),
        };
        if value.is_empty() || !value.iter().all(u8::is_ascii_graphic) {
            return Err(SectionFault::Malformed("an empty or unreadable pseudo-header field"));
        }
        if self.pseudo[pseudo as usize].replace(value.into()).is_some() {
            return Err(SectionFault::Malformed("a pseudo-header field that is repeated"));
        }
        Ok(())
    }

    /// Writes the request line.
    fn begin(&mut self) -> Result<(), SectionFault> {
        let [method, scheme, authority, path, protocol] = &self.pseudo;
        let method = method
            .as_deref()
            .ok_or(SectionFault::Malformed("there is no :method"))?;
        let method = match (method, protocol.as_deref()) {
            (b"CONNECT", Some(b"websocket")) if authority.is_some() => {
                self.is_websocket = true;
                b"GET"
            }
            (b"CONNECT", _) => {
                let says = "a CONNECT that is for no WebSocket, or the other way round";
                return Err(SectionFault::Head(HeadFault::Malformed(says)));
            }
            (_, Some(_)) => return Err(SectionFault::Malformed("a :protocol without CONNECT")),
            (method, None) => method,
        };
        let scheme = scheme
            .as_deref()
            .ok_or(SectionFault::Malformed("there is no :scheme"))?;
        if ![&b"https"[..], b"http"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
        {
            return Err(SectionFault::Malformed("the :scheme is neither https nor http"));
        }
        let path = path.as_deref().ok_or(SectionFault::Malformed("there is no :path"))?;
        let is_asterisk = path == b"*" && method == b"OPTIONS";
        if !path.starts_with(b"/") && !is_asterisk {
            return Err(SectionFault::Malformed("the :path does not begin with a slash"));
        }
        self.out.extend_from_slice(method);
        self.out.push(b' ');
        self.out.extend_from_slice(path);
        self.out.extend_from_slice(b" HTTP/1.1\r\n");
        self.begun = true;
        Ok(())
    }

    /// Writes what could not be written before all fields had come.
    fn end(mut self) -> Result<HeadText, SectionFault> {
        if !self.begun {
            self.begin()?;
        }
        let authority = self.pseudo[Pseudo::Authority as usize].take();
        if let (Some(authority), Some(host)) = (&authority, &self.host)
            && !authority.eq_ignore_ascii_case(host)
        {
            // §4.3.1
            return Err(SectionFault::Malformed("the :authority and the Host field differ"));
        }
        if let Some(name) = authority.or(self.host) {
            line(self.out, b"host", &name);
        }
        if !self.cookies.is_empty() {
            line(self.out, b"cookie", &self.cookies);
        }
        Ok(HeadText {
            is_websocket: self.is_websocket,
            has_length: self.has_length,
        })
    }
}

/// §4.2, §10.3: what could end a line, or be read as something else by whoever takes the text for HTTP/1.1.
fn check_value(value: &[u8]) -> Result<(), SectionFault> {
    if value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n')) {
        return Err(SectionFault::Malformed(
            "a field's value has a character that it may not have",
        ));
    }
    Ok(())
}

fn check_name(name: &[u8]) -> Result<(), SectionFault> {
    let is_fine = |byte: &u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && *byte != b':';
    if name.is_empty() || !name.iter().all(is_fine) {
        return Err(SectionFault::Malformed(
            "a field's name has a character that it may not have",
        ));
    }
    Ok(())
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The lines of a trailer section, as far as its fields may stand in one.
///
/// # Errors
/// See [`SectionFault`].
pub fn read_trailers(section: &[u8]) -> Result<Vec<u8>, SectionFault> {
    let (mut lines, mut fields) = (Vec::new(), 0);
    qpack::read(section, (&mut Vec::new(), TRAILERS_MAX), |name, value| {
        check_value(value)?;
        // §4.3: no pseudo-header fields here.
        check_name(name)?;
        fields += 1;
        if fields > TRAILER_FIELDS_MAX || lines.len() + name.len() + value.len() > TRAILERS_MAX {
            return Err(SectionFault::Head(HeadFault::TooLarge));
        }
        // check_name has seen that it is text.
        let name_text = std::str::from_utf8(name).unwrap_or_default();
        if classify(name_text).may_be_trailer() {
            line(&mut lines, name, value);
        }
        Ok(())
    })?;
    Ok(lines)
}

/// Writes an answer's head: without the fields that concern a connection (RFC 9114 §4.2), and dated.
///
/// # Errors
/// A field that cannot be told.
pub fn write_response(out: &mut Vec<u8>, head: &ResponseHead<'_>, to: &HeadOut<'_>) -> Result<(), HeadError> {
    framed(out, |out| {
        // RFC 9220 §3: what HTTP/1.1 says with 101 and an accepted key, HTTP/3 says with 200.
        let switched = head.status == 101;
        qpack::write_status(out, if switched { 200 } else { head.status });
        let may_frame = head.status >= 200 && head.status != 204;
        let mut dated = head.status < 200;
        for (field, class) in head.fields.iter().zip(&*head.classes) {
            match class {
                Class::Connection | Class::HopByHop | Class::Upgrade | Class::TransferEncoding => continue,
                Class::ContentLength if !may_frame => continue,
                Class::ContentLength => {}
                _ if to.edits.is_some_and(|(edits, _)| edits.removes(field.name)) => continue,
                Class::Date => dated = true,
                _ => {}
            }
            if switched && field.name.eq_ignore_ascii_case("sec-websocket-accept") {
                continue;
            }
            qpack::write_field(out, field.name.as_bytes(), field.value);
        }
        if !dated {
            qpack::write_field(out, b"date", to.date);
        }
        if let Some((edits, chosen)) = to.edits {
            for (name, value) in edits.added() {
                let mut whole = Vec::with_capacity(value.len());
                chosen.write(&mut whole, value);
                check_value(&whole).map_err(|_| HeadError)?;
                qpack::write_field(out, name.as_bytes(), &whole);
            }
        }
        Ok(())
    })
}

/// Writes the head of an answer of our own.
pub fn write_reply<'f>(out: &mut Vec<u8>, status: u16, fields: impl Iterator<Item = (&'f str, &'f [u8])>) {
    let written = framed(out, |out| {
        qpack::write_status(out, status);
        for (name, value) in fields.filter(|(_, value)| check_value(value).is_ok()) {
            qpack::write_field(out, name.as_bytes(), value);
        }
        Ok::<(), HeadError>(())
    });
    debug_assert!(written.is_ok(), "nothing in it can fail");
}

/// Writes trailer lines, which [`read_trailers`] or a chunked body's decoder has written.
pub fn write_trailers(out: &mut Vec<u8>, lines: &[u8]) {
    let written = framed(out, |out| {
        for line in lines.split(|byte| *byte == b'\n') {
            if let Some(colon) = line.iter().position(|byte| *byte == b':') {
                qpack::write_field(out, &line[..colon], line[colon + 1..].trim_ascii());
            }
        }
        Ok::<(), HeadError>(())
    });
    debug_assert!(written.is_ok(), "nothing in it can fail");
}

/// Writes a frame of a field section. What was written of one that cannot be told is taken back.
fn framed<E>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    qpack::begin(out);
    if let Err(error) = write(out) {
        out.truncate(start);
        return Err(error);
    }
    // Its length is known now, and goes in front.
    let length = out.len() - start;
    let mut head = Vec::with_capacity(10);
    write_frame_head(&mut head, HEADERS, length as u64);
    out.splice(start..start, head);
    Ok(())
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;

//! An HTTP check: a request is answered with one of the expected statuses, and with a body that holds what it should.

use plimsoll_http::h1::{BodyDecoder, FieldRoom, Framing, HeadScan, Method, Scanned, Step, parse_response};
use plimsoll_net::tls::Offer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::body::{BODY_MAX, Wanted};
use super::dial::Duplex;
use super::http2::Http2;
use super::{Probe, ProbeError, Probing, Way};
use crate::config::HttpCheck;

/// The longest head of an answer to a check, in bytes.
const HEAD_MAX: usize = 16 << 10;

/// Passes when a request is answered as expected.
pub(super) struct Http {
    check: HttpCheck,
    body: Option<Wanted>,
}

impl Http {
    /// A check as `check` has it.
    pub(super) fn new(check: &HttpCheck) -> Self {
        Http {
            check: check.clone(),
            body: check.expect_body.as_ref().map(Wanted::new),
        }
    }

    async fn ask(&self, way: &Way, stream: Box<dyn Duplex>) -> Result<(), ProbeError> {
        let mut answer = Answer {
            stream,
            bytes: Vec::with_capacity(1024),
        };
        answer.stream.write_all(&self.request(way)).await.map_err(failed)?;
        answer.stream.flush().await.map_err(failed)?;
        let (status, framing) = answer.head(self.check.method == "HEAD").await?;
        super::expect_status(status, &self.check.expect)?;
        match &self.body {
            None => Ok(()),
            Some(wanted) => answer.find(wanted, framing).await,
        }
    }

    fn request(&self, way: &Way) -> Vec<u8> {
        let HttpCheck {
            method,
            path,
            host,
            headers,
            ..
        } = &self.check;
        let host = host.clone().unwrap_or_else(|| way.to.to_string());
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in super::with_agent(headers) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        // RFC 9110 §8.6: a method that gives a body a meaning says when there is none.
        if matches!(method.as_str(), "POST" | "PUT" | "PATCH") {
            head.push_str("content-length: 0\r\n");
        }
        head.push_str("connection: close\r\n\r\n");
        head.into_bytes()
    }
}

impl Probe for Http {
    fn probe(&self, way: Way, _deadline: Instant) -> Probing<'_> {
        Box::pin(async move { self.ask(&way, way.dial(Offer::H1).await?.stream).await })
    }
}

/// The same, in the version of HTTP that the backend chooses.
pub(super) struct Either {
    h1: Http,
    h2: Http2,
}

impl Either {
    /// A check as `check` has it.
    pub(super) fn new(check: &HttpCheck) -> Self {
        Either {
            h1: Http::new(check),
            h2: Http2::new(check),
        }
    }
}

impl Probe for Either {
    fn probe(&self, way: Way, _deadline: Instant) -> Probing<'_> {
        Box::pin(async move {
            let dialled = way.dial(Offer::Either).await?;
            if dialled.h2 {
                self.h2.ask(&way, dialled.stream).await
            } else {
                self.h1.ask(&way, dialled.stream).await
            }
        })
    }
}

fn failed(error: impl std::fmt::Display) -> ProbeError {
    ProbeError::Protocol(error.to_string())
}

/// An answer as it arrives.
struct Answer {
    stream: Box<dyn Duplex>,
    /// What was read and not used.
    bytes: Vec<u8>,
}

impl Answer {
    /// The status and the framing of the first final answer.
    async fn head(&mut self, to_head: bool) -> Result<(u16, Framing), ProbeError> {
        let mut scan = HeadScan::default();
        loop {
            match scan.look(&self.bytes, HEAD_MAX, HEAD_MAX) {
                Ok(Scanned::Head(length)) => {
                    let method = if to_head { Method::Head } else { Method::Other };
                    let mut room = FieldRoom::new();
                    let head = parse_response(&self.bytes[..length], &mut room, method).map_err(failed)?;
                    let (status, framing) = (head.status, head.framing);
                    self.bytes.drain(..length);
                    if status >= 200 {
                        return Ok((status, framing));
                    }
                    scan = HeadScan::default();
                    continue;
                }
                Ok(Scanned::More) => {}
                Err(fault) => return Err(failed(fault)),
            }
            if self.read().await? == 0 {
                let says = "the connection was closed before an answer";
                return Err(ProbeError::Protocol(says.into()));
            }
        }
    }

    /// Reads the body until it holds what is wanted.
    async fn find(&mut self, wanted: &Wanted, framing: Framing) -> Result<(), ProbeError> {
        let mut decoder = BodyDecoder::new(framing);
        let (mut body, mut looked) = (Vec::new(), false);
        loop {
            let step = decoder.step(&self.bytes);
            match step.map_err(failed)? {
                Step::Skip(count) => {
                    self.bytes.drain(..count);
                }
                Step::Data(count) => {
                    let room = BODY_MAX - body.len();
                    body.extend(self.bytes.drain(..count).take(room));
                    decoder.used(count);
                    looked = false;
                    if body.len() == BODY_MAX {
                        return wanted.look(&body, true);
                    }
                }
                Step::End => return wanted.look(&body, true),
                Step::More => {
                    // An expression may end with the body's end, so that it has to be seen whole.
                    if !looked && wanted.look(&body, false).is_ok() {
                        return Ok(());
                    }
                    looked = true;
                    if self.read().await? == 0 {
                        return wanted.look(&body, true);
                    }
                }
            }
        }
    }

    async fn read(&mut self) -> Result<usize, ProbeError> {
        self.stream.read_buf(&mut self.bytes).await.map_err(failed)
    }
}

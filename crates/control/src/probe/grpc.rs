//! A check by gRPC: `grpc.health.v1.Health/Check`, the protocol that gRPC's own libraries serve
//! (github.com/grpc/grpc/blob/master/doc/health-checking.md), over HTTP/2.

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use plimsoll_net::tls::Offer;
use tokio::time::Instant;

use super::http2::{converse, failed};
use super::{Probe, ProbeError, Probing, Way};
use crate::config::GrpcCheck;

/// The longest message of an answer, in bytes: two are usual.
const MESSAGE_MAX: usize = 4 << 10;

/// The bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// gRPC's status of an answer that is well (github.com/grpc/grpc/blob/master/doc/statuscodes.md).
const OK: &[u8] = b"0";

/// `SERVING` of `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;

/// Passes when the health service says that a service is serving.
pub(super) struct Grpc {
    check: GrpcCheck,
}

impl Grpc {
    /// A check as `check` has it.
    pub(super) fn new(check: &GrpcCheck) -> Self {
        Grpc { check: check.clone() }
    }

    async fn exchange(&self, mut requests: SendRequest<Bytes>, way: &Way) -> Result<(), ProbeError> {
        let (answer, mut message) = requests.send_request(self.request(way)?, false).map_err(failed)?;
        message
            .send_data(request_message(&self.check.service), true)
            .map_err(failed)?;
        let (head, mut body) = answer.await.map_err(failed)?.into_parts();
        if head.status != http::StatusCode::OK {
            return Err(ProbeError::Status(head.status.as_u16()));
        }
        let kind = head
            .headers
            .get("content-type")
            .map_or(&b""[..], |kind| kind.as_bytes());
        if !kind.starts_with(b"application/grpc") {
            let kind = super::plain(kind);
            return Err(ProbeError::Unexpected(format!(
                "no gRPC: the content-type is \"{kind}\""
            )));
        }
        // An answer without a message may bring its status in the head ("Trailers-Only").
        self.check_status(&head.headers, false)?;
        let message = read(&mut body).await?;
        let trailers = body.trailers().await.map_err(failed)?.unwrap_or_default();
        self.check_status(&trailers, true)?;
        judge(&message)
    }

    fn request(&self, way: &Way) -> Result<Request<()>, ProbeError> {
        let host = self.check.host.clone().unwrap_or_else(|| way.to.to_string());
        let mut request = Request::post(format!("{}://{host}/grpc.health.v1.Health/Check", way.scheme()))
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        for (name, value) in super::with_agent(&self.check.headers) {
            request = request.header(name, value);
        }
        request.body(()).map_err(failed)
    }

    /// Whether the status in `fields`, which has to be there when they are the `last`, is well.
    fn check_status(&self, fields: &HeaderMap, last: bool) -> Result<(), ProbeError> {
        let Some(status) = fields.get("grpc-status") else {
            let says = "the answer has no gRPC status";
            return if last {
                Err(ProbeError::Unexpected(says.into()))
            } else {
                Ok(())
            };
        };
        let says = match status.as_bytes() {
            OK => return Ok(()),
            b"5" => format!("NOT_FOUND: its health service knows no \"{}\"", self.check.service),
            b"12" => "UNIMPLEMENTED: it has no health service".to_owned(),
            other => {
                let message = fields
                    .get("grpc-message")
                    .map(|message| super::plain(message.as_bytes()));
                let message = message.map(|message| format!(": {message}")).unwrap_or_default();
                format!("gRPC status {}{message}", super::plain(other))
            }
        };
        Err(ProbeError::Unexpected(says))
    }
}

impl Probe for Grpc {
    fn probe(&self, way: Way, _deadline: Instant) -> Probing<'_> {
        Box::pin(async move {
            let stream = way.dial(Offer::H2).await?.stream;
            converse(stream, |requests| self.exchange(requests, &way)).await
        })
    }
}

/// The whole body, if it is short.
async fn read(body: &mut RecvStream) -> Result<Vec<u8>, ProbeError> {
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(failed)?;
        if message.len() + piece.len() > PREFIX + MESSAGE_MAX {
            return Err(ProbeError::Unexpected("the answer is too long".into()));
        }
        message.extend_from_slice(&piece);
    }
    Ok(message)
}

/// `HealthCheckRequest { service }` with its prefix: field 1, which is left out when it is empty.
fn request_message(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 4);
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or_default());
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.append(&mut message);
    framed.into()
}

/// Whether a body is one message that says that the service is serving.
fn judge(body: &[u8]) -> Result<(), ProbeError> {
    let message = match body {
        [0, a, b, c, d, message @ ..] if u32::from_be_bytes([*a, *b, *c, *d]) as usize == message.len() => message,
        [1, ..] => return Err(ProbeError::Unexpected("the answer is compressed, unasked".into())),
        _ => return Err(ProbeError::Unexpected("the answer is not one gRPC message".into())),
    };
    let says = match serving_status(message) {
        Some(SERVING) => return Ok(()),
        Some(0) => "UNKNOWN".to_owned(),
        Some(2) => "NOT_SERVING".to_owned(),
        Some(3) => "SERVICE_UNKNOWN".to_owned(),
        Some(other) => format!("serving status {other}"),
        None => "the answer is no HealthCheckResponse".to_owned(),
    };
    Err(ProbeError::Unexpected(says))
}

/// Field 1 of a `HealthCheckResponse`: 0 when it is left out, the last one when it is there twice, as protobuf has it.
/// Fields that we do not know are passed over. `None` when it is malformed.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => {
                varint(&mut message)?;
            }
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// A number of seven bits a byte, the lowest first, of ten bytes at the most.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for at in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(7 * at)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(&request_message("")[..], b"\0\0\0\0\0");
        assert_eq!(&request_message("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = request_message(&"s".repeat(300));
        assert_eq!(&long[..8], b"\0\0\0\x01\x2f\x0a\xac\x02");
        assert_eq!(long.len(), 308);
    }

    #[test]
    fn only_serving_passes() {
        for (body, says) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], None),
            // Another field, one of each kind, before it.
            (
                b"\0\0\0\0\x17\x10\x07\x19........\x22\x01x\x2d....\x08\x02\x08\x01",
                None,
            ),
            (b"\0\0\0\0\0", Some("UNKNOWN")),
            (b"\0\0\0\0\x02\x08\x02", Some("NOT_SERVING")),
            (b"\0\0\0\0\x02\x08\x03", Some("SERVICE_UNKNOWN")),
            (b"\0\0\0\0\x03\x08\x80\x01", Some("serving status 128")),
            (b"\0\0\0\0\x01\x08", Some("the answer is no HealthCheckResponse")),
            (b"\0\0\0\0\x03\x12\x7fx", Some("the answer is no HealthCheckResponse")),
            (b"\0\0\0\0\x01\x0b", Some("the answer is no HealthCheckResponse")),
            (b"\x01\0\0\0\x02\x08\x01", Some("the answer is compressed, unasked")),
            (b"\0\0\0\0\x03\x08\x01", Some("the answer is not one gRPC message")),
            (b"", Some("the answer is not one gRPC message")),
        ] {
            let judged = judge(body).err().map(|error| error.to_string());
            assert_eq!(judged.as_deref(), says, "{body:?}");
        }
        assert_eq!(varint(&mut &[0xff; 11][..]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(body: Vec<u8>) {
            let _ = judge(&body);
            let _ = serving_status(&body);
        }
    }
}

//! Checks over HTTP/2: a stream is answered with one of the expected statuses, and with a body that
//! holds what it should.

use std::future::Future;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::Request;
use plimsoll_net::tls::Offer;
use tokio::time::Instant;

use super::body::{BODY_MAX, Wanted};
use super::dial::Duplex;
use super::{Probe, ProbeError, Probing, Way};
use crate::config::HttpCheck;

/// The largest head of an answer to a check, in bytes.
const HEAD_MAX: u32 = 16 << 10;

/// Passes when a request is answered as expected.
pub(super) struct Http2 {
    check: HttpCheck,
    body: Option<Wanted>,
}

impl Http2 {
    /// A check as `check` has it.
    pub(super) fn new(check: &HttpCheck) -> Self {
        Http2 {
            check: check.clone(),
            body: check.expect_body.as_ref().map(Wanted::new),
        }
    }

    /// Asks over a connection that was made this way.
    pub(super) async fn ask(&self, way: &Way, stream: Box<dyn Duplex>) -> Result<(), ProbeError> {
        converse(stream, move |requests| self.exchange(requests, way)).await
    }

    async fn exchange(&self, mut requests: SendRequest<Bytes>, way: &Way) -> Result<(), ProbeError> {
        let (answer, _) = requests.send_request(self.request(way)?, true).map_err(failed)?;
        let (head, body) = answer.await.map_err(failed)?.into_parts();
        super::expect_status(head.status.as_u16(), &self.check.expect)?;
        match &self.body {
            None => Ok(()),
            Some(wanted) => find(wanted, body).await,
        }
    }

    fn request(&self, way: &Way) -> Result<Request<()>, ProbeError> {
        let HttpCheck {
            method,
            path,
            host,
            headers,
            ..
        } = &self.check;
        let host = host.clone().unwrap_or_else(|| way.to.to_string());
        let mut request = Request::builder()
            .method(method.as_str())
            .uri(format!("{}://{host}{path}", way.scheme()));
        for (name, value) in super::with_agent(headers) {
            request = request.header(name, value);
        }
        request.body(()).map_err(failed)
    }
}

impl Probe for Http2 {
    fn probe(&self, way: Way, _deadline: Instant) -> Probing<'_> {
        Box::pin(async move { self.ask(&way, way.dial(Offer::H2).await?.stream).await })
    }
}

/// Has `exchange` go on over a connection of its own.
pub(super) async fn converse<F>(
    stream: Box<dyn Duplex>,
    exchange: impl FnOnce(SendRequest<Bytes>) -> F,
) -> Result<(), ProbeError>
where
    F: Future<Output = Result<(), ProbeError>>,
{
    let mut builder = Builder::new();
    builder.enable_push(false).max_header_list_size(HEAD_MAX);
    let (requests, connection) = builder.handshake::<_, Bytes>(stream).await.map_err(failed)?;
    let exchange = exchange(requests);
    tokio::pin!(exchange);
    let ended = tokio::select! {
        biased;
        result = &mut exchange => return result,
        ended = connection => ended,
    };
    // The answer may have come before the connection ended.
    match (exchange.await, ended) {
        (Err(ProbeError::Protocol(_)), Err(error)) => Err(failed(error)),
        (Err(ProbeError::Protocol(_)), Ok(())) => Err(failed("the connection was closed before an answer")),
        (result, _) => result,
    }
}

/// Reads the body until it holds what is wanted.
async fn find(wanted: &Wanted, mut body: RecvStream) -> Result<(), ProbeError> {
    let mut seen = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(failed)?;
        // When it fails the stream has ended, which the next piece tells.
        let _ = body.flow_control().release_capacity(piece.len());
        let room = BODY_MAX - seen.len();
        seen.extend_from_slice(&piece[..piece.len().min(room)]);
        if seen.len() == BODY_MAX {
            break;
        }
        if wanted.look(&seen, false).is_ok() {
            return Ok(());
        }
    }
    wanted.look(&seen, true)
}

pub(super) fn failed(error: impl std::fmt::Display) -> ProbeError {
    ProbeError::Protocol(format!("HTTP/2: {error}"))
}

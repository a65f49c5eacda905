//! An HTTP check over HTTP/2 (by prior knowledge): a stream is answered with one of the expected statuses.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::task::Poll;

use h2::client::{Builder, Connection, ResponseFuture};
use http::Request;
use tokio::net::TcpStream;

use super::{Probe, ProbeError, Probing};

/// The largest head of an answer to a check, in bytes.
const HEAD_MAX: u32 = 16 << 10;

/// Passes when `GET path` is answered with an expected status.
pub(super) struct Http2 {
    path: String,
    host: Option<String>,
    expect: Vec<RangeInclusive<u16>>,
}

impl Http2 {
    /// Asks for `path` under `host`, or under the backend's own address.
    pub(super) fn new(path: &str, host: Option<&str>, expect: &[RangeInclusive<u16>]) -> Self {
        Http2 {
            path: path.to_owned(),
            host: host.map(str::to_owned),
            expect: expect.to_vec(),
        }
    }

    async fn ask(&self, to: SocketAddr) -> Result<(), ProbeError> {
        let stream = TcpStream::connect(to).await?;
        let host = self.host.clone().unwrap_or_else(|| to.to_string());
        let agent = concat!("plimsoll/", env!("CARGO_PKG_VERSION"), " (health check)");
        let request = Request::get(format!("http://{host}{}", self.path))
            .header("user-agent", agent)
            .body(())
            .map_err(|error| ProbeError::Protocol(error.to_string()))?;
        let mut builder = Builder::new();
        builder.enable_push(false).max_header_list_size(HEAD_MAX);
        let (mut requests, connection) = builder
            .handshake::<_, &[u8]>(stream)
            .await
            .map_err(|error| failed(&error))?;
        let (answer, _) = requests.send_request(request, true).map_err(|error| failed(&error))?;
        let status = drive(connection, answer).await?;
        if self.expect.iter().any(|range| range.contains(&status)) {
            Ok(())
        } else {
            Err(ProbeError::Status(status))
        }
    }
}

impl Probe for Http2 {
    fn probe(&self, to: SocketAddr) -> Probing<'_> {
        Box::pin(self.ask(to))
    }
}

/// Drives the connection until the answer has come; its status.
async fn drive(
    mut connection: Connection<TcpStream, &'static [u8]>,
    answer: ResponseFuture,
) -> Result<u16, ProbeError> {
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(
                answer
                    .map(|answer| answer.status().as_u16())
                    .map_err(|error| failed(&error)),
            );
        }
        match ended {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(failed(&error))),
            Poll::Ready(Ok(())) => Poll::Ready(Err(ProbeError::Protocol(
                "the connection was closed before an answer".into(),
            ))),
        }
    })
    .await
}

fn failed(error: &h2::Error) -> ProbeError {
    ProbeError::Protocol(format!("HTTP/2: {error}"))
}

//! An HTTP check: a request is answered with one of the expected statuses.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use plimsoll_http::h1::{FieldRoom, HeadScan, Method, Scanned, parse_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Probe, ProbeError, Probing};

/// The longest head of an answer to a check, in bytes.
const HEAD_MAX: usize = 16 << 10;

/// Passes when `GET path` is answered with an expected status.
pub(super) struct Http {
    path: String,
    host: Option<String>,
    expect: Vec<RangeInclusive<u16>>,
}

impl Http {
    /// Asks for `path` under `host`, or under the backend's own address.
    pub(super) fn new(path: &str, host: Option<&str>, expect: &[RangeInclusive<u16>]) -> Self {
        Http {
            path: path.to_owned(),
            host: host.map(str::to_owned),
            expect: expect.to_vec(),
        }
    }

    async fn ask(&self, to: SocketAddr) -> Result<(), ProbeError> {
        let mut stream = TcpStream::connect(to).await?;
        let host = self.host.clone().unwrap_or_else(|| to.to_string());
        let version = env!("CARGO_PKG_VERSION");
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: {host}\r\nuser-agent: plimsoll/{version} (health check)\r\nconnection: close\r\n\r\n",
            self.path
        );
        let failed = |error: std::io::Error| ProbeError::Protocol(error.to_string());
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let status = read_status(&mut stream).await?;
        if self.expect.iter().any(|range| range.contains(&status)) {
            Ok(())
        } else {
            Err(ProbeError::Status(status))
        }
    }
}

impl Probe for Http {
    fn probe(&self, to: SocketAddr) -> Probing<'_> {
        Box::pin(self.ask(to))
    }
}

/// The status of the first final answer.
async fn read_status(stream: &mut TcpStream) -> Result<u16, ProbeError> {
    let mut bytes = Vec::with_capacity(1024);
    let mut scan = HeadScan::default();
    loop {
        match scan.look(&bytes, HEAD_MAX, HEAD_MAX) {
            Ok(Scanned::Head(length)) => {
                let mut room = FieldRoom::new();
                let status = parse_response(&bytes[..length], &mut room, Method::Other)
                    .map_err(|fault| ProbeError::Protocol(fault.to_string()))?
                    .status;
                if status >= 200 {
                    return Ok(status);
                }
                bytes.drain(..length);
                scan = HeadScan::default();
                continue;
            }
            Ok(Scanned::More) => {}
            Err(fault) => return Err(ProbeError::Protocol(fault.to_string())),
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) => {
                return Err(ProbeError::Protocol(
                    "the connection was closed before an answer".into(),
                ));
            }
            Ok(_) => {}
            Err(error) => return Err(ProbeError::Protocol(error.to_string())),
        }
    }
}

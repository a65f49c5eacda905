//! A check of a protocol that we do not know: some bytes are sent, and some have to come.

use plimsoll_net::tls::Offer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::{Probe, ProbeError, Probing, Way};

/// The bytes of an answer that are looked through.
const ANSWER_MAX: usize = 16 << 10;

/// Passes when what is expected comes, at the beginning or later, in one piece or in several.
pub(super) struct Bytes {
    send: Vec<u8>,
    expect: Vec<u8>,
}

impl Bytes {
    /// Sends `send`, if that is anything, and waits for `expect`.
    pub(super) fn new(send: &[u8], expect: &[u8]) -> Self {
        Bytes {
            send: send.to_vec(),
            expect: expect.to_vec(),
        }
    }

    async fn ask(&self, way: Way, deadline: Instant) -> Result<(), ProbeError> {
        let mut stream = way.dial(Offer::Bytes).await?.stream;
        let failed = |error: std::io::Error| ProbeError::Protocol(error.to_string());
        stream.write_all(&self.send).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let mut answer = Vec::with_capacity(1024);
        while answer.len() < ANSWER_MAX {
            let read = tokio::time::timeout_at(deadline, stream.read_buf(&mut answer)).await;
            match read {
                // What came says more than that something else did not.
                Err(_) if !answer.is_empty() => return Err(self.unexpected(&answer, "")),
                Err(_) => std::future::pending().await,
                Ok(Ok(0)) => return Err(self.unexpected(&answer, ", and then the end")),
                Ok(Ok(_)) if super::holds(&answer, &self.expect) => return Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(failed(error)),
            }
        }
        Err(self.unexpected(&answer, " in its first 16 KiB"))
    }

    fn unexpected(&self, answer: &[u8], then: &str) -> ProbeError {
        let (wanted, said) = (self.expect.escape_ascii(), super::excerpt(answer));
        ProbeError::Unexpected(format!("\"{wanted}\" is not in the answer, {said}{then}"))
    }
}

impl Probe for Bytes {
    fn probe(&self, way: Way, deadline: Instant) -> Probing<'_> {
        Box::pin(self.ask(way, deadline))
    }
}

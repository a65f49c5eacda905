//! Connections of checks: plain, or within TLS as connections to the backends are.

use std::net::SocketAddr;
use std::sync::Arc;

use plimsoll_core::pool::ProxyVersion;
use plimsoll_net::tls::{Offer, Origination};
use plimsoll_net::{Vouched, write_proxy_v1, write_proxy_v2};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ProbeError;

/// Whom a check asks.
#[derive(Clone)]
pub(crate) struct Way {
    /// Where.
    pub(crate) to: SocketAddr,
    /// Set where it is over TLS.
    pub(crate) tls: Option<Arc<Origination>>,
    /// The version of the PROXY protocol that is wanted there, before anything else.
    pub(crate) send_proxy: Option<ProxyVersion>,
}

/// What bytes are exchanged over.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection of a check.
pub(super) struct Dialled {
    pub(super) stream: Box<dyn Duplex>,
    /// Whether HTTP/2 was chosen within TLS.
    pub(super) h2: bool,
}

impl Way {
    /// What it begins with: that it speaks for nobody, where somebody wants to know.
    fn header(&self) -> Vec<u8> {
        let mut header = Vec::new();
        match self.send_proxy {
            None => {}
            Some(ProxyVersion::V1) => write_proxy_v1(&mut header, None),
            Some(ProxyVersion::V2) => write_proxy_v2(&mut header, None, Vouched::default()),
        }
        header
    }

    /// Where the URL of a request begins.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Connects, and speaks TLS where that is wanted. Nothing of an earlier connection is taken up: a certificate that has
    /// expired since is to be found out.
    pub(super) async fn dial(&self, offer: Offer) -> Result<Dialled, ProbeError> {
        let mut stream = TcpStream::connect(self.to).await?;
        // Or a message would wait until the one before it is acknowledged.
        let _ = stream.set_nodelay(true);
        stream.write_all(&self.header()).await?;
        let Some(tls) = &self.tls else {
            return Ok(Dialled {
                stream: Box::new(stream),
                h2: false,
            });
        };
        let failed = |error: &dyn std::fmt::Display| ProbeError::Tls(super::plain(error.to_string().as_bytes()));
        let connector = TlsConnector::from(tls.probing(offer));
        let stream = connector
            .connect(tls.name(self.to), stream)
            .await
            .map_err(|error| failed(&error))?;
        let h2 = offer
            .is_h2(stream.get_ref().1.alpn_protocol())
            .map_err(|fault| failed(&fault))?;
        Ok(Dialled {
            stream: Box::new(stream),
            h2,
        })
    }
}

//! The handshake of either side, and how it can fail.

use std::io;
use std::task::{Poll, ready};

use rustls::{AlertDescription, CertificateError, Error, HandshakeKind, PeerIncompatible, ProtocolVersion};

use super::authorities::Untimely;
use super::session::Session;

/// Versions of TLS that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Version {
    /// As it stands in the access log.
    pub const fn word(self) -> &'static str {
        match self {
            Version::Tls12 => "1.2",
            Version::Tls13 => "1.3",
        }
    }
}

/// What a handshake has agreed on.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// The version.
    pub version: Version,
    /// The name that the client asked for, in lower case (RFC 6066 §3).
    pub name: Option<Box<str>>,
    /// The protocol that was chosen by ALPN (RFC 7301), when the client offered any.
    pub protocol: Option<Vec<u8>>,
    /// Whether an earlier handshake's keys were taken up.
    pub resumed: bool,
    /// The certificate that the peer has shown, in DER.
    pub peer_certificate: Option<Vec<u8>>,
}

/// Why there is no TLS with the peer.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeFault {
    /// It closed the connection, or that broke.
    #[error("the connection ended during the handshake")]
    Closed,
    /// What it said, or what it is.
    #[error("{0}")]
    Tls(Error),
    /// It spoke too long before it came to the point.
    #[error("a message of the handshake is too long")]
    TooLong,
    /// It chose none of the protocols that it was offered.
    #[error("it does not choose the protocol that it was offered (ALPN)")]
    NoProtocol,
}

impl HandshakeFault {
    /// A stable word for what was wrong.
    pub fn cause(&self) -> &'static str {
        match self {
            HandshakeFault::Closed => "closed",
            HandshakeFault::TooLong => "malformed",
            HandshakeFault::NoProtocol => "no_shared_protocol",
            HandshakeFault::Tls(error) => cause(error),
        }
    }
}

fn cause(error: &Error) -> &'static str {
    match error {
        Error::NoCertificatesPresented => "no_certificate",
        Error::NoApplicationProtocol => "no_shared_protocol",
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired_certificate",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "early_certificate",
            CertificateError::Revoked => "revoked_certificate",
            CertificateError::UnknownRevocationStatus => "unknown_revocation",
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
                "expired_revocation"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "unsupported_certificate"
            }
            CertificateError::Other(other) => match other.0.downcast_ref::<Untimely>() {
                Some(Untimely::Over) => "expired_authority",
                Some(Untimely::Early) => "early_authority",
                None => "bad_certificate",
            },
            CertificateError::UnknownIssuer => "unknown_ca",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "wrong_name",
            _ => "bad_certificate",
        },
        Error::PeerIncompatible(incompatible) => match incompatible {
            PeerIncompatible::NoCipherSuitesInCommon => "no_shared_cipher",
            PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NamedGroupsExtensionRequired
            | PeerIncompatible::KeyShareExtensionRequired => "no_shared_group",
            PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => "no_shared_signature",
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled => "no_shared_version",
            _ => "malformed",
        },
        // Its opinion of our certificate, or of us.
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => "peer_unknown_ca",
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate => "peer_bad_certificate",
            AlertDescription::CertificateRequired => "peer_wants_certificate",
            AlertDescription::ProtocolVersion => "no_shared_version",
            AlertDescription::NoApplicationProtocol => "no_shared_protocol",
            AlertDescription::UserCanceled | AlertDescription::CloseNotify => "closed",
            _ => "peer_alert",
        },
        Error::General(_) => "internal",
        _ => "malformed",
    }
}

/// What a peer does not like of us that says so only after our handshake is over, as TLS 1.3 has it: it has taken nothing
/// of what we have said since. `None` when it is something else that has ended the connection.
pub fn refusal(error: &io::Error) -> Option<&'static str> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        error @ Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied,
        ) => Some(cause(error)),
        _ => None,
    }
}

impl Session {
    /// Takes the handshake to its end.
    pub(crate) fn poll_handshake(
        &mut self,
        read: &mut dyn FnMut(&mut [u8]) -> Poll<io::Result<usize>>,
        write: &mut dyn FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<Result<Agreed, HandshakeFault>> {
        loop {
            let done = match self.shake() {
                Ok(done) => done,
                Err(error) => {
                    // What the peer is told is worth a try; whether it hears it changes nothing.
                    let _ = self.poll_flush(write);
                    return Poll::Ready(Err(HandshakeFault::Tls(error)));
                }
            };
            let flushed = ready!(self.poll_flush(write));
            // A peer that goes at once may not take our last words, and has agreed all the same.
            if done {
                self.rest();
                return Poll::Ready(Ok(self.agreed()));
            }
            if flushed.is_err() || self.has_ended() {
                return Poll::Ready(Err(HandshakeFault::Closed));
            }
            if let Err(error) = ready!(self.poll_more(read)) {
                let too_long = error.kind() == io::ErrorKind::InvalidData;
                let fault = if too_long {
                    HandshakeFault::TooLong
                } else {
                    HandshakeFault::Closed
                };
                return Poll::Ready(Err(fault));
            }
        }
    }

    fn agreed(&mut self) -> Agreed {
        let asked = self.asked.take();
        let state = self.state();
        Agreed {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
                _ => Version::Tls12,
            },
            name: asked.and_then(|asked| asked.name),
            protocol: state.alpn_protocol().map(<[u8]>::to_vec),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            peer_certificate: (state.peer_certificates())
                .and_then(<[_]>::first)
                .map(|certificate| certificate.as_ref().to_vec()),
        }
    }
}

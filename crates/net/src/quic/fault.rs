//! What a handshake within QUIC failed for.

use quinn::{ConnectionError, TransportErrorCode};

/// A stable word for it, as [`HandshakeFault::cause`](crate::tls::HandshakeFault::cause) has them for TCP. All that is
/// known is the alert that was sent, by us or by the peer (RFC 9001 §4.8, RFC 8446 §6.2).
pub fn quic_cause(error: &ConnectionError) -> &'static str {
    match error {
        ConnectionError::TransportError(error) => alert(error.code).map_or("malformed", ours),
        ConnectionError::ConnectionClosed(close) => alert(close.error_code).map_or("closed", theirs),
        ConnectionError::TimedOut => "timeout",
        ConnectionError::VersionMismatch => "no_shared_version",
        ConnectionError::CidsExhausted => "internal",
        ConnectionError::ApplicationClosed(_) | ConnectionError::Reset | ConnectionError::LocallyClosed => "closed",
    }
}

/// The alert that a code of QUIC stands for.
fn alert(code: TransportErrorCode) -> Option<u8> {
    u64::from(code)
        .checked_sub(0x100)
        .and_then(|alert| u8::try_from(alert).ok())
}

/// What we have found.
fn ours(alert: u8) -> &'static str {
    match alert {
        116 => "no_certificate",
        48 => "unknown_ca",
        45 => "expired_certificate",
        44 => "revoked_certificate",
        42 | 43 | 46 | 51 => "bad_certificate",
        40 => "no_shared_cipher",
        70 => "no_shared_version",
        120 => "no_shared_protocol",
        80 => "internal",
        _ => "malformed",
    }
}

/// The peer's opinion of our certificate, or of us.
fn theirs(alert: u8) -> &'static str {
    match alert {
        48 => "peer_unknown_ca",
        42..=46 => "peer_bad_certificate",
        116 => "peer_wants_certificate",
        70 => "no_shared_version",
        120 => "no_shared_protocol",
        0 | 90 => "closed",
        _ => "peer_alert",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_told_apart_from_other_errors() {
        assert_eq!(alert(TransportErrorCode::crypto(48)).map(ours), Some("unknown_ca"));
        assert_eq!(alert(TransportErrorCode::crypto(0)).map(theirs), Some("closed"));
        assert_eq!(alert(TransportErrorCode::FLOW_CONTROL_ERROR), None);
        assert_eq!(quic_cause(&ConnectionError::TimedOut), "timeout");
    }
}

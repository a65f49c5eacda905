//! What a client's hello has asked for, as far as rustls tells nobody but who chooses the certificate, and what is to be
//! made of its errors for that reason.

use std::cell::RefCell;

use rustls::{Error, PeerIncompatible};

thread_local! {
    /// What the handshake asks for that this thread is in the middle of.
    static ASKED: RefCell<Option<Asked>> = const { RefCell::new(None) };
}

/// What was asked for.
pub(super) struct Asked {
    /// The name, in lower case.
    pub(super) name: Option<Box<str>>,
    /// Whether it knows a suite of ours.
    pub(super) shares_suite: bool,
}

impl Asked {
    /// Notes it for who drives the handshake.
    pub(super) fn note(self) {
        ASKED.set(Some(self));
    }

    /// What the last step of a handshake on this thread has noted.
    pub(super) fn take() -> Option<Asked> {
        ASKED.take()
    }
}

/// The alert of RFC 8446 §6.2 for a version that is not spoken.
const PROTOCOL_VERSION: u8 = 70;

/// Whether a hello begins here whose client speaks nothing newer than TLS 1.1. Whoever sends the first eleven bytes of
/// one in several records is not looked at.
pub(super) fn is_old(hello: &[u8]) -> bool {
    // A record with a handshake's message, which is a ClientHello, with the version at its front (RFC 5246 §7.4.1.2).
    matches!(hello, [22, 3, _, _, _, 1, _, _, _, 3, version, ..] if *version < 3)
}

/// The error that says what is the matter, where rustls looks at something else first; the alert in `out` goes with it.
pub(super) fn correct(error: Error, asked: Option<&Asked>, is_old: bool, out: &mut [u8]) -> Error {
    match error {
        // What signs is asked for since TLS 1.2.
        Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired) if is_old => {
            if let [21, 3, _, 0, 2, 2, alert] = out {
                *alert = PROTOCOL_VERSION;
            }
            PeerIncompatible::Tls12NotOffered.into()
        }
        // Whoever knows no suite with ephemeral keys names no groups.
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon)
            if asked.is_some_and(|asked| !asked.shares_suite) =>
        {
            PeerIncompatible::NoCipherSuitesInCommon.into()
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_of_tls_1_1_is_told_from_one_of_1_2() {
        let mut hello = *b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x02";
        assert!(is_old(&hello));
        hello[10] = 3;
        assert!(!is_old(&hello) && !is_old(&hello[..10]) && !is_old(b""));
    }

    #[test]
    fn the_alert_says_what_the_error_says() {
        let wrong = || PeerIncompatible::SignatureAlgorithmsExtensionRequired.into();
        let mut alert = *b"\x15\x03\x03\x00\x02\x02\x28";
        assert_eq!(
            correct(wrong(), None, true, &mut alert),
            PeerIncompatible::Tls12NotOffered.into()
        );
        assert_eq!(alert[6], PROTOCOL_VERSION);
        assert_eq!(correct(wrong(), None, false, &mut []), wrong());
    }
}

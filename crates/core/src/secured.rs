//! What is known of a client's TLS.

/// What a client's handshake has told, for whoever writes it somewhere. What it did not tell is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secured {
    /// The name that the client asked for, in lower case (RFC 6066 §3).
    pub sni: String,
    /// The subject of the client's certificate, as RFC 4514 writes it.
    pub subject: String,
    /// SHA-256 of the client's certificate, in hexadecimal.
    pub fingerprint: String,
}

impl Secured {
    /// The name that was asked for.
    pub fn sni_of(tls: Option<&Secured>) -> &str {
        tls.map_or("", |tls| &tls.sni)
    }

    /// The subject of the client's certificate.
    pub fn subject_of(tls: Option<&Secured>) -> &str {
        tls.map_or("", |tls| &tls.subject)
    }

    /// The fingerprint of the client's certificate.
    pub fn fingerprint_of(tls: Option<&Secured>) -> &str {
        tls.map_or("", |tls| &tls.fingerprint)
    }
}

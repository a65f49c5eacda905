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
    /// Who vouches for the client, as RFC 4514 writes it.
    pub issuer: String,
    /// Its alternative names (RFC 5280 §4.2.1.6): hosts in lower case, addresses, mail addresses, URIs.
    pub names: Vec<String>,
}

/// What of a client's certificate a route may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificatePart {
    /// Whose it is.
    Subject,
    /// Who vouches for it.
    Issuer,
    /// Any of its alternative names.
    Name,
    /// SHA-256 of the whole, in hexadecimal.
    Fingerprint,
}

impl CertificatePart {
    /// As users write it.
    pub const fn word(self) -> &'static str {
        match self {
            CertificatePart::Subject => "subject",
            CertificatePart::Issuer => "issuer",
            CertificatePart::Name => "san",
            CertificatePart::Fingerprint => "fingerprint",
        }
    }
}

impl Secured {
    /// The values of a part of the client's certificate, until `visit` returns false; none when it showed no certificate.
    pub fn each_of(&self, part: CertificatePart, mut visit: impl FnMut(&str) -> bool) {
        if self.fingerprint.is_empty() {
            return;
        }
        match part {
            CertificatePart::Subject => drop(visit(&self.subject)),
            CertificatePart::Issuer => drop(visit(&self.issuer)),
            CertificatePart::Name => drop(self.names.iter().all(|name| visit(name))),
            CertificatePart::Fingerprint => drop(visit(&self.fingerprint)),
        }
    }

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

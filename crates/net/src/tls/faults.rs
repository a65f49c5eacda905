//! Words for files of certificates and keys that cannot be used: what they are instead, and what to do about it.

use rustls::pki_types::pem;
use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Encode};

/// What is looked for in a file in PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Certificates,
    Key,
}

impl Wanted {
    fn none(self) -> &'static str {
        match self {
            Wanted::Certificates => "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)",
            Wanted::Key => "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)",
        }
    }

    /// What makes PEM of DER.
    fn command(self) -> &'static str {
        match self {
            Wanted::Certificates => "openssl x509 -inform DER",
            Wanted::Key => "openssl pkey -inform DER",
        }
    }
}

const ENCRYPTED: &str = "holds a key that is encrypted, and nobody here knows with what: \
                         openssl pkey -in OLD -out NEW makes one that is not";

/// What is wrong with `text`, of which `error` says that it is no PEM.
pub(super) fn no_pem(text: &[u8], error: &pem::Error) -> String {
    let label = |marker: &[u8]| String::from_utf8_lossy(marker).escape_debug().to_string();
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("breaks off: -----END {}----- is missing", label(end_marker))
        }
        pem::Error::IllegalSectionStart { line } => format!("is no PEM: no section begins with \"{}\"", label(line)),
        // RFC 1421 §4.6.1.1, as OpenSSL still writes it.
        pem::Error::Base64Decode(_) if holds(text, b"Proc-Type: 4,ENCRYPTED") => ENCRYPTED.into(),
        pem::Error::Base64Decode(_) => "is no PEM: between its BEGIN and END stands what is no base64".into(),
        error => format!("is no PEM: {error}"),
    }
}

/// What is wrong with `text`, in which nothing is that is wanted.
pub(super) fn nothing(text: &[u8], wanted: Wanted) -> String {
    let none = wanted.none();
    // RFC 7292 §4: a sequence that begins with the version 3.
    let is_pkcs12 = matches!(text, [0x30, 0x82, _, _, 2, 1, 3, ..]);
    if text.starts_with(b"\xef\xbb\xbf") {
        format!("{none}: it begins with a byte order mark, which has to go")
    } else if is_pkcs12 {
        format!("{none}: it is PKCS#12; openssl pkcs12 -nodes -in OLD -out NEW makes PEM of it")
    } else if text.first() == Some(&0x30) {
        format!(
            "{none}: it is DER; {} -in OLD -out NEW makes PEM of it",
            wanted.command()
        )
    } else if wanted == Wanted::Key && holds(text, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        ENCRYPTED.into()
    } else {
        match first_label(text) {
            Some(label) => format!("{none}; it begins with -----BEGIN {label}-----"),
            None => none.into(),
        }
    }
}

fn holds(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|part| part == what)
}

fn first_label(text: &[u8]) -> Option<String> {
    let lines = text.split(|byte| *byte == b'\n');
    let label = |line: &[u8]| {
        let line = line.strip_prefix(b"-----BEGIN ")?;
        let line = line.trim_ascii_end().strip_suffix(b"-----")?;
        Some(String::from_utf8_lossy(line).escape_debug().to_string())
    };
    lines.filter_map(label).next()
}

const USABLE: &str = "RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 and P-521, and Ed25519 can";

/// What is wrong with a key that cannot be used for a certificate in DER.
pub(super) fn unusable_key(certificate: &[u8]) -> String {
    match Certificate::from_der(certificate).ok().and_then(|found| kind(&found)) {
        Some(kind) => format!("holds a key that cannot be used, {kind}: {USABLE}"),
        None => format!("holds a key that cannot be used: {USABLE}"),
    }
}

/// The kind of the certificate's key.
fn kind(certificate: &Certificate) -> Option<String> {
    const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    let key = certificate.tbs_certificate().subject_public_key_info();
    let oid = key.algorithm.oid;
    if oid == RSA {
        // A sequence that begins with the modulus (RFC 8017 §A.1.1).
        let sequence = AnyRef::from_der(key.subject_public_key.as_bytes()?).ok()?;
        let modulus = UintRef::from_der_partial(sequence.value()).ok()?.0;
        let bytes = modulus.as_bytes();
        let zeros = bytes.first().map_or(0, |byte| byte.leading_zeros() as usize);
        return Some(format!("RSA of {} bits", bytes.len() * 8 - zeros));
    }
    if oid == EC {
        let curve = key.algorithm.parameters.as_ref()?.to_der().ok()?;
        let curve: ObjectIdentifier = ObjectIdentifier::from_der(&curve).ok()?;
        return Some(match curve.to_string().as_str() {
            "1.3.132.0.10" => "ECDSA on secp256k1".into(),
            other => format!("ECDSA on the curve {other}"),
        });
    }
    Some(match oid.to_string().as_str() {
        "1.3.101.113" => "Ed448".into(),
        "1.2.840.10040.4.1" => "DSA".into(),
        other => format!("of the kind {other}"),
    })
}

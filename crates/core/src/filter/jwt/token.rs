//! Tokens as they are written: JWS in the compact form (RFC 7515 §7.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The longest token that is looked at, in bytes.
pub(super) const TOKEN_MAX: usize = 12 << 10;

/// The longest name of a key.
const KID_MAX: usize = 256;

/// A token whose signature nobody has looked at.
#[derive(Debug, PartialEq)]
pub(super) struct Token<'t> {
    /// What its header says how it is signed. Nothing is done because of it that the configuration does not name.
    pub(super) algorithm: String,
    /// Which key it says that it is signed with.
    pub(super) kid: Option<String>,
    /// What is signed: header and claims, as they are written.
    pub(super) signed: &'t [u8],
    /// The claims as they are written.
    payload: &'t [u8],
    /// The signature.
    pub(super) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Reads a token; `None` when it is none.
    pub(super) fn read(bytes: &'t [u8]) -> Option<Self> {
        if bytes.len() > TOKEN_MAX {
            return None;
        }
        let mut parts = bytes.split(|byte| *byte == b'.');
        let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let fields = object(header)?;
        // RFC 7515 §4.1.11: whoever does not understand what is critical refuses it, and we understand nothing more.
        if fields.contains_key("crit") {
            return None;
        }
        let kid = match fields.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= KID_MAX => Some(kid.clone()),
            Some(_) => return None,
        };
        Some(Token {
            algorithm: fields.get("alg")?.as_str()?.to_owned(),
            kid,
            signed: &bytes[..header.len() + 1 + payload.len()],
            payload,
            signature: decoded(signature)?,
        })
    }

    /// The claims. They mean nothing as long as the signature was not found to be right.
    pub(super) fn claims(&self) -> Option<Map<String, Value>> {
        object(self.payload)
    }
}

fn object(encoded: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(&decoded(encoded)?).ok()
}

/// RFC 7515 §2: base64url without padding; one spelling for one value.
pub(super) fn decoded(encoded: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(encoded).ok()
}

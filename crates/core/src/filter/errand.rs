//! What filters need to have done, as data: whoever runs them does it and comes back with how it went.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::jwt::Key;
use crate::words;

/// What a filter needs to have done, and cannot do itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Errand {
    /// Time is to pass.
    Wait(Duration),
    /// A password is to be held against its hash.
    Password(Password),
    /// A service is to be asked about the request.
    Ask(Ask),
    /// A signature is to be checked.
    Signature(Signature),
}

/// How an errand went.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// The time has passed.
    Waited,
    /// Somebody only asks what would be: nothing was done, and all is taken to be as it should.
    Assumed,
    /// Whether the password is the one that was hashed; `None` when too many others wait for that to be known.
    Password(Option<bool>),
    /// What the service answered; `None` when it did not, or not in time.
    Asked(Option<Answered>),
    /// What became of a signature.
    Signature {
        /// Whether one of the keys has made it.
        right: bool,
        /// What time it is, in seconds since 1970.
        at: u64,
    },
}

/// A password, and what it is held against.
#[derive(Clone, Debug, PartialEq)]
pub struct Password {
    /// What was shown.
    pub shown: Secret,
    /// The hash, as its file has it.
    pub hash: Arc<str>,
    /// Who shows it: one client does not keep all others waiting.
    pub client: IpAddr,
}

/// A question about a request, to an authentication service. Whoever asks it adds who the client is.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Where the service is.
    pub to: SocketAddr,
    /// Its `Host`.
    pub host: String,
    /// Its path and query.
    pub target: String,
    /// The method that the client asks with.
    pub method: String,
    /// The canonical path and the query that it asks for.
    pub uri: String,
    /// The only fields of the request that are sent along, in lower case; all of them when `None`.
    pub only: Option<Arc<[String]>>,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// What a service answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Its fields, in their order and case.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Its body, without any framing; empty when the request goes on.
    pub body: Vec<u8>,
}

impl Default for Answered {
    /// It agrees.
    fn default() -> Self {
        Answered {
            status: 200,
            fields: Vec::new(),
            body: Vec::new(),
        }
    }
}

/// A signature, and the keys of which one may have made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// How it is made.
    pub algorithm: Algorithm,
    /// Keys that fit the algorithm.
    pub keys: Vec<Arc<Key>>,
    /// What is signed.
    pub signed: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

words! {
    /// How a token is signed (RFC 7518 §3.1, RFC 8037).
    pub enum Algorithm {
        /// RSA, PKCS #1 v1.5, with SHA-256.
        Rs256 = "RS256",
        /// With SHA-384.
        Rs384 = "RS384",
        /// With SHA-512.
        Rs512 = "RS512",
        /// RSA, PSS, with SHA-256.
        Ps256 = "PS256",
        /// With SHA-384.
        Ps384 = "PS384",
        /// With SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384.
        Es384 = "ES384",
        /// Ed25519.
        EdDsa = "EdDSA",
        /// HMAC with SHA-256: who can check can sign.
        Hs256 = "HS256",
        /// With SHA-384.
        Hs384 = "HS384",
        /// With SHA-512.
        Hs512 = "HS512",
    }
}

impl Algorithm {
    /// Whether both sides have the same secret.
    pub fn is_shared(self) -> bool {
        matches!(self, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512)
    }
}

/// What is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

impl Errand {
    /// What is done, in words for whoever asks.
    pub(super) fn told(&self) -> String {
        match self {
            Errand::Wait(span) => format!("waits for {} ms", span.as_millis()),
            Errand::Password(_) => "has the password held against its hash".to_owned(),
            Errand::Ask(ask) => {
                let path = ask.target.split('?').next().unwrap_or_default();
                format!("asks http://{}{path}", ask.host)
            }
            Errand::Signature(signature) => format!("has the {} signature checked", signature.algorithm.word()),
        }
    }
}

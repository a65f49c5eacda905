//! Keys that signatures are held against: JWK sets (RFC 7517) and shared secrets.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::errand::{Algorithm, Secret};
use super::super::held::{Contents, Wrong};
use super::token::decoded;

/// The most keys of one set: identity providers have two or three, and a few more while they are rotated.
const KEYS_MAX: usize = 100;

/// RSA keys in bits: fewer are too weak (RFC 7518 §3.3), and more cost too much to check.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The shortest secret in bytes (RFC 7518 §3.2, for HS256).
const SECRET_BYTES_MIN: usize = 32;

/// A key.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// RSA: modulus and exponent, without leading zeros.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// A point on P-256, uncompressed (SEC 1 §2.3.3).
    P256(Vec<u8>),
    /// A point on P-384.
    P384(Vec<u8>),
    /// A key of Ed25519 (RFC 8032).
    Ed25519(Vec<u8>),
    /// A secret that both sides have.
    Secret(Secret),
}

impl Key {
    /// Whether `algorithm` signs with such keys: a key never serves an algorithm of another family, whatever a token
    /// says (RFC 8725 §3.1).
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Key::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Key::P256(_) => algorithm == Es256,
            Key::P384(_) => algorithm == Es384,
            Key::Ed25519(_) => algorithm == EdDsa,
            Key::Secret(_) => matches!(algorithm, Hs256 | Hs384 | Hs512),
        }
    }
}

/// A key of a set.
struct Named {
    kid: Option<String>,
    algorithm: Option<String>,
    key: Arc<Key>,
}

/// The keys of a JWK set.
pub(super) struct KeySet(Vec<Named>);

impl KeySet {
    /// The keys that may have made a token's signature: those called as it says, or all when it says nothing.
    pub(super) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Vec<Arc<Key>> {
        let called = |named: &&Named| match (kid, &named.kid) {
            (Some(wanted), Some(known)) => wanted == known,
            // A set whose keys have no names has one that is meant.
            _ => true,
        };
        let fits = |named: &&Named| {
            let own = named.algorithm.as_deref();
            named.key.fits(algorithm) && own.is_none_or(|own| own == algorithm.word())
        };
        let found = self.0.iter().filter(called).filter(fits);
        found.map(|named| named.key.clone()).collect()
    }
}

impl Contents for KeySet {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let set: Value = serde_json::from_str(text).map_err(|error| Wrong {
            line: Some(error.line()),
            message: "is no JSON".into(),
        })?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or_else(|| Wrong::whole("is no JWK set: it has no list `keys`"))?;
        if keys.len() > KEYS_MAX {
            return Err(Wrong::whole(format!("holds more than {KEYS_MAX} keys")));
        }
        // RFC 7517 §5: keys that we cannot use are somebody else's.
        let usable: Vec<Named> = keys.iter().filter_map(|key| named(key.as_object()?)).collect();
        if usable.is_empty() {
            return Err(Wrong::whole(
                "holds no key that can be used: RSA of 2048 bits or more, P-256, P-384 or Ed25519",
            ));
        }
        Ok(KeySet(usable))
    }

    fn entries(&self) -> usize {
        self.0.len()
    }
}

fn named(jwk: &Map<String, Value>) -> Option<Named> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let signs = text("use").is_none_or(|usage| usage == "sig");
    let verifies = jwk.get("key_ops").and_then(Value::as_array);
    let verifies = verifies.is_none_or(|operations| operations.iter().any(|one| one == "verify"));
    if !signs || !verifies {
        return None;
    }
    Some(Named {
        kid: text("kid").map(str::to_owned),
        algorithm: text("alg").map(str::to_owned),
        key: Arc::new(key(jwk)?),
    })
}

fn key(jwk: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| decoded(text(name)?.as_bytes());
    match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let trimmed = |name: &str| Some(bytes(name)?.into_iter().skip_while(|byte| *byte == 0).collect());
            let (n, e): (Vec<u8>, Vec<u8>) = (trimmed("n")?, trimmed("e")?);
            let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
            (RSA_BITS.contains(&bits) && (1..=8).contains(&e.len())).then_some(Key::Rsa { n, e })
        }
        ("EC", Some("P-256")) => point(&bytes("x")?, &bytes("y")?, 32).map(Key::P256),
        ("EC", Some("P-384")) => point(&bytes("x")?, &bytes("y")?, 48).map(Key::P384),
        ("OKP", Some("Ed25519")) => bytes("x").filter(|x| x.len() == 32).map(Key::Ed25519),
        // A secret in a set would be a public key for an algorithm that has none.
        _ => None,
    }
}

fn point(x: &[u8], y: &[u8], size: usize) -> Option<Vec<u8>> {
    (x.len() == size && y.len() == size).then(|| [&[4], x, y].concat())
}

/// A secret from a file.
pub(super) struct SharedSecret(pub(super) Arc<Key>);

impl Contents for SharedSecret {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.len() < SECRET_BYTES_MIN {
            return Err(Wrong::whole(format!(
                "holds a secret of less than {SECRET_BYTES_MIN} bytes; make one with `openssl rand -hex 32`"
            )));
        }
        Ok(SharedSecret(Arc::new(Key::Secret(Secret(secret.into())))))
    }

    fn entries(&self) -> usize {
        1
    }
}

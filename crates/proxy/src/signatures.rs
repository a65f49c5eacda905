//! Signatures of tokens. Checking one takes less than a hash of a password by far: the worker does it itself.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use plimsoll_core::filter::{Algorithm, Key, Signature};

/// Whether one of the keys has made the signature.
pub(crate) fn is_right(signature: &Signature) -> bool {
    signature.keys.iter().any(|key| is_by(key, signature))
}

/// Whether `key` has made it. The key's kind and the algorithm have to fit: nothing else is ever tried.
fn is_by(key: &Key, of: &Signature) -> bool {
    match (key, of.algorithm) {
        (Key::Rsa { n, e }, algorithm) => rsa(algorithm).is_some_and(|parameters| {
            let key = RsaPublicKeyComponents { n, e };
            key.verify(parameters, &of.signed, &of.signature).is_ok()
        }),
        (Key::P256(point), Algorithm::Es256) => by(&signature::ECDSA_P256_SHA256_FIXED, point, of),
        (Key::P384(point), Algorithm::Es384) => by(&signature::ECDSA_P384_SHA384_FIXED, point, of),
        (Key::Ed25519(point), Algorithm::EdDsa) => by(&signature::ED25519, point, of),
        (Key::Secret(secret), algorithm) => hmac_of(algorithm).is_some_and(|algorithm| {
            let key = hmac::Key::new(algorithm, &secret.0);
            hmac::verify(&key, &of.signed, &of.signature).is_ok()
        }),
        _ => false,
    }
}

fn by(algorithm: &'static dyn VerificationAlgorithm, point: &[u8], of: &Signature) -> bool {
    UnparsedPublicKey::new(algorithm, point)
        .verify(&of.signed, &of.signature)
        .is_ok()
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn hmac_of(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
        Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
        Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

#[cfg(test)]
#[path = "signatures_tests.rs"]
mod tests;

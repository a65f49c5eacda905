//! An issuer of tokens: keys that openssl made, and tokens that it signs.

use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::Scratch;
use crate::tools::run;

/// The secret of its HS256.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// RFC 4648 §5, without padding.
pub fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}

/// Keys that openssl made, and tokens that it signs.
pub struct Issuer(Scratch);

impl Issuer {
    /// One with keys of its own.
    pub fn new() -> Self {
        let issuer = Issuer(Scratch::new());
        issuer.openssl("genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out RS256.pem");
        issuer.openssl("genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ES256.pem");
        issuer.openssl("genpkey -quiet -algorithm ED25519 -out EdDSA.pem");
        issuer
    }

    /// The directory of its keys.
    pub fn scratch(&self) -> &Scratch {
        &self.0
    }

    /// What openssl says to this line, in that directory.
    #[track_caller]
    pub fn openssl(&self, line: &str) -> String {
        let mut command = Command::new("openssl");
        command.args(line.split(' ')).current_dir(self.0.path());
        let done = run(&mut command, Duration::from_secs(60));
        assert_eq!(done.code, Some(0), "openssl {line}: {done:?}");
        done.stdout
    }

    /// What a file there holds.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.path().join(name)).expect("it was written")
    }

    /// The public keys, each called by its algorithm and `mark`.
    pub fn jwks(&self, mark: &str) -> String {
        let modulus = self.openssl("rsa -in RS256.pem -noout -modulus");
        let digits = modulus.trim().trim_start_matches("Modulus=").as_bytes().to_vec();
        let hex = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("a byte");
        let modulus: Vec<u8> = digits.chunks(2).map(hex).collect();
        let point = |name: &str, size: usize| {
            self.openssl(&format!("pkey -in {name}.pem -pubout -outform DER -out {name}.der"));
            let der = self.bytes(&format!("{name}.der"));
            der[der.len() - size..].to_vec()
        };
        let (ec, ed) = (point("ES256", 64), point("EdDSA", 32));
        json!({ "keys": [
            { "kty": "RSA", "kid": format!("RS256{mark}"), "n": base64url(&modulus), "e": "AQAB", "use": "sig" },
            { "kty": "EC", "crv": "P-256", "kid": format!("ES256{mark}"), "x": base64url(&ec[..32]), "y": base64url(&ec[32..]) },
            { "kty": "OKP", "crv": "Ed25519", "kid": format!("EdDSA{mark}"), "x": base64url(&ed) },
        ] })
        .to_string()
    }

    /// A token with this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            base64url(header.to_string().as_bytes()),
            base64url(claims.to_string().as_bytes())
        );
        self.0.write("signed", &signed);
        let signature = match header["alg"].as_str().expect("an algorithm") {
            "EdDSA" => {
                self.openssl("pkeyutl -sign -inkey EdDSA.pem -rawin -in signed -out signature");
                self.bytes("signature")
            }
            "ES256" => {
                self.openssl("dgst -sha256 -sign ES256.pem -out signature signed");
                raw_ecdsa(&self.bytes("signature"))
            }
            "HS256" => {
                self.openssl(&format!("dgst -sha256 -hmac {SECRET} -binary -out signature signed"));
                self.bytes("signature")
            }
            _ => {
                self.openssl("dgst -sha256 -sign RS256.pem -out signature signed");
                self.bytes("signature")
            }
        };
        format!("{signed}.{}", base64url(&signature))
    }

    /// A token that is good, but for what `change` does to its claims.
    pub fn token(&self, algorithm: &str, mark: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": "https://id.example", "aud": ["shop", "blog"], "sub": "ann", "exp": now() + 600, "iat": now(),
            "scope": "read admin", "realm": { "roles": ["a", "b"] },
        });
        change(&mut claims);
        self.sign(
            &json!({ "alg": algorithm, "kid": format!("{algorithm}{mark}"), "typ": "JWT" }),
            &claims,
        )
    }
}

/// RFC 7518 §3.4: r and s, 32 bytes each, out of their DER.
fn raw_ecdsa(der: &[u8]) -> Vec<u8> {
    let integer = |at: usize| {
        let length = usize::from(der[at + 1]);
        let bytes = &der[at + 2..at + 2 + length];
        let bytes = &bytes[bytes.len().saturating_sub(32)..];
        ([vec![0; 32 - bytes.len()], bytes.to_vec()].concat(), at + 2 + length)
    };
    let (r, next) = integer(2);
    [r, integer(next).0].concat()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

impl Default for Issuer {
    fn default() -> Self {
        Issuer::new()
    }
}

//! The token that callers of the API show.

use std::hint::black_box;
use std::io::{self, Read};
use std::path::Path;

/// The shortest token: 16 characters of hexadecimal are 64 bits, which nobody guesses over a network.
const TOKEN_BYTES_MIN: usize = 16;

/// The longest one; what is longer is no token but some other file.
const TOKEN_BYTES_MAX: usize = 4096;

/// A secret that callers show as `Authorization: Bearer …`.
pub(super) struct Token(Vec<u8>);

/// A secret is never shown.
impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Token")
    }
}

/// What is wrong with a token's file, to be read after its name.
#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    /// There is none, or we may not open it.
    #[error("cannot be opened: {0}")]
    Open(io::Error),
    /// It is no file, or no text.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// It holds no token: what is wrong.
    #[error("{0}; make one with `openssl rand -hex 32`")]
    Text(String),
}

impl Token {
    /// Reads the token from a file; white space around it does not count.
    ///
    /// # Errors
    /// What is wrong with the file, and what to do.
    pub(super) fn read(path: &Path) -> Result<Self, TokenFault> {
        let mut text = String::new();
        let file = crate::files::open_file(path).map_err(TokenFault::Open)?;
        file.take(TOKEN_BYTES_MAX as u64 + 1)
            .read_to_string(&mut text)
            .map_err(TokenFault::Read)?;
        Self::parse(&text).map_err(TokenFault::Text)
    }

    /// The token in a file's text, or why there is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(format!("is longer than {TOKEN_BYTES_MAX} bytes"));
        }
        let token = text.trim();
        if token.is_empty() {
            return Err("is empty".into());
        }
        if token.len() < TOKEN_BYTES_MIN {
            return Err(format!("holds a token of less than {TOKEN_BYTES_MIN} characters"));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("holds more than one word, or characters outside ASCII".into());
        }
        Ok(Token(token.as_bytes().to_vec()))
    }

    /// Whether `shown`, the value of an `Authorization` field, shows this token. The time it takes says nothing about
    /// how much of it is right.
    pub(super) fn admits(&self, shown: &[u8]) -> bool {
        let Some((scheme, shown)) = shown.split_at_checked("bearer ".len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer ") && equal(&self.0, shown.trim_ascii())
    }
}

/// Compares every byte, whatever the first difference. The length is no secret.
fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && black_box(
            left.iter()
                .zip(right)
                .fold(0, |differences, (left, right)| black_box(differences | (left ^ right))),
        ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_admitted() {
        let token = Token::parse("  0123456789abcdef\n").expect("long enough");
        for (shown, admitted) in [
            ("Bearer 0123456789abcdef", true),
            ("bearer  0123456789abcdef ", true),
            ("Bearer 0123456789abcdeg", false),
            ("Bearer 0123456789abcdef0", false),
            ("Bearer 0123456789abcde", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("Basic 0123456789abcdef", false),
            ("0123456789abcdef", false),
            ("", false),
        ] {
            assert_eq!(token.admits(shown.as_bytes()), admitted, "{shown:?}");
        }
    }

    #[test]
    fn a_token_that_is_none_is_refused() {
        for text in [
            "",
            " \n",
            "short",
            "two words of enough length",
            "ümläute-sind-kein-token",
        ] {
            assert!(Token::parse(text).is_err(), "{text:?}");
        }
        assert!(Token::parse(&"x".repeat(5000)).is_err());
        assert!(Token::read(Path::new("/nonexistent/token")).is_err());
    }
}

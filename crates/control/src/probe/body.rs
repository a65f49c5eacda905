//! What the body of an answer has to hold.

use regex::bytes::{Regex, RegexBuilder};

use super::ProbeError;
use crate::config::BodyCheck;

/// The bytes of a body that are looked through. What comes later is not waited for.
pub(super) const BODY_MAX: usize = 64 << 10;

/// The most memory that a compiled expression may take, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What a body has to hold.
pub(super) enum Wanted {
    Text(String),
    Regex(Regex),
}

/// The expression of a body's check.
///
/// # Errors
/// It does not follow the syntax, or is too large.
pub(crate) fn body_regex(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build()
}

impl Wanted {
    /// What `check` asks for.
    pub(super) fn new(check: &BodyCheck) -> Self {
        match check {
            BodyCheck::Text(text) => Wanted::Text(text.clone()),
            BodyCheck::Regex(text) => Wanted::Regex(body_regex(text).expect("it was compiled when it was read")),
        }
    }

    /// Whether `body`, of which more may come unless it is `whole`, holds what it should.
    pub(super) fn look(&self, body: &[u8], whole: bool) -> Result<(), ProbeError> {
        let (holds, wanted) = match self {
            Wanted::Text(text) => (super::holds(body, text.as_bytes()), format!("{text:?}")),
            Wanted::Regex(regex) => (whole && regex.is_match(body), format!("/{regex}/")),
        };
        if holds {
            return Ok(());
        }
        let more = if body.len() >= BODY_MAX {
            "the first 64 KiB of "
        } else {
            ""
        };
        let said = super::excerpt(body);
        Err(ProbeError::Unexpected(format!(
            "{wanted} is not in {more}the body, {said}"
        )))
    }
}

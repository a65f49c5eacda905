//! What the authority of a certificate says of it, with the file behind it. A certificate is shown without it rather than
//! with words that no client would take.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use plimsoll_net::tls::{Pair, Staple, Unfit};

use super::StapleStatus;
use super::read::read_staple;

/// An OCSP response.
pub(super) struct LivingStaple {
    path: PathBuf,
    read: Result<Staple, String>,
    /// Whether it is shown; `None` until that was decided for what was read last.
    shown: Option<bool>,
}

impl LivingStaple {
    pub(super) fn new(path: PathBuf) -> Self {
        LivingStaple {
            path,
            read: Err("it was not read yet".into()),
            shown: None,
        }
    }

    /// Reads it; it has to be for `pair`.
    pub(super) fn read(&mut self, pair: &Pair) {
        self.read = read_staple(&self.path, pair);
        self.shown = None;
    }

    /// `pair` with it or without it, if that is another thing at `now` than before.
    pub(super) fn look(&mut self, pair: &Pair, listener: &str, now: SystemTime) -> Option<Pair> {
        let wrong = self.wrong(now);
        let shows = wrong.is_none();
        if self.shown.replace(shows) == Some(shows) {
            return None;
        }
        if let Some(error) = wrong {
            tracing::error!(listener, error, "a certificate is shown without its OCSP response");
        }
        Some(pair.with_staple(self.read.as_ref().ok().filter(|_| shows)))
    }

    fn wrong(&self, now: SystemTime) -> Option<String> {
        match &self.read {
            Err(wrong) => Some(wrong.clone()),
            Ok(staple) => unfit(staple, &self.path, now),
        }
    }

    pub(super) fn status(&self, now: SystemTime) -> StapleStatus {
        StapleStatus {
            path: self.path.clone(),
            ends: self.read.as_ref().ok().and_then(|staple| staple.ends),
            error: self.wrong(now),
        }
    }
}

/// Why what was read of `path` is not to be shown at `now`, in words.
pub(crate) fn unfit(staple: &Staple, path: &Path, now: SystemTime) -> Option<String> {
    let date = |time| humantime::format_rfc3339_seconds(time);
    let why = match staple.unfit(now)? {
        Unfit::Revoked => "says that the certificate was revoked".into(),
        Unfit::Unknown => "says that the authority does not know the certificate".into(),
        Unfit::Over(ends) => format!("ended {}", date(ends)),
        Unfit::Early(begins) => format!("begins {}", date(begins)),
    };
    Some(format!("{} {why}", path.display()))
}

//! What a request asks for, in its one spelling: the same for whoever serves it and whoever explains it.

use std::borrow::Cow;

use super::host::{self, Authority, HostFault};
use super::path::{self, PathFault};
use super::{Fields, RequestHead};

/// The forms of a request target that are served (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'b> {
    /// `/path?query`.
    Origin(&'b [u8]),
    /// `http://host/path?query`: the path and query alone.
    Absolute(&'b [u8]),
    /// `*`, of OPTIONS.
    Asterisk,
}

/// What a request asks for.
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// Host and port; `None` when an HTTP/1.0 client named none.
    pub authority: Option<Authority<'a>>,
    /// The canonical path; `*` where there is none.
    pub path: Cow<'a, str>,
    /// The query without its question mark.
    pub query: Option<&'a str>,
    /// The header fields.
    pub fields: &'a dyn Fields,
}

/// Why nobody can say what a request asks for; the answer is 400 with the reason `bad_request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskedFault {
    /// The host.
    #[error(transparent)]
    Host(#[from] HostFault),
    /// The path or query.
    #[error(transparent)]
    Path(#[from] PathFault),
}

impl AskedFault {
    /// Which part is at fault: `host` or `path`.
    pub fn part(&self) -> &'static str {
        match self {
            AskedFault::Host(_) => "host",
            AskedFault::Path(_) => "path",
        }
    }
}

impl<'a> Asked<'a> {
    /// Reads what a request head says as it was written.
    ///
    /// # Errors
    /// See [`AskedFault`].
    pub fn read(
        method: &'a str,
        host: &'a [u8],
        target: Target<'a>,
        fields: &'a dyn Fields,
        allow_encoded_slash: bool,
    ) -> Result<Self, AskedFault> {
        let authority = host::normalise(host)?;
        let (path, query) = match target {
            Target::Asterisk => (Cow::Borrowed("*"), None),
            // RFC 9112 §3.2.2 with RFC 9110 §4.2.3: an empty path is the same as `/`.
            Target::Absolute(b"") => (Cow::Borrowed("/"), None),
            Target::Absolute(rest) if rest[0] == b'?' => (Cow::Borrowed("/"), path::split(rest)?.query),
            Target::Origin(target) | Target::Absolute(target) => {
                let split = path::split(target)?;
                (path::canonical(split.path, allow_encoded_slash)?, split.query)
            }
        };
        Ok(Asked {
            method,
            authority,
            path,
            query,
            fields,
        })
    }

    /// The host; empty when there is none.
    pub fn host(&self) -> &str {
        self.authority.as_ref().map_or("", |authority| &*authority.host)
    }

    /// What routes look at.
    pub fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: self.method,
            host: self.host(),
            path: &self.path,
            query: self.query.unwrap_or_default(),
            fields: self.fields,
            tls: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoFields;

    impl Fields for NoFields {
        fn each(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) {}
    }

    #[test]
    fn every_form_of_target_has_one_path_and_query() {
        for (target, path, query) in [
            (Target::Origin(b"/a/../b?x=1"), "/b", Some("x=1")),
            (Target::Absolute(b"/a//b"), "/a/b", None),
            (Target::Absolute(b""), "/", None),
            (Target::Absolute(b"?x"), "/", Some("x")),
            (Target::Asterisk, "*", None),
        ] {
            let asked = Asked::read("GET", b"A.example.:80", target, &NoFields, false).unwrap();
            assert_eq!(
                (&*asked.path, asked.query, asked.host()),
                (path, query, "a.example"),
                "{target:?}"
            );
        }
    }

    #[test]
    fn a_fault_says_which_part_it_is_in() {
        let part = |host, target| {
            Asked::read("GET", host, target, &NoFields, false)
                .map_err(|fault| fault.part())
                .err()
        };
        assert_eq!(part(b"a b", Target::Asterisk), Some("host"));
        assert_eq!(part(b"a", Target::Origin(b"/%2f")), Some("path"));
        assert_eq!(part(b"a", Target::Origin(b"/")), None);
    }
}

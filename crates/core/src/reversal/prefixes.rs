//! The beginning of a path, as the client and as the backend know it.

/// What filters have made of the path of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rewritten {
    /// Nothing.
    #[default]
    No,
    /// Another beginning.
    Prefix(Prefixes),
    /// Something that cannot be turned back.
    Beyond,
}

/// Which beginnings of paths stand for each other; both without a slash at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    pub(super) client: String,
    pub(super) upstream: String,
}

impl Rewritten {
    /// `prefix`, with which the path began, is gone, and `put` is there in its place.
    pub fn replace(&mut self, prefix: &str, put: &str) {
        let before = match std::mem::take(self) {
            Rewritten::No => Prefixes::default(),
            Rewritten::Prefix(before) => before,
            Rewritten::Beyond => {
                *self = Rewritten::Beyond;
                return;
            }
        };
        *self = before
            .replaced(prefix.trim_end_matches('/'), put)
            .map_or(Rewritten::Beyond, Rewritten::Prefix);
    }

    /// What can be turned back, if anything can and has to be.
    pub(super) fn prefixes(&self) -> Option<&Prefixes> {
        match self {
            Rewritten::Prefix(prefixes) if prefixes.client != prefixes.upstream => Some(prefixes),
            _ => None,
        }
    }
}

impl Prefixes {
    fn replaced(self, prefix: &str, put: &str) -> Option<Self> {
        let Prefixes { mut client, upstream } = self;
        let rest = match under(&upstream, prefix) {
            Some(rest) => rest,
            None => {
                // More is gone than we know to have been put there: the client's path began with the rest of it.
                client.push_str(under(prefix, &upstream)?);
                ""
            }
        };
        Some(Prefixes {
            client,
            upstream: format!("{put}{rest}"),
        })
    }

    /// The client's path for the backend's; `None` when it stays. A path that is the client's already stays, since the
    /// backend may know what stands before it.
    pub(super) fn back(&self, path: &str) -> Option<String> {
        if self.client == self.upstream || !path.starts_with('/') || has_dots(path) {
            return None;
        }
        let of_client = |path| !self.client.is_empty() && under(path, &self.client).is_some();
        let rest = under(path, &self.upstream)?;
        if self.upstream.is_empty() && of_client(path) {
            return None;
        }
        // No client is sent to another host by `//` at the beginning of a path.
        let back = format!("{}{rest}", self.client);
        Some(format!("/{}", back.trim_start_matches('/')))
    }
}

/// What follows `prefix` in `path`, when that is under it.
fn under<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// Whether a segment means another one, so that the beginning of the path says nothing about where it leads.
fn has_dots(path: &str) -> bool {
    let plain = |segment: &str| segment.to_ascii_lowercase().replace("%2e", ".");
    path.split('/')
        .any(|segment| matches!(plain(segment).as_str(), "." | ".."))
}

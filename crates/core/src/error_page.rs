//! Error pages: other bodies for the replies that we make ourselves.

mod media;
mod page;

pub use media::{Media, Wish};
pub use page::{PAGE_BYTES_MAX, Page, Told};

use std::sync::Arc;

use crate::filter::Held;
use crate::outcome::Reason;
use crate::reply::Reply;

/// Which replies pages are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Those with this reason.
    Reason(Reason),
    /// Those with this status.
    Status(u16),
    /// Those whose status has this first digit.
    Class(u16),
}

impl For {
    /// The words of the classes.
    pub const CLASSES: [&'static str; 2] = ["4xx", "5xx"];

    /// A reason's word, a status, or a class.
    pub fn parse(word: &str) -> Option<For> {
        let status = || word.parse().ok().filter(|status| (400..=599).contains(status));
        match word {
            "4xx" => Some(For::Class(4)),
            "5xx" => Some(For::Class(5)),
            _ => status()
                .map(For::Status)
                .or_else(|| For::reasons().find(|reason| reason.word() == word).map(For::Reason)),
        }
    }

    /// The reasons that clients are told.
    pub fn reasons() -> impl Iterator<Item = Reason> {
        let told = |reason: &Reason| reason.status() >= 400 && *reason != Reason::ClientClosed;
        Reason::ALL.iter().copied().filter(told)
    }

    fn holds(self, reply: &Reply) -> bool {
        match self {
            For::Reason(reason) => reply.reason == Some(reason),
            For::Status(status) => reply.status == status,
            For::Class(class) => reply.status / 100 == class,
        }
    }

    /// The more precise first.
    const fn rank(self) -> u8 {
        match self {
            For::Reason(_) => 0,
            For::Status(_) => 1,
            For::Class(_) => 2,
        }
    }
}

/// Where a page is.
#[derive(Clone, Debug)]
pub enum Kept {
    /// In the configuration.
    Here(Page),
    /// In a file that is watched.
    File(Arc<Held<Page>>),
}

/// The pages of a route, of a listener, or of the whole node.
#[derive(Clone, Debug, Default)]
pub struct ErrorPages(Vec<(For, Vec<(Media, Kept)>)>);

/// A page as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Whether there are others for other wishes.
    pub varies: bool,
    /// Its text.
    pub body: String,
}

impl ErrorPages {
    /// Pages, each with those that say the same in another kind.
    pub fn new(mut pages: Vec<(For, Vec<(Media, Kept)>)>) -> Self {
        pages.sort_by_key(|(on, _)| on.rank());
        ErrorPages(pages)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The page for `reply`, of the kind that its client likes best; of equals the first. Whoever likes none gets the
    /// first all the same: an error in a strange form is better than none.
    pub fn page(&self, reply: &Reply, wish: Wish, told: &Told<'_>) -> Option<Rendered> {
        let (_, kinds) = self.0.iter().find(|(on, _)| on.holds(reply))?;
        let better = |best: &'_ (Media, Kept), next: &'_ (Media, Kept)| wish.weight(next.0) > wish.weight(best.0);
        let first = kinds
            .iter()
            .reduce(|best, next| if better(best, next) { next } else { best })?;
        let (media, kept) = first;
        let render = |page: &Page| page.render(media.position(), told);
        let body = match kept {
            Kept::Here(page) => render(page),
            // One that could never be read: the reply has its own body.
            Kept::File(held) => render(held.now().as_deref()?),
        };
        Some(Rendered {
            content_type: media.content_type(),
            varies: kinds.len() > 1,
            body,
        })
    }
}

impl Reply {
    /// Whether an error page may stand in for its body: not for one that somebody has chosen for it.
    pub fn wants_page(&self) -> bool {
        match self.reason {
            Some(_) => !self.theirs,
            None => self.status >= 400 && self.body.is_empty(),
        }
    }
}

#[cfg(test)]
#[path = "error_page/tests.rs"]
mod tests;

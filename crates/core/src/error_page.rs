//! Error pages: other bodies for the replies that we make ourselves.

mod media;
mod page;

pub use media::{Media, Wish};
pub use page::{PAGE_BYTES_MAX, Page, Told};

use std::sync::Arc;

use crate::filter::Held;
use crate::outcome::Reason;
use crate::reply::Reply;
use crate::snapshot::{HttpService, Route, Snapshot};

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

    /// As it is written in a table of pages.
    pub fn word(self) -> String {
        match self {
            For::Reason(reason) => reason.word().to_owned(),
            For::Status(status) => status.to_string(),
            For::Class(class) => format!("{class}xx"),
        }
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

/// The page that stands in for the body of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Found<'p> {
    /// What it is for.
    pub on: For,
    /// What it is written in.
    pub media: Media,
    /// Whether there are others for other wishes.
    pub varies: bool,
    kept: &'p Kept,
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
    pub fn find(&self, reply: &Reply, wish: Wish) -> Option<Found<'_>> {
        let (on, kinds) = self.0.iter().find(|(on, _)| on.holds(reply))?;
        let better = |best: &'_ (Media, Kept), next: &'_ (Media, Kept)| wish.weight(next.0) > wish.weight(best.0);
        let first = kinds
            .iter()
            .reduce(|best, next| if better(best, next) { next } else { best })?;
        let (media, kept) = first;
        // One that could never be read: the reply has its own body.
        let is_there = match kept {
            Kept::Here(_) => true,
            Kept::File(held) => held.now().is_some(),
        };
        is_there.then_some(Found {
            on: *on,
            media: *media,
            varies: kinds.len() > 1,
            kept,
        })
    }
}

impl Found<'_> {
    /// Its text for one reply.
    pub fn render(&self, told: &Told<'_>) -> String {
        let position = self.media.position();
        match self.kept {
            Kept::Here(page) => page.render(position, told),
            Kept::File(held) => held
                .now()
                .as_ref()
                .map(|page| page.render(position, told))
                .unwrap_or_default(),
        }
    }
}

/// Whose page it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The route's.
    Route,
    /// The listener's.
    Listener,
    /// The node's.
    Node,
}

impl Whose {
    /// The name.
    pub const fn word(self) -> &'static str {
        match self {
            Whose::Route => "route",
            Whose::Listener => "listener",
            Whose::Node => "node",
        }
    }
}

impl Snapshot {
    /// The page that stands in for the body of `reply`: the route's, the listener's or the node's, the first that has
    /// one. A call of gRPC has none, which is the caller's to know.
    pub fn error_page<'s>(
        &'s self,
        (route, service): (Option<&'s Route>, Option<&'s HttpService>),
        reply: &Reply,
        wish: Wish,
    ) -> Option<(Whose, Found<'s>)> {
        if !self.has_error_pages || !reply.wants_page() {
            return None;
        }
        let of_route = route.map(|route| (Whose::Route, &route.error_pages));
        let of_listener = service.map(|service| (Whose::Listener, &service.error_pages));
        let all = of_route.into_iter().chain(of_listener);
        let mut all = all.chain(std::iter::once((Whose::Node, &self.error_pages)));
        all.find_map(|(whose, pages)| Some((whose, pages.find(reply, wish)?)))
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

//! What filters count by: it lives through reloads, by where the filter stands.

use std::any::Any;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use plimsoll_core::error_page::{self, ErrorPages, Page};
use plimsoll_core::filter::{Chain, FileName, FilterEntry, Held, Keep, Slot};
use plimsoll_core::hedge::{Hedge, HedgePolicy};
use plimsoll_core::maintenance::Switch;

use crate::config::{PagePlan, PageSource};
use crate::files::Files;

/// A filter's state, whatever it is.
type State = Arc<dyn Any + Send + Sync>;

/// Where a filter stands: the listener or route that it belongs to, its kind, and which of its kind it is there.
type Place = (String, &'static str, usize);

/// The states of all filters.
pub(crate) struct Kept {
    /// Drawn apart from all other randomness: request ids, which backends see, are made of that.
    seed: u64,
    before: BTreeMap<Place, State>,
    now: BTreeMap<Place, State>,
    files: Arc<Files>,
}

/// The state of the filter that is being built.
struct Standing<'k> {
    kept: &'k mut Kept,
    place: Place,
}

impl Default for Kept {
    fn default() -> Self {
        Kept {
            seed: RandomState::new().hash_one(0),
            before: BTreeMap::new(),
            files: Arc::default(),
            now: BTreeMap::new(),
        }
    }
}

impl Kept {
    /// From now on states are of another generation; those that are not asked for are gone with its
    /// [`end`](Self::end).
    pub(crate) fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
        self.files.begin();
    }

    /// What was not asked for is gone.
    pub(crate) fn end(&mut self) {
        self.before.clear();
        self.files.end();
    }

    /// The files that filters name.
    pub(crate) fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// The chain of `entries`, which belong to `owner`.
    pub(crate) fn chain(&mut self, owner: &str, entries: &[FilterEntry]) -> Arc<Chain> {
        let mut seen: BTreeMap<&'static str, usize> = BTreeMap::new();
        Arc::new(Chain::build(entries, |entry| {
            let kind = entry.config.kind();
            let nth = seen.entry(kind).or_default();
            *nth += 1;
            let place = (owner.to_owned(), kind, *nth);
            entry.config.build(&mut Standing { kept: self, place })
        }))
    }
}

impl Kept {
    /// What an operator wants of the maintenance of `owner`.
    pub(crate) fn switch(&mut self, owner: &str) -> Arc<Switch> {
        let place = (owner.to_owned(), "maintenance", 0);
        let state = Standing { kept: self, place }.state(&mut || Arc::new(Switch::default()));
        // Nothing else is kept in this place.
        state.downcast().unwrap_or_default()
    }

    /// The hedging of `owner` by `policy`, with what was earned if that was its policy before.
    pub(crate) fn hedge(&mut self, owner: &str, policy: HedgePolicy) -> Arc<Hedge> {
        let place = (owner.to_owned(), "hedge", 0);
        let fresh = Arc::new(Hedge::new(policy));
        let mut standing = Standing { kept: self, place };
        let state = standing.state(&mut || fresh.clone());
        match state.downcast::<Hedge>() {
            Ok(kept) if kept.policy == policy => kept,
            _ => {
                let Standing { kept, place } = standing;
                kept.now.insert(place, fresh.clone());
                fresh
            }
        }
    }

    /// The pages of `plans`, their files among those that are watched.
    pub(crate) fn error_pages(&mut self, plans: &[PagePlan]) -> ErrorPages {
        let place = (String::new(), "error_pages", 0);
        let mut standing = Standing { kept: self, place };
        let mut kept = |source: &PageSource| match source {
            PageSource::Body(text) => error_page::Kept::Here(Page::of(text)),
            PageSource::File(file) => error_page::Kept::File(Held::of(file, &mut standing)),
        };
        let mut pages = Vec::with_capacity(plans.len());
        for plan in plans {
            let kinds = plan.kinds.iter().map(|(media, source)| (*media, kept(source)));
            pages.push((plan.on, kinds.collect()));
        }
        ErrorPages::new(pages)
    }
}

impl Keep for Standing<'_> {
    fn seed(&self) -> u64 {
        self.kept.seed
    }

    fn state(&mut self, make: &mut dyn FnMut() -> State) -> State {
        let kept = self.kept.before.remove(&self.place);
        let state = kept.unwrap_or_else(make);
        self.kept.now.insert(self.place.clone(), state.clone());
        state
    }

    fn file(&mut self, file: &FileName, fresh: Arc<dyn Slot>) -> Arc<dyn Slot> {
        self.kept.files.slot(file, fresh)
    }
}

//! What filters have made of a request so far.

use super::edits::Edits;
use super::{Compression, Watched};
use crate::limit::Held;
use crate::outcome::Reason;
use crate::reversal::Rewritten;

/// What filters have made of a request so far.
#[derive(Debug, Default)]
pub struct Changes {
    /// Of its fields.
    pub request: Edits,
    /// Of the fields of its answer, whoever gives it.
    pub answer: Edits,
    /// The path that goes upstream, when it is another one; it is canonical.
    pub path: Option<String>,
    /// Which beginning of the path became which.
    pub rewritten: Rewritten,
    /// How long its body may be, when its head does not say.
    pub body_max: Option<u64>,
    /// The same by a filter on trial: a longer one is told of.
    pub body_trial_max: Option<u64>,
    /// How its answer may be compressed.
    pub compression: Option<Compression>,
    /// What filters on trial would have refused it for.
    pub rehearsed: Vec<Reason>,
    /// Keys of limits that were forgotten for its own, since a table was full.
    pub crowded_out: u32,
    /// Where it is counted for as long as it is under way.
    pub held: Vec<Held>,
    /// Who wants to know how it ends.
    pub watched: Vec<Watched>,
}

/// Changes that a backend, or the client, would notice.
#[derive(Debug)]
pub struct Noticeable {
    request: Edits,
    answer: Edits,
    path: Option<String>,
    rewritten: Rewritten,
    body_max: Option<u64>,
    compression: Option<Compression>,
}

impl Changes {
    /// Forgets all, and keeps the room.
    pub fn clear(&mut self) {
        self.request.clear();
        self.answer.clear();
        self.path = None;
        self.rewritten = Rewritten::No;
        self.body_max = None;
        self.body_trial_max = None;
        self.compression = None;
        self.rehearsed.clear();
        self.crowded_out = 0;
        self.held.clear();
        self.watched.clear();
    }

    /// What others would notice of them, to be [taken back](Self::take_back) to this.
    pub fn noticeable(&self) -> Noticeable {
        Noticeable {
            request: self.request.clone(),
            answer: self.answer.clone(),
            path: self.path.clone(),
            rewritten: self.rewritten.clone(),
            body_max: self.body_max,
            compression: self.compression.clone(),
        }
    }

    /// Undoes what others would notice of what was changed since; what is counted and watched goes on being so.
    pub fn take_back(&mut self, before: Noticeable) {
        let Noticeable {
            request,
            answer,
            path,
            rewritten,
            body_max,
            compression,
        } = before;
        (self.request, self.answer) = (request, answer);
        (self.path, self.rewritten) = (path, rewritten);
        (self.body_max, self.compression) = (body_max, compression);
    }

    /// What filters on trial would have refused it for, with a body of so many bytes.
    pub fn rehearsed(&self, body_bytes: u64) -> impl Iterator<Item = Reason> {
        let too_large = self.body_trial_max.is_some_and(|max| body_bytes > max);
        let late = too_large.then_some(Reason::BodyTooLarge);
        self.rehearsed.iter().copied().chain(late)
    }

    /// Whether they matter once the request is on its way.
    pub fn outlast_head(&self) -> bool {
        let Changes {
            answer,
            body_max,
            body_trial_max,
            compression,
            rehearsed,
            crowded_out,
            held,
            watched,
            request: _,
            path: _,
            rewritten: _,
        } = self;
        let is_counted = *crowded_out > 0 || !rehearsed.is_empty() || !held.is_empty() || !watched.is_empty();
        let is_limited = body_max.is_some() || body_trial_max.is_some();
        !answer.is_empty() || is_limited || compression.is_some() || is_counted
    }
}

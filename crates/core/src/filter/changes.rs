//! What filters have made of a request so far.

use super::edits::Edits;
use crate::outcome::Reason;

/// What filters have made of a request so far.
#[derive(Debug, Default)]
pub struct Changes {
    /// Of its fields.
    pub request: Edits,
    /// Of the fields of its answer, whoever gives it.
    pub answer: Edits,
    /// The path that goes upstream, when it is another one; it is canonical.
    pub path: Option<String>,
    /// What filters on trial would have refused it for.
    pub rehearsed: Vec<Reason>,
}

impl Changes {
    /// Forgets all, and keeps the room.
    pub fn clear(&mut self) {
        self.request.clear();
        self.answer.clear();
        self.path = None;
        self.rehearsed.clear();
    }
}

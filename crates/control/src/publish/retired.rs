//! Snapshots that were served before.

use std::sync::Arc;

use plimsoll_core::snapshot::Snapshot;

use super::Control;

impl Control {
    /// Throws away the snapshots that no worker has any more.
    pub(crate) fn discard_retired(&self) {
        let (gone, was_reloaded): (Vec<Arc<Snapshot>>, bool) = {
            let mut state = self.state();
            let is_left = |snapshot: &mut Arc<Snapshot>| Arc::strong_count(snapshot) == 1;
            let gone = state.retired.extract_if(.., is_left).collect();
            let is_over = state.reloaded && state.retired.is_empty();
            state.reloaded &= !is_over;
            (gone, is_over)
        };
        // Outside the lock: it may take a while.
        drop(gone);
        if was_reloaded {
            plimsoll_net::give_back_memory();
        }
    }
}

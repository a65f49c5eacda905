//! Names resolved once, when the configuration is compiled; the hot path compares numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The number of a name. Numbers are never given out twice in one process, so they survive reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(pub u32);

/// The identity of a living backend: one for each (pool, address, port), for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u32);

impl BackendId {
    /// What backends are counted under for which there is no room. It is never given out.
    pub const OTHER: BackendId = BackendId(u32::MAX);
}

/// The names given out so far.
#[derive(Debug, Default)]
pub struct Names {
    ids: BTreeMap<Arc<str>, NameId>,
    names: Vec<Arc<str>>,
}

impl Names {
    /// The id of `name`, a new one when it was never seen.
    pub fn intern(&mut self, name: &str) -> NameId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = NameId(u32::try_from(self.names.len()).expect("fewer than 2^32 names are ever configured"));
        let shared: Arc<str> = name.into();
        self.names.push(shared.clone());
        self.ids.insert(shared, id);
        id
    }

    /// The name behind `id`.
    pub fn name(&self, id: NameId) -> &Arc<str> {
        &self.names[id.0 as usize]
    }
}

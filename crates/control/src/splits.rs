//! Splits as the running process has them, by the names of their pools.

use plimsoll_core::snapshot::Action;
use plimsoll_core::split::Share;

use crate::config::Plan;
use crate::publish::{Control, SplitFault};

/// A pool's part of a split: its name, its weight now, and the weight that it would have.
pub(crate) type Part = (String, u32, u32);

impl Control {
    /// The pools of the split of the route `name`, and their weights; `None` when there is none.
    pub(crate) fn split(&self, name: &str) -> Option<Vec<(String, u32)>> {
        let plan = self.plan();
        let shares = shares(&plan, name).ok()?;
        Some(
            shares
                .iter()
                .map(|share| (plan.pools[share.pool].name.clone(), share.weight))
                .collect(),
        )
    }

    /// The split of the route `name` as it is, and as it would be with `weights`; a pool that is not named gets none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn split_with(&self, name: &str, weights: &[(&str, u32)]) -> Result<Vec<Part>, SplitFault> {
        parts(&self.plan(), name, weights)
    }
}

/// [`Control::split_with`] in `plan`.
pub(crate) fn parts(plan: &Plan, name: &str, weights: &[(&str, u32)]) -> Result<Vec<Part>, SplitFault> {
    for (at, (pool, _)) in weights.iter().enumerate() {
        if weights[..at].iter().any(|(before, _)| before == pool) {
            return Err(SplitFault::Twice((*pool).to_owned()));
        }
    }
    let before = shares(plan, name)?;
    let name_of = |share: &Share| plan.pools[share.pool].name.clone();
    let is_part = |pool: &str| before.iter().any(|share| plan.pools[share.pool].name == pool);
    if let Some((stranger, _)) = weights.iter().find(|(pool, _)| !is_part(pool)) {
        let known: Vec<String> = before.iter().map(name_of).collect();
        return Err(SplitFault::Stranger((*stranger).to_owned(), known.join(", ")));
    }
    let weight_of = |pool: &str| {
        let of = weights.iter().find(|(named, _)| *named == pool);
        of.map_or(0, |(_, weight)| *weight)
    };
    let parts: Vec<Part> = before
        .iter()
        .map(|share| {
            let pool = name_of(share);
            let after = weight_of(&pool);
            (pool, share.weight, after)
        })
        .collect();
    if parts.iter().all(|(_, _, after)| *after == 0) {
        return Err(SplitFault::Nothing);
    }
    Ok(parts)
}

fn shares(plan: &Plan, name: &str) -> Result<Vec<Share>, SplitFault> {
    let route = plan.routes.iter().find(|route| route.name == name);
    match &route.ok_or(SplitFault::NoRoute)?.action {
        Action::Split(split) => Ok(split.shares().to_vec()),
        _ => Err(SplitFault::NoSplit),
    }
}

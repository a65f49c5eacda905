//! Fallbacks: they are there, and lead to an end.

use std::collections::BTreeSet;

use plimsoll_core::document::Faults;
use plimsoll_core::fallback::FALLBACKS_MAX;

use super::super::file::File;
use super::{Known, check_reference};

pub(super) fn check(file: &File, known: &Known<'_>, faults: &mut Faults) {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for (name, _, pool) in file.pools.read() {
        let Some(fallback) = &pool.fallback else {
            continue;
        };
        check_reference("pool", fallback, &known.pools, faults);
        let chain: Vec<&str> = chain(file, name).collect();
        let leads_back = next(file, chain[chain.len() - 1]) == Some(name);
        if leads_back && !chain.iter().any(|pool| told.contains(pool)) {
            let message = if chain.len() == 1 {
                format!("`{name}` is its own fallback")
            } else {
                format!("the fallbacks lead in a circle: {} → {name}", chain.join(" → "))
            };
            faults
                .error(fallback.span, message)
                .help("the last pool of a chain has no fallback");
            told.extend(chain);
        } else if !leads_back && chain.len() > FALLBACKS_MAX + 1 {
            faults
                .error(
                    fallback.span,
                    format!("more than {FALLBACKS_MAX} fallbacks stand behind `{name}`"),
                )
                .help("shorten the chain");
        }
    }
}

/// The pool `name`, its fallback, the fallback's fallback, each once.
pub(super) fn chain<'f>(file: &'f File, name: &'f str) -> impl Iterator<Item = &'f str> {
    let mut seen = BTreeSet::new();
    std::iter::successors(Some(name), move |pool| next(file, pool)).take_while(move |pool| seen.insert(*pool))
}

fn next<'f>(file: &'f File, name: &str) -> Option<&'f str> {
    let mut pools = file.pools.read();
    let (_, _, pool) = pools.find(|(known, _, _)| *known == name)?;
    pool.fallback.as_ref().map(|fallback| fallback.value.as_str())
}

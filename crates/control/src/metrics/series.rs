//! The values of one metric by their labels, bounded in number.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_core::telemetry::SERIES_MAX;

/// What labels from the configuration are called beyond [`SERIES_MAX`].
pub(crate) const OTHER: &str = "other";

/// A label's value.
pub(crate) type Label = Arc<str>;

/// Values by `N` labels, of which the first `NAMED` come from the configuration and may become too many. The others
/// (status codes, states, causes) are few by themselves, and are kept when the names are given up.
#[derive(Debug)]
pub(crate) struct Series<const N: usize, const NAMED: usize, V>(BTreeMap<[Label; N], V>);

impl<const N: usize, const NAMED: usize, V> Default for Series<N, NAMED, V> {
    fn default() -> Self {
        Series(BTreeMap::new())
    }
}

impl<const N: usize, const NAMED: usize, V: Default> Series<N, NAMED, V> {
    /// The value under `labels`; under [`OTHER`] names when there are too many.
    pub(crate) fn of(&mut self, mut labels: [Label; N]) -> &mut V {
        if self.0.len() >= SERIES_MAX && !self.0.contains_key(&labels) {
            labels[..NAMED].fill(OTHER.into());
        }
        self.0.entry(labels).or_default()
    }
}

impl<const N: usize, const NAMED: usize, V> Series<N, NAMED, V> {
    /// All of them, by label.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[Label; N], &V)> {
        self.0.iter()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives up those that `lives` says no to.
    pub(crate) fn retain(&mut self, mut lives: impl FnMut(&[Label; N], &V) -> bool) {
        self.0.retain(|labels, value| lives(labels, value));
    }

    /// The value under `labels`, if there is one.
    pub(crate) fn find(&self, labels: &[Label; N]) -> Option<&V> {
        self.0.get(labels)
    }

    /// All values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_limit_are_other_and_the_rest_of_the_labels_stays() {
        let mut series: Series<2, 1, u64> = Series::default();
        for at in 0..SERIES_MAX + 7 {
            let code = if at % 2 == 0 { "200" } else { "500" };
            *series.of([at.to_string().into(), code.into()]) += 1;
        }
        let found: Vec<_> = series.iter().filter(|(labels, _)| &*labels[0] == OTHER).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found.iter().map(|(_, count)| **count).sum::<u64>(), 7);
        *series.of(["3".into(), "500".into()]) += 1;
        assert_eq!(series.iter().count(), SERIES_MAX + 2, "what is known stays known");
    }
}

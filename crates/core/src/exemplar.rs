//! Exemplars: of the durations that were counted, one of each bucket that can be looked at: its trace is told, or its
//! decision kept.

use std::time::Duration;

use crate::telemetry::{BUCKETS_US, Histogram};
use crate::time::Now;

/// The longest id of a request that is kept: OpenMetrics allows an exemplar 128 characters of labels.
const REQUEST_ID_MAX: usize = 64;

/// A request that can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its trace, which is told.
    pub trace: Option<u128>,
    /// Its id, by which its decision is found.
    pub request: Option<Box<str>>,
    /// When it ended.
    pub at: Now,
}

impl Witness {
    /// A request that ended at `at`; `None` when there is nothing to find it by.
    pub fn of(trace: Option<u128>, request: Option<&str>, at: Now) -> Option<Self> {
        let request = request.filter(|id| !id.is_empty() && id.chars().count() <= REQUEST_ID_MAX);
        (trace.is_some() || request.is_some()).then(|| Witness {
            trace,
            request: request.map(Into::into),
            at,
        })
    }
}

/// A duration that was counted, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// How long.
    pub duration: Duration,
    /// Whose.
    pub witness: Witness,
}

/// The newest exemplar of each bucket of a [`Histogram`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exemplars([Option<Exemplar>; BUCKETS_US.len() + 1]);

impl Exemplars {
    /// Takes one in.
    pub fn keep(&mut self, exemplar: Exemplar) {
        let place = &mut self.0[Histogram::bucket_of(exemplar.duration)];
        if place.as_ref().is_none_or(|kept| kept.witness.at <= exemplar.witness.at) {
            *place = Some(exemplar);
        }
    }

    /// Takes others in.
    pub fn add(&mut self, others: Exemplars) {
        others.0.into_iter().flatten().for_each(|other| self.keep(other));
    }

    /// The one of the bucket at this position.
    pub fn of(&self, bucket: usize) -> Option<&Exemplar> {
        self.0.get(bucket)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(millis: u64, at: u64) -> Exemplar {
        Exemplar {
            duration: Duration::from_millis(millis),
            witness: Witness::of(Some(u128::from(at)), None, Now::from_millis(at)).expect("it has a trace"),
        }
    }

    #[test]
    fn the_newest_of_each_bucket_is_kept() {
        let (mut mine, mut theirs) = (Exemplars::default(), Exemplars::default());
        mine.keep(exemplar(1, 5));
        mine.keep(exemplar(3, 9));
        theirs.keep(exemplar(1, 7));
        theirs.keep(exemplar(3, 8));
        theirs.keep(exemplar(90_000, 1));
        mine.add(theirs);
        let at = |bucket| mine.of(bucket).map(|kept| kept.witness.at.millis());
        // Bounds are 0.5, 1, 2.5 and 5 ms first.
        assert_eq!(
            (at(0), at(1), at(3), at(BUCKETS_US.len())),
            (None, Some(7), Some(9), Some(1))
        );
    }

    #[test]
    fn what_cannot_be_found_again_is_no_witness() {
        assert_eq!(Witness::of(None, None, Now::START), None);
        assert_eq!(Witness::of(None, Some(""), Now::START), None);
        assert_eq!(Witness::of(None, Some(&"x".repeat(65)), Now::START), None);
        assert!(Witness::of(None, Some("x"), Now::START).is_some());
    }
}

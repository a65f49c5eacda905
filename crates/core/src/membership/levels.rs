//! Priorities: how much of a pool's work each level gets, and which levels panic. After Envoy's priority load
//! calculation (`LoadBalancerBase::recalculatePerPriorityState`).

/// A level counts as whole while its healthy share times this reaches 1: Envoy's over-provisioning factor. Under 72 %
/// healthy a level hands the excess to the next one.
pub const OVERPROVISIONING: f64 = 1.4;

/// Who of a level is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The healthy.
    Serving,
    /// The pool is new: the healthy, and those that it began with and that were not checked yet.
    Starting,
    /// Too few are healthy: all, whatever their health.
    Panicking,
}

/// How many there are of some kind, and their weights' sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Crowd {
    pub(super) count: u64,
    pub(super) weight: u64,
}

impl Crowd {
    pub(super) fn add(&mut self, weight: u32) {
        self.count += 1;
        self.weight += u64::from(weight);
    }

    fn and(self, other: Crowd) -> Crowd {
        Crowd {
            count: self.count + other.count,
            weight: self.weight + other.weight,
        }
    }

    fn is_empty(self) -> bool {
        self.count == 0
    }
}

/// Those of one priority who would take work if they were healthy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Census {
    pub(super) healthy: Crowd,
    /// Not checked yet, and there since the pool's start.
    pub(super) founders: Crowd,
    /// Not checked yet, and new. They count for nothing before their first check, so that scaling up does not look like
    /// an outage.
    pub(super) newcomers: Crowd,
    /// Unhealthy or ejected.
    pub(super) sick: Crowd,
}

impl Census {
    /// Those whose health is a matter of fact, or ought to be.
    fn counted(&self) -> Crowd {
        let counted = self.healthy.and(self.founders).and(self.sick);
        if counted.is_empty() { self.newcomers } else { counted }
    }

    /// Percent healthy of how many, for people.
    pub(super) fn text(&self) -> String {
        format!("{} of {} healthy", self.healthy.count, self.counted().count)
    }

    fn is_under(&self, usable: Crowd, threshold: u8) -> bool {
        usable.count * 100 < self.counted().count * u64::from(threshold)
    }
}

/// What becomes of one priority.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub(super) mode: Mode,
    /// Its share of the pool's work.
    pub(super) load: f64,
}

/// The mode and the load of each level, the first priority first. Loads sum to 1, or are all 0 when nobody is usable.
///
/// Two levels that are healthy enough together never panic, however few are healthy in one of them; a level that is alone
/// panics under the threshold. When all levels panic, work is spread by what each holds, since nothing is known of any.
pub(super) fn levels(censuses: &[Census], threshold: u8) -> Vec<Level> {
    let mut available = Vec::with_capacity(censuses.len());
    let mut levels = Vec::with_capacity(censuses.len());
    for census in censuses {
        let mut usable = census.healthy;
        let mut mode = Mode::Serving;
        let with_founders = usable.and(census.founders);
        let starting = !census.founders.is_empty() && !census.is_under(with_founders, threshold);
        if census.is_under(usable, threshold) && starting {
            (usable, mode) = (with_founders, Mode::Starting);
        }
        available.push((OVERPROVISIONING * ratio(usable.weight, census.counted().weight)).min(1.0));
        if mode == Mode::Serving && census.is_under(usable, threshold) {
            mode = Mode::Panicking;
        }
        levels.push(Level { mode, load: 0.0 });
    }
    let total: f64 = available.iter().sum();
    if levels.len() > 1 && total >= 1.0 {
        for level in levels.iter_mut().filter(|level| level.mode == Mode::Panicking) {
            level.mode = Mode::Serving;
        }
    }
    if levels.iter().all(|level| level.mode == Mode::Panicking) {
        let all: u64 = censuses.iter().map(|census| census.counted().weight).sum();
        for (level, census) in levels.iter_mut().zip(censuses) {
            level.load = ratio(census.counted().weight, all);
        }
        return levels;
    }
    let mut left = 1.0f64;
    for (level, available) in levels.iter_mut().zip(available) {
        if total > 0.0 {
            level.load = (available / total.min(1.0)).min(left);
            left = (left - level.load).max(0.0);
        }
        if level.load <= 0.0 {
            level.mode = Mode::Serving;
        }
    }
    levels
}

/// `part` of `whole`; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "weights sum to far less than 2^52")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(count: u64) -> Crowd {
        Crowd { count, weight: count }
    }

    fn census(healthy: u64, sick: u64) -> Census {
        Census {
            healthy: crowd(healthy),
            sick: crowd(sick),
            ..Census::default()
        }
    }

    /// Loads in percent, and which levels panic.
    fn shares(censuses: &[Census], threshold: u8) -> (Vec<u32>, Vec<bool>) {
        let levels = levels(censuses, threshold);
        let sum: f64 = levels.iter().map(|level| level.load).sum();
        assert!((sum - 1.0).abs() < 1e-9 || sum == 0.0, "{sum}");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
        let percent = |level: &Level| (level.load * 100.0).round() as u32;
        (
            levels.iter().map(percent).collect(),
            levels.iter().map(|level| level.mode == Mode::Panicking).collect(),
        )
    }

    #[test]
    fn two_levels_share_as_in_the_table_of_envoys_documentation() {
        for (p0, p1, expected) in [
            ((100, 0), (100, 0), [100, 0]),
            ((72, 28), (72, 28), [100, 0]),
            ((71, 29), (71, 29), [99, 1]),
            ((50, 50), (50, 50), [70, 30]),
            ((25, 75), (100, 0), [35, 65]),
            ((25, 75), (25, 75), [50, 50]),
        ] {
            let levels = [census(p0.0, p0.1), census(p1.0, p1.1)];
            assert_eq!(shares(&levels, 0).0, expected, "{p0:?} {p1:?}");
        }
    }

    #[test]
    fn levels_panic_only_when_all_together_are_too_few() {
        let whole = census(10, 0);
        for (levels, loads, panics) in [
            (vec![census(2, 8), whole], vec![28, 72], vec![false, false]),
            (vec![census(2, 8), census(2, 8)], vec![50, 50], vec![true, true]),
            (vec![census(0, 10), census(0, 30)], vec![25, 75], vec![true, true]),
            (vec![census(1, 9), census(5, 5)], vec![17, 83], vec![true, false]),
            (vec![census(6, 4), census(0, 10)], vec![100, 0], vec![false, false]),
            (vec![census(4, 6)], vec![100], vec![true]),
            (vec![census(5, 5)], vec![100], vec![false]),
        ] {
            assert_eq!(shares(&levels, 50), (loads, panics), "{levels:?}");
        }
    }

    #[test]
    fn a_high_threshold_holds_for_a_level_that_is_alone() {
        assert_eq!(shares(&[census(8, 2)], 90).1, [true]);
        assert_eq!(shares(&[census(8, 2), census(10, 0)], 90).1, [false, false]);
    }

    #[test]
    fn without_panic_nobody_healthy_means_nobody() {
        assert_eq!(
            shares(&[census(0, 5), census(0, 5)], 0),
            (vec![0, 0], vec![false, false])
        );
        assert_eq!(shares(&[], 50).0, Vec::<u32>::new());
    }

    #[test]
    fn a_new_pool_starts_with_those_that_it_was_given() {
        let unchecked = Census {
            founders: crowd(4),
            ..census(0, 0)
        };
        let level = levels(&[unchecked, census(2, 0)], 50)[0];
        assert_eq!((level.mode, level.load), (Mode::Starting, 1.0));
        let some = Census {
            founders: crowd(2),
            ..census(1, 1)
        };
        assert_eq!(levels(&[some], 50)[0].mode, Mode::Starting);
        assert_eq!(levels(&[some], 25)[0].mode, Mode::Serving);
        let most_sick = Census {
            founders: crowd(1),
            ..census(0, 3)
        };
        assert_eq!(levels(&[most_sick], 50)[0].mode, Mode::Panicking);
    }

    #[test]
    fn scaling_up_is_not_an_outage() {
        let scaled = Census {
            newcomers: crowd(20),
            ..census(2, 0)
        };
        assert_eq!(shares(&[scaled, census(5, 0)], 50), (vec![100, 0], vec![false, false]));
    }
}

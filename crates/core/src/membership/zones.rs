//! Zones: how one priority's share is split, the node's own zone first.
//!
//! A node does not know how much traffic the nodes of other zones have. It assumes that traffic comes evenly from every
//! zone that the pool has backends in. Then a zone whose share of the healthy capacity is at least its share of the
//! traffic keeps its traffic whole; another one keeps as much as it has capacity for, and the rest spills over to the
//! zones that have some to spare, in proportion to what they can spare. If all nodes do so, each zone gets work by its
//! capacity, and no more than necessary crosses zones.

use super::levels::ratio;

/// Differences of shares below this are rounding.
const EPSILON: f64 = 1e-9;

/// One zone of a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    /// The weights of those who are used.
    pub(super) weight: u64,
    /// Whether it is the node's own.
    pub(super) own: bool,
    /// Whether it has a name. Those who have none stand nowhere: they have capacity, and no traffic of their own.
    pub(super) named: bool,
}

/// The share of each zone; `None` when there is nothing to prefer: no own zone here, or no other.
pub(super) fn split(zones: &[Zone]) -> Option<Vec<f64>> {
    let own = zones.iter().position(|zone| zone.own)?;
    let total: u64 = zones.iter().map(|zone| zone.weight).sum();
    if zones.len() < 2 || total == 0 {
        return None;
    }
    let traffic = ratio(1, zones.iter().filter(|zone| zone.named).count() as u64);
    let capacity = |zone: &Zone| ratio(zone.weight, total);
    let kept = (capacity(&zones[own]) / traffic).min(1.0);
    let mut shares = vec![0.0; zones.len()];
    if kept > 1.0 - EPSILON {
        shares[own] = 1.0;
        return Some(shares);
    }
    let spare = |zone: &Zone| {
        let needed = if zone.named { traffic } else { 0.0 };
        let spare = capacity(zone) - needed;
        if zone.own || spare < EPSILON { 0.0 } else { spare }
    };
    let spares: f64 = zones.iter().map(spare).sum();
    for (share, zone) in shares.iter_mut().zip(zones) {
        *share = (1.0 - kept) * spare(zone) / spares;
    }
    shares[own] = kept;
    Some(shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(weights: &[u64], own: usize) -> Vec<Zone> {
        let zone = |(at, weight): (usize, &u64)| Zone {
            weight: *weight,
            own: at == own,
            named: true,
        };
        weights.iter().enumerate().map(zone).collect()
    }

    fn percent(weights: &[u64], own: usize) -> Vec<i64> {
        let shares = split(&zones(weights, own)).expect("there is an own zone");
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        #[expect(clippy::cast_possible_truncation, reason = "0 to 100")]
        let percent = |share: &f64| (share * 100.0).round() as i64;
        shares.iter().map(percent).collect()
    }

    #[test]
    fn the_own_zone_keeps_what_it_has_capacity_for() {
        for (weights, own, expected) in [
            (&[5, 5, 5][..], 0, &[100, 0, 0][..]),
            (&[8, 4, 3], 0, &[100, 0, 0]),
            (&[2, 6, 4], 0, &[50, 50, 0]),
            (&[0, 6, 6], 0, &[0, 50, 50]),
            (&[1, 3], 0, &[50, 50]),
            (&[1, 5, 6], 0, &[25, 25, 50]),
        ] {
            assert_eq!(percent(weights, own), expected, "{weights:?}");
        }
    }

    #[test]
    fn all_nodes_together_load_each_zone_by_its_capacity() {
        for weights in [&[1u64, 2, 3][..], &[0, 1, 9], &[4, 4, 1, 7], &[1, 1]] {
            let total: u64 = weights.iter().sum();
            let mut load = vec![0.0; weights.len()];
            for own in 0..weights.len() {
                let shares = split(&zones(weights, own)).expect("there is an own zone");
                for (load, share) in load.iter_mut().zip(shares) {
                    *load += share * ratio(1, weights.len() as u64);
                }
            }
            for (load, weight) in load.iter().zip(weights) {
                assert!((load - ratio(*weight, total)).abs() < 1e-9, "{weights:?}: {load}");
            }
        }
    }

    #[test]
    fn those_without_a_zone_have_capacity_and_no_traffic() {
        let mut mixed = zones(&[2, 2], 0);
        mixed[1].named = false;
        assert_eq!(split(&mixed), Some(vec![0.5, 0.5]));
    }

    #[test]
    fn there_is_nothing_to_prefer_without_an_own_zone_or_another() {
        assert_eq!(split(&zones(&[1, 2], 9)), None);
        assert_eq!(split(&zones(&[3], 0)), None);
        assert_eq!(split(&zones(&[0, 0], 0)), None);
        assert_eq!(split(&[]), None);
    }
}

//! From how each backend stands to a [`View`]: priorities, panic, zones, effective weights. The same function fills the
//! record of a decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::levels::{Census, Level, Mode, levels};
use super::slow_start::STEPS;
use super::spec::MemberStatus;
use super::standing::Standing;
use super::zones::{Zone, split};
use super::{Membership, notes};
use crate::balance::Policy;
use crate::decision::{Record, note};
use crate::health::State;
use crate::members::Members;
use crate::pool::{Keeper, Keepers, Tier, View};
use crate::time::Now;

/// Who is used, in tiers, before pickers are built.
struct Arrangement {
    tiers: Vec<Group>,
    /// By standing: whether it is used where its priority has work.
    usable: Vec<bool>,
    panicking: bool,
    has_backends: bool,
    /// Whether any of those who are used is well, as far as is known.
    has_well: bool,
}

/// A tier in the making: its share of the pool's work, and the places of its members.
struct Group {
    share: f64,
    places: Vec<usize>,
}

/// One priority: who would take work there if all were healthy.
struct Priority {
    number: u32,
    places: Vec<usize>,
    census: Census,
}

impl Arrangement {
    /// Priorities that get no share of the work are tiers all the same: a retry of what failed on the only backend of
    /// the first priority has nowhere else to go, until checks or ejection have found out.
    fn add_reserves(&mut self, priorities: &[Priority], levels: &[Level]) {
        let idle = priorities.iter().zip(levels).filter(|(_, level)| level.load <= 0.0);
        for (priority, _) in idle {
            let places: Vec<usize> = priority.places.iter().copied().filter(|at| self.usable[*at]).collect();
            if !places.is_empty() {
                self.tiers.push(Group { share: 0.0, places });
            }
        }
    }
}

impl Membership {
    /// Who may be chosen at `now`, with a picker of `policy` for each tier.
    ///
    /// Effective weights: while anybody of a tier is in a slow start, every weight there is counted in tenths (weight 1
    /// is 10, and begins as 1); otherwise weights are as configured. A policy with a key ignores slow starts.
    pub fn view(&self, policy: &dyn Policy, now: Now, mut record: Record<'_>) -> View {
        let arrangement = self.arrange(now, &mut record);
        let ramps = policy.key().is_none();
        let tiers = arrangement.tiers.iter().map(|group| {
            let ramping = ramps && group.places.iter().any(|at| self.standings[*at].step(now) < STEPS);
            let members = Members::new(group.places.iter().map(|at| {
                let standing = &self.standings[*at];
                standing.member(ramping.then(|| standing.step(now)))
            }));
            Tier {
                share: group.share,
                picker: policy.build(&members),
                members,
            }
        });
        View {
            tiers: tiers.collect(),
            panicking: arrangement.panicking,
            has_backends: arrangement.has_backends,
            has_well: arrangement.has_well,
            keepers: self.keepers(&arrangement.usable),
        }
    }

    /// Who keeps sticky sessions.
    fn keepers(&self, usable: &[bool]) -> Keepers {
        if self.rules.sticky.is_none() {
            return Keepers::default();
        }
        let places = self.standings.iter().zip(usable);
        let keeping = places.filter(|(standing, usable)| standing.keeps_sessions(**usable));
        let keeper = |(standing, _): (&Standing, &bool)| {
            let member = standing.member(None);
            let until = standing.drains_until(&self.rules);
            (member.backend.id, Keeper { member, until })
        };
        Keepers {
            members: keeping.map(keeper).collect(),
            tags: self.tags.clone(),
        }
    }

    /// How each backend stands at `now`, in the order in which they were set.
    pub fn status(&self, policy: &dyn Policy, now: Now) -> Vec<MemberStatus> {
        let arrangement = self.arrange(now, &mut None);
        let ramps = policy.key().is_none();
        let of = |(standing, usable): (&Standing, &bool)| {
            let step = if ramps { standing.step(now) } else { STEPS };
            let effective = f64::from(standing.weight()) * f64::from(step) / f64::from(STEPS);
            MemberStatus {
                backend: standing.spec.backend.clone(),
                name: standing.spec.name.clone(),
                weight: standing.weight(),
                load_line: standing.spec.limits.load_line(&standing.spec.backend),
                effective_weight: if *usable { effective } else { 0.0 },
                zone: standing.spec.zone.clone(),
                priority: standing.spec.priority,
                state: standing.state,
                cause: standing.cause.clone(),
                since: standing.since,
                operator: standing.operator,
                ejected_until: standing.ejection.until(),
                drains_until: standing.drains_until(&self.rules),
            }
        };
        self.standings.iter().zip(&arrangement.usable).map(of).collect()
    }

    fn arrange(&self, now: Now, record: &mut Record<'_>) -> Arrangement {
        let priorities = self.priorities();
        let censuses: Vec<Census> = priorities.iter().map(|priority| priority.census).collect();
        let levels = levels(&censuses, self.rules.panic_threshold);
        let mut arrangement = Arrangement {
            tiers: Vec::new(),
            usable: vec![false; self.standings.len()],
            panicking: false,
            has_backends: !priorities.is_empty(),
            has_well: false,
        };
        for (priority, level) in priorities.iter().zip(&levels) {
            for at in &priority.places {
                let standing = &self.standings[*at];
                let usable = is_usable(standing, level.mode, &priority.census);
                arrangement.usable[*at] = usable;
                arrangement.has_well |= usable && matches!(standing.state, State::Healthy | State::Unknown);
            }
            arrangement.panicking |= level.mode == Mode::Panicking;
        }
        if record.is_some() {
            self.note_members(&arrangement.usable, now, record);
        }
        for (priority, level) in priorities.iter().zip(&levels) {
            note(record, || notes::level(priority.number, *level, &priority.census));
            if level.load > 0.0 {
                self.add_tiers(priority, *level, &mut arrangement, record);
            }
        }
        if !arrangement.tiers.is_empty() {
            arrangement.add_reserves(&priorities, &levels);
        }
        arrangement
    }

    /// Those who would take work if they were healthy, by priority.
    fn priorities(&self) -> Vec<Priority> {
        let mut priorities: BTreeMap<u32, (Vec<usize>, Census)> = BTreeMap::new();
        for (at, standing) in self.standings.iter().enumerate() {
            if !standing.in_rotation() {
                continue;
            }
            let (places, census) = priorities.entry(standing.spec.priority).or_default();
            places.push(at);
            let crowd = match standing.state {
                State::Healthy => &mut census.healthy,
                State::Unknown if standing.founder => &mut census.founders,
                State::Unknown => &mut census.newcomers,
                _ => &mut census.sick,
            };
            crowd.add(standing.weight());
        }
        priorities
            .into_iter()
            .map(|(number, (places, census))| Priority { number, places, census })
            .collect()
    }

    /// Adds the tiers of one level: its own zone's, those that this spills over to, and one without a share for the other
    /// zones, where a retry or what finds all others full can still go. A level that panics knows nothing of its zones'
    /// capacity, and is one tier.
    fn add_tiers(&self, priority: &Priority, level: Level, into: &mut Arrangement, record: &mut Record<'_>) {
        let own = self.rules.zone.as_ref().filter(|_| self.rules.zone_aware);
        let zoned = own.filter(|_| level.mode != Mode::Panicking).and_then(|own| {
            let zones = self.zones(priority, own, &into.usable);
            split(&zones.iter().map(|(_, zone, _)| *zone).collect::<Vec<_>>()).map(|shares| (zones, shares))
        });
        let Some((zones, shares)) = zoned else {
            let places = priority.places.iter().copied().filter(|at| into.usable[*at]);
            into.tiers.push(Group {
                share: level.load,
                places: places.collect(),
            });
            return;
        };
        let first = into.tiers.len();
        let mut rest = Vec::new();
        for ((name, zone, places), share) in zones.into_iter().zip(shares) {
            note(record, || notes::zone(name.as_deref(), zone.own, share));
            let share = level.load * share;
            match (share > 0.0, zone.own) {
                (true, true) => into.tiers.insert(first, Group { share, places }),
                (true, false) => into.tiers.push(Group { share, places }),
                (false, _) => rest.extend(places),
            }
        }
        if !rest.is_empty() {
            into.tiers.push(Group {
                share: 0.0,
                places: rest,
            });
        }
    }

    /// The zones that a priority has backends in, healthy or not, with the places of those who are used.
    fn zones(&self, priority: &Priority, own: &Arc<str>, usable: &[bool]) -> Vec<(Option<Arc<str>>, Zone, Vec<usize>)> {
        let mut zones: BTreeMap<Option<&Arc<str>>, (u64, Vec<usize>)> = BTreeMap::new();
        for at in &priority.places {
            let standing = &self.standings[*at];
            let (weight, places) = zones.entry(standing.spec.zone.as_ref()).or_default();
            if usable[*at] {
                *weight += u64::from(standing.weight());
                places.push(*at);
            }
        }
        let zone = |(name, (weight, places)): (Option<&Arc<str>>, (u64, Vec<usize>))| {
            let zone = Zone {
                weight,
                own: name == Some(own),
                named: name.is_some(),
            };
            (name.cloned(), zone, places)
        };
        zones.into_iter().map(zone).collect()
    }

    fn note_members(&self, usable: &[bool], now: Now, record: &mut Record<'_>) {
        for (standing, usable) in self.standings.iter().zip(usable) {
            note(record, || notes::member(standing, *usable, (now, &self.rules)));
        }
    }
}

/// Whether `standing` is used where its priority is in `mode`.
fn is_usable(standing: &Standing, mode: Mode, census: &Census) -> bool {
    match standing.state {
        State::Healthy => true,
        State::Unknown if standing.founder => mode != Mode::Serving,
        // A newcomer's first check comes within an interval; only where nobody is healthy is it worth a try before.
        State::Unknown => mode == Mode::Panicking && census.healthy.count == 0,
        State::Unhealthy | State::Ejected => mode == Mode::Panicking,
        State::Draining | State::Maintenance => false,
    }
}

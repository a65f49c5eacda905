//! The sticky entry, which is looked at before anybody is picked.

use std::collections::HashMap;
use std::sync::Arc;

use super::{AcquireCx, Lease, Pool, Refusal, View};
use crate::decision::{Stage, Verdict, note};
use crate::members::Member;
use crate::name::BackendId;
use crate::rng::IdState;
use crate::sticky::{Sticky, Tags, Tie};
use crate::time::Now;

/// Who keeps sticky sessions: the healthy, and with them those who get nothing new. Empty in pools that have none.
#[derive(Debug, Default)]
pub struct Keepers {
    /// By identity.
    pub members: HashMap<BackendId, Keeper, IdState>,
    /// Whom cookies mean.
    pub tags: Arc<Tags>,
}

/// One who keeps its sessions.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// It as a member; its weight may be 0.
    pub member: Member,
    /// Until when, if it is draining.
    pub until: Option<Now>,
}

impl Pool {
    /// The same pool with sticky sessions.
    #[must_use]
    pub fn sticking(self, sticky: Option<Arc<Sticky>>) -> Self {
        Pool { sticky, ..self }
    }

    /// Its sticky sessions, if it has any.
    pub fn sticky(&self) -> Option<&Arc<Sticky>> {
        self.sticky.as_ref()
    }

    /// The right to send one request or connection to one backend, or why there is none: to the one that its sticky
    /// session belongs to, or else the one that the policy picks.
    pub fn acquire(self: &Arc<Self>, view: &View, seq: u64, cx: &mut AcquireCx<'_>) -> Result<Lease, Refusal> {
        let (Some(sticky), Some(tie)) = (&self.sticky, cx.tie) else {
            return self.pick(view, seq, cx);
        };
        let asking = cx.is_question;
        match self.kept(sticky, tie, view, cx) {
            Ok((lease, keeper)) => {
                note(&mut cx.record, || keeper.step(sticky, cx.now));
                if !asking {
                    sticky.stayed(tie, lease.backend(), cx.now);
                }
                Ok(lease)
            }
            Err(loose) => {
                note(&mut cx.record, || loose.step(sticky));
                let lease = self.pick(view, seq, cx)?;
                if !asking {
                    sticky.learn(tie, lease.backend().id, cx.now);
                }
                Ok(lease)
            }
        }
    }

    /// Whether the session of `tie` has a backend in `view` that keeps it.
    pub fn keeps(&self, tie: &Tie, view: &View, now: Now) -> bool {
        let named = self.sticky.as_ref().and_then(|sticky| named(sticky, tie, view, now));
        let keeper = named.and_then(|id| view.keepers.members.get(&id));
        keeper.is_some_and(|keeper| keeper.until.is_none_or(|until| now < until))
    }

    /// A lease on the backend of the session, unless it is gone, may not be used, was tried in vain, or is full.
    fn kept<'v>(
        self: &Arc<Self>,
        sticky: &Sticky,
        tie: &Tie,
        view: &'v View,
        cx: &AcquireCx<'_>,
    ) -> Result<(Lease, &'v Keeper), Loose<'v>> {
        if tie.opened.is_none() && tie.key.is_none() {
            return Err(Loose::Without);
        }
        let named = named(sticky, tie, view, cx.now).ok_or(match tie.opened {
            Some(_) => Loose::Gone,
            None => Loose::New,
        })?;
        let keeper = view.keepers.members.get(&named).ok_or(Loose::Unfit)?;
        let backend = &keeper.member.backend;
        if keeper.until.is_some_and(|until| until <= cx.now) {
            Err(Loose::Drained(keeper))
        } else if cx.tried.contains(&named) {
            Err(Loose::Tried(keeper))
        } else if backend.load.enter(keeper.member.limits.load_line(backend)) {
            Ok((Lease::kept(self.clone(), &keeper.member), keeper))
        } else {
            Err(Loose::Full(keeper))
        }
    }
}

/// The backend that the session of `tie` belongs to, whatever has become of it.
fn named(sticky: &Sticky, tie: &Tie, view: &View, now: Now) -> Option<BackendId> {
    match tie.opened {
        Some(opened) => view.keepers.tags.find(opened.tag),
        None => sticky.find(tie, now),
    }
}

/// Why a request is not sent where its session belongs.
enum Loose<'v> {
    /// It brings nothing that would tell.
    Without,
    /// It is the first of its session.
    New,
    /// The backend is no longer in the pool.
    Gone,
    /// It is not to be used: unhealthy, ejected, in maintenance, or gone.
    Unfit,
    /// It has drained until its deadline.
    Drained(&'v Keeper),
    /// It was tried.
    Tried(&'v Keeper),
    /// It carries as much as it may.
    Full(&'v Keeper),
}

type Told = (Stage, String, Verdict, String);

impl Loose<'_> {
    fn step(&self, sticky: &Sticky) -> Told {
        let by = sticky.settings.by.text();
        let (whose, why) = match self {
            Loose::Without => {
                let why = format!("by {by}, and the request brings none that holds: the policy picks");
                return (Stage::Pick, "sticky".into(), Verdict::Passed, why);
            }
            Loose::New => {
                let why = format!("by {by}, which is new here: the policy picks");
                return (Stage::Pick, "sticky".into(), Verdict::Passed, why);
            }
            Loose::Gone => (None, "is gone"),
            Loose::Unfit => (None, "is not to be used now"),
            Loose::Drained(keeper) => (Some(keeper), "has drained until its deadline"),
            Loose::Tried(keeper) => (Some(keeper), "was tried in vain"),
            Loose::Full(keeper) => (Some(keeper), "carries as much as it may"),
        };
        let subject = whose.map_or_else(|| "sticky".into(), |keeper| keeper.member.name.to_string());
        let why = format!("the session's backend, by {by}, {why}: the policy picks, and the session moves");
        (Stage::Pick, subject, Verdict::Refused, why)
    }
}

impl Keeper {
    fn step(&self, sticky: &Sticky, now: Now) -> Told {
        let mut why = format!("the session belongs to it, by {}", sticky.settings.by.text());
        if let Some(until) = self.until {
            let left = until.since(now).as_secs_f64();
            why.push_str(&format!("; it drains, and keeps its sessions for {left:.1} s more"));
        } else if self.member.weight == 0 {
            why.push_str("; of weight 0, it keeps the sessions that it has");
        }
        (Stage::Pick, self.member.name.to_string(), Verdict::Taken, why)
    }
}

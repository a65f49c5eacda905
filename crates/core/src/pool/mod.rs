//! A pool: a named group of backends with one policy, and the only loop that picks.

mod lease;
mod queue;
mod sticky;
mod view;

pub use lease::{Alarm, Lease};
pub use queue::{Called, Queue, QueueFull, QueueSettings, Ticket};
pub use sticky::{Keeper, Keepers};
pub use view::{Tier, View, ViewReader};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::balance::{HashKey, PickCx, Policy, PolicyConfig};
use crate::budget::{Budget, BudgetRules};
use crate::decision::{Record, Stage, Verdict, note};
use crate::latencies::Latencies;
use crate::members::{Member, Members};
use crate::name::{BackendId, NameId};
use crate::outcome::Reason;
use crate::rng::Rng;
use crate::sticky::{Sticky, Tie};
use crate::time::Now;

/// The most backends that one request is tried on, and the most picks of one acquire. Beyond it the pool counts as full.
pub const TRIES_MAX: usize = 16;

/// What is spoken to a pool's backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendProtocol {
    /// HTTP/1.1: a connection carries one request at a time.
    #[default]
    H1,
    /// HTTP/2: a connection carries many at once.
    H2,
    /// What each backend chooses of the two; there is TLS to be asked by.
    Auto,
}

impl BackendProtocol {
    /// What people call it.
    pub const fn words(self) -> &'static str {
        match self {
            BackendProtocol::H1 => "HTTP/1.1",
            BackendProtocol::H2 => "HTTP/2",
            BackendProtocol::Auto => "HTTP/2 or HTTP/1.1",
        }
    }
}

/// How backends are told whom a connection is for: by which version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary, with what else there is to say.
    V2,
}

impl ProxyVersion {
    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            ProxyVersion::V1 => 1,
            ProxyVersion::V2 => 2,
        }
    }
}

/// How the data plane shall treat a pool's backends.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// What is spoken to them.
    pub protocol: BackendProtocol,
    /// Whether it is spoken within TLS; with whom, and who vouches for them, stands beside the snapshot.
    pub tls: bool,
    /// Time to make a connection.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept for the next request.
    pub idle_timeout: Duration,
    /// Time from the request's end to the head of the answer.
    pub response_header_timeout: Duration,
    /// Failures in a row after which control is told.
    pub consecutive_errors: u32,
    /// Whether the times of answers are summed up, for backends that are compared by latency.
    pub compares_latency: bool,
    /// Whether connections to a backend that becomes unhealthy are ended.
    pub closes_unhealthy: bool,
    /// How many may wait for a place, and how long.
    pub queue: QueueSettings,
    /// Whether backends' reports of their own load ([`orca`](crate::orca)) are believed.
    pub orca: bool,
    /// How much may be spent on retries here.
    pub retry_budget: BudgetRules,
    /// Whether quantiles of the latency are wanted ([`Pool::latencies`]).
    pub measured: bool,
    /// Whether each connection begins with a header of the PROXY protocol. Such a connection is one client's, and is kept
    /// for nobody else.
    pub send_proxy: Option<ProxyVersion>,
}

/// A named group of backends with one policy.
pub struct Pool {
    /// Its number.
    pub id: NameId,
    /// Its name.
    pub name: Arc<str>,
    /// The policy as configured.
    pub policy: PolicyConfig,
    /// Timeouts and thresholds.
    pub settings: PoolSettings,
    retry_budget: Arc<Budget>,
    latencies: Option<Arc<Latencies>>,
    queue: Arc<Queue>,
    sticky: Option<Arc<Sticky>>,
    view: ArcSwap<View>,
    /// A high quantile of the latency to the head of an answer, in microseconds: what a failure counts as at least.
    slow_tail: AtomicU64,
}

/// Why no lease was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The pool has no backend that takes work.
    NoBackend,
    /// It has backends, and none is healthy.
    NoHealthyBackend,
    /// Those that are left carry as much as they may.
    Full,
    /// All were tried for this request.
    Exhausted,
}

impl Refusal {
    /// The reason that the client is given.
    pub fn reason(self) -> Reason {
        match self {
            Refusal::NoBackend => Reason::NoBackend,
            Refusal::NoHealthyBackend => Reason::NoHealthyBackend,
            Refusal::Full | Refusal::Exhausted => Reason::PoolFull,
        }
    }
}

/// What one acquire depends on.
pub struct AcquireCx<'a> {
    /// The time.
    pub now: Now,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// The hash of the request's key; a random number when it has none.
    pub key: u64,
    /// The backends that this request was tried on.
    pub tried: &'a [BackendId],
    /// What it says of its sticky session, where the pool has those.
    pub tie: Option<&'a Tie>,
    /// Whether nobody is there, and somebody only asks who would take it: no session is kept or learned.
    pub is_question: bool,
    /// The record to fill, when somebody asked for one.
    pub record: Record<'a>,
}

impl Pool {
    /// A pool whose members are published with [`publish`](Self::publish).
    pub fn new(
        id: NameId,
        name: impl Into<Arc<str>>,
        policy: PolicyConfig,
        settings: PoolSettings,
        view: View,
    ) -> Self {
        Pool {
            id,
            name: name.into(),
            policy,
            retry_budget: Arc::new(Budget::new(settings.retry_budget)),
            latencies: settings.measured.then(Arc::default),
            settings,
            queue: Arc::default(),
            sticky: None,
            view: ArcSwap::from_pointee(view),
            slow_tail: AtomicU64::new(0),
        }
    }

    /// The same pool with what `before` had: who waits goes on waiting through a reload, and what was spent on retries
    /// stays spent.
    #[must_use]
    pub fn continuing(self, before: &Pool) -> Self {
        Pool {
            queue: before.queue.clone(),
            retry_budget: before.retry_budget.clone(),
            latencies: self.latencies.map(|own| before.latencies.clone().unwrap_or(own)),
            slow_tail: AtomicU64::new(before.slow_tail.load(Relaxed)),
            ..self
        }
    }

    /// How long its backends took to begin their answers of late, where somebody wants to know.
    pub fn latencies(&self) -> Option<&Latencies> {
        self.latencies.as_deref()
    }

    /// Counts a request, which earns a part of a retry.
    pub fn earn_retry(&self, now: Now) {
        self.retry_budget.deposit(self.settings.retry_budget, now);
    }

    /// Charges a retry to the budget, unless that is spent.
    pub fn spend_retry(&self, now: Now) -> bool {
        self.retry_budget.withdraw(self.settings.retry_budget, now)
    }

    /// A retry that was charged and not made.
    pub fn unspend_retry(&self, now: Now) {
        self.retry_budget.give_back(self.settings.retry_budget, now);
    }

    /// Who waits for a place on one of its backends.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// What the policy's choice depends on, when it hashes.
    pub fn key(&self) -> Option<&HashKey> {
        self.policy.key()
    }

    /// Puts another view in place, in one swap. Only the control plane's publisher calls it.
    pub fn publish(&self, view: View) {
        self.view.store(Arc::new(view));
        // There may be places that were not there, or nobody left to wait for.
        self.queue.call_while_served();
    }

    /// The view as it is now, for those who are not on the hot path.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// The same for a moment, without a count that threads would share.
    pub(crate) fn glance(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// Reads the view through a worker's own cache.
    pub fn reader(self: &Arc<Self>, rng: &mut Rng) -> ViewReader {
        ViewReader::new(self.clone(), rng.bits())
    }

    /// The least latency that a failure counts as.
    pub fn slow_tail(&self) -> Duration {
        Duration::from_micros(self.slow_tail.load(Relaxed))
    }

    /// Takes in what an answer took to begin.
    fn observe(&self, latency: Duration, now: Now) {
        self.observe_slow_tail(latency);
        if let Some(latencies) = &self.latencies {
            latencies.observe(latency, now);
        }
    }

    /// Moves the slow tail towards the 95th percentile of the samples: up by a nineteenth of what a sample below
    /// would take it down (the quantile's stochastic approximation, Robbins and Monro 1951).
    fn observe_slow_tail(&self, sample: Duration) {
        const UP: u64 = 19;
        let sample = u64::try_from(sample.as_micros()).unwrap_or(u64::MAX);
        let tail = self.slow_tail.load(Relaxed);
        let step = (tail / 256).max(1);
        // A store for one sample in a few would do as well; most samples change nothing that matters.
        let next = if sample > tail {
            sample.min(tail + UP * step + sample.saturating_sub(tail) / 16)
        } else {
            tail.saturating_sub(step)
        };
        if next != tail {
            self.slow_tail.store(next, Relaxed);
        }
    }

    /// The right to send one request or connection to the backend that the policy picks: the only loop that picks.
    fn pick(self: &Arc<Self>, view: &View, seq: u64, cx: &mut AcquireCx<'_>) -> Result<Lease, Refusal> {
        let Some(first) = view.draw(cx.rng) else {
            note(&mut cx.record, || {
                let why = if view.has_backends {
                    "no backend is healthy"
                } else {
                    "no backend takes work"
                };
                (Stage::Tier, self.name.to_string(), Verdict::Refused, why.into())
            });
            return Err(if view.has_backends {
                Refusal::NoHealthyBackend
            } else {
                Refusal::NoBackend
            });
        };
        let mut full = false;
        // The drawn tier first, then the others in their order: work is refused only when no tier can take it.
        for at in std::iter::once(first).chain((0..view.tiers.len()).filter(|at| *at != first)) {
            let tier = &view.tiers[at];
            match self.acquire_in(tier, seq, cx) {
                Ok(lease) => return Ok(lease),
                Err(Refusal::Full) => full = true,
                Err(_) => {}
            }
        }
        Err(if full { Refusal::Full } else { Refusal::Exhausted })
    }

    fn acquire_in(self: &Arc<Self>, tier: &Tier, seq: u64, cx: &mut AcquireCx<'_>) -> Result<Lease, Refusal> {
        let mut skip = [BackendId(0); TRIES_MAX];
        let mut skipped = cx.tried.len().min(TRIES_MAX);
        skip[..skipped].copy_from_slice(&cx.tried[..skipped]);
        let mut full = false;
        while skipped < TRIES_MAX {
            let slot = tier.picker.pick(
                &tier.members,
                &mut PickCx {
                    now: cx.now,
                    rng: cx.rng,
                    seq,
                    key: cx.key,
                    tried: &skip[..skipped],
                    record: cx.record.as_deref_mut(),
                },
            );
            let Some(member) = slot.and_then(|slot| tier.members.get(slot)) else {
                break;
            };
            if member.backend.load.enter(member.limits.load_line(&member.backend)) {
                return Ok(Lease::new(self.clone(), member));
            }
            note(&mut cx.record, || full_step(member));
            full = true;
            skip[skipped] = member.backend.id;
            skipped += 1;
        }
        Err(if full { Refusal::Full } else { Refusal::Exhausted })
    }
}

fn full_step(member: &Member) -> (Stage, String, Verdict, String) {
    let why = format!(
        "full: {} in flight of {}{}",
        member.backend.load.in_flight(),
        member.limits.load_line(&member.backend),
        if member.limits.learned.is_some() {
            ", which is what it was found to carry"
        } else {
            ""
        }
    );
    (Stage::Pick, member.name.to_string(), Verdict::Refused, why)
}

impl View {
    /// A view with one tier of `members` under `policy`.
    pub fn single(members: Members, policy: &dyn Policy) -> Self {
        if members.is_empty() {
            return View::default();
        }
        let picker = policy.build(&members);
        View {
            tiers: [Tier {
                share: 1.0,
                members,
                picker,
            }]
            .into(),
            panicking: false,
            has_backends: true,
            has_well: true,
            keepers: Keepers::default(),
        }
    }
}

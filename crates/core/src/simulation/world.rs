//! The world of a simulation: its clock, its agenda, and what a node does in it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::backends::{Behaviour, Model, Server};
use crate::backend::Backend;
use crate::balance::{Policy, PolicyConfig};
use crate::budget::BudgetRules;
use crate::health::State;
use crate::members::Limits;
use crate::membership::{Event, Membership, Rules, Spec, Transition};
use crate::name::{BackendId, NameId};
use crate::outcome::{Failure, Outcome, Reason};
use crate::pool::{
    AcquireCx, Alarm, BackendProtocol, Lease, Pool, PoolSettings, QueueSettings, Refusal, View, ViewReader,
};
use crate::rng::Rng;
use crate::time::Now;

/// Between two checks of one backend.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// What a refusal, a reset and an answer of 500 take.
const FAST: Duration = Duration::from_millis(1);
/// How long a request waits while all are full.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);
/// Workers, each with its own view and sequence.
const WORKERS: usize = 2;

/// What a simulation starts from.
pub(super) struct Setup {
    pub(super) seed: u64,
    pub(super) rules: Rules,
    pub(super) policy: Arc<dyn Policy>,
    pub(super) models: Vec<Model>,
    /// Requests a second; they come as a Poisson process, whatever becomes of them.
    pub(super) rate: f64,
    /// The share of requests for a URL that answers 500 on every backend.
    pub(super) broken_url: f64,
    /// What each backend may carry.
    pub(super) limits: Limits,
    /// How many requests may wait while all are full.
    pub(super) queue: usize,
}

impl Setup {
    /// A pool without backends or work, under the default rules.
    pub(super) fn new(policy: Arc<dyn Policy>) -> Self {
        Setup {
            seed: 1,
            rules: Rules::default(),
            policy,
            models: Vec::new(),
            rate: 0.0,
            broken_url: 0.0,
            limits: Limits::default(),
            queue: 0,
        }
    }
}

/// What an entry of the agenda is about.
#[derive(Clone, Copy)]
enum Happening {
    Arrival,
    /// A request's service ends.
    Done {
        request: usize,
        attempt: usize,
    },
    Check(usize),
}

/// A request on its way.
struct Request {
    arrived: Now,
    begun: Now,
    broken: bool,
    lease: Option<Lease>,
    tried: Vec<BackendId>,
}

pub(super) struct World {
    pub(super) now: Now,
    pub(super) rng: Rng,
    agenda: BTreeMap<(Now, u64), Happening>,
    entries: u64,
    pub(super) membership: Membership,
    pub(super) policy: Arc<dyn Policy>,
    pub(super) pool: Arc<Pool>,
    workers: Vec<ViewReader>,
    published: u64,
    pub(super) servers: Vec<Server>,
    pub(super) backends: Vec<Arc<Backend>>,
    requests: Vec<Request>,
    /// Those that wait for a backend, in the order of arrival.
    queue: VecDeque<usize>,
    queue_most: usize,
    limits: Limits,
    pub(super) rate: f64,
    pub(super) broken_url: f64,
    /// Milliseconds from arrival to the end, of the requests that were answered below 500.
    pub(super) latencies: Vec<f64>,
    /// Answers of 500, and requests that failed after their retry.
    pub(super) failed: u64,
    pub(super) refused: u64,
    pub(super) transitions: Vec<Transition>,
    /// Steps with a view that panics.
    pub(super) panicking: u64,
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let mut rng = Rng::seeded(setup.seed);
        let settings = PoolSettings {
            protocol: BackendProtocol::H1,
            tls: false,
            connect_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(55),
            response_header_timeout: Duration::from_secs(60),
            consecutive_errors: setup
                .rules
                .outlier
                .as_ref()
                .map_or(0, |outlier| outlier.consecutive_errors),
            compares_latency: (setup.rules.outlier.as_ref()).is_some_and(|outlier| outlier.latency.is_some()),
            closes_unhealthy: false,
            queue: QueueSettings::default(),
            orca: false,
            measured: false,
            retry_budget: BudgetRules::default(),
            send_proxy: None,
        };
        let config = PolicyConfig::named("round-robin").unwrap();
        let pool = Arc::new(Pool::new(NameId(0), "p", config, settings, View::default()));
        let backend = |at: usize| {
            let number = u16::try_from(at + 1).unwrap();
            let address = SocketAddr::from(([10, 0, 0, 1], number));
            Arc::new(Backend::new(BackendId(u32::from(number)), "p", address))
        };
        let mut world = World {
            now: Now::START,
            agenda: BTreeMap::new(),
            entries: 0,
            membership: Membership::new(setup.rules),
            policy: setup.policy,
            workers: (0..WORKERS).map(|_| pool.reader(&mut rng)).collect(),
            pool,
            rng,
            published: u64::MAX,
            backends: (0..setup.models.len()).map(backend).collect(),
            servers: setup.models.into_iter().map(Server::new).collect(),
            requests: Vec::new(),
            queue: VecDeque::new(),
            queue_most: setup.queue,
            limits: setup.limits,
            rate: setup.rate,
            broken_url: setup.broken_url,
            latencies: Vec::new(),
            failed: 0,
            refused: 0,
            transitions: Vec::new(),
            panicking: 0,
        };
        let all: Vec<usize> = (0..world.servers.len()).collect();
        world.discover(&all);
        for at in all {
            // The first checks go out at once; later ones are spread over the interval.
            world.check(at);
            let spread = CHECK_INTERVAL.mul_f64(world.rng.unit());
            world.enter(spread, Happening::Check(at));
        }
        world.enter(Duration::ZERO, Happening::Arrival);
        world
    }

    pub(super) fn id(&self, at: usize) -> BackendId {
        self.backends[at].id
    }

    /// The states of those that are in the pool.
    pub(super) fn states(&self) -> Vec<State> {
        let all = self.membership.status(&*self.policy, self.now);
        all.iter().map(|status| status.state).collect()
    }

    /// Puts the servers with these numbers in the pool, and takes all others out.
    pub(super) fn discover(&mut self, present: &[usize]) {
        let spec = |at: &usize| {
            let model = &self.servers[*at].model;
            Spec {
                weight: model.weight,
                zone: model.zone.clone(),
                priority: model.priority,
                limits: self.limits,
                ..Spec::new(self.backends[*at].clone(), format!("b{at}"))
            }
        };
        let specs = present.iter().map(spec).collect();
        let transitions = self.membership.set(specs, self.now);
        self.control(transitions);
    }

    pub(super) fn behave(&mut self, at: usize, behaviour: Behaviour) {
        let server = &mut self.servers[at];
        server.behaviour = behaviour;
        if behaviour == Behaviour::Well {
            return;
        }
        for request in server.crash() {
            self.answered(request, Outcome::Failed(Failure::sent(Reason::BackendReset)));
        }
    }

    pub(super) fn apply(&mut self, event: Event) {
        let transitions = self.membership.apply(event, self.now, &mut self.rng);
        self.control(transitions);
    }

    /// Runs for so long.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let next = self.agenda.first_key_value().map(|(key, _)| key.0);
            let deadline = self.membership.next_deadline();
            let at = next
                .into_iter()
                .chain(deadline)
                .min()
                .map_or(end, |at| at.max(self.now));
            if at >= end {
                break;
            }
            self.now = at;
            if deadline == Some(at) {
                let transitions = self.membership.tick(at, &mut self.rng);
                self.control(transitions);
            } else if let Some((_, happening)) = self.agenda.pop_first() {
                self.happen(happening);
            }
            self.check_invariants();
        }
        self.now = end;
    }

    /// Lets no more requests arrive, runs until all that are there have ended, and checks that nothing is left.
    pub(super) fn finish(&mut self) {
        self.rate = 0.0;
        self.run(Duration::from_secs(120));
        for backend in &self.backends {
            assert_eq!(backend.load.in_flight(), 0, "all leases are finished");
        }
        assert!(self.requests.iter().all(|request| request.lease.is_none()));
    }

    fn enter(&mut self, after: Duration, happening: Happening) {
        self.entries += 1;
        self.agenda.insert((self.now + after, self.entries), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival => {
                if self.rate <= 0.0 {
                    return;
                }
                let gap = -(1.0 - self.rng.unit()).ln() / self.rate;
                self.enter(Duration::from_secs_f64(gap), Happening::Arrival);
                let broken = self.broken_url > 0.0 && self.rng.unit() < self.broken_url;
                self.requests.push(Request {
                    arrived: self.now,
                    begun: self.now,
                    broken,
                    lease: None,
                    tried: Vec::new(),
                });
                let request = self.requests.len() - 1;
                if self.queue.is_empty() {
                    self.attempt(request);
                } else {
                    self.stand(request);
                }
            }
            Happening::Done { request, attempt } => {
                let of = &self.requests[request];
                // What a crash has ended meanwhile is done already.
                if of.lease.is_none() || of.tried.len() != attempt {
                    return;
                }
                let server = self.server_of(request);
                let next = self.servers[server].leave(request);
                let fails = self.requests[request].broken || self.servers[server].fails(&mut self.rng);
                let status = if fails { 500 } else { 200 };
                if let Some(next) = next {
                    self.serve(server, next);
                }
                self.answered(request, Outcome::Answered(status));
            }
            Happening::Check(at) => {
                self.check(at);
                self.enter(CHECK_INTERVAL, Happening::Check(at));
            }
        }
    }

    fn server_of(&self, request: usize) -> usize {
        let id = self.requests[request].tried.last().expect("it was sent somewhere");
        self.backends
            .iter()
            .position(|backend| backend.id == *id)
            .expect("to one of ours")
    }

    /// Sends a request to a backend, as a worker does.
    fn attempt(&mut self, request: usize) {
        let worker = self.rng.index(WORKERS);
        let key = self.rng.bits();
        let tried = self.requests[request].tried.clone();
        let mut cx = AcquireCx {
            now: self.now,
            rng: &mut self.rng,
            key,
            tried: &tried,
            tie: None,
            is_question: false,
            record: None,
        };
        let lease = match self.workers[worker].acquire(&mut cx) {
            Ok(lease) => lease,
            Err(Refusal::Full) if tried.is_empty() => return self.stand(request),
            Err(refusal) => {
                assert_eq!(refusal == Refusal::NoBackend, !self.pool.view().has_backends);
                self.refused += u64::from(tried.is_empty());
                self.failed += u64::from(!tried.is_empty());
                return;
            }
        };
        assert!(!tried.contains(&lease.backend().id), "another one than before");
        self.check_pick(lease.backend().id);
        let of = &mut self.requests[request];
        of.tried.push(lease.backend().id);
        of.begun = self.now;
        of.lease = Some(lease);
        let at = self.server_of(request);
        let server = &mut self.servers[at];
        server.given += 1;
        match server.behaviour {
            Behaviour::Well | Behaviour::Flaky | Behaviour::Slow => {
                if let Some(next) = server.arrive(request) {
                    self.serve(at, next);
                }
            }
            Behaviour::Down => self.answered(request, Outcome::Failed(Failure::unsent(Reason::ConnectFailed))),
            Behaviour::Resets => self.answered(request, Outcome::Failed(Failure::last(Reason::BackendReset))),
            Behaviour::ServerErrors => {
                server.serving.push(request);
                let attempt = self.requests[request].tried.len();
                self.enter(FAST, Happening::Done { request, attempt });
            }
        }
    }

    /// Waits for a backend, if it may.
    fn stand(&mut self, request: usize) {
        if self.queue.len() < self.queue_most {
            self.queue.push_back(request);
        } else {
            self.refused += 1;
        }
    }

    /// A place has become free: whoever waits is next, but for those who have waited too long.
    fn next(&mut self) {
        let mut waiting = std::mem::take(&mut self.queue);
        while let Some(request) = waiting.pop_front() {
            if self.now.since(self.requests[request].arrived) > QUEUE_TIMEOUT {
                self.refused += 1;
                continue;
            }
            self.attempt(request);
            if !self.queue.is_empty() {
                break;
            }
        }
        self.queue.append(&mut waiting);
    }

    fn serve(&mut self, at: usize, request: usize) {
        let time = match self.requests[request].broken {
            true => FAST,
            false => self.servers[at].service_time(&mut self.rng),
        };
        let attempt = self.requests[request].tried.len();
        self.enter(time, Happening::Done { request, attempt });
    }

    /// A request's lease ends: it is recorded, control is told when it must be, and what may be is retried once.
    fn answered(&mut self, request: usize, outcome: Outcome) {
        let of = &mut self.requests[request];
        let lease = of.lease.take().expect("it was under way");
        let backend = lease.backend().id;
        let alarm = lease.finish(outcome, self.now.since(of.begun), self.now);
        match outcome {
            Outcome::Answered(status) if status < 500 => {
                self.latencies.push(self.now.since(of.arrived).as_secs_f64() * 1e3);
            }
            Outcome::Failed(failure) if failure != Failure::last(failure.reason) && of.tried.len() == 1 => {
                self.attempt(request);
            }
            _ => self.failed += 1,
        }
        if alarm == Alarm::Suspect {
            self.apply(Event::Suspect { backend });
        }
        self.next();
    }

    fn check(&mut self, at: usize) {
        let passed = self.servers[at].behaviour.passes_checks();
        self.apply(Event::Check {
            backend: self.id(at),
            passed,
            cause: if passed { "" } else { "connection refused" }.into(),
        });
    }

    /// What the control plane does after everything that it took in: it publishes what has changed.
    fn control(&mut self, transitions: Vec<Transition>) {
        self.transitions.extend(transitions);
        if self.published != self.membership.revision() {
            self.published = self.membership.revision();
            self.pool.publish(self.membership.view(&*self.policy, self.now, None));
        }
    }
}

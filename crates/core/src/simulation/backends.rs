//! The model of a backend: so many places, a queue in the order of arrival, random service times.

use std::collections::VecDeque;
use std::time::Duration;

use super::Arc;
use crate::rng::Rng;

/// What a backend is like while it is well.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// The mean service time; service times are exponential, as in an M/M/c queue.
    pub(super) mean: Duration,
    /// How many requests it serves at once.
    pub(super) places: usize,
    pub(super) zone: Option<Arc<str>>,
    pub(super) priority: u32,
    pub(super) weight: u32,
}

impl Model {
    /// One that serves one request at a time, in `millis` on average.
    pub(super) fn of(millis: u64) -> Self {
        Model {
            mean: Duration::from_millis(millis),
            places: 1,
            zone: None,
            priority: 0,
            weight: 1,
        }
    }

    /// Requests a second that it can serve.
    pub(super) fn capacity(&self) -> f64 {
        f64::from(u32::try_from(self.places).unwrap()) / self.mean.as_secs_f64()
    }
}

/// How a backend behaves now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Well,
    /// Connections are refused, and what it had is reset.
    Down,
    /// Requests and connections are reset at once, and yet checks pass.
    Resets,
    /// Everything is answered with 500 at once, and yet checks pass.
    ServerErrors,
    /// Every fifth answer is a 500, never mind how long it takes, and checks pass.
    Flaky,
    /// It takes ten times as long, and checks pass.
    Slow,
}

impl Behaviour {
    pub(super) fn passes_checks(self) -> bool {
        self != Behaviour::Down
    }
}

/// One backend at work.
pub(super) struct Server {
    pub(super) model: Model,
    pub(super) behaviour: Behaviour,
    pub(super) serving: Vec<usize>,
    pub(super) waiting: VecDeque<usize>,
    /// How many requests it was given.
    pub(super) given: u64,
}

impl Server {
    pub(super) fn new(model: Model) -> Self {
        Server {
            model,
            behaviour: Behaviour::Well,
            serving: Vec::new(),
            waiting: VecDeque::new(),
            given: 0,
        }
    }

    /// Takes a request in. Returns it when its service begins at once.
    pub(super) fn arrive(&mut self, request: usize) -> Option<usize> {
        self.waiting.push_back(request);
        self.begin()
    }

    /// Ends the service of a request, if it is still being served. Returns the one whose service begins instead.
    pub(super) fn leave(&mut self, request: usize) -> Option<usize> {
        self.serving.retain(|serving| *serving != request);
        self.begin()
    }

    fn begin(&mut self) -> Option<usize> {
        if self.serving.len() >= self.model.places {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.serving.push(next);
        Some(next)
    }

    /// All that it has, which is lost.
    pub(super) fn crash(&mut self) -> Vec<usize> {
        self.serving.drain(..).chain(self.waiting.drain(..)).collect()
    }

    pub(super) fn service_time(&self, rng: &mut Rng) -> Duration {
        let mean = match self.behaviour {
            Behaviour::Slow => self.model.mean * 10,
            _ => self.model.mean,
        };
        mean.mul_f64(-(1.0 - rng.unit()).ln())
    }

    /// Whether it answers with 500 now.
    pub(super) fn fails(&self, rng: &mut Rng) -> bool {
        match self.behaviour {
            Behaviour::ServerErrors => true,
            Behaviour::Flaky => rng.unit() < 0.2,
            _ => false,
        }
    }
}

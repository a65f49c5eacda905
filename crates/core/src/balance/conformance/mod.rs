//! What every policy has to hold to. The suite takes its policies from `NAMES`, so that a new one is enrolled by its
//! line in the list; where a policy may deviate, its bound stands in one table with the reason beside it.

mod choice;
mod disruption;
mod load_bound;
mod random_cases;
mod settings;
mod shares;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{NAMES, PickCx, Picker, Policy, PolicyConfig, hash_bytes};
use crate::backend::Backend;
use crate::decision::Decision;
use crate::document::{Decode, Entry, Faults, Node, Span, Value};
use crate::load::Sign;
use crate::members::{Limits, Member, Members, Slot};
use crate::name::BackendId;
use crate::rng::Rng;
use crate::time::Now;

/// Every policy, with its default settings.
fn all() -> Vec<PolicyConfig> {
    NAMES.iter().map(|name| PolicyConfig::named(name).unwrap()).collect()
}

/// Those that send like to like.
fn hashing() -> Vec<PolicyConfig> {
    all().into_iter().filter(|policy| policy.key().is_some()).collect()
}

/// Those that do, with bounded load.
fn bounded(factor: f64) -> Vec<PolicyConfig> {
    let with_factor = |policy: &PolicyConfig| {
        decode(&table(&[
            ("kind", Value::Text(policy.name().into())),
            ("load_factor", Value::Float(factor)),
        ]))
        .unwrap()
    };
    hashing().iter().map(with_factor).collect()
}

fn node(value: Value) -> Node {
    Node {
        span: Span::default(),
        value,
    }
}

fn table(entries: &[(&str, Value)]) -> Node {
    let entry = |(key, value): &(&str, Value)| Entry {
        key: (*key).into(),
        key_span: Span::default(),
        node: node(value.clone()),
    };
    node(Value::Table(entries.iter().map(entry).collect()))
}

/// The policy that `node` names, or the first fault and its help.
fn decode(node: &Node) -> Result<PolicyConfig, String> {
    let mut faults = Faults::default();
    let policy = PolicyConfig::decode(node, &mut faults);
    match faults.list.first() {
        None => Ok(policy.unwrap()),
        Some(fault) => Err(format!(
            "{} ({})",
            fault.message,
            fault.help.clone().unwrap_or_default()
        )),
    }
}

/// The member number `n`: 10.0.0.0 + n, port 8080.
fn member(n: usize, weight: u32) -> Member {
    let number = u32::try_from(n).unwrap();
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)), 8080);
    Member {
        backend: Arc::new(Backend::new(BackendId(number), "pool", address)),
        name: format!("b{n}").into(),
        weight,
        limits: Limits::default(),
    }
}

/// Members with these weights, numbered from 0; those of weight 0 leave a gap in the numbers.
pub(super) fn members(weights: &[u32]) -> Members {
    Members::new(weights.iter().enumerate().map(|(n, weight)| member(n, *weight)))
}

/// The key of somebody's request.
fn key(n: u64) -> u64 {
    hash_bytes(&n.to_le_bytes())
}

/// One worker in front of one set of members.
pub(super) struct Worker {
    pub(super) members: Members,
    picker: Box<dyn Picker>,
    rng: Rng,
    seq: u64,
    pub(super) now: Now,
}

impl Worker {
    pub(super) fn new(policy: &PolicyConfig, members: Members, seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        Worker {
            picker: policy.build(&members),
            members,
            seq: rng.bits(),
            rng,
            now: Now::from_millis(1),
        }
    }

    /// One pick. A request without a key gets a random one, as the callers of a picker do.
    pub(super) fn pick(&mut self, key: Option<u64>, tried: &[BackendId]) -> Option<Slot> {
        self.pick_telling(key, tried, None)
    }

    pub(super) fn pick_telling(
        &mut self,
        key: Option<u64>,
        tried: &[BackendId],
        record: Option<&mut Decision>,
    ) -> Option<Slot> {
        let key = key.unwrap_or_else(|| self.rng.bits());
        let cx = &mut PickCx {
            now: self.now,
            rng: &mut self.rng,
            seq: self.seq,
            key,
            tried,
            record,
        };
        self.seq = self.seq.wrapping_add(1);
        self.picker.pick(&self.members, cx)
    }

    /// Who gets the key, when nothing stands in the way.
    fn owner(&mut self, key: u64) -> BackendId {
        let slot = self.pick(Some(key), &[]).unwrap();
        self.members[slot].backend.id
    }
}

/// Work that is held for a while: a closed loop, in which a new request begins when the oldest ends.
struct Loop {
    worker: Worker,
    held: VecDeque<Slot>,
    /// How many are held at once.
    depth: usize,
}

/// How long each request takes, by the simulation's clock.
const SERVICE: Duration = Duration::from_millis(10);

impl Loop {
    fn new(worker: Worker, depth: usize) -> Self {
        Loop {
            worker,
            held: VecDeque::new(),
            depth,
        }
    }

    /// `picks` requests without a key; how many each slot got.
    fn run(&mut self, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; self.worker.members.len()];
        let step = SERVICE / u32::try_from(self.depth).unwrap();
        for _ in 0..picks {
            if self.held.len() == self.depth {
                let done = &self.worker.members[self.held.pop_front().unwrap()].backend.load;
                done.leave();
                done.record(Sign::Success, SERVICE, SERVICE, self.worker.now);
            }
            let slot = self.worker.pick(None, &[]).unwrap();
            assert!(self.worker.members[slot].backend.load.enter(u32::MAX));
            self.held.push_back(slot);
            counts[slot] += 1;
            self.worker.now = self.worker.now + step;
        }
        counts
    }
}

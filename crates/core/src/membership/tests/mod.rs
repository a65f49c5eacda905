//! The membership as a whole: events in, states and views out.

mod comparison;
mod continuing;
mod ejections;
mod shares;
mod states;
mod sticky;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::backend::Backend;
use crate::balance::PolicyConfig;
use crate::decision::Decision;
use crate::health::{CheckRules, Initial};
use crate::load::Sign;
use crate::pool::View;

/// A membership, its clock and what its backends are called: `a`, `b`, `c`, …
struct Pool {
    membership: Membership,
    now: Now,
    rng: Rng,
}

fn id(name: char) -> BackendId {
    BackendId(u32::from(name))
}

fn spec(name: char) -> Spec {
    let address = SocketAddr::from(([10, 0, 0, 1], u16::try_from(u32::from(name)).unwrap()));
    Spec::new(Arc::new(Backend::new(id(name), "p", address)), name.to_string())
}

fn specs(names: &str) -> Vec<Spec> {
    names.chars().map(spec).collect()
}

impl Pool {
    fn new(rules: Rules, specs: Vec<Spec>) -> Self {
        let mut membership = Membership::new(rules);
        let now = Now::from_millis(1_000);
        assert_eq!(membership.set(specs, now), []);
        Pool {
            membership,
            now,
            rng: Rng::seeded(1),
        }
    }

    /// A pool whose members have all passed their first check.
    fn healthy(rules: Rules, specs: Vec<Spec>) -> Self {
        let names: String = specs.iter().map(|spec| &*spec.name).collect();
        let mut pool = Pool::new(rules, specs);
        pool.check(&names, true);
        pool
    }

    fn wait(&mut self, secs: f64) -> Vec<Transition> {
        self.now = self.now + Duration::from_secs_f64(secs);
        self.membership.tick(self.now, &mut self.rng)
    }

    fn apply(&mut self, event: Event) -> Vec<Transition> {
        self.membership.apply(event, self.now, &mut self.rng)
    }

    fn check(&mut self, names: &str, passed: bool) -> Vec<Transition> {
        let check = |name| Event::Check {
            backend: id(name),
            passed,
            cause: if passed { "".into() } else { "connection refused".into() },
        };
        names.chars().flat_map(|name| self.apply(check(name))).collect()
    }

    fn operate(&mut self, name: char, action: Action) -> Vec<Transition> {
        let backend = id(name);
        self.apply(Event::Operator { backend, action })
    }

    fn answer(&mut self, name: char, sign: Sign, times: u32) {
        let load = &self.status(name).backend.load;
        for _ in 0..times {
            load.record(sign, Duration::from_millis(1), Duration::ZERO, self.now);
        }
    }

    /// Five results of a kind, and control's look at them.
    fn offend(&mut self, name: char, sign: Sign) -> Vec<Transition> {
        self.answer(name, sign, 5);
        self.apply(Event::Suspect { backend: id(name) })
    }

    fn view(&self) -> View {
        self.membership.view(&round_robin(), self.now, None)
    }

    fn status(&self, name: char) -> MemberStatus {
        let all = self.membership.status(&round_robin(), self.now);
        all.into_iter().find(|status| status.backend.id == id(name)).unwrap()
    }

    fn state(&self, name: char) -> State {
        self.status(name).state
    }

    /// Each tier's share in percent, and its members: `"70:ab 30:c"`.
    fn tiers(&self) -> String {
        spell(&self.view())
    }
}

fn spell(view: &View) -> String {
    let tier = |tier: &crate::pool::Tier| {
        let names: String = tier.members.as_slice().iter().map(|member| &*member.name).collect();
        format!("{:.0}:{names}", tier.share * 100.0)
    };
    view.tiers.iter().map(tier).collect::<Vec<_>>().join(" ")
}

fn round_robin() -> PolicyConfig {
    PolicyConfig::named("round-robin").unwrap()
}

fn words(transitions: &[Transition]) -> Vec<(&str, &str)> {
    transitions.iter().map(|to| (to.to.word(), to.cause.word())).collect()
}

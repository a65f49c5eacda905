//! Where sticky sessions go, as their backends change.

use std::collections::BTreeMap;

use super::*;
use crate::budget::BudgetRules;
use crate::pool::{AcquireCx, PoolSettings, Refusal};
use crate::sticky::{By, Cookie, Seal, Settings, Sticky, Tie};

const WALL: u64 = 1_700_000_000;

/// A pool with sticky sessions by a cookie.
struct Shop {
    pool: Pool,
    sticky: Arc<Sticky>,
    lived: Arc<crate::pool::Pool>,
    rng: Rng,
}

/// What a client keeps.
struct Cookies(Option<String>);

impl crate::route::Fields for Cookies {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let line = self.0.as_ref().filter(|_| name == "cookie");
        line.into_iter().for_each(|line| {
            visit(line.as_bytes());
        });
    }
}

impl Shop {
    fn new() -> Self {
        let seal = Arc::new(Seal::new([b"secret".to_vec()]));
        let rules = Rules {
            sticky: Some(seal.clone()),
            drain_timeout: Duration::from_secs(30),
            ..Rules::default()
        };
        let settings = Settings {
            by: By::Cookie(Cookie {
                name: "c".into(),
                domain: None,
                path: "/".into(),
                secure: None,
                same_site: "Lax",
            }),
            ttl: Some(Duration::from_secs(3_600)),
        };
        let sticky = Arc::new(Sticky::new("p".into(), settings, seal, 1, None));
        let pool_settings = PoolSettings {
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            response_header_timeout: Duration::from_secs(1),
            consecutive_errors: 0,
            compares_latency: false,
            closes_unhealthy: false,
            orca: false,
            measured: false,
            retry_budget: BudgetRules::default(),
            send_proxy: None,
            protocol: crate::pool::BackendProtocol::H1,
            tls: false,
            queue: crate::pool::QueueSettings::default(),
        };
        let policy = PolicyConfig::named("round-robin").unwrap();
        let lived = crate::pool::Pool::new(crate::name::NameId(0), "p", policy, pool_settings, View::default());
        Shop {
            pool: Pool::healthy(rules, specs("abc")),
            lived: Arc::new(lived.sticking(Some(sticky.clone()))),
            sticky,
            rng: Rng::seeded(1),
        }
    }

    fn tie(&mut self, client: &Cookies) -> Tie {
        self.sticky.tie(client, [192, 0, 2, 1].into(), WALL, &mut self.rng)
    }

    /// Where a request of `client` goes, and whether it gets another cookie.
    fn ask(&mut self, client: &mut Cookies, tried: &str) -> (Result<String, Refusal>, bool, Decision) {
        let tie = self.tie(client);
        let mut decision = Decision::default();
        let tried: Vec<BackendId> = tried.chars().map(id).collect();
        let view = self.pool.membership.view(&self.lived.policy, self.pool.now, None);
        assert!(!self.lived.keeps(&tie, &view, self.pool.now) || tie.opened.is_some());
        let mut cx = AcquireCx {
            now: self.pool.now,
            rng: &mut self.rng,
            key: 0,
            tried: &tried,
            tie: Some(&tie),
            is_question: true,
            record: Some(&mut decision),
        };
        let lease = match self.lived.acquire(&view, 1, &mut cx) {
            Ok(lease) => lease,
            Err(refusal) => return (Err(refusal), false, decision),
        };
        let set = self.sticky.set_cookie(&tie, &lease, false, WALL);
        let is_set = set.is_some();
        if let Some(set) = set {
            client.0 = Some(set.split(';').next().unwrap().to_owned());
        }
        (Ok(lease.name().to_string()), is_set, decision)
    }

    /// Clients of each of the backends.
    fn clients(&mut self) -> BTreeMap<String, Cookies> {
        let mut clients = BTreeMap::new();
        // Each goes where the last ones did not.
        for others in ["", "a", "ab", "bc", "ac"] {
            let mut client = Cookies(None);
            let (at, is_set, _) = self.ask(&mut client, others);
            assert!(is_set);
            clients.insert(at.unwrap(), client);
        }
        assert_eq!(clients.len(), 3);
        clients
    }
}

#[test]
fn a_session_stays_where_it_is() {
    let mut shop = Shop::new();
    for (name, mut client) in shop.clients() {
        for _ in 0..5 {
            let (at, is_set, decision) = shop.ask(&mut client, "");
            assert_eq!((at, is_set), (Ok(name.clone()), false));
            let told = &decision.steps[0];
            assert!(told.why.contains("belongs to it, by the cookie c"), "{}", told.why);
        }
    }
}

#[test]
fn a_drain_keeps_its_sessions_until_the_deadline_and_gets_no_new_ones() {
    let mut shop = Shop::new();
    let mut client = shop.clients().remove("b").unwrap();
    let until = shop.pool.now + Duration::from_secs(60);
    shop.pool.operate('b', Action::DrainUntil(until));
    shop.pool.wait(59.0);
    let (at, is_set, decision) = shop.ask(&mut client, "");
    assert_eq!((at.as_deref(), is_set), (Ok("b"), false));
    assert!(
        decision.steps[0]
            .why
            .contains("it drains, and keeps its sessions for 1.0 s more")
    );
    for _ in 0..10 {
        assert_ne!(shop.ask(&mut Cookies(None), "").0.as_deref(), Ok("b"));
    }
    shop.pool.wait(1.0);
    let (at, is_set, decision) = shop.ask(&mut client, "");
    assert_ne!(at.as_deref(), Ok("b"));
    assert!(is_set && decision.steps[0].why.contains("drained until its deadline"));
    let moved = at.unwrap();
    assert_eq!(shop.ask(&mut client, "").0, Ok(moved), "and stays there");
}

#[test]
fn a_drain_without_a_deadline_of_its_own_has_the_node_s() {
    let mut shop = Shop::new();
    let mut client = shop.clients().remove("b").unwrap();
    shop.pool.operate('b', Action::Drain);
    shop.pool.wait(29.0);
    assert_eq!(shop.ask(&mut client, "").0.as_deref(), Ok("b"));
    shop.pool.wait(1.0);
    assert_ne!(shop.ask(&mut client, "").0.as_deref(), Ok("b"));
}

#[test]
fn weight_0_keeps_its_sessions_and_gets_no_new_ones() {
    let mut shop = Shop::new();
    let mut client = shop.clients().remove("b").unwrap();
    shop.pool.operate('b', Action::Weight(Some(0)));
    let (at, is_set, decision) = shop.ask(&mut client, "");
    assert_eq!((at.as_deref(), is_set), (Ok("b"), false));
    assert!(decision.steps[0].why.contains("of weight 0, it keeps"));
    for _ in 0..10 {
        assert_ne!(shop.ask(&mut Cookies(None), "").0.as_deref(), Ok("b"));
    }
}

#[test]
fn a_session_moves_from_who_is_ill_out_gone_tried_or_full() {
    for how in [
        "ill",
        "maintenance",
        "gone",
        "tried",
        "full",
        "ill and draining",
        "panic",
    ] {
        let mut shop = Shop::new();
        let mut client = shop.clients().remove("b").unwrap();
        let mut tried = "";
        let mut load = None;
        match how {
            "ill" => {
                (0..3).for_each(|_| drop(shop.pool.check("b", false)));
            }
            "ill and draining" => {
                (0..3).for_each(|_| drop(shop.pool.check("b", false)));
                shop.pool.operate('b', Action::Drain);
            }
            "panic" => {
                (0..3).for_each(|_| drop(shop.pool.check("ab", false)));
                let view = shop.pool.membership.view(&shop.lived.policy, shop.pool.now, None);
                assert!(view.panicking && view.has_well);
            }
            "maintenance" => {
                shop.pool.operate('b', Action::Maintenance);
            }
            "gone" => {
                shop.pool.membership.set(specs("ac"), shop.pool.now);
                shop.pool.check("ac", true);
            }
            "tried" => tried = "b",
            _ => {
                let view = shop.pool.membership.view(&shop.lived.policy, shop.pool.now, None);
                let backend = view.keepers.members[&id('b')].member.backend.clone();
                while backend.load.enter(1_024) {}
                load = Some(backend);
            }
        }
        let (at, is_set, decision) = shop.ask(&mut client, tried);
        assert!(how == "panic" || at.as_deref() != Ok("b"), "{how}");
        assert!(at.is_ok() && is_set, "{how}");
        let told = decision
            .steps
            .iter()
            .find(|step| step.why.contains("the session moves"));
        assert!(told.is_some(), "{how}: {decision:?}");
        drop(load);
    }
}

#[test]
fn a_pool_that_only_drains_serves_its_sessions_and_nobody_else() {
    let mut shop = Shop::new();
    let mut client = shop.clients().remove("b").unwrap();
    for name in ['a', 'b', 'c'] {
        shop.pool.operate(name, Action::Drain);
    }
    assert_eq!(shop.ask(&mut client, "").0.as_deref(), Ok("b"));
    assert_eq!(shop.ask(&mut Cookies(None), "").0, Err(Refusal::NoBackend));
}

#[test]
fn who_comes_back_is_counted_and_who_asks_for_an_explanation_is_not() {
    let mut shop = Shop::new();
    let client = shop.clients().remove("b").unwrap();
    let tie = shop.tie(&client);
    let view = shop.pool.membership.view(&shop.lived.policy, shop.pool.now, None);
    let backend = view.keepers.members[&id('b')].member.backend.clone();
    assert_eq!(shop.sticky.count(&backend, shop.pool.now), 0);
    let mut cx = AcquireCx {
        now: shop.pool.now,
        rng: &mut shop.rng,
        key: 0,
        tried: &[],
        tie: Some(&tie),
        is_question: false,
        record: None,
    };
    let lease = shop.lived.acquire(&view, 1, &mut cx).unwrap();
    assert!(lease.is_kept());
    assert_eq!(shop.sticky.count(&backend, shop.pool.now), 1);
}

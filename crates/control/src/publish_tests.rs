//! Publishing: what one change swaps, and what it leaves alone.

use std::sync::Arc;

use plimsoll_core::balance::PolicyConfig;
use plimsoll_core::snapshot::Snapshot;
use plimsoll_core::time::Now;

use super::{Control, Serving};
use crate::config::Origin;
use crate::config::{Format, parse_text};

#[test]
fn another_policy_is_one_swap_over_the_same_living_backends() {
    let text = r#"
        [listeners.web]
        bind = ["127.0.0.1:0"]
        protocol = "http"
        pool = "a"
        [pools.a]
        policy = "round-robin"
        backends = ["10.0.0.1:80", "10.0.0.2:80"]
        [pools.b]
        backends = ["10.0.0.1:80"]
    "#;
    let plan = parse_text("sample", Format::Toml, text)
        .expect("the sample is right")
        .plan;
    let control = Control::new(&plan, || Now::START, 1);
    let before = control.snapshot().load_full();
    while before.pools[0].spend_retry(Now::START) {}
    let backend = |snapshot: &plimsoll_core::snapshot::Snapshot| {
        let view = snapshot.pools[0].view();
        view.tiers[0].members[0].backend.clone()
    };
    assert!(control.set_policy("a", PolicyConfig::named("maglev").unwrap()));
    let after = control.snapshot().load_full();
    assert_eq!(after.generation, before.generation + 1);
    assert_eq!(
        (before.pools[0].policy.name(), after.pools[0].policy.name()),
        ("round-robin", "maglev")
    );
    assert!(std::sync::Arc::ptr_eq(&backend(&before), &backend(&after)));
    assert!(std::sync::Arc::ptr_eq(&before.pools[1], &after.pools[1]));
    assert!(
        !after.pools[0].spend_retry(Now::START),
        "what was spent on retries stays spent"
    );
    assert_eq!(control.pool("a").unwrap().policy, "maglev");
    assert_eq!(control.plan().pools[0].policy.name(), "maglev");
    assert!(!control.set_policy("nobody", PolicyConfig::default()));
}

const TWO_POOLS: &str = r#"
    listeners.web = { bind = ["127.0.0.1:0"], pool = "a" }
    [pools.a]
    health = false
    backends = ["10.0.0.1:80", "10.0.0.2:80"]
    [pools.b]
    health = false
    backends = ["10.0.0.1:80"]
"#;

/// Serves `text` instead.
fn adopt(control: &Control, text: &str) {
    let loaded = parse_text("sample", Format::Toml, text).expect("the sample is right");
    let serving = Serving {
        from: Origin::File,
        needs_restart: Vec::new(),
    };
    control.adopt(loaded.plan, Vec::new(), Some(serving));
}

#[test]
fn a_reload_is_seen_with_its_swap_and_no_part_of_it_before() {
    let plan = parse_text("sample", Format::Toml, TWO_POOLS).expect("right").plan;
    let control = Control::new(&plan, || Now::START, 1);
    let before = control.snapshot().load_full();
    while before.pools[0].spend_retry(Now::START) {}
    let members = |snapshot: &Snapshot, pool: usize| -> Vec<String> {
        let view = snapshot.pools[pool].view();
        let members = view.tiers.iter().flat_map(|tier| tier.members.as_slice());
        members.map(|member| member.backend.address.to_string()).collect()
    };
    adopt(&control, &TWO_POOLS.replace("10.0.0.2:80", "10.0.0.3:80"));
    let after = control.snapshot().load_full();
    assert_eq!((before.generation, after.generation), (1, 2));
    assert_eq!(
        members(&before, 0),
        ["10.0.0.1:80", "10.0.0.2:80"],
        "whoever is under way"
    );
    assert_eq!(members(&after, 0), ["10.0.0.1:80", "10.0.0.3:80"]);
    assert!(Arc::ptr_eq(&before.pools[1], &after.pools[1]), "what is not concerned");
    let first = |snapshot: &Snapshot| snapshot.pools[0].view().tiers[0].members[0].backend.clone();
    assert!(Arc::ptr_eq(&first(&before), &first(&after)), "a backend lives on");
    assert!(!after.pools[0].spend_retry(Now::START), "what was spent stays spent");
    let gone = before.pools[0].view().tiers[0].members[1].backend.clone();
    assert!(gone.leaving.is_so() && !first(&after).leaving.is_so());
    adopt(&control, TWO_POOLS);
    let back = control.snapshot().load().pools[0].view().tiers[0].members[1]
        .backend
        .clone();
    assert!(
        Arc::ptr_eq(&gone, &back) && !back.leaving.is_so(),
        "and so does one that comes back"
    );
}

#[test]
fn old_snapshots_are_thrown_away_once_nobody_has_them() {
    let plan = parse_text("sample", Format::Toml, TWO_POOLS).expect("right").plan;
    let control = Control::new(&plan, || Now::START, 1);
    let held = Arc::downgrade(&control.snapshot().load_full());
    let worker = held.upgrade();
    adopt(&control, TWO_POOLS);
    control.discard_retired();
    assert!(held.upgrade().is_some(), "a worker has it");
    drop(worker);
    assert!(held.upgrade().is_some(), "it is not thrown away on a worker");
    control.discard_retired();
    assert!(held.upgrade().is_none());
}

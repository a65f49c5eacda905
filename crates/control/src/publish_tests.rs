//! Publishing: what one change swaps, and what it leaves alone.

use plimsoll_core::balance::PolicyConfig;
use plimsoll_core::time::Now;

use super::Control;
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

//! What a configuration says of sending requests more than once.

use std::time::Duration;

use plimsoll_core::backoff::Backoff;
use plimsoll_core::budget::BudgetRules;
use plimsoll_core::hedge::{After, HedgePolicy};
use plimsoll_core::retry::NonIdempotent;

use super::mistakes::assert_told;
use super::{SOUND, plan, told, toml};

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A sound configuration whose route says this as well.
fn route(line: &str) -> String {
    SOUND.replace("pool = \"api\"", &format!("pool = \"api\"\n{line}"))
}

#[test]
fn a_route_widens_its_retries_by_its_word_alone() {
    for (line, expected) in [
        ("", NonIdempotent::Never),
        ("retry = { non_idempotent = false }", NonIdempotent::Never),
        ("retry = { non_idempotent = \"idempotency-key\" }", NonIdempotent::Keyed),
        ("retry = { non_idempotent = true }", NonIdempotent::All),
    ] {
        assert_eq!(plan(&route(line)).routes[0].retry.non_idempotent, expected, "{line}");
    }
    assert_told(
        "[[routes]]\nname = \"x\"\nmatch = { path = \"/x\" }\npool = \"api\"\nretry = { non_idempotent = \"key\" }",
        &["error 5:28 «\"key\"» unknown word \"key\" (known here: \"idempotency-key\")"],
    );
}

#[test]
fn backoff_is_that_of_envoy_and_the_first_retry_goes_at_once_unless_it_is_named() {
    assert_eq!(plan(SOUND).routes[0].retry.backoff, Backoff::DEFAULT);
    for (line, base, max) in [
        ("{}", 25, 250),
        ("{ base = \"100ms\" }", 100, 1_000),
        ("{ base = \"10ms\", max = \"20ms\" }", 10, 20),
    ] {
        let planned = plan(&route(&format!("retry = {{ backoff = {line} }}")));
        let expected = Backoff {
            base: millis(base),
            max: millis(max),
            first: true,
        };
        assert_eq!(planned.routes[0].retry.backoff, expected, "{line}");
    }
    let faults = |backoff: &str| told(&toml(&route(&format!("retry = {{ backoff = {backoff} }}"))));
    assert_eq!(
        faults("{ base = \"1s\", max = \"500ms\" }"),
        [
            "error 9:42 «\"500ms\"» the limit shrinks: `max` is less than `base` (write a `max` of several times the `base`, \
          or leave it out for ten times)"
        ]
    );
    assert_eq!(
        faults("{ max = \"2m\" }"),
        ["error 9:29 «\"2m\"» no client waits so long: at most 60s (250ms is usual)"]
    );
}

#[test]
fn a_pool_has_its_retry_budget() {
    assert_eq!(plan(SOUND).pools[0].settings.retry_budget, BudgetRules::default());
    let text = format!("{SOUND}retry_budget = {{ per_second = 0 }}\n[defaults]\nretry_budget = {{ percent = 5 }}\n");
    let expected = BudgetRules {
        percent: 5,
        per_second: 0,
    };
    assert_eq!(plan(&text).pools[0].settings.retry_budget, expected);
}

#[test]
fn a_route_is_hedged_when_it_says_so_and_its_pool_is_measured_when_it_has_to_be() {
    let planned = plan(SOUND);
    assert_eq!(
        (planned.routes[0].hedge, planned.pools[0].settings.measured),
        (None, false)
    );
    for (line, after, max_percent) in [
        ("{}", After::Quantile(95), 5),
        ("{ after = \"p99\", max_percent = 1 }", After::Quantile(99), 1),
        ("{ after = \"200ms\" }", After::Fixed(millis(200)), 5),
    ] {
        let planned = plan(&route(&format!("hedge = {line}")));
        assert_eq!(
            planned.routes[0].hedge,
            Some(HedgePolicy { after, max_percent }),
            "{line}"
        );
        let is_quantile = matches!(after, After::Quantile(_));
        assert_eq!(planned.pools[0].settings.measured, is_quantile, "{line}");
    }
    let faults = |lines: &str| told(&toml(&route(lines)));
    assert_eq!(
        faults("hedge = { after = \"p100\" }"),
        ["error 9:19 «\"p100\"» \"p100\" is no percentile that can be told (write p50 to p99)"]
    );
    assert_eq!(
        faults("hedge = { max_percent = 0 }"),
        ["error 9:25 «0» 0 is out of range: 1 to 100"]
    );
    assert_eq!(
        faults("timeout = \"1s\"\nhedge = { after = \"1s\" }"),
        ["error 10:19 «\"1s\"» nothing is hedged: the request is over by then [the whole request: 9:11]"]
    );
}

#[test]
fn a_hedge_without_a_second_backend_is_warned_of() {
    let text = route("hedge = {}").replace(", \"127.0.0.1:9002\"", "");
    let warnings = told(&toml(&text));
    let expected = "warning 9:9 «{}» nothing is hedged: `api` has no second backend (add one, or take `hedge` out)";
    assert!(warnings.iter().any(|warning| warning == expected), "{warnings:#?}");
}

//! The events of the admin API, read by curl.

use e2e::{Backend, Plimsoll, Script, eventually, tools};
use serde_json::Value;

const TWO: &str = r#"
    listeners.web = { bind = ["@web@"], pool = "api" }
    [pools.api]
    backends = [{ name = "one", address = "@one@" }, { name = "two", address = "@two@" }]
    health = { interval = "100ms", fall = 1 }
"#;

/// What curl reads of the events in a second, with these arguments besides.
fn follow(plimsoll: &Plimsoll, query: &str, more: &[&str]) -> Vec<Value> {
    let url = format!("http://{}/api/v1/events{query}", plimsoll.address("admin"));
    let arguments = [&["-N", "--max-time", "1"], more, &[&url]].concat();
    let output = tools::curl(&arguments);
    // 28: its time was up, which is the only end that a stream has.
    assert_eq!(output.code, Some(28), "{output:?}");
    let lines = output.stdout.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

#[test]
fn a_backend_that_dies_and_an_operator_are_told_to_whoever_follows_and_whoever_comes_back() {
    let (mut one, two) = (Backend::start(Script::Echo), Backend::start(Script::Echo));
    let plimsoll = Plimsoll::config(TWO)
        .address("one", one.address())
        .address("two", two.address())
        .start();
    plimsoll.wait_for_state("api", "one", "healthy");
    one.stop();
    plimsoll.wait_for_state("api", "one", "unhealthy");
    let told = eventually("the death is told", || {
        let told = follow(&plimsoll, "?last=100", &[]);
        let death = told
            .iter()
            .position(|event| event["kind"] == "health" && event["to"] == "unhealthy")?;
        Some(told[death].clone())
    });
    assert_eq!((&told["pool"], &told["backend"]), (&"api".into(), &"one".into()));
    assert!(
        told["cause"]
            .as_str()
            .is_some_and(|cause| cause.contains("checks fail")),
        "{told}"
    );
    plimsoll.admin_send("PATCH", "/api/v1/pools/api/backends/two", r#"{"weight": 3}"#);
    let id = format!("last-event-id: {}", told["id"].as_str().expect("an id"));
    let after = follow(&plimsoll, "", &["-H", &id]);
    assert!(after.iter().all(|event| event["id"] != told["id"]), "{after:#?}");
    let operator = after
        .iter()
        .find(|event| event["kind"] == "operator")
        .expect("the operator's change");
    assert_eq!(operator["change"], "weight 3");
    assert!(plimsoll.metrics().sum("plimsoll_events_total", &[("kind", "operator")]) >= 1.0);
}

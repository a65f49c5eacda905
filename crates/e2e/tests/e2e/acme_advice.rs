//! What authorities say beside certificates: when to renew them, and when to come again.

use std::time::Duration;

use e2e::{Authority, Foreign, Pebble, PebbleSetup, eventually_within, tools};

use crate::acme_stage::{Stage, ended, status, wait_for, wait_for_error};

/// What stands before `pebble`, and gives the advice of `window`; with who vouches for it.
fn before(pebble: &Pebble, window: [&str; 2]) -> (Foreign, Authority) {
    let authority = Authority::new("Advice");
    authority.issue("advice", &["127.0.0.1"]);
    let there = pebble.directory().replace("https://", "").replace("/dir", "");
    let foreign = Foreign::start(|port, directory| {
        let text = serde_json::json!({ "start": window[0], "end": window[1] }).to_string();
        std::fs::write(directory.join("window.json"), text).expect("it can be written");
        let mut command = tools::python_script("acme_advice.py");
        command.args([&port.to_string(), &there]);
        command.args([pebble.ca(), authority.file("advice.pem"), authority.file("advice.key")]);
        command
    });
    (foreign, authority)
}

/// The `acme` table that leads there.
fn acme(stage: &Stage, (foreign, authority): &(Foreign, Authority)) -> String {
    let (ca, storage) = (authority.named("ca.pem"), stage.kept().display().to_string());
    let directory = format!("https://{}/dir", foreign.address());
    format!("acme = {{ domains = \"shop.test\", directory = \"{directory}\", ca = \"{ca}\", storage = \"{storage}\" }}")
}

#[test]
fn a_certificate_is_renewed_when_its_authority_wants_it() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup {
        life: 120,
        ..PebbleSetup::default()
    });
    let advice = before(&pebble, ["2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"]);
    let plimsoll = stage.setup(&acme(&stage, &advice), "").start();
    wait_for(&plimsoll, "web", "issued");
    let asked = || std::fs::read_to_string(advice.0.directory().join("asked.log")).unwrap_or_default();
    eventually_within(Duration::from_secs(60), "it is renewed", || {
        (ended(&plimsoll, "web", "issued") >= 2.0).then_some(())
    });
    // Its authority was asked about it, and told which one was replaced: by its key and number.
    let log = asked();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], "order None", "{log}");
    let id = lines[1].strip_prefix("advice ").unwrap_or_else(|| panic!("{log}"));
    assert_eq!(id.split('.').count(), 2, "{log}");
    assert_eq!(lines[2], format!("order {id}"), "{log}");
    assert_eq!(
        ended(&plimsoll, "web", "refused") + ended(&plimsoll, "web", "failed"),
        0.0
    );
}

#[test]
fn an_authority_that_wants_to_be_left_alone_is() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup::default());
    let advice = before(&pebble, ["2090-01-01T00:00:00Z", "2090-01-02T00:00:00Z"]);
    let limited = advice.0.directory().join("limited");
    std::fs::write(&limited, "").expect("it can be written");
    let plimsoll = stage.setup(&acme(&stage, &advice), "").start();
    let refused = wait_for_error(&plimsoll, "web", &["ordering: rateLimited: too many certificates"]);
    let labels = [("listener", "web")];
    let next = plimsoll.metrics().sum("plimsoll_acme_next_try_seconds", &labels);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs_f64();
    // A day, whatever the backoff says.
    assert!(next - now > 80_000.0 && next - now < 87_000.0, "{refused}");
    std::fs::remove_file(&limited).expect("it is there");
    stage.forget("rateLimited");
    wait_for(&plimsoll, "web", "issued");
    // Its advice holds, and is kept.
    stage.remembered("2090-01-01T00:00:00");
    let next = status(&plimsoll, "web")["acme"]["next_try"].clone();
    let ends = status(&plimsoll, "web")["not_after"].clone();
    assert!(next.as_str() <= ends.as_str(), "{next} {ends}");
}

#[test]
fn an_account_that_was_closed_is_replaced() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup::default());
    let advice = before(&pebble, ["2090-01-01T00:00:00Z", "2090-01-02T00:00:00Z"]);
    let plimsoll = stage.setup(&acme(&stage, &advice), "").start();
    wait_for(&plimsoll, "web", "issued");
    let account = || std::fs::read_to_string(stage.kept().join(stage.kept_as(".account.json"))).expect("it is there");
    let first = account();
    std::fs::write(advice.0.directory().join("closed"), "").expect("it can be written");
    // Nothing else is written once the advice is.
    stage.forget("2090-01-01T00:00:00");
    std::fs::remove_file(stage.kept().join(stage.kept_as(".pem"))).expect("it is there");
    eventually_within(Duration::from_secs(60), "another one is issued", || {
        (ended(&plimsoll, "web", "issued") >= 2.0).then_some(())
    });
    assert_ne!(account(), first);
    assert_eq!(ended(&plimsoll, "web", "refused"), 0.0);
    let log = plimsoll.stderr();
    assert!(
        log.contains("account is deactivated") && log.contains("another one is registered"),
        "{log}"
    );
}

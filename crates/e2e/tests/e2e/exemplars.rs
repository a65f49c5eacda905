//! Exemplars of durations, in OpenMetrics: each leads to a trace that is told, or to a decision that is kept.

use std::time::{SystemTime, UNIX_EPOCH};

use e2e::{Backend, Plimsoll, Script, eventually, tools};
use serde_json::Value;

/// One scrape in this format.
fn scrape(plimsoll: &Plimsoll, accept: &str) -> String {
    let address = plimsoll.address("admin");
    let head = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    plimsoll.exchange("admin", head).text()
}

/// The exemplars of a metric, as a parser that we did not write reads them.
fn exemplars(plimsoll: &Plimsoll, metric: &str) -> Vec<Value> {
    let text = scrape(plimsoll, "application/openmetrics-text");
    let file = plimsoll.scratch().write("scrape.txt", &text);
    let mut command = tools::python_script("openmetrics.py");
    command.arg(metric).arg(file);
    let output = tools::run(&mut command, e2e::PATIENCE);
    assert_eq!(output.code, Some(0), "{}\n{text}", output.stderr);
    serde_json::from_str(&output.stdout).expect("JSON")
}

fn start(tracing: &str) -> (Backend, Plimsoll) {
    let one = Backend::start(Script::Echo);
    let text = format!(
        "server.trusted_proxies = [\"127.0.0.1/32\"]\nlisteners.web = {{ bind = [\"@web@\"], pool = \"api\" }}\n\
         pools.api = {{ backends = [{{ name = \"one\", address = \"@one@\" }}], health = false }}\n{tracing}"
    );
    let plimsoll = Plimsoll::config(&text).address("one", one.address()).start();
    (one, plimsoll)
}

#[test]
fn a_duration_leads_to_the_trace_that_it_was_part_of() {
    let collector = Backend::start(Script::status(200));
    let (_one, plimsoll) = start(&format!("[tracing]\notlp = \"http://{}\"\n", collector.address()));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let head = format!(
        "GET / HTTP/1.1\r\nhost: a\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(plimsoll.exchange("web", head).status, 200);
    for (metric, label) in [
        ("plimsoll_request_duration_seconds", "route"),
        ("plimsoll_backend_duration_seconds", "backend"),
    ] {
        let found = eventually(metric, || exemplars(&plimsoll, metric).first().cloned());
        let (series, labels) = (&found[0], &found[1]);
        assert_eq!(labels["trace_id"], trace, "{found}");
        assert!(series["le"].is_string() && series[label].is_string(), "{found}");
        let (value, bound) = (
            found[2].as_f64(),
            series["le"]
                .as_str()
                .and_then(|le| le.replace("+Inf", "inf").parse().ok()),
        );
        assert!(
            value > Some(0.0) && value <= bound,
            "an exemplar lies in its bucket: {found}"
        );
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs_f64();
        let age = now - found[3].as_f64().expect("a time");
        assert!((-1.0..600.0).contains(&age), "{found}");
    }
    let plain = scrape(&plimsoll, "text/plain");
    assert!(
        !plain.contains(trace) && !plain.contains(" # {"),
        "Prometheus' own format has no room for them"
    );
}

#[test]
fn without_traces_a_duration_leads_to_a_decision_that_is_kept() {
    let (_one, plimsoll) = start("");
    // What a trusted sender calls it is no label of ours that could break the text.
    for id in ["with-\"quotes\"-and-\\", "plain"] {
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n");
        assert_eq!(plimsoll.exchange("web", head).status, 200);
        let of_request = |found: &Value| found[1]["request_id"] == id;
        eventually(id, || {
            exemplars(&plimsoll, "plimsoll_request_duration_seconds")
                .into_iter()
                .find(of_request)
        });
    }
    assert_eq!(plimsoll.admin("/api/v1/decisions/plain").status, 200);
    let long = "x".repeat(2_000);
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-request-id: {long}\r\nconnection: close\r\n\r\n");
    assert_eq!(plimsoll.exchange("web", head).status, 200);
    assert!(!scrape(&plimsoll, "application/openmetrics-text").contains("xxxxxxxx"));
}

//! What backends report of their load: believed where that is asked for, and then not passed on.

use e2e::{Backend, Script, eventually};

use crate::stage::{Site, Stage};

fn stage(backends: &[&Backend; 2], lines: &str) -> Stage {
    Site::new()
        .address("one", backends[0].address())
        .address("two", backends[1].address())
        .pool(&format!(
            "backends = [{{ name = \"one\", address = \"@one@\" }}, {{ name = \"two\", address = \"@two@\" }}]\n\
             health = false\n{lines}"
        ))
}

fn reporting(name: &str, report: &str) -> Backend {
    Backend::named(name, Script::reply(200, name).header("Endpoint-Load-Metrics", report))
}

#[test]
fn a_report_is_shown_and_kept_from_clients() {
    let (one, two) = (
        reporting("one", "JSON {\"cpu_utilization\": 0.25}"),
        reporting("two", "TEXT cpu_utilization=0.25, application_utilization=0.5"),
    );
    let stage = stage(&[&one, &two], "policy = \"round-robin\"\norca = true");
    for _ in 0..4 {
        assert_eq!(stage.get("/").header("endpoint-load-metrics"), None);
    }
    assert_eq!(stage.backend("one")["utilization"], 0.25);
    assert_eq!(stage.backend("two")["utilization"], 0.5);
}

#[test]
fn nobody_is_believed_who_is_not_asked() {
    let (one, two) = (
        reporting("one", "TEXT cpu_utilization=0.9"),
        reporting("two", "TEXT cpu_utilization=0.9"),
    );
    let stage = stage(&[&one, &two], "");
    let reply = stage.get("/");
    assert_eq!(reply.header("endpoint-load-metrics"), Some("TEXT cpu_utilization=0.9"));
    assert!(stage.backend("one")["utilization"].is_null() && stage.backend("two")["utilization"].is_null());
}

#[test]
fn prequal_leaves_a_backend_alone_that_reports_to_be_full() {
    let (one, two) = (
        reporting("one", "TEXT cpu_utilization=0.99"),
        reporting("two", "TEXT cpu_utilization=0.1"),
    );
    let stage = stage(&[&one, &two], "policy = \"prequal\"\norca = true");
    eventually("the full one was asked once", || {
        stage.get("/");
        (one.requests() > 0).then_some(())
    });
    one.forget();
    for _ in 0..50 {
        assert_eq!(stage.get("/").text(), "two");
    }
    assert_eq!(one.requests(), 0);
}

/// As gRPC's servers report it: a message in base64, in the trailers.
#[test]
fn a_report_in_trailers_is_shown_and_kept_from_clients() {
    let chunked = |name: &str, field: &str, value: &str| {
        let trailers = [(field, value), ("x-other", "stays")];
        let trailers = trailers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Backend::named(
            name,
            Script::Chunked {
                chunks: vec![b"hello".to_vec()],
                pause: std::time::Duration::ZERO,
                trailers: trailers.to_vec(),
            },
        )
    };
    let one = chunked("one", "Endpoint-Load-Metrics-Bin", "CQAAAAAAANA/SQAAAAAAAOg/");
    let two = chunked("two", "endpoint-load-metrics", "TEXT cpu_utilization=0.5");
    let stage = stage(&[&one, &two], "policy = \"round-robin\"\norca = true");
    for _ in 0..4 {
        let reply = stage.get("/");
        assert_eq!(reply.trailers, [("x-other".to_owned(), "stays".to_owned())]);
    }
    assert_eq!(stage.backend("one")["utilization"], 0.75);
    assert_eq!(stage.backend("two")["utilization"], 0.5);
}

//! Limits, queues and classes.

use std::time::Duration;

use plimsoll_core::pool::QueueSettings;
use plimsoll_core::priority::{Class, Priority};

use super::{told, toml};

fn with(lines: &str) -> String {
    format!("{}{lines}", super::SOUND)
}

#[test]
fn a_pool_has_a_queue_unless_it_says_otherwise() {
    for (limits, most, timeout) in [
        ("", 1024, 1_000),
        ("limits = { queue = 100, queue_timeout = \"250ms\" }", 100, 250),
        ("limits = { queue = 0 }", 0, 1_000),
    ] {
        let loaded = toml(&with(&format!("[pools.p]\nbackends = [\"10.0.0.1:80\"]\n{limits}"))).unwrap();
        let pool = &loaded.plan.pools[loaded.plan.pool_index("p").unwrap()];
        let timeout = Duration::from_millis(timeout);
        assert_eq!(pool.settings.queue, QueueSettings { most, timeout }, "{limits}");
    }
}

#[test]
fn a_load_line_is_learned_where_that_is_asked_for() {
    for (limits, backend, requests, learned) in [
        ("", "", 1024, None),
        ("requests = 50", "", 50, None),
        ("requests = \"auto\"", "", 1024, Some(1)),
        ("requests = \"auto\"", ", max_requests = 7", 7, Some(1)),
        ("requests = { min = 4, max = 200 }", "", 200, Some(4)),
    ] {
        let text = format!("[pools.p]\nbackends = [{{ address = \"10.0.0.1:80\"{backend} }}]\nlimits = {{ {limits} }}");
        let loaded = toml(&with(&text)).unwrap();
        let pool = &loaded.plan.pools[loaded.plan.pool_index("p").unwrap()];
        let found = pool.backends[0].limits;
        assert_eq!((found.requests, found.learned), (requests, learned), "{text}");
    }
}

#[test]
fn a_route_has_a_class_or_tells_it_by_a_header() {
    let by_header = Priority::Field {
        name: "x-priority".into(),
        high: vec!["checkout".into()],
        low: vec!["batch".into()],
    };
    for (priority, expected) in [
        ("", Priority::Fixed(Class::Normal)),
        ("priority = \"low\"", Priority::Fixed(Class::Low)),
        (
            "priority = { header = \"X-Priority\", high = \"checkout\", low = [\"Batch\"] }",
            by_header,
        ),
    ] {
        let loaded = toml(&with(&format!("[[routes]]\nname = \"r\"\npool = \"api\"\n{priority}"))).unwrap();
        let route = loaded.plan.routes.iter().find(|route| route.name == "r").unwrap();
        assert_eq!(route.priority, expected, "{priority}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (text, says) in [
        (
            "[[routes]]\npool = \"api\"\npriority = \"urgent\"",
            "unknown word \"urgent\" (known here: \"high\", \"normal\", \"low\")",
        ),
        (
            "[[routes]]\npool = \"api\"\npriority = { low = [\"batch\"] }",
            "the key `header` is missing",
        ),
        (
            "[[routes]]\npool = \"api\"\npriority = { header = \"x-priority\" }",
            "no value makes a request high or low",
        ),
        (
            "[[routes]]\npool = \"api\"\npriority = { header = \"x priority\", low = \"batch\" }",
            "`x priority` is not a header's name",
        ),
        (
            "[pools.p]\nbackends = [\"10.0.0.1:80\"]\nlimits = { requests = \"automatic\" }",
            "expected a number, \"auto\", or a table",
        ),
        (
            "[pools.p]\nbackends = [\"10.0.0.1:80\"]\nlimits = { requests = { min = 9, max = 8 } }",
            "9 is more than 8",
        ),
        (
            "[listeners.db]\nbind = \":5432\"\nprotocol = \"tcp\"\npool = \"p\"\n\
             [pools.p]\nbackends = [\"10.0.0.1:80\"]\nlimits = { requests = \"auto\" }",
            "`p` has no latency to learn from: the listener `db` relays connections to it",
        ),
        (
            "[pools.p]\nbackends = [\"10.0.0.1:80\"]\nlimits = { queue = 1000000 }",
            "1000000 is out of range: 0 to 100000",
        ),
        (
            "[pools.p]\nbackends = [\"10.0.0.1:80\"]\nlimits = { queue_timeout = \"0s\" }",
            "a timeout of zero lets nothing through",
        ),
    ] {
        let told = told(&toml(&with(text)));
        assert!(told.iter().any(|line| line.contains(says)), "{text}: {told:#?}");
    }
}

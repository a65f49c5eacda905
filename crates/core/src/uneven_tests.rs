//! Each cause is named, and chance is not.

use super::*;

const PART: Part<'_> = Part {
    name: "a",
    requests: 100,
    weight: 1,
    effective_weight: 1.0,
    state: State::Healthy,
    cause: "checks pass",
    priority: 0,
    zone: None,
    in_flight: 1,
    load_line: 100,
    latency_ms: Some(10.0),
    sticky_sessions: 0,
};

fn least() -> Pool<'static> {
    Pool {
        policy: "least-connections",
        ..Pool::default()
    }
}

/// What is said of `c` beside two backends as they should be.
fn said(pool: Pool<'_>, c: Part<'_>) -> String {
    let parts = [
        Part {
            name: "a",
            requests: 1_000,
            ..PART
        },
        Part {
            name: "b",
            requests: 1_000,
            ..PART
        },
        c,
    ];
    let findings = uneven(pool, &parts);
    let of_c = findings.iter().find(|finding| finding.backend == c.name);
    of_c.map(Finding::words).unwrap_or_default()
}

#[test]
fn each_cause_of_too_little_is_named() {
    let c = Part {
        name: "c",
        requests: 100,
        ..PART
    };
    for (part, words) in [
        (
            Part {
                state: State::Ejected,
                effective_weight: 0.0,
                cause: "5 errors in a row",
                ..c
            },
            "it is ejected (5 errors in a row)",
        ),
        (
            Part {
                effective_weight: 0.3,
                ..c
            },
            "it is in slow start, at 3 tenths",
        ),
        (
            Part { priority: 1, ..c },
            "it is of priority 1, and those of priority 0 suffice",
        ),
        (Part { in_flight: 100, ..c }, "it is full: 100 in flight"),
        (
            Part {
                latency_ms: Some(80.0),
                ..c
            },
            "it is slower: 80.0 ms, and 10.0 ms",
        ),
        (
            Part {
                in_flight: 9,
                latency_ms: None,
                ..c
            },
            "more in flight",
        ),
        (c, "nothing that is known"),
    ] {
        let said = said(least(), part);
        assert!(
            said.starts_with("c gets 4.8 %, and 33 % by its weight: ") && said.contains(words),
            "{words}: {said}"
        );
    }
}

#[test]
fn zones_and_keys_are_causes_of_the_pool() {
    let c = Part {
        name: "c",
        requests: 100,
        ..PART
    };
    let zoned = Pool {
        zone: Some("eu-1a"),
        ..least()
    };
    assert!(
        said(
            zoned,
            Part {
                zone: Some("eu-1b"),
                ..c
            }
        )
        .contains("in the zone eu-1b")
    );
    let hashed = Pool {
        policy: "maglev",
        key: Some("client-ip"),
        ..Pool::default()
    };
    assert!(said(hashed, c).contains("maglev sends each client-ip to one backend"));
}

#[test]
fn each_cause_of_too_much_is_named() {
    let c = Part {
        name: "c",
        requests: 6_000,
        ..PART
    };
    assert!(
        said(
            least(),
            Part {
                latency_ms: Some(2.0),
                ..c
            }
        )
        .contains("it is faster: 2.0 ms")
    );
    assert!(
        said(
            least(),
            Part {
                sticky_sessions: 9,
                ..c
            }
        )
        .contains("it has 100 % of them")
    );
    let parts = [
        Part { requests: 500, ..PART },
        Part {
            name: "b",
            requests: 0,
            effective_weight: 0.0,
            state: State::Unhealthy,
            ..PART
        },
    ];
    let findings = uneven(least(), &parts);
    let of_a = findings
        .iter()
        .find(|finding| finding.backend == "a")
        .map(Finding::words);
    assert!(of_a.is_some_and(|words| words.contains("b takes no work now")));
}

#[test]
fn what_chance_explains_is_not_told() {
    let even = |requests: [u64; 3]| {
        let part = |(at, requests): (usize, &u64)| Part {
            name: ["a", "b", "c"][at],
            requests: *requests,
            ..PART
        };
        let parts: Vec<Part<'_>> = requests.iter().enumerate().map(part).collect();
        uneven(least(), &parts)
    };
    assert_eq!(even([1_000, 1_100, 950]), []);
    assert_eq!(even([20, 5, 10]), [], "too few to tell");
    assert_eq!(even([30, 21, 24]), []);
    assert!(!even([3_000, 1_000, 1_000]).is_empty());
    assert_eq!(uneven(least(), &[]), []);
}

#[test]
fn weights_are_fair() {
    let parts = [
        Part {
            requests: 2_000,
            weight: 2,
            effective_weight: 2.0,
            ..PART
        },
        Part {
            name: "b",
            requests: 1_000,
            ..PART
        },
    ];
    assert_eq!(uneven(least(), &parts), []);
}

//! One route over several pools, by weights that change while it runs.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use e2e::{Backend, Plimsoll, Reply, Script};

const BLUE_AND_GREEN: &str = r#"
    [listeners.web]
    bind = ["@web@"]
    [[routes]]
    name = "shop"
    match = { path = "/*" }
    split = [{ pool = "blue", weight = 90 }, { pool = "green", weight = 10 }]
    [[routes]]
    name = "plain"
    match = { path = "/plain" }
    pool = "blue"
    [pools.blue]
    backends = ["@blue@"]
    health = false
    [pools.green]
    backends = ["@green@"]
    health = false
"#;

fn stage() -> (Backend, Backend, Plimsoll) {
    let (blue, green) = (
        Backend::named("blue", Script::Echo),
        Backend::named("green", Script::Echo),
    );
    let plimsoll = Plimsoll::config(BLUE_AND_GREEN)
        .address("blue", blue.address())
        .address("green", green.address())
        .start();
    (blue, green, plimsoll)
}

fn shift(plimsoll: &Plimsoll, route: &str, split: &str) -> Reply {
    plimsoll.admin_send(
        "PATCH",
        &format!("/api/v1/routes/{route}"),
        &format!("{{\"split\": {split}}}"),
    )
}

#[test]
fn requests_are_shared_out_by_weight_and_shifted_in_one_swap() {
    let (blue, green, plimsoll) = stage();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut wire, mut served) = (plimsoll.connect("web"), 0);
                    while !stop.load(SeqCst) {
                        assert_eq!(wire.get("/").status, 200);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        blue.wait_for_requests(900);
        // Six standard deviations of the binomial distribution about a tenth.
        let (of_blue, of_green) = (blue.requests() as f64, green.requests() as f64);
        let all = of_blue + of_green;
        let spread = 6.0 * (all * 0.09).sqrt();
        assert!((of_green - all * 0.1).abs() < spread, "{of_green} of {all}");

        let shifted = shift(&plimsoll, "shop", r#"[{ "pool": "green", "weight": 7 }]"#);
        assert_eq!(shifted.status, 200, "{shifted:#?}");
        assert_eq!(
            shifted.json()["split"],
            serde_json::json!([{ "pool": "blue", "weight": 0 }, { "pool": "green", "weight": 7 }])
        );
        // What was under way ends; then blue gets nothing more.
        let under_way = 4;
        let before = blue.requests();
        green.wait_for_requests(green.requests() + 200);
        assert!(
            blue.requests() <= before + under_way,
            "{before} and then {}",
            blue.requests()
        );
        stop.store(true, SeqCst);
        for client in clients {
            assert!(client.join().expect("nobody was refused") > 0);
        }
    });
}

#[test]
fn what_is_no_split_is_refused_and_changes_nothing() {
    let (_blue, _green, plimsoll) = stage();
    for (route, split, status, says) in [
        ("shop", r#"[{ "pool": "red" }]"#, 400, "its pools are blue, green"),
        (
            "shop",
            r#"[{ "pool": "blue", "weight": 0 }]"#,
            400,
            "no pool would get any request",
        ),
        (
            "shop",
            r#"[{ "pool": "blue" }, { "pool": "blue", "weight": 0 }]"#,
            400,
            "two parts",
        ),
        ("shop", "[]", 400, "no pool would get any request"),
        ("shop", r#"[{ "pool": "blue", "weight": -1 }]"#, 400, "0 to 1000000"),
        ("plain", r#"[{ "pool": "blue" }]"#, 400, "has no split"),
        ("sho", r#"[{ "pool": "blue" }]"#, 404, "did you mean \\\"shop\\\""),
    ] {
        let refused = shift(&plimsoll, route, split);
        assert_eq!(refused.status, status, "{split}: {refused:#?}");
        assert!(refused.text().contains(says), "{}", refused.text());
    }
    let routes = plimsoll.admin("/api/v1/routes").json();
    assert_eq!(
        routes[0]["split"][0],
        serde_json::json!({ "pool": "blue", "weight": 90 })
    );
}

#[test]
fn explain_tells_each_part() {
    let (_blue, _green, plimsoll) = stage();
    let told = plimsoll.admin("/api/v1/explain?url=http://a/").json();
    let steps = told["steps"].as_array().expect("steps");
    let parts: Vec<_> = steps
        .iter()
        .filter(|step| step["why"].as_str().is_some_and(|why| why.contains("of 100 requests")))
        .map(|step| (step["subject"].as_str(), step["verdict"].as_str()))
        .collect();
    assert_eq!(parts.len(), 2, "{told:#}");
    let pool = told["pool"].as_str();
    assert!(parts.contains(&(pool, Some("taken"))), "{parts:?} and {pool:?}");
}

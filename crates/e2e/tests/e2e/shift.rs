//! `plimsoll shift`: a split that moves little by little, and goes back by itself.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use e2e::{Backend, Output, PATIENCE, Plimsoll, Script, tools};

fn before(blue: &Backend, green: &Backend) -> Plimsoll {
    let text = r#"
        [listeners.web]
        bind = ["@web@"]
        [[routes]]
        name = "shop"
        split = [{ pool = "blue", weight = 95 }, { pool = "green", weight = 5 }]
        [pools.blue]
        backends = ["@blue@"]
        [pools.green]
        backends = [{ name = "new", address = "@green@" }]
        health = { http = "/healthz", interval = "100ms", timeout = "100ms" }
        "#;
    Plimsoll::config(text)
        .address("blue", blue.address())
        .address("green", green.address())
        .start()
}

fn shift(plimsoll: &Plimsoll, arguments: &[&str]) -> Output {
    let admin = plimsoll.address("admin").to_string();
    let mut command = Command::new(e2e::plimsoll_binary());
    command.args(["shift", "shop", "--admin", &admin]).args(arguments);
    tools::run(&mut command, PATIENCE * 4)
}

/// Runs `meanwhile` while somebody asks and asks.
fn under_load<T>(plimsoll: &Plimsoll, meanwhile: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut wire = plimsoll.connect("web");
            while !stop.load(SeqCst) {
                wire.get("/");
            }
        });
        let result = meanwhile();
        stop.store(true, SeqCst);
        result
    })
}

#[test]
fn requests_move_to_the_new_pool_and_the_command_says_when_they_have() {
    let (blue, green) = (Backend::start(Script::Echo), Backend::start(Script::Echo));
    let plimsoll = before(&blue, &green);
    let shifted = under_load(&plimsoll, || {
        shift(&plimsoll, &["green=100", "--over", "3s", "--when-healthy"])
    });
    assert_eq!(shifted.code, Some(0), "{shifted:?}");
    assert_eq!(shifted.stdout, "shop: done: blue 0 %, green 100 %\n");
    assert!(shifted.stderr.contains("% done"), "{shifted:?}");
    let old = blue.requests_to("/");
    for _ in 0..20 {
        assert_eq!(plimsoll.get("web", "/").status, 200);
    }
    assert_eq!(blue.requests_to("/"), old, "blue gets nothing any more");
    let half = shift(&plimsoll, &["green=50"]);
    assert_eq!(half.stdout, "shop: done: blue 50 %, green 50 %\n", "{half:?}");
}

#[test]
fn a_new_pool_that_fails_loses_its_requests_at_once() {
    let failing = Script::by_path([
        ("/healthz", Script::Echo),
        (
            "/",
            Script::Reply {
                status: 500,
                headers: Vec::new(),
                body: "broken".into(),
            },
        ),
    ]);
    let (blue, green) = (Backend::start(Script::Echo), Backend::start(failing));
    let plimsoll = before(&blue, &green);
    let wanted = ["green=100", "--over", "10m", "--abort-if", "error_rate > 1%"];
    let back = under_load(&plimsoll, || shift(&plimsoll, &wanted));
    assert_eq!(back.code, Some(3), "{back:?}");
    assert!(back.stderr.contains("went back (error_rate 100.0% of "), "{back:?}");
    assert!(back.stderr.contains("blue 95 %, green 5 %"), "{back:?}");
    let nothing = shift(&plimsoll, &["--back"]);
    assert_eq!(nothing.code, Some(3));
    assert!(
        nothing.stderr.contains("no shift of this route is under way"),
        "{nothing:?}"
    );
}

#[test]
fn a_shift_that_another_one_replaces_has_not_been_done() {
    let (blue, green) = (Backend::start(Script::Echo), Backend::start(Script::Echo));
    let plimsoll = before(&blue, &green);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| shift(&plimsoll, &["green=100", "--over", "10m"]));
        e2e::eventually("it is under way", || {
            let routes = plimsoll.admin("/api/v1/routes").json();
            (routes[0]["shift"]["state"] == "shifting").then_some(())
        });
        let second = shift(&plimsoll, &["green=0"]);
        assert_eq!(second.stdout, "shop: done: blue 100 %, green 0 %\n", "{second:?}");
        let first = first.join().expect("the command");
        assert_eq!((first.code, &*first.stdout), (Some(3), ""), "{first:?}");
        assert!(first.stderr.contains("another shift has taken the place"), "{first:?}");
    });
}

//! The commands that change a running process: drain, ready, weight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use e2e::{Backend, Output, Plimsoll, Scratch, Script, eventually, run_command};

/// Two backends, of which each holds its requests to /held until it is let go.
struct Stage {
    plimsoll: Plimsoll,
    go: Arc<AtomicBool>,
    _backends: [Backend; 2],
}

fn stage() -> Stage {
    let go = Arc::new(AtomicBool::new(false));
    let backends = ["one", "two"].map(|name| {
        let go = go.clone();
        let held = Script::custom(move |exchange| {
            eventually("it is let go", || go.load(SeqCst).then_some(()));
            exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")?;
            Ok(true)
        });
        Backend::named(name, Script::by_path([("/", Script::Echo), ("/held", held)]))
    });
    let config = r#"
        [listeners.web]
        bind = ["@web@"]
        pool = "api"
        [pools.api]
        backends = [{ name = "one", address = "@one@" }, { name = "two", address = "@two@" }]
        health = false
    "#;
    let plimsoll = Plimsoll::config(config)
        .address("one", backends[0].address())
        .address("two", backends[1].address())
        .start();
    Stage {
        plimsoll,
        go,
        _backends: backends,
    }
}

impl Stage {
    fn command(&self, arguments: &[&str]) -> Output {
        command(&self.plimsoll.address("admin").to_string(), arguments)
    }

    fn backend(&self, at: usize) -> serde_json::Value {
        self.plimsoll.admin("/api/v1/pools/api").json()["backends"][at].clone()
    }
}

fn command(admin: &str, arguments: &[&str]) -> Output {
    run_command(&Scratch::new(), &[arguments, &["--admin", admin]].concat())
}

#[test]
fn a_drain_that_waits_comes_back_when_nothing_would_be_lost() {
    let stage = stage();
    let held = stage.plimsoll.address("web");
    let asked = thread::spawn(move || e2e::Wire::connect(held).get("/held"));
    let busy = eventually("the request is under way", || {
        (0..2).find(|at| stage.backend(*at)["in_flight"] == 1)
    });
    let name = ["one", "two"][busy];
    let (admin, aim) = (stage.plimsoll.address("admin").to_string(), format!("api/{name}"));
    let drain = thread::spawn(move || command(&admin, &["drain", &aim, "--wait", "--timeout", "10m"]));
    stage.plimsoll.wait_for_state("api", name, "draining");
    let other = ["two", "one"][busy];
    e2e::stays(
        Duration::from_millis(500),
        "it waits, and the other takes the work",
        || !drain.is_finished() && stage.plimsoll.get("web", "/").json()["backend"] == other,
    );
    stage.go.store(true, SeqCst);
    assert_eq!(asked.join().expect("a reply").text(), "done");
    let drained = drain.join().expect("the command");
    assert_eq!(drained.code, Some(0), "{drained:?}");
    assert!(
        drained
            .stdout
            .contains(&format!("api/{name}: draining, nothing is left")),
        "{drained:?}"
    );
    // How long it takes, and for what, is told meanwhile.
    assert!(drained.stderr.contains("1 in flight, 0 sticky sessions"), "{drained:?}");

    let ready = stage.command(&["ready", &format!("api/{name}")]);
    assert_eq!(
        (ready.code, ready.stdout.starts_with(&format!("api/{name}: healthy"))),
        (Some(0), true),
        "{ready:?}"
    );
    assert_eq!(stage.backend(busy)["state"], "healthy");
}

#[test]
fn a_drain_that_somebody_undoes_does_not_say_that_the_backend_can_be_stopped() {
    let stage = stage();
    let web = stage.plimsoll.address("web");
    let asked = thread::spawn(move || e2e::Wire::connect(web).get("/held"));
    let busy = eventually("the request is under way", || {
        (0..2).find(|at| stage.backend(*at)["in_flight"] == 1)
    });
    let name = ["one", "two"][busy];
    let (admin, aim) = (stage.plimsoll.address("admin").to_string(), format!("api/{name}"));
    let drain = thread::spawn(move || command(&admin, &["drain", &aim, "--wait"]));
    stage.plimsoll.wait_for_state("api", name, "draining");
    assert_eq!(stage.command(&["ready", &format!("api/{name}")]).code, Some(0));
    let drained = drain.join().expect("the command");
    assert_eq!((drained.code, &*drained.stdout), (Some(3), ""), "{drained:?}");
    assert!(
        drained.stderr.contains(&format!("api/{name} takes work again")),
        "{drained:?}"
    );
    stage.go.store(true, SeqCst);
    assert_eq!(asked.join().expect("a reply").text(), "done");
}

#[test]
fn a_drain_whose_time_is_up_ends_what_is_left() {
    let stage = stage();
    let web = stage.plimsoll.address("web");
    let asked = thread::spawn(move || e2e::Wire::connect(web).get("/held"));
    eventually("the request is under way", || {
        (0..2).find(|at| stage.backend(*at)["in_flight"] == 1)
    });
    let drained = stage.command(&["drain", "api", "--wait", "--timeout", "50ms"]);
    assert_eq!(drained.code, Some(0), "{drained:?}");
    assert_eq!(drained.stdout.matches("it can be stopped").count(), 2, "{drained:?}");
    assert!(drained.stderr.contains("left: 1 in flight"), "{drained:?}");
    // There is no other backend that could answer it.
    assert_eq!(asked.join().expect("a reply").status, 503);
    stage.go.store(true, SeqCst);
}

#[test]
fn a_pool_is_drained_and_made_ready_as_a_whole() {
    let stage = stage();
    let drained = stage.command(&["drain", "api", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&drained.stdout).expect("JSON");
    let states: Vec<_> = json["backends"]
        .as_array()
        .expect("backends")
        .iter()
        .map(|one| one["state"].clone())
        .collect();
    assert_eq!(states, ["draining", "draining"]);
    eventually("there is nobody to ask", || {
        (stage.plimsoll.get("web", "/").status == 503).then_some(())
    });
    assert_eq!(stage.command(&["ready", "api"]).code, Some(0));
    eventually("all are back", || {
        (stage.plimsoll.get("web", "/").status == 200).then_some(())
    });
}

#[test]
fn a_weight_is_set_and_undone() {
    let stage = stage();
    let set = stage.command(&["weight", "api/one", "0"]);
    assert_eq!(
        (set.code, set.stdout.as_str()),
        (Some(0), "api/one: weight 0, healthy\n"),
        "{set:?}"
    );
    eventually("the other takes all", || {
        let all = |_| stage.plimsoll.get("web", "/").json()["backend"] == "two";
        (0..10).all(all).then_some(())
    });
    let undone = stage.command(&["weight", "api/one", "configured"]);
    assert_eq!(undone.stdout, "api/one: weight 1, healthy\n");
    assert_eq!(stage.backend(0)["operator"]["weight"], serde_json::Value::Null);
}

#[test]
fn what_is_not_there_gets_the_nearest_that_is() {
    let stage = stage();
    for (arguments, code, says) in [
        (&["drain", "apj/one"][..], 3, "did you mean \"api\"?"),
        (&["ready", "api/oen"], 3, "did you mean \"one\"?"),
        (&["weight", "api/one", "1001"], 3, "out of range"),
        (&["weight", "api/one", "heavy"], 2, "a whole number"),
        (&["weight", "api", "1"], 2, "POOL/BACKEND"),
        (&["drain", "api/"], 2, "POOL/BACKEND"),
        (&["drain", "api/one", "--timeout", "soon"], 3, "is not a duration"),
    ] {
        let refused = stage.command(arguments);
        assert_eq!(refused.code, Some(code), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains(says), "{arguments:?}: {refused:?}");
    }
    assert!((0..2).all(|at| stage.backend(at)["state"] == "healthy"));
}

//! Certificates by ACME over time: restarts, renewals, an authority that is away, and a storage that is shared or spoilt.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use e2e::{Authority, Pebble, PebbleSetup, Plimsoll, eventually, eventually_within};

use crate::acme_stage::{Stage, ended, status, wait_for, wait_for_error};

/// What `openssl` says the serial number is of what the listener `web` shows.
#[track_caller]
fn serial(stage: &Stage, pebble: &Pebble) -> String {
    let address = stage.tls.address().to_string();
    eventually("a certificate is shown", || {
        pebble.shown(&address, "shop.test", "-serial")
    })
}

#[test]
fn what_is_kept_is_shown_at_the_start_without_an_authority() {
    let stage = Stage::new();
    let mut pebble = stage.pebble(PebbleSetup::default());
    let acme = stage.acme(&pebble, "\"shop.test\"", "");
    let mut plimsoll = stage.setup(&acme, "").start();
    wait_for(&plimsoll, "web", "issued");
    let first = serial(&stage, &pebble);
    plimsoll.terminate(e2e::PATIENCE);
    drop(plimsoll);
    pebble.stop();
    let plimsoll = stage.setup(&acme, "").start();
    assert_eq!(status(&plimsoll, "web")["names"][0], "shop.test");
    assert_eq!(serial(&stage, &pebble), first);
    assert_eq!(ended(&plimsoll, "web", "issued"), 0.0);
    // Nor does whoever explains ask anybody.
    let output = e2e::run_command(
        plimsoll.scratch(),
        &[
            "explain",
            "-c",
            "plimsoll.toml",
            &format!("https://shop.test:{}/", stage.tls.number()),
        ],
    );
    assert!(
        output.stdout.contains("the name shop.test: ECDSA for shop.test until"),
        "{output:?}"
    );
}

#[test]
fn a_dead_authority_hurts_nothing_and_is_asked_again() {
    let stage = Stage::new();
    let mut pebble = stage.pebble(PebbleSetup::default());
    pebble.stop();
    let authority = Authority::new("Files");
    authority.issue("file", &["file.test"]);
    let tls = format!(
        "certificates = [{}], {}",
        authority.pair("file"),
        stage.acme(&pebble, "\"shop.test\"", "")
    );
    let mut plimsoll = stage.setup(&tls, "").start();
    let failing = wait_for_error(&plimsoll, "web", &["cannot be reached"]);
    assert_eq!(
        (&failing["acme"]["state"], &failing["names"]),
        (&"failing".into(), &serde_json::Value::Null)
    );
    assert!(ended(&plimsoll, "web", "unreachable") >= 1.0);
    let served = |stage: &Stage| stage.curl(&authority.file("ca.pem"), "file.test", &[]).code;
    assert_eq!(served(&stage), Some(0));
    let explained = plimsoll.admin(&format!(
        "/api/v1/explain?url=https://shop.test:{}/",
        stage.tls.number()
    ));
    assert!(
        explained
            .text()
            .contains("the name shop.test, which no certificate is for, gets the default")
    );
    // A restart does not ask sooner.
    let next = |plimsoll: &Plimsoll| status(plimsoll, "web")["acme"]["next_try"].clone();
    let failures = |plimsoll: &Plimsoll| status(plimsoll, "web")["acme"]["failures"].as_u64().expect("a number");
    eventually("it waits for the next try", || (failures(&plimsoll) >= 2).then_some(()));
    let (before, count) = (next(&plimsoll), failures(&plimsoll));
    plimsoll.terminate(e2e::PATIENCE);
    drop(plimsoll);
    let plimsoll = stage.setup(&tls, "").start();
    let now = status(&plimsoll, "web");
    // Unless its time has come meanwhile, on a busy machine.
    assert!(now["acme"]["failures"].as_u64().expect("a number") >= count, "{now}");
    assert!(
        now["acme"]["next_try"] == before || now["acme"]["failures"].as_u64() > Some(count),
        "{before}: {now}"
    );
    pebble.restart();
    // Whoever does not want to wait takes away what is remembered.
    stage.forget("cannot be reached");
    wait_for(&plimsoll, "web", "issued");
    assert_eq!(status(&plimsoll, "web")["acme"]["failures"], 0);
    assert_eq!(served(&stage), Some(0));
}

#[test]
fn a_certificate_is_renewed_under_load_without_a_failed_request() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup {
        life: 45,
        ..PebbleSetup::default()
    });
    // Within TLS, so that whoever comes while the authority asks is told apart from it.
    let acme = stage.acme(&pebble, "\"shop.test\"", ", challenge = \"tls-alpn-01\"");
    let plimsoll = stage.setup(&acme, "").start();
    wait_for(&plimsoll, "web", "issued");
    let first = serial(&stage, &pebble);
    let roots = pebble.roots();
    let (done, failed, made) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    let answered = stage.curl(&roots, "shop.test", &["--output", "/dev/null"]);
                    made.fetch_add(1, Relaxed);
                    if answered.code != Some(0) {
                        eprintln!("{answered:?}");
                        failed.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        // Two thirds of its life are half a minute.
        let renewed = {
            let deadline = Instant::now() + Duration::from_secs(120);
            loop {
                let renewed = ended(&plimsoll, "web", "issued") >= 2.0 && serial(&stage, &pebble) != first;
                if renewed || Instant::now() > deadline {
                    break renewed;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        };
        done.store(true, Relaxed);
        assert!(renewed, "{}", plimsoll.stderr());
    });
    assert_eq!(failed.into_inner(), 0, "of {} requests", made.into_inner());
    assert_eq!(
        ended(&plimsoll, "web", "refused") + ended(&plimsoll, "web", "failed"),
        0.0
    );
}

#[test]
fn two_processes_that_share_a_storage_ask_once() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup::default());
    // Each can be asked for the other's name: records are in one place.
    let hook = format!(
        "#!/bin/sh\nset -e\ncase \"$1\" in\n\
         add) curl -sf -d \"{{\\\"host\\\": \\\"$2.\\\", \\\"value\\\": \\\"$3\\\"}}\" {0}/set-txt;;\n\
         remove) curl -sf -d \"{{\\\"host\\\": \\\"$2.\\\"}}\" {0}/clear-txt;;\nesac\n",
        pebble.records()
    );
    let acme = stage.acme(
        &pebble,
        "\"shop.test\"",
        ", challenge = \"dns-01\", dns_hook = [\"./hook\"]",
    );
    let second = format!(
        "[listeners.web]\nbind = [\"@web@\"]\npool = \"api\"\ntls = {{ {acme} }}\n\
         [pools.api]\nbackends = [\"@one@\"]\nhealth = false\n"
    );
    let one = stage.setup(&acme, "").program("hook", &hook).start();
    let two = Plimsoll::config(&second)
        .address("one", stage.backend.address())
        .program("hook", &hook)
        .start();
    wait_for(&one, "web", "issued");
    wait_for(&two, "web", "issued");
    assert_eq!(ended(&one, "web", "issued") + ended(&two, "web", "issued"), 1.0);
    let shown = pebble.shown(&two.address("web").to_string(), "shop.test", "-serial");
    assert_eq!(shown.as_ref(), Some(&serial(&stage, &pebble)));
}

#[test]
fn garbage_in_the_storage_is_told_and_replaced() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup::default());
    let acme = stage.acme(&pebble, "\"shop.test\"", "");
    let mut plimsoll = stage.setup(&acme, "").start();
    wait_for(&plimsoll, "web", "issued");
    let first = serial(&stage, &pebble);
    plimsoll.terminate(e2e::PATIENCE);
    drop(plimsoll);
    for ending in [".pem", ".state.json", ".account.json"] {
        std::fs::write(stage.kept().join(stage.kept_as(ending)), "garbage\n").expect("it can be written");
    }
    let plimsoll = stage.setup(&acme, "").start();
    wait_for(&plimsoll, "web", "issued");
    let second = serial(&stage, &pebble);
    assert_ne!(first, second);
    let log = plimsoll.stderr();
    for says in [
        "what is kept of a certificate cannot be used",
        "what was remembered cannot be read",
        "what is kept as an account is none",
    ] {
        assert!(log.contains(says), "{says}: {log}");
    }
    // Spoilt while it is shown, it is shown on, and asked for again.
    stage.forget("\"of\":");
    std::fs::write(stage.kept().join(stage.kept_as(".pem")), "garbage\n").expect("it can be written");
    eventually_within(Duration::from_secs(60), "another one is issued", || {
        let shown = serial(&stage, &pebble);
        (shown != second && ended(&plimsoll, "web", "issued") == 2.0).then_some(())
    });
}

#[test]
fn an_account_that_the_authority_does_not_know_any_more_is_made_anew() {
    let stage = Stage::new();
    let mut pebble = stage.pebble(PebbleSetup::default());
    let acme = |domains: &str| stage.acme(&pebble, domains, ", email = \"ops@shop.test\"");
    let (before, after) = (acme("\"shop.test\""), acme("\"shop.test\", \"www.shop.test\""));
    let moved = acme("\"shop.test\", \"new.shop.test\"").replace("ops@", "new@");
    let mut plimsoll = stage.setup(&before, "").start();
    wait_for(&plimsoll, "web", "issued");
    let first = serial(&stage, &pebble);
    plimsoll.terminate(e2e::PATIENCE);
    drop(plimsoll);
    pebble.stop();
    // With another name: what was there is shown until there is one for both.
    let plimsoll = stage.setup(&after, "").start();
    assert_eq!(serial(&stage, &pebble), first);
    wait_for_error(&plimsoll, "web", &["cannot be reached"]);
    pebble.restart();
    let issued = eventually_within(Duration::from_secs(90), "one for both names", || {
        let status = status(&plimsoll, "web");
        (status["names"].as_array()?.len() == 2).then_some(status)
    });
    assert_eq!(issued["acme"]["state"], "issued");
    let log = plimsoll.stderr();
    assert!(log.contains("another one is registered"), "{log}");
    let roots = pebble.roots();
    assert_eq!(stage.curl(&roots, "www.shop.test", &[]).code, Some(0));
    // Somebody else is written to from now on.
    let account = || std::fs::read_to_string(stage.kept().join(stage.kept_as(".account.json"))).expect("it is there");
    assert!(account().contains("mailto:ops@shop.test"), "{}", account());
    let mut plimsoll = plimsoll;
    plimsoll.terminate(e2e::PATIENCE);
    drop(plimsoll);
    let plimsoll = stage.setup(&moved, "").start();
    wait_for(&plimsoll, "web", "issued");
    eventually_within(Duration::from_secs(60), "another address is kept", || {
        account().contains("mailto:new@shop.test").then_some(())
    });
}

#[test]
fn a_storage_that_cannot_be_written_to_is_told_and_nobody_is_asked() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup::default());
    // Where a file is, no directory can be made, by nobody.
    std::fs::write(stage.kept(), "a file").expect("it can be written");
    let authority = Authority::new("Files");
    authority.issue("file", &["file.test"]);
    let tls = format!(
        "certificates = [{}], {}",
        authority.pair("file"),
        stage.acme(&pebble, "\"shop.test\"", "")
    );
    let plimsoll = stage.setup(&tls, "").start();
    wait_for_error(&plimsoll, "web", &["cannot be written to"]);
    assert_eq!(ended(&plimsoll, "web", "failed"), 1.0);
    assert_eq!(stage.curl(&authority.file("ca.pem"), "file.test", &[]).code, Some(0));
    assert_eq!(pebble.asked_for("shop.test").trim(), "[]");
}

#[test]
fn a_reload_keeps_what_is_asked_for_as_before_and_begins_what_is_new() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup::default());
    let acme = stage.acme(&pebble, "\"shop.test\"", "");
    let mut plimsoll = stage.setup(&acme, "").start();
    wait_for(&plimsoll, "web", "issued");
    let first = serial(&stage, &pebble);
    let text = plimsoll.scratch().read("plimsoll.toml");
    let reload = |plimsoll: &mut Plimsoll, text: &str| {
        let generation = |plimsoll: &Plimsoll| plimsoll.admin("/api/v1/status").json()["generation"].as_u64();
        let before = generation(plimsoll);
        plimsoll.rewrite_config(text);
        plimsoll.signal("HUP");
        eventually("there is another generation", || {
            (generation(plimsoll) != before).then_some(())
        });
    };
    // The certificate and its history stay, whatever else changes.
    reload(
        &mut plimsoll,
        &format!("{text}\n[listeners.more]\nbind = [\"@more@\"]\npool = \"api\"\n"),
    );
    assert_eq!(serial(&stage, &pebble), first);
    assert_eq!(ended(&plimsoll, "web", "issued"), 1.0);
    // With another name there is something new, and the old one is shown until then.
    let both = text.replace(
        "domains = [\"shop.test\"]",
        "domains = [\"shop.test\", \"www.shop.test\"]",
    );
    reload(&mut plimsoll, &both);
    let roots = pebble.roots();
    assert_eq!(stage.curl(&roots, "shop.test", &[]).code, Some(0));
    eventually_within(Duration::from_secs(60), "one for both names", || {
        (status(&plimsoll, "web")["names"].as_array()?.len() == 2).then_some(())
    });
    assert_eq!(stage.curl(&roots, "www.shop.test", &[]).code, Some(0));
}

//! Copies of requests for another pool, which nobody waits for.

use std::time::Duration;

use e2e::{Backend, Plimsoll, Script, eventually};

fn serve(real: Script, shadow: Script, mirror: &str) -> (Backend, Backend, Plimsoll) {
    let (real, shadow) = (Backend::named("real", real), Backend::named("shadow", shadow));
    let config = format!(
        "[server]\nworkers = 1\n[listeners.web]\nbind = \"@web@\"\n\
         [[routes]]\nmatch = {{ path = \"/*\" }}\npool = \"real\"\nmirror = {mirror}\n\
         [pools.real]\nbackends = [\"@real@\"]\nhealth = false\n\
         [pools.shadow]\nbackends = [\"@shadow@\"]\nhealth = false\noutlier = false\n"
    );
    let plimsoll = Plimsoll::config(&config)
        .address("real", real.address())
        .address("shadow", shadow.address())
        .start();
    (real, shadow, plimsoll)
}

fn copies(plimsoll: &Plimsoll, result: &str) -> u32 {
    let sum = plimsoll.metrics().sum("plimsoll_mirrored_total", &[("result", result)]);
    sum.round() as u32
}

const POST: &str =
    "POST /a?b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nx-k: v\r\n\r\n4\r\nbody\r\n0\r\n\r\n";

#[test]
fn a_copy_is_what_the_routes_pool_was_sent() {
    let (real, shadow, plimsoll) = serve(Script::Echo, Script::status(500), "{ pool = \"shadow\" }");
    let reply = plimsoll.exchange("web", POST);
    assert_eq!(reply.status, 200);
    assert_eq!(plimsoll.get("web", "/plain").status, 200);
    shadow.wait_for_requests(2);
    // Copies may overtake each other.
    let copies_seen = shadow.seen();
    for sent in real.seen() {
        let id = sent.head.header("x-request-id");
        let copied = copies_seen
            .iter()
            .find(|copied| copied.head.header("x-request-id") == id);
        let copied = copied.unwrap_or_else(|| panic!("no copy of {id:?}: {copies_seen:#?}"));
        assert_eq!(sent.target(), copied.target());
        assert_eq!(sent.body, copied.body);
        assert_eq!(sent.head.header("x-k"), copied.head.header("x-k"));
    }
    eventually("both copies are counted", || {
        (copies(&plimsoll, "answered") == 2).then_some(())
    });
    shadow.assert_no_violations();
    real.assert_no_violations();
}

#[test]
fn a_part_of_the_requests_is_copied() {
    let (real, shadow, plimsoll) = serve(Script::Echo, Script::Echo, "{ pool = \"shadow\", percent = 25 }");
    let mut wire = plimsoll.connect("web");
    for _ in 0..400 {
        assert_eq!(wire.get("/").status, 200);
    }
    assert_eq!(real.requests(), 400);
    eventually("all copies are answered", || {
        (copies(&plimsoll, "answered") as usize == shadow.requests()).then_some(())
    });
    // 100 of 400, give or take five standard deviations.
    let copied = shadow.requests();
    assert!((57..=143).contains(&copied), "{copied}");
}

#[test]
fn a_mirror_that_hangs_costs_nobody_anything() {
    let hang = Script::after(Duration::from_secs(600), Script::Echo);
    let (real, _shadow, plimsoll) = serve(Script::Echo, hang, "{ pool = \"shadow\" }");
    let mut wire = plimsoll.connect("web");
    for _ in 0..300 {
        assert_eq!(wire.get("/").status, 200);
    }
    assert_eq!(real.requests(), 300);
    eventually("what is beyond the limit goes without a copy", || {
        (copies(&plimsoll, "dropped") == 300 - 128).then_some(())
    });
    let metrics = plimsoll.metrics();
    assert_eq!(metrics.sum("plimsoll_failures_total", &[]).round() as u32, 0);
}

#[test]
fn what_is_not_kept_whole_is_not_copied_and_failures_are_the_mirrors_own() {
    let (real, shadow, plimsoll) = serve(Script::Echo, Script::reset(), "{ pool = \"shadow\" }");
    let long = vec![b'x'; 200 << 10];
    let mut wire = plimsoll.connect("web");
    wire.send(format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        long.len()
    ));
    wire.send(&long);
    assert_eq!(wire.reply().status, 200);
    assert_eq!(wire.get("/short").status, 200);
    eventually("one was too large, and one failed", || {
        (copies(&plimsoll, "too_large") == 1 && copies(&plimsoll, "failed") == 1).then_some(())
    });
    assert_eq!((real.requests(), shadow.requests()), (2, 1));
}

//! Minutes of everything at once: what leaks, drifts or fails once in a hundred thousand shows here.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use e2e::{Plimsoll, eventually};

use crate::killed::{Process, client};
use crate::scale::memory_of;
use crate::stage::{Site, request};

/// How long it goes on. Long enough for hundreds of thousands of requests and some thirty deaths of a backend.
const SOAK: Duration = Duration::from_secs(180);

/// What memory may gain between the first quarter and the end: a byte a request would be a tenth of it.
const GROWTH_MAX: u64 = 4 << 20;

fn descriptors_of(plimsoll: &Plimsoll) -> usize {
    fs::read_dir(format!("/proc/{}/fd", plimsoll.pid())).map_or(0, Iterator::count)
}

/// Clients that go away in the middle of things: before a head is whole, in a body, before and within an answer. Each is
/// followed by one that stays for its answer, so that they come no faster than they are served.
fn vandal(plimsoll: &Plimsoll, stop: &AtomicBool) -> usize {
    let mut done = 0;
    while !stop.load(SeqCst) {
        let mut wire = plimsoll.connect("web");
        let whole = request("POST", "/work", &[b'x'; 20_000]);
        let sent = [10, 60, 10_000, whole.len()][done % 4].min(whole.len());
        wire.try_send(&whole[..sent]).unwrap_or_default();
        drop(wire);
        let mut polite = plimsoll.connect("web");
        polite.try_send(request("GET", "/work", b"")).unwrap_or_default();
        let _ = polite.try_reply_to("GET");
        done += 1;
    }
    done
}

#[test]
#[ignore = "soak: three minutes of load, deaths and clients that leave"]
fn nothing_leaks_and_no_idempotent_request_is_lost_in_minutes_of_load_and_deaths() {
    let (mut doomed, survivor) = (Process::start("doomed"), Process::start("survivor"));
    let stage = Site::new()
        .workers(2)
        .address("doomed", doomed.address())
        .address("survivor", survivor.address())
        .pool(
            "health = { interval = \"500ms\" }\noutlier = { eject_for = \"1s\" }\n\
             backends = [{ name = \"doomed\", address = \"@doomed@\" }, { name = \"survivor\", address = \"@survivor@\" }]",
        );
    let plimsoll = &stage.plimsoll;
    let at_rest = descriptors_of(plimsoll);
    let (stop, well, began) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    let (mut early, mut late, mut deaths) = (0, 0, 0);
    let (bad, left): (Vec<String>, usize) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|seed| {
                let (stop, well) = (&stop, &well);
                scope.spawn(move || client(plimsoll, seed, stop, well))
            })
            .collect();
        let vandals: Vec<_> = (0..2).map(|_| scope.spawn(|| vandal(plimsoll, &stop))).collect();
        while began.elapsed() < SOAK {
            std::thread::sleep(Duration::from_secs(3));
            doomed.kill();
            std::thread::sleep(Duration::from_secs(2));
            doomed.restart();
            deaths += 1;
            late = memory_of(plimsoll);
            if began.elapsed() < SOAK / 4 {
                early = late;
            }
        }
        stop.store(true, SeqCst);
        let bad = clients
            .into_iter()
            .flat_map(|client| client.join().expect("it ends"))
            .collect();
        (
            bad,
            vandals.into_iter().map(|vandal| vandal.join().expect("it ends")).sum(),
        )
    });
    println!(
        "{} requests answered well, {} not, {deaths} deaths, {left} clients that left; memory {} KiB, then {} KiB",
        well.load(SeqCst),
        bad.len(),
        early >> 10,
        late >> 10,
    );
    assert!(bad.is_empty(), "{:#?}", &bad[..bad.len().min(5)]);
    assert!(late <= early + GROWTH_MAX, "{early} bytes, then {late}");
    eventually("nothing is in flight", || {
        (plimsoll.metrics().sum("plimsoll_in_flight", &[("pool", "api")]) == 0.0).then_some(())
    });
    eventually("the clients' connections are closed", || {
        // The bystander's stays.
        (plimsoll.metrics().sum("plimsoll_connections", &[("listener", "web")]) <= 1.0).then_some(())
    });
    // What is left over are connections to backends, kept for reuse.
    let kept = descriptors_of(plimsoll) - at_rest;
    assert!(kept <= 64, "{kept} descriptors more than at first");
}

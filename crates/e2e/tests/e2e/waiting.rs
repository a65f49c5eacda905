//! Requests that wait for one of a backend's few connections: each in its turn.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use e2e::{Backend, Script};

use crate::stage::Site;

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn who_waits_longest_is_next() {
    let one = Backend::start(Script::after(Duration::from_millis(10), Script::Echo));
    let stage = Site::new()
        .address("one", one.address())
        .pool("backends = [\"@one@\"]\nhealth = false\nlimits = { connections = 1 }");
    let stop = AtomicBool::new(false);
    let served: Vec<usize> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(|| {
                    let (mut wire, mut served) = (stage.connect(), 0);
                    while !stop.load(SeqCst) {
                        wire.send(GET);
                        assert_eq!(wire.reply().status, 200);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        one.wait_for_requests(200);
        stop.store(true, SeqCst);
        clients
            .into_iter()
            .map(|client| client.join().expect("each is served"))
            .collect()
    });
    println!("{served:?}");
    let (least, most) = (served.iter().min().copied(), served.iter().max().copied());
    assert!(least >= most.map(|most| most / 2), "{served:?}");
}

#[test]
fn every_worker_gets_its_turn() {
    for (connections, clients) in [(1, 10), (2, 20)] {
        let one = Backend::start(Script::after(Duration::from_millis(10), Script::Echo));
        let stage = Site::new().workers(2).address("one", one.address()).pool(&format!(
            "backends = [\"@one@\"]\nhealth = false\nlimits = {{ connections = {connections} }}"
        ));
        // Long enough for anybody who is passed over to run into the time for a connection, 3 s.
        let until = std::time::Instant::now() + Duration::from_secs(5);
        let served: Vec<u32> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..clients)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut wire, mut served) = (stage.connect(), 0);
                        while std::time::Instant::now() < until {
                            wire.send(GET);
                            assert_eq!(wire.reply().status, 200);
                            served += 1;
                        }
                        served
                    })
                })
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().expect("each is served"))
                .collect()
        });
        println!("{connections} connections: {served:?}");
        let (least, most) = (served.iter().min().copied(), served.iter().max().copied());
        assert!(least >= most.map(|most| most / 4), "{served:?}");
    }
}

#[test]
fn waiting_at_the_drain_deadline_is_cut_as_such() {
    let one = Backend::start(Script::Hang);
    let stage = Site::new()
        .server("drain_timeout = \"500ms\"")
        .address("one", one.address())
        .pool("backends = [\"@one@\"]\nhealth = false\nlimits = { connections = 1, queue_timeout = \"60s\" }");
    let (mut first, mut second) = (stage.connect(), stage.connect());
    first.send(GET);
    one.wait_for_requests(1);
    second.send("GET /second HTTP/1.1\r\nhost: a\r\n\r\n");
    stage.wait_for_queue(1);
    stage.plimsoll.signal("TERM");
    assert_eq!(stage.logged("/second")["reason"], "drain_deadline");
}

//! Three times as much work as a backend can do, and what comes of it where its load line is learned.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use e2e::{Backend, Script, Wire};

use crate::stage::{Site, Stage};

/// What the backend works on at once, in the order of arrival, and how long each takes.
const PLACES: u64 = 4;
const SERVICE: Duration = Duration::from_millis(20);

/// Requests a second that it can do.
const CAPACITY: f64 = 200.0;

/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the backend has done.
#[derive(Default)]
struct Work {
    /// Requests that came, and that are done.
    turns: Mutex<(u64, u64)>,
    done: Condvar,
    /// Time that its places were taken, in microseconds.
    busy_us: AtomicU64,
}

impl Work {
    fn one(&self) {
        let mut turns = self.turns.lock().expect("nobody panics");
        let turn = turns.0;
        turns.0 += 1;
        while turn >= turns.1 + PLACES {
            turns = self.done.wait(turns).expect("nobody panics");
        }
        drop(turns);
        let began = Instant::now();
        std::thread::sleep(SERVICE);
        let took = u64::try_from(began.elapsed().as_micros()).expect("a short time");
        self.busy_us.fetch_add(took, SeqCst);
        self.turns.lock().expect("nobody panics").1 += 1;
        self.done.notify_all();
    }

    fn count(&self) -> u64 {
        self.turns.lock().expect("nobody panics").1
    }
}

fn backend(work: &Arc<Work>) -> Backend {
    let work = work.clone();
    Backend::named(
        "one",
        Script::Custom(Arc::new(move |exchange| {
            work.one();
            exchange.reply(200, &[], b"done").map(|()| true)
        })),
    )
}

/// What became of requests.
#[derive(Debug, Default)]
struct Seen {
    good: AtomicU64,
    refused: AtomicU64,
    late: AtomicU64,
}

/// Sends so many requests a second for so long, whatever becomes of them.
fn offer(stage: &Stage, rate: f64, span: Duration) -> Seen {
    let (seen, next, began) = (Seen::default(), AtomicU64::new(0), Instant::now());
    let client = || {
        let mut wire: Option<Wire> = None;
        loop {
            let at = Duration::from_secs_f64(next.fetch_add(1, SeqCst) as f64 / rate);
            if at >= span {
                return;
            }
            std::thread::sleep((began + at).saturating_duration_since(Instant::now()));
            let mut open = wire.take().unwrap_or_else(|| stage.connect().patience(PATIENCE));
            let sent = open.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            match sent.and_then(|()| open.try_reply_to("GET")) {
                Ok(reply) if reply.status == 200 => seen.good.fetch_add(1, SeqCst),
                Ok(_) => seen.refused.fetch_add(1, SeqCst),
                Err(_) => {
                    seen.late.fetch_add(1, SeqCst);
                    continue;
                }
            };
            wire = Some(open);
        }
    };
    std::thread::scope(|scope| (0..100).for_each(|_| drop(scope.spawn(client))));
    seen
}

#[test]
fn goodput_holds_at_three_times_the_capacity_and_nothing_is_left_of_it_afterwards() {
    let work = Arc::new(Work::default());
    let one = backend(&work);
    let stage = Site::new().workers(2).address("one", one.address()).pool(
        "backends = [{ name = \"one\", address = \"@one@\" }]\nhealth = false\n\
         limits = { requests = \"auto\", queue = 20, queue_timeout = \"200ms\" }",
    );
    // What the backend could have done in a round is what its places would have held; what was good of it is what a
    // client was answered. Both are the backend's and the clients' own counts, so that a machine that is slow is slow for
    // both. The first rounds are for learning, and a round that another process disturbs may be followed by a better one.
    let mut best: f64 = 0.0;
    for round in 0..10 {
        let (began, busy, done) = (Instant::now(), work.busy_us.load(SeqCst), work.count());
        let seen = offer(&stage, 3.0 * CAPACITY, Duration::from_secs(3));
        let could = began.elapsed().as_secs_f64() * PLACES as f64;
        let busy = (work.busy_us.load(SeqCst) - busy) as f64 / 1e6 / could;
        let good = seen.good.load(SeqCst) as f64 / (work.count() - done) as f64;
        let line = stage.backend("one")["load_line"].clone();
        println!("round {round}: line {line}, busy {busy:.3}, good {good:.3}, {seen:?}");
        assert!(seen.refused.load(SeqCst) > 0, "there was too much");
        best = best.max(busy * good);
        if best >= 0.9 && line.as_u64() <= Some(3 * PLACES) {
            break;
        }
    }
    assert!(best >= 0.9, "{best:.3} of what could be done");
    let line = stage.backend("one")["load_line"].as_u64().unwrap_or_default();
    assert!((PLACES - 1..=3 * PLACES).contains(&line), "a line of {line}");
    let metric = stage
        .plimsoll
        .metrics()
        .sum("plimsoll_load_line", &[("backend", "one")]);
    assert!(metric > 0.0 && metric <= 1024.0, "{metric}");
    // The load falls, and the first requests after it are served as if nothing had been.
    stage.wait_for_queue(0);
    let after = offer(&stage, CAPACITY / 4.0, Duration::from_secs(2));
    println!("afterwards: {after:?}");
    assert_eq!((after.refused.load(SeqCst), after.late.load(SeqCst)), (0, 0));
    assert!(after.good.load(SeqCst) >= 99);
}

//! Many clients that do little: what they cost the others.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::{Backend, Plimsoll, Script, eventually, scaled, tools};

use crate::stage::Site;

const ALONE: &str = "backends = [{ name = \"one\", address = \"@one@\" }]\nhealth = false";

/// CPU seconds, user's and system's, that a process has used.
fn cpu_seconds(stat: &str) -> f64 {
    // proc_pid_stat(5): after the name in parentheses come the state (3rd field) and so on; utime is the 14th, stime the
    // 15th, in ticks, of which there are 100 a second everywhere but on Alpha.
    let text = fs::read_to_string(stat).unwrap_or_default();
    let fields = text
        .rsplit_once(')')
        .map(|(_, rest)| rest.to_owned())
        .unwrap_or_default();
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

fn cpu_of(plimsoll: &Plimsoll) -> f64 {
    cpu_seconds(&format!("/proc/{}/stat", plimsoll.pid()))
}

/// Resident memory in bytes.
pub(crate) fn memory_of(plimsoll: &Plimsoll) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", plimsoll.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Connects, and has one request answered: from then on it is an idle connection.
fn idle(plimsoll: &Plimsoll) -> TcpStream {
    let mut stream = TcpStream::connect(plimsoll.address("web")).expect("it is accepted");
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: idle.example\r\n\r\n")
        .expect("it is taken");
    let mut bytes = [0; 512];
    let count = stream.read(&mut bytes).expect("it is answered");
    assert!(
        bytes[..count].starts_with(b"HTTP/1.1 200 "),
        "{:?}",
        String::from_utf8_lossy(&bytes[..count])
    );
    stream
}

#[test]
fn thousands_of_idle_and_slow_clients_cost_the_others_next_to_nothing() {
    // Two each: Plimsoll takes as many clients as it has descriptors for, with one more for a backend.
    let all = scaled("idle and dripping clients", 9_000, 2);
    let (idle_count, slow_count) = (all * 8 / 9, all / 9);
    let one = Backend::start(Script::reply(200, "ok"));
    let stage = Site::new()
        .workers(2)
        .listener("timeouts = { request_header = \"60s\" }")
        .address("one", one.address())
        .pool(ALONE);
    let plimsoll = &stage.plimsoll;
    let empty = memory_of(plimsoll);
    let idlers: Vec<_> = (0..idle_count).map(|_| idle(plimsoll)).collect();
    let with_idlers = memory_of(plimsoll);
    let mut slow: Vec<_> = (0..slow_count)
        .map(|_| TcpStream::connect(plimsoll.address("web")).expect("it is accepted"))
        .collect();
    // A byte a second from each of the slow: a request line, and fields without an end.
    let drop_of = |second: usize| b"GET / HTTP/1.1\r\nhost: slow.example\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaaa"[second];
    let drip = |slow: &mut Vec<TcpStream>, second: usize| {
        for stream in slow {
            stream.write_all(&[drop_of(second)]).expect("it is taken");
        }
    };
    drip(&mut slow, 0);
    let (began, before) = (Instant::now(), cpu_of(plimsoll));
    for second in 1..=5 {
        drip(&mut slow, second);
        std::thread::sleep((began + Duration::from_secs(second as u64)).saturating_duration_since(Instant::now()));
    }
    let used = (cpu_of(plimsoll) - before) / began.elapsed().as_secs_f64();
    let memory = memory_of(plimsoll);
    println!(
        "{idle_count} idle and {slow_count} dripping: {used:.3} CPU seconds a second; memory {} KiB empty, {} B an idle \
         connection, {} KiB in all",
        empty >> 10,
        with_idlers.saturating_sub(empty) / idle_count,
        memory >> 10,
    );
    assert!(used <= 0.1, "{used} CPU seconds a second");
    let most = empty + idle_count * 8_192 + slow_count * 65_536 + (32 << 20);
    assert!(memory <= most, "{memory} bytes for {all} clients");
    let load = tools::wrk(plimsoll.address("web"), "/", 4, Duration::from_secs(2));
    assert!(load.requests > 100, "{load:?}");
    assert_eq!((load.bad_statuses, load.socket_errors), (0, 0), "{load:?}");
    // Nobody was thrown out meanwhile.
    for stream in idlers.iter().chain(&slow) {
        stream.set_nonblocking(true).expect("a socket can be looked at");
        let end = stream.peek(&mut [0]).map_err(|error| error.kind());
        assert_eq!(end, Err(ErrorKind::WouldBlock));
    }
    drop((idlers, slow));
    eventually("all of them are gone", || {
        (plimsoll.metrics().sum("plimsoll_connections", &[("listener", "web")]) < 10.0).then_some(())
    });
}

#[test]
fn clients_that_do_not_read_hold_no_more_than_their_buffers() {
    let count = scaled("clients that do not read", 200, 4);
    let one = Backend::start(Script::reply(200, vec![b'x'; 8 << 20]));
    let stage = Site::new().address("one", one.address()).pool(ALONE);
    let plimsoll = &stage.plimsoll;
    let empty = memory_of(plimsoll);
    let stuck: Vec<_> = (0..count)
        .map(|_| {
            let mut wire = plimsoll.connect("web");
            wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            wire
        })
        .collect();
    one.wait_for_requests(usize::try_from(count).unwrap_or(0));
    // Until nothing moves any more: the sockets' buffers are full.
    let mut last = 0.0;
    eventually("everything stands still", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = cpu_of(plimsoll);
        let still = now == last;
        last = now;
        still.then_some(())
    });
    let held = memory_of(plimsoll).saturating_sub(empty) / count;
    println!("{count} clients that do not read: {} KiB each", held >> 10);
    assert!(held < 600 << 10, "{held} bytes each");
    let mut wire = plimsoll.connect("web");
    assert_eq!(wire.get("/").body.len(), 8 << 20, "others get theirs");
    drop(stuck);
}

#[test]
fn workers_share_the_connections() {
    let one = Backend::start(Script::reply(200, "ok"));
    let stage = Site::new().workers(2).address("one", one.address()).pool(ALONE);
    let load = tools::wrk(stage.plimsoll.address("web"), "/", 16, Duration::from_secs(2));
    assert_eq!((load.bad_statuses, load.socket_errors), (0, 0), "{load:?}");
    let tasks = format!("/proc/{}/task", stage.plimsoll.pid());
    let mut used: Vec<f64> = fs::read_dir(tasks)
        .expect("a process has tasks")
        .filter_map(|task| {
            let task = task.ok()?.path();
            let name = fs::read_to_string(task.join("comm")).ok()?;
            name.starts_with("worker-")
                .then(|| cpu_seconds(&task.join("stat").display().to_string()))
        })
        .collect();
    used.sort_by(f64::total_cmp);
    println!("CPU seconds of the workers: {used:?}");
    assert_eq!(used.len(), 2);
    // No worker carries more than 1.25 times the mean of 8: ten of sixteen, against six.
    assert!(used[0] * 4.0 > used[1], "{used:?}");
}

/// Each backend has a connection of its own that is kept: with many backends these would have all descriptors.
#[test]
fn kept_connections_leave_descriptors_for_those_that_work() {
    let backends: Vec<Backend> = (0..300).map(|_| Backend::start(Script::Echo)).collect();
    let list: Vec<String> = backends
        .iter()
        .map(|backend| format!("\"{}\"", backend.address()))
        .collect();
    let config = format!(
        "[server]\nworkers = 1\n[listeners.web]\nbind = [\"@web@\"]\npool = \"many\"\n\
         [pools.many]\npolicy = \"round-robin\"\nhealth = false\nbackends = [{}]\n",
        list.join(", ")
    );
    let plimsoll = Plimsoll::config(&config)
        .through(&["prlimit", "--nofile=300:300"])
        .start();
    let mut wire = plimsoll.connect("web");
    for at in 0..2 * backends.len() {
        let reply = wire.get("/");
        assert_eq!(reply.status, 200, "{at}: {}", reply.text());
    }
    let descriptors = fs::read_dir(format!("/proc/{}/fd", plimsoll.pid())).map_or(0, Iterator::count);
    println!(
        "{descriptors} of 300 descriptors after a request to each of {} backends",
        backends.len()
    );
    assert!(descriptors < 200, "{descriptors}");
    let reached = backends.iter().filter(|backend| backend.requests() > 0).count();
    assert_eq!(reached, backends.len());
    assert_eq!(plimsoll.metrics().sum("plimsoll_failures_total", &[]), 0.0);
}

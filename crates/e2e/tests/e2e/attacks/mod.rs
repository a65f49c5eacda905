//! Attacks, with somebody else who keeps asking meanwhile: he sees no error, what the attack costs has a bound, and the
//! attacker is cut off.

mod floods;
mod slow;
mod windows;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use e2e::frames::{self, END_STREAM, Frames, kind};
use e2e::{Backend, Plimsoll, Wire, eventually};

use crate::front::memory_kib;

/// What an attack may cost beside what it sends, and for each of its frames and each request of the others: an order of
/// magnitude more than measured, so that a machine with other work does not matter, and less than what hurts.
const ONCE: Duration = Duration::from_millis(300);
const EACH_FRAME: Duration = Duration::from_micros(5);
const EACH_REQUEST: Duration = Duration::from_millis(1);

/// By how much memory may grow: what a hundred streams or connections may have in buffers, each with room to grow.
const GROWN_MAX_KIB: u64 = 40 << 10;

/// How often each of the others asks at most.
const PACE: Duration = Duration::from_millis(2);

/// Requests behind which the others come with a new connection.
const NEW_CONNECTION_AFTER: u64 = 20;

/// Clients that ask, over HTTP/2 and over HTTP/1.1, until they are told to stop.
struct Others {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Others {
    fn start(to: SocketAddr) -> Others {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = [ask_by_http1, ask_by_http2]
            .map(|ask| {
                let (stop, served) = (stop.clone(), served.clone());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        ask(to, &stop, &served)?;
                    }
                    Ok(())
                })
            })
            .into();
        Others { stop, served, threads }
    }

    /// Requests that were answered.
    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until each was answered a few more times.
    #[track_caller]
    fn are_served(&self) {
        let before = self.served();
        eventually("the others are served", || (self.served() >= before + 10).then_some(()));
    }

    /// Ends them; panics when any saw an error.
    #[track_caller]
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let ended = thread.join().expect("none of the others panics");
            assert!(ended.is_ok(), "one of the others saw {ended:?}");
        }
        self.served.load(Ordering::Relaxed)
    }
}

/// Asks a number of times on one connection; every answer but 200 is an error.
fn ask_by_http1(to: SocketAddr, stop: &AtomicBool, served: &AtomicU64) -> io::Result<()> {
    let mut wire = Wire::try_connect(to)?;
    for _ in 0..NEW_CONNECTION_AFTER {
        wire.try_send("GET /other HTTP/1.1\r\nhost: other.example\r\n\r\n")?;
        let status = wire.try_reply_to("GET")?.status;
        if status != 200 {
            return Err(io::Error::other(format!("the status {status}")));
        }
        served.fetch_add(1, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(PACE);
    }
    Ok(())
}

fn ask_by_http2(to: SocketAddr, stop: &AtomicBool, served: &AtomicU64) -> io::Result<()> {
    let mut client = Frames::connect(to);
    for number in 0..u32::try_from(NEW_CONNECTION_AFTER).expect("it is small") {
        let stream = number * 2 + 1;
        client.request(stream, "GET", "/other", &[], END_STREAM);
        loop {
            let frame = client.read()?;
            match frame.kind {
                kind::SETTINGS if frame.flags == 0 => client.send(kind::SETTINGS, 1, 0, &[])?,
                kind::HEADERS if frames::status(&frame.payload) != Some(200) => {
                    return Err(io::Error::other(format!("the head {frame:?}")));
                }
                kind::RST_STREAM | kind::GOAWAY => return Err(io::Error::other(format!("the frame {frame:?}"))),
                _ => {}
            }
            if frame.stream == stream && frame.flags & END_STREAM == END_STREAM {
                break;
            }
        }
        served.fetch_add(1, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(PACE);
    }
    Ok(())
}

/// A Plimsoll before a backend for the others, and another one for everything else.
fn beside(attacked: &Backend, calm: &Backend, limits: &str) -> Plimsoll {
    let config = r#"
        [listeners.web]
        bind = "@web@"
        [[routes]]
        name = "other"
        match = { path = "/other" }
        pool = "calm"
        [[routes]]
        name = "attacked"
        pool = "attacked"
        [pools]
        calm = { backends = ["@calm@"], health = false }
        attacked = { backends = ["@attacked@"], health = false, limits = LIMITS }
        "#;
    Plimsoll::config(&config.replace("LIMITS", limits))
        .address("calm", calm.address())
        .address("attacked", attacked.address())
        .start()
}

/// Has `attack` made, which returns how many frames or pieces it got rid of, while others ask; panics when they see an
/// error, or when it cost more than it may.
#[track_caller]
fn under_attack(plimsoll: &Plimsoll, name: &str, attack: impl FnOnce() -> u64) {
    let others = Others::start(plimsoll.address("web"));
    others.are_served();
    let (cpu, memory, served) = (cpu_time(plimsoll), memory_kib(plimsoll, "VmRSS"), others.served());
    let pieces = attack();
    others.are_served();
    let (cpu, served) = (cpu_time(plimsoll).saturating_sub(cpu), others.served() - served);
    let grown = memory_kib(plimsoll, "VmHWM").saturating_sub(memory);
    others.end();
    println!("{name}: {pieces} pieces, {served} requests of others; {cpu:?} of CPU, {grown} KiB more");
    let times = |each: Duration, count: u64| each * u32::try_from(count).expect("it is not that many");
    let most = ONCE + times(EACH_FRAME, pieces) + times(EACH_REQUEST, served);
    assert!(
        cpu <= most,
        "{name}: {pieces} pieces and {served} requests cost {cpu:?}"
    );
    assert!(grown <= GROWN_MAX_KIB, "{name}: it grew by {grown} KiB");
}

/// What the process has used of the CPUs so far (proc(5): utime and stime, in ticks of 10 ms).
fn cpu_time(plimsoll: &Plimsoll) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", plimsoll.pid())).expect("a process has its figures");
    let figures: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, figures)| figures.split_whitespace().collect())
        .unwrap_or_default();
    let ticks = |at: usize| figures[at].parse::<u64>().expect("it is a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

//! A backend's process that is killed under load: nothing is lost that can be served.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use e2e::{Plimsoll, Port, Wire, eventually};

use crate::stage::{Site, request};

/// A small server of HTTP/1.1 that keeps connections, reads bodies, and takes 3 ms for an answer; 1.5 s for /slow.
const SERVER: &str = r#"
import asyncio, sys
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            body = await reader.readexactly(length)
            await asyncio.sleep(1.5 if b" /slow " in head else 0.003)
            answer = b"%s %d" % (sys.argv[2].encode(), len(body))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()
asyncio.run(main())
"#;

/// A backend in a process of its own, which ends with this value.
pub(crate) struct Process {
    child: Child,
    port: Port,
    name: &'static str,
}

impl Process {
    pub(crate) fn start(name: &'static str) -> Process {
        let port = Port::free();
        let mut process = Process {
            child: Process::spawn(&port, name),
            port,
            name,
        };
        process.wait();
        process
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.port.address()
    }

    fn spawn(port: &Port, name: &str) -> Child {
        Command::new("python3")
            .args(["-c", SERVER, &port.number().to_string(), name])
            .stdin(Stdio::null())
            .spawn()
            .expect("python3 can be started (./test installs what the tests need)")
    }

    fn wait(&mut self) {
        let address = self.address();
        eventually("the backend listens", || Wire::try_connect(address).ok());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn restart(&mut self) {
        self.child = Process::spawn(&self.port, self.name);
        self.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends idempotent requests on one connection until it is told to stop: how many were answered well, and what else
/// came.
pub(crate) fn client(plimsoll: &Plimsoll, seed: usize, stop: &AtomicBool, well: &AtomicUsize) -> Vec<String> {
    let mut wire = plimsoll.connect("web");
    let (mut number, mut bad) = (seed, Vec::new());
    while !stop.load(SeqCst) {
        number += 1;
        let method = ["GET", "PUT", "DELETE"][number % 3];
        wire.send(request(method, "/work", &vec![b'x'; number % 4 * 1_000]));
        match wire.try_reply_to(method) {
            Ok(reply) if reply.status == 200 && reply.reason().is_none() => {
                well.fetch_add(1, SeqCst);
            }
            Ok(reply) => bad.push(format!("{method}: {reply:?}")),
            Err(error) => {
                bad.push(format!("{method}: {error}"));
                wire = plimsoll.connect("web");
            }
        }
    }
    bad
}

#[test]
fn killing_a_backend_under_load_loses_no_idempotent_request() {
    for (policy, workers) in [("least-connections", 2), ("round-robin", 1)] {
        let (mut doomed, survivor) = (Process::start("doomed"), Process::start("survivor"));
        let stage = Site::new()
            .workers(workers)
            .address("doomed", doomed.address())
            .address("survivor", survivor.address())
            .pool(&format!(
                "policy = \"{policy}\"\nhealth = {{ interval = \"500ms\" }}\noutlier = {{ eject_for = \"1s\" }}\n\
                 backends = [{{ name = \"doomed\", address = \"@doomed@\" }}, {{ name = \"survivor\", address = \"@survivor@\" }}]"
            ));
        let (stop, well) = (AtomicBool::new(false), AtomicUsize::new(0));
        let more = |count: usize| {
            let until = well.load(SeqCst) + count;
            eventually("requests are answered", || (well.load(SeqCst) >= until).then_some(()));
        };
        let bad: Vec<String> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..16)
                .map(|seed| {
                    scope.spawn({
                        let (plimsoll, stop, well) = (&stage.plimsoll, &stop, &well);
                        move || client(plimsoll, seed, stop, well)
                    })
                })
                .collect();
            // Three deaths, each found out anew.
            for _ in 0..3 {
                more(300);
                doomed.kill();
                more(500);
                doomed.restart();
                std::thread::sleep(Duration::from_millis(300));
            }
            stop.store(true, SeqCst);
            clients
                .into_iter()
                .flat_map(|client| client.join().expect("a client ends"))
                .collect()
        });
        println!(
            "{policy}: {} answered well, {} not; {} saved by a retry, {} beyond the budget",
            well.load(SeqCst),
            bad.len(),
            stage.retries("success"),
            stage.retries("budget_spent"),
        );
        assert!(
            bad.is_empty(),
            "{policy}: {} of {} lost: {:#?}",
            bad.len(),
            well.load(SeqCst),
            &bad[..bad.len().min(5)]
        );
        assert!(stage.retries("success") > 0.0, "{policy}: somebody had to be saved");
        assert_eq!(stage.failures("backend_reset") + stage.failures("connect_failed"), 0.0);
    }
}

#[test]
fn a_death_that_strikes_more_than_the_budget_covers_loses_nothing_either() {
    let (mut doomed, survivor) = (Process::start("doomed"), Process::start("survivor"));
    let stage = Site::new()
        .address("doomed", doomed.address())
        .address("survivor", survivor.address())
        .pool(
            "backends = [{ name = \"doomed\", address = \"@doomed@\" }, { name = \"survivor\", address = \"@survivor@\" }]\n\
             health = false",
        );
    // Half of them strike: 500, where the budget has 100 and a fifth of all.
    let mut wires: Vec<_> = (0..1_000).map(|_| stage.connect()).collect();
    for wire in &mut wires {
        wire.send(request("GET", "/slow", b""));
    }
    eventually("the doomed one has its half", || {
        (stage.backend("doomed")["in_flight"].as_u64() >= Some(450)).then_some(())
    });
    doomed.kill();
    for wire in &mut wires {
        let reply = wire.reply();
        assert_eq!((reply.status, reply.text().as_str()), (200, "survivor 0"), "{reply:?}");
    }
    println!("{} saved by a retry", stage.retries("success"));
    assert!(stage.retries("success") >= 450.0);
}

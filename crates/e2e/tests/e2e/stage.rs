//! What most tests of the backends' side stand on: one pool under test, and another that must not notice.

use e2e::{Backend, Plimsoll, Reply, Script, Setup, Wire, eventually};
use serde_json::Value;

/// The host that leads to the pool which must not notice.
const BYSTANDER: &str = "bystander.example";

/// A process with the pool `api` under test behind the listener `web`, a bystander's pool, and an access log.
pub(crate) struct Stage {
    pub(crate) plimsoll: Plimsoll,
    bystander: Backend,
    /// A connection of another client, open all the time.
    other: Wire,
}

/// The configuration of a stage that has not been started.
pub(crate) struct Site {
    workers: usize,
    route: String,
    listener: String,
    server: String,
    setup: Vec<(String, std::net::SocketAddr)>,
}

impl Site {
    /// One worker, so that counts of connections are exact.
    pub(crate) fn new() -> Site {
        Site {
            workers: 1,
            route: String::new(),
            listener: String::new(),
            server: String::new(),
            setup: Vec::new(),
        }
    }

    pub(crate) fn workers(mut self, workers: usize) -> Site {
        self.workers = workers;
        self
    }

    /// Further lines of the route to the pool `api`.
    pub(crate) fn route(mut self, lines: &str) -> Site {
        self.route.push_str(lines);
        self.route.push('\n');
        self
    }

    /// Further lines of the listener `web`.
    pub(crate) fn listener(mut self, lines: &str) -> Site {
        self.listener.push_str(lines);
        self.listener.push('\n');
        self
    }

    /// Further lines of the table `server`.
    pub(crate) fn server(mut self, lines: &str) -> Site {
        self.server.push_str(lines);
        self.server.push('\n');
        self
    }

    /// Says what `@name@` stands for.
    pub(crate) fn address(mut self, name: &str, address: std::net::SocketAddr) -> Site {
        self.setup.push((name.to_owned(), address));
        self
    }

    /// Starts it with these lines under `[pools.api]`.
    #[track_caller]
    pub(crate) fn pool(self, lines: &str) -> Stage {
        let bystander = Backend::named("bystander", Script::reply(200, "undisturbed"));
        let Site {
            workers,
            route,
            listener,
            server,
            ..
        } = &self;
        let config = format!(
            r#"
            [server]
            workers = {workers}
            {server}
            [log]
            access = "./access.log"
            [listeners.web]
            bind = ["@web@"]
            {listener}
            [[routes]]
            name = "bystander"
            match = {{ host = "{BYSTANDER}" }}
            pool = "bystander"
            [[routes]]
            name = "all"
            match = {{ path = "/*" }}
            pool = "api"
            {route}
            [pools.bystander]
            backends = ["@bystander@"]
            health = false
            [pools.api]
            {lines}
            "#
        );
        let setup: Setup = Plimsoll::config(&config).address("bystander", bystander.address());
        let add = |setup: Setup, (name, address): (String, _)| setup.address(&name, address);
        let plimsoll = self.setup.into_iter().fold(setup, add).start();
        let other = plimsoll.connect("web");
        Stage {
            plimsoll,
            bystander,
            other,
        }
    }
}

impl Stage {
    pub(crate) fn connect(&self) -> Wire {
        self.plimsoll.connect("web")
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.plimsoll.get("web", path)
    }

    /// One request with a body of a known length, on a connection of its own.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.plimsoll.exchange("web", request(method, path, body))
    }

    /// Panics unless a client of another route is served on the connection that it has had all the time.
    #[track_caller]
    pub(crate) fn assert_bystander_undisturbed(&mut self) {
        self.other
            .send(format!("GET /bystander HTTP/1.1\r\nhost: {BYSTANDER}\r\n\r\n"));
        let reply = self.other.reply();
        assert_eq!((reply.status, reply.text().as_str()), (200, "undisturbed"));
        self.bystander.assert_no_violations();
    }

    /// How often this reason was counted.
    pub(crate) fn failures(&self, reason: &str) -> f64 {
        self.plimsoll
            .metrics()
            .sum("plimsoll_failures_total", &[("reason", reason)])
    }

    /// Waits until this reason was counted so often, and panics when it was counted more often.
    #[track_caller]
    pub(crate) fn assert_failures(&self, reason: &str, count: f64) {
        // A request is counted when all of its answer has been written, a moment after a client may have read it.
        eventually(&format!("{reason} is counted {count} times"), || {
            (self.failures(reason) >= count).then_some(())
        });
        assert_eq!(self.failures(reason), count, "{reason}");
    }

    /// How often retries of the pool ended so.
    pub(crate) fn retries(&self, result: &str) -> f64 {
        self.plimsoll
            .metrics()
            .sum("plimsoll_retries_total", &[("pool", "api"), ("result", result)])
    }

    /// The lines of the access log so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = self.plimsoll.scratch().read("access.log");
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// The first line of the access log about this path, once it is there.
    #[track_caller]
    pub(crate) fn logged(&self, path: &str) -> Value {
        eventually(&format!("{path} is logged"), || {
            self.log().into_iter().find(|line| line["path"] == path)
        })
    }

    /// One backend of the pool `api`, as the admin API shows it.
    #[track_caller]
    pub(crate) fn backend(&self, name: &str) -> Value {
        let pool = self.plimsoll.admin("/api/v1/pools/api").json();
        let backends = pool["backends"].as_array().cloned().unwrap_or_default();
        let found = backends.into_iter().find(|backend| backend["name"] == name);
        found.unwrap_or_else(|| panic!("no backend {name}: {pool}"))
    }

    /// Waits until so many requests wait for a place on a backend of the pool `api`.
    #[track_caller]
    pub(crate) fn wait_for_queue(&self, waiting: u64) {
        eventually(&format!("{waiting} wait"), || {
            let pool = self.plimsoll.admin("/api/v1/pools/api").json();
            (pool["queue"]["waiting"] == waiting).then_some(())
        });
    }

    /// Changes a backend of the pool `api` through the admin API.
    #[track_caller]
    pub(crate) fn patch(&self, backend: &str, change: &str) {
        let path = format!("/api/v1/pools/api/backends/{backend}");
        let reply = self.plimsoll.admin_send("PATCH", &path, change);
        assert_eq!(reply.status, 200, "{reply:#?}");
    }
}

/// The attempts of a line of the access log: each backend's name, and its status or error.
pub(crate) fn attempts(line: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let attempts = line["attempts"].as_array().cloned().unwrap_or_default();
    attempts
        .iter()
        .map(|attempt| {
            let result = attempt.get("error").or(attempt.get("status"));
            (text(&attempt["backend"]), result.map(text).unwrap_or_default())
        })
        .collect()
}

/// A request with a body of a known length.
pub(crate) fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("{method} {path} HTTP/1.1\r\nhost: test.example\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

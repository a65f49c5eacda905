//! The API as callers find it: through the router, and over real sockets where the sockets matter.

mod additions;
mod calls;
mod change;
mod decisions;
mod events;
mod shifts;
mod sockets;
mod standing;
mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request};
use plimsoll_core::decision::Recent;
use plimsoll_core::membership::Event;
use plimsoll_core::telemetry::Telemetry;
use plimsoll_core::time::Now;
use plimsoll_core::trace::Traces;
use plimsoll_core::upcall::{Address, Follow};
use serde_json::Value;
use tower::ServiceExt;

use super::guard::Guard;
use super::token::Token;
use super::{Api, router};
use crate::config::{Format, Origins, Plan, parse_text};
use crate::metrics::Metrics;
use crate::publish::Control;
use crate::reload::{Reloader, Started};

const CONFIG: &str = r#"
    listeners.web.bind = ["127.0.0.1:0"]
    [[routes]]
    name = "shop"
    match = { host = "shop.example", path = "/api/*", methods = ["GET"], headers = { x-key = "secret" } }
    pool = "api"
    [[routes]]
    name = "old"
    match = [{ path = "/old" }, { path = "/older" }]
    redirect = { scheme = "https", status = 308 }
    [[routes]]
    name = "canary"
    match = { path = "/new" }
    split = [{ pool = "api" }, { pool = "unchecked", weight = 3 }]
    [pools.api]
    backends = [{ name = "one", address = "127.0.0.1:1", zone = "a" }, { name = "two", address = "127.0.0.1:2" }]
    health = { interval = "2s", timeout = "1s" }
    [pools.unchecked]
    backends = ["[::1]:3"]
    health = false
"#;

/// A data plane without workers, where everything can be bound but port 1.
struct Nobody;

impl Follow for Nobody {
    fn bind(&self, wanted: &[Address<'_>]) -> Result<(), String> {
        match wanted.iter().find(|address| address.address.port() == 1) {
            Some(taken) => Err(format!("listener \"{}\" cannot bind {}", taken.listener, taken.address)),
            None => Ok(()),
        }
    }

    fn follow(&self) {}
}

fn started(plan: &Plan) -> Started {
    Started {
        user: None,
        origins: Origins::default(),
        workers: 1,
        workers_default: 1,
        connections_max: None,
        admin: plan.admin.clone(),
        log: plan.log.clone(),
    }
}

/// An API over a control plane whose time stands where the test puts it.
struct Fixture {
    api: Api,
    millis: Arc<AtomicU64>,
}

/// What came back.
struct Answer {
    status: u16,
    fields: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

impl Fixture {
    fn new() -> Self {
        let loaded = parse_text("test", Format::Toml, CONFIG).expect("a valid configuration");
        let (base, plan) = (loaded.base(), loaded.plan);
        let millis = Arc::new(AtomicU64::new(0));
        let clock = millis.clone();
        let control = Control::new(&plan, move || Now::from_millis(clock.load(Relaxed)), 1);
        let telemetry = Arc::new(Telemetry::new(1));
        let decisions = Arc::new(Recent::new(1));
        let metrics = Arc::new(Metrics::new(
            control.clone(),
            telemetry,
            Arc::default(),
            (decisions.clone(), Arc::new(Traces::new(1))),
        ));
        Fixture {
            api: Api {
                shifts: crate::Shifts::new(control.clone(), metrics.clone()),
                upgrades: tokio::sync::mpsc::channel(1).0,
                reloader: Reloader::new(control.clone(), Arc::new(Nobody), started(&plan), base),
                control,
                metrics,
                decisions,
                workers: 1,
            },
            millis,
        }
    }

    fn router(&self, token: Option<&str>) -> Router {
        let token = token.map(|token| Token::parse(token).expect("a token"));
        self.guarded(token, None)
    }

    fn guarded(&self, token: Option<Token>, read_token: Option<Token>) -> Router {
        let bound = Some("127.0.0.1:9900".parse().expect("an address"));
        let guard = Guard {
            bound,
            token,
            read_token,
        };
        router::whole(self.api.clone(), guard)
    }

    fn check(&self, backend: usize, passed: bool) {
        let id = self.api.control.pool("api").expect("the pool").backends[backend]
            .backend
            .id;
        let event = Event::Check {
            backend: id,
            passed,
            cause: "status 500".into(),
        };
        self.api.control.tell("api", event);
    }

    async fn get(&self, path: &str) -> Answer {
        call(self.router(None), Method::GET, path, &[], "").await
    }

    async fn patch(&self, backend: &str, body: &str) -> Answer {
        let path = format!("/api/v1/pools/api/backends/{backend}");
        let fields = [("content-type", "application/json")];
        call(self.router(None), Method::PATCH, &path, &fields, body).await
    }
}

async fn call(router: Router, method: Method, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    let request = fields
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    let response = router.oneshot(request).await.expect("routers never fail");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.expect("a body");
    Answer {
        status: parts.status.as_u16(),
        fields: parts.headers,
        body: String::from_utf8(bytes.into()).expect("text"),
    }
}

//! What the demo is made of: backends, traffic, policies, addresses, and the configuration that ties them together.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::bail;
use plimsoll_control::OwnPair;
use plimsoll_control::config::{self, Format, Loaded};
use serde_json::json;

/// The pool's name.
pub(super) const POOL: &str = "demo";

/// The policies, in the order in which they are shown: first what nearly everybody starts with.
pub(super) const POLICIES: [&str; 4] = ["round-robin", "least-connections", "power-of-two", "peak-ewma"];

/// A backend: a service that works on so many requests at once, and lets the others wait in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) service: Duration,
}

/// Two that are alike, and one that takes five times as long.
pub(super) const BACKENDS: [Spec; 3] = [
    Spec {
        name: "swift-1",
        service: Duration::from_millis(10),
    },
    Spec {
        name: "swift-2",
        service: Duration::from_millis(10),
    },
    Spec {
        name: "slow",
        service: Duration::from_millis(50),
    },
];

/// Requests that a backend works on at once.
pub(super) const SLOTS: usize = 4;

/// Requests that Plimsoll may have in flight to one backend. Round robin fills the slow one up to here, and it stays
/// there; without a limit its queue would grow for as long as round robin goes on.
pub(super) const LOAD_LINE: u32 = 64;

/// The share of what all backends together can do that is asked of them.
pub(super) const UTILISATION: f64 = 0.7;

/// Requests a second that all backends together can answer.
pub(super) fn capacity_per_second() -> f64 {
    let of = |spec: &Spec| SLOTS as f64 / spec.service.as_secs_f64();
    BACKENDS.iter().map(of).sum()
}

/// Requests a second that the clients send.
pub(super) fn traffic_per_second() -> f64 {
    capacity_per_second() * UTILISATION
}

/// Where things listen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) proxy: SocketAddr,
    pub(super) admin: SocketAddr,
    /// Where TLS is spoken, if it is.
    pub(super) secure: Option<SocketAddr>,
}

impl Places {
    /// The addresses of the documentation where they are free, and others where they are not.
    pub(super) fn find(tls: bool) -> io::Result<Self> {
        Ok(Places {
            secure: tls.then(|| free(8443)).transpose()?,
            proxy: free(8080)?,
            admin: free(9900)?,
        })
    }
}

/// A free address on loopback, with `port` if it may be.
fn free(port: u16) -> io::Result<SocketAddr> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(at(port))
        .or_else(|_| TcpListener::bind(at(0)))
        .and_then(|socket| socket.local_addr())
}

/// The configuration, as somebody would have written it in a file.
pub(super) fn configuration(places: Places, backends: &[SocketAddr], own: Option<&OwnPair>) -> anyhow::Result<Loaded> {
    let backends: Vec<_> = BACKENDS
        .iter()
        .zip(backends)
        .map(|(spec, address)| json!({ "name": spec.name, "address": address.to_string() }))
        .collect();
    let mut document = json!({
        // Ctrl-C ends at once.
        "server": { "drain_timeout": "100ms" },
        // Anything less would be written across the picture.
        "log": { "level": "error" },
        "admin": { "bind": places.admin.to_string() },
        "listeners": { "web": { "bind": [places.proxy.to_string()], "protocol": "http", "pool": POOL } },
        "pools": { POOL: {
            "policy": POLICIES[0],
            "backends": backends,
            "health": { "http": "/healthz", "interval": "1s" },
            "limits": { "requests": LOAD_LINE },
        } },
    });
    if let (Some(secure), Some(own)) = (places.secure, own) {
        document["listeners"]["secure"] = json!({
            "bind": [secure.to_string()],
            "protocol": "http",
            "http3": true,
            "tls": { "certificates": [{ "cert": own.certificate(), "key": own.key() }] },
            "pool": POOL,
        });
    }
    let text = serde_json::to_string_pretty(&document)?;
    match config::parse_text("the demo's configuration", Format::Json, &text) {
        Ok(loaded) => Ok(loaded),
        Err(refused) => bail!("{}", config::render::text(&refused.faults, &refused.sources, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_a_good_one() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let places = Places {
            proxy: at(8080),
            admin: at(9900),
            secure: Some(at(8443)),
        };
        let own = OwnPair::new(&["localhost".into()]).unwrap();
        let loaded = configuration(places, &[at(9001), at(9002), at(9003)], Some(&own)).unwrap();
        let plan = loaded.plan;
        let secure = plan
            .listeners
            .iter()
            .find(|listener| listener.name == "secure")
            .unwrap();
        assert!(secure.tls.is_some() && secure.http3.is_some());
        assert_eq!(plan.pools[0].backends.len(), BACKENDS.len());
        assert_eq!(plan.pools[0].policy.name(), POLICIES[0]);
    }

    #[test]
    fn round_robin_asks_more_of_the_slow_one_than_it_can_do() {
        let slow = BACKENDS.iter().map(|spec| spec.service).max().unwrap();
        let can = SLOTS as f64 / slow.as_secs_f64();
        assert!(traffic_per_second() / BACKENDS.len() as f64 > 2.0 * can);
        assert!((capacity_per_second() - 880.0).abs() < 1e-9);
    }
}

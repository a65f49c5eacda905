//! Envoy from PyPI.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::super::backends::write;
use super::super::load::host_of;
use super::super::process::Launch;
use super::super::workload::Workload;
use super::pypi::Program;
use super::{Peer, Scenario, is_plain};
use crate::Fault;

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";

pub(crate) struct Envoy(pub(super) Program);

impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "envoy"
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        self.0.prepare()
    }

    fn version(&self) -> String {
        let said = self.0.version("--version");
        said.rsplit_once(": ")
            .map_or(said.clone(), |(_, version)| version.to_owned())
    }

    fn offers(&self, workload: &Workload) -> bool {
        is_plain(workload)
    }

    fn launch(&self, scenario: &Scenario) -> Result<Launch, Fault> {
        let config = scenario.dir.join("envoy.json");
        write(&config, &configuration(scenario).to_string())?;
        let (config, workers) = (config.display().to_string(), scenario.workers.to_string());
        let quiet = [
            "-c",
            &config,
            "--concurrency",
            &workers,
            "--log-level",
            "error",
            "--disable-hot-restart",
        ];
        Ok(Launch::new(&self.0.path(), quiet))
    }
}

fn configuration(scenario: &Scenario) -> Value {
    let filter = if scenario.layer4 { relay() } else { http(scenario) };
    // Above its defaults of 1,024, which are meant to be reached.
    let limits =
        json!({ "thresholds": [{ "max_connections": 20000, "max_requests": 20000, "max_pending_requests": 20000 }] });
    let endpoints: Vec<_> = scenario
        .backends
        .iter()
        .map(|backend| json!({ "endpoint": { "address": address(*backend) } }))
        .collect();
    json!({
        "static_resources": {
            "listeners": [{
                "name": "bench",
                "address": address(scenario.listen),
                "filter_chains": [{ "filters": [filter] }],
            }],
            "clusters": [{
                "name": "pool",
                "type": "STATIC",
                "connect_timeout": "3s",
                "lb_policy": "LEAST_REQUEST",
                "circuit_breakers": limits,
                "load_assignment": { "cluster_name": "pool", "endpoints": [{ "lb_endpoints": endpoints }] },
            }],
        },
    })
}

fn http(scenario: &Scenario) -> Value {
    let route = json!([{ "match": { "prefix": "/" }, "route": { "cluster": "pool" } }]);
    let hosts: Vec<_> = (0..scenario.routes)
        .map(|number| {
            let domain = if scenario.routes > 1 {
                host_of(number)
            } else {
                "*".to_owned()
            };
            json!({ "name": format!("route-{number}"), "domains": [domain], "routes": route })
        })
        .collect();
    json!({
        "name": "http",
        "typed_config": {
            "@type": format!("{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "bench",
            "use_remote_address": true,
            "route_config": { "virtual_hosts": hosts },
            "http_filters": [{
                "name": "router",
                "typed_config": { "@type": format!("{EXTENSIONS}.filters.http.router.v3.Router") },
            }],
        },
    })
}

fn relay() -> Value {
    json!({
        "name": "tcp",
        "typed_config": {
            "@type": format!("{EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": "bench",
            "cluster": "pool",
        },
    })
}

fn address(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}

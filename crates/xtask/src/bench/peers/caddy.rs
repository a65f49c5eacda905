//! Caddy from PyPI.

use serde_json::{Value, json};

use super::super::backends::write;
use super::super::load::host_of;
use super::super::process::Launch;
use super::super::workload::Workload;
use super::pypi::Program;
use super::{Peer, Scenario, is_plain};
use crate::Fault;

pub(crate) struct Caddy(pub(super) Program);

impl Peer for Caddy {
    fn name(&self) -> &'static str {
        "caddy"
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        self.0.prepare()
    }

    fn version(&self) -> String {
        self.0.version("version")
    }

    fn offers(&self, workload: &Workload) -> bool {
        // Layer 4 is a plugin that the released program lacks; a number of workers it has none.
        is_plain(workload) && !workload.layer4 && !workload.http2 && workload.name != "workers"
    }

    fn launch(&self, scenario: &Scenario) -> Result<Launch, Fault> {
        let config = scenario.dir.join("caddy.json");
        write(&config, &configuration(scenario).to_string())?;
        Ok(Launch::new(
            &self.0.path(),
            ["run", "--config", &config.display().to_string()],
        ))
    }
}

fn configuration(scenario: &Scenario) -> Value {
    let upstreams: Vec<_> = scenario
        .backends
        .iter()
        .map(|at| json!({ "dial": at.to_string() }))
        .collect();
    let proxy = json!([{
        "handler": "reverse_proxy",
        "upstreams": upstreams,
        "load_balancing": { "selection_policy": { "policy": "least_conn" } },
        "transport": { "protocol": "http", "keep_alive": { "max_idle_conns_per_host": 64 } },
    }]);
    let routes: Vec<_> = (0..scenario.routes)
        .map(|route| {
            let rule = if scenario.routes > 1 {
                json!([{ "host": [host_of(route)] }])
            } else {
                json!([])
            };
            json!({ "match": rule, "handle": proxy })
        })
        .collect();
    json!({
        "admin": { "disabled": true, "config": { "persist": false } },
        "logging": { "logs": { "default": { "level": "ERROR" } } },
        "apps": { "http": { "servers": { "bench": {
            "listen": [scenario.listen.to_string()],
            "automatic_https": { "disable": true },
            "routes": routes,
        } } } },
    })
}

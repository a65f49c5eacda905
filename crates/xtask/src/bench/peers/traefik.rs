//! Traefik from PyPI.

use serde_json::{Map, Value, json};

use super::super::backends::write;
use super::super::load::host_of;
use super::super::process::Launch;
use super::super::workload::Workload;
use super::pypi::Program;
use super::{Peer, Scenario, is_plain};
use crate::Fault;

pub(crate) struct Traefik(pub(super) Program);

impl Peer for Traefik {
    fn name(&self) -> &'static str {
        "traefik"
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        self.0.prepare()
    }

    fn version(&self) -> String {
        self.0.version("version")
    }

    fn offers(&self, workload: &Workload) -> bool {
        // It has no number of workers: its runtime takes the cores that it is pinned to.
        is_plain(workload) && !workload.http2 && workload.name != "workers"
    }

    fn launch(&self, scenario: &Scenario) -> Result<Launch, Fault> {
        // JSON is YAML; the extension decides what a file is read as.
        let rules = scenario.dir.join("rules.yaml");
        write(&rules, &rules_of(scenario).to_string())?;
        let config = scenario.dir.join("traefik.yaml");
        let static_part = json!({
            "global": { "checkNewVersion": false, "sendAnonymousUsage": false },
            "log": { "level": "ERROR" },
            "entryPoints": { "bench": { "address": scenario.listen.to_string() } },
            "providers": { "file": { "filename": rules.display().to_string(), "watch": false } },
        });
        write(&config, &static_part.to_string())?;
        Ok(Launch::new(
            &self.0.path(),
            [&format!("--configFile={}", config.display())],
        ))
    }
}

fn rules_of(scenario: &Scenario) -> Value {
    if scenario.layer4 {
        let servers: Vec<_> = scenario
            .backends
            .iter()
            .map(|at| json!({ "address": at.to_string() }))
            .collect();
        return json!({ "tcp": {
            "routers": { "all": { "entryPoints": ["bench"], "rule": "HostSNI(`*`)", "service": "pool" } },
            "services": { "pool": { "loadBalancer": { "servers": servers } } },
        } });
    }
    let servers: Vec<_> = scenario
        .backends
        .iter()
        .map(|at| json!({ "url": format!("http://{at}") }))
        .collect();
    let mut routers = Map::new();
    for route in 0..scenario.routes {
        let rule = if scenario.routes > 1 {
            format!("Host(`{}`)", host_of(route))
        } else {
            "PathPrefix(`/`)".to_owned()
        };
        let router = json!({ "entryPoints": ["bench"], "rule": rule, "service": "pool" });
        routers.insert(format!("route-{route}"), router);
    }
    json!({ "http": {
        "routers": routers,
        "services": { "pool": { "loadBalancer": { "servers": servers, "serversTransport": "pool" } } },
        "serversTransports": { "pool": { "maxIdleConnsPerHost": 64 } },
    } })
}

//! HAProxy from Debian, with and without splicing of responses.

use std::fmt::Write;

use super::super::backends::write;
use super::super::load::host_of;
use super::super::machine::said;
use super::super::process::Launch;
use super::super::workload::{Kind, Workload};
use super::{COOKIE, Peer, RATE, Scenario, installed};
use crate::Fault;

pub(crate) struct Haproxy {
    /// Lets the kernel move response bodies; it pays for long ones only.
    pub(super) splice: bool,
}

impl Peer for Haproxy {
    fn name(&self) -> &'static str {
        if self.splice { "haproxy-splice" } else { "haproxy" }
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        installed("haproxy", "haproxy")
    }

    fn version(&self) -> String {
        said("haproxy", &["-v"])
    }

    fn offers(&self, workload: &Workload) -> bool {
        // It mirrors through an agent of its own protocol alone.
        let mirrors = workload.variants.iter().any(|variant| variant.mirrored);
        !mirrors && !self.splice || (workload.kind == Kind::CpuPerRequest && workload.path == "/large")
    }

    fn launch(&self, scenario: &Scenario) -> Result<Launch, Fault> {
        let hosts = scenario.dir.join("hosts.map");
        let map: String = (0..scenario.routes)
            .map(|route| format!("{} pool\n", host_of(route)))
            .collect();
        write(&hosts, &map)?;
        let config = scenario.dir.join("haproxy.cfg");
        write(&config, &self.configuration(scenario, &hosts.display().to_string()))?;
        Ok(Launch::new("haproxy", ["-db", "-f", &config.display().to_string()]))
    }
}

impl Haproxy {
    fn configuration(&self, scenario: &Scenario, hosts: &str) -> String {
        let Scenario {
            listen,
            workers,
            connections_max,
            ..
        } = scenario;
        let mut text = format!("global\n  nbthread {workers}\n  maxconn {connections_max}\n\ndefaults\n");
        text.push_str("  timeout connect 3s\n  timeout client 75s\n  timeout server 60s\n");
        if scenario.layer4 {
            text.push_str("  mode tcp\n");
        } else {
            // Reused even for a connection's first request, as the others do.
            text.push_str("  mode http\n  timeout http-request 10s\n  http-reuse always\n  option forwardfor\n");
        }
        if self.splice {
            text.push_str("  option splice-response\n");
        }
        let _ = write!(text, "\nfrontend bench\n  bind {listen}\n  maxconn {connections_max}\n");
        if scenario.typical {
            let _ = write!(
                text,
                "  http-request set-header x-bench %[src]\n  http-response add-header x-served-by %s\n  \
                 stick-table type ipv6 size 100k expire 30s store http_req_rate(1s)\n  \
                 http-request track-sc0 src\n  \
                 http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {RATE} }}\n"
            );
        }
        if scenario.routes > 1 {
            let _ = writeln!(text, "  use_backend %[req.hdr(host),lower,map({hosts},nowhere)]");
        } else {
            text.push_str("  default_backend pool\n");
        }
        text.push_str("\nbackend nowhere\n\nbackend pool\n  balance leastconn\n");
        if scenario.typical {
            let _ = writeln!(text, "  cookie {COOKIE} insert indirect nocache httponly");
        }
        let check = if scenario.backends.len() > 100 {
            ""
        } else {
            " check inter 2s"
        };
        for (number, backend) in scenario.backends.iter().enumerate() {
            let cookie = if scenario.typical {
                format!(" cookie b{number}")
            } else {
                String::new()
            };
            let _ = writeln!(text, "  server b{number} {backend}{check}{cookie}");
        }
        text
    }
}

//! nginx from Debian.

use std::fmt::Write;

use super::super::backends::write;
use super::super::load::host_of;
use super::super::machine::said;
use super::super::process::Launch;
use super::super::workload::Workload;
use super::{COOKIE, Peer, RATE, Scenario, installed};
use crate::Fault;

/// Where Debian's `libnginx-mod-stream` puts the layer 4 module.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub(crate) struct Nginx;

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        installed("nginx", "nginx libnginx-mod-stream")
    }

    fn version(&self) -> String {
        said("nginx", &["-v"])
    }

    fn offers(&self, workload: &Workload) -> bool {
        // A mirror that hangs holds up the client's next request.
        let mirrors = workload.variants.iter().any(|variant| variant.mirrored);
        !mirrors && (!workload.layer4 || std::path::Path::new(STREAM_MODULE).is_file())
    }

    fn launch(&self, scenario: &Scenario) -> Result<Launch, Fault> {
        let config = scenario.dir.join("nginx.conf");
        write(&config, &configuration(scenario))?;
        Ok(Launch::new(
            "nginx",
            [
                "-p",
                &scenario.dir.display().to_string(),
                "-c",
                &config.display().to_string(),
            ],
        ))
    }
}

fn configuration(scenario: &Scenario) -> String {
    let Scenario { workers, dir, .. } = scenario;
    let dir = dir.display();
    // A worker holds both sides of each connection.
    let connections = scenario.connections_max * 2;
    let module = if scenario.layer4 {
        format!("load_module {STREAM_MODULE};\n")
    } else {
        String::new()
    };
    let mut text = format!(
        "{module}daemon off;\nworker_processes {workers};\npid {dir}/nginx.pid;\nerror_log stderr crit;\n\
         events {{ worker_connections {connections}; }}\n"
    );
    text.push_str(if scenario.layer4 { "stream {\n" } else { "http {\n" });
    let servers: String = scenario
        .backends
        .iter()
        .map(|backend| format!("  server {backend};\n"))
        .collect();
    if scenario.layer4 {
        let _ = write!(text, " upstream pool {{\n  least_conn;\n{servers} }}\n");
        let _ = writeln!(
            text,
            " server {{ listen {}; proxy_pass pool; tcp_nodelay on; }}\n}}",
            listen(scenario)
        );
        return text;
    }
    text.push_str(&http(scenario, &servers));
    let http2 = if scenario.http2 { " http2" } else { "" };
    for route in 0..scenario.routes {
        // Options of a listening socket may be given once.
        let at = if route == 0 {
            listen(scenario)
        } else {
            scenario.listen.to_string()
        };
        let name = if scenario.routes > 1 {
            format!(" server_name {};", host_of(route))
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            " server {{ listen {at}{http2};{name} location / {{ proxy_pass http://pool; }} }}"
        );
    }
    text + "}\n"
}

/// What holds for all servers of HTTP, `servers` being those of the pool.
fn http(scenario: &Scenario, servers: &str) -> String {
    let dir = scenario.dir.display();
    let idle = 64.max(scenario.backends.len());
    let policy = if scenario.typical {
        "hash $uid_got$uid_set consistent"
    } else {
        "least_conn"
    };
    let mut text = format!(
        " upstream pool {{\n  {policy};\n{servers}  keepalive {idle};\n  keepalive_requests 1000000000;\n }}\n \
         access_log off;\n keepalive_timeout 75s;\n keepalive_requests 1000000000;\n \
         server_names_hash_max_size 65536;\n server_names_hash_bucket_size 128;\n"
    );
    // A response that does not fit the buffers waits for the client instead of going to a file; with
    // the default buffers of 4 KiB a long one would cost several times as much.
    text.push_str(" proxy_max_temp_file_size 0;\n proxy_buffers 8 32k;\n proxy_busy_buffers_size 64k;\n");
    text.push_str(" proxy_http_version 1.1;\n proxy_set_header Connection \"\";\n");
    text.push_str(" proxy_set_header Host $host;\n");
    text.push_str(" proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n");
    if scenario.typical {
        let _ = write!(
            text,
            " userid on;\n userid_name {COOKIE};\n userid_expires off;\n userid_flags httponly;\n \
             limit_req_zone $binary_remote_addr zone=bench:10m rate={RATE}r/s;\n \
             limit_req zone=bench burst={RATE} nodelay;\n \
             proxy_set_header X-Bench $remote_addr;\n add_header X-Served-By $upstream_addr;\n"
        );
    }
    for path in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, " {path}_temp_path {dir}/{path};");
    }
    text
}

fn listen(scenario: &Scenario) -> String {
    // Several workers behind one socket would not get equal shares.
    let reuse = if scenario.workers > 1 { " reuseport" } else { "" };
    format!("{} backlog=4096{reuse}", scenario.listen)
}

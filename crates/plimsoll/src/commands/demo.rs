//! `plimsoll demo`: see what a policy is worth.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;

use crate::demo;

/// Watch policies balance live traffic over three backends of unlike speed, on loopback, without any file.
#[derive(Args)]
pub(crate) struct Demo {
    /// Show each policy for a few seconds, print the table, and end; as when standard output is no terminal
    #[arg(long)]
    once: bool,
}

impl Demo {
    /// Runs until Ctrl-C, or for a few seconds.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let live = !self.once && !dumb && std::io::stdout().is_terminal();
        demo::run(live).map(|()| ExitCode::SUCCESS)
    }
}

//! `plimsoll demo`: see what a policy is worth.

use std::process::ExitCode;

use clap::Args;

use crate::demo;
use crate::terminal::is_live;

/// Watch policies balance live traffic over three backends of unlike speed, on loopback, without any file.
#[derive(Args)]
pub(crate) struct Demo {
    /// Show each policy for a few seconds, print the table, and end; as when standard output is no terminal
    #[arg(long)]
    once: bool,
    /// Speak TLS and HTTP/3 as well, with a certificate of its own that is made for this run
    #[arg(long)]
    tls: bool,
}

impl Demo {
    /// Runs until Ctrl-C, or for a few seconds.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        demo::run(!self.once && is_live(), self.tls).map(|()| ExitCode::SUCCESS)
    }
}

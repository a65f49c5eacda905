//! `plimsoll completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print the completions for a shell.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints them.
    pub(crate) fn run(&self) -> ExitCode {
        clap_complete::generate(
            self.shell,
            &mut crate::cli::Cli::command(),
            "plimsoll",
            &mut std::io::stdout(),
        );
        ExitCode::SUCCESS
    }
}

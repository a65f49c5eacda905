//! Plimsoll, a load balancer that balances work: the command line.

mod cli;
mod commands;
mod demo;
mod later;
mod serve;
mod signals;
mod stderr;

use std::process::ExitCode;

use clap::Parser;

/// The words of the command line, as far as they are text.
fn arguments() -> impl Iterator<Item = String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned())
}

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => match later::told(&error, arguments()) {
            Some(message) => {
                stderr::say(message);
                return ExitCode::from(cli::USAGE);
            }
            None => error.exit(),
        },
    };
    match cli.command.run() {
        Ok(code) => code,
        Err(error) => {
            stderr::say(format_args!("{error:#}"));
            ExitCode::from(cli::INPUT_WRONG)
        }
    }
}

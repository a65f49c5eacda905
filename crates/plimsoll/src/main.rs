//! Plimsoll, a load balancer that balances work: the command line.

mod cli;
mod commands;
mod demo;
mod serve;
mod signals;
mod stderr;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            stderr::say(format_args!("{error:#}"));
            ExitCode::from(cli::INPUT_WRONG)
        }
    }
}

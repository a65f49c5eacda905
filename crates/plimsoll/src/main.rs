//! Plimsoll, a load balancer that balances work: the command line.

mod bound;
mod cli;
mod commands;
mod demo;
mod later;
mod serve;
mod signals;
mod start;
mod stderr;
mod systemd;
mod terminal;
mod upgrade;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => match later::told(&error) {
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

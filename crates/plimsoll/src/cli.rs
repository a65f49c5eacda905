//! The commands and their arguments. Exit codes: 0 done, 1 the input is wrong, 2 usage, 3 the running process refused
//! or could not be reached.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;

/// The input is wrong.
pub(crate) const INPUT_WRONG: u8 = 1;

/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;

/// The running process refused or could not be reached.
pub(crate) const UNREACHABLE: u8 = 3;

/// Plimsoll, a load balancer that balances work.
#[derive(Parser)]
#[command(
    name = "plimsoll",
    version,
    about,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve what a configuration says, until told to stop
    Run(commands::run::Run),
    /// Serve without a configuration file
    Proxy(commands::proxy::Proxy),
    /// Watch policies balance live traffic over unlike backends
    Demo(commands::demo::Demo),
    /// Judge a configuration offline: every error at once
    Check(commands::check::Check),
    /// Tell what a request would get, and why, offline
    Explain(commands::explain::Explain),
    /// Show how a running process and its pools stand
    Status(commands::status::Status),
    /// Have a running process read its configuration again
    Reload(commands::reload::Reload),
    /// Watch a running process live in the terminal
    Top(commands::top::Top),
    /// Give a backend no new work, and tell when it can be stopped
    Drain(commands::drain::Drain),
    /// Let a drained backend take work again
    Ready(commands::ready::Ready),
    /// Give a backend another weight
    Weight(commands::weight::Weight),
    /// Shift the requests of a route from pool to pool, little by little
    Shift(commands::shift::Shift),
    /// Have a running process hand over to a new one, without a lost connection
    Upgrade(commands::upgrade::Upgrade),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print the version
    Version,
    /// Print the completions for a shell
    Completions(commands::completions::Completions),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Run(run) => run.run(),
            Command::Proxy(proxy) => proxy.run(),
            Command::Demo(demo) => demo.run(),
            Command::Check(check) => check.run(),
            Command::Explain(explain) => explain.run(),
            Command::Status(status) => status.run(),
            Command::Reload(reload) => reload.run(),
            Command::Top(top) => top.run(),
            Command::Drain(drain) => drain.run(),
            Command::Ready(ready) => ready.run(),
            Command::Weight(weight) => weight.run(),
            Command::Shift(shift) => shift.run(),
            Command::Upgrade(upgrade) => upgrade.run(),
            Command::Schema => commands::schema(),
            Command::Version => commands::version(),
            Command::Completions(completions) => completions.run(),
        }
    }
}

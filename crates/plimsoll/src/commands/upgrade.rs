//! `plimsoll upgrade`: another process, of the binary that is in place now.

use std::process::ExitCode;

use clap::Args;

use super::client::{Failure, Target};
use super::text;

/// Have a running process hand over to a new one, of the binary that is in place now, without a lost connection
#[derive(Args)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    target: Target,
    /// Print the answer as JSON, as the admin API gives it
    #[arg(long)]
    json: bool,
}

impl Upgrade {
    /// Exit code 0 once the new process serves; 3 when it has failed, and the old one goes on.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        super::answer(self.ask())
    }

    fn ask(&self) -> Result<String, Failure> {
        let upgraded = self.target.client()?.post("/api/v1/upgrade")?;
        if self.json {
            return Ok(format!("{upgraded:#}\n"));
        }
        let before = &upgraded["before"];
        Ok(format!(
            "process {} serves; process {} drains, {} connections are left\n",
            text(&upgraded["pid"]),
            text(&before["pid"]),
            text(&before["connections"]),
        ))
    }
}

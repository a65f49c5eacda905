//! `plimsoll ready`: undoes a drain or a maintenance.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::aim::{Aim, Manner, page};
use super::client::Failure;
use super::text;

/// Let a drained backend, or one in maintenance, take work again as its health has it
#[derive(Args)]
pub(crate) struct Ready {
    /// A backend, by its name or its address and port; or a pool, for all of its backends
    #[arg(value_name = "POOL[/BACKEND]")]
    aim: Aim,
    #[command(flatten)]
    manner: Manner,
}

impl Ready {
    /// Exit code 0; 3 when the process refuses or cannot be reached.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        super::answer(self.ask())
    }

    fn ask(&self) -> Result<String, Failure> {
        let client = self.manner.target.client()?;
        let backends = self.aim.change(&client, &json!({ "state": "ready" }))?;
        Ok(page(&self.aim, &backends, self.manner.json, |backend| {
            format!("{}, {}", text(&backend["state"]), text(&backend["cause"]))
        }))
    }
}

//! `plimsoll weight`: another share of the work for a backend.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::aim::{Aim, Manner, one_backend, page};
use super::client::Failure;
use super::text;

/// Give a backend another weight than the configured one, until it is undone with `configured`
#[derive(Args)]
pub(crate) struct Weight {
    /// A backend, by its name or its address and port
    #[arg(value_name = "POOL/BACKEND", value_parser = one_backend)]
    aim: Aim,
    /// Its share of the work beside the others'; 0 takes no new work; `configured` undoes it
    #[arg(value_name = "N", value_parser = weight)]
    weight: Value,
    #[command(flatten)]
    manner: Manner,
}

fn weight(written: &str) -> Result<Value, &'static str> {
    if written == "configured" {
        return Ok(Value::Null);
    }
    let number: Result<u32, _> = written.parse();
    number
        .map(Value::from)
        .map_err(|_| "a weight is a whole number, or `configured`")
}

impl Weight {
    /// Exit code 0; 3 when the process refuses or cannot be reached.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        super::answer(self.ask())
    }

    fn ask(&self) -> Result<String, Failure> {
        let client = self.manner.target.client()?;
        let backends = self.aim.change(&client, &json!({ "weight": self.weight }))?;
        Ok(page(&self.aim, &backends, self.manner.json, |backend| {
            format!("weight {}, {}", text(&backend["weight"]), text(&backend["state"]))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_whole_number_or_the_configured_one() {
        assert_eq!(weight("7"), Ok(json!(7)));
        assert_eq!(weight("configured"), Ok(Value::Null));
        for wrong in ["-1", "1.5", "", "null", "99999999999"] {
            assert!(weight(wrong).is_err(), "{wrong}");
        }
    }
}

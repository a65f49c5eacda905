//! `plimsoll reload`: has a running process read its configuration again.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::client::{Failure, Target};
use super::text;

/// Have a running process read its configuration's file again, and serve what it says
#[derive(Args)]
pub(crate) struct Reload {
    /// Only judge the file: nothing changes
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
    /// Print what was done as JSON, as the admin API tells it
    #[arg(long)]
    json: bool,
}

impl Reload {
    /// Exit code 0: what the file says is served. 1: it is wrong, and nothing has changed. 3: the process refuses, or
    /// cannot be reached.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        super::answer(self.ask())
    }

    fn ask(&self) -> Result<String, Failure> {
        let client = self.target.client()?;
        let query = if self.dry_run { "?dry_run=true" } else { "" };
        let answer = client.post(&format!("/api/v1/reload{query}"))?;
        Ok(if self.json {
            format!("{answer:#}\n")
        } else {
            page(&answer)
        })
    }
}

/// What a person reads.
fn page(answer: &Value) -> String {
    let generation = text(&answer["generation"]);
    let mut page = if answer["dry_run"] == true {
        format!("the file is right; nothing has changed, and generation {generation} is served\n")
    } else {
        format!("reloaded: generation {generation} is served\n")
    };
    let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    for warning in list("warnings") {
        page.push_str(&format!("warning: {}\n", text(&warning)));
    }
    for key in list("needs_restart") {
        page.push_str(&format!("takes a restart: {}\n", text(&key)));
    }
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_takes_a_restart_is_said() {
        let mut answer = json!({
            "result": "ok", "dry_run": false, "generation": 4, "warnings": ["a:1:2: hm"], "needs_restart": ["[admin]: no"],
        });
        assert_eq!(
            page(&answer),
            "reloaded: generation 4 is served\nwarning: a:1:2: hm\ntakes a restart: [admin]: no\n"
        );
        answer["dry_run"] = true.into();
        assert!(page(&answer).starts_with("the file is right; nothing has changed, and generation 4 is served\n"));
    }
}

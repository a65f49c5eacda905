//! `plimsoll check`: judge a configuration offline.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use plimsoll_control::config::{self, render};

use crate::cli::INPUT_WRONG;

/// Judge a configuration offline: every error at once, with its place and what to type instead.
#[derive(Args)]
pub(crate) struct Check {
    /// The configuration: TOML, YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Fail for warnings, too
    #[arg(long)]
    strict: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Exit code 0, or 1 when the configuration cannot be used.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (faults, sources, usable) = match config::load(&self.config, &|name| std::env::var(name).ok()) {
            Ok(loaded) => (loaded.warnings, loaded.sources, true),
            Err(refused) => (refused.faults, refused.sources, false),
        };
        let passes = usable && (faults.is_empty() || !self.strict);
        if self.json {
            super::show(&format!(
                "{}\n",
                serde_json::to_string_pretty(&render::json(&faults, &sources))?
            ))?;
        } else {
            super::tell(&faults, &sources);
            if passes {
                super::show(&format!("{}: ok\n", self.config.display()))?;
            }
        }
        Ok(if passes {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(INPUT_WRONG)
        })
    }
}

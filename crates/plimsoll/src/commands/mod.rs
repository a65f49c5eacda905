//! One file a command.

pub(crate) mod aim;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod drain;
pub(crate) mod explain;
pub(crate) mod proxy;
pub(crate) mod ready;
pub(crate) mod reload;
pub(crate) mod run;
pub(crate) mod shift;
pub(crate) mod status;
pub(crate) mod top;
pub(crate) mod upgrade;
pub(crate) mod weight;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use plimsoll_control::config::{self, Loaded, Sources};
use plimsoll_core::document::Fault;
use serde_json::Value;

use crate::cli::INPUT_WRONG;

/// `plimsoll schema`.
pub(crate) fn schema() -> anyhow::Result<ExitCode> {
    show(&format!("{}\n", serde_json::to_string_pretty(&config::schema())?))?;
    Ok(ExitCode::SUCCESS)
}

/// `plimsoll version`.
pub(crate) fn version() -> anyhow::Result<ExitCode> {
    show(concat!("plimsoll ", env!("CARGO_PKG_VERSION"), "\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The configuration at `path`; what is wrong with it is told on standard error.
pub(crate) fn load(path: &Path) -> Result<Loaded, ExitCode> {
    match config::load(path, &|name| std::env::var(name).ok()) {
        Ok(loaded) => {
            tell(&loaded.warnings, &loaded.sources);
            Ok(loaded)
        }
        Err(refused) => {
            tell(&refused.faults, &refused.sources);
            Err(ExitCode::from(INPUT_WRONG))
        }
    }
}

/// Prints faults on standard error.
pub(crate) fn tell(faults: &[Fault], sources: &Sources) {
    if !faults.is_empty() {
        let text = config::render::text(faults, sources, std::io::stderr().is_terminal());
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Ends a command that has asked a running process.
pub(crate) fn answer(asked: Result<String, client::Failure>) -> anyhow::Result<ExitCode> {
    match asked {
        Ok(page) => {
            show(&page)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            crate::stderr::say(&failure);
            Ok(ExitCode::from(failure.code))
        }
    }
}

/// A value of the admin API as people read it. What controls a terminal stays out: a cause may hold what a backend
/// answered.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        other => other.to_string(),
    }
}

/// Prints a result on standard output. A reader that has seen enough (`| head`) is no error.
pub(crate) fn show(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

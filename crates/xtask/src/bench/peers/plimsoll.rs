//! Plimsoll itself: a release build of this tree, with what is on by default left on.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::backends::write;
use super::super::load::host_of;
use super::super::machine::said;
use super::super::process::Launch;
use super::super::workload::Workload;
use super::{COOKIE, Peer, RATE, Scenario};
use crate::Fault;

pub(crate) struct Plimsoll {
    root: PathBuf,
    binary: PathBuf,
}

impl Plimsoll {
    pub(super) fn new(root: &Path) -> Plimsoll {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Plimsoll {
            root: root.to_path_buf(),
            binary: root.join(target).join("release/plimsoll"),
        }
    }
}

impl Peer for Plimsoll {
    fn name(&self) -> &'static str {
        "plimsoll"
    }

    fn prepare(&mut self) -> Result<(), Fault> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .args(["build", "--release", "--package", "plimsoll"])
            .current_dir(&self.root);
        match build.status() {
            Ok(status) if status.success() && self.binary.is_file() => Ok(()),
            Ok(status) => Err(format!("the release build ended with {status}")),
            Err(error) => Err(format!("cannot start cargo: {error}")),
        }
    }

    fn version(&self) -> String {
        said(&self.binary.display().to_string(), &["version"])
    }

    fn offers(&self, _: &Workload) -> bool {
        true
    }

    fn launch(&self, scenario: &Scenario) -> Result<Launch, Fault> {
        let config = scenario.dir.join("plimsoll.toml");
        write(&config, &configuration(scenario))?;
        Ok(Launch::new(
            &self.binary.display().to_string(),
            ["run", "-c", &config.display().to_string()],
        ))
    }
}

fn configuration(scenario: &Scenario) -> String {
    let Scenario {
        listen, admin, workers, ..
    } = scenario;
    let mut text = format!("[server]\nworkers = {workers}\n\n[admin]\nbind = \"{admin}\"\n\n[listeners.bench]\n");
    let _ = writeln!(text, "bind = [\"{listen}\"]");
    if scenario.layer4 {
        text.push_str("protocol = \"tcp\"\npool = \"bench\"\n");
    } else {
        text.push_str("protocol = \"http\"\n");
        for route in 0..scenario.routes {
            let rule = if scenario.routes > 1 {
                format!("host = \"{}\", ", host_of(route))
            } else {
                String::new()
            };
            let _ = write!(
                text,
                "\n[[routes]]\nname = \"route-{route}\"\nmatch = {{ {rule}path = \"/*\" }}\n"
            );
            text.push_str("pool = \"bench\"\n");
            if scenario.mirror.is_some() {
                text.push_str("mirror = { pool = \"mirror\", percent = 100 }\n");
            }
            if scenario.typical {
                let _ = write!(
                    text,
                    "filters = [\n  {{ kind = \"headers\", request = {{ set = {{ x-bench = \"{{client.ip}}\" }} }}, \
                     response = {{ add = {{ x-served-by = \"{{backend.name}}\" }} }} }},\n  \
                     {{ kind = \"rate-limit\", key = \"client-ip\", rate = \"{RATE}/s\", burst = {RATE} }},\n]\n"
                );
            }
        }
    }
    let backends: Vec<_> = scenario
        .backends
        .iter()
        .map(|backend| format!("\"{backend}\""))
        .collect();
    let _ = write!(text, "\n[pools.bench]\nbackends = [{}]\n", backends.join(", "));
    if scenario.backends.len() > 100 {
        // Thousands of checks a second would be measured along; the peers do none there either.
        text.push_str("health = false\n");
    }
    if scenario.typical {
        let _ = writeln!(text, "sticky = {{ cookie = \"{COOKIE}\" }}");
    }
    if let Some(mirror) = scenario.mirror {
        let _ = write!(text, "\n[pools.mirror]\nbackends = [\"{mirror}\"]\n");
    }
    text
}

//! What a configuration may be, what is refused, and how that is told.

mod acme;
mod addresses;
mod contract;
mod documents;
mod environment;
mod files;
mod formats;
mod includes;
mod limits;
mod mistakes;
mod mistakes_of_checks;
mod mistakes_of_closing;
mod mistakes_of_tables;
mod passthrough;
mod plans;
mod pool_tls;
mod rendering;
mod retries;
mod robust;
mod schema;
mod warnings;

use plimsoll_core::document::{Fault, Severity};

use super::{Format, Loaded, Plan, Refused, Sources, parse_text};

/// A configuration without fault or warning, for tests that add to it.
const SOUND: &str = r#"
[listeners.web]
bind = ":8080"
protocol = "http"

[[routes]]
name = "all"
pool = "api"

[pools.api]
backends = ["127.0.0.1:9001", "127.0.0.1:9002"]
health = { http = "/healthz" }
"#;

fn toml(text: &str) -> Result<Loaded, Refused> {
    parse_text("plimsoll.toml", Format::Toml, text)
}

/// The plan of a configuration that is right.
fn plan(text: &str) -> Plan {
    match toml(text) {
        Ok(loaded) => loaded.plan,
        Err(refused) => panic!("{}", super::render::text(&refused.faults, &refused.sources, false)),
    }
}

/// The faults of a configuration, each as `severity line:column «place» message (help)`.
fn told(result: &Result<Loaded, Refused>) -> Vec<String> {
    let (faults, sources) = match result {
        Ok(loaded) => (&loaded.warnings, &loaded.sources),
        Err(refused) => (&refused.faults, &refused.sources),
    };
    faults.iter().map(|fault| one(fault, sources)).collect()
}

fn one(fault: &Fault, sources: &Sources) -> String {
    let position = sources.position(fault.span);
    let severity = match fault.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut text = format!(
        "{severity} {}:{} «{}» {}",
        position.line,
        position.column,
        sources.excerpt(fault.span),
        fault.message
    );
    if let Some(help) = &fault.help {
        text.push_str(&format!(" ({help})"));
    }
    if let Some((span, label)) = &fault.also {
        let position = sources.position(*span);
        text.push_str(&format!(" [{label}: {}:{}]", position.line, position.column));
    }
    text
}

//! Which crate may stand on which, and what each may take from outside.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Finding;
use crate::Fault;

/// A crate of the workspace and everything that its manifest may name.
struct Rule {
    name: &'static str,
    /// Crates of the workspace: the arrows of ARCHITECTURE.md's picture.
    floors: &'static [&'static str],
    /// Crates from outside.
    outside: &'static [&'static str],
    /// Crates from outside that only its tests and benches use.
    tests: &'static [&'static str],
}

const CORE: &str = "plimsoll-core";
const NET: &str = "plimsoll-net";
const HTTP: &str = "plimsoll-http";
const PROXY: &str = "plimsoll-proxy";
const CONTROL: &str = "plimsoll-control";

/// The list. A new line here is a decision: say in the commit what the crate is for and why it is
/// better than a page of our own.
const RULES: &[Rule] = &[
    Rule {
        name: CORE,
        floors: &[],
        // Nothing that knows a socket, a clock or a runtime: this is what keeps the core pure.
        outside: &[
            "arc-swap",
            // Credentials and tokens are written in it.
            "base64",
            "fastrand",
            // What signs sticky cookies: a hash is no judgement of ours.
            "hmac",
            "regex",
            "serde",
            "serde_json",
            "sha2",
            "strsim",
            "thiserror",
            "xxhash-rust",
        ],
        tests: &["proptest"],
    },
    Rule {
        name: NET,
        floors: &[],
        outside: &[
            // Fingerprints: the library that TLS stands on.
            "aws-lc-rs",
            // The one option of a socket that rustix and socket2 lack: which socket of an address a packet goes to.
            "libc",
            // QUIC: packets, loss, congestion, migration. Nobody writes that again.
            "quinn",
            "rustix",
            "rustls",
            "socket2",
            "thiserror",
            "tokio",
            // What stands in a certificate: rustls tells neither names, dates nor subjects.
            "x509-cert",
        ],
        tests: &["rcgen", "tokio"],
    },
    Rule {
        name: HTTP,
        floors: &[CORE, NET],
        outside: &["bytes", "http", "httparse", "itoa", "memchr", "thiserror"],
        tests: &["proptest"],
    },
    Rule {
        name: PROXY,
        floors: &[CORE, NET, HTTP],
        outside: &[
            "arc-swap",
            // Hashes of passwords.
            "argon2",
            "bcrypt",
            // Keyed hashes and signatures: the same library that TLS stands on.
            "aws-lc-rs",
            // Compression: gzip and Brotli in Rust, Zstandard by its own library.
            "brotli",
            "flate2",
            "zstd",
            "bytes",
            // HTTP/2's frames, streams and flow control, and the types that it speaks in.
            "h2",
            "http",
            // Dates of headers and of the access log.
            "httpdate",
            "humantime",
            // QUIC's connections and streams, which HTTP/3 is spoken on.
            "quinn",
            "serde_json",
            "tokio",
            "tracing",
        ],
        tests: &["base64"],
    },
    Rule {
        name: CONTROL,
        floors: &[CORE, NET, HTTP],
        outside: &[
            "arc-swap",
            "ariadne",
            "axum",
            // Checks by gRPC and HTTP/2: its frames and streams, and the types that it speaks in.
            "bytes",
            "h2",
            "http",
            // The secret of a node that was given none.
            "getrandom",
            // When an authority wants to be asked again.
            "httpdate",
            "humantime",
            // Under axum: its own server bounds neither connections nor slow heads.
            "hyper",
            "hyper-util",
            // The protocol of ACME, over HTTP of our own; it brings no TLS and no client. rcgen asks for the certificates
            // and makes those that answer tls-alpn-01; keys of external accounts are written in base64.
            "base64",
            "instant-acme",
            "rcgen",
            // What a check looks for in a body.
            "regex",
            // Process groups of checks by programs, and memory that holds a certificate like a file.
            "rustix",
            // Keys of tokens are asked for over TLS, of whom the machine's certificates vouch for.
            "rustls",
            "rustls-native-certs",
            "saphyr-parser",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            // Checks over TLS: the data plane's sockets are bound to its threads.
            "tokio-rustls",
            "toml",
            "tower",
            "tracing",
        ],
        tests: &["proptest", "tower"],
    },
    Rule {
        name: "plimsoll",
        floors: &[CORE, NET, HTTP, PROXY, CONTROL],
        outside: &[
            "anyhow",
            "clap",
            "clap_complete",
            // How many lines a terminal has.
            "rustix",
            // What is said to systemd, and what it hands over.
            "sd-notify",
            // What one process says to the next.
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tracing",
            "tracing-subscriber",
        ],
        tests: &[],
    },
    Rule {
        name: "e2e",
        floors: &[],
        outside: &["serde_json", "socket2"],
        tests: &[],
    },
    Rule {
        name: "xtask",
        floors: &[],
        outside: &["clap", "serde_json"],
        tests: &[],
    },
];

pub(super) fn check(root: &Path, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let metadata = metadata(root)?;
    for package in array(&metadata["packages"]) {
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
        let file = manifest.strip_prefix(root).unwrap_or(&manifest).to_path_buf();
        let text = std::fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
        let name = package["name"].as_str().unwrap_or_default();
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            let says = format!("{name} has no rule: add it to RULES in crates/xtask/src/tidy/crates.rs");
            findings.push(Finding::new(&file, 1, says));
            continue;
        };
        for dependency in array(&package["dependencies"]) {
            if let Some(says) = judge(rule, dependency) {
                let line = line_of(&text, dependency["name"].as_str().unwrap_or_default());
                findings.push(Finding::new(&file, line, says));
            }
        }
        house_rules(&file, &text, &manifest, findings);
    }
    Ok(())
}

/// What is wrong with a dependency, and what to do.
fn judge(rule: &Rule, dependency: &Value) -> Option<String> {
    let name = dependency["name"].as_str().unwrap_or_default();
    let ours = dependency["path"].is_string();
    let in_tests = dependency["kind"] == "dev";
    if ours && !rule.floors.contains(&name) {
        let below = if rule.floors.is_empty() {
            "no crate of ours".to_owned()
        } else {
            rule.floors.join(", ")
        };
        return Some(format!(
            "{} may stand on {below}, not on {name}: see the floors in ARCHITECTURE.md",
            rule.name
        ));
    }
    let allowed = ours || rule.outside.contains(&name) || (in_tests && rule.tests.contains(&name));
    let list = "RULES in crates/xtask/src/tidy/crates.rs";
    (!allowed).then(|| {
        format!(
            "{} may not use {name}: do without it, or argue for a line in {list}",
            rule.name
        )
    })
}

/// What every manifest has: the workspace's lints, and clippy's configuration beside it.
fn house_rules(file: &Path, text: &str, manifest: &Path, findings: &mut Vec<Finding>) {
    if !text.contains("[lints]\nworkspace = true") {
        findings.push(Finding::new(
            file,
            1,
            "the workspace's lints are missing: add [lints] workspace = true",
        ));
    }
    let clippy = std::fs::read_to_string(manifest.with_file_name("clippy.toml")).unwrap_or_default();
    if !clippy.contains("allow-unwrap-in-tests = true") {
        let says = "needs a clippy.toml beside it with allow-unwrap-in-tests = true";
        findings.push(Finding::new(file, 1, says));
    }
}

fn metadata(root: &Path) -> Result<Value, Fault> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root);
    let output = command
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn line_of(manifest: &str, dependency: &str) -> usize {
    let names = |line: &str| {
        line.strip_prefix(dependency)
            .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    manifest.lines().position(names).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(name: &str, dependency: &Value) -> Option<String> {
        judge(RULES.iter().find(|rule| rule.name == name).unwrap(), dependency)
    }

    #[test]
    fn the_planes_and_the_ground_floor_never_see_each_other() {
        let ours = |name: &str| json!({ "name": name, "path": "somewhere", "kind": null });
        for (from, to) in [
            (CORE, NET),
            (NET, CORE),
            (PROXY, CONTROL),
            (CONTROL, PROXY),
            (NET, HTTP),
            ("e2e", CORE),
        ] {
            assert!(
                judged(from, &ours(to)).is_some_and(|says| says.contains("may stand on")),
                "{from} on {to}"
            );
        }
        assert_eq!(judged(PROXY, &ours(HTTP)), None);
    }

    #[test]
    fn the_core_takes_no_runtime_and_test_crates_stay_in_tests() {
        let outside = |name: &str, kind: Value| json!({ "name": name, "kind": kind });
        assert!(judged(CORE, &outside("tokio", Value::Null)).is_some());
        assert!(judged(CORE, &outside("tokio", json!("dev"))).is_some());
        assert!(judged(CORE, &outside("proptest", Value::Null)).is_some());
        assert_eq!(judged(CORE, &outside("proptest", json!("dev"))), None);
    }
}

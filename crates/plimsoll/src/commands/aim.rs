//! Which backends a command means, and what becomes of them.

use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, Failure, Target};
use super::text;

/// `POOL/BACKEND`, or `POOL` for all of its backends. A backend is its name or its address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aim {
    pub(crate) pool: String,
    pub(crate) backend: Option<String>,
}

impl FromStr for Aim {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let (pool, backend) = match written.split_once('/') {
            None => (written, None),
            Some((pool, backend)) => (pool, Some(backend)),
        };
        if pool.is_empty() || backend == Some("") {
            return Err("write POOL/BACKEND, with the backend's name or its address and port");
        }
        Ok(Aim {
            pool: pool.into(),
            backend: backend.map(Into::into),
        })
    }
}

/// One backend of a pool, which has to be named.
pub(crate) fn one_backend(written: &str) -> Result<Aim, &'static str> {
    let aim: Aim = written.parse()?;
    if aim.backend.is_none() {
        return Err("a weight is one backend's: write POOL/BACKEND");
    }
    Ok(aim)
}

/// How a command that changes backends is told where, and how to answer.
#[derive(Args)]
pub(crate) struct Manner {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print the backends as JSON, as the admin API tells them
    #[arg(long)]
    pub(crate) json: bool,
}

impl Aim {
    fn pool_path(&self) -> String {
        format!("/api/v1/pools/{}", escaped(&self.pool))
    }

    fn path_of(&self, backend: &str) -> String {
        format!("{}/backends/{}", self.pool_path(), escaped(backend))
    }

    /// Asks the process behind `client` to change what is meant, in one call; the backends as they stand then.
    pub(crate) fn change(&self, client: &Client, change: &Value) -> Result<Vec<Value>, Failure> {
        match &self.backend {
            Some(backend) => Ok(vec![client.patch(&self.path_of(backend), change)?]),
            None => {
                let pool = client.patch(&self.pool_path(), change)?;
                Ok(pool["backends"].as_array().cloned().unwrap_or_default())
            }
        }
    }

    /// What is meant, as it stands now: those of `changed` that are still there.
    pub(crate) fn look(&self, client: &Client, changed: &[Value]) -> Result<Vec<Value>, Failure> {
        let pool = client.get(&self.pool_path())?;
        let mut backends = pool["backends"].as_array().cloned().unwrap_or_default();
        backends.retain(|backend| changed.iter().any(|known| address(known) == address(backend)));
        Ok(backends)
    }
}

fn address(backend: &Value) -> String {
    text(&backend["address"])
}

/// What is printed of the backends that a command has changed; `line` says it of one.
pub(crate) fn page(aim: &Aim, backends: &[Value], as_json: bool, line: impl Fn(&Value) -> String) -> String {
    if as_json {
        return format!("{:#}\n", json!({ "pool": aim.pool, "backends": backends }));
    }
    let line = |backend: &Value| format!("{}/{}: {}\n", aim.pool, text(&backend["name"]), line(backend));
    backends.iter().map(line).collect()
}

/// A name as it stands in a path (RFC 3986 §2.3).
pub(crate) fn escaped(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_told_from_its_pool_by_the_first_slash() {
        let aim = |written: &str| written.parse::<Aim>().map(|aim| (aim.pool, aim.backend));
        for (written, pool, backend) in [
            ("api", "api", None),
            ("api/one", "api", Some("one")),
            ("api/10.0.0.1:80", "api", Some("10.0.0.1:80")),
            ("api/[::1]:80", "api", Some("[::1]:80")),
            ("api/unix:/run/a", "api", Some("unix:/run/a")),
        ] {
            assert_eq!(aim(written), Ok((pool.into(), backend.map(Into::into))), "{written}");
        }
        for wrong in ["", "/", "api/", "/one"] {
            assert!(aim(wrong).is_err(), "{wrong}");
        }
        assert!(one_backend("api").is_err() && one_backend("api/one").is_ok());
    }

    #[test]
    fn names_are_escaped_in_paths() {
        assert_eq!(escaped("[::1]:80"), "%5B::1%5D:80");
        assert_eq!(escaped("a b/ü?"), "a%20b%2F%C3%BC%3F");
    }
}

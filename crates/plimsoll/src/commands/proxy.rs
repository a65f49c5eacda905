//! `plimsoll proxy`: serve without a configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use plimsoll_control::OwnPair;
use plimsoll_control::config::{self, Format};
use serde_json::json;

use crate::cli::INPUT_WRONG;
use crate::serve;
use crate::start::Start;

/// Serve without a configuration file.
#[derive(Args)]
pub(crate) struct Proxy {
    /// Where to listen: ":8080" or "127.0.0.1:8080"
    #[arg(long, value_name = "ADDRESS", required = true)]
    listen: Vec<String>,
    /// A backend; once for each
    #[arg(long, value_name = "ADDRESS", required = true)]
    to: Vec<String>,
    /// How backends are chosen
    #[arg(long, value_name = "POLICY", default_value = "least-connections")]
    policy: String,
    /// Balance TCP connections instead of HTTP requests
    #[arg(long)]
    tcp: bool,
    /// Speak TLS, with this certificate and those that vouch for it, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Speak TLS, with a certificate that is made for this run and that nobody vouches for
    #[arg(long, conflicts_with = "tls_cert")]
    tls: bool,
    /// Speak HTTP/3 as well
    #[arg(long, conflicts_with = "tcp")]
    http3: bool,
    /// Where the admin API listens; "off" for nowhere [default: 127.0.0.1:9900, if it is free]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

impl Proxy {
    /// Serves until SIGTERM or SIGINT.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let start = Start::new()?;
        // The same document as in a file, so that the same checks and the same words apply.
        let protocol = if self.tcp { "tcp" } else { "http" };
        let mut listener = json!({ "bind": self.listen, "protocol": protocol, "pool": "backends" });
        let own = self.tls.then(|| own_pair(&self.listen)).transpose()?;
        let pair = match (&own, self.tls_cert, self.tls_key) {
            (Some(own), ..) => Some((own.certificate(), own.key())),
            (None, Some(certificate), Some(key)) => Some((certificate, key)),
            _ => None,
        };
        if let Some((certificate, key)) = pair {
            listener["tls"] = json!({ "certificates": [{ "cert": certificate, "key": key }] });
        }
        if self.http3 {
            listener["http3"] = true.into();
        }
        let document = json!({
            "admin": { "bind": self.admin.unwrap_or_else(default_admin) },
            "listeners": { "proxy": listener },
            "pools": { "backends": { "policy": self.policy, "backends": self.to } },
        });
        let text = serde_json::to_string_pretty(&document)?;
        match config::parse_text("the command line, as a configuration", Format::Json, &text) {
            Ok(loaded) => serve::serve(start, loaded).map(|()| ExitCode::SUCCESS),
            Err(refused) => {
                super::tell(&refused.faults, &refused.sources);
                Ok(ExitCode::from(INPUT_WRONG))
            }
        }
    }
}

/// A certificate for whoever may come in here: this machine by its usual names, and the addresses that are listened at.
fn own_pair(listen: &[String]) -> anyhow::Result<OwnPair> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let addresses = listen.iter().filter_map(|address| address.parse::<SocketAddr>().ok());
    for address in addresses.filter(|address| !address.ip().is_unspecified()) {
        let name = address.ip().to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let own = OwnPair::new(&names).context("the certificate cannot be made")?;
    crate::stderr::say(format_args!(
        "a certificate was made for {}; nobody vouches for it: curl -k https://…",
        names.join(", ")
    ));
    Ok(own)
}

/// The default address of the admin API, or "off" when somebody else has it: a second proxy on one machine is no
/// reason to fail, as long as nobody asked for the address.
fn default_admin() -> String {
    let address = "127.0.0.1:9900";
    if std::net::TcpListener::bind(address).is_ok() {
        return address.to_owned();
    }
    crate::stderr::say(format_args!(
        "{address} is in use, so the admin API is off; choose its address with --admin"
    ));
    "off".to_owned()
}

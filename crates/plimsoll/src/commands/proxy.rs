//! `plimsoll proxy`: serve without a configuration file.

use std::process::ExitCode;

use clap::Args;
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
        let document = json!({
            "admin": { "bind": self.admin.unwrap_or_else(default_admin) },
            "listeners": { "proxy": { "bind": self.listen, "protocol": protocol, "pool": "backends" } },
            "pools": { "backends": { "policy": self.policy, "backends": self.to } },
        });
        let text = serde_json::to_string_pretty(&document)?;
        match config::parse_text("the command line, as a configuration", Format::Json, &text) {
            Ok(loaded) => serve::serve(start, &loaded).map(|()| ExitCode::SUCCESS),
            Err(refused) => {
                super::tell(&refused.faults, &refused.sources);
                Ok(ExitCode::from(INPUT_WRONG))
            }
        }
    }
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

//! An authority that speaks ACME: Let's Encrypt's Pebble, in its strict mode, with a server of DNS that tests may fill.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::authority::Authority;
use crate::foreign::Foreign;
use crate::port::Port;
use crate::tools;
use crate::wait::eventually;

/// How an authority is to be.
#[derive(Clone, Debug, Default)]
pub struct PebbleSetup {
    /// Where it asks for proofs by http-01, on 127.0.0.1.
    pub http: u16,
    /// Where it asks for those by tls-alpn-01.
    pub tls: u16,
    /// Percent of nonces that it refuses.
    pub nonces_refused: u8,
    /// How long its certificates live, in seconds; five years when 0.
    pub life: u64,
    /// Names that it gives nobody a certificate for.
    pub blocked: Vec<&'static str>,
    /// The accounts of its customers, each with its key in base64url; everybody is served when there are none.
    pub customers: Vec<(&'static str, &'static str)>,
}

/// A running Pebble. What it knows is gone when it is stopped.
pub struct Pebble {
    setup: PebbleSetup,
    authority: Authority,
    server: Foreign,
    management: Port,
    dns: Foreign,
    records: Port,
}

impl Pebble {
    /// Starts one. Each name leads to 127.0.0.1.
    #[track_caller]
    pub fn start(setup: PebbleSetup) -> Pebble {
        let authority = Authority::new("Directory");
        authority.issue("pebble", &["localhost", "127.0.0.1"]);
        let (management, records) = (Port::free(), Port::free());
        let dns = Foreign::start(|port, _| {
            let mut command = Command::new("pebble-challtestsrv");
            command.args(["-management", &format!("127.0.0.1:{port}"), "-defaultIPv6", ""]);
            command.args(["-dns01", &records.address().to_string()]);
            command.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
            command
        });
        let server = Foreign::start(|port, directory| {
            let at = (port, management.number(), records.number());
            command(&setup, at, &authority, directory)
        });
        Pebble {
            setup,
            authority,
            server,
            management,
            dns,
            records,
        }
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts another one in its place, which knows nobody and nothing.
    #[track_caller]
    pub fn restart(&mut self) {
        let ports = (self.management.number(), self.records.number());
        self.server
            .replace(|port, directory| command(&self.setup, (port, ports.0, ports.1), &self.authority, directory));
    }

    /// The keys of `acme` that lead to it.
    pub fn keys(&self) -> String {
        let (directory, ca) = (self.directory(), self.authority.named("ca.pem"));
        format!("directory = \"{directory}\", ca = \"{ca}\"")
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.server.address())
    }

    /// A file with those who vouch for its directory.
    pub fn ca(&self) -> PathBuf {
        self.authority.file("ca.pem")
    }

    /// A file with those who vouch for its certificates.
    #[track_caller]
    pub fn roots(&self) -> PathBuf {
        let url = format!("https://{}/roots/0", self.management.address());
        let ca = self.authority.named("ca.pem");
        // It listens there a moment later than at its directory.
        let root = eventually("Pebble's root", || {
            let output = tools::curl(&["--fail", "--cacert", &ca, &url]);
            (output.code == Some(0)).then_some(output.stdout)
        });
        let path = self.authority.file("roots.pem");
        std::fs::write(&path, root).expect("it can be written");
        path
    }

    /// Where records of DNS are set and taken away: `/set-txt`, `/clear-txt`.
    pub fn records(&self) -> String {
        format!("http://{}", self.dns.address())
    }

    /// The records that it was asked for of this name.
    #[track_caller]
    pub fn asked_for(&self, name: &str) -> String {
        let url = format!("{}/dns-request-history", self.records());
        let body = json!({ "host": name }).to_string();
        tools::curl(&["--fail", "--data", &body, &url]).stdout
    }

    /// Has another address than 127.0.0.1 for a name.
    #[track_caller]
    pub fn lead(&self, name: &str, to: &str) {
        let url = format!("{}/add-a", self.records());
        let body = json!({ "host": name, "addresses": [to] }).to_string();
        assert_eq!(tools::curl(&["--fail", "--data", &body, &url]).code, Some(0));
    }

    /// `openssl x509` of what `address` shows to who asks for `name`; `None` when there is no TLS.
    #[track_caller]
    pub fn shown(&self, address: &str, name: &str, option: &str) -> Option<String> {
        let script = "timeout 20 openssl s_client -connect \"$0\" -servername \"$1\" </dev/null 2>/dev/null \
                      | openssl x509 -noout \"$2\" 2>/dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", script, address, name, option]);
        let output = tools::run(&mut command, Duration::from_secs(60));
        (output.code == Some(0)).then(|| output.stdout.trim().to_owned())
    }
}

fn command(setup: &PebbleSetup, at: (u16, u16, u16), authority: &Authority, directory: &Path) -> Command {
    let (port, management, records) = at;
    let mut pebble = json!({
        "listenAddress": format!("127.0.0.1:{port}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": authority.named("pebble.pem"),
        "privateKey": authority.named("pebble.key"),
        "httpPort": setup.http,
        "tlsPort": setup.tls,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": !setup.customers.is_empty(),
        "domainBlocklist": setup.blocked,
    });
    if setup.life > 0 {
        pebble["certificateValidityPeriod"] = setup.life.into();
    }
    for (kid, key) in &setup.customers {
        pebble["externalAccountMACKeys"][*kid] = (*key).into();
    }
    let config = directory.join("pebble.json");
    std::fs::write(&config, json!({ "pebble": pebble }).to_string()).expect("it can be written");
    let mut command = Command::new("pebble");
    command.args(["-strict", "-dnsserver", &format!("127.0.0.1:{records}"), "-config"]);
    command.arg(config);
    command.env("PEBBLE_VA_NOSLEEP", "1");
    command.env("PEBBLE_AUTHZREUSE", "0");
    command.env("PEBBLE_WFE_NONCEREJECT", setup.nonces_refused.to_string());
    command
}

//! What the modules about ACME begin with: Plimsoll beside an authority that asks it for proofs, and its storage.

use std::path::Path;

use e2e::{Backend, Pebble, PebbleSetup, Plimsoll, Port, Scratch, Script, Setup, eventually_within};
use serde_json::Value;
use std::time::Duration;

/// How long a certificate may take: on a busy machine, an order has some twenty round trips within TLS.
const ISSUED: Duration = Duration::from_secs(60);

/// Ports that an authority asks at, a backend, and a directory that outlives processes.
pub(crate) struct Stage {
    pub(crate) http: Port,
    pub(crate) tls: Port,
    pub(crate) backend: Backend,
    pub(crate) storage: Scratch,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage {
            http: Port::free(),
            tls: Port::free(),
            backend: Backend::start(Script::Echo),
            storage: Scratch::new(),
        }
    }

    /// An authority that asks at those ports.
    #[track_caller]
    pub(crate) fn pebble(&self, setup: PebbleSetup) -> Pebble {
        Pebble::start(PebbleSetup {
            http: self.http.number(),
            tls: self.tls.number(),
            ..setup
        })
    }

    /// The directory of certificates, as the configuration has it.
    pub(crate) fn kept(&self) -> std::path::PathBuf {
        self.storage.path().join("acme")
    }

    /// The `acme` table for these domains, as TOML has it, and with these other keys.
    pub(crate) fn acme(&self, pebble: &Pebble, domains: &str, more: &str) -> String {
        let (keys, storage) = (pebble.keys(), self.kept().display().to_string());
        format!("acme = {{ domains = [{domains}], {keys}, storage = \"{storage}\"{more} }}")
    }

    /// Plimsoll with a plain listener, one with this `tls`, and these other tables.
    pub(crate) fn setup(&self, tls: &str, more: &str) -> Setup {
        let (plain, web) = (self.http.address(), self.tls.address());
        let text = format!(
            "[listeners.plain]\nbind = [\"{plain}\"]\nredirect_to_https = true\n\
             filters = [{{ kind = \"deny\", cidr = \"127.0.0.0/8\" }}]\n\
             [listeners.web]\nbind = [\"{web}\"]\npool = \"api\"\ntls = {{ {tls} }}\n\
             [pools.api]\nbackends = [{{ name = \"one\", address = \"@one@\" }}]\nhealth = false\n{more}\n"
        );
        Plimsoll::config(&text).address("one", self.backend.address())
    }

    /// curl, which trusts what `roots` holds and asks the listener `web` for this host.
    #[track_caller]
    pub(crate) fn curl(&self, roots: &Path, host: &str, more: &[&str]) -> e2e::Output {
        let (port, roots) = (self.tls.number(), roots.display().to_string());
        let to = format!("{host}:{port}:127.0.0.1");
        let url = format!("https://{host}:{port}/");
        e2e::tools::curl(&[&["--fail", "--cacert", &roots, "--resolve", &to], more, &[&url]].concat())
    }

    /// The one thing in the storage whose name ends so.
    #[track_caller]
    pub(crate) fn kept_as(&self, ending: &str) -> String {
        let entries = std::fs::read_dir(self.kept()).expect("the storage is there");
        let names = entries.filter_map(|entry| entry.expect("it can be read").file_name().into_string().ok());
        let mut found: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

impl Stage {
    /// Takes away what is remembered, once it is kept and says this.
    #[track_caller]
    pub(crate) fn forget(&self, says: &str) {
        std::fs::remove_file(self.remembered(says)).expect("it is there");
    }

    /// Where what is remembered is kept, once it says this.
    #[track_caller]
    pub(crate) fn remembered(&self, says: &str) -> std::path::PathBuf {
        eventually_within(ISSUED, &format!("what is remembered says {says}"), || {
            let mut entries = std::fs::read_dir(self.kept()).ok()?.flatten();
            let state = entries.find(|entry| entry.file_name().to_string_lossy().ends_with(".state.json"))?;
            let text = std::fs::read_to_string(state.path()).ok()?;
            text.contains(says).then(|| state.path())
        })
    }
}

/// What the status says of the certificate that `listener` asks for.
#[track_caller]
pub(crate) fn status(plimsoll: &Plimsoll, listener: &str) -> Value {
    let status = plimsoll.admin("/api/v1/status").json();
    let certificates = status["certificates"].as_array().expect("a list");
    let asked = |one: &&Value| one["listener"] == listener && !one["acme"].is_null();
    certificates.iter().find(asked).expect("one that is asked for").clone()
}

/// Waits until it stands so; what the status says then.
#[track_caller]
pub(crate) fn wait_for(plimsoll: &Plimsoll, listener: &str, state: &str) -> Value {
    eventually_within(ISSUED, &format!("the certificate of {listener} is {state}"), || {
        let status = status(plimsoll, listener);
        // What was issued is shown a second later at the latest.
        let shown = state != "issued" || !status["names"].is_null();
        (status["acme"]["state"] == state && shown).then_some(status)
    })
}

/// Waits until a try has failed, for a reason that has all of this in its words.
#[track_caller]
pub(crate) fn wait_for_error(plimsoll: &Plimsoll, listener: &str, says: &[&str]) -> Value {
    eventually_within(ISSUED, &format!("an error with {says:?}"), || {
        let status = status(plimsoll, listener);
        let error = status["acme"]["error"].as_str()?;
        says.iter().all(|word| error.contains(word)).then_some(status)
    })
}

/// How many tries ended so.
#[track_caller]
pub(crate) fn ended(plimsoll: &Plimsoll, listener: &str, result: &str) -> f64 {
    let labels = [("listener", listener), ("result", result)];
    plimsoll.metrics().sum("plimsoll_acme_orders_total", &labels)
}

//! Proofs, for whoever issues certificates, that a name leads to us: what is asked for at a path of its own over plain
//! HTTP (RFC 8555 §8.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Where proofs are asked for, by their tokens.
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// The proofs that are asked for now, by their tokens. The control plane puts them here, workers answer with them.
#[derive(Debug, Default)]
pub struct Proofs(ArcSwap<BTreeMap<Box<str>, Arc<str>>>);

impl Proofs {
    /// The proof that is asked for at `path`; `None` when there is none, and somebody else may have something there.
    pub fn at(&self, path: &str) -> Option<Arc<str>> {
        let token = path.strip_prefix(CHALLENGE_PATH)?;
        self.0.load().get(token).cloned()
    }

    /// From now on these are the proofs, and no others.
    pub fn publish(&self, proofs: BTreeMap<Box<str>, Arc<str>>) {
        self.0.store(Arc::new(proofs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_known_is_answered_and_no_other_path() {
        let proofs = Proofs::default();
        assert_eq!(proofs.at("/.well-known/acme-challenge/one"), None);
        proofs.publish(BTreeMap::from([("one".into(), "one.key".into())]));
        for (path, proof) in [
            ("/.well-known/acme-challenge/one", Some("one.key")),
            ("/.well-known/acme-challenge/One", None),
            ("/.well-known/acme-challenge/one/", None),
            ("/.well-known/acme-challenge/", None),
            ("/.well-known/acme-challenge", None),
            ("/one", None),
            ("one", None),
        ] {
            assert_eq!(proofs.at(path).as_deref(), proof, "{path}");
        }
    }
}

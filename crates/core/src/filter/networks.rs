//! Lists of networks, written in the configuration or in a file of their own.

use std::net::IpAddr;
use std::sync::Arc;

use super::held::{self, Contents, FileName, FileUse, Held, Wrong};
use super::{FilterCx, Keep};
use crate::document::{Decode, Faults, Json, Node, Value};
use crate::network::{Network, NetworkSet};

/// Networks: one, or a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Networks(pub(super) Vec<Network>);

impl Networks {
    /// Whether `address` is in one of them.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

impl Decode for Networks {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Array(_) => Vec::decode(node, faults).map(Networks),
            _ => Network::decode(node, faults).map(|one| Networks(vec![one])),
        }
    }

    fn schema() -> Json {
        let one = Network::schema();
        serde_json::json!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// The networks of a file: one a line.
pub(super) struct Listed {
    set: NetworkSet,
    entries: usize,
}

impl Contents for Listed {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let mut networks = Vec::new();
        for (at, line) in held::lines(text) {
            // What stands behind the network is a comment, as in nginx's and HAProxy's lists.
            let word = line.split(['#', ' ', '\t']).next().unwrap_or_default();
            let rest = line[word.len()..].trim_start();
            let network = Network::parse(word).filter(|_| rest.is_empty() || rest.starts_with('#'));
            let Some(network) = network else {
                let message = format!("\"{}\" is not a network, like 10.0.0.0/8", line.escape_debug());
                return Err(Wrong::line(at, message));
            };
            networks.push(network);
        }
        Ok(Listed {
            entries: networks.len(),
            set: networks.into_iter().collect(),
        })
    }

    fn entries(&self) -> usize {
        self.entries
    }
}

/// Networks of the configuration and of a file, as a filter asks for them.
pub(super) struct Clients {
    own: Networks,
    file: Option<Arc<Held<Listed>>>,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In one of the networks.
    Inside,
    /// In none of them.
    Outside,
    /// Nobody knows, since the file could not be read.
    Unknown,
}

impl Clients {
    /// The networks `own`, and those of `file`.
    pub(super) fn build(own: &Networks, file: Option<&FileName>, keep: &mut dyn Keep) -> Self {
        Clients {
            own: own.clone(),
            file: file.map(|file| Held::of(file, keep)),
        }
    }

    /// Where the request's client is; says so to whoever asks.
    pub(super) fn place(&self, cx: &mut FilterCx<'_>) -> Place {
        let client = cx.client;
        let (place, words) = if self.own.contain(client) {
            (Place::Inside, "is in one of the networks")
        } else {
            match self.file.as_ref().map(|file| file.now()).as_deref() {
                None => (Place::Outside, "is in none of the networks"),
                Some(None) => (Place::Unknown, "cannot be judged: the file could not be read"),
                Some(Some(listed)) if listed.set.contains(client) => (Place::Inside, "is in one of the networks"),
                Some(Some(_)) => (Place::Outside, "is in none of the networks"),
            }
        };
        cx.say(|| format!("{client} {words}"));
        place
    }
}

/// Whether anybody is named; a list of nobody would be taken for one of everybody.
pub(super) fn is_named(node: &Node, own: &Networks, file: Option<&FileName>, faults: &mut Faults) -> bool {
    let named = !own.0.is_empty() || file.is_some();
    if !named {
        faults
            .error(node.span, "it names no network")
            .help("cidr = [\"10.0.0.0/8\"], or cidr_file; everybody is [\"0.0.0.0/0\", \"::/0\"]");
    }
    named
}

/// The file, for whoever reads it.
pub(super) fn file_use(file: &mut Option<FileName>) -> Vec<FileUse<'_>> {
    let one = file.as_mut().map(|name| FileUse {
        name,
        slot: Held::<Listed>::slot,
    });
    one.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_network_a_line() {
        let listed = Listed::parse("# bans\n\n10.0.0.0/8\n 192.0.2.1 # a guest\n2001:db8::/32\t#\n").unwrap();
        assert_eq!(listed.entries(), 3);
        for (address, inside) in [
            ("10.1.2.3", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8::9", true),
        ] {
            assert_eq!(listed.set.contains(address.parse().unwrap()), inside, "{address}");
        }
        for bad in ["10.0.0.0/33", "10.0.0.1 10.0.0.2", "example.com", "10.0.0.0/8,"] {
            let wrong = Listed::parse(&format!("10.0.0.1\n{bad}\n")).err().expect(bad);
            assert!(
                wrong.line == Some(2) && wrong.message.contains("is not a network"),
                "{wrong:?}"
            );
        }
    }
}

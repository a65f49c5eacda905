//! `tls` of a pool: TLS with its backends.

use plimsoll_core::document;
use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Value, expect_text};
use plimsoll_core::filter::FileName;
use rustls::pki_types::ServerName;
use serde_json::json;

use super::tls::{AlpnName, MinVersion};
use super::values::Many;

/// `tls = true`, `false`, or a table.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each pool, while a configuration is read"
)]
pub(in super::super) enum PoolTls {
    /// Connections are plain.
    Off,
    /// TLS is spoken.
    On(PoolTlsTable),
}

impl Decode for PoolTls {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value {
            Value::Bool(false) => Some(PoolTls::Off),
            Value::Bool(true) => Some(PoolTls::On(PoolTlsTable::default())),
            Value::Table(_) => PoolTlsTable::decode(node, faults).map(PoolTls::On),
            _ => {
                faults.expected(node, "true, false, or a table");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "boolean" }, PoolTlsTable::schema()] })
    }
}

document! {
    /// TLS with backends.
    pub(in super::super) struct PoolTlsTable {
        /// A file of certificates in PEM: whoever they vouch for is believed to be a backend. The machine's own unless set.
        pub(in super::super) ca: Option<FileName>,
        /// The host name or address that a backend's certificate has to be for; each backend's own address unless set.
        pub(in super::super) server_name: Option<Located<PeerName>>,
        /// A file with our certificate in PEM, those that vouch for it behind it, for backends that ask who we are.
        pub(in super::super) cert: Option<FileName>,
        /// The file with its key in PEM.
        pub(in super::super) key: Option<FileName>,
        /// What is offered by ALPN where bytes go to the pool and no HTTP, like "postgresql"; nothing unless set.
        pub(in super::super) alpn: Many<AlpnName> = Many::default(),
        /// The oldest version of TLS that is spoken.
        pub(in super::super) min_version: MinVersion = MinVersion::Tls12,
        /// Believes whoever answers at a backend's address, who may read and change all that is sent there.
        pub(in super::super) danger_accept_invalid_certs: Option<Located<bool>>,
    }
}

impl PoolTlsTable {
    /// Whether nobody's certificate is looked at.
    pub(in super::super) fn believes_anyone(&self) -> bool {
        (self.danger_accept_invalid_certs.as_ref()).is_some_and(|danger| danger.value)
    }
}

/// Who a certificate has to be for.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct PeerName(pub(in super::super) ServerName<'static>);

impl Decode for PeerName {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a host name, or an address", faults)?;
        let name = ServerName::try_from(text.to_owned()).ok();
        if name.is_none() {
            faults
                .error(
                    node.span,
                    format!("\"{}\" is no host name and no address", text.escape_debug()),
                )
                .help("write it as it stands in the certificate, like \"api.internal\", without a port");
        }
        name.map(PeerName)
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["api.internal", "10.0.0.1"] })
    }
}

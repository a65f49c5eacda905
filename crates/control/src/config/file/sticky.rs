//! `sticky = { … }` of a pool.

use plimsoll_core::document::{Decode, Faults, Json, Located, Node, expect_text};
use plimsoll_core::filter::{FieldName, is_token};
use plimsoll_core::{document, words};
use serde_json::json;

use super::matching::{AbsolutePath, is_hostname};
use super::values::Timeout;

document! {
    /// What ties a client to its backend: one of cookie, app_cookie, header and client_ip.
    pub(in super::super) struct Sticky {
        /// A cookie of ours, of this name.
        pub(in super::super) cookie: Option<Located<CookieName>>,
        /// The application's cookie of this name, learnt from its answers.
        pub(in super::super) app_cookie: Option<Located<CookieName>>,
        /// The header of this name.
        pub(in super::super) header: Option<Located<FieldName>>,
        /// The client's address; IPv6 by its /64.
        pub(in super::super) client_ip: Option<Located<bool>>,
        /// How long a sticky session lasts after it was last used. With cookie as long as the browser runs unless set,
        /// otherwise 1h.
        pub(in super::super) ttl: Option<Located<Timeout>>,
        /// Of cookie: the domain that it is for; the host alone unless set.
        pub(in super::super) domain: Option<Located<CookieDomain>>,
        /// Of cookie: the path that it is for; "/" unless set.
        pub(in super::super) path: Option<Located<AbsolutePath>>,
        /// Of cookie: whether it is sent over TLS alone; as the client came unless set.
        pub(in super::super) secure: Option<Located<bool>>,
        /// Of cookie: whether requests that other sites make carry it; "lax" unless set.
        pub(in super::super) same_site: Option<Located<SameSite>>,
    }
}

words! {
    /// RFC 6265bis §5.4.7.
    pub(in super::super) enum SameSite {
        /// Never.
        Strict = "strict",
        /// When a link is followed.
        Lax = "lax",
        /// Always; needs secure.
        None = "none",
    }
}

impl SameSite {
    /// As a cookie has it.
    pub(in super::super) fn attribute(self) -> &'static str {
        match self {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        }
    }
}

/// A cookie's name: a token (RFC 6265 §4.1.1).
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct CookieName(pub(in super::super) String);

/// The longest name of a cookie: browsers take 4096 bytes of name, value and attributes.
const COOKIE_NAME_MAX: usize = 128;

impl Decode for CookieName {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a cookie's name", faults)?;
        let valid = is_token(text) && text.len() <= COOKIE_NAME_MAX;
        if !valid {
            faults
                .error(
                    node.span,
                    format!("`{}` cannot be a cookie's name", text.escape_debug()),
                )
                .help("write letters, digits, - and _");
        }
        valid.then(|| CookieName(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "maxLength": COOKIE_NAME_MAX })
    }
}

/// The domain of a cookie, without the dot that old ones had at its beginning.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct CookieDomain(pub(in super::super) String);

impl Decode for CookieDomain {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a domain", faults)?;
        let name = text.strip_prefix('.').unwrap_or(text).to_ascii_lowercase();
        let valid = is_hostname(&name);
        if !valid {
            faults
                .error(node.span, format!("\"{}\" is not a domain", text.escape_debug()))
                .help("write it like \"example.com\"");
        }
        valid.then_some(CookieDomain(name))
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["example.com"] })
    }
}

//! What the tests of this room share.

use std::sync::Arc;

use super::{Fields, HostMatch, PathMatch, RequestHead, RouteTable, Rule};
use crate::name::NameId;
use crate::priority::Priority;
use crate::retry::RetryPolicy;
use crate::snapshot::{Action, Route};

/// Header fields in their order.
pub(super) struct Headers<'a>(pub(super) &'a [(&'a str, &'a str)]);

impl Fields for Headers<'_> {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let mut values = self.0.iter().filter(|(key, _)| *key == name);
        let _ = values.all(|(_, value)| visit(value.as_bytes()));
    }
}

pub(super) const NO_HEADERS: Headers<'static> = Headers(&[]);

pub(super) fn get<'a>(host: &'a str, path: &'a str) -> RequestHead<'a> {
    RequestHead {
        method: "GET",
        host,
        path,
        query: "",
        fields: &NO_HEADERS,
        tls: None,
    }
}

/// A rule for `host` and `path` as users write them; nothing is any, and a path that begins with `~` is an expression.
pub(super) fn rule(host: &str, path: &str) -> Rule {
    Rule {
        host: match host {
            "" => HostMatch::Any,
            host => HostMatch::parse(host).unwrap(),
        },
        path: match path.strip_prefix('~') {
            Some(expression) => PathMatch::regex(expression).unwrap(),
            None if path.is_empty() => PathMatch::Any,
            None => PathMatch::parse(path).unwrap(),
        },
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        cookies: Vec::new(),
        certificate: Vec::new(),
    }
}

/// A table whose routes are named by their order: `r0`, `r1`, …
pub(super) fn table(rules: impl IntoIterator<Item = Rule>) -> RouteTable {
    let numbered = rules.into_iter().zip(0..);
    RouteTable::build(numbered.map(|(rule, id)| (rule, route(id))).collect())
}

pub(super) fn route(id: u32) -> Arc<Route> {
    Arc::new(Route {
        index: 0,
        id: NameId(id),
        name: format!("r{id}").into(),
        filters: Arc::default(),
        action: Action::Pool(0),
        timeout: None,
        retry: RetryPolicy::default(),
        hedge: None,
        upgrade_websocket: true,
        mirror: None,
        host: Default::default(),
        maintenance: Default::default(),
        error_pages: Default::default(),
        priority: Priority::default(),
    })
}

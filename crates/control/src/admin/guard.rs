//! Who may call: the token, and the checks that keep a browser from being used against us.
//!
//! A page from anywhere can make a browser send requests to an address that only its user can reach. It can give them a
//! name of its own that resolves here (DNS rebinding), which the Host field betrays, or send them across origins,
//! which the Origin field betrays.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::token::Token;

/// What callers are held against.
pub(super) struct Guard {
    /// Where we listen; nowhere on a network when it is a unix socket, which no browser can be made to call.
    pub(super) bound: Option<SocketAddr>,
    /// What they have to show, if anything.
    pub(super) token: Option<Token>,
    /// What those show who only read, if anybody does.
    pub(super) read_token: Option<Token>,
}

/// Whether the caller may change anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct MayWrite(pub(super) bool);

/// Lets a request for the page itself through, which needs no token, or answers it.
pub(super) async fn only_host(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check_host(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Lets a request through, or answers it.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    if let Err(problem) = guard.check_host(&request) {
        return problem.into_response();
    }
    let Some(may_write) = guard.admits(&request) else {
        let mut response = Problem::new(
            StatusCode::UNAUTHORIZED,
            "this API wants its token: `Authorization: Bearer …`, or `--token-file` on the command line",
        )
        .into_response();
        let scheme = HeaderValue::from_static("Bearer realm=\"plimsoll\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        return response;
    };
    if !may_write && !request.method().is_safe() {
        let why = "this token only reads: changes want the one of [admin] token_file";
        return Problem::new(StatusCode::FORBIDDEN, why).into_response();
    }
    request.extensions_mut().insert(MayWrite(may_write));
    next.run(request).await
}

impl Guard {
    /// Whether the caller may change anything; `None` when it may not even look.
    fn admits(&self, request: &Request) -> Option<bool> {
        let shown = request.headers().get(header::AUTHORIZATION);
        let is = |token: &Token| shown.is_some_and(|shown| token.admits(shown.as_bytes()));
        match (&self.token, &self.read_token) {
            (None, _) => Some(true),
            (Some(token), _) if is(token) => Some(true),
            (_, Some(token)) if is(token) => Some(false),
            _ => None,
        }
    }

    fn check_host(&self, request: &Request) -> Result<(), Problem> {
        let host = host_of(request)?;
        if !host_name(host).is_some_and(|name| self.is_ours(name)) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!("the Host \"{host}\" is not ours: call by address, or as localhost"),
            ));
        }
        for origin in request.headers().get_all(header::ORIGIN) {
            let same = origin.to_str().ok().and_then(authority_of).is_some_and(|authority| {
                // A TLS terminator in front of us may have changed the scheme.
                authority.eq_ignore_ascii_case(host)
            });
            if !same {
                return Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "pages from other origins may not call this API",
                ));
            }
        }
        Ok(())
    }

    /// Whether we may be called so. A name in a page's address bar can resolve anywhere; an address cannot.
    fn is_ours(&self, name: &str) -> bool {
        if self.bound.is_none() || name.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            return true;
        }
        let Ok(address) = name.parse::<IpAddr>() else {
            return false;
        };
        let Some(bound) = self.bound else { return true };
        let (address, bound) = (address.to_canonical(), bound.ip().to_canonical());
        bound.is_unspecified() || address == bound || address.is_loopback()
    }
}

/// The authority that the request names, as a client must (RFC 9112 §3.2): once, and the target's before the field's.
fn host_of(request: &Request) -> Result<&str, Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let refuse = || Problem::new(StatusCode::BAD_REQUEST, "one Host field is wanted");
    if second.is_some() {
        return Err(refuse());
    }
    match request.uri().authority() {
        Some(authority) => Ok(authority.as_str()),
        None => first.and_then(|host| host.to_str().ok()).ok_or_else(refuse),
    }
}

/// `authority` without its port, and without the brackets of an IPv6 address.
fn host_name(authority: &str) -> Option<&str> {
    let (name, rest) = match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = rest.is_empty()
        || rest
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    port.then_some(name)
}

/// The authority of `http://authority` or `https://authority`; nothing of an opaque origin (`null`).
fn authority_of(origin: &str) -> Option<&str> {
    origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bound: &str, host: &str, origin: Option<&str>) -> Option<u16> {
        let guard = Guard {
            bound: Some(bound.parse().expect("an address")),
            token: None,
            read_token: None,
        };
        let mut request = Request::builder().uri("/metrics").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let request = request.body(axum::body::Body::empty()).expect("a request");
        guard
            .check_host(&request)
            .err()
            .map(|problem| problem.into_response().status().as_u16())
    }

    #[test]
    fn names_that_could_resolve_anywhere_are_refused() {
        for (bound, host, refused) in [
            ("127.0.0.1:9900", "127.0.0.1:9900", None),
            ("127.0.0.1:9900", "localhost:9900", None),
            ("127.0.0.1:9900", "LOCALHOST.", None),
            ("127.0.0.1:9900", "[::1]:1234", None),
            ("127.0.0.1:9900", "10.0.0.1:9900", Some(403)),
            ("127.0.0.1:9900", "evil.example:9900", Some(403)),
            ("127.0.0.1:9900", "localhost.evil.example", Some(403)),
            ("127.0.0.1:9900", "127.0.0.1.evil.example", Some(403)),
            ("127.0.0.1:9900", "user@127.0.0.1", Some(403)),
            ("127.0.0.1:9900", "127.0.0.1:80@evil", Some(403)),
            ("127.0.0.1:9900", "", Some(403)),
            ("10.0.0.1:9900", "10.0.0.1:9900", None),
            ("[::ffff:10.0.0.1]:9900", "10.0.0.1", None),
            ("0.0.0.0:9900", "192.0.2.7:19900", None),
            ("0.0.0.0:9900", "evil.example", Some(403)),
        ] {
            assert_eq!(verdict(bound, host, None), refused, "{bound} {host}");
        }
    }

    #[test]
    fn other_origins_are_refused() {
        for (origin, refused) in [
            ("http://localhost:9900", None),
            ("https://localhost:9900", None),
            ("http://localhost:9901", Some(403)),
            ("http://evil.example", Some(403)),
            ("null", Some(403)),
            ("", Some(403)),
        ] {
            assert_eq!(
                verdict("127.0.0.1:9900", "localhost:9900", Some(origin)),
                refused,
                "{origin}"
            );
        }
    }

    #[test]
    fn a_request_without_one_host_is_malformed() {
        let guard = Guard {
            bound: Some("127.0.0.1:9900".parse().expect("an address")),
            token: None,
            read_token: None,
        };
        for hosts in [&[][..], &["localhost", "localhost"]] {
            let request = hosts
                .iter()
                .fold(Request::builder(), |request, host| request.header("host", *host));
            let request = request.body(axum::body::Body::empty()).expect("a request");
            let problem = guard.check_host(&request).expect_err("refused");
            assert_eq!(problem.into_response().status(), 400);
        }
    }
}

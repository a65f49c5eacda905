//! What the modules about TLS with backends begin with: an authority, servers within TLS, and what the log says of them.

use std::net::SocketAddr;

use e2e::{Authority, Foreign, Plimsoll, Reply, eventually, haproxy_command};
use serde_json::Value;

use crate::front::{Front, front, wait_for_failures};

/// An authority with a certificate `api` for api.internal.
pub(crate) fn authority() -> Authority {
    let authority = Authority::new("Backends");
    authority.issue("api", &["api.internal"]);
    authority
}

/// A pair in one file, as HAProxy wants it.
pub(crate) fn both(authority: &Authority, name: &str) -> String {
    authority.read(&format!("{name}.pem")) + &authority.read(&format!("{name}.key"))
}

/// HAProxy, which shows the certificate `name` and hands on to `backend` what comes within TLS; `options` are its
/// `bind` line's.
pub(crate) fn wrapping(authority: &Authority, name: &str, backend: SocketAddr, options: &str) -> Foreign {
    let pair = both(authority, name);
    Foreign::start(|port, directory| {
        std::fs::write(directory.join("both.pem"), pair).expect("it can be written");
        let crt = directory.join("both.pem").display().to_string();
        let sections = format!(
            "frontend all\n bind 127.0.0.1:{port} ssl crt {crt} {options}\n default_backend there\n\
             backend there\n server one {backend}\n"
        );
        haproxy_command(directory, &sections)
    })
}

/// The settings of a pool whose backends are called api.internal, and vouched for by the authority.
pub(crate) fn trusting(authority: &Authority, more: &str) -> String {
    let ca = authority.named("ca.pem");
    format!("tls = {{ ca = \"{ca}\", server_name = \"api.internal\"{more} }}")
}

/// A front whose access log is written, and whose pool has these lines.
pub(crate) fn logging(pool: &str) -> Front {
    front().log("access = \"./access.log\"").pool(pool)
}

/// The last line of the access log, once there are so many.
#[track_caller]
pub(crate) fn last_line(plimsoll: &Plimsoll, count: usize) -> Value {
    eventually(&format!("{count} lines in the access log"), || {
        let log = plimsoll.scratch().read("access.log");
        let lines: Vec<&str> = log.strip_suffix('\n')?.lines().collect();
        (lines.len() >= count).then(|| serde_json::from_str(lines[count - 1]).expect("a line is JSON"))
    })
}

/// The request failed since there was no TLS, for this cause, of which the log tells once.
#[track_caller]
pub(crate) fn assert_no_tls(plimsoll: &Plimsoll, reply: &Reply, cause: &str) {
    reply.assert_reason(502, "tls_failed");
    let line = last_line(plimsoll, 1);
    assert_eq!(line["attempts"][0]["error"], "tls_failed", "{line}");
    assert_eq!(line["attempts"][0]["cause"], cause, "{line}");
    wait_for_failures(plimsoll, "tls_failed", 1);
}

//! Targets against Host fields.

use super::{FieldRoom, HeadFault, parse_request};

fn host(target: &str, host: &str) -> Result<String, HeadFault> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut room = FieldRoom::new();
    parse_request(head.as_bytes(), &mut room, 10).map(|head| String::from_utf8_lossy(head.host).into_owned())
}

#[test]
fn a_host_that_names_the_targets_server_may_leave_out_the_schemes_port() {
    for (target, named) in [
        ("http://a.example/x", "a.example"),
        ("http://a.example:80/x", "a.example"),
        ("http://a.example/x", "A.example:80"),
        ("http://a.example:/x", "a.example"),
        ("HTTPS://a.example:443/x", "a.example"),
    ] {
        assert!(host(target, named).is_ok(), "{target} {named}");
    }
    for (target, named) in [
        ("http://a.example/x", "b.example"),
        ("http://a.example:8080/x", "a.example"),
        ("http://a.example:443/x", "a.example"),
        ("http://a.example/x", ""),
    ] {
        assert!(host(target, named).is_err(), "{target} {named}");
    }
    assert_eq!(
        host("http://a.example:80/x", "a.example").as_deref(),
        Ok("a.example:80")
    );
}

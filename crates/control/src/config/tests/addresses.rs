//! Addresses that can be bound beside each other, and those that cannot.

use super::{SOUND, told, toml};

/// The faults of a configuration that listens on `binds` beside an admin API as `admin` has it.
fn bound(admin: &str, binds: &str) -> Vec<String> {
    told(&toml(&format!("{admin}\n[listeners.x]\nbind = {binds}\n{SOUND}")))
}

#[test]
fn an_address_that_another_one_covers_is_refused_with_both_places() {
    for (binds, expected) in [
        (
            "[\":25000\", \"127.0.0.1:25000\"]",
            "error 3:19 «\"127.0.0.1:25000\"» 127.0.0.1:25000 cannot be bound beside 0.0.0.0:25000: 0.0.0.0:25000 is every IPv4 address of this host (keep one of the two, or give them two ports) [bound here: 3:9]",
        ),
        (
            "[\"127.0.0.1:25000\", \":25000\"]",
            "error 3:28 «\":25000\"» 0.0.0.0:25000 cannot be bound beside 127.0.0.1:25000: 0.0.0.0:25000 is every IPv4 address of this host (keep one of the two, or give them two ports) [bound here: 3:9]",
        ),
        (
            "[\"[::]:25000\", \"[::1]:25000\"]",
            "error 3:23 «\"[::1]:25000\"» [::1]:25000 cannot be bound beside [::]:25000: [::]:25000 is every IPv6 address of this host (keep one of the two, or give them two ports) [bound here: 3:9]",
        ),
        (
            "[\"[::ffff:127.0.0.1]:25000\"]",
            "error 3:9 «\"[::ffff:127.0.0.1]:25000\"» [::ffff:127.0.0.1]:25000 is an IPv4 address written as IPv6 (write \"127.0.0.1:25000\": IPv4 and IPv6 are bound apart)",
        ),
        // The port of the listener `web`.
        (
            "\"127.0.0.1:8080\"",
            "error 6:8 «\":8080\"» 0.0.0.0:8080 cannot be bound beside 127.0.0.1:8080: 0.0.0.0:8080 is every IPv4 address of this host (keep one of the two, or give them two ports) [bound here: 3:8]",
        ),
    ] {
        assert_eq!(bound("", binds), [expected], "{binds}");
    }
}

#[test]
fn the_admin_api_stands_in_the_way_like_anybody() {
    let token = "token_file = \"t\"";
    for (admin, binds, expected) in [
        (
            "",
            "\":9900\"",
            "error 3:8 «\":9900\"» 0.0.0.0:9900 cannot be bound: the admin API is on 127.0.0.1:9900 (choose another port, or set [admin] bind)",
        ),
        (
            "admin.bind = \"127.0.0.1:1\"",
            "\":1\"",
            "error 3:8 «\":1\"» 0.0.0.0:1 cannot be bound beside 127.0.0.1:1: 0.0.0.0:1 is every IPv4 address of this host (keep one of the two, or give them two ports) [bound here: 1:14]",
        ),
        (
            "admin = { bind = \"off\", metrics_bind = \":1\" }",
            "\"10.0.0.1:1\"",
            "error 3:8 «\"10.0.0.1:1\"» 10.0.0.1:1 cannot be bound beside 0.0.0.0:1: 0.0.0.0:1 is every IPv4 address of this host (keep one of the two, or give them two ports) [bound here: 1:40]",
        ),
        (
            &format!("admin = {{ bind = \"[::]:1\", {token} }}"),
            "\":1\"",
            "error 3:8 «\":1\"» 0.0.0.0:1 cannot be bound beside [::]:1: [::]:1 is every address of this host (keep one of the two, or give them two ports) [bound here: 1:18]",
        ),
    ] {
        assert_eq!(bound(admin, binds), [expected], "{admin} {binds}");
    }
}

#[test]
fn ipv4_and_ipv6_and_port_0_stand_beside_each_other() {
    for (admin, binds) in [
        ("", "[\":25000\", \"[::]:25000\"]"),
        ("", "[\"0.0.0.0:25000\", \"[::1]:25000\"]"),
        ("", "[\"127.0.0.1:25000\", \"[::]:25000\", \"127.0.0.2:25000\"]"),
        ("", "[\":0\", \"127.0.0.1:0\"]"),
        ("", "\"[::]:9900\""),
        ("admin.bind = \"[::1]:1\"", "\":1\""),
        ("admin.bind = \"off\"", "\":9900\""),
    ] {
        assert_eq!(bound(admin, binds), Vec::<String>::new(), "{admin} {binds}");
    }
}

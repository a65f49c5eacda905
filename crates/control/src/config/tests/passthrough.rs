//! Listeners that pass TLS through, and their routes; the PROXY protocol.

use std::time::Duration;

use plimsoll_core::pool::ProxyVersion;
use plimsoll_core::snapshot::ProxyTrust;

use super::super::plan::{PassthroughPlan, ServicePlan};
use super::mistakes::assert_told;
use super::{Plan, plan, told, toml};

const PASSED: &str = r#"
[listeners.passed]
bind = ":9443"
protocol = "tls"
"#;

const POOLS: &str = r#"
[pools.db]
backends = ["10.0.0.1:443", "10.0.0.2:443"]
[pools.rest]
backends = ["10.0.0.3:443", "10.0.0.4:443"]
"#;

fn passed(plan: &Plan) -> &PassthroughPlan {
    let passed = plan.listeners.iter().find_map(|listener| match &listener.service {
        ServicePlan::Passthrough(passed) => Some(passed),
        _ => None,
    });
    passed.expect("one passes TLS through")
}

#[test]
fn each_name_and_network_of_a_match_is_a_rule() {
    let plan = plan(&format!(
        "{PASSED}pool = \"rest\"\ntimeouts = {{ request_header = \"2s\" }}\n\
         [[routes]]\nlisteners = \"passed\"\npool = \"db\"\n\
         match = [{{ sni = [\"A.example\", \"*.b.example\"], client = [\"10.0.0.0/8\", \"::1\"] }}, {{ alpn = [\"h2\", \"acme-tls/1\"] }}]\n\
         {POOLS}"
    ));
    let passed = passed(&plan);
    let rules: Vec<String> = (passed.rules.iter())
        .map(|(rule, route)| format!("{rule} → {}", plan.routes[*route].name))
        .collect();
    assert_eq!(
        rules,
        [
            "sni a.example, client in 10.0.0.0/8 → route-1",
            "sni a.example, client in ::1/128 → route-1",
            "sni *.b.example, client in 10.0.0.0/8 → route-1",
            "sni *.b.example, client in ::1/128 → route-1",
            "alpn h2 or acme-tls/1 → route-1",
            "any connection → listener:passed",
        ]
    );
    let hour = Duration::from_secs(3600);
    assert_eq!(
        (passed.hello_timeout, passed.idle_timeout),
        (Duration::from_secs(2), hour)
    );
}

#[test]
fn a_route_without_listeners_is_for_http_alone() {
    let plan = plan(&format!(
        "{PASSED}[listeners.web]\nbind = \":80\"\n[[routes]]\npool = \"db\"\n[[routes]]\nlisteners = \"passed\"\npool = \"rest\"\n{POOLS}"
    ));
    let rules: Vec<usize> = passed(&plan).rules.iter().map(|(_, route)| *route).collect();
    assert_eq!(rules, [1]);
    let http = plan.listeners.iter().find_map(|listener| match &listener.service {
        ServicePlan::Http(http) => Some(http.rules.iter().map(|(_, route)| *route).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(http, Some(vec![0]));
}

#[test]
fn what_only_requests_have_is_not_inherited() {
    let plan = plan(&format!(
        "[defaults]\nretry = {{ attempts = 3 }}\ntimeout = \"9s\"\nhealth_path = \"/ready\"\n\
         timeouts = {{ idle = \"20s\", request_header = \"4s\", request_body = \"1s\" }}\n\
         {PASSED}[[routes]]\nlisteners = [\"passed\"]\npool = \"db\"\n{POOLS}"
    ));
    let seconds = Duration::from_secs;
    let passed = passed(&plan);
    assert_eq!((passed.hello_timeout, passed.idle_timeout), (seconds(4), seconds(20)));
    assert_eq!(plan.routes[0].timeout, None);
}

#[test]
fn what_a_listener_cannot_have_is_told_with_what_to_write() {
    for (text, expected) in [
        (
            "[[routes]]\nmatch = { sni = \"a.example\" }\npool = \"api\"",
            "error 6:17 «\"a.example\"» `sni` is for listeners that pass TLS through, and this route is for all http listeners (add listeners = [\"passed\"])",
        ),
        (
            "[[routes]]\nlisteners = \"web\"\nmatch = { sni = [\"a.example\"] }\npool = \"api\"",
            "error 7:18 «\"a.example\"» `sni` is for listeners that pass TLS through, and `web` speaks http (write host = \"…\")",
        ),
        (
            "[[routes]]\nlisteners = \"web\"\nmatch = { client = \"10.0.0.0/8\" }\npool = \"api\"",
            "error 7:20 «\"10.0.0.0/8\"» `client` is for listeners that pass TLS through, and `web` speaks http (use the filters `allow` and `deny`)",
        ),
        (
            "[[routes]]\nlisteners = [\"passed\", \"web\"]\npool = \"api\"",
            "error 6:24 «\"web\"» `web` speaks http, and `passed` passes TLS through (make it two routes) [passed through: 6:14]",
        ),
        (
            "[[routes]]\nlisteners = \"passed\"\nmatch = { host = \"a.example\" }\npool = \"api\"",
            "error 7:18 «\"a.example\"» `host` is for http listeners, and `passed` passes TLS through (write sni = \"…\")",
        ),
        (
            "[[routes]]\nlisteners = \"passed\"\nmatch = { sni = \"a.example\", path = \"/x\" }\npool = \"api\"",
            "error 7:37 «\"/x\"» `path` is for http listeners, and `passed` passes TLS through (nobody here reads what is inside: there are `sni`, `alpn` and `client`)",
        ),
        (
            "[[routes]]\nlisteners = \"passed\"\ntimeout = \"1s\"\npool = \"api\"",
            "error 5:1 «[[routes]]» `timeout` is for http listeners, and `passed` passes TLS through (take the key out: nobody here reads what is inside)",
        ),
        (
            "[[routes]]\nlisteners = \"passed\"\nrespond = { status = 404 }",
            "error 5:1 «[[routes]]» `respond` is for http listeners, and `passed` passes TLS through (take the key out: nobody here reads what is inside)",
        ),
        (
            "[[routes]]\nlisteners = \"passed\"\nmatch = { sni = \"10.0.0.1\" }\npool = \"api\"",
            "error 7:17 «\"10.0.0.1\"» \"10.0.0.1\" is an address, and clients send names (leave `sni` out: a client that knows an address alone sends no name)",
        ),
        (
            "[[routes]]\nlisteners = \"passed\"\nmatch = { sni = \"a.*.example\" }\npool = \"api\"",
            "error 7:17 «\"a.*.example\"» \"a.*.example\" has a wildcard inside (a wildcard stands for whole labels at the beginning: \"*.example.com\")",
        ),
        (
            "[[routes]]\nlisteners = \"passed\"\nmatch = { alpn = \"h 2\" }\npool = \"api\"",
            "error 7:18 «\"h 2\"» \"h 2\" is not a protocol's name (clients offer names like \"h2\", \"http/1.1\" or \"acme-tls/1\")",
        ),
        (
            "health_path = \"/x\"",
            "error 2:12 «passed» `health_path` is for http listeners, and `passed` speaks tls (take the key out)",
        ),
        (
            "timeouts = { stream_idle = \"1s\" }",
            "error 5:28 «\"1s\"» `stream_idle` is for http listeners, and `passed` speaks tls (the timeouts of tls listeners are `request_header` and `idle`)",
        ),
        (
            "[[routes]]\nlisteners = \"passed\"\npool = \"auto\"\n[pools.auto]\nbackends = [\"10.0.0.1:1\", \"10.0.0.2:1\"]\nlimits = { requests = \"auto\" }",
            "error 10:23 «\"auto\"» `auto` has no latency to learn from: the route `route-1` relays connections to it (write a number) [sent here: 7:8]",
        ),
    ] {
        assert_told(&format!("{PASSED}{text}"), &[expected]);
    }
}

#[test]
fn headers_of_the_proxy_protocol_are_believed_from_those_that_are_named() {
    let of = |value: &str| {
        let plan = plan(&format!(
            "[listeners.a]\nbind = \"127.0.0.1:1\"\npool = \"db\"\n{value}\n{POOLS}"
        ));
        plan.listeners[0].proxy_protocol.clone()
    };
    assert_eq!((of(""), of("proxy_protocol = false")), (None, None));
    assert_eq!(of("proxy_protocol = true"), Some(ProxyTrust::Everybody));
    let some = of("proxy_protocol = { trusted = [\"10.0.0.0/8\", \"::1\"] }").expect("it is there");
    let believes = |peer: &str| some.believes(peer.parse().expect("an address"));
    assert!(believes("10.1.2.3") && believes("::1") && !believes("127.0.0.1"));
    assert_eq!(
        told(&toml(&format!(
            "[listeners.a]\nbind = \"10.0.0.1:1\"\npool = \"db\"\nproxy_protocol = true\n{POOLS}"
        )))[0],
        "warning 4:18 «true» whoever can connect to `a` may say that it is somebody else (name the proxies in front: proxy_protocol = { trusted = [\"10.0.0.0/8\"] })"
    );
    for (value, expected) in [
        (
            "\"yes\"",
            "error 3:18 «\"yes\"» expected true, false, or { trusted = [\"10.0.0.0/8\"] }, found text",
        ),
        (
            "{ trusted = [] }",
            "error 3:30 «[]» the list is empty (leave the key out, or name at least one)",
        ),
    ] {
        assert_told(
            &format!("[listeners.a]\nbind = \":1\"\nproxy_protocol = {value}"),
            &[expected],
        );
    }
}

#[test]
fn backends_and_their_checks_are_told_alike_unless_the_check_has_a_port_of_its_own() {
    let of = |lines: &str| {
        let plan = plan(&format!("[pools.a]\nbackends = [\"10.0.0.1:1\"]\n{lines}\n"));
        let check = plan.pools[0].check.as_ref().expect("there is one");
        (plan.pools[0].settings.send_proxy, check.send_proxy)
    };
    assert_eq!(of(""), (None, None));
    assert_eq!(
        of("send_proxy_protocol = \"v1\""),
        (Some(ProxyVersion::V1), Some(ProxyVersion::V1))
    );
    let apart = "send_proxy_protocol = \"v2\"\nhealth = { http = \"/\", port = 8080 }";
    assert_eq!(of(apart), (Some(ProxyVersion::V2), None));
    assert_told(
        "[pools.a]\nbackends = [\"10.0.0.1:1\"]\nprotocol = \"h2\"\nsend_proxy_protocol = \"v2\"",
        &[
            "error 4:23 «\"v2\"» connections of HTTP/2 are shared by clients, and this names one (take the key out, or set protocol = \"h1\")",
        ],
    );
}

#[test]
fn what_will_hurt_is_warned_of() {
    let route = |rest: &str| format!("[[routes]]\nlisteners = \"passed\"\n{rest}\n");
    let both = route("match = { sni = \"a.example\" }\npool = \"db\"") + &route("pool = \"rest\"");
    let with = |from: &str, to: &str| (both.clone() + POOLS).replacen(from, to, 1);
    assert_eq!(told(&toml(&format!("{PASSED}{both}{POOLS}"))), Vec::<String>::new());
    for (text, expected) in [
        (with("sni = \"a.example\"", "sni = \"a.example\", alpn = \"h2\""), None),
        (
            both.clone() + &route("match = { sni = \"a.example\", client = \"10.0.0.0/8\" }\npool = \"db\"") + POOLS,
            None,
        ),
        (
            both.clone() + &route("match = { sni = \"A.example.\" }\npool = \"db\"") + POOLS,
            Some(
                "warning 14:9 «{ sni = \"A.example.\" }» no connection reaches the route `route-3`: `route-1` takes them all (the most specific match wins, and of equals the first in the file) [taken here: 7:9]",
            ),
        ),
        (
            with("backends", "health = { http = \"/\" }\nbackends"),
            Some(
                "warning 14:10 «{ http = \"/\" }» the backends of `db` carry TCP and are checked by HTTP on the same port (name the port that answers HTTP, with port = 8080, or add tcp = true instead)",
            ),
        ),
        (
            with("backends", "policy = { kind = \"maglev\", key = \"sni\" }\nbackends"),
            None,
        ),
        (
            with("backends", "sticky = { header = \"x-id\" }\nbackends"),
            Some(
                "warning 14:10 «{ header = \"x-id\" }» a TLS connection of `passed` has nothing like the header x-id (at layer 4 there is { client_ip = true })",
            ),
        ),
        (
            with("backends", "policy = { kind = \"maglev\", key = \"sni\" }\nbackends")
                + "[listeners.web]\nbind = \":80\"\npool = \"db\"\n",
            Some(
                "warning 14:10 «{ kind = \"maglev\", key = \"sni\" }» not all that is sent to `db` has a name that was asked for in TLS (`sni` is for routes of tls listeners; requests have `host`)",
            ),
        ),
    ] {
        let told: Vec<String> = told(&toml(&format!("{PASSED}{text}")));
        let told: Vec<&String> = told.iter().filter(|line| !line.contains("by TCP alone")).collect();
        assert_eq!(
            told.iter().map(|line| line.as_str()).collect::<Vec<_>>(),
            Vec::from_iter(expected),
            "{text}"
        );
    }
    assert_eq!(
        told(&toml(PASSED)),
        [
            "warning 2:12 «passed» `passed` closes every connection: no route holds for it (add a route, or name a pool in the listener)"
        ]
    );
}

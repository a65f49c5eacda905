//! Bad routes, pools and listeners.

use super::mistakes::assert_told;
use super::{SOUND, told, toml};

#[test]
fn routes_have_one_action_that_can_be_done() {
    for (text, expected) in [
        (
            "[[routes]]\nname = \"x\"",
            "error 1:1 «[[routes]]» the route has no action (give it one of `pool`, `split`, `redirect` or `respond`)",
        ),
        (
            "[[routes]]\nsplit = [{ pool = \"ap\" }, { pool = \"api\", weight = 2 }]",
            "error 2:19 «\"ap\"» there is no pool called `ap` (did you mean \"api\"?)",
        ),
        (
            "[[routes]]\nsplit = [{ pool = \"api\" }, { pool = \"api\", weight = 2 }]",
            "error 2:37 «\"api\"» the pool `api` has two parts of the split [first here: 2:19]",
        ),
        (
            "[[routes]]\nsplit = [{ pool = \"api\", weight = 0 }]",
            "error 2:9 «[{ pool = \"api\", weight = 0 }]» no pool of the split gets any request (give it parts: split = [{ pool = \"blue\", weight = 95 }, { pool = \"green\", weight = 5 }])",
        ),
        (
            "[[routes]]\npool = \"api\"\nrespond = { status = 200 }",
            "error 1:1 «[[routes]]» a route has one action, and this one has pool, respond (make it several routes, or take all but one out)",
        ),
        (
            "[[routes]]\nrespond = { status = 204, body = \"x\" }",
            "error 2:11 «{ status = 204, body = \"x\" }» an answer with status 204 has no body (take the body out, or answer with 200)",
        ),
        (
            "[[routes]]\nrespond = { headers = { x-a = \"1\\r\\nx-b: 2\" } }",
            "error 2:31 «\"1\\r\\nx-b: 2\"» a header's value holds no control characters",
        ),
        (
            "[[routes]]\nrespond = { headers = { \"x a\" = \"1\" } }",
            "error 2:25 «\"x a\"» `x a` is not a header's name",
        ),
        (
            "[[routes]]\nrespond = { headers = { x-a = \"1\", X-A = \"2\" } }",
            "error 2:36 «X-A» `X-A` is there in another spelling [first here: 2:25]",
        ),
        (
            "[[routes]]\nrespond = { headers = { Content-Length = \"1\" } }",
            "error 2:25 «Content-Length» `content-length` is written by Plimsoll itself",
        ),
        (
            "[[routes]]\npool = \"api\"\nretry = { attempts = 11 }",
            "error 3:22 «11» 11 is out of range: 0 to 10",
        ),
        (
            "[[routes]]\npool = \"api\"\nretry = { on = [\"302\"] }",
            "error 3:17 «\"302\"» 302 is no failure: 400 to 599 are",
        ),
        (
            "[[routes]]\npool = \"api\"\nretry = { on = [\"grpc:unavailible\"] }",
            "error 3:17 «\"grpc:unavailible\"» unknown word \"grpc:unavailible\" (did you mean \"grpc:unavailable\"? \
             Known here: \"grpc:cancelled\", \"grpc:unknown\", \"grpc:invalid-argument\", \"grpc:deadline-exceeded\", \
             \"grpc:not-found\", \"grpc:already-exists\", \"grpc:permission-denied\", \"grpc:resource-exhausted\", \
             \"grpc:failed-precondition\", \"grpc:aborted\", \"grpc:out-of-range\", \"grpc:unimplemented\", \
             \"grpc:internal\", \"grpc:unavailable\", \"grpc:data-loss\", \"grpc:unauthenticated\")",
        ),
        (
            "[[routes]]\npool = \"api\"\ntimeout = \"1s\"\nretry = { per_try_timeout = \"2s\" }",
            "error 4:29 «\"2s\"» one attempt may take longer than the whole request [the whole request: 3:11]",
        ),
    ] {
        assert_told(text, &[expected]);
    }
}

#[test]
fn redirects_lead_somewhere_else() {
    for (text, expected) in [
        (
            "[[routes]]\nredirect = { status = 301 }",
            "error 2:12 «{ status = 301 }» the redirect sends the client to where it is (give it one of `scheme`, `host`, `port` or `path`)",
        ),
        (
            "[[routes]]\nredirect = { scheme = \"https\", status = 200 }",
            "error 2:41 «200» 200 is not a redirect (known here: 301, 302, 303, 307, 308)",
        ),
        (
            "[[routes]]\nredirect = { scheme = \"ftp\" }",
            "error 2:23 «\"ftp\"» unknown word \"ftp\" (did you mean \"http\"? Known here: \"http\", \"https\")",
        ),
        (
            "[[routes]]\nredirect = { path = \"//evil.example\" }",
            "error 2:21 «\"//evil.example\"» \"//evil.example\" is not a path (paths begin with one slash: write \"/evil.example\")",
        ),
        (
            "[[routes]]\nredirect = { path = \"/n?x=1\" }",
            "error 2:21 «\"/n?x=1\"» the path of a redirect has no query: the request's own stays (write \"/n\")",
        ),
        (
            "[[routes]]\nredirect = { path = \"/n#x\" }",
            "error 2:21 «\"/n#x\"» \"/n#x\" is not a path (a path has no fragment: write \"/n\")",
        ),
        (
            "[[routes]]\nredirect = { host = \"a/b\" }",
            "error 2:21 «\"a/b\"» \"a/b\" is not a host (write a name or an address; the port has its own key)",
        ),
    ] {
        assert_told(text, &[expected]);
    }
}

#[test]
fn matches_that_can_never_be_are_refused() {
    for (matched, at, message) in [
        (
            "methods = [\"get\"]",
            "22 «\"get\"»",
            "\"get\" is not a method (did you mean \"GET\"?)",
        ),
        (
            "host = []",
            "18 «[]»",
            "the list is empty (leave the key out, or name at least one)",
        ),
        (
            "path = \"/a\", path_regex = \"/b\"",
            "37 «\"/b\"»",
            "`path` and `path_regex` exclude each other (make `match` a list of two tables if either suffices)",
        ),
        (
            "headers = { \"x a\" = \"1\" }",
            "23 «\"x a\"»",
            "`x a` cannot be a header's name",
        ),
        (
            "headers = { x-a = \"1\", X-A = \"2\" }",
            "34 «X-A»",
            "`X-A` is there in another spelling [first here: 3:23]",
        ),
        ("query = { \"\" = \"1\" }", "21 «\"\"»", "a query parameter has a name"),
        (
            "query = { v = { regex = \"a\", prefix = \"b\" } }",
            "25 «{ regex = \"a\", prefix = \"b\" }»",
            "one of these is wanted, and 2 are there (write one of { regex = \"…\" }, { prefix = \"…\" }, { present = true })",
        ),
        (
            "cookies = { v = 1 }",
            "27 «1»",
            "expected text, or one of { regex = … }, { prefix = … }, { present = … }, found a whole number",
        ),
    ] {
        let expected = format!("error 3:{at} {message}");
        assert_told(
            &format!("[[routes]]\npool = \"api\"\nmatch = {{ {matched} }}"),
            &[&expected],
        );
    }
    for matched in [
        "path = \"api\"",
        "path = \"/api*\"",
        "path = \"/a/*/b\"",
        "path = \"/a?b=1\"",
        "path = \"/a b\"",
        "path_regex = \"(\"",
        "path_regex = \"a)(b\"",
        "path_regex = \"(\\\\w{1000}){1000}\"",
        "host = \"a:80\"",
        "host = \"a.*.b\"",
        "host = \"http://a\"",
        "host = \"\"",
        "headers = { a = { regex = \"[\" } }",
    ] {
        let result = toml(&format!("[[routes]]\npool = \"api\"\nmatch = {{ {matched} }}\n{SOUND}"));
        assert_eq!(told(&result).len(), 1, "{matched}: {:#?}", told(&result));
        assert!(result.is_err(), "{matched}");
    }
}

#[test]
fn names_have_no_marks_that_nobody_sees() {
    assert_told(
        "[pools.\"a\u{202e}b\"]\nbackends = [\"10.0.0.1:80\"]",
        &[
            "error 1:8 «\"a\u{202e}b\"» this cannot be a name (a name has 1 to 128 bytes, and no slash, space or control character)",
        ],
    );
}

#[test]
fn pools_and_listeners_have_what_they_need() {
    for (text, expected) in [
        (
            "[pools.x]\npolicy = \"random\"",
            "error 1:8 «x» the pool `x` has no backends (add backends = [\"10.0.0.1:8080\"])",
        ),
        (
            "[pools.x]\nbackends = []",
            "error 2:12 «[]» the list is empty (leave the key out, or name at least one)",
        ),
        (
            "[pools.x]\nbackends = [{ name = \"a\" }]",
            "error 2:13 «{ name = \"a\" }» the key `address` is missing",
        ),
        (
            "[pools.x]\nbackends = [{ address = \"10.0.0.1:80\", weight = 1001 }]",
            "error 2:49 «1001» 1001 is out of range: 0 to 1000",
        ),
        (
            "[pools.x]\nbackends = [\"10.0.0.1:80\"]\npanic_threshold = 101",
            "error 3:19 «101» 101 is out of range: 0 to 100",
        ),
        (
            "[pools.\"a/b\"]\nbackends = [\"10.0.0.1:80\"]",
            "error 1:8 «\"a/b\"» this cannot be a name (a name has 1 to 128 bytes, and no slash, space or control character)",
        ),
        ("[listeners.x]", "error 1:1 «[listeners.x]» the key `bind` is missing"),
        (
            "[listeners.x]\nbind = \":1\"\nprotocol = \"tcp\"",
            "error 1:12 «x» the tcp listener `x` names no pool (add pool = \"…\": routes are for http and tls listeners)",
        ),
        (
            "[listeners.x]\nbind = \":1\"\nprotocol = \"tcp\"\npool = \"api\"\nhealth_path = \"/\"",
            "error 1:12 «x» `health_path` is for http listeners, and `x` speaks tcp (take the key out)",
        ),
        (
            "[listeners.x]\nbind = \":1\"\nprotocol = \"tcp\"\npool = \"api\"\ntimeouts = { stream_idle = \"1s\" }",
            "error 5:28 «\"1s\"» `stream_idle` is for http listeners, and `x` speaks tcp (the timeout of tcp listeners is `idle`, and of those with `tls` also `request_header`, for the handshake)",
        ),
        (
            "[admin]\nbind = \"0.0.0.0:9900\"\ntoken_file = 5",
            "error 3:14 «5» expected text, found a whole number",
        ),
        (
            "[admin]\nbind = \"localhost:9900\"\n[listeners.x]\nbind = \":9900\"",
            "error 2:8 «\"localhost:9900\"» \"localhost:9900\" is not an address and a port (write \"127.0.0.1:9900\")",
        ),
        (
            "[listeners.x]\nbind = \":1\"\nhealth_path = \"/a/../%7eb\"",
            "error 3:15 «\"/a/../%7eb\"» the path \"/a/../%7eb\" is not canonical, so that no request would match (write \"/~b\")",
        ),
        (
            "[listeners.x]\nbind = \":1\"\nhealth_path = \"/a?b\"",
            "error 3:15 «\"/a?b\"» a health path has no query",
        ),
        (
            "[listeners.x]\nbind = \":1\"\nhealth_path = \"/a%2Fb\"",
            "error 3:15 «\"/a%2Fb\"» \"/a%2Fb\" is not a path: an encoded slash or backslash stands in the path (such a request gets 400)",
        ),
        (
            "[admin]\nbind = \"0.0.0.0:9900\"",
            "error 2:8 «\"0.0.0.0:9900\"» the admin API on 0.0.0.0:9900 can be reached from other hosts, and has no token (add token_file = \"…\", or bind it to 127.0.0.1)",
        ),
    ] {
        assert_told(text, &[expected]);
    }
}

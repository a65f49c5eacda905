//! Checks and ejections that mean nothing.

use super::mistakes::assert_told;

#[test]
fn checks_that_could_not_pass_are_refused() {
    for (health, at, message) in [
        (
            "{ http = \"healthz\" }",
            "19 «\"healthz\"»",
            "\"healthz\" is not a path (paths begin with one slash: write \"/healthz\")",
        ),
        (
            "{ http = \"/\", tcp = true }",
            "30 «true»",
            "a check is by `http` or by `tcp`, not both (take `tcp` out: a check by http connects too)",
        ),
        (
            "{ tcp = false }",
            "18 «false»",
            "nothing is left to check (write health = false to turn checks off)",
        ),
        (
            "{ tcp = true, expect = \"200\" }",
            "33 «\"200\"»",
            "`expect` is for http checks (add http = \"/healthz\", or take the key out)",
        ),
        (
            "{ http = \"/\", expect = [\"299-200\"] }",
            "34 «\"299-200\"»",
            "\"299-200\" is no range of statuses (write \"204\", or \"200-299\"; statuses are 100 to 599)",
        ),
        (
            "{ timeout = \"3s\" }",
            "22 «\"3s\"»",
            "a check may take longer than the time until the next one (the interval is 2s unless set)",
        ),
        (
            "{ interval = \"1s\", timeout = \"3s\" }",
            "39 «\"3s\"»",
            "a check may take longer than the time until the next one [the interval: 3:23]",
        ),
        (
            "{ interval = \"1ms\" }",
            "23 «\"1ms\"»",
            "checks at most every 10ms (2s is usual)",
        ),
        (
            "{ http = \"q\", expect = [\"200\"], host = \"a\" }",
            "19 «\"q\"»",
            "\"q\" is not a path (paths begin with one slash: write \"/q\")",
        ),
        (
            "{ interval = 5, timeout = \"4s\" }",
            "23 «5»",
            "a duration needs a unit (write \"5s\" for seconds, or \"5ms\" for milliseconds)",
        ),
        ("{ fall = 0 }", "19 «0»", "0 is out of range: 1 to 1000"),
        ("true", "10 «true»", "expected a table, or false, found a boolean"),
    ] {
        assert_refused(health, at, message);
    }
}

#[test]
fn checks_that_ask_for_what_is_not_theirs_are_refused() {
    for (health, at, message) in [
        (
            "{ http = \"/\", grpc = true }",
            "31 «true»",
            "a check is by `http` or by `grpc`, not both (a pool has one check: take the other out) [by http: 3:19]",
        ),
        (
            "{ send = \"PING\" }",
            "19 «\"PING\"»",
            "what is sent says nothing until something is answered (add expect_bytes = \"…\")",
        ),
        (
            "{ expect_bytes = { hex = \"0f0\" } }",
            "35 «\"0f0\"»",
            "these are not bytes in hexadecimal digits (write two digits for each byte, like \"00ff\")",
        ),
        (
            "{ expect_bytes = \"x\", headers = { a = \"b\" } }",
            "42 «{ a = \"b\" }»",
            "`headers` is for http and grpc checks (add http = \"/healthz\", or take the key out)",
        ),
        (
            "{ http = \"/\", headers = { Host = \"b\" } }",
            "36 «Host»",
            "the Host of a check is not among its headers (write host = \"…\" beside them)",
        ),
        (
            "{ http = \"/\", method = \"HEAD\", expect_body = \"ok\" }",
            "55 «\"ok\"»",
            "an answer to HEAD has no body (leave `method` out, or `expect_body`) [the method: 3:33]",
        ),
        (
            "{ http = \"/\", expect_body = { regex = \"(\" } }",
            "48 «\"(\"»",
            "\"(\" is not a regular expression: unclosed group",
        ),
        (
            "{ grpc = \"a b\" }",
            "19 «\"a b\"»",
            "this is not the name of a gRPC service (write \"package.Service\", or true for the backend as a whole)",
        ),
        (
            "{ fast_interval = \"1ms\" }",
            "28 «\"1ms\"»",
            "checks at most every 10ms (2s is usual)",
        ),
        (
            "{ exec = [\"./probe\"] }",
            "19 «[\"./probe\"]»",
            "programs are named by a configuration's file alone",
        ),
    ] {
        assert_refused(health, at, message);
    }
}

#[track_caller]
fn assert_refused(health: &str, at: &str, message: &str) {
    assert_told(
        &format!("[pools.x]\nbackends = [\"10.0.0.1:80\"]\nhealth = {health}"),
        &[&format!("error 3:{at} {message}")],
    );
}

#[test]
fn comparisons_that_mean_nothing_are_refused() {
    for (outlier, expected) in [
        (
            "{ success_rate = 95 }",
            "28 «95» expected true, false or a table, found a whole number",
        ),
        (
            "{ success_rate = { deviations = 0 } }",
            "43 «0» 0 is out of range: 0.1 to 100",
        ),
        (
            "{ latency = { factor = 0.5 } }",
            "34 «0.5» 0.5 is out of range: 1 to 1000",
        ),
        (
            "{ latency = { min_backends = 1 } }",
            "40 «1» 1 is out of range: 2 to 10000",
        ),
        (
            "{ interval = \"1ms\", latency = true }",
            "24 «\"1ms\"» backends are compared at most every 100ms (10s is usual)",
        ),
    ] {
        assert_told(
            &format!("[pools.x]\nbackends = [\"10.0.0.1:80\"]\noutlier = {outlier}"),
            &[&format!("error 3:{expected}")],
        );
    }
}

//! Checks by HTTP with everything that they can ask, by gRPC, and of protocols that we do not know; each against a server
//! that we did not write.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use e2e::{Backend, Foreign, Plimsoll, Port, Script, eventually};

/// A process whose pool `api` has the backend `it`, checked so.
fn checking(address: SocketAddr, health: &str) -> Plimsoll {
    checking_pool(address, health, "")
}

/// The same of a pool with further lines.
fn checking_pool(address: SocketAddr, health: &str, pool: &str) -> Plimsoll {
    let config = format!(
        "[listeners.web]\nbind = [\"@web@\"]\npool = \"api\"\n\
         [pools.api]\nbackends = [{{ name = \"it\", address = \"@it@\" }}]\n\
         health = {{ interval = \"300ms\", timeout = \"300ms\", fall = 1, rise = 1, {health} }}\n{pool}\n"
    );
    Plimsoll::config(&config).address("it", address).start()
}

/// Waits until `it` is unhealthy for a cause that holds `why`.
#[track_caller]
fn assert_fails(plimsoll: &Plimsoll, why: &str) {
    plimsoll.wait_for_state("api", "it", "unhealthy");
    let mut cause = String::new();
    // A busy machine may miss a deadline first.
    eventually(&format!("{why} is the cause"), || {
        let pool = plimsoll.admin("/api/v1/pools/api").json();
        cause = pool["backends"][0]["cause"].to_string().replace("\\\"", "\"");
        (cause.contains(why) || !cause.contains("no answer within")).then_some(())
    });
    assert!(cause.contains(why), "{why}: {cause}");
}

const GRPC: &str = r#"
import sys
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

server = grpc.server(futures.ThreadPoolExecutor(4))
servicer = health.HealthServicer()
if len(sys.argv) == 2:
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
server.add_insecure_port(sys.argv[1])
server.start()
for line in sys.stdin:
    service, status = line.split("=")
    servicer.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(status.strip()))
"#;

#[test]
fn a_grpc_check_asks_the_health_service_of_a_real_server() {
    let mut server = Foreign::python(GRPC);
    let service = checking(server.address(), "grpc = \"shop.Orders\"");
    let whole = checking(server.address(), "grpc = true");
    assert_fails(&service, "NOT_FOUND: its health service knows no \"shop.Orders\"");
    whole.wait_for_state("api", "it", "healthy");
    for (status, state) in [
        ("SERVING", "healthy"),
        ("NOT_SERVING", "unhealthy"),
        ("SERVING", "healthy"),
    ] {
        server.tell(&format!("shop.Orders={status}"));
        service.wait_for_state("api", "it", state);
        if state == "unhealthy" {
            assert_fails(&service, "NOT_SERVING");
        }
    }
    server.tell("=NOT_SERVING");
    assert_fails(&whole, "NOT_SERVING");
    server.stop();
    assert_fails(&service, "connection failed");
}

#[test]
fn a_grpc_check_says_what_else_it_found() {
    let bare = Foreign::python(&GRPC.replace("len(sys.argv) == 2", "False"));
    assert_fails(
        &checking(bare.address(), "grpc = true"),
        "UNIMPLEMENTED: it has no health service",
    );
    let http1 = Backend::start(Script::reply(200, "ok"));
    assert_fails(&checking(http1.address(), "grpc = true"), "HTTP/2: ");
    let silent = Backend::tcp(|mut stream| std::io::copy(&mut stream, &mut std::io::sink()).map(drop));
    assert_fails(&checking(silent.address(), "grpc = true"), "no answer within 300ms");
}

#[test]
fn a_check_of_redis_says_ping() {
    let ping = "send = \"PING\\r\\n\", expect_bytes = \"+PONG\"";
    let mut redis = Foreign::redis(&[]);
    let plimsoll = checking(redis.address(), ping);
    plimsoll.wait_for_state("api", "it", "healthy");
    redis.stop();
    assert_fails(&plimsoll, "connection failed");
    let locked = Foreign::redis(&["--requirepass", "secret"]);
    assert_fails(
        &checking(locked.address(), ping),
        "which begins \"-NOAUTH Authentication required.",
    );
    let known = "send = \"AUTH secret\\r\\nPING\\r\\n\", expect_bytes = { hex = \"2b 50 4f 4e 47\" }";
    checking(locked.address(), known).wait_for_state("api", "it", "healthy");
}

#[test]
fn what_is_expected_may_come_unasked_and_in_pieces() {
    let pieces = |pieces: &'static [&'static str]| {
        Backend::tcp(move |mut stream| {
            for piece in pieces {
                stream.write_all(piece.as_bytes())?;
                std::thread::sleep(Duration::from_millis(5));
            }
            // It goes on: the check ends by itself.
            std::thread::sleep(Duration::from_secs(1));
            Ok(())
        })
    };
    let expect = "expect_bytes = \"220 ready\"";
    let well = pieces(&["some\r\n2", "20", " rea", "dy\r\n"]);
    checking(well.address(), expect).wait_for_state("api", "it", "healthy");
    let ill = pieces(&["220 not ready\r\n"]);
    let says = "\"220 ready\" is not in the answer, which begins \"220 not ready\\r\\n\"";
    assert_fails(&checking(ill.address(), expect), &says.replace('\\', "\\\\"));
    let endless = Backend::tcp(|mut stream| {
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
        Ok(())
    });
    assert_fails(&checking(endless.address(), expect), "in its first 16 KiB");
}

#[test]
fn an_http_check_asks_nginx_for_what_it_is_told_to() {
    let health = Port::free();
    let servers = |port, _: &Path| {
        format!(
            r#"server {{ listen 127.0.0.1:{port}; return 503; }}
        server {{ listen {health} default_server; return 421; }}
        server {{
            listen {health};
            server_name health.internal;
            location /status {{
                if ($http_x_check != "plimsoll") {{ return 403; }}
                if ($request_method = POST) {{ return 205; }}
                add_header x-seen yes;
                return 200 "state: warm\n";
            }}
        }}"#,
            health = health.address()
        )
    };
    let nginx = Foreign::nginx_of(&[], servers);
    let asked = format!(
        "port = {}, http = \"/status\", host = \"health.internal\"",
        health.number()
    );
    let headers = "headers = { X-Check = \"plimsoll\" }";
    for (rest, failure) in [
        (format!("{asked}, {headers}"), None),
        (format!("{asked}, {headers}, expect_body = \"state: \""), None),
        (
            format!("{asked}, {headers}, expect_body = {{ regex = \"^state: (ok|warm)$\" }}"),
            Some("is not in the body"),
        ),
        (
            format!("{asked}, {headers}, expect_body = {{ regex = \"(?m)^state: (ok|warm)$\" }}"),
            None,
        ),
        (format!("{asked}, {headers}, method = \"HEAD\""), None),
        (format!("{asked}, {headers}, method = \"POST\", expect = 205"), None),
        (
            format!("{asked}, {headers}, expect_body = \"state: ok\""),
            Some("\"state: ok\" is not in the body, which begins \"state: warm"),
        ),
        (asked.clone(), Some("status 403")),
        (
            format!("{asked}, {headers}").replace("health.internal", "elsewhere.internal"),
            Some("status 421"),
        ),
        ("http = \"/status\"".to_owned(), Some("status 503")),
    ] {
        let plimsoll = checking(nginx.address(), &rest);
        match failure {
            None => plimsoll.wait_for_state("api", "it", "healthy"),
            Some(why) => assert_fails(&plimsoll, why),
        }
    }
}

#[test]
fn an_http_check_of_a_pool_that_speaks_http2_asks_for_the_same() {
    let large = "x".repeat(200_000);
    let files = [("status", &b"state: warm\n"[..]), ("large", large.as_bytes())];
    let nginx = Foreign::nginx(&files, "if ($http_x_check != \"plimsoll\") { return 403; }");
    let headers = "headers = { X-Check = \"plimsoll\" }";
    for (rest, failure) in [
        (format!("http = \"/status\", {headers}, expect_body = \"warm\""), None),
        (format!("http = \"/status\", {headers}, method = \"HEAD\""), None),
        ("http = \"/status\"".to_owned(), Some("status 403")),
        (
            format!("http = \"/status\", {headers}, expect_body = {{ regex = \"^warm\" }}"),
            Some("/^warm/ is not in the body, which begins \"state: warm"),
        ),
        (
            format!("http = \"/large\", {headers}, expect_body = \"y\""),
            Some("is not in the first 64 KiB of the body"),
        ),
    ] {
        let plimsoll = checking_pool(nginx.address(), &rest, "protocol = \"h2\"");
        match failure {
            None => plimsoll.wait_for_state("api", "it", "healthy"),
            Some(why) => assert_fails(&plimsoll, why),
        }
    }
}

#[test]
fn a_body_is_looked_through_as_it_comes_and_up_to_a_bound() {
    let chunked = Backend::start(Script::chunked(["it is rea", "dy to go"]));
    checking(chunked.address(), "http = \"/\", expect_body = \"ready\"").wait_for_state("api", "it", "healthy");
    let late = Backend::start(Script::reply(200, "x".repeat(100_000) + "ready"));
    assert_fails(
        &checking(late.address(), "http = \"/\", expect_body = \"ready\""),
        "is not in the first 64 KiB of the body",
    );
    // Found before the end, which never comes.
    let open = Script::custom(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nready")?;
        std::thread::sleep(Duration::from_secs(1));
        Ok(false)
    });
    let open = Backend::start(open);
    checking(open.address(), "http = \"/\", expect_body = \"ready\"").wait_for_state("api", "it", "healthy");
}

#[test]
fn a_fast_interval_finds_out_sooner_than_the_usual_one_would() {
    let backend = Backend::start(Script::status(503));
    let config = "[listeners.web]\nbind = [\"@web@\"]\npool = \"api\"\n\
         [pools.api]\nbackends = [{ name = \"it\", address = \"@it@\" }]\n\
         [pools.api.health]\nhttp = \"/healthz\"\ninitial = \"healthy\"\nfall = 5\nrise = 5\n\
         interval = \"10m\"\nfast_interval = \"20ms\"\ndown_interval = \"100ms\"\n";
    let plimsoll = Plimsoll::config(config).address("it", backend.address()).start();
    plimsoll.wait_for_state("api", "it", "unhealthy");
    assert!(backend.requests() >= 5);
    // It is asked every 100 ms, not every ten minutes, and faster once it answers.
    backend.play(Script::reply(200, "ok"));
    backend.forget();
    plimsoll.wait_for_state("api", "it", "healthy");
    assert!(backend.requests() >= 5);
}

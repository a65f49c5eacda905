//! The sockets: taken early, bounded in number and patience.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::{Admin, AdminError, AdminSockets};
use super::Fixture;
use crate::config::AdminPlan;

fn plan(bind: Option<&str>, token_file: Option<&str>) -> AdminPlan {
    AdminPlan {
        bind: bind.map(|bind| bind.parse().expect("an address")),
        socket: None,
        token_file: token_file.map(Into::into),
        read_token_file: None,
        metrics_bind: None,
    }
}

#[test]
fn what_cannot_be_served_is_said_before_anything_is() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let error = Admin::bind(&plan(Some(&address), None), AdminSockets::default()).expect_err("taken");
    assert!(matches!(error, AdminError::Bind { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("admin cannot bind {address}: ")) && text.contains("[admin] bind"),
        "{text}"
    );

    let error =
        Admin::bind(&plan(Some("127.0.0.1:0"), Some("/dev/null")), AdminSockets::default()).expect_err("no token");
    assert!(error.to_string().contains("/dev/null is empty"), "{error}");

    let off = Admin::bind(&plan(None, None), AdminSockets::default()).expect("nothing to bind");
    assert_eq!((off.address(), off.metrics_address()), (None, None));
}

async fn serving() -> std::net::SocketAddr {
    let admin = Admin::bind(&plan(Some("127.0.0.1:0"), None), AdminSockets::default()).expect("a free port");
    let address = admin.address().expect("it is on");
    let (stays, retired) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let _stays = stays;
        admin.serve(Fixture::new().api, retired).await
    });
    address
}

// Paused time jumps to the next deadline whenever everybody waits.
#[tokio::test(start_paused = true)]
async fn a_slow_head_is_cut_off() {
    let mut stream = TcpStream::connect(serving().await).await.expect("connected");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: local")
        .await
        .expect("sent");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("closed in time");
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_answered_and_cut_off() {
    let mut stream = TcpStream::connect(serving().await).await.expect("connected");
    let head = "PATCH /api/v1/pools/api/backends/one HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("closed in time");
    assert!(rest.starts_with("HTTP/1.1 408"), "{rest}");
}

/// What a request with this query and these fields gets, from its status line on.
async fn answer_to(query: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(serving().await).await.expect("connected");
    let head = format!("GET /healthz?{query} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered and closed");
    answer
}

#[tokio::test]
async fn a_head_that_is_too_large_is_told_so() {
    let field = |bytes: usize| format!("x: {}\r\n", "a".repeat(bytes));
    for fields in ["", &field(32_000), &"x: a\r\n".repeat(62)] {
        let answer = answer_to("", fields).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{} bytes: {answer}", fields.len());
    }
    for (query, fields, why) in [
        ("", field(33_000), "32 KiB at the most"),
        ("", field(40_000), "32 KiB at the most"),
        (&"q".repeat(33_000), String::new(), "32 KiB at the most"),
        ("", "x: a\r\n".repeat(63), "the head has 65 fields: 64 at the most"),
    ] {
        let answer = answer_to(query, &fields).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{} bytes: {answer}", fields.len());
        assert!(
            answer.contains("application/problem+json") && answer.contains(why),
            "{answer}"
        );
    }
}

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// What a caller gets that asks for nothing but whether the process is well; nothing when it is closed at once.
async fn health(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the kernel accepts it");
    let mut answer = String::new();
    if stream.write_all(HEALTH).await.is_ok() {
        let _ = stream.read_to_string(&mut answer).await;
    }
    answer
}

#[tokio::test]
async fn those_who_ask_nothing_make_room_and_the_oldest_first() {
    let address = serving().await;
    let mut held = Vec::new();
    for at in 0..256 {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        // Some have had an answer, and dawdle over the next question.
        if at % 2 == 1 {
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .await
                .expect("sent");
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).await.expect("an answer");
            assert_eq!(&begin, b"HTTP/1.1 200");
        }
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: loc")
            .await
            .expect("sent");
        held.push(stream);
    }
    for round in 0..300 {
        let answer = health(address).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{round}: {answer}");
        if round == 0 {
            let mut rest = Vec::new();
            let _ = held[0].read_to_end(&mut rest).await;
            assert!(rest.is_empty(), "the oldest has left without an answer");
        }
        // Whoever is sent away comes back, as an attacker would.
        let mut again = TcpStream::connect(address).await.expect("connected");
        again.write_all(b"GET / HTTP/1.1\r\nho").await.expect("sent");
        held.push(again);
    }
}

#[tokio::test]
async fn those_who_are_being_answered_are_not_sent_away() {
    let address = serving().await;
    let mut callers = Vec::new();
    for _ in 0..256 {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let ask = "PATCH /api/v1/pools/api/backends/one HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                   content-type: application/json\r\ncontent-length: 10\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.expect("sent");
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.expect("its body is wanted");
        assert_eq!(&begin, b"HTTP/1.1 100");
        callers.push(stream);
    }
    assert_eq!(health(address).await, "", "all are being answered");
    drop(callers.pop());
    // The place is free once its connection's end was seen.
    for _ in 0..1_000 {
        let answer = health(address).await;
        if !answer.is_empty() {
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("no place became free");
}

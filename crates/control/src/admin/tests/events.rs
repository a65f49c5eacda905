//! The events as a reader gets them.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Body as _;
use serde_json::json;
use tower::ServiceExt;

use super::Fixture;
use crate::events::{EVENTS_MAX, FOLLOWERS_MAX, Kind};

/// A reader of the events.
struct Reader(Body);

impl Reader {
    async fn open(fixture: &Fixture, path: &str, last_id: Option<&str>) -> (u16, Reader) {
        let mut request = Request::builder().uri(path).header("host", "localhost");
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = fixture.router(None).oneshot(request).await.expect("routers never fail");
        (response.status().as_u16(), Reader(response.into_body()))
    }

    /// The next piece; nothing when the stream has ended.
    async fn piece(&mut self) -> Option<String> {
        let body = &mut self.0;
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await?;
        let data = frame.expect("no error").into_data().expect("data");
        Some(String::from_utf8(data.into()).expect("text"))
    }
}

#[tokio::test]
async fn what_happens_is_told_with_its_cause_and_can_be_gone_on_with() {
    let fixture = Fixture::new();
    let (status, mut reader) = Reader::open(&fixture, "/api/v1/events", None).await;
    assert_eq!(status, 200);
    assert_eq!(reader.piece().await.as_deref(), Some("retry: 2000\n\n"));
    fixture.check(0, false);
    let piece = reader.piece().await.expect("an event");
    assert!(piece.contains("event: health\n"), "{piece}");
    assert!(piece.contains(r#""cause":"checks fail: status 500""#), "{piece}");
    let id = piece
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .expect("an id")
        .to_owned();
    fixture.patch("one", r#"{"state": "drain"}"#).await;
    let (_, mut again) = Reader::open(&fixture, "/api/v1/events", Some(&id)).await;
    again.piece().await;
    let replayed = again.piece().await.expect("events");
    for word in ["event: operator\n", r#""change":"drain""#, "draining"] {
        assert!(replayed.contains(word), "{word}: {replayed}");
    }
    assert!(
        !replayed.contains("status 500") || replayed.contains("an operator"),
        "{replayed}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_has_a_heartbeat_and_a_slow_reader_is_told_and_dropped() {
    let fixture = Fixture::new();
    let (_, mut reader) = Reader::open(&fixture, "/api/v1/events", None).await;
    reader.piece().await;
    let beat = tokio::time::timeout(Duration::from_secs(16), reader.piece())
        .await
        .expect("in time");
    assert_eq!(beat.as_deref(), Some(": still here\n\n"));
    let events = fixture.api.control.events();
    (0..EVENTS_MAX + 5).for_each(|_| events.tell(Kind::Reload, "x", json!({})));
    let missed = reader.piece().await.expect("it is told");
    assert!(
        missed.contains("event: missed\n") && missed.contains(r#"{"missed":5}"#),
        "{missed}"
    );
    assert_eq!(reader.piece().await, None, "and dropped");
    let id = missed
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .expect("an id")
        .to_owned();
    let (_, mut again) = Reader::open(&fixture, "/api/v1/events", Some(&id)).await;
    again.piece().await;
    assert!(again.piece().await.is_some_and(|piece| piece.contains("event: reload")));
}

#[tokio::test]
async fn readers_beyond_their_number_are_refused() {
    let fixture = Fixture::new();
    let mut readers = Vec::new();
    for _ in 0..FOLLOWERS_MAX {
        readers.push(Reader::open(&fixture, "/api/v1/events?last=3", None).await);
    }
    assert!(readers.iter().all(|(status, _)| *status == 200));
    assert_eq!(Reader::open(&fixture, "/api/v1/events", None).await.0, 503);
    readers.pop();
    assert_eq!(Reader::open(&fixture, "/api/v1/events", None).await.0, 200);
}

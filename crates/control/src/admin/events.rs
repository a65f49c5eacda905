//! `GET /api/v1/events`: what happens, as it happens, as server-sent events (WHATWG HTML §9.2).

use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;

use super::Api;
use super::problem::Problem;
use super::server::Liveness;
use crate::events::{EVENTS_MAX, FOLLOWERS_MAX, Follower, Heard};

/// Between two comments that keep a silent stream from being taken for a dead one.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a reader is told first: how long it waits before it comes back, in milliseconds.
const GREETING: &str = "retry: 2000\n\n";

/// Streams of events, until the reader goes or is too slow.
pub(super) async fn follow(
    State(api): State<Api>,
    Query(parameters): Query<Vec<(String, String)>>,
    fields: HeaderMap,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let after = fields.get("last-event-id").and_then(|id| id.to_str().ok());
    let liveness = extensions.get::<Liveness>().cloned().unwrap_or_default();
    let events = api.control.events();
    let follower = events.follow(after, last(&parameters)?).ok_or_else(|| {
        let why = format!("{FOLLOWERS_MAX} readers follow the events already");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    let body = Body::new(Stream {
        next: Box::pin(std::future::ready((None, Bytes::from_static(GREETING.as_bytes())))),
        follower: Some(follower),
        liveness,
    });
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
}

/// How many of the last events are wanted first: `?last=N`.
fn last(parameters: &[(String, String)]) -> Result<usize, Problem> {
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
    match parameters {
        [] => Ok(0),
        [(name, value)] if name == "last" => {
            let count = value.parse().ok().filter(|count| *count <= EVENTS_MAX);
            count.ok_or_else(|| bad(format!("`last` is a number from 0 to {EVENTS_MAX}")))
        }
        [(name, _), ..] => Err(bad(format!(
            "unknown or repeated parameter \"{name}\"; `last` is all there is"
        ))),
    }
}

/// A piece of the stream, and who goes on after it; nobody when it was the last one.
type Piece = (Option<Follower>, Bytes);

/// The body of the answer.
struct Stream {
    next: Pin<Box<dyn Future<Output = Piece> + Send>>,
    /// Who goes on after the greeting.
    follower: Option<Follower>,
    liveness: Liveness,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // It is asked only while the reader takes what it is given.
        self.liveness.touch();
        let (follower, bytes) = ready!(self.next.as_mut().poll(cx));
        let follower = follower.or_else(|| self.follower.take());
        if bytes.is_empty() {
            return Poll::Ready(None);
        }
        self.next = match follower {
            Some(follower) => Box::pin(piece(follower)),
            None => Box::pin(std::future::ready((None, Bytes::new()))),
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

/// The next piece. A reader that has missed something is told so and dropped: it may come back for what is kept.
async fn piece(mut follower: Follower) -> Piece {
    let Ok(heard) = tokio::time::timeout(HEARTBEAT, follower.hear()).await else {
        return (Some(follower), Bytes::from_static(b": still here\n\n"));
    };
    let mut text = String::new();
    match heard {
        Heard::Events(events) => {
            for event in events {
                let id = follower.id_of(&event);
                let json = event.json(&id);
                // Writing into a String cannot fail; JSON has no line breaks of its own.
                let _ = write!(text, "id: {id}\nevent: {}\ndata: {json}\n\n", event.kind.word());
            }
            (Some(follower), text.into())
        }
        Heard::Missed(count) => {
            let id = follower.id();
            let _ = write!(text, "id: {id}\nevent: missed\ndata: {{\"missed\":{count}}}\n\n");
            (None, text.into())
        }
    }
}

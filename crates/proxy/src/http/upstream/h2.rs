//! The backend's side of a request on a stream of a trunk.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Response, response};
use plimsoll_http::h2::{Asking, backend_trailers, request, trailers, write_response, write_switch};
use plimsoll_net::Buffer;

use super::trunk::Way;
use super::{Deaf, Lost, Outgoing};

/// The most bytes that are put into one piece of a request's body: two frames.
const PIECE_MAX: usize = 32 << 10;

/// A request on a stream.
pub(crate) struct H2 {
    /// Where the request's body goes, once its head was sent.
    send: Option<SendStream<Bytes>>,
    phase: Phase,
    /// What is to be read next: heads as text, and what has come of the body.
    text: Bytes,
    data: Bytes,
    /// What has come of the body behind that, and was taken before there was room for it.
    ahead: BytesMut,
    /// The lines of the answer's trailers.
    trailers: Vec<u8>,
    /// What the key of a WebSocket that was asked for is accepted with.
    websocket: Option<[u8; 28]>,
    /// Last, so that the stream has ended when it is counted as such.
    way: Way,
}

enum Phase {
    /// Nothing was sent yet.
    Begun(SendRequest<Bytes>),
    /// The head of the answer has not come.
    Asked(ResponseFuture),
    /// The body of the answer.
    Answered(RecvStream),
    /// The answer is complete.
    Ended,
    Failed(Lost),
}

impl H2 {
    /// A request that goes this way.
    pub(crate) fn new(way: Way, requests: SendRequest<Bytes>) -> Self {
        H2 {
            send: None,
            phase: Phase::Begun(requests),
            text: Bytes::new(),
            data: Bytes::new(),
            ahead: BytesMut::new(),
            trailers: Vec::new(),
            websocket: None,
            way,
        }
    }

    /// Whether nothing else was under way on the connection when this began.
    pub(crate) fn was_idle(&self) -> bool {
        self.way.was_idle
    }

    /// See [`Upstream::is_ended`](super::Upstream::is_ended).
    pub(super) fn is_ended(&self) -> bool {
        let taken = self.data.is_empty() && self.ahead.is_empty();
        match &self.phase {
            Phase::Answered(body) => taken && body.is_end_stream(),
            phase => taken && matches!(phase, Phase::Ended),
        }
    }

    /// See [`Upstream::trailers`](super::Upstream::trailers).
    pub(super) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// See [`Upstream::poll_write`](super::Upstream::poll_write). A head is taken whole.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, part: Outgoing<'_>) -> Poll<Result<usize, Deaf>> {
        if part.head > 0 {
            return Poll::Ready(self.ask(part));
        }
        let Some(send) = &mut self.send else {
            return Poll::Ready(Err(Deaf::Gone));
        };
        let wanted = part.bytes.len().min(PIECE_MAX);
        send.reserve_capacity(wanted);
        let mut room = send.capacity();
        while room == 0 {
            room = match ready!(send.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(_)) | None => return Poll::Ready(Err(Deaf::Gone)),
            };
        }
        let count = wanted.min(room);
        let last = part.last && count == part.bytes.len();
        let sent = send.send_data(Bytes::copy_from_slice(&part.bytes[..count]), last);
        if last {
            self.send = None;
        }
        Poll::Ready(sent.map(|()| count).map_err(|_| Deaf::Gone))
    }

    fn ask(&mut self, part: Outgoing<'_>) -> Result<usize, Deaf> {
        let Asking { mut request, websocket } =
            request(&part.bytes[..part.head], self.way.is_secure()).map_err(|_| Deaf::Unspeakable)?;
        let Phase::Begun(requests) = &mut self.phase else {
            return Err(Deaf::Gone);
        };
        self.websocket = websocket.filter(|_| requests.is_extended_connect_protocol_enabled());
        if self.websocket.is_some() {
            request.extensions_mut().insert(Protocol::from_static("websocket"));
        } else if websocket.is_some() {
            // RFC 9110 §7.8: who does not know the protocol answers as if nobody had asked for it.
            *request.method_mut() = Method::GET;
        }
        let last = part.last && part.head == part.bytes.len() && self.websocket.is_none();
        match requests.send_request(request, last) {
            Ok((answer, send)) => {
                self.phase = Phase::Asked(answer);
                self.send = (!last).then_some(send);
                Ok(part.head)
            }
            Err(error) => {
                // Whatever it was, nothing of this request has been sent.
                tracing::debug!(%error, "a stream to a backend cannot be opened");
                self.phase = Phase::Failed(Lost::Unprocessed);
                Err(Deaf::Gone)
            }
        }
    }

    /// See [`Upstream::end`](super::Upstream::end).
    pub(super) fn end(&mut self, lines: &[u8]) -> Result<(), Deaf> {
        if self.websocket.is_some() {
            return Ok(());
        }
        // It ended with its last byte.
        let Some(mut send) = self.send.take() else {
            return Ok(());
        };
        let ended = if lines.is_empty() {
            send.send_data(Bytes::new(), true)
        } else {
            send.send_trailers(trailers(lines))
        };
        ended.map_err(|_| Deaf::Gone)
    }

    /// Ends what goes up, of a WebSocket.
    pub(super) fn shutdown_write(&mut self) {
        if let Some(mut send) = self.send.take() {
            // When it fails the stream is gone already, which the next read tells.
            let _ = send.send_data(Bytes::new(), true);
        }
    }

    /// See [`Upstream::poll_fill`](super::Upstream::poll_fill).
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<usize, Lost>> {
        loop {
            if !self.text.is_empty() {
                return Poll::Ready(Ok(pour(&mut self.text, buffer)));
            }
            if self.data.is_empty() && !self.ahead.is_empty() {
                self.data = self.ahead.split().freeze();
            }
            if !self.data.is_empty() {
                let count = pour(&mut self.data, buffer);
                return Poll::Ready(self.release(count).map(|()| count));
            }
            let came = match &mut self.phase {
                Phase::Begun(_) => return Poll::Pending,
                Phase::Asked(answer) => ready!(poll_head(answer, self.websocket.as_ref(), cx)),
                Phase::Answered(body) => ready!(poll_body(body, cx)),
                Phase::Ended => return Poll::Ready(Ok(0)),
                Phase::Failed(lost) => return Poll::Ready(Err(*lost)),
            };
            self.tell(came);
        }
    }

    /// Takes what has come of the body while nobody has room for it, into one piece. The codec holds every frame by
    /// itself, and gives up the connection, whoever else uses it, when there are too many small ones. The backend's
    /// window bounds what is taken: it does not open before there was room.
    pub(super) fn take_ahead(&mut self, cx: &mut Context<'_>) {
        while let Phase::Answered(body) = &mut self.phase {
            match poll_body(body, cx) {
                Poll::Ready(Ok(Came::Data(data))) => self.ahead.extend_from_slice(&data),
                Poll::Ready(came) => self.tell(came),
                Poll::Pending => return,
            }
        }
    }

    fn tell(&mut self, came: Result<Came, Lost>) {
        match came {
            Ok(Came::Interim(text)) => self.text = text,
            Ok(Came::Head(text, body)) => {
                self.text = text;
                self.phase = Phase::Answered(body);
            }
            Ok(Came::Data(data)) => self.data = data,
            Ok(Came::End(lines)) => {
                self.trailers = lines;
                self.phase = Phase::Ended;
            }
            Err(lost) => self.phase = Phase::Failed(lost),
        }
    }

    /// Only what was taken makes room in the backend's window: a slow client slows the backend down.
    fn release(&mut self, count: usize) -> Result<(), Lost> {
        match &mut self.phase {
            Phase::Answered(body) => (body.flow_control().release_capacity(count)).map_err(|error| lost(&error)),
            _ => Ok(()),
        }
    }
}

/// What a backend says next.
enum Came {
    Interim(Bytes),
    Head(Bytes, RecvStream),
    Data(Bytes),
    End(Vec<u8>),
}

fn poll_head(
    answer: &mut ResponseFuture,
    websocket: Option<&[u8; 28]>,
    cx: &mut Context<'_>,
) -> Poll<Result<Came, Lost>> {
    if let Poll::Ready(Some(interim)) = answer.poll_informational(cx) {
        let (parts, ()) = interim.map_err(|error| lost(&error))?.into_parts();
        // RFC 9113 §8.6: there is no 101 in HTTP/2.
        return Poll::Ready(if parts.status == 101 {
            Err(Lost::Malformed)
        } else {
            Ok(Came::Interim(text_of(&parts)))
        });
    }
    let (parts, body) = ready!(Pin::new(answer).poll(cx))
        .map_err(|error| lost(&error))
        .map(Response::into_parts)?;
    let text = match websocket {
        Some(accept) if parts.status.is_success() => {
            let mut text = Vec::with_capacity(512);
            write_switch(&mut text, &parts, accept);
            text.into()
        }
        _ => text_of(&parts),
    };
    Poll::Ready(Ok(Came::Head(text, body)))
}

fn poll_body(body: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Result<Came, Lost>> {
    Poll::Ready(match ready!(body.poll_data(cx)) {
        Some(Ok(data)) => Ok(Came::Data(data)),
        Some(Err(error)) => Err(lost(&error)),
        None => match ready!(body.poll_trailers(cx)) {
            Ok(Some(fields)) => backend_trailers(&fields).map(Came::End).map_err(|_| Lost::Malformed),
            Ok(None) => Ok(Came::End(Vec::new())),
            Err(error) => Err(lost(&error)),
        },
    })
}

fn text_of(parts: &response::Parts) -> Bytes {
    let mut text = Vec::with_capacity(512);
    write_response(&mut text, parts);
    text.into()
}

/// Moves what fits to the buffer's room; how much.
fn pour(from: &mut Bytes, buffer: &mut Buffer) -> usize {
    let room = buffer.room();
    let count = room.len().min(from.len());
    room[..count].copy_from_slice(&from[..count]);
    from.advance(count);
    buffer.filled(count);
    count
}

/// What an error of the codec means.
pub(super) fn lost(error: &h2::Error) -> Lost {
    if error
        .get_io()
        .is_some_and(|io| io.kind() != std::io::ErrorKind::InvalidData)
    {
        Lost::Connection
    } else if error.is_remote() && error.is_go_away() {
        Lost::Unprocessed
    } else if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
        Lost::Refused
    } else if error.is_remote() {
        Lost::Reset
    } else {
        Lost::Malformed
    }
}

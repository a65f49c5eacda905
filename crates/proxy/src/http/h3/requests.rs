//! One request on its stream, from its head to the end of its answer.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use plimsoll_core::outcome::Reason;
use plimsoll_core::reply::Reply;
use plimsoll_core::snapshot::HttpService;
use plimsoll_core::time::Now;
use plimsoll_http::h2::Follows;
use plimsoll_http::h3::{Code, HASTE_MS, HeadText, Kind, SectionFault, read_section};
use plimsoll_http::websocket;
use plimsoll_net::Timer;
use quinn::{RecvStream, SendStream};

use super::Ties;
use crate::client::Client;
use crate::http::accept::http_service;
use crate::http::downstream::{H3, HeadEnd, Stopped};
use crate::http::route::{Arrived, Request, Spoken};
use crate::http::{errand, stream};
use crate::log::{self, Finished};
use crate::worker::Pinned;

/// A stream that is to be served.
pub(super) struct Job {
    pub(super) ties: Rc<Ties>,
    pub(super) client: Rc<Client>,
    pub(super) local: SocketAddr,
    pub(super) pinned: Rc<Pinned>,
    pub(super) streams: (SendStream, RecvStream),
}

/// A count that goes down when this ends, whatever ends it.
struct Counted<'c>(&'c Ties, fn(&Ties) -> &std::cell::Cell<usize>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let count = (self.1)(self.0);
        count.set(count.get().saturating_sub(1));
        if count.get() == 0 {
            // The connection may be idle from now on.
            self.0.wake();
        }
    }
}

impl Job {
    /// Serves it to its end. It has been counted as busy.
    pub(super) async fn serve(self) {
        let ties = self.ties.clone();
        let timer = self.client.timer();
        let stopped = {
            let _busy = Counted(&ties, |ties| &ties.busy);
            let patience = http_service(&self.pinned, &self.client).map(|service| service.timeouts.stream_idle);
            // Boxed, so that it does not outlast the answer while the client takes its end.
            let stopped = Box::pin(self.answer(&timer)).await;
            stopped
                .zip(patience)
                .inspect(|_| ties.flushing.set(ties.flushing.get() + 1))
        };
        if let Some((stopped, patience)) = stopped {
            flush(&ties, stopped, &timer, patience).await;
        }
    }

    /// Answers it; what is ready once the client has all of the answer, when there is one.
    async fn answer(self, timer: &Timer) -> Option<Stopped> {
        let Job {
            ties,
            client,
            local,
            pinned,
            streams,
        } = self;
        let Some(service) = http_service(&pinned, &client) else {
            // Its listener is gone, and nothing was done.
            let (mut send, mut receive) = streams;
            let _ = send.reset(Code::REQUEST_REJECTED.0.into());
            let _ = receive.stop(Code::REQUEST_REJECTED.0.into());
            return None;
        };
        let begun = client.worker.now();
        let mut stream = H3::new(ties, streams);
        let from = (&*client, timer, &mut stream);
        one_request(from, (&pinned, service), local, begun).await;
        let haste = client.worker.now().since(begun) < Duration::from_millis(HASTE_MS);
        if haste && stream.is_given_up() {
            stream.count(Kind::Reset);
        }
        stream.into_flushed()
    }
}

/// Waits until the client has all of an answer, which a connection that ends would take from it.
async fn flush(ties: &Ties, stopped: Stopped, timer: &Timer, patience: Duration) {
    let _flushing = Counted(ties, |ties| &ties.flushing);
    // What takes longer is looked after by the connection.
    let _ = timer.within(timer.after(patience), stopped).await;
}

async fn one_request(
    (client, timer, stream): (&Client, &Timer, &mut H3),
    (pinned, service): (&Rc<Pinned>, &HttpService),
    local: SocketAddr,
    begun: Now,
) {
    let worker = &client.worker;
    let until = timer.after(service.timeouts.request_header);
    let section = timer.within(until, stream.read_head(service.limits.head_bytes)).await;
    let section = match section {
        Ok(Ok(section)) => section,
        Ok(Err(HeadEnd::Gone)) => return,
        Ok(Err(HeadEnd::Incomplete)) => return unanswered(client, pinned, begun, Reason::BadRequest),
        Ok(Err(HeadEnd::TooLarge)) => {
            let refused = Request::unread(0, begun).refused(Reply::reason(Reason::HeaderTooLarge));
            return stream::answer((client, timer, stream), (pinned, service), refused, Vec::new()).await;
        }
        Err(_) if timer.is_expired() => return unanswered(client, pinned, begun, Reason::DrainDeadline),
        Err(_) => {
            stream.reject(Code::REQUEST_INCOMPLETE);
            return unanswered(client, pinned, begun, Reason::RequestHeaderTimeout);
        }
    };
    let mut text = worker.blocks.take_scratch();
    let mut upstream_head = worker.blocks.take_scratch();
    let head = read_section(&section, &mut text, service.limits.head_bytes);
    drop(section);
    let head = head.and_then(|head| finish(head, &mut text, stream, client).map_err(SectionFault::Head));
    let request = match head {
        Ok(()) => {
            let arrived = Arrived {
                client,
                local: &|| Some(local),
                pinned,
                service,
                spoken: Spoken::Http3,
            };
            let mut gone = |cx: &mut Context<'_>| stream.poll_stopped(cx);
            errand::through(&arrived, timer, &text, &mut upstream_head, &mut gone).await
        }
        Err(SectionFault::Connection(code)) => {
            stream.fail(code);
            return worker.blocks.give_scratch(text);
        }
        Err(SectionFault::Malformed(why)) => {
            tracing::debug!(client = %client.peer, why, "a request over HTTP/3 is malformed");
            stream.reject(Code::MESSAGE_ERROR);
            worker.blocks.give_scratch(text);
            return unanswered(client, pinned, begun, Reason::BadRequest);
        }
        Err(SectionFault::Head(fault)) => {
            Request::unread(text.len(), worker.now()).refused(Reply::detailed(fault.reason(), &fault))
        }
    };
    worker.blocks.give_scratch(text);
    stream.expect(request.framing);
    stream::answer((client, timer, stream), (pinned, service), request, upstream_head).await;
}

/// Writes the end of a head, which says what follows it.
fn finish(
    head: HeadText,
    text: &mut Vec<u8>,
    stream: &mut H3,
    client: &Client,
) -> Result<(), plimsoll_http::h1::HeadFault> {
    if head.is_websocket {
        let key = websocket::key(client.worker.random());
        stream.accept_with(websocket::accept(&key));
        return head.finish(text, Follows::WebSocket(&key));
    }
    let follows = if stream.is_bodiless() {
        Follows::Nothing
    } else {
        Follows::Body
    };
    head.finish(text, follows)
}

/// Counts a request that gets no answer.
fn unanswered(client: &Client, pinned: &Pinned, begun: Now, reason: Reason) {
    let mut finished = Finished::new(pinned);
    finished.fail(reason);
    log::request(client, pinned, &Request::unread(0, begun), &finished);
}

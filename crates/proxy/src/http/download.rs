//! The answer on its way to the client: framed by us, small ones in one write, large ones from a buffer that grows.

use std::future::poll_fn;
use std::task::Poll;

use plimsoll_core::outcome::{Failure, Reason};
use plimsoll_http::h1::{BodyDecoder, Framing, Step, write_chunk_end, write_chunk_head};
use plimsoll_net::Deadline;

use super::accept::sooner;
use super::downstream::Downstream;
use super::exchange::{Answer, Exchange, number};
use super::fault::Fault;
use super::upstream::Upstream;

/// Up to this size bytes are copied behind the head and written with it; above, two pieces go out in one call.
const COPY_MAX: usize = 2 << 10;

/// Compressed bytes that are gathered before they are written.
const CODED_AHEAD: usize = 16 << 10;

/// A body that cannot be compressed ends in the middle.
const UNCODED: Fault = Fault::Client(Reason::Internal);

/// Adds a part of a body, framed when it goes in chunks. A chunk of no bytes would be the last one.
fn add_part(out: &mut Vec<u8>, data: &[u8], chunked: bool) {
    if data.is_empty() {
        return;
    }
    if chunked {
        write_chunk_head(out, data.len());
    }
    out.extend_from_slice(data);
    if chunked {
        write_chunk_end(out);
    }
}

impl<D: Downstream> Exchange<'_, D> {
    /// Passes the answer's body on; its head stands in `out`. True when the backend's connection is clean afterwards.
    /// Lines of trailers are shown to `withhold`, which may leave something else of them.
    pub(crate) async fn stream(
        &mut self,
        backend: &mut Upstream,
        answer: &Answer,
        withhold: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<bool, Fault> {
        let mut decoder = BodyDecoder::new(answer.framing);
        let chunked = answer.framing_out == Framing::Chunked;
        loop {
            let step = decoder.step(self.answer.unread());
            match step.map_err(|_| Fault::Backend(Failure::last(Reason::BackendProtocolError)))? {
                Step::Skip(count) => self.answer.consume(count),
                Step::Data(count) => {
                    if self.coder.is_some() {
                        self.code(backend, count, chunked).await?;
                    } else {
                        self.pass(backend, count, chunked).await?;
                    }
                    decoder.used(count);
                    self.answer.consume(count);
                }
                Step::More => {
                    // The client may wait for what there is.
                    self.flush_coder(chunked)?;
                    self.begin(backend).await?;
                    if !self.fill(backend).await? {
                        decoder
                            .ended()
                            .map_err(|_| Fault::Backend(Failure::last(Reason::BackendReset)))?;
                    }
                }
                Step::End => {
                    if matches!(answer.framing, Framing::Length(1..)) {
                        self.await_end(backend).await?;
                    }
                    let trailers = backend.trailers(decoder.trailers());
                    let left = (!trailers.is_empty()).then(|| withhold(trailers)).flatten();
                    let trailers = left.as_deref().unwrap_or(trailers);
                    if self.is_call {
                        self.grpc = status_of(trailers).or(self.grpc);
                    }
                    if let Some(coder) = self.coder.take() {
                        let rest = coder.finish().map_err(|_| UNCODED)?;
                        add_part(&mut self.out, &rest, chunked);
                    }
                    self.client.end(&mut self.out, answer.framing_out, trailers);
                    self.write_out(backend, 0).await?;
                    self.write_end(backend).await?;
                    return Ok(self.answer.is_empty());
                }
            }
        }
    }

    /// Sends what is there of the answer, its head at least: the client may wait for it before it says more.
    async fn begin(&mut self, backend: &mut Upstream) -> Result<(), Fault> {
        if !self.told {
            self.client.begin().map_err(|_| Fault::ClientGone)?;
            self.told = true;
        }
        if !self.out.is_empty() {
            self.write_out(backend, 0).await?;
        }
        Ok(())
    }

    /// Reads what HTTP/2 may have behind the last byte of an answer of a known length: trailers, or its end alone.
    async fn await_end(&mut self, backend: &mut Upstream) -> Result<(), Fault> {
        if !matches!(backend, Upstream::H2(_)) || backend.is_ended() {
            return Ok(());
        }
        self.begin(backend).await?;
        if self.fill(backend).await? {
            return Err(Fault::Backend(Failure::last(Reason::BackendProtocolError)));
        }
        Ok(())
    }

    /// Passes on the first `count` bytes of the answer, which stay for the caller to consume.
    async fn pass(&mut self, backend: &mut Upstream, count: usize, chunked: bool) -> Result<(), Fault> {
        if chunked {
            write_chunk_head(&mut self.out, count);
        }
        if self.out.len() + count <= COPY_MAX {
            self.out.extend_from_slice(&self.answer.unread()[..count]);
        } else {
            self.write_out(backend, count).await?;
        }
        if chunked {
            write_chunk_end(&mut self.out);
        }
        Ok(())
    }

    /// Compresses the first `count` bytes of the answer, which stay for the caller to consume, and passes on what comes out.
    async fn code(&mut self, backend: &mut Upstream, count: usize, chunked: bool) -> Result<(), Fault> {
        let Some(coder) = &mut self.coder else {
            return Ok(());
        };
        coder.add(&self.answer.unread()[..count]).map_err(|_| UNCODED)?;
        let coded = coder.coded();
        add_part(&mut self.out, coded, chunked);
        coded.clear();
        if self.out.len() > CODED_AHEAD {
            self.write_out(backend, 0).await?;
        }
        Ok(())
    }

    /// Puts all that was compressed so far into `out`.
    fn flush_coder(&mut self, chunked: bool) -> Result<(), Fault> {
        if let Some(coder) = &mut self.coder {
            coder.flush().map_err(|_| UNCODED)?;
            let coded = coder.coded();
            add_part(&mut self.out, coded, chunked);
            coded.clear();
        }
        Ok(())
    }

    /// Writes `out`, and behind it the first `count` bytes of the answer.
    async fn write_out(&mut self, backend: &mut Upstream, count: usize) -> Result<(), Fault> {
        let total = self.out.len() + count;
        let mut written = 0;
        let mut until = self.timer.after(self.limits.timeouts.stream_idle);
        poll_fn(|cx| {
            while written < total {
                let head = self.out.get(written..).unwrap_or_default();
                let body = &self.answer.unread()[written.saturating_sub(self.out.len()).min(count)..count];
                match self.client.poll_write(cx, head, body) {
                    Poll::Ready(Ok(more)) if more > 0 => {
                        self.told = true;
                        written += more;
                        if written < total {
                            until = self.timer.after(self.limits.timeouts.stream_idle);
                        }
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(Fault::ClientGone)),
                    Poll::Pending => {
                        backend.take_ahead(cx);
                        self.poll_beside(cx, backend)?;
                        return self
                            .timer
                            .poll_elapsed(cx, sooner(until, self.limits.call))
                            .map(|_| Err(self.stalled(Fault::Client(Reason::IdleTimeout))));
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        self.bytes_out += total as u64;
        self.out.clear();
        Ok(())
    }

    /// Waits until the end is written too, where it is more than bytes.
    async fn write_end(&mut self, backend: &mut Upstream) -> Result<(), Fault> {
        let until = self.timer.after(self.limits.timeouts.stream_idle);
        poll_fn(|cx| match self.client.poll_ended(cx) {
            Poll::Ready(ended) => Poll::Ready(ended.map_err(|_| Fault::ClientGone)),
            Poll::Pending => {
                self.poll_beside(cx, backend)?;
                self.timer
                    .poll_elapsed(cx, sooner(until, self.limits.call))
                    .map(|_| Err(self.stalled(Fault::Client(Reason::IdleTimeout))))
            }
        })
        .await
    }

    /// Reads more of the answer; false at its end.
    async fn fill(&mut self, backend: &mut Upstream) -> Result<bool, Fault> {
        if self.hungry {
            self.answer.grow(D::ANSWER_MAX);
        }
        let mut idle_until = None;
        poll_fn(|cx| match backend.poll_fill(cx, &mut self.answer) {
            Poll::Ready(Ok(count)) => {
                self.hungry = self.answer.is_full();
                self.upload.touch();
                Poll::Ready(Ok(count > 0))
            }
            Poll::Ready(Err(lost)) => Poll::Ready(Err(Fault::Backend(Failure::last(lost.reason())))),
            Poll::Pending => {
                // A stream that says something now and then holds no memory in between; one that has been worth a
                // larger block keeps it, since growing anew for every piece would cost more than it saves.
                if !self.answer.is_grown() {
                    self.answer.release();
                }
                self.poll_beside(cx, backend)?;
                let (until, late) = self.silence(&mut idle_until);
                self.poll_late(cx, sooner(until, self.limits.call))
                    .map(|gone| Err(gone.unwrap_or_else(|| self.stalled(late))))
            }
        })
        .await
    }

    /// When nothing has moved in either direction for too long, and whose fault that is: the client's while its body is
    /// waited for.
    fn silence(&mut self, idle_until: &mut Option<Deadline>) -> (Deadline, Fault) {
        let (timer, timeouts) = (self.timer, self.limits.timeouts);
        if self.upload.take_moved() {
            *idle_until = None;
        }
        let idle = *idle_until.get_or_insert_with(|| timer.after(timeouts.stream_idle));
        if !self.upload.is_starved() {
            return (idle, Fault::Backend(Failure::last(Reason::ResponseTimeout)));
        }
        let patience = self.body_patience();
        let until = idle.min(self.upload.stalls_at(timer, patience));
        (until, Fault::Client(Reason::RequestBodyTimeout))
    }

    /// What it means that nothing has moved for too long: `fault`, unless this node's time is up.
    fn stalled(&self, fault: Fault) -> Fault {
        self.over().unwrap_or(fault)
    }
}

/// The status of gRPC that trailer lines end a call with.
fn status_of(lines: &[u8]) -> Option<u8> {
    lines.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked("grpc-status:".len())?;
        number(value).filter(|_| name.eq_ignore_ascii_case(b"grpc-status:"))
    })
}

//! Questions to authentication services: over connections that are kept, with a bound on how many are asked at once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use plimsoll_core::filter::{Answered, Ask};
use plimsoll_core::time::Now;
use plimsoll_http::h1::{BodyDecoder, FieldRoom, Framing, HeadScan, Method, Scanned, Step, parse_response};
use plimsoll_net::{Blocks, Buffer, Socket, Timer, connect};

/// Questions of one worker that may be under way at once; beyond it the answer is that there is none.
const ASKING_MAX: usize = 256;

/// Idle connections of one worker to one service, and how long they are kept: less than services keep theirs.
const IDLE_MAX: usize = 32;
const IDLE_FOR: Duration = Duration::from_secs(30);

/// The longest head of an answer, and the longest body that is passed on.
const HEAD_MAX: usize = 64 << 10;
const BODY_MAX: usize = 256 << 10;

/// Interim answers (1xx) before the final one.
const INTERIM_MAX: usize = 4;

/// What one worker keeps for its questions.
#[derive(Default)]
pub(crate) struct Services {
    idle: RefCell<HashMap<SocketAddr, Vec<(Socket, Now)>>>,
    asking: Cell<usize>,
}

/// A question under way, counted while it lives.
struct Asking<'s>(&'s Services);

/// An answer, and whether its connection may be used again.
struct Heard {
    answered: Answered,
    reusable: bool,
}

impl Services {
    /// Asks; `head` is the whole question. `None` when there is no answer that could be used, or none in time.
    pub(crate) async fn ask(
        &self,
        ask: &Ask,
        head: &[u8],
        (timer, blocks): (&Timer, &Rc<Blocks>),
        now: impl Fn() -> Now,
    ) -> Option<Answered> {
        if self.asking.get() >= ASKING_MAX {
            return None;
        }
        self.asking.set(self.asking.get() + 1);
        let _asking = Asking(self);
        let asked = async {
            while let Some(socket) = self.kept(ask.to, now()) {
                // A service may close a connection just when it is used again: that is no answer, and no failure.
                match exchange(socket, head, blocks).await {
                    Ok(heard) => return Some(heard),
                    Err(Silent::AtOnce) => {}
                    Err(Silent::Midway) => return None,
                }
            }
            let socket = connect(ask.to).await.ok()?;
            exchange(socket, head, blocks).await.ok()
        };
        let (heard, socket) = timer.within(timer.after(ask.timeout), asked).await.ok()??;
        if heard.reusable {
            self.keep(ask.to, socket, now());
        }
        Some(heard.answered)
    }

    /// Closes what was not used for a while.
    pub(crate) fn sweep(&self, now: Now) {
        self.idle.borrow_mut().retain(|_, idle| {
            idle.retain(|(_, since)| now.since(*since) < IDLE_FOR);
            !idle.is_empty()
        });
    }

    /// The connection that was used last, unless it has ended since.
    fn kept(&self, to: SocketAddr, now: Now) -> Option<Socket> {
        let mut all = self.idle.borrow_mut();
        let idle = all.get_mut(&to)?;
        while let Some((socket, since)) = idle.pop() {
            if now.since(since) < IDLE_FOR && socket.is_silent() {
                return Some(socket);
            }
        }
        None
    }

    fn keep(&self, to: SocketAddr, socket: Socket, now: Now) {
        let mut all = self.idle.borrow_mut();
        let idle = all.entry(to).or_default();
        if idle.len() < IDLE_MAX {
            idle.push((socket, now));
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.set(self.0.asking.get() - 1);
    }
}

/// Why a connection brought no answer.
enum Silent {
    /// It ended without a byte.
    AtOnce,
    /// What came is no answer, or not the whole of one.
    Midway,
}

async fn exchange(mut socket: Socket, question: &[u8], blocks: &Rc<Blocks>) -> Result<(Heard, Socket), Silent> {
    socket.write_all(question).await.map_err(|_| Silent::AtOnce)?;
    let mut buffer = blocks.buffer();
    for _ in 0..=INTERIM_MAX {
        let length = read_head(&mut socket, &mut buffer).await?;
        let (mut heard, framing) = take_head(&buffer.unread()[..length]).ok_or(Silent::Midway)?;
        buffer.consume(length);
        if (100..200).contains(&heard.answered.status) {
            continue;
        }
        // The body of an answer that lets the request pass is of no use to anybody: it is read for the next question.
        let wanted = !(200..300).contains(&heard.answered.status);
        if !wanted && framing == Framing::UntilClose {
            return Ok((heard, socket));
        }
        match read_body(&mut socket, &mut buffer, framing).await {
            Some(body) if wanted => heard.answered.body = body,
            Some(_) => {}
            None if wanted => return Err(Silent::Midway),
            None => heard.reusable = false,
        }
        heard.reusable &= buffer.is_empty();
        return Ok((heard, socket));
    }
    Err(Silent::Midway)
}

async fn read_head(socket: &mut Socket, buffer: &mut Buffer) -> Result<usize, Silent> {
    let mut scan = HeadScan::default();
    loop {
        if !buffer.is_empty() {
            match scan.look(buffer.unread(), HEAD_MAX, HEAD_MAX) {
                Ok(Scanned::Head(length)) => return Ok(length),
                Ok(Scanned::More) => {}
                Err(_) => return Err(Silent::Midway),
            }
        }
        if buffer.is_full() && !buffer.grow(HEAD_MAX) {
            return Err(Silent::Midway);
        }
        match socket.fill(buffer).await {
            Ok(1..) => {}
            _ if buffer.is_empty() => return Err(Silent::AtOnce),
            _ => return Err(Silent::Midway),
        }
    }
}

fn take_head(bytes: &[u8]) -> Option<(Heard, Framing)> {
    let mut room = FieldRoom::new();
    let head = parse_response(bytes, &mut room, Method::Other).ok()?;
    // Nobody asked for a coding, and the body is to be passed on as text.
    let mut fields = head.fields.iter();
    if fields.any(|field| field.name.eq_ignore_ascii_case("content-encoding") && field.value != b"identity") {
        return None;
    }
    let fields = head.fields.iter();
    let answered = Answered {
        status: head.status,
        fields: fields
            .map(|field| (field.name.to_owned(), field.value.to_vec()))
            .collect(),
        body: Vec::new(),
    };
    let reusable = head.keep_alive && head.framing != Framing::UntilClose && head.status != 101;
    Some((Heard { answered, reusable }, head.framing))
}

/// The whole body; `None` when it is too long or does not end.
async fn read_body(socket: &mut Socket, buffer: &mut Buffer, framing: Framing) -> Option<Vec<u8>> {
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Vec::new();
    loop {
        match decoder.step(buffer.unread()).ok()? {
            Step::Skip(count) => buffer.consume(count),
            Step::Data(count) => {
                if body.len() + count > BODY_MAX {
                    return None;
                }
                body.extend_from_slice(&buffer.unread()[..count]);
                decoder.used(count);
                buffer.consume(count);
            }
            Step::More => {
                if socket.fill(buffer).await.ok()? == 0 {
                    decoder.ended().ok()?;
                }
            }
            Step::End => return Some(body),
        }
    }
}

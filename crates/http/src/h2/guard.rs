//! What the other end may not do too often: frames that cost us more than they cost it, counted as they arrive.
//!
//! The limits tell attacks from clients that work hard. Streams, header lists and buffers are bounded by the protocol's
//! own settings; DATA by its windows.

use super::frame::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE};

/// Length of a window in milliseconds.
const WINDOW_MS: u64 = 1_000;

/// A stream that is reset within this many milliseconds is reset in haste. One that has lived longer was a request like
/// any other, whatever it ended with: of those no more can come than may be open at once, again and again.
const HASTE_MS: u64 = 10;

/// A WINDOW_UPDATE of fewer bytes is a small one. The rest are bounded by what we send: Go's client, which updates more
/// often than others, does so for every 4 KiB.
const SMALL_UPDATE: u32 = 4 << 10;

/// A CONTINUATION shorter than this that does not end its head carries less than it might.
const SMALL_CONTINUATION: usize = 1 << 10;

/// How many frames of each kind there may be in a window.
#[derive(Debug)]
struct Most {
    /// DATA without data, that ends nothing (CVE-2019-9518).
    empty: u32,
    /// RST_STREAM in haste (CVE-2023-44487): with those a client opens more streams than it may have open. When we are
    /// late ourselves, what a client has opened and given up meanwhile looks as if it was done in haste.
    resets: u32,
    /// Other RST_STREAM in `HASTE_MS`, beyond which they count as made in haste.
    late_resets: u32,
    /// SETTINGS: each is answered (CVE-2019-9515).
    settings: u32,
    /// PING: each is answered (CVE-2019-9512), one before the next is read, so that none are stored up. Clients of gRPC
    /// send one at every round trip to learn how much fits on the way.
    pings: u32,
    /// WINDOW_UPDATE: a fast reader sends one for every few frames of data.
    updates: u32,
    /// Small WINDOW_UPDATE (CVE-2019-9511): each may have us send a frame as small.
    small_updates: u32,
    /// Small CONTINUATION (CVE-2024-27316), PRIORITY (CVE-2019-9513) and frames of unknown kinds: nobody needs many.
    others: u32,
}

static FROM_CLIENT: Most = Most {
    empty: 100,
    resets: 1_000,
    late_resets: 100,
    settings: 50,
    pings: 10_000,
    updates: 200_000,
    small_updates: 20_000,
    others: 100,
};

/// A backend resets no stream but those that we have opened, and gRPC's servers end many a call so; they also ping at
/// every round trip to learn how much fits on the way.
static FROM_BACKEND: Most = Most {
    empty: 100,
    resets: 20_000,
    late_resets: 0,
    settings: 50,
    pings: 10_000,
    updates: 200_000,
    small_updates: 200_000,
    others: 1_000,
};

/// CONTINUATION frames of one head.
const CONTINUATIONS_MAX: u32 = 20;

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many {0}")]
pub struct Breach(pub &'static str);

/// Counts what the other end sends on one connection, from its first byte on.
#[derive(Debug)]
pub struct Guard {
    tally: Tally,
    /// The frame's header, and behind it by how much a WINDOW_UPDATE adds to a window.
    header: [u8; 13],
    /// Bytes of it that have come.
    filled: usize,
    /// Bytes of the frame's payload that are still to come.
    payload: usize,
    /// The frame under way is part of a head.
    of_head: bool,
    /// A head has begun and its last frame has not.
    unfinished: bool,
    /// A head or data has come since somebody asked.
    spoke: bool,
}

impl Guard {
    /// Of what a backend sends.
    pub fn of_backend() -> Self {
        Guard {
            tally: Tally::new(&FROM_BACKEND),
            header: [0; 13],
            filled: 0,
            payload: 0,
            of_head: false,
            unfinished: false,
            spoke: false,
        }
    }

    /// Follows the next bytes of the connection, which arrived at `now_ms` of any clock.
    ///
    /// # Errors
    /// What there is too much of; the connection is to be ended with ENHANCE_YOUR_CALM.
    pub fn see(&mut self, mut bytes: &[u8], now_ms: u64) -> Result<(), Breach> {
        self.tally.pass(now_ms);
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let taken = (self.header_length() - self.filled).min(bytes.len());
            if self.payload > 0 || taken == 0 {
                continue;
            }
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == self.header_length() {
                self.filled = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    /// How much there is to read before the frame can be counted.
    fn header_length(&self) -> usize {
        let is_update = self.filled >= 9 && self.header[..4] == [0, 0, 4, WINDOW_UPDATE];
        if is_update { 13 } else { 9 }
    }

    /// Whether what has come ends in the middle of a head, or of a frame's own header.
    pub fn is_mid_head(&self) -> bool {
        self.filled > 0 || self.unfinished || (self.of_head && self.payload > 0)
    }

    /// Whether a head or data has begun since this was asked last.
    pub fn take_spoke(&mut self) -> bool {
        std::mem::take(&mut self.spoke)
    }

    /// Counts the frame whose header is complete (RFC 9113 §4.1).
    fn frame(&mut self) -> Result<(), Breach> {
        let [a, b, c, kind, flags, id @ .., w, x, y, z] = self.header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let id = u32::from_be_bytes(id);
        self.payload = length;
        self.of_head = kind == HEADERS || kind == CONTINUATION;
        self.unfinished = self.of_head && flags & END_HEADERS == 0;
        self.spoke |= kind == DATA && (length > 0 || flags & END_STREAM != 0) || kind == HEADERS;
        let increment = (kind == WINDOW_UPDATE && length == 4).then(|| {
            self.payload = 0;
            u32::from_be_bytes([w, x, y, z])
        });
        self.tally.count((kind, flags), id, length, increment)
    }
}

/// Counts frames, a window at a time.
#[derive(Debug)]
pub(super) struct Tally {
    most: &'static Most,
    window_ms: u64,
    /// Frames in this window, by kind.
    counts: [u32; 7],
    ages: Ages,
    continuations: u32,
}

impl Tally {
    /// Of what a client sends.
    pub(super) fn of_client() -> Self {
        Tally::new(&FROM_CLIENT)
    }

    fn new(most: &'static Most) -> Self {
        Tally {
            most,
            window_ms: 0,
            counts: [0; 7],
            ages: Ages::default(),
            continuations: 0,
        }
    }

    /// It is `now_ms` of any clock.
    pub(super) fn pass(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.window_ms) >= WINDOW_MS {
            self.window_ms = now_ms;
            self.counts = [0; 7];
        }
        self.ages.pass(now_ms);
    }

    /// Counts a frame (RFC 9113 §4.1); `increment` is what a WINDOW_UPDATE adds.
    pub(super) fn count(
        &mut self,
        (kind, flags): (u8, u8),
        id: u32,
        length: usize,
        increment: Option<u32>,
    ) -> Result<(), Breach> {
        let (ends_stream, ends_head) = (flags & END_STREAM != 0, flags & END_HEADERS != 0);
        if kind == CONTINUATION {
            self.continuations += 1;
            if self.continuations > CONTINUATIONS_MAX {
                return Err(Breach("CONTINUATION frames in one head"));
            }
        } else {
            self.continuations = 0;
        }
        let most = self.most;
        let (at, most, what) = match kind {
            DATA if length == 0 && !ends_stream => (0, most.empty, "empty DATA frames"),
            DATA | HEADERS => {
                self.ages.open(id);
                return Ok(());
            }
            CONTINUATION if ends_head || length >= SMALL_CONTINUATION => return Ok(()),
            RST_STREAM if self.ages.is_late_reset(id, most.late_resets) => return Ok(()),
            RST_STREAM => (1, most.resets, "RST_STREAM frames"),
            SETTINGS => (2, most.settings, "SETTINGS frames"),
            PING => (3, most.pings, "PING frames"),
            WINDOW_UPDATE if increment.is_some_and(|by| by >= SMALL_UPDATE) => {
                (5, most.updates, "WINDOW_UPDATE frames")
            }
            WINDOW_UPDATE if increment.is_some() => (4, most.small_updates, "small WINDOW_UPDATE frames"),
            _ => (6, most.others, "CONTINUATION, PRIORITY or unknown frames"),
        };
        self.counts[at] += 1;
        if self.counts[at] > most {
            return Err(Breach(what));
        }
        Ok(())
    }
}

/// How old streams are, as far as it matters: whether they were opened `HASTE_MS` ago.
///
/// Identifiers grow (RFC 9113 §5.1.1), so that one of a moment tells apart those that were opened before it.
#[derive(Debug, Default)]
struct Ages {
    /// The last stream that was opened, and when.
    opened: u32,
    opened_ms: u64,
    /// The last that had been when the step began, and when that was.
    mark: u32,
    step_ms: u64,
    /// This and those before it are old.
    old: u32,
    /// Resets of old streams in this step.
    late_resets: u32,
    now_ms: u64,
}

impl Ages {
    fn pass(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if now_ms.saturating_sub(self.opened_ms) >= HASTE_MS {
            self.old = self.opened;
        }
        if now_ms.saturating_sub(self.step_ms) >= HASTE_MS {
            self.old = self.old.max(self.mark);
            self.mark = self.opened;
            self.step_ms = now_ms;
            self.late_resets = 0;
        }
    }

    fn open(&mut self, id: u32) {
        if id > self.opened {
            self.opened = id;
            self.opened_ms = self.now_ms;
        }
    }

    /// Whether a reset of this stream is one of at most so many of old streams.
    fn is_late_reset(&mut self, id: u32, most: u32) -> bool {
        let is_late = id <= self.old && self.late_resets < most;
        self.late_resets += u32::from(is_late);
        is_late
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;

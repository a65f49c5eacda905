//! What the other end may not do too often: frames that cost us more than they cost it, counted as they arrive.
//!
//! The limits tell attacks from clients that work hard. Streams, header lists and buffers are bounded by the protocol's
//! own settings; DATA by the codec, which has a budget for small frames that nobody has read yet.

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
    /// RST_STREAM in haste (CVE-2023-44487): with those a client opens more streams than it may have open.
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
    resets: 500,
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

/// Frame types (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// CONTINUATION frames of one head.
const CONTINUATIONS_MAX: u32 = 20;

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many {0}")]
pub struct Breach(pub &'static str);

/// Counts what the other end sends on one connection, from its first byte on.
#[derive(Debug)]
pub struct Guard {
    most: &'static Most,
    /// Bytes of the preface that have come.
    preface: usize,
    /// The frame's header, and behind it by how much a WINDOW_UPDATE adds to a window.
    header: [u8; 13],
    /// Bytes of it that have come.
    filled: usize,
    /// Bytes of the frame's payload that are still to come.
    payload: usize,
    window_ms: u64,
    /// Frames in this window, by kind.
    counts: [u32; 7],
    ages: Ages,
    continuations: u32,
    /// The frame under way is part of a head.
    of_head: bool,
    /// A head has begun and its last frame has not.
    unfinished: bool,
    /// A head or data has come since somebody asked.
    spoke: bool,
}

impl Guard {
    /// Of what a client sends, which begins with the preface.
    pub fn of_client() -> Self {
        Guard {
            most: &FROM_CLIENT,
            preface: 0,
            header: [0; 13],
            filled: 0,
            payload: 0,
            window_ms: 0,
            counts: [0; 7],
            ages: Ages::default(),
            continuations: 0,
            of_head: false,
            unfinished: false,
            spoke: false,
        }
    }

    /// Of what a backend sends.
    pub fn of_backend() -> Self {
        Guard {
            most: &FROM_BACKEND,
            preface: super::PREFACE.len(),
            ..Guard::of_client()
        }
    }

    /// Follows the next bytes of the connection, which arrived at `now_ms` of any clock.
    ///
    /// # Errors
    /// What there is too much of; the connection is to be ended with ENHANCE_YOUR_CALM.
    pub fn see(&mut self, mut bytes: &[u8], now_ms: u64) -> Result<(), Breach> {
        if now_ms.saturating_sub(self.window_ms) >= WINDOW_MS {
            self.window_ms = now_ms;
            self.counts = [0; 7];
        }
        self.ages.pass(now_ms);
        while !bytes.is_empty() {
            let skipped = (super::PREFACE.len() - self.preface).min(bytes.len());
            self.preface += skipped;
            bytes = &bytes[skipped..];
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
        let (ends_stream, ends_head) = (flags & 1 == 1, flags & 4 == 4);
        self.payload = length;
        self.of_head = kind == HEADERS || kind == CONTINUATION;
        self.unfinished = self.of_head && !ends_head;
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
                self.spoke = true;
                return Ok(());
            }
            CONTINUATION if ends_head || length >= SMALL_CONTINUATION => return Ok(()),
            RST_STREAM if self.ages.is_late_reset(id, most.late_resets) => return Ok(()),
            RST_STREAM => (1, most.resets, "RST_STREAM frames"),
            SETTINGS => (2, most.settings, "SETTINGS frames"),
            PING => (3, most.pings, "PING frames"),
            WINDOW_UPDATE if length == 4 => {
                self.payload = 0;
                match u32::from_be_bytes([w, x, y, z]) {
                    ..SMALL_UPDATE => (4, most.small_updates, "small WINDOW_UPDATE frames"),
                    _ => (5, most.updates, "WINDOW_UPDATE frames"),
                }
            }
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
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    fn greeted() -> Guard {
        let mut guard = Guard::of_client();
        guard.see(super::super::PREFACE, 0).unwrap();
        guard
    }

    #[test]
    fn each_kind_has_its_limit_a_window() {
        for (kind, payload, most) in [
            (0, &[][..], 100),
            (3, &[0; 4], 500),
            (4, &[], 50),
            (6, &[0; 8], 10_000),
            (8, &[0, 0, 15, 255], 20_000),
            (8, &[0, 0, 16, 0], 200_000),
            (2, &[0; 5], 100),
            (200, &[], 100),
        ] {
            let mut guard = greeted();
            for now in [0, WINDOW_MS] {
                for _ in 0..most {
                    assert_eq!(guard.see(&frame(kind, 0, payload), now), Ok(()), "{kind}");
                }
            }
            assert!(guard.see(&frame(kind, 0, payload), WINDOW_MS).is_err(), "{kind}");
        }
    }

    #[test]
    fn data_and_heads_are_free_and_a_heads_continuations_are_few() {
        let mut guard = greeted();
        for _ in 0..10_000 {
            guard.see(&frame(0, 0, b"x"), 0).unwrap();
            guard.see(&frame(0, 1, b""), 0).unwrap();
            guard.see(&frame(1, 4, b"head"), 0).unwrap();
        }
        for _ in 0..CONTINUATIONS_MAX {
            guard.see(&frame(9, 0, b"more"), 0).unwrap();
        }
        assert!(guard.see(&frame(9, 0, b"more"), 0).is_err());
    }

    fn of_stream(kind: u8, payload: &[u8], id: u32) -> Vec<u8> {
        let mut bytes = frame(kind, 5, payload);
        bytes[5..9].copy_from_slice(&id.to_be_bytes());
        bytes
    }

    /// Opens streams at this rate, each of which is reset after so many milliseconds; how many went well.
    fn resets(a_millisecond: u32, after_ms: u64, span_ms: u64) -> Result<u32, Breach> {
        let mut guard = greeted();
        let mut reset = 0;
        for now in 0..span_ms {
            let ids = |ms: u64| {
                let first = u32::try_from(ms).unwrap() * a_millisecond;
                (first..first + a_millisecond).map(|number| number * 2 + 1)
            };
            for id in ids(now) {
                guard.see(&of_stream(HEADERS, b"head", id), now)?;
            }
            for id in now.checked_sub(after_ms).into_iter().flat_map(ids) {
                guard.see(&of_stream(RST_STREAM, &[0; 4], id), now)?;
                reset += 1;
            }
        }
        Ok(reset)
    }

    #[test]
    fn resets_of_streams_that_have_lived_are_no_attack() {
        assert_eq!(resets(1, 20, 60_000), Ok(59_980));
        assert_eq!(resets(5, 20, 10_000), Ok(49_900));
        for (a_millisecond, after_ms) in [(1, 0), (1, 9), (20, 20)] {
            let breach = resets(a_millisecond, after_ms, 10_000);
            assert_eq!(breach, Err(Breach("RST_STREAM frames")), "{a_millisecond} {after_ms}");
        }
        // After a silence all that were opened before it have lived.
        let mut guard = greeted();
        for id in 1..=100 {
            guard.see(&of_stream(HEADERS, b"head", id * 2 - 1), 5).unwrap();
        }
        for id in 1..=100 {
            guard
                .see(&of_stream(RST_STREAM, &[0; 4], id * 2 - 1), 5 + HASTE_MS)
                .unwrap();
        }
        assert_eq!(guard.counts[1], 0);
        // One that was reset already is no stream that has lived, over and over.
        let again = (0..601).find_map(|_| guard.see(&of_stream(RST_STREAM, &[0; 4], 1), 5 + HASTE_MS).err());
        assert_eq!(again, Some(Breach("RST_STREAM frames")));
    }

    #[test]
    fn heads_of_many_kilobytes_are_no_attack() {
        let mut guard = greeted();
        for _ in 0..10_000 {
            guard.see(&frame(HEADERS, 0, &[0; 16384]), 0).unwrap();
            guard.see(&frame(CONTINUATION, 0, &[0; 16384]), 0).unwrap();
            guard.see(&frame(CONTINUATION, 4, b"x"), 0).unwrap();
        }
    }

    #[test]
    fn a_head_under_way_is_known() {
        let mut guard = greeted();
        let (first, last) = (frame(1, 0, b"head"), frame(9, 4, b"more"));
        guard.see(&frame(0, 0, b"data")[..10], 0).unwrap();
        assert!(!guard.is_mid_head());
        guard.see(b"ata", 0).unwrap();
        for (bytes, mid) in [
            (&first[..5], true),
            (&first[5..], true),
            (&last[..11], true),
            (&last[11..], false),
        ] {
            guard.see(bytes, 0).unwrap();
            assert_eq!(guard.is_mid_head(), mid);
        }
    }

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let mut bytes = super::super::PREFACE.to_vec();
        for _ in 0..501 {
            bytes.extend(frame(0, 0, &[3; 300]));
            bytes.extend(frame(8, 0, &[1; 4]));
            bytes.extend(frame(3, 0, &[0; 4]));
        }
        for piece in [1, 2, 7, 8, 9, 10, 33, 4096] {
            let mut guard = Guard::of_client();
            let breach = bytes.chunks(piece).find_map(|piece| guard.see(piece, 5).err());
            assert_eq!(breach, Some(Breach("RST_STREAM frames")), "{piece}");
        }
    }
}

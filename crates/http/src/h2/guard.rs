//! What the other end may not do too often: frames that cost us more than they cost it, counted as they arrive.
//!
//! The limits are of the order of Sōzu's. Streams, header lists and buffers are bounded by the protocol's own settings.

/// Length of a window in milliseconds.
const WINDOW_MS: u64 = 1_000;

/// Streams that a client may reset in the connection's life (CVE-2023-44487).
const RESETS_LIFE_MAX: u32 = 10_000;

/// How many frames of each kind there may be in a window.
#[derive(Debug)]
struct Most {
    /// DATA without data, that ends nothing (CVE-2019-9518).
    empty: u32,
    /// RST_STREAM: rapid reset, and all of them in the connection's life.
    resets: u32,
    resets_in_life: u32,
    /// SETTINGS: each is answered (CVE-2019-9515).
    settings: u32,
    /// PING: each is answered (CVE-2019-9512).
    pings: u32,
    /// WINDOW_UPDATE: a fast reader sends one for every few frames of data.
    updates: u32,
    /// CONTINUATION (CVE-2024-27316), PRIORITY (CVE-2019-9513) and frames of unknown kinds: nobody needs many.
    others: u32,
}

static FROM_CLIENT: Most = Most {
    empty: 100,
    resets: 100,
    resets_in_life: RESETS_LIFE_MAX,
    settings: 50,
    pings: 100,
    updates: 20_000,
    others: 100,
};

/// A backend resets no stream but those that we have opened, and gRPC's servers end many a call so; they also ping at
/// every round trip to learn how much fits on the way.
static FROM_BACKEND: Most = Most {
    empty: 100,
    resets: 20_000,
    resets_in_life: u32::MAX,
    settings: 50,
    pings: 10_000,
    updates: 200_000,
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
    most: &'static Most,
    /// Bytes of the preface that have come.
    preface: usize,
    header: [u8; 9],
    /// Bytes of the frame's header that have come.
    filled: usize,
    /// Bytes of the frame's payload that are still to come.
    payload: usize,
    window_ms: u64,
    /// Frames in this window, by kind.
    counts: [u32; 6],
    /// RST_STREAM frames in the connection's life.
    resets: u32,
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
            header: [0; 9],
            filled: 0,
            payload: 0,
            window_ms: 0,
            counts: [0; 6],
            resets: 0,
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
            self.counts = [0; 6];
        }
        while !bytes.is_empty() {
            let skipped = (super::PREFACE.len() - self.preface).min(bytes.len());
            self.preface += skipped;
            bytes = &bytes[skipped..];
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let taken = (self.header.len() - self.filled).min(bytes.len());
            if self.payload > 0 || taken == 0 {
                continue;
            }
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == self.header.len() {
                self.filled = 0;
                self.frame()?;
            }
        }
        Ok(())
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
        let [a, b, c, kind, flags, ..] = self.header;
        self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let end_stream = flags & 1 == 1;
        self.of_head = kind == 1 || kind == 9;
        self.unfinished = self.of_head && flags & 4 == 0;
        if kind == 9 {
            self.continuations += 1;
            if self.continuations > CONTINUATIONS_MAX {
                return Err(Breach("CONTINUATION frames in one head"));
            }
        } else {
            self.continuations = 0;
        }
        let (at, most, what) = match kind {
            0 if self.payload == 0 && !end_stream => (0, self.most.empty, "empty DATA frames"),
            0 | 1 => {
                self.spoke = true;
                return Ok(());
            }
            3 => (1, self.most.resets, "RST_STREAM frames"),
            4 => (2, self.most.settings, "SETTINGS frames"),
            6 => (3, self.most.pings, "PING frames"),
            8 => (4, self.most.updates, "WINDOW_UPDATE frames"),
            _ => (5, self.most.others, "CONTINUATION, PRIORITY or unknown frames"),
        };
        self.counts[at] += 1;
        self.resets = self.resets.saturating_add(u32::from(kind == 3));
        if self.counts[at] > most || self.resets > self.most.resets_in_life {
            return Err(Breach(what));
        }
        Ok(())
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
            (3, &[0; 4], 100),
            (4, &[], 50),
            (6, &[0; 8], 100),
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
        for _ in 0..101 {
            bytes.extend(frame(0, 0, &[3; 300]));
            bytes.extend(frame(3, 0, &[0; 4]));
        }
        for piece in [1, 2, 7, 8, 9, 10, 33, 4096] {
            let mut guard = Guard::of_client();
            let breach = bytes.chunks(piece).find_map(|piece| guard.see(piece, 5).err());
            assert_eq!(breach, Some(Breach("RST_STREAM frames")), "{piece}");
        }
    }
}

//! What a client may not do too often: what costs us more than it costs the client.
//!
//! Streams, windows and handshakes are bounded by QUIC itself, field sections and settings by their length. What is left
//! is counted here, a second at a time.

use super::Code;

/// Length of a window in milliseconds.
const WINDOW_MS: u64 = 1_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests that were given up in haste: with those a client opens more streams than it may have open
    /// (CVE-2023-44487, which is HTTP/3's as well).
    Reset,
    /// Frames on a request's stream that carry nothing: of unknown kinds, and data without any (CVE-2019-9518).
    Idle,
    /// Frames of the control stream, and instructions of QPACK: browsers send some with every request.
    Control,
    /// Streams of unknown kinds.
    Stream,
}

/// How many there may be in a window, by kind. The numbers are those of HTTP/2's guard where it counts the same.
const MOST: [u32; 4] = [1_000, 200, 2_000, 100];

/// A request that is given up before it is this old was given up in haste. Others are bounded by how many may be open: a
/// hundred at a time, each for a tenth of a second, are a thousand a second.
pub const HASTE_MS: u64 = 100;

/// Counts what a client does on one connection.
#[derive(Debug, Default)]
pub struct Guard {
    window_ms: u64,
    counts: [u32; 4],
}

impl Guard {
    /// It is `now_ms` of any clock.
    pub fn pass(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.window_ms) >= WINDOW_MS {
            self.window_ms = now_ms;
            self.counts = [0; 4];
        }
    }

    /// Counts one more.
    ///
    /// # Errors
    /// There are too many: the connection ends with this.
    pub fn count(&mut self, kind: Kind) -> Result<(), Code> {
        let count = &mut self.counts[kind as usize];
        *count += 1;
        if *count > MOST[kind as usize] {
            return Err(Code::EXCESSIVE_LOAD);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_in_a_second_are_too_many() {
        for kind in [Kind::Reset, Kind::Idle, Kind::Control, Kind::Stream] {
            let mut guard = Guard::default();
            for window in 1..4 {
                guard.pass(window * WINDOW_MS);
                for _ in 0..MOST[kind as usize] {
                    assert_eq!(guard.count(kind), Ok(()));
                }
                guard.pass(window * WINDOW_MS + WINDOW_MS - 1);
                assert_eq!(guard.count(kind), Err(Code::EXCESSIVE_LOAD));
            }
        }
    }
}

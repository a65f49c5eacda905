//! What we send on a connection of HTTP/2, followed for the answers that the codec gives by itself: to a head that is far
//! too large it says 431, and tells nobody here.

use std::collections::VecDeque;

/// Frame types and a flag (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// A head of the codec's own has a status and no field, which takes up to 6 bytes, and 3 more where the table has just
/// changed its size (RFC 7541 §6). Ours have a date.
const BARE_MAX: usize = 9;

/// Answers under way that are remembered, more than there may be: a client that has reset some leaves them here.
const UNDER_WAY_MAX: usize = 256;

/// Follows the frames of one connection, from the first byte on.
#[derive(Debug, Default)]
pub struct Sent {
    header: [u8; 9],
    /// Bytes of it that were sent.
    filled: usize,
    /// Bytes of the frame's payload that are still to be sent.
    payload: usize,
    /// Streams whose answer has begun and not ended: trailers are told from heads by that.
    under_way: VecDeque<u32>,
}

impl Sent {
    /// Follows the next bytes; how many heads the codec has refused by itself in them.
    pub fn see(&mut self, mut bytes: &[u8]) -> u32 {
        let mut refused = 0;
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let taken = (self.header.len() - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == self.header.len() {
                self.filled = 0;
                refused += u32::from(self.is_refusal());
            }
        }
        refused
    }

    /// Whether this frame is a whole answer with a bare head.
    fn is_refusal(&mut self) -> bool {
        let [a, b, c, kind, flags, id @ ..] = self.header;
        self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let id = u32::from_be_bytes(id);
        let ends = flags & END_STREAM != 0;
        match kind {
            HEADERS if ends => !self.ended(id) && self.payload <= BARE_MAX,
            HEADERS => {
                // What is interim begins the same answer more than once.
                if !self.under_way.contains(&id) {
                    if self.under_way.len() == UNDER_WAY_MAX {
                        self.under_way.pop_front();
                    }
                    self.under_way.push_back(id);
                }
                false
            }
            RST_STREAM | DATA => {
                if ends || kind == RST_STREAM {
                    self.ended(id);
                }
                false
            }
            _ => false,
        }
    }

    /// The answer on this stream ends; whether it had begun before.
    fn ended(&mut self, id: u32) -> bool {
        let at = self.under_way.iter().rposition(|begun| *begun == id);
        at.and_then(|at| self.under_way.swap_remove_back(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_head_is_seen_in_whatever_pieces_it_is_sent() {
        let mut bytes = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec();
        // An answer with trailers, in the middle of it 431 twice, and an answer without a body.
        bytes.extend(b"\x00\x00\x03\x01\x04\x00\x00\x00\x03\x88ab");
        bytes.extend(b"\x00\x00\x05\x01\x05\x00\x00\x00\x01\x48\x03431");
        bytes.extend(b"\x00\x00\x03\x00\x00\x00\x00\x00\x03\x00\x00\x05");
        bytes.extend(b"\x00\x00\x01\x01\x05\x00\x00\x00\x03\xbf");
        bytes.extend(b"\x00\x00\x01\x01\x05\x00\x00\x00\x07\xbe");
        bytes.extend(b"\x00\x00\x0a\x01\x05\x00\x00\x00\x05\x88123456789");
        for size in 1..bytes.len() {
            let mut sent = Sent::default();
            let refused: u32 = bytes.chunks(size).map(|piece| sent.see(piece)).sum();
            assert_eq!((refused, sent.under_way.len()), (2, 0), "{size}");
        }
    }

    #[test]
    fn what_clients_give_up_is_not_remembered_for_ever() {
        let mut sent = Sent::default();
        for id in 0..10_000_u32 {
            let mut frame = b"\x00\x00\x00\x01\x04".to_vec();
            frame.extend(id.to_be_bytes());
            assert_eq!(sent.see(&frame), 0);
        }
        assert_eq!(sent.under_way.len(), UNDER_WAY_MAX);
    }
}

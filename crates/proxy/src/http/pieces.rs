//! Small pieces of answers, cut from blocks that many share: QUIC wants to own what it sends, and an allocation for each
//! piece costs more than its bytes.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// Size of a block. One stays for as long as a piece of it does, so that a client that is slow to take its answer holds
/// as much as one of HTTP/1.1.
const BLOCK: usize = 16 << 10;

/// A longer piece has an allocation to itself.
const SHARED_MAX: usize = 2 << 10;

/// The block that a worker cuts from.
pub(crate) struct Pieces(RefCell<BytesMut>);

impl Default for Pieces {
    fn default() -> Self {
        Pieces(RefCell::new(BytesMut::with_capacity(BLOCK)))
    }
}

impl Pieces {
    /// A copy of `first` with `second` behind it.
    pub(crate) fn copy(&self, first: &[u8], second: &[u8]) -> Bytes {
        let length = first.len() + second.len();
        if length > SHARED_MAX {
            let mut whole = Vec::with_capacity(length);
            whole.extend_from_slice(first);
            whole.extend_from_slice(second);
            return whole.into();
        }
        let mut block = self.0.borrow_mut();
        block.extend_from_slice(first);
        block.extend_from_slice(second);
        block.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_was_copied_however_long_they_stay() {
        let pieces = Pieces::default();
        let kept: Vec<Bytes> = (0..=u8::MAX)
            .map(|byte| pieces.copy(&[byte; 100], &vec![byte; usize::from(byte) * 10]))
            .collect();
        for (byte, piece) in (0..=u8::MAX).zip(kept) {
            assert_eq!(piece, vec![byte; 100 + usize::from(byte) * 10]);
        }
    }

    #[test]
    fn a_block_serves_again_once_nobody_has_a_piece_of_it() {
        let pieces = Pieces::default();
        let first = pieces.copy(b"first", b"").as_ptr();
        for _ in 0..BLOCK / 4 {
            pieces.copy(b"and", b" another");
        }
        let block = pieces.0.borrow();
        let start = block.as_ptr() as usize - first as usize;
        assert!(start < BLOCK, "it moved to another block");
    }
}

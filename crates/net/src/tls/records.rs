//! Bytes as they are on the wire, in a block that is held only while there are any.

use crate::buffer::{Blocks, SEALED};

/// A queue of bytes in a block.
#[derive(Default)]
pub(super) struct Records {
    block: Vec<u8>,
    start: usize,
    end: usize,
}

impl Records {
    pub(super) fn unread(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    pub(super) fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.block[self.start..self.end]
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room for `least` bytes at the least behind what there is: what there is moves to the front, and if that is not
    /// enough, to a larger block.
    pub(super) fn room(&mut self, least: usize, blocks: &Blocks) -> &mut [u8] {
        if self.block.is_empty() {
            self.block = blocks.take_sealed();
        }
        if self.block.len() - self.end < least && self.start > 0 {
            self.block.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.block.len() - self.end < least {
            let size = (self.end + least).next_multiple_of(SEALED);
            let small = std::mem::replace(&mut self.block, vec![0; size]);
            self.block[..self.end].copy_from_slice(&small[..self.end]);
            blocks.give_sealed(small);
        }
        &mut self.block[self.end..]
    }

    /// Counts the first `count` bytes of the room as there.
    pub(super) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.block.len());
    }

    /// Gives the block back if nothing stands in it.
    pub(super) fn release(&mut self, blocks: &Blocks) {
        if self.is_empty() && !self.block.is_empty() {
            blocks.give_sealed(std::mem::take(&mut self.block));
        }
    }

    /// What the record at the front takes up, header and all, once its header is there (RFC 8446 §5.1).
    pub(super) fn next_record(&self) -> Option<usize> {
        let header = self.unread().first_chunk::<5>()?;
        Some(5 + usize::from(u16::from_be_bytes([header[3], header[4]])))
    }

    /// Whether a whole record is there.
    pub(super) fn holds_record(&self) -> bool {
        self.next_record().is_some_and(|size| size <= self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_by_moving_and_then_by_growing() {
        let blocks = Blocks::default();
        let mut records = Records::default();
        assert_eq!(records.room(1, &blocks).len(), SEALED);
        records.room(1, &blocks)[..4].copy_from_slice(&[22, 3, 1, 0]);
        records.filled(SEALED);
        records.consume(SEALED - 3);
        assert_eq!(records.room(SEALED - 3, &blocks).len(), SEALED - 3);
        assert_eq!(records.len(), 3);
        assert!(records.room(SEALED, &blocks).len() >= SEALED);
        assert_eq!(records.unread(), [0, 0, 0]);
        records.release(&blocks);
        assert_eq!(records.len(), 3, "what is there stays");
        records.consume(3);
        records.release(&blocks);
        assert!(records.block.is_empty());
    }

    #[test]
    fn a_record_is_whole_with_its_last_byte() {
        let blocks = Blocks::default();
        let mut records = Records::default();
        for (at, byte) in [23, 3, 3, 0, 2, 7].into_iter().enumerate() {
            assert!(!records.holds_record(), "{at}");
            records.room(1, &blocks)[0] = byte;
            records.filled(1);
        }
        assert_eq!(records.next_record(), Some(7));
        records.room(1, &blocks)[0] = 8;
        records.filled(1);
        assert!(records.holds_record());
    }
}

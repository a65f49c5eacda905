//! Buffers that are taken when bytes are pending and given back when a connection goes idle.

use std::cell::RefCell;
use std::rc::Rc;

/// Size of a fresh buffer, in bytes.
pub const BLOCK: usize = 16 << 10;

/// Size to which the buffer of a long body grows, in bytes. Larger ones gained nothing in measurements.
pub const GROWN_MAX: usize = 256 << 10;

/// Size of a block for bytes as TLS has them on the wire: one record of the largest size (RFC 8446 §5.2: 2^14 + 256
/// bytes behind a header of 5; RFC 5246 §6.2.3 allows 2^14 + 2048 with ciphers that nobody speaks any more).
pub(crate) const SEALED: usize = 17 << 10;

/// Blocks of each size that a worker keeps for the next connection that needs one.
const KEPT_MAX: usize = 256;
const GROWN_KEPT_MAX: usize = 16;

/// Room of a fresh scratch vector, in bytes: most heads fit.
const SCRATCH: usize = 1 << 10;

/// A worker's store of blocks that nobody uses now.
#[derive(Default)]
pub struct Blocks {
    plain: RefCell<Vec<Vec<u8>>>,
    grown: RefCell<Vec<Vec<u8>>>,
    sealed: RefCell<Vec<Vec<u8>>>,
    scratch: RefCell<Vec<Vec<u8>>>,
}

impl Blocks {
    /// An empty buffer, which takes a block of [`BLOCK`] bytes once there is something to read.
    pub fn buffer(self: &Rc<Self>) -> Buffer {
        Buffer {
            blocks: self.clone(),
            block: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    fn take(&self) -> Vec<u8> {
        self.plain.borrow_mut().pop().unwrap_or_else(|| vec![0; BLOCK])
    }

    /// An empty vector that has been one before, so that it has room; give it back with
    /// [`give_scratch`](Self::give_scratch).
    pub fn take_scratch(&self) -> Vec<u8> {
        self.scratch
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(SCRATCH))
    }

    /// Keeps a vector for the next who needs one, unless it has grown large.
    pub fn give_scratch(&self, mut vector: Vec<u8>) {
        let mut scratch = self.scratch.borrow_mut();
        if (SCRATCH..=BLOCK).contains(&vector.capacity()) && scratch.len() < KEPT_MAX {
            vector.clear();
            scratch.push(vector);
        }
    }

    /// A block of [`SEALED`] bytes; give it back with [`give_sealed`](Self::give_sealed).
    pub(crate) fn take_sealed(&self) -> Vec<u8> {
        self.sealed.borrow_mut().pop().unwrap_or_else(|| vec![0; SEALED])
    }

    /// Keeps a block for the next connection, unless it has grown.
    pub(crate) fn give_sealed(&self, block: Vec<u8>) {
        let mut sealed = self.sealed.borrow_mut();
        if block.len() == SEALED && sealed.len() < KEPT_MAX {
            sealed.push(block);
        }
    }

    /// Whether there was a block to take away.
    #[cfg(test)]
    pub(crate) fn gives_sealed_back(&self) -> bool {
        self.sealed.borrow_mut().pop().is_some()
    }

    fn take_grown(&self, size: usize) -> Vec<u8> {
        if size == GROWN_MAX
            && let Some(block) = self.grown.borrow_mut().pop()
        {
            return block;
        }
        vec![0; size]
    }

    fn give(&self, block: Vec<u8>) {
        let (store, most) = match block.len() {
            BLOCK => (&self.plain, KEPT_MAX),
            GROWN_MAX => (&self.grown, GROWN_KEPT_MAX),
            _ => return,
        };
        let mut store = store.borrow_mut();
        if store.len() < most {
            store.push(block);
        }
    }
}

/// Bytes that came in and were not used yet, with room for more behind them.
pub struct Buffer {
    blocks: Rc<Blocks>,
    block: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The bytes that were not used yet.
    pub fn unread(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Counts the first `count` unread bytes as used.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len());
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Whether it holds a block.
    pub fn holds_block(&self) -> bool {
        !self.block.is_empty()
    }

    /// Whether its block is larger than [`BLOCK`].
    pub fn is_grown(&self) -> bool {
        self.block.len() > BLOCK
    }

    /// Gives the block back if nothing stands in it: whoever waits needs none.
    pub fn release(&mut self) {
        if self.is_empty() && self.holds_block() {
            self.blocks.give(std::mem::take(&mut self.block));
        }
    }

    /// The room behind the unread bytes, after these were moved to the front if there was none.
    pub fn room(&mut self) -> &mut [u8] {
        if !self.holds_block() {
            self.block = self.blocks.take();
        }
        if self.end == self.block.len() && self.start > 0 {
            self.block.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.block[self.end..]
    }

    /// Counts the first `count` bytes of the room as unread bytes.
    pub fn filled(&mut self, count: usize) {
        debug_assert!(self.end + count <= self.block.len());
        self.end = (self.end + count).min(self.block.len());
    }

    /// Moves what fits of another's unread bytes behind its own; how much.
    pub fn take_from(&mut self, other: &mut Buffer) -> usize {
        let room = self.room();
        let count = room.len().min(other.len());
        room[..count].copy_from_slice(&other.unread()[..count]);
        self.filled(count);
        other.consume(count);
        count
    }

    /// Whether there is no room, even after moving.
    pub fn is_full(&self) -> bool {
        self.holds_block() && self.len() == self.block.len()
    }

    /// The size of the block.
    pub fn capacity(&self) -> usize {
        self.block.len()
    }

    /// Makes the block four times as large, up to `most` bytes; false when it is that large already.
    pub fn grow(&mut self, most: usize) -> bool {
        let size = (self.block.len() * 4).min(most);
        if size <= self.block.len() {
            return false;
        }
        let mut block = self.blocks.take_grown(size);
        let len = self.len();
        block[..len].copy_from_slice(self.unread());
        self.blocks.give(std::mem::replace(&mut self.block, block));
        self.start = 0;
        self.end = len;
        true
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.blocks.give(std::mem::take(&mut self.block));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_bytes_survive_moving_and_growing() {
        let blocks = Rc::new(Blocks::default());
        let mut buffer = blocks.buffer();
        let size = buffer.room().len();
        buffer.room().fill(7);
        buffer.filled(size);
        assert!(buffer.is_full() && buffer.room().is_empty());
        buffer.consume(size - 3);
        assert_eq!(buffer.room().len(), size - 3);
        assert_eq!(buffer.unread(), [7, 7, 7]);
        assert!(buffer.grow(GROWN_MAX));
        assert_eq!(buffer.unread(), [7, 7, 7]);
        while buffer.grow(GROWN_MAX) {}
        assert_eq!(buffer.capacity(), GROWN_MAX);
    }

    #[test]
    fn a_block_is_held_only_while_something_stands_in_it() {
        let blocks = Rc::new(Blocks::default());
        let mut buffer = blocks.buffer();
        assert!(!buffer.holds_block() && !buffer.is_full());
        buffer.room()[0] = 1;
        buffer.filled(1);
        buffer.release();
        assert!(buffer.holds_block());
        buffer.consume(1);
        buffer.release();
        assert!(!buffer.holds_block());
        assert_eq!(blocks.plain.borrow().len(), 1);
        buffer.room();
        assert_eq!(blocks.plain.borrow().len(), 0, "blocks are used again");
    }
}

//! What goes: heads, bodies, one stream after the other.

use super::connection::{Connection, OUT_MAX, Parting};
use super::frame::{DATA, END_STREAM, FRAME_MAX, write_frame_head, write_section};

/// The most bytes that a stream sends in its turn: two frames.
const PIECE_MAX: usize = 2 * FRAME_MAX;

impl Connection {
    /// Sends a head, or trailers; whether the answer `ends` with it.
    pub fn send_section(&mut self, seat: usize, section: &[u8], ends: bool) {
        if self.is_gone(seat) || !self.streams[seat].sends {
            return;
        }
        let flags = if ends { END_STREAM } else { 0 };
        if std::mem::take(&mut self.table_shrinks) {
            // RFC 7541 §4.2: to nothing, once and for all, since we have none.
            let section = [&[0b0010_0000], section].concat();
            write_section(&mut self.out, &section, flags, self.ids[seat]);
        } else {
            write_section(&mut self.out, section, flags, self.ids[seat]);
        }
        if ends {
            self.answer_ends(seat);
        }
    }

    /// Sends some of `first`, and of `second` behind it; how much. `None` when it cannot be now: the seat is touched when
    /// it may. If the answer `ends` with them, that is told with the last of them.
    pub fn send_data(&mut self, seat: usize, first: &[u8], second: &[u8], ends: bool) -> Option<usize> {
        let window = self.streams[seat].send_window;
        if window <= 0 {
            self.leave_line(seat);
            return None;
        }
        let has_turn = self.waiting.front().is_none_or(|next| *next == seat);
        if !has_turn || self.send_window <= 0 || self.pending().len() >= OUT_MAX {
            if !std::mem::replace(&mut self.streams[seat].waits, true) {
                self.waiting.push_back(seat);
            }
            return None;
        }
        let total = first.len() + second.len();
        let most = usize::try_from(window.min(self.send_window)).unwrap_or(usize::MAX);
        let count = total.min(PIECE_MAX).min(most);
        let last = ends && count == total;
        let id = self.ids[seat];
        let mut sent = 0;
        self.out.reserve(count + 2 * super::frame::HEADER);
        loop {
            let length = (count - sent).min(FRAME_MAX);
            let flags = if last && sent + length == count { END_STREAM } else { 0 };
            write_frame_head(&mut self.out, length, (DATA, flags), id);
            let of_first = first.get(sent..).unwrap_or_default();
            let of_first = &of_first[..of_first.len().min(length)];
            let behind = (sent + of_first.len()).saturating_sub(first.len());
            self.out.extend_from_slice(of_first);
            self.out
                .extend_from_slice(&second[behind..behind + length - of_first.len()]);
            sent += length;
            if sent == count {
                break;
            }
        }
        self.send_window -= count as i64;
        self.streams[seat].send_window -= count as i64;
        if last {
            self.answer_ends(seat);
        }
        self.leave_line(seat);
        Some(count)
    }

    /// Ends an answer, when it has not ended.
    pub fn send_end(&mut self, seat: usize) {
        if !self.is_gone(seat) && self.streams[seat].sends {
            write_frame_head(&mut self.out, 0, (DATA, END_STREAM), self.ids[seat]);
            self.answer_ends(seat);
        }
    }

    fn answer_ends(&mut self, seat: usize) {
        self.streams[seat].sends = false;
        self.settle(seat);
    }

    /// The stream does not wait for its turn any more: the next may have it.
    pub(super) fn leave_line(&mut self, seat: usize) {
        if std::mem::take(&mut self.streams[seat].waits) {
            self.waiting.retain(|other| *other != seat);
            self.call_next();
        }
    }

    /// Tells whoever is next in line that it may send, when it may.
    pub(super) fn call_next(&mut self) {
        if self.send_window > 0
            && self.parting != Parting::Over
            && self.pending().len() < OUT_MAX
            && let Some(next) = self.waiting.front()
        {
            self.touch(*next);
        }
    }
}

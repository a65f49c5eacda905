//! Field sections (RFC 7541): what clients send is read with the table that they fill, what we send needs none, as with
//! HAProxy: the bytes that a table would save cost more to find than to send.

use std::collections::VecDeque;

use super::static_table::{KINDS, TABLE, index_of, index_of_status};
use crate::head_text::{Field, Kind, is_sound};
use crate::huffman;
use crate::prefixed::{Unreadable, read_integer, read_string, write_integer, write_string};

/// The size that a client's table may have (RFC 7541 §4.1), which is that of RFC 9113 §6.5.2 and not told therefore.
pub(super) const TABLE_MAX: usize = 4096;

/// What an entry counts beside its bytes (RFC 7541 §4.1).
const ENTRY: usize = 32;

/// Reads sections.
#[derive(Debug)]
pub(super) struct Decoder {
    entries: Table,
    /// The strings that were coded, of the field under way.
    room: Vec<u8>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Decoder {
            entries: Table {
                most: TABLE_MAX,
                ..Table::default()
            },
            room: Vec::new(),
        }
    }

    /// Gives back what a large section has needed.
    pub(super) fn shrink(&mut self, most: usize) {
        self.room.clear();
        self.room.shrink_to(most);
    }

    /// Reads a section to its end, whatever `see` thinks of a field, since the table has to stay that of the client.
    pub(super) fn read(&mut self, mut section: &[u8], mut see: impl FnMut(Field<'_>)) -> Result<(), Unreadable> {
        // RFC 7541 §4.2: a table changes its size before any field.
        while section.first().is_some_and(|first| first >> 5 == 0b001) {
            let size = usize::try_from(read_integer(&mut section, 5)?).map_err(|_| Unreadable)?;
            if size > TABLE_MAX {
                return Err(Unreadable);
            }
            self.entries.resize(size);
        }
        while let Some(first) = section.first().copied() {
            match first {
                0b1000_0000.. => {
                    let index = read_integer(&mut section, 7)?;
                    see(self.entries.field(index)?);
                }
                0b0100_0000.. => self.literal(&mut section, 6, true, &mut see)?,
                0b0010_0000.. => return Err(Unreadable),
                _ => self.literal(&mut section, 4, false, &mut see)?,
            }
        }
        Ok(())
    }

    /// A field whose value, or name and value, are given (RFC 7541 §6.2).
    fn literal(
        &mut self,
        section: &mut &[u8],
        bits: u32,
        keep: bool,
        see: &mut impl FnMut(Field<'_>),
    ) -> Result<(), Unreadable> {
        let index = read_integer(section, bits)?;
        self.room.clear();
        let named = if index == 0 {
            let (raw, coded) = read_string(section, 7)?;
            decode(raw, coded, &mut self.room)?;
            (!coded).then_some(raw)
        } else {
            None
        };
        let split = self.room.len();
        let (raw, coded) = read_string(section, 7)?;
        decode(raw, coded, &mut self.room)?;
        let value = if coded { &self.room[split..] } else { raw };
        let (name, kind) = if index == 0 {
            let name = named.unwrap_or(&self.room[..split]);
            (name, Kind::of(name))
        } else {
            let field = self.entries.field(index)?;
            (field.name, field.kind)
        };
        let field = Field {
            name,
            value,
            kind,
            sound: is_sound(value),
        };
        see(field);
        if keep {
            // The name may be an entry's, which may go when this one comes.
            let Field { name, kind, sound, .. } = field;
            let name: Box<[u8]> = name.into();
            let value = if coded { &self.room[split..] } else { raw };
            self.entries.insert(Field {
                name: &name,
                value,
                kind,
                sound,
            });
        }
        Ok(())
    }
}

fn decode(raw: &[u8], coded: bool, room: &mut Vec<u8>) -> Result<(), Unreadable> {
    if !coded || huffman::decode(raw, room) {
        Ok(())
    } else {
        Err(Unreadable)
    }
}

/// The dynamic table (RFC 7541 §2.3.2).
#[derive(Debug, Default)]
struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    /// Their bytes, the oldest first, from `entries.back().start` on.
    bytes: Vec<u8>,
    size: usize,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    name: usize,
    value: usize,
    kind: Kind,
    sound: bool,
}

impl Table {
    #[inline]
    fn field(&self, index: u64) -> Result<Field<'_>, Unreadable> {
        let at = usize::try_from(index).map_err(|_| Unreadable)?;
        let at = at.checked_sub(1).ok_or(Unreadable)?;
        if let Some((name, value)) = TABLE.get(at) {
            return Ok(Field {
                name: name.as_bytes(),
                value: value.as_bytes(),
                kind: KINDS[at],
                sound: true,
            });
        }
        let entry = self.entries.get(at - TABLE.len()).ok_or(Unreadable)?;
        let value = entry.start + entry.name;
        Ok(Field {
            name: &self.bytes[entry.start..value],
            value: &self.bytes[value..value + entry.value],
            kind: entry.kind,
            sound: entry.sound,
        })
    }

    fn insert(&mut self, field: Field<'_>) {
        let length = field.name.len() + field.value.len();
        // RFC 7541 §4.4: one that is larger than the table empties it.
        self.evict(self.most.saturating_sub(length + ENTRY));
        if length + ENTRY > self.most {
            return;
        }
        if self.bytes.len() + length > 2 * TABLE_MAX {
            let first = self.entries.back().map_or(self.bytes.len(), |entry| entry.start);
            self.bytes.drain(..first);
            self.entries.iter_mut().for_each(|entry| entry.start -= first);
        }
        self.entries.push_front(Entry {
            start: self.bytes.len(),
            name: field.name.len(),
            value: field.value.len(),
            kind: field.kind,
            sound: field.sound,
        });
        self.bytes.extend_from_slice(field.name);
        self.bytes.extend_from_slice(field.value);
        self.size += length + ENTRY;
    }

    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.name + entry.value + ENTRY;
        }
    }

    fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict(most);
    }
}

/// Writes a status.
pub(super) fn write_status(out: &mut Vec<u8>, status: u16) {
    match index_of_status(status) {
        0 => {
            let digits = [100, 10, 1].map(|of| b'0' + (status / of % 10) as u8);
            out.extend_from_slice(&[8, 3, digits[0], digits[1], digits[2]]);
        }
        index => out.push(0b1000_0000 | index),
    }
}

/// Writes a field, its name in lower case.
pub(super) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 12);
    match index_of(name) {
        0 => {
            out.push(0);
            write_integer(out, 0, 7, name.len());
            let start = out.len();
            out.extend_from_slice(name);
            out[start..].make_ascii_lowercase();
        }
        // Cookies and the like should not be put into tables by anybody behind us (RFC 7541 §7.1.3).
        SET_COOKIE => write_integer(out, 0b0001_0000, 4, SET_COOKIE),
        index => write_integer(out, 0, 4, index),
    }
    write_string(out, 0, 7, value);
}

const SET_COOKIE: usize = 55;

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;

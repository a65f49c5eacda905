//! Protocol Buffers, as far as writing a message takes (encoding of proto3).

/// A message under construction.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// What stands before a field's value, and says how long that is.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

impl Message {
    /// What was written.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A number, also of an enumeration.
    pub(super) fn number(&mut self, field: u32, value: u64) -> &mut Self {
        self.key(field, Wire::Varint);
        self.varint(value);
        self
    }

    /// A number of eight bytes.
    pub(super) fn fixed64(&mut self, field: u32, value: u64) -> &mut Self {
        self.key(field, Wire::Fixed64);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A number of four bytes.
    pub(super) fn fixed32(&mut self, field: u32, value: u32) -> &mut Self {
        self.key(field, Wire::Fixed32);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Bytes.
    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.key(field, Wire::Bytes);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A text.
    pub(super) fn text(&mut self, field: u32, value: &str) -> &mut Self {
        self.bytes(field, value.as_bytes())
    }

    /// A message within this one.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Message)) -> &mut Self {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0)
    }

    fn key(&mut self, field: u32, wire: Wire) {
        self.varint(u64::from(field) << 3 | wire as u64);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The value of a field that is a number, and that of one that is a message or a text, in the message `bytes`: each the
/// last one, as they are read everywhere. `None` for what is not there, or where the message is malformed.
pub(super) fn find(bytes: &[u8], field: u64) -> Option<Found<'_>> {
    let (mut rest, mut found) = (bytes, None);
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let value = match key & 7 {
            0 => Found::Number(take_varint(&mut rest)?),
            1 => Found::Bytes(take(&mut rest, 8)?),
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                Found::Bytes(take(&mut rest, length)?)
            }
            5 => Found::Bytes(take(&mut rest, 4)?),
            _ => return None,
        };
        if key >> 3 == field {
            found = Some(value);
        }
    }
    found
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'m> {
    /// A number.
    Number(u64),
    /// A message, a text, or a number of a fixed size.
    Bytes(&'m [u8]),
}

fn take<'m>(rest: &mut &'m [u8], count: usize) -> Option<&'m [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_encoding_s_own_examples_write_is_written() {
        // From the guide to the encoding: field 1 with 150, and field 2 with "testing".
        let mut message = Message::default();
        message.number(1, 150).text(2, "testing");
        assert_eq!(message.into_bytes(), b"\x08\x96\x01\x12\x07testing");
        let mut message = Message::default();
        message.message(3, |inner| {
            inner.number(1, 150);
        });
        message.fixed32(1, 1).fixed64(2, 1);
        let bytes = message.into_bytes();
        assert_eq!(bytes, b"\x1a\x03\x08\x96\x01\x0d\x01\0\0\0\x11\x01\0\0\0\0\0\0\0");
        assert_eq!(find(&bytes, 3), Some(Found::Bytes(b"\x08\x96\x01")));
    }

    #[test]
    fn what_a_collector_answers_is_read_or_left() {
        assert_eq!(find(b"\x08\x96\x01\x08\x05", 1), Some(Found::Number(5)));
        for malformed in [
            &b"\x08"[..],
            b"\x0a\x05ab",
            b"\x0b",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(find(malformed, 1), None, "{malformed:?}");
        }
    }
}

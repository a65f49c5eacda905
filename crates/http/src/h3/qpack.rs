//! Field sections (RFC 9204 §4.5), with the static table alone.

use super::table::{STATUS, TABLE, index_of, index_of_status};
use crate::huffman;
use crate::prefixed::{self, read_integer, write_integer, write_string};

/// Why a section cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no section, or one that needs what was never in our table.
    Unreadable,
    /// A field is longer than all of them may be.
    TooLong,
}

impl From<prefixed::Unreadable> for Fault {
    fn from(_: prefixed::Unreadable) -> Self {
        Fault::Unreadable
    }
}

/// Reads a section, and shows each field to `see` until that is content with an error. Strings are put into `room` on
/// their way, which holds no more than `most` bytes.
pub(super) fn read<E: From<Fault>>(
    mut section: &[u8],
    (room, most): (&mut Vec<u8>, usize),
    mut see: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    // RFC 9204 §4.5.1: without a table of ours, no field has been inserted that could be required, and no base matters.
    let required = read_integer(&mut section, 8).map_err(Fault::from)?;
    read_integer(&mut section, 7).map_err(Fault::from)?;
    if required != 0 {
        return Err(Fault::Unreadable.into());
    }
    while let Some(first) = section.first().copied() {
        room.clear();
        let indexed = |section: &mut &[u8], bits| {
            let index = usize::try_from(read_integer(section, bits)?).map_err(|_| Fault::Unreadable)?;
            TABLE.get(index).ok_or(Fault::Unreadable)
        };
        match first {
            // §4.5.2: an indexed field, of the static table.
            0b1100_0000.. => {
                let (name, value) = indexed(&mut section, 6)?;
                see(name.as_bytes(), value.as_bytes())?;
            }
            // §4.5.4: a value, with a name of the static table.
            0b0101_0000..=0b0101_1111 | 0b0111_0000..=0b0111_1111 => {
                let (name, _) = indexed(&mut section, 4)?;
                string(&mut section, 7, (room, most))?;
                see(name.as_bytes(), room)?;
            }
            // §4.5.6: both.
            0b0010_0000..=0b0011_1111 => {
                string(&mut section, 3, (room, most))?;
                let name = room.len();
                string(&mut section, 7, (room, most))?;
                let (name, value) = room.split_at(name);
                see(name, value)?;
            }
            // All else refers to the dynamic table, which has no entries.
            _ => return Err(Fault::Unreadable.into()),
        }
    }
    Ok(())
}

/// Reads a string whose length's first byte has so many bits, behind a bit that says whether it is coded.
fn string(bytes: &mut &[u8], bits: u32, (room, most): (&mut Vec<u8>, usize)) -> Result<(), Fault> {
    let (string, coded) = prefixed::read_string(bytes, bits)?;
    // The longest code has 30 bits, the shortest 5: a coded string of n bytes is no longer than 8/5 n.
    if room.len() + string.len() > most {
        return Err(Fault::TooLong);
    }
    if !coded {
        room.extend_from_slice(string);
        return Ok(());
    }
    if huffman::decode(string, room) {
        Ok(())
    } else {
        Err(Fault::Unreadable)
    }
}

/// Begins a section.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0]);
}

/// Writes a status.
pub(super) fn write_status(out: &mut Vec<u8>, status: u16) {
    match index_of_status(status) {
        Some(index) => write_integer(out, 0b1100_0000, 6, index),
        None => {
            write_integer(out, 0b0101_0000, 4, STATUS);
            let digits = [100, 10, 1].map(|of| b'0' + (status / of % 10) as u8);
            write_string(out, 0, 7, &digits);
        }
    }
}

/// Writes a field, its name in lower case.
pub(super) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let lower = name.iter().all(|byte| !byte.is_ascii_uppercase());
    if !lower {
        return write_field(out, &name.to_ascii_lowercase(), value);
    }
    let Some(index) = index_of(name) else {
        return write_literal(out, name, value);
    };
    let same = TABLE[index..].iter().take_while(|(other, _)| other.as_bytes() == name);
    match same.enumerate().find(|(_, (_, known))| known.as_bytes() == value) {
        Some((after, _)) if !value.is_empty() => write_integer(out, 0b1100_0000, 6, index + after),
        _ => {
            // Cookies and the like should not be put into tables by anybody behind us (§7.1.3).
            let never = if name == b"set-cookie" { 0b0010_0000 } else { 0 };
            write_integer(out, 0b0101_0000 | never, 4, index);
            write_string(out, 0, 7, value);
        }
    }
}

/// Writes a field without a look at the table.
pub(super) fn write_literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write_string(out, 0b0010_0000, 3, name);
    write_string(out, 0, 7, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Fields = Vec<(Vec<u8>, Vec<u8>)>;

    fn fields(section: &[u8]) -> Result<Fields, Fault> {
        let mut fields = Vec::new();
        read(section, (&mut Vec::new(), 1 << 16), |name, value| {
            fields.push((name.to_vec(), value.to_vec()));
            Ok::<(), Fault>(())
        })?;
        Ok(fields)
    }

    #[test]
    fn a_section_of_the_standard_is_read() {
        // RFC 9204 §B.1.
        let section = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(fields(section).unwrap(), [(b":path".to_vec(), b"/index.html".to_vec())]);
    }

    #[test]
    fn what_needs_a_dynamic_table_or_is_cut_off_is_refused() {
        for section in [
            // §B.2: required insert count, indexes of the dynamic table, and those behind the base.
            &b"\x03\x81\x10\x11"[..],
            b"\x00\x00\x80",
            b"\x00\x00\x40\x00",
            b"\x00\x00\x10",
            b"\x00\x00\x00\x00",
            b"\x00",
            b"",
            // An index beyond the table, a string beyond the section, a number without an end.
            b"\x00\x00\xff\x24",
            b"\x00\x00\x51\x0b/index",
            b"\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(fields(section), Err(Fault::Unreadable), "{section:?}");
        }
    }

    #[test]
    fn a_string_is_no_longer_than_there_is_room() {
        let mut section = b"\x00\x00".to_vec();
        write_field(&mut section, b"x", &[b'a'; 100]);
        let seen = read(&section, (&mut Vec::new(), 100), |_, _| Ok::<(), Fault>(()));
        assert_eq!(seen, Err(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            status in 100u16..600,
            written in prop::collection::vec(("[a-z-]{1,40}|vary|content-type|x-frame-options|set-cookie", "[ -~]{0,200}|nosniff|deny|sameorigin|text/css"), 0..20),
        ) {
            let mut section = Vec::new();
            begin(&mut section);
            write_status(&mut section, status);
            for (name, value) in &written {
                write_field(&mut section, name.as_bytes(), value.as_bytes());
            }
            let mut expected = vec![(b":status".to_vec(), status.to_string().into_bytes())];
            expected.extend(written.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())));
            prop_assert_eq!(fields(&section).unwrap(), expected);
        }

        #[test]
        fn no_bytes_are_too_strange(section in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&section);
        }
    }
}

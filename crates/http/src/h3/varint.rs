//! Numbers of variable length (RFC 9000 §16).

/// The largest number that can be written.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// Reads a number off the front of `bytes`, which moves on; `None` when it is not all there.
pub(super) fn read(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let length = length_of(first);
    let (number, rest) = bytes.split_at_checked(length)?;
    let start = u64::from(first & 0x3f);
    *bytes = rest;
    Some(number[1..].iter().fold(start, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// How many bytes a number has whose first one this is.
pub(super) fn length_of(first: u8) -> usize {
    1 << (first >> 6)
}

/// Writes a number that is no larger than [`VARINT_MAX`], as short as it can be.
pub(super) fn write_varint(out: &mut Vec<u8>, number: u64) {
    debug_assert!(number <= VARINT_MAX, "no peer can send a larger one, and we have none");
    let bytes = number.to_be_bytes();
    let (length, mark) = match number {
        0..0x40 => (1, 0x00),
        0x40..0x4000 => (2, 0x40),
        0x4000..0x4000_0000 => (4, 0x80),
        _ => (8, 0xc0),
    };
    let at = out.len();
    out.extend_from_slice(&bytes[8 - length..]);
    out[at] |= mark;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9000 §A.1.
    #[test]
    fn numbers_are_those_of_the_standard() {
        for (bytes, number) in [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            let mut rest = bytes;
            assert_eq!(read(&mut rest), Some(number));
            assert!(rest.is_empty());
            assert_eq!(read(&mut &bytes[..bytes.len() - 1]), None);
            let mut out = Vec::new();
            write_varint(&mut out, number);
            assert_eq!(out, bytes);
        }
        assert_eq!(read(&mut &[0x40, 0x25][..]), Some(37));
    }
}

//! Numbers and strings as HPACK and QPACK have them (RFC 7541 §5): a number begins in the last bits of a byte whose others
//! say what it is.

/// What is no number, or no string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// A number is no larger than 62 bits (RFC 9204 §4.1.1); beyond this it could be.
pub(crate) const INTEGER_SHIFT_MAX: u32 = 49;

/// Reads a number whose first byte has so many bits of it (RFC 7541 §5.1).
#[inline]
pub(crate) fn read_integer(bytes: &mut &[u8], bits: u32) -> Result<u64, Unreadable> {
    let (first, rest) = bytes.split_first().ok_or(Unreadable)?;
    let most = u8::MAX >> (8 - bits);
    let number = u64::from(first & most);
    *bytes = rest;
    if number < u64::from(most) {
        return Ok(number);
    }
    read_rest(bytes, number)
}

fn read_rest(bytes: &mut &[u8], mut number: u64) -> Result<u64, Unreadable> {
    let mut shift = 0;
    loop {
        let (byte, rest) = bytes.split_first().ok_or(Unreadable)?;
        *bytes = rest;
        number += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
        shift += 7;
        if shift > INTEGER_SHIFT_MAX {
            return Err(Unreadable);
        }
    }
}

/// Reads a string whose length's first byte has so many bits, behind a bit that says whether it is coded, which is told
/// as well.
#[inline]
pub(crate) fn read_string<'b>(bytes: &mut &'b [u8], bits: u32) -> Result<(&'b [u8], bool), Unreadable> {
    let coded = bytes.first().ok_or(Unreadable)? >> bits & 1 == 1;
    let length = usize::try_from(read_integer(bytes, bits)?).map_err(|_| Unreadable)?;
    let (string, rest) = bytes.split_at_checked(length).ok_or(Unreadable)?;
    *bytes = rest;
    Ok((string, coded))
}

/// Writes a string, not coded, behind what `mark` says.
pub(crate) fn write_string(out: &mut Vec<u8>, mark: u8, bits: u32, string: &[u8]) {
    write_integer(out, mark, bits, string.len());
    out.extend_from_slice(string);
}

/// Writes a number into the last bits of a byte that begins with `mark`, and behind it.
#[inline]
pub(crate) fn write_integer(out: &mut Vec<u8>, mark: u8, bits: u32, number: usize) {
    let most = usize::from(u8::MAX >> (8 - bits));
    if number < most {
        return out.push(mark | number as u8);
    }
    out.push(mark | most as u8);
    let mut rest = number - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_standard_are_read_and_written() {
        // RFC 7541 §C.1.
        for (number, bits, coded) in [
            (10, 5, &[0b0_1010][..]),
            (1_337, 5, &[0b1_1111, 0b1001_1010, 0b0000_1010]),
            (42, 8, &[0b0010_1010]),
        ] {
            let mut out = Vec::new();
            write_integer(&mut out, 0, bits, number);
            assert_eq!(out, coded);
            let mut rest = coded;
            assert_eq!(read_integer(&mut rest, bits), Ok(number as u64));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn what_has_no_end_is_refused() {
        for mut bytes in [&b""[..], b"\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"] {
            assert_eq!(read_integer(&mut bytes, 7), Err(Unreadable));
        }
        assert_eq!(read_string(&mut &b"\x03ab"[..], 7), Err(Unreadable));
    }
}

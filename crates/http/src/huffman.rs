//! The Huffman code of strings (RFC 7541 §5.2 and Appendix B).
//!
//! It is canonical: codes of one length follow each other in the order of their symbols, and so do the lengths. So their
//! lengths are all that has to be known of them.

/// The end of a string, which never stands in one.
const EOS: usize = 256;

/// How many bits the code of each symbol has.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13,23,28,28,28,28,28,28,28,24,30,28,28,30,28,28, 28,28,28,28,28,28,30,28,28,28,28,28,28,28,28,28,
    6,10,10,12,13,6,8,11,10,10,8,11,8,6,6,6, 5,5,5,6,6,6,6,6,6,6,7,8,15,6,12,10,
    13,6,7,7,7,7,7,7,7,7,7,7,7,7,7,7, 7,7,7,7,7,7,7,7,8,7,8,13,19,13,14,6,
    15,5,6,5,6,5,6,6,6,5,7,7,6,6,6,5, 6,7,6,5,5,6,7,7,7,7,7,15,11,14,13,28,
    20,22,20,20,22,22,22,23,22,23,23,23,23,23,24,23, 24,24,22,23,24,23,23,23,23,21,22,23,22,23,23,24,
    22,21,20,22,22,23,23,21,23,22,22,24,21,22,23,23, 21,21,22,21,23,22,23,23,20,22,22,22,23,22,22,23,
    26,26,20,19,22,23,22,25,26,26,26,27,27,26,24,25, 19,21,26,27,27,26,27,24,21,21,26,26,28,27,27,27,
    20,24,20,21,22,21,21,23,22,22,25,25,24,24,26,23, 26,27,26,26,27,27,27,27,27,28,27,27,27,27,27,26,
    30,
];

/// The longest code.
const LONGEST: usize = 30;

/// Bits that are looked up at once: nearly all that is written has codes of that many or fewer.
const QUICK: usize = 8;

struct Tables {
    /// By length: the first code that is too large to be of this length or a shorter one, its bits in front.
    ends: [u32; LONGEST + 1],
    /// By length: what has to be taken off a code for the place of its symbol.
    bases: [i32; LONGEST + 1],
    /// The symbols, in the order of their codes.
    symbols: [u16; 257],
    /// By the next bits: the symbol and its length; a length of 0 where it is longer.
    quick: [(u8, u8); 1 << QUICK],
}

static TABLES: Tables = Tables::new();

impl Tables {
    const fn new() -> Self {
        let mut tables = Tables {
            ends: [0; LONGEST + 1],
            bases: [0; LONGEST + 1],
            symbols: [0; 257],
            quick: [(0, 0); 1 << QUICK],
        };
        let (mut code, mut place, mut length) = (0u32, 0usize, 1usize);
        while length <= LONGEST {
            code <<= 1;
            tables.bases[length] = code as i32 - place as i32;
            let mut symbol = 0;
            while symbol < LENGTHS.len() {
                if LENGTHS[symbol] as usize == length {
                    tables.symbols[place] = symbol as u16;
                    if length <= QUICK {
                        let spare = QUICK - length;
                        let mut at = (code as usize) << spare;
                        while at < (code as usize + 1) << spare {
                            tables.quick[at] = (symbol as u8, length as u8);
                            at += 1;
                        }
                    }
                    place += 1;
                    code += 1;
                }
                symbol += 1;
            }
            // With its bits in front, so that codes of all lengths compare. The last one fills all 32.
            tables.ends[length] = ((code as u64) << (32 - length)).saturating_sub((length == LONGEST) as u64) as u32;
            length += 1;
        }
        tables
    }
}

/// Decodes `coded` behind what is in `out`; false when it is no such code.
#[must_use]
pub(crate) fn decode(coded: &[u8], out: &mut Vec<u8>) -> bool {
    let (mut bits, mut count) = (0u64, 0usize);
    let mut coded = coded.iter();
    loop {
        while count <= 56 {
            let Some(byte) = coded.next() else { break };
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
        }
        if count == 0 {
            return true;
        }
        let (symbol, length) = TABLES.quick[(bits >> (64 - QUICK)) as usize];
        let (symbol, length) = if length > 0 {
            (usize::from(symbol), usize::from(length))
        } else {
            slow((bits >> 32) as u32)
        };
        if length > count || symbol == EOS {
            // RFC 7541 §5.2: what is left is the beginning of EOS, which is all ones, and shorter than a byte.
            return count < 8 && symbol_is_padding(bits, count);
        }
        out.push(symbol as u8);
        bits <<= length;
        count -= length;
    }
}

fn symbol_is_padding(bits: u64, count: usize) -> bool {
    let ones = !(u64::MAX >> count);
    bits & ones == ones
}

/// The symbol whose code these bits begin with, and its length.
fn slow(bits: u32) -> (usize, usize) {
    for length in QUICK + 1..LONGEST {
        if bits < TABLES.ends[length] {
            return (symbol_at(bits, length), length);
        }
    }
    (symbol_at(bits, LONGEST), LONGEST)
}

fn symbol_at(bits: u32, length: usize) -> usize {
    let place = (bits >> (32 - length)) as i32 - TABLES.bases[length];
    let place = usize::try_from(place).unwrap_or(EOS);
    TABLES.symbols.get(place).map_or(EOS, |symbol| usize::from(*symbol))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain way, from the lengths alone.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut codes = [0u32; 257];
        let mut code = 0;
        for length in 1..=LONGEST {
            code <<= 1;
            for symbol in 0..=EOS {
                if usize::from(LENGTHS[symbol]) == length {
                    codes[symbol] = code;
                    code += 1;
                }
            }
        }
        assert_eq!(codes[EOS], (1 << 30) - 1);
        let mut bits: Vec<bool> = Vec::new();
        for byte in text {
            let length = LENGTHS[usize::from(*byte)];
            bits.extend((0..length).rev().map(|at| codes[usize::from(*byte)] >> at & 1 == 1));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push(true);
        }
        bits.chunks(8)
            .map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit)))
            .collect()
    }

    #[test]
    fn strings_of_the_standard_and_of_every_byte_are_read() {
        // RFC 7541 §C.4.1 and §C.6.1.
        for (coded, text) in [
            (
                &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..],
                &b"www.example.com"[..],
            ),
            (b"\x64\x02", b"302"),
            (
                b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
                b"https://www.example.com",
            ),
        ] {
            let mut out = Vec::new();
            assert!(decode(coded, &mut out));
            assert_eq!(out, text);
            assert_eq!(encode(text), coded);
        }
        let every: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        let mut out = Vec::new();
        assert!(decode(&encode(&every), &mut out));
        assert_eq!(out, every);
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for coded in [
            // A whole byte of padding, padding that is not of ones, EOS, a code that is cut off.
            &b"\x64\x02\xff"[..],
            b"\x64",
            b"\xff\xff\xff\xff",
            b"\xff\xff\xff\xfc",
            b"\xff\xff",
        ] {
            assert!(!decode(coded, &mut Vec::new()), "{coded:?}");
        }
    }
}

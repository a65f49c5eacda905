//! Finding the end of a head, looking at each byte once however slowly it drips in.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::HeadFault;

/// Finds the empty line.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// How far a head has been looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    /// Bytes looked at.
    scanned: usize,
    /// Lines that were seen to end.
    lines: usize,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// The head is complete: its length, with the empty line.
    Head(usize),
    /// More bytes are needed.
    More,
}

impl HeadScan {
    /// Looks at what was added to `bytes` since the last look. Every line has to end in CRLF: a bare LF in an
    /// unfinished head is refused at once, since parsers differ over it (RFC 9112 §2.2 leaves it to the recipient).
    ///
    /// # Errors
    /// A bare LF, a first byte that begins no message, a first line or a head above its limit.
    pub fn look(&mut self, bytes: &[u8], line_max: usize, head_max: usize) -> Result<Scanned, HeadFault> {
        if self.scanned == 0 && bytes.first().is_some_and(|first| !first.is_ascii_graphic()) {
            return Err(HeadFault::Malformed(
                "a message begins with a letter; this may be TLS on a plain port",
            ));
        }
        if let Some(at) = END.find(&bytes[self.scanned.saturating_sub(3)..]) {
            return self.complete(bytes, self.scanned.saturating_sub(3) + at + 4, line_max, head_max);
        }
        while let Some(at) = memchr::memchr(b'\n', &bytes[self.scanned..]) {
            let newline = self.scanned + at;
            if newline == 0 || bytes[newline - 1] != b'\r' {
                return Err(HeadFault::Malformed("a line ends in LF without CR"));
            }
            self.scanned = newline + 1;
            if self.lines == 0 && newline > line_max {
                return Err(HeadFault::LineTooLong);
            }
            self.lines += 1;
        }
        self.scanned = bytes.len();
        if self.lines == 0 && bytes.len() > line_max + 1 {
            return Err(HeadFault::LineTooLong);
        }
        if bytes.len() >= head_max {
            return Err(HeadFault::TooLarge);
        }
        Ok(Scanned::More)
    }

    /// Whether the lines end as they should is for the parser to say, which sees where each of them begins.
    fn complete(&self, bytes: &[u8], head: usize, line_max: usize, head_max: usize) -> Result<Scanned, HeadFault> {
        if head > line_max && self.lines == 0 && memchr::memchr(b'\n', &bytes[..=line_max]).is_none() {
            return Err(HeadFault::LineTooLong);
        }
        if head > head_max {
            Err(HeadFault::TooLarge)
        } else {
            Ok(Scanned::Head(head))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";

    #[test]
    fn a_head_is_found_however_it_is_cut() {
        for cut in 0..HEAD.len() {
            let mut scan = HeadScan::default();
            let first = scan.look(&HEAD[..cut], 100, 1000).unwrap();
            let end = HEAD.len() - 4;
            assert_eq!(
                first,
                if cut >= end { Scanned::Head(end) } else { Scanned::More },
                "{cut}"
            );
            if first == Scanned::More {
                assert_eq!(scan.look(HEAD, 100, 1000).unwrap(), Scanned::Head(end), "{cut}");
            }
        }
    }

    #[test]
    fn what_can_never_become_a_head_is_refused_at_once() {
        let look = |bytes: &[u8]| HeadScan::default().look(bytes, 20, 60);
        assert!(matches!(
            look(b"GET / HTTP/1.1\nHost: a\n\n"),
            Err(HeadFault::Malformed(_))
        ));
        assert!(matches!(look(b"\x16\x03\x01"), Err(HeadFault::Malformed(_))));
        assert!(matches!(look(b"\r\n"), Err(HeadFault::Malformed(_))));
        assert_eq!(look(&[b'a'; 22]), Err(HeadFault::LineTooLong));
        assert_eq!(
            look(b"GET / HTTP/1.1\r\na: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            Err(HeadFault::TooLarge)
        );
    }
}

//! How one service tells the next of a trace: `traceparent`, of W3C's Trace Context.

use std::fmt::Write;

/// The field that names trace and span.
pub const PARENT: &str = "traceparent";

/// The field for what others want to be passed on.
pub const STATE: &str = "tracestate";

/// Bytes of a [`PARENT`] as we write it.
pub const PARENT_BYTES: usize = 55;

/// A span of a trace, and what is known of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub span: u64,
    /// [`SAMPLED`](Self::SAMPLED) and [`RANDOM`](Self::RANDOM).
    pub flags: u8,
}

impl Context {
    /// The trace is told.
    pub const SAMPLED: u8 = 1;

    /// The id's low bits are random (level 2 of the recommendation).
    pub const RANDOM: u8 = 2;

    /// Reads a field's value; `None` when it is malformed, and so is worth nothing (§3.2.2).
    pub fn read(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(PARENT_BYTES)?;
        let version = hexadecimal(&head[..2])?;
        // A later version may say more behind what we know (§3.2.2.2); 255 is none.
        let fits = match version {
            0 => rest.is_empty(),
            255 => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let dashed = [2, 35, 52].iter().all(|at| head[*at] == b'-');
        if !fits || !dashed {
            return None;
        }
        let trace = hexadecimal(&head[3..35]).filter(|id| *id != 0)?;
        let span = hexadecimal(&head[36..52]).filter(|id| *id != 0)?;
        let flags = hexadecimal(&head[53..55])?;
        Some(Context {
            trace,
            span: u64::try_from(span).ok()?,
            // What we do not know is not passed on (§3.2.2.5).
            flags: u8::try_from(flags).ok()? & (Context::SAMPLED | Context::RANDOM),
        })
    }

    /// As it is written, in the version that everybody reads.
    pub fn written(self) -> String {
        let Context { trace, span, flags } = self;
        let mut text = String::with_capacity(PARENT_BYTES);
        // Writing to a String cannot fail.
        let _ = write!(text, "00-{trace:032x}-{span:016x}-{flags:02x}");
        text
    }
}

/// Lower case alone is allowed (§3.2.2).
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn what_is_read_is_what_was_written() {
        let text = format!("00-{TRACE}-{SPAN}-01");
        let context = Context::read(text.as_bytes()).expect("valid");
        assert_eq!(context.written(), text);
        assert_eq!(context.flags, Context::SAMPLED);
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        for text in [
            format!("01-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
            format!("00-{TRACE}-{SPAN}-ff"),
        ] {
            let context = Context::read(text.as_bytes()).expect("valid");
            assert!(context.written().starts_with(&format!("00-{TRACE}-{SPAN}-0")), "{text}");
        }
        let flags = Context::read(format!("00-{TRACE}-{SPAN}-ff").as_bytes()).map(|context| context.flags);
        assert_eq!(flags, Some(3));
    }

    #[test]
    fn what_is_malformed_is_worth_nothing() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            TRACE.to_owned(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-0x"),
            format!("0-{TRACE}-{SPAN}-011"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}{SPAN}--01"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!("00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"),
            "é".repeat(30),
        ] {
            assert_eq!(Context::read(text.as_bytes()), None, "{text}");
        }
    }
}

//! Standard error, where nobody may listen any more.

use std::fmt::Display;
use std::io::{self, Write};

/// Takes everything. A terminal that was closed, a pipe whose reader has gone and a full disk are no reason to stop
/// serving, and there is nobody left to tell.
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // All of a line in one call: several threads write here.
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says something on a line of its own, as this program.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "plimsoll: {text}");
}

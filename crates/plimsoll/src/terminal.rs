//! Drawing in a terminal: one picture of text over the one before, and what pictures are made of.

use std::io::{self, Write};

pub(crate) const BOLD: &str = "\x1b[1m";
pub(crate) const DIM: &str = "\x1b[2m";
pub(crate) const GREEN: &str = "\x1b[32m";
pub(crate) const YELLOW: &str = "\x1b[33m";
pub(crate) const RED: &str = "\x1b[31m";
pub(crate) const PLAIN: &str = "\x1b[0m";

/// The terminal while a live view has it: another screen without a cursor. It is given back when this is dropped.
pub(crate) struct Screen;

impl Screen {
    /// Takes the terminal.
    pub(crate) fn take() -> io::Result<Self> {
        let mut out = io::stdout();
        // xterm's control sequences: the alternate screen, and no cursor.
        out.write_all(b"\x1b[?1049h\x1b[?25l")?;
        out.flush()?;
        Ok(Screen)
    }

    /// Draws over what is there, line by line, so that nothing flickers.
    pub(crate) fn draw(&self, picture: &str) -> io::Result<()> {
        let mut bytes = String::from("\x1b[H");
        for line in picture.lines() {
            bytes.push_str(line);
            bytes.push_str("\x1b[K\n");
        }
        bytes.push_str("\x1b[J");
        let mut out = io::stdout();
        out.write_all(bytes.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout();
        // There is nobody left to tell when the terminal is gone.
        let _ = out.write_all(b"\x1b[?25h\x1b[?1049l");
        let _ = out.flush();
    }
}

/// `share` of so many cells, to an eighth of a cell.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the bar's cells"
)]
pub(crate) fn bar(share: f64, cells: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * cells as f64 * 8.0).round() as usize;
    let filled = format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8]);
    format!("{filled:<cells$}")
}

/// Whether a picture that moves can be shown on standard output.
pub(crate) fn is_live() -> bool {
    use std::io::IsTerminal;
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !dumb && io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_always_as_wide() {
        for share in [-1.0, 0.0, 0.01, 0.5, 0.999, 1.0, 7.0] {
            assert_eq!(bar(share, 20).chars().count(), 20, "{share}");
        }
        assert_eq!(bar(0.5, 20).trim_end(), "█".repeat(10));
    }
}

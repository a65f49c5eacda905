//! What filters know from files: the control plane reads a file, watches it, and puts what it holds where the filter
//! looks. What is wrong with a new text takes nothing away: the last good one stays.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU32};

use arc_swap::{ArcSwapOption, Guard};

use super::{Keep, Url};
use crate::document::{Decode, Faults, Json, Node, Span, expect_text};

/// The largest file that a filter reads: a hundred thousand networks are two of these sixteen MiB.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// The most entries that such a file holds, for as long as its kind has no limit of its own.
pub(super) const ENTRIES_MAX: usize = 1_000_000;

/// A file that the configuration names for a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    /// As it is written.
    pub written: String,
    /// Where.
    pub span: Span,
    /// Where the file is; the configuration's compiler says so, since a path is relative to the file that names it.
    pub path: PathBuf,
}

/// A file, or a URL that is asked for what a file would hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileOrUrl(pub(super) FileName);

impl FileName {
    fn new(written: &str, span: Span) -> Self {
        FileName {
            written: written.to_owned(),
            span,
            path: PathBuf::from(written),
        }
    }

    /// The URL that it is, when it is no file.
    pub fn url(&self) -> Option<Url> {
        Url::parse(&self.written)
    }
}

/// A file that a filter names, and what becomes of its text.
pub struct FileUse<'f> {
    /// The file.
    pub name: &'f mut FileName,
    /// Makes the slot that its contents go to.
    pub slot: fn() -> Arc<dyn Slot>,
}

/// What a file can be read as.
pub trait Contents: Sized + Send + Sync + 'static {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    fn parse(text: &str) -> Result<Self, Wrong>;

    /// How many things it holds.
    fn entries(&self) -> usize;
}

/// What is wrong with a file's text. It shows nothing of what may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The line, from 1; `None` when it is about the whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// Where the contents of a file go, whatever they are.
pub trait Slot: Any + Send + Sync {
    /// Takes what the file holds now; the number of its entries.
    ///
    /// # Errors
    /// What is wrong with it: what was taken before stays.
    fn take(&self, bytes: &[u8]) -> Result<usize, Wrong>;

    /// Whether somebody has missed something since this was asked last. It is asked when it would be looked for; who
    /// misses something from then on waits for it.
    fn is_missed(&self) -> bool;
}

/// What a filter knows from a file.
#[derive(Debug)]
pub struct Held<T> {
    now: ArcSwapOption<T>,
    missed: AtomicU8,
    waiting: AtomicU32,
}

/// Nobody looks for what is missed: it was looked for a moment ago, or there is nothing but a file.
const RESTING: u8 = 0;
/// What is missed will be looked for.
const READY: u8 = 1;
/// It was missed.
const MISSED: u8 = 2;

/// How many may wait for one look.
const WAITING_MAX: u32 = 256;

impl Wrong {
    /// Something is wrong with the line `at`, counted from 0.
    pub fn line(at: usize, message: impl Into<String>) -> Self {
        Wrong {
            line: Some(at + 1),
            message: message.into(),
        }
    }

    /// Something is wrong with the whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Wrong {
            line: None,
            message: message.into(),
        }
    }

    /// The same, told of the file called `name`.
    pub fn told(&self, name: &str) -> String {
        match self.line {
            Some(line) => format!("{name}:{line}: {}", self.message),
            None => format!("{name}: {}", self.message),
        }
    }
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Held {
            now: ArcSwapOption::empty(),
            missed: AtomicU8::new(RESTING),
            waiting: AtomicU32::new(0),
        }
    }
}

impl<T: Contents> Held<T> {
    /// An empty slot.
    pub fn slot() -> Arc<dyn Slot> {
        Arc::new(Held::<T>::default())
    }

    /// What is known from `file`, now and later; `keep` has it filled.
    pub fn of(file: &FileName, keep: &mut dyn Keep) -> Arc<Held<T>> {
        let slot: Arc<dyn Any + Send + Sync> = keep.file(file, Held::<T>::slot());
        // Somebody else's kind of contents under the same name is never handed out; if it were, nothing would be known.
        slot.downcast().unwrap_or_default()
    }

    /// What is known now; `None` as long as there has been no text that could be read.
    pub fn now(&self) -> Guard<Option<Arc<T>>> {
        self.now.load()
    }

    /// Somebody has asked for what is not there: it is time to look whether there is more. Whether that is going to be
    /// done, and he is not one of too many who wait for it.
    pub fn miss(&self) -> bool {
        let was = self.missed.compare_exchange(READY, MISSED, Relaxed, Relaxed);
        was != Err(RESTING) && self.waiting.fetch_add(1, Relaxed) < WAITING_MAX
    }
}

impl<T: Contents> Slot for Held<T> {
    fn take(&self, bytes: &[u8]) -> Result<usize, Wrong> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            Wrong::line(before.iter().filter(|byte| **byte == b'\n').count(), "is not UTF-8")
        })?;
        let contents = T::parse(text.strip_prefix('\u{feff}').unwrap_or(text))?;
        let entries = contents.entries();
        if entries > ENTRIES_MAX {
            return Err(Wrong::whole(format!("holds more than {ENTRIES_MAX} entries")));
        }
        self.now.store(Some(Arc::new(contents)));
        self.missed.store(RESTING, Relaxed);
        Ok(entries)
    }

    fn is_missed(&self) -> bool {
        self.waiting.store(0, Relaxed);
        self.missed.swap(READY, Relaxed) == MISSED
    }
}

/// The lines of a text that say something, with their numbers from 0: not those that are empty or begin with `#`.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().map(str::trim).enumerate();
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

impl Decode for FileName {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let written = expect_text(node, "a file's name", faults)?;
        if written.is_empty() {
            faults.error(node.span, "the file's name is empty");
            return None;
        }
        if has_scheme(written) {
            faults.error(node.span, "a file is read here, and no URL");
            return None;
        }
        Some(FileName::new(written, node.span))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "pattern": "." })
    }
}

impl Decode for FileOrUrl {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let written = expect_text(node, "a file's name, or a URL", faults)?;
        if !has_scheme(written) {
            return FileName::decode(node, faults).map(FileOrUrl);
        }
        if Url::parse(written).is_none() {
            let fault = faults.error(node.span, format!("\"{written}\" is not a URL"));
            fault.help("write it like \"https://id.example.com/jwks\"");
            return None;
        }
        Some(FileOrUrl(FileName::new(written, node.span)))
    }

    fn schema() -> Json {
        FileName::schema()
    }
}

fn has_scheme(written: &str) -> bool {
    written.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers(Vec<u32>);

    impl Contents for Numbers {
        fn parse(text: &str) -> Result<Self, Wrong> {
            let read = |(at, line): (usize, &str)| line.parse().map_err(|_| Wrong::line(at, "is no number"));
            lines(text).map(read).collect::<Result<_, _>>().map(Numbers)
        }

        fn entries(&self) -> usize {
            self.0.len()
        }
    }

    #[test]
    fn the_last_good_text_stays() {
        let held = Held::<Numbers>::default();
        assert!(held.now().is_none());
        assert_eq!(held.take(b"\xef\xbb\xbf# numbers\r\n1\r\n\r\n 2 \n"), Ok(2));
        assert_eq!(held.take(b"1\nx\n"), Err(Wrong::line(1, "is no number")));
        assert_eq!(held.take(b"1\n2\n\xff"), Err(Wrong::line(2, "is not UTF-8")));
        assert_eq!(held.now().as_ref().unwrap().0, [1, 2]);
        assert_eq!(held.take(b""), Ok(0));
        assert_eq!(Wrong::line(2, "is bad").told("a.txt"), "a.txt:3: is bad");
    }

    #[test]
    fn what_is_missed_is_told_once() {
        let held = Held::<Numbers>::default();
        // Nobody would look.
        assert!(!held.miss() && !held.is_missed());
        assert!(held.miss() && held.miss());
        assert!(held.is_missed() && !held.is_missed());
        for _ in 0..WAITING_MAX {
            assert!(held.miss());
        }
        assert!(!held.miss() && held.is_missed());
        // What was looked for is there, or it is not.
        assert_eq!(held.take(b"1"), Ok(1));
        assert!(!held.miss());
    }
}

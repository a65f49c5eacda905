//! The files that filters name: read, watched, and put where the filters look. What is wrong with a new text is told,
//! and the last good one stays.
//!
//! They are looked at once a second by what the kernel says of them, instead of by notifications: those name
//! directories and inodes, and miss a symbolic link further up that is changed, as Kubernetes does with its volumes.
//!
//! Some may be URLs instead: those are asked again and again, and sooner when a filter has missed something.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use plimsoll_core::filter::{FILE_BYTES_MAX, FileName, Slot, Url, Wrong};

use crate::fetch::fetch;

/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// How often a URL is asked; how soon after an answer that could not be used; and how soon when something was missed:
/// whoever makes up names of keys has nobody asked more often.
const REFRESH: Duration = Duration::from_secs(600);
const RETRY: Duration = Duration::from_secs(5);
const MISSED_REST: Duration = Duration::from_secs(5);

/// How the contents of a file stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Where it is; a URL without its query.
    pub path: PathBuf,
    /// When what is used was read; `None` when nothing could be.
    pub loaded_at: Option<SystemTime>,
    /// How many things it holds.
    pub entries: usize,
    /// What is wrong with what it holds now.
    pub error: Option<String>,
}

/// All files of the configuration.
#[derive(Default)]
pub(crate) struct Files(Mutex<BTreeMap<Key, Watched>>);

/// A file, and what it is read as: the same file may be read as several things.
type Key = (PathBuf, TypeId);

struct Watched {
    slot: Arc<dyn Slot>,
    /// Where to ask, and when that was done last.
    url: Option<Url>,
    asked: Option<Instant>,
    /// What the kernel said of the file that was read last.
    read: Option<Stamp>,
    /// What it said at the last look.
    seen: Option<Stamp>,
    status: FileStatus,
    /// Asked for by the generation that is being made.
    used: bool,
}

/// What the kernel says of a file; another one is another text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Stamp {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Files {
    /// Another generation is made: what it does not ask for is gone with its [`end`](Self::end).
    pub(crate) fn begin(&self) {
        self.each(|watched| watched.used = false);
    }

    /// What was not asked for is watched no longer.
    pub(crate) fn end(&self) {
        self.lock().retain(|_, watched| watched.used);
    }

    /// Where the contents of `file` are. A file that was not watched before is read at once.
    pub(crate) fn slot(&self, file: &FileName, fresh: Arc<dyn Slot>) -> Arc<dyn Slot> {
        let kind = (&*fresh as &dyn Any).type_id();
        let mut files = self.lock();
        let watched = files.entry((file.path.clone(), kind)).or_insert_with(|| {
            let mut watched = Watched::new(file, fresh);
            if watched.url.is_none() {
                watched.read();
            }
            watched
        });
        watched.used = true;
        watched.slot.clone()
    }

    /// Reads what has changed.
    pub(crate) fn look(&self) {
        self.each(Watched::look);
    }

    /// Asks the URLs whose time has come, each on a thread of its own, and nobody waits for them but the caller.
    pub(crate) fn fetch(&self) {
        let due: Vec<(Key, Url)> = {
            let mut files = self.lock();
            let due = files
                .iter_mut()
                .filter_map(|(key, watched)| Some((key.clone(), watched.due()?)));
            due.collect()
        };
        std::thread::scope(|scope| {
            for (key, url) in due {
                scope.spawn(move || {
                    let fetched = fetch(&url);
                    if let Some(watched) = self.lock().get_mut(&key) {
                        let taken = fetched.and_then(|bytes| watched.slot.take(&bytes));
                        watched.told(taken);
                    }
                });
            }
        });
    }

    /// How all files stand, by their paths.
    pub(crate) fn status(&self) -> Vec<FileStatus> {
        self.lock().values().map(|watched| watched.status.clone()).collect()
    }

    fn each(&self, act: impl FnMut(&mut Watched)) {
        self.lock().values_mut().for_each(act);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn new(file: &FileName, slot: Arc<dyn Slot>) -> Self {
        let url = file.url();
        let path = url.as_ref().map_or_else(|| file.path.clone(), |url| url.shown().into());
        Watched {
            slot,
            url,
            asked: None,
            read: None,
            seen: None,
            status: FileStatus {
                path,
                loaded_at: None,
                entries: 0,
                error: None,
            },
            used: true,
        }
    }

    /// Reads the file when it has become another one. One that is being written, which the same inode tells, is left
    /// alone until it has stayed as it is from one look to the next.
    fn look(&mut self) {
        if self.url.is_some() {
            return;
        }
        let now = std::fs::metadata(&self.status.path).ok().map(|found| Stamp::of(&found));
        let before = std::mem::replace(&mut self.seen, now);
        if now == self.read && !(now.is_none() && self.status.error.is_none()) {
            return;
        }
        let same_inode = now.zip(self.read).is_some_and(|(now, read)| now.inode == read.inode);
        if !same_inode || now == before {
            self.read();
        }
    }

    /// Where to ask now, which counts as done.
    fn due(&mut self) -> Option<Url> {
        let url = self.url.as_ref()?;
        let rested = |rest| self.asked.is_none_or(|asked| asked.elapsed() >= rest);
        let patience = if self.status.error.is_some() { RETRY } else { REFRESH };
        // From when it would be looked for, those who miss something wait for it.
        let due = rested(patience) || (rested(MISSED_REST) && self.slot.is_missed());
        let url = due.then(|| url.clone())?;
        self.asked = Some(Instant::now());
        Some(url)
    }

    fn read(&mut self) {
        let taken = match open(&self.status.path) {
            Ok((stamp, bytes)) => {
                self.read = Some(stamp);
                self.seen = self.read;
                self.slot.take(&bytes)
            }
            Err(wrong) => {
                self.read = None;
                Err(wrong)
            }
        };
        self.told(taken);
    }

    fn told(&mut self, taken: Result<usize, Wrong>) {
        let path = self.status.path.display().to_string();
        match taken {
            Ok(entries) => {
                self.status.entries = entries;
                self.status.loaded_at = Some(SystemTime::now());
                self.status.error = None;
                tracing::info!(path, entries, "a file was read");
            }
            Err(wrong) => {
                let error = wrong.told(&path);
                // A file that is away is looked for at every look, and complained about once.
                if self.status.error.as_ref() != Some(&error) {
                    if self.status.loaded_at.is_some() {
                        tracing::error!(error, "a file cannot be used: what was read before stays");
                    } else {
                        tracing::error!(error, "a file cannot be used: requests that need it are refused");
                    }
                }
                self.status.error = Some(error);
            }
        }
    }
}

/// Opens a file that is to be read. A pipe is refused: one that nobody writes to would keep whoever opens it, and whoever
/// waits for that, for ever.
pub(crate) fn open_file(path: &Path) -> std::io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(nonblocking.cast_signed());
    let file = options.open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        let error = "it is a pipe and no file";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, error));
    }
    Ok(file)
}

/// What a file holds, and what the kernel says of it; the stamp is older than the bytes, never younger.
pub(crate) fn open(path: &Path) -> Result<(Stamp, Vec<u8>), Wrong> {
    let file = open_file(path).map_err(|error| Wrong::whole(format!("cannot be opened: {error}")))?;
    let unreadable = |error: std::io::Error| Wrong::whole(format!("cannot be read: {error}"));
    let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Wrong::whole(format!("is larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    Ok((stamp, bytes))
}

/// Hands what the file at `path` holds to `slot`; how many entries that are.
///
/// # Errors
/// It cannot be read, or the slot does not take it.
pub(crate) fn take(path: &Path, slot: &dyn Slot) -> Result<usize, Wrong> {
    open(path).and_then(|(_, bytes)| slot.take(&bytes))
}

/// What is wrong with the file at `path`, read as `slot` takes it; `name` is what it is called.
pub(crate) fn judge(path: &Path, name: &str, slot: &dyn Slot) -> Option<String> {
    take(path, slot).err().map(|wrong| wrong.told(name))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;

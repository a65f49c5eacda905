//! Where accounts and certificates are kept.

use std::any::Any;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The largest thing that is kept, in bytes. A chain with its key has some 5 KB.
const ENTRY_BYTES_MAX: u64 = 1 << 20;

/// Entries that are looked through for a certificate that could do for now.
const ENTRIES_MAX: usize = 10_000;

/// What is kept, by names of letters, digits, dots, dashes and underscores. It may be shared by several processes, also of
/// several machines: what one puts the others get, whole or not at all.
pub(super) trait Storage: Send + Sync {
    /// What is kept under `name`.
    ///
    /// # Errors
    /// It cannot be read.
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Keeps `bytes` under `name`, in place of what was there.
    ///
    /// # Errors
    /// They cannot be kept; what was there stays.
    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// All names.
    ///
    /// # Errors
    /// They cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;
}

/// Turns that the processes which share a storage take.
pub(super) trait Turns: Send + Sync {
    /// The turn called `name`, for as long as it is not dropped; `None` when somebody else has it.
    ///
    /// # Errors
    /// Nobody can have it.
    fn take(&self, name: &str) -> io::Result<Option<Turn>>;
}

/// A turn, until it is dropped.
pub(super) type Turn = Box<dyn Any + Send>;

/// A directory of files: its owner's alone, since keys are among them.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn at(path: PathBuf) -> Self {
        Directory(path)
    }

    fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)
    }

    /// Whether others than its owner may look into it.
    pub(super) fn is_open_to_others(&self) -> bool {
        fs::metadata(&self.0).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
    }
}

impl Storage for Directory {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.0.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(ENTRY_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > ENTRY_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large"));
        }
        Ok(Some(bytes))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        self.make()?;
        // Whoever reads sees the old file or the new one, and a crash leaves one of them.
        let fresh = format!(".{name}.{}.{}.new", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let fresh = self.0.join(fresh);
        let write = || {
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&fresh, self.0.join(name))?;
            File::open(&self.0)?.sync_all()
        };
        write().inspect_err(|_| {
            // It may not have been made.
            let _ = fs::remove_file(&fresh);
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).take(ENTRIES_MAX).collect();
        names.sort();
        Ok(names)
    }
}

impl Turns for Directory {
    fn take(&self, name: &str) -> io::Result<Option<Turn>> {
        self.make()?;
        // The lock is the kernel's: a process that dies gives it back. The file stays, since one that is taken away while
        // somebody waits for it locks nobody out.
        let path = self.0.join(format!(".{name}.lock"));
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("plimsoll-acme-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn what_is_put_is_its_owners_alone_and_is_replaced_whole() {
        let path = scratch("put");
        let directory = Directory::at(path.join("a/b"));
        assert_eq!(directory.get("x.pem").unwrap(), None);
        assert_eq!(directory.list().unwrap(), Vec::<String>::new());
        directory.put("x.pem", b"one").unwrap();
        directory.put("x.pem", b"two").unwrap();
        directory.put("y.json", b"{}").unwrap();
        assert_eq!(directory.get("x.pem").unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(directory.list().unwrap(), ["x.pem", "y.json"]);
        let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path.join("a/b")), 0o700);
        assert_eq!(mode(&path.join("a/b/x.pem")), 0o600);
        assert!(!directory.is_open_to_others());
        fs::set_permissions(path.join("a/b"), fs::Permissions::from_mode(0o750)).unwrap();
        assert!(directory.is_open_to_others());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn what_cannot_be_kept_is_told_and_leaves_nothing_behind() {
        let path = scratch("file");
        fs::write(&path, "a file").unwrap();
        let directory = Directory::at(path.join("below"));
        assert!(directory.put("x.pem", b"one").is_err());
        assert!(directory.get("x.pem").is_err());
        assert!(directory.take("turn").is_err());
        fs::remove_file(&path).unwrap();
        let directory = Directory::at(path.clone());
        fs::create_dir_all(path.join("x.pem/there")).unwrap();
        assert!(directory.put("x.pem", b"one").is_err());
        assert_eq!(directory.list().unwrap(), ["x.pem"]);
        fs::write(path.join("big"), vec![0; (1 << 20) + 1]).unwrap();
        assert!(directory.get("big").is_err());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_turn_is_one_holders_at_a_time() {
        let path = scratch("turns");
        let (one, other) = (Directory::at(path.clone()), Directory::at(path.clone()));
        let turn = one.take("a").unwrap();
        assert!(turn.is_some());
        assert!(other.take("a").unwrap().is_none());
        assert!(one.take("a").unwrap().is_none());
        assert!(other.take("b").unwrap().is_some());
        drop(turn);
        assert!(other.take("a").unwrap().is_some());
        fs::remove_dir_all(&path).unwrap();
    }
}

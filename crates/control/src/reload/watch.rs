//! `[server] watch`: the file and those that it includes are read again when they have changed.
//!
//! They are looked at by what the kernel says of them, as the files of filters are: a symbolic link further up that is
//! changed, as Kubernetes does with its volumes, shows as another file behind the same path, and so does an editor's rename.
//! A change counts once all have stayed as they are from one look to the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Reloader;
use crate::config::Origins;
use crate::files::Stamp;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Files as the kernel told of them; `None` for one that is not there.
type Stamps = Vec<(PathBuf, Option<Stamp>)>;

/// What a configuration was read from.
#[derive(Clone, Debug, Default)]
pub(super) struct Footprint {
    origins: Origins,
    /// As they were when they were read last, whether it could be used or not.
    read: Stamps,
}

impl Footprint {
    /// Of what was read when the process started.
    pub(super) fn of(origins: &Origins) -> Self {
        let read = origins.paths().into_iter().map(|path| {
            let stamp = origins.stamps.get(&path).copied();
            (path, stamp)
        });
        Footprint {
            origins: origins.clone(),
            read: read.collect(),
        }
    }

    /// The same files as they are now.
    pub(super) fn again(&self) -> Stamps {
        stamps(&self.origins)
    }

    /// Takes over that the files of `origins` were read, which were as in `before` when that began. What could not be `used`
    /// may lack the files that would tell of others: those of before are looked at as well.
    pub(super) fn read(&mut self, before: &Stamps, origins: Origins, used: bool) {
        // What was written in the meantime may have been read or not: it has to be read again.
        let is_steady = *before == stamps(&self.origins);
        if used {
            self.origins = origins;
        } else {
            self.origins.join(origins);
        }
        self.read = if is_steady {
            stamps(&self.origins)
        } else {
            before.clone()
        };
    }
}

fn stamps(origins: &Origins) -> Stamps {
    let stamp = |path: PathBuf| {
        let found = std::fs::metadata(&path).ok().map(|found| Stamp::of(&found));
        (path, found)
    };
    origins.paths().into_iter().map(stamp).collect()
}

impl Reloader {
    /// Reads the file again if it has changed since the process read it at its start: the process before may have been told
    /// to read it after that.
    pub async fn catch_up(self: Arc<Self>) {
        let this = self.clone();
        let looked = tokio::task::spawn_blocking(move || this.is_file_changed());
        if looked.await.unwrap_or(false) {
            tracing::info!("the configuration's files have changed since this process read them");
            // How it went is told where it is done.
            let _ = self.reload().await;
        }
    }

    /// Whether the files that what is served was read from are others by now.
    pub(crate) fn is_file_changed(&self) -> bool {
        let footprint = self.footprint().clone();
        self.started.file().is_some() && footprint.again() != footprint.read
    }

    /// Reads the file again whenever it has changed, for as long as what is served asks for that. It never ends.
    pub async fn watch(self: Arc<Self>) {
        let mut seen = Stamps::new();
        loop {
            tokio::time::sleep(LOOK).await;
            if !self.control.plan().watch || self.started.file().is_none() {
                continue;
            }
            let this = self.clone();
            // The disk may sleep.
            let looked = tokio::task::spawn_blocking(move || {
                let footprint = this.footprint().clone();
                let now = footprint.again();
                let is_other = now != footprint.read;
                (now, is_other)
            });
            let Ok((now, is_other)) = looked.await else { continue };
            let rests = now == seen;
            seen = now;
            if is_other && rests {
                tracing::info!("the configuration's files have changed");
                // How it went is told where it is done.
                let _ = self.reload().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn what_was_written_after_it_was_read_is_seen_as_another() {
        let directory = std::env::temp_dir().join(format!("plimsoll-watch-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("plimsoll.toml");
        std::fs::write(&path, "[listeners.web]\nbind = \":1\"\n").expect("it is written");
        let loaded = config::load(&path, &|_| None).expect("it is right");
        let footprint = Footprint::of(&loaded.sources.origins());
        assert_eq!(footprint.again(), footprint.read);
        std::fs::write(&path, "[listeners.web]\nbind = \":12\"\n").expect("it is written");
        // Also when the process has only now begun to look.
        let late = Footprint::of(&loaded.sources.origins());
        assert_ne!(late.again(), late.read);
        std::fs::remove_dir_all(&directory).expect("it is there");
    }
}

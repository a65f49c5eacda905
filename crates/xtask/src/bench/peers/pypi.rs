//! Programs that come as Python packages, installed beside the build on demand.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::machine::said;
use crate::Fault;

/// How deep in a package a program may lie.
const DEPTH_MAX: usize = 6;

/// A program in a package, under `.tools/peers/PACKAGE`, which git ignores.
pub(crate) struct Program {
    package: &'static str,
    name: &'static str,
    dir: PathBuf,
    path: Option<PathBuf>,
}

impl Program {
    pub(super) fn new(root: &Path, package: &'static str, name: &'static str) -> Program {
        Program {
            package,
            name,
            dir: root.join(".tools/peers").join(package),
            path: None,
        }
    }

    /// Installs the package when it is not there yet.
    pub(super) fn prepare(&mut self) -> Result<(), Fault> {
        self.path = find(&self.dir, self.name, DEPTH_MAX);
        if self.path.is_none() {
            println!("installing {} into {}", self.package, self.dir.display());
            let mut pip = Command::new("python3");
            pip.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--target",
            ]);
            let installed = pip.arg(&self.dir).arg(self.package).status();
            match installed {
                Ok(status) if status.success() => self.path = find(&self.dir, self.name, DEPTH_MAX),
                Ok(status) => return Err(format!("pip install {} ended with {status}", self.package)),
                Err(error) => return Err(format!("cannot start python3: {error}")),
            }
        }
        self.path
            .as_ref()
            .map(drop)
            .ok_or_else(|| format!("{} holds no program {}", self.package, self.name))
    }

    /// Where it is.
    pub(super) fn path(&self) -> String {
        self.path
            .as_deref()
            .unwrap_or(Path::new(self.name))
            .display()
            .to_string()
    }

    /// The first line that it says about its version.
    pub(super) fn version(&self, argument: &str) -> String {
        said(&self.path(), &[argument])
    }
}

/// The largest file of this name: packages put a small script of the same name beside the program.
fn find(dir: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    let mut candidates = Vec::new();
    collect(dir, name, depth, &mut candidates);
    candidates
        .into_iter()
        .max_by_key(|path| path.metadata().map_or(0, |file| file.len()))
}

fn collect(dir: &Path, name: &str, depth: usize, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            collect(&path, name, depth - 1, into);
        } else if entry.file_name() == name && path.is_file() {
            into.push(path);
        }
    }
}

//! Style that no compiler checks. Every finding names a file, a line and what to do about it.

mod crates;
mod functions;
mod seams;
mod sizes;
mod source;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Fault;
use source::Source;

/// Something that is not as the house wants it.
#[derive(Debug)]
pub(crate) struct Finding {
    /// From the workspace's root.
    file: PathBuf,
    line: usize,
    /// What is wrong, and what to do.
    says: String,
    /// Warnings are shown and fail nothing.
    warning: bool,
}

impl Finding {
    fn new(file: &Path, line: usize, says: impl Into<String>) -> Finding {
        Finding {
            file: file.to_path_buf(),
            line,
            says: says.into(),
            warning: false,
        }
    }

    fn into_warning(self) -> Finding {
        Finding { warning: true, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning" } else { "error" };
        write!(out, "{}:{}: {kind}: {}", self.file.display(), self.line, self.says)
    }
}

/// Runs every check; fails when one found more than warnings.
pub(crate) fn run(root: &Path) -> Result<(), Fault> {
    let sources = sources(root)?;
    let mut findings = Vec::new();
    for source in &sources {
        sizes::check(source, &mut findings);
        functions::check(source, &mut findings);
        words::check(source, &mut findings);
        seams::check(source, &mut findings);
    }
    crates::check(root, &mut findings)?;
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings.iter().filter(|finding| !finding.warning).count();
    println!(
        "tidy: {} files, {errors} errors, {} warnings",
        sources.len(),
        findings.len() - errors
    );
    if errors == 0 {
        Ok(())
    } else {
        Err("the house is not tidy".to_owned())
    }
}

/// Every text file that git keeps or would keep.
fn sources(root: &Path) -> Result<Vec<Source>, Fault> {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root);
    let output = list.output().map_err(|error| format!("cannot start git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let read = |name: &str| Some(Source::new(name, std::fs::read_to_string(root.join(name)).ok()?));
    // What is deleted but not committed is listed and cannot be read; neither can what is no text.
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty())
        .filter_map(read)
        .collect())
}

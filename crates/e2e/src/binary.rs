//! The `plimsoll` binary under test, built once for each test run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the binary is. It is built first, so that a test never runs yesterday's; `PLIMSOLL_BIN`
/// names another one instead, which is used as it is.
pub fn plimsoll_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("PLIMSOLL_BIN") {
        Some(named) => existing(PathBuf::from(named)),
        None => built(),
    })
}

/// Builds into the directory that this test executable came from: `TARGET/PROFILE/deps/e2e-…`.
fn built() -> PathBuf {
    let this = std::env::current_exe().expect("a test knows its executable");
    let profile_dir = this
        .parent()
        .and_then(Path::parent)
        .expect("a test executable lies in PROFILE/deps")
        .to_path_buf();
    let target_dir = profile_dir.parent().expect("PROFILE lies in the target directory");
    let release = profile_dir.ends_with("release");
    // One run of nextest starts a process a test: the first builds, the rest find its mark.
    let Some(run) = std::env::var_os("NEXTEST_RUN_ID") else {
        build(target_dir, release);
        return existing(profile_dir.join("plimsoll"));
    };
    let lock = File::create(profile_dir.join("e2e-build.lock")).expect("the build lock can be made");
    lock.lock().expect("the build lock can be taken");
    let mark = profile_dir.join("e2e-built-for");
    if std::fs::read(&mark).is_ok_and(|built_for| built_for == run.as_encoded_bytes()) {
        return existing(profile_dir.join("plimsoll"));
    }
    build(target_dir, release);
    std::fs::write(&mark, run.as_encoded_bytes()).expect("the build's mark can be written");
    existing(profile_dir.join("plimsoll"))
}

/// The profile `test` shares its compiled dependencies with the tests, and lands in `debug/` as they do.
fn build(target_dir: &Path, release: bool) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--package", "plimsoll", "--bin", "plimsoll"])
        .args(["--profile", if release { "release" } else { "test" }])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be started");
    assert!(
        output.status.success(),
        "plimsoll does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn existing(path: PathBuf) -> PathBuf {
    assert!(path.is_file(), "there is no plimsoll binary at {}", path.display());
    path
}

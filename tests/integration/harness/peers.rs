//! Peers from PyPI, which `tests/run` installs into `tests/.venv`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of `tests/.venv/bin`.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.venv/bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/run, which installs it", path.display());
    path
}

/// Runs it to its end; what it said is the failure when it fails.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}:\n{said}", output.status);
    said
}

//! What the harnesses share: their arguments, the binaries that they start, and medians.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::load::Error;

/// How long to measure, of an argument: seconds, from 0.05 to 600.
///
/// # Errors
/// What is expected instead.
pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number from 0.05 to 600 is expected".to_owned()),
    }
}

/// Says on standard error why the harness called `name` could not measure.
pub fn fail(name: &str, error: &Error) -> ExitCode {
    // Nothing is left to do when standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "{name}: {error}");
    ExitCode::FAILURE
}

/// The binary at this path.
///
/// # Errors
/// When there is none: how it is come by.
pub fn existing(binary: &Path) -> Result<&Path, Error> {
    if binary.is_file() {
        return Ok(binary);
    }
    let build = "cargo build --release -p portcullis -p benches";
    Err(format!(
        "`{}` is missing; build ours with `{build}`, install Envoy with `tests/run --install`",
        binary.display()
    )
    .into())
}

/// A binary of this package, which Cargo puts beside the harness.
///
/// # Errors
/// When it has not been built.
pub fn beside(name: &str) -> Result<Command, Error> {
    let path = std::env::current_exe()?.with_file_name(name);
    Ok(Command::new(existing(&path)?))
}

/// The middle one, or what lies between the two in the middle; of nothing, no number.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.len().saturating_sub(1) / 2, figures.len() / 2);
    match (figures.get(low), figures.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

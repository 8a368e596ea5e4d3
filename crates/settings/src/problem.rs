//! One mistake in a settings file.

use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake, with all that is needed to find it. Displays as `file:line:column: key: message`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named by whoever asked for it.
    pub file: PathBuf,
    /// The line, counted from 1; 0 when the problem has no place in the file.
    pub line: usize,
    /// The column in characters, counted from 1; 0 when the problem has no place in the file.
    pub column: usize,
    /// The path of the key, such as `issuers[0].leeway`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, in words; never a secret and never a value that came from a variable.
    pub message: String,
}

impl Problem {
    /// A problem of a file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            file: file.to_path_buf(),
            line: 0,
            column: 0,
            key: String::new(),
            message: message.into(),
        }
    }

    /// A problem at a place of a file that has no keys, such as a policy.
    pub fn at(file: &Path, line: usize, column: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            column,
            ..Self::of_file(file, message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// User input as a message shows it: in backticks, on one line, and not longer than a message should be.
pub(crate) fn quote(text: &str) -> String {
    format!("`{}`", one_line(text))
}

/// The text without control characters (they could forge lines of a log) and cut to a readable length.
pub(crate) fn one_line(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

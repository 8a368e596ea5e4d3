//! How far a long load has come, for whoever sits before a terminal.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Loads that end sooner are not told of, and nor are steps that follow each other sooner.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks at the clock are taken so many entities apart.
const STRIDE: u32 = 256;

static TELL: OnceLock<fn(&Step)> = OnceLock::new();

/// How far a load has come.
#[derive(Debug, Clone)]
pub struct Step {
    /// The file that is read.
    pub path: PathBuf,
    /// Bytes that have been read.
    pub read: u64,
    /// Bytes that there are.
    pub bytes: u64,
}

#[derive(Debug)]
pub(super) struct Progress<'a> {
    path: &'a Path,
    bytes: u64,
    told: Instant,
    stride: u32,
}

/// Has every load of this process that takes longer than a second told to `tell`, about once a
/// second. The first caller is heard.
pub fn tell_progress(tell: fn(&Step)) {
    let _ = TELL.set(tell);
}

// === impl Progress ===

impl<'a> Progress<'a> {
    pub(super) fn new(path: &'a Path, bytes: u64) -> Self {
        Self {
            path,
            bytes,
            told: Instant::now(),
            stride: 0,
        }
    }

    pub(super) fn at(&mut self, read: u64) {
        self.stride += 1;
        if self.stride < STRIDE {
            return;
        }
        self.stride = 0;
        if let Some(tell) = TELL.get()
            && self.told.elapsed() >= PAUSE
        {
            self.told = Instant::now();
            tell(&Step {
                path: self.path.to_owned(),
                read,
                bytes: self.bytes,
            });
        }
    }
}

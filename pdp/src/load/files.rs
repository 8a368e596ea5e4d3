//! Files into texts, all as they stood at one moment.

use std::fs::File;
use std::io::Read as _;
use std::thread;
use std::time::{Duration, SystemTime};

use settings::Problem;

use super::{Sources, Text, Texts, place};
use crate::scan::{Found, Scan, Stamp, unreadable};

/// The largest file of policies or schema that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// How long files must not have changed to be taken over: some are written in two steps, emptied
/// and then filled.
pub(crate) const STEADY: Duration = Duration::from_millis(200);

/// How often sources are read that change meanwhile, until the next look.
pub(super) const READS: usize = 5;

/// Reads sources that nobody has looked at before, and so without a pause unless something has
/// been written just now.
pub(crate) fn read_new(sources: &Sources) -> Result<(Scan, Texts), Vec<Problem>> {
    let scan = Scan::of(sources);
    let pause = scan.changed_within(STEADY, SystemTime::now());
    read_steady(sources, scan, if pause { STEADY } else { Duration::ZERO })
}

/// Reads the sources as they stood at one moment. A scan before and one after the read must be
/// equal: else there are policies of two versions, and a `forbid` that is in both may be missing.
/// `pause` lies between the scans, so that a file that is being written is not taken for a whole
/// one.
///
/// # Errors
/// Every source that cannot be read, or that they do not hold still.
#[expect(
    clippy::disallowed_methods,
    reason = "files tell of no end of a change, and this thread serves no requests"
)]
pub(crate) fn read_steady(
    sources: &Sources,
    mut scan: Scan,
    mut pause: Duration,
) -> Result<(Scan, Texts), Vec<Problem>> {
    for _ in 0..READS {
        thread::sleep(pause);
        let texts = read(&scan);
        let after = Scan::of(sources);
        match texts {
            Ok(Some(texts)) if after == scan => return Ok((scan, texts)),
            Err(problems) if after == scan => return Err(problems),
            _ => {}
        }
        scan = after;
        pause = STEADY;
    }
    Err(restless(sources))
}

pub(super) fn restless(sources: &Sources) -> Vec<Problem> {
    vec![Problem::of_file(
        &sources.policies,
        "keeps changing while it is read",
    )]
}

/// Reads the files that a scan found, but for the entities, which are read when they are taken over
/// and then held against the same scan; `None` when one is no longer what the scan saw.
fn read(scan: &Scan) -> Result<Option<Texts>, Vec<Problem>> {
    let mut problems = scan.problems.clone();
    let mut changed = false;
    let mut take = |file: &Found| match read_file(file) {
        Ok(Some(content)) => Some(Text {
            path: file.path.clone(),
            content,
        }),
        Ok(None) => {
            changed = true;
            None
        }
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    let texts = Texts {
        policies: scan.policies.iter().filter_map(&mut take).collect(),
        schema: scan.schema.as_ref().and_then(&mut take),
        entities: None,
    };
    if changed {
        Ok(None)
    } else if problems.is_empty() {
        Ok(Some(texts))
    } else {
        Err(problems)
    }
}

/// Reads one file; `None` when it is not, before and after, the file that was found. A link may
/// have been swapped and swapped back meanwhile, which no later scan shows.
fn read_file(found: &Found) -> Result<Option<String>, Problem> {
    let path = &*found.path;
    let fail = |error| unreadable(path, &error);
    let file = File::open(path).map_err(fail)?;
    let as_found = || Ok(Stamp::of(&file.metadata().map_err(fail)?) == found.stamp);
    if !as_found()? {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&file)
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if !as_found()? {
        return Ok(None);
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Problem::of_file(
            path,
            format!("is larger than {} MiB", MAX_FILE_BYTES >> 20),
        ));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before =
            String::from_utf8_lossy(error.as_bytes().get(..at).unwrap_or_default()).into_owned();
        place::at(
            &Text {
                path: path.to_owned(),
                content: before,
            },
            at,
            "is not text in UTF-8",
        )
    })
}

#[cfg(test)]
mod tests;

//! Which files there are, and whether any of them has changed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use settings::Problem;

use crate::load::Sources;

/// Folders below the policy folder, at most so deep: a symbolic link may lead in circles.
const MAX_FOLDERS: usize = 32;

/// Problems after which a walk ends. Two links in circles have more ways through than can be walked.
const MAX_PROBLEMS: usize = 100;

/// The files of one system and what their metadata says, or what is wrong with them. Two equal
/// scans mean that no content has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The policy files, sorted by path.
    pub(crate) policies: Vec<Found>,
    pub(crate) schema: Option<Found>,
    pub(crate) entities: Option<Found>,
    /// Every source that cannot be looked at. Perhaps it has only just gone: the next scan tells.
    pub(crate) problems: Vec<Problem>,
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
}

/// What changes when a file is written, replaced, or reached through another symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

// === impl Scan ===

impl Scan {
    /// Looks at every source, following symbolic links, as a mounted ConfigMap is made of them.
    /// Entries whose name starts with a dot are passed over: in a ConfigMap they are the
    /// versions that the links lead to. Nothing else is: what cannot be looked at may forbid.
    pub(crate) fn of(sources: &Sources) -> Self {
        let mut policies = Vec::new();
        let mut problems = Vec::new();
        match fs::metadata(&sources.policies) {
            Ok(metadata) if metadata.is_dir() => {
                walk(&sources.policies, 0, &mut policies, &mut problems);
            }
            metadata => policies.extend(found(&sources.policies, metadata, &mut problems)),
        }
        let mut file = |path: &Option<PathBuf>| {
            let path = path.as_deref()?;
            found(path, fs::metadata(path), &mut problems)
        };
        Self {
            policies,
            schema: file(&sources.schema),
            entities: file(&sources.entities),
            problems,
        }
    }

    /// Whether a file has changed in the last `time` before `now`. The clock of another machine may
    /// have set the time of change: one in the future counts as just now.
    pub(crate) fn changed_within(&self, time: Duration, now: SystemTime) -> bool {
        let since = now
            .checked_sub(time)
            .and_then(|since| since.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default();
        self.policies
            .iter()
            .chain(&self.schema)
            .chain(&self.entities)
            .any(|file| {
                let (seconds, nanoseconds) = file.stamp.changed;
                (i128::from(seconds), i128::from(nanoseconds))
                    >= (
                        i128::from(since.as_secs()),
                        i128::from(since.subsec_nanos()),
                    )
            })
    }
}

// === impl Found ===

impl Found {
    pub(crate) fn bytes(&self) -> u64 {
        self.stamp.bytes
    }
}

// === impl Stamp ===

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::of_file(path, format!("cannot be read: {error}"))
}

/// Adds the `.cedar` and `.cedar.json` files below `folder`, sorted by path.
fn walk(folder: &Path, depth: usize, policies: &mut Vec<Found>, problems: &mut Vec<Problem>) {
    if depth > MAX_FOLDERS {
        problems.push(Problem::of_file(
            folder,
            format!("more than {MAX_FOLDERS} folders deep"),
        ));
        return;
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut paths: Vec<PathBuf> = match entries {
        Ok(entries) => entries
            .into_iter()
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .map(|entry| entry.path())
            .collect(),
        Err(error) => return problems.push(unreadable(folder, &error)),
    };
    paths.sort_unstable();
    for path in paths {
        if problems.len() >= MAX_PROBLEMS {
            return;
        }
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let is_policy = name.ends_with(b".cedar") || name.ends_with(b".cedar.json");
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => walk(&path, depth + 1, policies, problems),
            Ok(_) if !is_policy => {}
            // A link that leads nowhere is told whatever its name: it may have led to a folder.
            metadata => policies.extend(found(&path, metadata, problems)),
        }
    }
}

/// The file, if it is one: opening a pipe or a device may never end.
fn found(
    path: &Path,
    metadata: io::Result<Metadata>,
    problems: &mut Vec<Problem>,
) -> Option<Found> {
    match metadata {
        Ok(metadata) if metadata.is_file() => Some(Found {
            path: path.to_owned(),
            stamp: Stamp::of(&metadata),
        }),
        Ok(_) => {
            problems.push(Problem::of_file(path, "is not a regular file"));
            None
        }
        Err(error) => {
            problems.push(unreadable(path, &error));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(folder: &Path) -> Sources {
        Sources {
            policies: folder.to_owned(),
            schema: None,
            entities: None,
        }
    }

    #[test]
    fn a_folder_is_read_recursively_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("b/c")).unwrap();
        fs::create_dir_all(folder.path().join(".git")).unwrap();
        for name in [
            "z.cedar",
            "a.cedar",
            "b/c/d.cedar",
            ".git/x.cedar",
            "b/notes.txt",
            "b/links.cedar.json",
            "app.cedarschema.json",
            ".y.cedar",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let scan = Scan::of(&sources(folder.path()));
        let names: Vec<_> = scan
            .policies
            .iter()
            .map(|file| {
                file.path
                    .strip_prefix(folder.path())
                    .unwrap()
                    .to_str()
                    .unwrap()
            })
            .collect();
        assert_eq!(
            names,
            ["a.cedar", "b/c/d.cedar", "b/links.cedar.json", "z.cedar"]
        );
        assert_eq!(Scan::of(&sources(folder.path())), scan);
        fs::write(folder.path().join("b/c/d.cedar"), "// changed").unwrap();
        assert_ne!(Scan::of(&sources(folder.path())), scan);
    }

    #[test]
    fn a_mounted_config_map_changes_by_one_link() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(
                path(version).join("p.cedar"),
                "permit(principal,action,resource);",
            )
            .unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/p.cedar", path("p.cedar")).unwrap();
        let before = Scan::of(&sources(folder.path()));
        assert_eq!(before.policies[0].path, path("p.cedar"));
        symlink("..2", path("..next")).unwrap();
        fs::rename(path("..next"), path("..data")).unwrap();
        assert_ne!(Scan::of(&sources(folder.path())), before);
    }

    #[test]
    fn every_missing_source_is_named() {
        let gone = Path::new("/nonexistent");
        let sources = Sources {
            policies: gone.join("policies"),
            schema: Some(gone.join("schema")),
            entities: Some(gone.join("entities")),
        };
        assert_eq!(Scan::of(&sources).problems.len(), 3);
    }

    #[test]
    fn links_in_circles_end() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["again", "and-again"] {
            std::os::unix::fs::symlink(folder.path(), folder.path().join(name)).unwrap();
        }
        let problems = Scan::of(&sources(folder.path())).problems;
        assert!((1..=MAX_PROBLEMS).contains(&problems.len()));
    }

    #[test]
    fn a_link_that_leads_nowhere_is_a_problem_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["forbids", "z.cedar", ".editing"] {
            std::os::unix::fs::symlink("gone", folder.path().join(name)).unwrap();
        }
        let problems = Scan::of(&sources(folder.path())).problems;
        let files: Vec<_> = problems
            .iter()
            .map(|problem| problem.file.clone())
            .collect();
        assert_eq!(
            files,
            [folder.path().join("forbids"), folder.path().join("z.cedar")]
        );
    }

    #[test]
    fn only_regular_files_are_sources() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("a.cedar");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("b.cedar")).unwrap();
        // Nobody's source, and so nobody's problem.
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("zero")).unwrap();
        let scan = Scan::of(&Sources {
            policies: folder.path().to_owned(),
            schema: Some(socket),
            entities: Some(folder.path().to_owned()),
        });
        let problems: Vec<_> = scan.problems.iter().map(ToString::to_string).collect();
        let at = |name: &str| {
            format!(
                "{}: is not a regular file",
                folder.path().join(name).display()
            )
        };
        assert_eq!(
            problems,
            [at("a.cedar"), at("b.cedar"), at("a.cedar"), at("")]
                .map(|line| line.replace("/: ", ": "))
        );
    }
}

//! Which files there are, and whether any of them has changed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use settings::Problem;

use crate::load::Sources;

/// Folders below the policy folder, at most so deep: a symbolic link may lead in circles.
const MAX_FOLDERS: usize = 32;

/// The policy files of one system, sorted, and what their metadata and that of the other sources
/// says. Two equal scans mean that no content has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) policies: Vec<PathBuf>,
    files: Vec<(PathBuf, Stamp)>,
}

/// What changes when a file is written, replaced, or reached through another symbolic link.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
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
    /// versions that the links lead to.
    ///
    /// # Errors
    /// For every source that cannot be read.
    pub(crate) fn of(sources: &Sources) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut files = Vec::new();
        let mut policies = Vec::new();
        match fs::metadata(&sources.policies) {
            Ok(metadata) if metadata.is_dir() => {
                walk(&sources.policies, 0, &mut files, &mut problems);
                policies = files.iter().map(|(path, _)| path.clone()).collect();
            }
            Ok(metadata) => {
                files.push((sources.policies.clone(), Stamp::of(&metadata)));
                policies.push(sources.policies.clone());
            }
            Err(error) => problems.push(unreadable(&sources.policies, &error)),
        }
        for path in [&sources.schema, &sources.entities].into_iter().flatten() {
            match fs::metadata(path) {
                Ok(metadata) => files.push((path.clone(), Stamp::of(&metadata))),
                Err(error) => problems.push(unreadable(path, &error)),
            }
        }
        if problems.is_empty() {
            Ok(Self { policies, files })
        } else {
            Err(problems)
        }
    }
}

// === impl Stamp ===

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
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

/// Adds the `.cedar` files below `folder`, sorted by path.
fn walk(
    folder: &Path,
    depth: usize,
    files: &mut Vec<(PathBuf, Stamp)>,
    problems: &mut Vec<Problem>,
) {
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
        let is_policy = path
            .extension()
            .is_some_and(|extension| extension == "cedar");
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => walk(&path, depth + 1, files, problems),
            Ok(metadata) if is_policy => files.push((path, Stamp::of(&metadata))),
            Ok(_) => {}
            Err(error) if is_policy => problems.push(unreadable(&path, &error)),
            // A dangling link or a file that has just gone, and none of ours.
            Err(_) => {}
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
            ".y.cedar",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let scan = Scan::of(&sources(folder.path())).unwrap();
        let names: Vec<_> = scan
            .policies
            .iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a.cedar", "b/c/d.cedar", "z.cedar"]);
        assert_eq!(Scan::of(&sources(folder.path())).unwrap(), scan);
        fs::write(folder.path().join("b/c/d.cedar"), "// changed").unwrap();
        assert_ne!(Scan::of(&sources(folder.path())).unwrap(), scan);
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
        let before = Scan::of(&sources(folder.path())).unwrap();
        assert_eq!(before.policies, [path("p.cedar")]);
        symlink("..2", path("..next")).unwrap();
        fs::rename(path("..next"), path("..data")).unwrap();
        assert_ne!(Scan::of(&sources(folder.path())).unwrap(), before);
    }

    #[test]
    fn every_missing_source_is_named() {
        let gone = Path::new("/nonexistent");
        let sources = Sources {
            policies: gone.join("policies"),
            schema: Some(gone.join("schema")),
            entities: Some(gone.join("entities")),
        };
        assert_eq!(Scan::of(&sources).unwrap_err().len(), 3);
    }

    #[test]
    fn a_link_in_circles_ends() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        assert!(Scan::of(&sources(folder.path())).is_err());
    }
}

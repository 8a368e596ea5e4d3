//! The `fortress` pack: found in the folder that `dev` runs in, else written out from the binary,
//! so that there is always a file to edit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the files of the pack are.
pub(super) struct Pack {
    pub(super) policies: PathBuf,
    pub(super) schema: PathBuf,
}

/// The pack as it was when this binary was built: path and text.
const EMBEDDED: &[(&str, &str)] = &[
    (
        "schemas/fortress.cedarschema",
        include_str!("../../schemas/fortress.cedarschema"),
    ),
    (
        "policies/fortress/users.cedar",
        include_str!("../../policies/fortress/users.cedar"),
    ),
    (
        "policies/fortress/entities.json",
        include_str!("../../policies/fortress/entities.json"),
    ),
    (
        "policies/fortress/routes.yaml",
        include_str!("../../policies/fortress/routes.yaml"),
    ),
];

// === impl Pack ===

impl Pack {
    /// The pack below `folder`, or the embedded one written below `scratch`.
    ///
    /// # Errors
    /// When the embedded files cannot be written.
    pub(super) fn find(folder: &Path, scratch: &Path) -> io::Result<Self> {
        if let Some(pack) = Self::below(folder) {
            return Ok(pack);
        }
        for (name, text) in EMBEDDED {
            let path = scratch.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, text)?;
        }
        Self::below(scratch)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the written pack is gone"))
    }

    fn below(folder: &Path) -> Option<Self> {
        let folder = fs::canonicalize(folder).ok()?;
        let pack = Self {
            policies: folder.join("policies/fortress"),
            schema: folder.join("schemas/fortress.cedarschema"),
        };
        (pack.policies.join("routes.yaml").is_file() && pack.schema.is_file()).then_some(pack)
    }
}

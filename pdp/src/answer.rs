//! What is answered.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use cedar_policy::Decision;
use smol_str::SmolStr;

use crate::one_line::one_line;

/// The answer to one question. Everything in it comes from the one snapshot that `revision` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Allow or Deny.
    pub decision: Decision,
    /// The policies that decided, sorted: the permits of an Allow, the forbids of a Deny, none
    /// where nothing permitted. Short ids (up to 23 bytes) are copied: ids that all answers shared would
    /// have to be counted, and threads would wait for each other there.
    pub determining_policies: Vec<SmolStr>,
    /// What went wrong, sorted.
    pub errors: Vec<PolicyError>,
    /// Who decided.
    pub source: Source,
    /// The content hash of what decided.
    pub revision: Revision,
}

/// A content hash: the SHA-256 of policies and schema, in hexadecimal. Every answer has its own copy:
/// one that all of them shared would have to count them, and threads would wait for each other there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    text: [u8; 64],
    len: u8,
}

/// A policy that could not be evaluated, or a question that no policy could be asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyError {
    /// The policy; `None` when the question itself was at fault.
    pub policy: Option<SmolStr>,
    /// What happened.
    pub message: String,
}

/// Who decided. Remote decision points get variants of their own when they exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The policies did.
    Engine,
    /// The policies did, when they were asked the same before.
    Cache,
    /// Nobody could, and so it is Deny.
    FailClosed,
}

// === impl Answer ===

impl Answer {
    /// Whether the decision is Allow.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        self.decision == Decision::Allow
    }

    /// `ALLOW` or `DENY`, as it is written in responses and logs.
    #[must_use]
    pub fn decision_name(&self) -> &'static str {
        match self.decision {
            Decision::Allow => "ALLOW",
            Decision::Deny => "DENY",
        }
    }

    /// Whether it is the engine's answer `fresh`, or that answer given again.
    pub(crate) fn repeats(&self, fresh: &Self) -> bool {
        let source = match self.source {
            Source::Cache => Source::Engine,
            source => source,
        };
        self.decision == fresh.decision
            && self.determining_policies == fresh.determining_policies
            && self.errors == fresh.errors
            && self.revision == fresh.revision
            && source == fresh.source
    }

    /// A Deny for a question that the policies of `revision` could not be asked.
    pub(crate) fn refused(source: Source, revision: &str, message: &str) -> Self {
        Self {
            decision: Decision::Deny,
            determining_policies: Vec::new(),
            errors: vec![PolicyError {
                policy: None,
                message: one_line(message),
            }],
            source,
            revision: Revision::from(revision),
        }
    }
}

// === impl Revision ===

impl From<&str> for Revision {
    /// Of text that is longer than a hash, only the beginning is kept.
    fn from(text: &str) -> Self {
        let text = text.get(..64).unwrap_or(text);
        let mut revision = Self {
            text: [0; 64],
            len: 0,
        };
        for (to, from) in revision.text.iter_mut().zip(text.bytes()) {
            *to = from;
            revision.len += 1;
        }
        revision
    }
}

impl Deref for Revision {
    type Target = str;

    fn deref(&self) -> &str {
        let text = self.text.get(..usize::from(self.len));
        text.and_then(|text| str::from_utf8(text).ok())
            .unwrap_or_default()
    }
}

impl AsRef<str> for Revision {
    fn as_ref(&self) -> &str {
        self
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq<Arc<str>> for Revision {
    fn eq(&self, other: &Arc<str>) -> bool {
        **self == **other
    }
}

// === impl Source ===

impl Source {
    /// `engine`, `cache` or `fail_closed`, as it is written in responses, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Cache => "cache",
            Self::FailClosed => "fail_closed",
        }
    }
}

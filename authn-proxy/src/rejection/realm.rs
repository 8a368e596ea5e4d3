//! The `WWW-Authenticate` header

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::Reason;
use crate::config::RealmConfig;

/// The protection space that challenges name, ready to be quoted.
#[derive(Clone, Debug)]
pub struct Realm(Arc<str>);

// === impl Realm ===

impl Realm {
    /// Checks the configured name: it stands between quotes in a header.
    pub fn new(config: &RealmConfig) -> Result<Self, String> {
        let quotable =
            |byte: u8| (byte == b' ' || byte.is_ascii_graphic()) && byte != b'"' && byte != b'\\';
        if config.0.bytes().all(quotable) {
            Ok(Self(config.0.as_str().into()))
        } else {
            Err("must be printable ASCII without quotes and backslashes".to_owned())
        }
    }

    /// The challenge of RFC 6750 section 3: without `error` when no token was shown at all.
    pub(super) fn challenge(&self, reason: &Reason) -> Option<HeaderValue> {
        let realm = &self.0;
        let challenge = match reason {
            Reason::MissingToken => format!("Bearer realm=\"{realm}\""),
            Reason::InsufficientScope(scopes) => format!(
                "Bearer realm=\"{realm}\", error=\"insufficient_scope\", scope=\"{}\"",
                scopes.join(" ")
            ),
            other if other.face().status == StatusCode::UNAUTHORIZED => {
                format!("Bearer realm=\"{realm}\", error=\"invalid_token\"")
            }
            _ => return None,
        };
        HeaderValue::try_from(challenge).ok()
    }
}

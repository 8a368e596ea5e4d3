//! The claims of a token that a proxy in front of us has verified.

use std::fmt;
use std::sync::Arc;

use crate::error::TokenError;
use crate::json::Object;

/// The claims of a token whose signature somebody else has verified, and on whose word that is so. Nothing but the
/// signature is taken on trust: [`crate::Issuers::vouched`] judges them as it judges a token's.
#[derive(Clone)]
pub struct VouchedClaims {
    issuer: Arc<str>,
    json: String,
}

// === impl VouchedClaims ===

impl VouchedClaims {
    /// Claims, as a JSON object, that are to be held to the rules of the issuer of this configured name.
    #[must_use]
    pub fn new(issuer: Arc<str>, claims: &serde_json::Value) -> Self {
        Self {
            issuer,
            json: claims.to_string(),
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The claims, read as strictly and within the same bounds as those of a token.
    pub(crate) fn read(&self, limit: usize) -> Result<Object<'_>, TokenError> {
        if self.json.len() > limit {
            return Err(TokenError::TooLarge);
        }
        Object::parse(self.json.as_bytes()).ok_or(TokenError::Invalid("claims that are no object"))
    }
}

impl fmt::Debug for VouchedClaims {
    /// Keeps the claims to itself, wherever this is printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VouchedClaims")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

//! Who is calling, as a token proved it.

use std::fmt;
use std::sync::Arc;

/// What a verified token says of its bearer. Only verification makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The `name` of the `issuers:` entry that vouches.
    pub issuer: Arc<str>,
    /// The token's `iss`.
    pub issuer_url: Arc<str>,
    /// The token's `sub`.
    pub subject: String,
    /// The entity type of the principal, as configured (unqualified names get the policies'
    /// namespace later).
    pub principal_type: Arc<str>,
    /// The entity id of the principal: the value of the configured claim, `sub` by default.
    pub principal_id: String,
    /// The entity type of `groups`, where the issuer maps groups.
    pub group_type: Option<Arc<str>>,
    /// The names of the principal's groups or roles.
    pub groups: Vec<String>,
    /// Principal attributes that come from claims, under their Cedar names.
    pub attributes: Vec<(Arc<str>, Claim)>,
    /// The scopes granted, in the token's order.
    pub scopes: Vec<String>,
    /// The token's `jti`.
    pub token_id: Option<String>,
    /// The token's `iat`, in seconds since 1970.
    pub issued_at: u64,
    /// The token's `exp`, in seconds since 1970.
    pub expires_at: u64,
    /// The session that must still be open, for issuers that keep sessions.
    pub session: Option<SessionRef>,
}

/// A claim's value, in the types that Cedar shares with JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Text without control characters.
    String(String),
    /// A whole number.
    Long(i64),
    /// A truth value.
    Bool(bool),
    /// A list of texts.
    Strings(Vec<String>),
}

/// A session as the token names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRef {
    /// The `sid` claim.
    pub id: String,
    /// The `sidv` claim: a session whose version has moved on is revoked.
    pub version: u64,
}

// === impl Identity ===

impl fmt::Debug for Identity {
    /// Names the principal and keeps the claims to itself, wherever this is printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("issuer", &self.issuer)
            .field("principal_type", &self.principal_type)
            .field("principal_id", &self.principal_id)
            .finish_non_exhaustive()
    }
}

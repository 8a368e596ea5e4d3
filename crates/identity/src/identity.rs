//! Who is calling, as a token proved it.

use std::fmt;
use std::sync::Arc;

use crate::config::{Kind, SessionSource, UserStatusSource};

/// What a verified token says of its bearer. Only verification makes one. A hundred thousand of them are remembered, so
/// texts have no room to grow and what is rare stands elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The `name` of the `issuers:` entry that vouches.
    pub issuer: Arc<str>,
    /// The token's `iss`.
    pub issuer_url: Arc<str>,
    /// What kind of issuer that is, and so whether a person, a service or a workload is calling.
    pub kind: Kind,
    /// Whether it is an id token (`token_use` of `id`), which says who its bearer is and not what the bearer may do.
    pub is_id_token: bool,
    /// The token's `sub`.
    pub subject: Box<str>,
    /// The entity type of the principal, as configured (unqualified names get the policies'
    /// namespace later).
    pub principal_type: Arc<str>,
    /// The entity id of the principal: the value of the configured claim, `sub` by default.
    pub principal_id: Box<str>,
    /// The entity type of `groups`, where the issuer maps groups.
    pub group_type: Option<Arc<str>>,
    /// The names of the principal's groups or roles.
    pub groups: Vec<String>,
    /// Principal attributes that come from claims, under their Cedar names.
    pub attributes: Vec<(Arc<str>, Claim)>,
    /// The scopes granted, in the token's order.
    pub scopes: Vec<String>,
    /// The user name under which a user pool's directory knows the subject (`username`,
    /// `cognito:username`).
    pub username: Option<Box<str>>,
    /// The app client that the token was issued to (`client_id`, or `aud` of a Cognito id token).
    pub client_id: Option<Box<str>>,
    /// The token's `jti`.
    pub token_id: Option<Box<str>>,
    /// The token's `origin_jti`: the id that all tokens of one Cognito sign-in share.
    pub origin_token_id: Option<Box<str>>,
    /// The token's `auth_time`: when the bearer last signed in, in seconds since 1970.
    pub authenticated_at: Option<u64>,
    /// The token's `iat`, in seconds since 1970; of a workload, the time of its request.
    pub issued_at: u64,
    /// The token's `exp`, in seconds since 1970; of a workload, the time of its request.
    pub expires_at: u64,
    /// The session that must still be open, for issuers that keep sessions.
    pub session: Option<SessionRef>,
    /// Where the issuer's sessions and revocations are looked up: what is asked there concerns the
    /// bearer and whoever the bearer acts for.
    pub session_source: SessionSource,
    /// Where it is looked up whether the user is enabled: the bearer, or, where a service calls, the
    /// one it acts for.
    pub status_source: UserStatusSource,
    /// The user for whom the bearer, a service, acts (the `act` claim). Only tokens of services have
    /// one; a user's token that claims one is refused.
    pub on_behalf_of: Option<Box<ActingFor>>,
}

/// The user for whom a service acts.
///
/// In the tokens of services `sub` is the service and `act` the user, the reverse of RFC 8693, 4.1,
/// where `act` is who acts. The claim is read here and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct ActingFor {
    /// The user's `sub`.
    pub subject: Box<str>,
    /// The entity type of the user, as configured.
    pub principal_type: Arc<str>,
    /// The entity id of the user.
    pub principal_id: Box<str>,
    /// The entity type of `groups`, where the issuer maps groups.
    pub group_type: Option<Arc<str>>,
    /// The names of the user's groups or roles.
    pub groups: Vec<String>,
    /// Attributes that come from members of `act`, under their Cedar names.
    pub attributes: Vec<(Arc<str>, Claim)>,
    /// What the user lets the service do: the user's scopes, never the service's.
    pub scopes: Vec<String>,
    /// The user name under which a user pool's directory knows the user.
    pub username: Option<Box<str>>,
    /// The user's session, where `act` names one.
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
    pub id: Box<str>,
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

// === impl ActingFor ===

impl fmt::Debug for ActingFor {
    /// Names the user and keeps the claims to itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActingFor")
            .field("principal_type", &self.principal_type)
            .field("principal_id", &self.principal_id)
            .finish_non_exhaustive()
    }
}

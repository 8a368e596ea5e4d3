//! The reasons, and what each looks like from outside

use http::StatusCode;
use serde_json::json;

use crate::path::AmbiguousPath;

/// Why a request is refused. Each reason has one status, one code and one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request shows no token.
    MissingToken,
    /// The token proves nothing.
    InvalidToken,
    /// The token was good once.
    TokenExpired,
    /// The token is not good yet.
    TokenNotYetValid,
    /// The token is longer than any that is looked at.
    TokenTooLarge,
    /// The session or the token was ended before its time.
    SessionRevoked,
    /// The request cannot be understood.
    InvalidRequest,
    /// The path has no single reading.
    AmbiguousPath(AmbiguousPath),
    /// `TRACE` and `CONNECT`, which are never forwarded.
    MethodNotAllowed,
    /// A method that neither HTTP nor any route knows, or an upgrade that the route does not.
    NotImplemented,
    /// The policies, or the route's `callers`, say no.
    Forbidden,
    /// The token lacks a scope; these are the ones the route requires.
    InsufficientScope(Vec<String>),
    /// A service calls for nobody where a user must be acted for.
    ActorRequired,
    /// The user may not sign in at the moment.
    UserDisabled,
    /// The user is not confirmed, or has to do something first.
    UserNotActive,
    /// No route is about this request.
    RouteNotMapped,
    /// There have been too many requests; in so many seconds there may be another.
    RateLimited(u16),
    /// The caller has as much open as one caller may, or everybody together as much as there may be.
    Overloaded,
    /// The issuer's keys are not known.
    KeysUnavailable,
    /// The issuer's keys are being fetched anew.
    KeysRefreshing,
    /// Whether the caller's session is still open cannot be found out.
    SessionStoreUnavailable,
    /// Whether the user is still enabled cannot be found out.
    UserStatusUnavailable,
    /// The decision point cannot answer.
    AuthzUnavailable,
    /// The upstream could not be reached, or broke off before it answered.
    UpstreamUnavailable,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The request has been here before.
    LoopDetected,
    /// The body is longer than allowed.
    BodyTooLarge,
    /// The body did not arrive in time.
    RequestTimeout,
}

/// What one reason looks like from outside.
pub(super) struct Face {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    /// Seconds after which the same request may fare better; `None` when trying again is no use.
    pub(super) retry_after: Option<u32>,
}

// === impl Reason ===

impl Reason {
    /// Whether the request was admitted and it is the upstream that failed it.
    pub(crate) fn is_upstreams(&self) -> bool {
        matches!(self, Self::UpstreamUnavailable | Self::UpstreamTimeout)
    }

    pub(super) fn face(&self) -> Face {
        use StatusCode as S;
        let (status, code, message, retry_after) = match self {
            Self::MissingToken => (
                S::UNAUTHORIZED,
                "missing_token",
                "a bearer token is required",
                None,
            ),
            Self::InvalidToken => (
                S::UNAUTHORIZED,
                "invalid_token",
                "the token is not valid",
                None,
            ),
            Self::TokenExpired => (
                S::UNAUTHORIZED,
                "token_expired",
                "the token has expired",
                None,
            ),
            Self::TokenNotYetValid => (
                S::UNAUTHORIZED,
                "token_not_yet_valid",
                "the token is not valid yet",
                None,
            ),
            Self::TokenTooLarge => (
                S::UNAUTHORIZED,
                "token_too_large",
                "the token is too large",
                None,
            ),
            Self::SessionRevoked => (
                S::UNAUTHORIZED,
                "session_revoked",
                "the session has ended",
                None,
            ),
            Self::InvalidRequest => (
                S::BAD_REQUEST,
                "invalid_request",
                "the request is malformed",
                None,
            ),
            Self::AmbiguousPath(_) => (
                S::BAD_REQUEST,
                "ambiguous_path",
                "the path can be read in more than one way",
                None,
            ),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "the method is not allowed",
                None,
            ),
            Self::NotImplemented => (
                S::NOT_IMPLEMENTED,
                "not_implemented",
                "the request asks for something that is not supported",
                None,
            ),
            Self::Forbidden => (
                S::FORBIDDEN,
                "forbidden",
                "the request is not allowed",
                None,
            ),
            Self::InsufficientScope(_) => (
                S::FORBIDDEN,
                "insufficient_scope",
                "the token lacks a scope that this request requires",
                None,
            ),
            Self::ActorRequired => (
                S::FORBIDDEN,
                "actor_required",
                "the service must act for a user here",
                None,
            ),
            Self::UserDisabled => (S::FORBIDDEN, "user_disabled", "the user is disabled", None),
            Self::UserNotActive => (
                S::FORBIDDEN,
                "user_not_active",
                "the user is not active",
                None,
            ),
            Self::RouteNotMapped => (
                S::FORBIDDEN,
                "route_not_mapped",
                "no route is declared for this request",
                None,
            ),
            Self::RateLimited(wait) => (
                S::TOO_MANY_REQUESTS,
                "rate_limited",
                "there have been too many requests",
                Some(u32::from(*wait)),
            ),
            Self::Overloaded => (
                S::SERVICE_UNAVAILABLE,
                "overloaded",
                "as many connections are open as there may be",
                Some(1),
            ),
            Self::KeysUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "keys_unavailable",
                "the token cannot be verified at the moment",
                Some(5),
            ),
            Self::KeysRefreshing => (
                S::SERVICE_UNAVAILABLE,
                "keys_refreshing",
                "the token cannot be verified yet",
                Some(5),
            ),
            Self::SessionStoreUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "session_store_unavailable",
                "the session cannot be checked at the moment",
                Some(5),
            ),
            Self::UserStatusUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "user_status_unavailable",
                "the user's status cannot be checked at the moment",
                Some(1),
            ),
            Self::AuthzUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "authz_unavailable",
                "the request cannot be decided at the moment",
                Some(5),
            ),
            Self::UpstreamUnavailable => (
                S::BAD_GATEWAY,
                "upstream_unavailable",
                "the service cannot be reached",
                None,
            ),
            Self::UpstreamTimeout => (
                S::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "the service did not answer in time",
                None,
            ),
            Self::LoopDetected => (
                S::LOOP_DETECTED,
                "loop_detected",
                "the request has passed here before",
                None,
            ),
            Self::BodyTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body is larger than allowed",
                None,
            ),
            Self::RequestTimeout => (
                S::REQUEST_TIMEOUT,
                "request_timeout",
                "the request did not arrive in time",
                None,
            ),
        };
        Face {
            status,
            code,
            message,
            retry_after,
        }
    }

    pub(super) fn details(&self) -> serde_json::Value {
        match self {
            Self::AmbiguousPath(fault) => json!({ "reason": fault.reason }),
            Self::InsufficientScope(scopes) => json!({ "required_scopes": scopes }),
            _ => json!({}),
        }
    }
}

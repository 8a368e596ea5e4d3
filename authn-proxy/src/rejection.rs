//! Every way to be refused, and the one place that turns them into responses.
//!
//! The caller learns a code and fixed words; the cause is for the log and never leaves it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use identity::TokenError;
use serde_json::json;

use crate::config::RealmConfig;
use crate::credentials::CredentialFault;
use crate::decide::Asked;
use crate::path::AmbiguousPath;
use crate::routes::Route;

#[cfg(test)]
mod tests;

/// A request that goes no further.
#[derive(Debug)]
pub struct Rejection {
    reason: Reason,
    cause: Option<Cow<'static, str>>,
    route: Option<Arc<Route>>,
    asked: Option<Box<Asked>>,
}

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
    /// The request cannot be understood.
    InvalidRequest,
    /// The path has no single reading.
    AmbiguousPath(AmbiguousPath),
    /// `TRACE` and `CONNECT`, which are never forwarded.
    MethodNotAllowed,
    /// A method that neither HTTP nor any route knows, an upgrade, or a transfer coding.
    NotImplemented,
    /// The policies, or the route's `callers`, say no.
    Forbidden,
    /// The token lacks a scope; these are the ones the route requires.
    InsufficientScope(Vec<String>),
    /// No route is about this request.
    RouteNotMapped,
    /// The issuer's keys are not known.
    KeysUnavailable,
    /// The issuer's keys are being fetched anew.
    KeysRefreshing,
    /// Whether the caller's session is still open cannot be found out.
    SessionStoreUnavailable,
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
    /// There is no room for one more request.
    Overloaded,
}

/// The protection space that challenges name, ready to be quoted.
#[derive(Clone, Debug)]
pub struct Realm(Arc<str>);

/// What one reason looks like from outside.
struct Face {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    /// Seconds after which the same request may fare better; `None` when trying again is no use.
    retry_after: Option<u32>,
}

/// What may be asked for in place of `TRACE` and `CONNECT`; which of them, only the route knows.
const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

// === impl Rejection ===

impl Rejection {
    /// A refusal for this reason.
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            cause: None,
            route: None,
            asked: None,
        }
    }

    /// Adds what the log should say beyond the code. Never a token, a claim or a key.
    pub fn because(mut self, cause: impl Into<Cow<'static, str>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds the route that the request had found.
    pub(crate) fn on(mut self, route: &Arc<Route>) -> Self {
        self.route = Some(Arc::clone(route));
        self
    }

    /// Adds the question whose answer was no.
    pub(crate) fn asked(mut self, asked: Asked) -> Self {
        self.asked = Some(Box::new(asked));
        self
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.reason.face().status
    }

    /// The code in the body, stable and machine readable.
    pub fn code(&self) -> &'static str {
        self.reason.face().code
    }

    /// What happened inside, for the log only.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The route, once one was found.
    pub fn route(&self) -> Option<&Arc<Route>> {
        self.route.as_ref()
    }

    /// The question and its answer, once one was asked.
    pub fn decision(&self) -> Option<&Asked> {
        self.asked.as_deref()
    }

    /// The response that the caller receives.
    pub fn into_response(self, realm: &Realm, request_id: &str) -> Response<Full<Bytes>> {
        let face = self.reason.face();
        let mut response = envelope(&face, self.reason.details(), request_id);
        if self.reason == Reason::MethodNotAllowed {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(ALLOWED_METHODS));
        }
        if let Some(challenge) = realm.challenge(&self.reason) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<AmbiguousPath> for Rejection {
    fn from(fault: AmbiguousPath) -> Self {
        Self::new(Reason::AmbiguousPath(fault))
    }
}

impl From<CredentialFault> for Rejection {
    fn from(fault: CredentialFault) -> Self {
        match fault {
            CredentialFault::Missing => Self::new(Reason::MissingToken),
            CredentialFault::Malformed(cause) => Self::new(Reason::InvalidRequest).because(cause),
            CredentialFault::NotAToken(cause) => Self::new(Reason::InvalidToken).because(cause),
        }
    }
}

impl From<TokenError> for Rejection {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::TooLarge => Self::new(Reason::TokenTooLarge),
            TokenError::Invalid(cause) => Self::new(Reason::InvalidToken).because(cause),
            TokenError::Expired => Self::new(Reason::TokenExpired),
            TokenError::NotYetValid => Self::new(Reason::TokenNotYetValid),
            TokenError::KeysUnavailable => Self::new(Reason::KeysUnavailable),
            TokenError::KeysRefreshing => Self::new(Reason::KeysRefreshing),
        }
    }
}

/// The response to a request that a listener refused before any service saw it.
pub fn render_fault(fault: &listener::Fault, request_id: &str) -> Response<Full<Bytes>> {
    let face = Face {
        status: fault.status,
        code: fault.code,
        message: fault.message,
        retry_after: (fault.status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
    };
    envelope(&face, json!({}), request_id)
}

// === impl Reason ===

impl Reason {
    /// Whether the request was admitted and it is the upstream that failed it.
    pub(crate) fn is_upstreams(&self) -> bool {
        matches!(self, Self::UpstreamUnavailable | Self::UpstreamTimeout)
    }

    fn face(&self) -> Face {
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
            Self::RouteNotMapped => (
                S::FORBIDDEN,
                "route_not_mapped",
                "no route is declared for this request",
                None,
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
            Self::Overloaded => (
                S::SERVICE_UNAVAILABLE,
                "overloaded",
                "too many requests are in progress",
                Some(1),
            ),
        };
        Face {
            status,
            code,
            message,
            retry_after,
        }
    }

    fn details(&self) -> serde_json::Value {
        match self {
            Self::AmbiguousPath(fault) => json!({ "reason": fault.reason }),
            Self::InsufficientScope(scopes) => json!({ "required_scopes": scopes }),
            _ => json!({}),
        }
    }
}

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
    fn challenge(&self, reason: &Reason) -> Option<HeaderValue> {
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

// === helpers ===

/// The body and headers that all refusals share.
fn envelope(face: &Face, details: serde_json::Value, request_id: &str) -> Response<Full<Bytes>> {
    let body = json!({
        "error": { "code": face.code, "message": face.message, "details": details },
        "retry": { "retryable": face.retry_after.is_some(), "retry_after": face.retry_after },
        "request_id": request_id,
    });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = face.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = face.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

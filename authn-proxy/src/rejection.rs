//! Every way to be refused, and the one place that turns them into responses.
//!
//! The caller learns a code and fixed words; the cause is for the log and never leaves it.

mod realm;
mod reason;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use identity::TokenError;
use serde_json::json;

use crate::credentials::CredentialFault;
use crate::decide::Asked;
use crate::path::AmbiguousPath;
use crate::rate_limit::Quotas;
use crate::routes::Route;

pub use realm::Realm;
use reason::Face;
pub use reason::Reason;

/// A request that goes no further.
#[derive(Debug)]
pub struct Rejection {
    reason: Reason,
    cause: Option<Cow<'static, str>>,
    route: Option<Arc<Route>>,
    asked: Option<Box<Asked>>,
    quotas: Quotas,
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
            quotas: Quotas::default(),
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

    /// Adds what is left of the limits that the request was counted for.
    pub(crate) fn counted(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
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

    /// The sentence that the caller receives.
    pub fn message(&self) -> &'static str {
        self.reason.face().message
    }

    /// The response that the caller receives.
    pub fn into_response(self, realm: &Realm, request_id: &str) -> Response<Full<Bytes>> {
        self.render(realm, request_id).map(Full::new)
    }

    /// The response that the caller receives, in one piece.
    pub fn render(&self, realm: &Realm, request_id: &str) -> Response<Bytes> {
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
        self.quotas.describe(response.headers_mut());
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
pub fn render_fault(fault: &listener::Fault, request_id: &str) -> Response<Bytes> {
    let face = Face {
        status: fault.status,
        code: fault.code,
        message: fault.message,
        retry_after: (fault.status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
    };
    envelope(&face, json!({}), request_id)
}

// === helpers ===

/// The body and headers that all refusals share.
fn envelope(face: &Face, details: serde_json::Value, request_id: &str) -> Response<Bytes> {
    let body = json!({
        "error": { "code": face.code, "message": face.message, "details": details },
        "retry": { "retryable": face.retry_after.is_some(), "retry_after": face.retry_after },
        "request_id": request_id,
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = face.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = face.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

//! What a caller is told that is not let in.

use std::cell::RefCell;
use std::sync::Arc;
use std::{array, fmt};

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use identity::{Lapse, TokenError};
use serde::Serialize;

/// Why a caller is not let in. Among the extensions of the answer, for whoever says it in other words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No `Authorization` header.
    MissingToken,
    /// Not one bearer token of a known caller.
    InvalidToken,
    /// The token of a service was good once.
    TokenExpired,
    /// The session or the token was ended before its time.
    SessionRevoked,
    /// The token of a service that is a caller lacks a scope.
    InsufficientScope,
    /// The service acts for a user who may not sign in, or is not active.
    UserNotActive,
    /// The keys that would tell are not to be had.
    KeysUnavailable,
    /// Whether the token was revoked cannot be found out.
    SessionStoreUnavailable,
    /// Whether the user acted for is active cannot be found out.
    UserStatusUnavailable,
}

/// The id under which the log has a request. In a request's extensions it is used for the refusal; without one, the
/// refusal makes its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// What one refusal looks like from outside.
struct Face {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    challenge: Option<&'static str>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: ErrorBody,
    retry: Retry,
    request_id: &'a str,
}

#[derive(Serialize)]
struct ErrorBody {
    code: &'static str,
    message: &'static str,
    details: Details,
}

#[derive(Serialize)]
struct Details {}

#[derive(Serialize)]
struct Retry {
    retryable: bool,
    retry_after: Option<u32>,
}

thread_local! {
    /// Random numbers for ids. To draw many costs hardly more than to draw one.
    static DRAWN: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

/// How many are drawn together.
const DRAWN_AHEAD: usize = 64;

/// Seconds after which it may be found out what could not be.
const RETRY_SECONDS: u32 = 5;

const REALM: &str = "Bearer realm=\"portcullis\"";
const INVALID: &str = "Bearer realm=\"portcullis\", error=\"invalid_token\"";
const SCOPE: &str = "Bearer realm=\"portcullis\", error=\"insufficient_scope\"";

// === impl Refusal ===

impl Refusal {
    /// The code that the answer carries.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.face().code
    }

    /// The status of the answer: 401 for what proves nobody, 403 for somebody who may not, 503 where it cannot be found
    /// out.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.face().status
    }

    /// The sentence that the answer carries.
    #[must_use]
    pub fn message(self) -> &'static str {
        self.face().message
    }

    /// The answer: the error envelope, and with a 401 or for want of a scope the challenge of RFC 6750 section 3, which
    /// names no error when no token was sent.
    #[must_use]
    pub fn into_response(self, request_id: &RequestId) -> Response {
        let Face {
            status,
            code,
            message,
            challenge,
        } = self.face();
        let retryable = status == StatusCode::SERVICE_UNAVAILABLE;
        let envelope = Envelope {
            error: ErrorBody {
                code,
                message,
                details: Details {},
            },
            retry: Retry {
                retryable,
                retry_after: retryable.then_some(RETRY_SECONDS),
            },
            request_id: &request_id.0,
        };
        let mut response = (status, Json(envelope)).into_response();
        let headers = response.headers_mut();
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if retryable {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        }
        response.extensions_mut().insert(self);
        response
    }

    fn face(self) -> Face {
        use StatusCode as S;
        let (status, code, message, challenge) = match self {
            Self::MissingToken => (
                S::UNAUTHORIZED,
                "missing_token",
                "a bearer token is required",
                Some(REALM),
            ),
            Self::InvalidToken => (
                S::UNAUTHORIZED,
                "invalid_token",
                "the bearer token is not valid",
                Some(INVALID),
            ),
            Self::TokenExpired => (
                S::UNAUTHORIZED,
                "token_expired",
                "the bearer token has expired",
                Some(INVALID),
            ),
            Self::SessionRevoked => (
                S::UNAUTHORIZED,
                "session_revoked",
                "the session has ended",
                Some(INVALID),
            ),
            Self::InsufficientScope => (
                S::FORBIDDEN,
                "insufficient_scope",
                "the bearer token lacks a scope",
                Some(SCOPE),
            ),
            Self::UserNotActive => (
                S::FORBIDDEN,
                "user_not_active",
                "the user that the service acts for is not active",
                None,
            ),
            Self::KeysUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "keys_unavailable",
                "the bearer token cannot be verified at the moment",
                None,
            ),
            Self::SessionStoreUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "session_store_unavailable",
                "the session cannot be checked at the moment",
                None,
            ),
            Self::UserStatusUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "user_status_unavailable",
                "the user's status cannot be checked at the moment",
                None,
            ),
        };
        Face {
            status,
            code,
            message,
            challenge,
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::TooLarge | TokenError::Invalid(_) | TokenError::NotYetValid => {
                Self::InvalidToken
            }
            TokenError::Expired => Self::TokenExpired,
            TokenError::KeysUnavailable | TokenError::KeysRefreshing => Self::KeysUnavailable,
        }
    }
}

impl From<Lapse> for Refusal {
    fn from(lapse: Lapse) -> Self {
        match lapse {
            Lapse::SessionRevoked(_) => Self::SessionRevoked,
            Lapse::SessionsUnavailable(_) => Self::SessionStoreUnavailable,
            Lapse::UserUnknown(_) => Self::InvalidToken,
            Lapse::UserDisabled | Lapse::UserNotActive(_) => Self::UserNotActive,
            Lapse::StatusUnavailable(_) => Self::UserStatusUnavailable,
        }
    }
}

impl RequestId {
    /// A new id: 128 random bits in hexadecimal.
    #[must_use]
    pub fn generate() -> Self {
        let number = u128::from_ne_bytes(DRAWN.with_borrow_mut(draw));
        let digits: [u8; 32] = array::from_fn(|place| hexadecimal(number >> (124 - 4 * place)));
        Self(str::from_utf8(&digits).unwrap_or_default().into())
    }
}

/// Takes the next of the numbers that were drawn ahead, and draws more where none is left.
fn draw(drawn: &mut Vec<[u8; 16]>) -> [u8; 16] {
    if drawn.is_empty() {
        let mut bits = [0; 16 * DRAWN_AHEAD];
        // They name requests and keep nothing secret: without randomness all ids are alike, and nothing worse.
        let _ = aws_lc_rs::rand::fill(&mut bits);
        drawn.extend(bits.as_chunks().0);
    }
    drawn.pop().unwrap_or_default()
}

fn hexadecimal(number: u128) -> u8 {
    match (number & 15) as u8 {
        digit @ 0..=9 => b'0' + digit,
        digit => b'a' + digit - 10,
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

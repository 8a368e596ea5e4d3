//! What a caller is told that is not let in.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No `Authorization` header.
    MissingToken,
    /// Not one bearer token of a known caller.
    InvalidToken,
}

/// The id under which the log has a request. In a request's extensions it is used for the refusal; without one, the
/// refusal makes its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

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
    retry_after: Option<u64>,
}

impl Refusal {
    /// The code that the answer carries.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::MissingToken => "missing_token",
            Self::InvalidToken => "invalid_token",
        }
    }

    /// The answer: 401 with the error envelope and the challenge of RFC 6750 section 3, which names no error when no
    /// token was sent.
    #[must_use]
    pub fn into_response(self, request_id: &RequestId) -> Response {
        let (challenge, message) = match self {
            Self::MissingToken => ("Bearer realm=\"portcullis\"", "a bearer token is required"),
            Self::InvalidToken => (
                "Bearer realm=\"portcullis\", error=\"invalid_token\"",
                "the bearer token is not valid",
            ),
        };
        let envelope = Envelope {
            error: ErrorBody {
                code: self.code(),
                message,
                details: Details {},
            },
            retry: Retry {
                retryable: false,
                retry_after: None,
            },
            request_id: &request_id.0,
        };
        let mut response = (StatusCode::UNAUTHORIZED, Json(envelope)).into_response();
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        response
    }
}

impl RequestId {
    /// A new id: 128 random bits in hexadecimal.
    #[must_use]
    pub fn generate() -> Self {
        let mut bits = [0_u8; 16];
        // It names a request and keeps nothing secret: without randomness all ids are alike, and nothing worse.
        let _ = aws_lc_rs::rand::fill(&mut bits);
        let mut id = String::with_capacity(32);
        for byte in bits {
            // Writing to a string cannot fail.
            let _ = write!(id, "{byte:02x}");
        }
        Self(id.into())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

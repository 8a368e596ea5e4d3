//! A request that is not answered, and why.

use axum::response::Response;
use callers::RequestId;
use http::StatusCode;

use super::{body, wire};
use crate::one_line::one_line;

/// Why a request is not answered. The message is for the caller, and holds nothing but what the
/// caller sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The error's code, for programs.
    pub code: &'static str,
    /// The error in words, for people.
    pub message: String,
}

// === impl Refusal ===

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl AsRef<str>) -> Self {
        Self {
            status,
            code,
            message: one_line(message.as_ref()),
        }
    }

    pub(super) fn invalid(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    pub(super) fn too_deep(limit: usize) -> Self {
        let message = format!("the body nests more than {limit} deep");
        Self::new(StatusCode::BAD_REQUEST, "too_deep", message)
    }

    pub(super) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "the body is too large",
        )
    }

    pub(super) fn batch_too_large(limit: usize) -> Self {
        let message = format!("the batch holds more than {limit} requests");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "batch_too_large", message)
    }

    pub(super) fn timed_out() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "the body did not arrive in time",
        )
    }

    pub(super) fn not_json() -> Self {
        let message = "the body must be `application/json`";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            message,
        )
    }

    pub(super) fn not_found() -> Self {
        Self::not_found_because("there is nothing here")
    }

    pub(super) fn not_found_because(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "the method is not allowed here";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
        )
    }

    pub(super) fn into_response(self, id: &RequestId) -> Response {
        let mut response = body::json(&wire::RefusalBody {
            error: wire::ErrorBody {
                code: self.code,
                message: &self.message,
                details: wire::Details {},
            },
            retry: wire::Retry {
                retryable: false,
                retry_after: None,
            },
            request_id: &id.0,
        });
        *response.status_mut() = self.status;
        response
    }
}

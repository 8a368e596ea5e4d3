//! Requests that are refused before any service sees them.

use http::StatusCode;

/// Why a request was refused before any service saw it. How it looks on the wire is up to the `faults` function
/// given to [`Listener::serve`](crate::Listener::serve). Where the framing is in doubt, or the request's body
/// was not read, the connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status to answer with.
    pub status: StatusCode,
    /// A stable name for programs, also the label of the metric; one of a dozen.
    pub code: &'static str,
    /// One sentence for people. Never holds anything of the request.
    pub message: &'static str,
}

impl Fault {
    pub(crate) const TIMEOUT: Self = Self {
        status: StatusCode::REQUEST_TIMEOUT,
        code: "request_timeout",
        message: "the request did not arrive in time",
    };
    pub(crate) const BODY_TOO_LARGE: Self = Self {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        code: "body_too_large",
        message: "the body is larger than this server takes",
    };
    pub(crate) const URI_TOO_LONG: Self = Self {
        status: StatusCode::URI_TOO_LONG,
        code: "uri_too_long",
        message: "the request target is longer than this server takes",
    };
    pub(crate) const HEAD_TOO_LARGE: Self = Self {
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        code: "headers_too_large",
        message: "the headers are larger than this server takes",
    };
    pub(crate) const TOO_MANY_HEADERS: Self = Self {
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        code: "headers_too_large",
        message: "there are more headers than this server takes",
    };
    pub(crate) const UNKNOWN_METHOD: Self = Self {
        status: StatusCode::NOT_IMPLEMENTED,
        code: "not_implemented",
        message: "the method is not known",
    };
    pub(crate) const UNKNOWN_CODING: Self = Self {
        status: StatusCode::NOT_IMPLEMENTED,
        code: "not_implemented",
        message: "the transfer coding is not known",
    };
    pub(crate) const VERSION: Self = Self {
        status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        code: "version_not_supported",
        message: "the HTTP version is not supported here",
    };
    pub(crate) const EXPECTATION: Self = Self {
        status: StatusCode::EXPECTATION_FAILED,
        code: "expectation_failed",
        message: "the only expectation met here is 100-continue",
    };
    pub(crate) const OVERLOADED: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "overloaded",
        message: "the server is answering as many requests as it can",
    };

    /// A request that is not well-formed.
    pub(crate) const fn invalid(message: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_request",
            message,
        }
    }
}

//! What is not answered, in the words of AWS.

use axum::response::Response;
use http::StatusCode;

use super::answers::{FaultBody, FieldBody};
use super::read::{ACCESS_TOKEN, IDENTITY_TOKEN};
use super::written;
use crate::api::refusal::Refusal;
use crate::bearer::Unproven;
use crate::one_line::one_line;

/// An exception of the service, or of the protocol. SDKs tell them apart by `name`.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    name: &'static str,
    message: String,
    detail: Option<Box<Detail>>,
}

/// What is at fault.
#[derive(Debug)]
enum Detail {
    Member(Invalid),
    /// What was not found, and of which kind it is.
    Resource(String, &'static str),
}

/// A member of the input that the service does not take.
#[derive(Debug)]
pub(super) struct Invalid {
    /// As in `requests[0].principal.entityId`; empty for the input itself.
    path: String,
    message: String,
}

// === impl Fault ===

impl Fault {
    fn new(status: StatusCode, name: &'static str, message: &str) -> Self {
        Self {
            status,
            name,
            message: one_line(message),
            detail: None,
        }
    }

    fn validation(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn unknown_operation() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "UnknownOperationException",
            "`X-Amz-Target` names no operation that is served here",
        )
    }

    pub(super) fn media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaTypeException",
            "the body must be `application/x-amz-json-1.0`",
        )
    }

    /// A caller that is not let in.
    pub(super) fn stranger(refusal: callers::Refusal) -> Self {
        let denied = "AccessDeniedException";
        match refusal.status() {
            StatusCode::UNAUTHORIZED => Self::new(
                StatusCode::UNAUTHORIZED,
                denied,
                "the bearer token of a known caller is required; a signature is none",
            ),
            StatusCode::FORBIDDEN => Self::new(StatusCode::FORBIDDEN, denied, refusal.message()),
            _ => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerException",
                refusal.message(),
            ),
        }
    }

    pub(super) fn unavailable() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerException",
            "the policies cannot decide now",
        )
    }

    /// Tokens that prove nobody, or about whom nothing can be found out.
    pub(super) fn unproven(unproven: Unproven) -> Self {
        match unproven {
            Unproven::Identity(message) => Invalid::new(message).within(IDENTITY_TOKEN).into(),
            Unproven::Access(message) => Invalid::new(message).within(ACCESS_TOKEN).into(),
            Unproven::Unavailable(message) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerException",
                message,
            ),
        }
    }

    /// No policies are known by this id.
    pub(super) fn no_store(id: &str) -> Self {
        let kind = if id.starts_with("policy-store-alias/") {
            "POLICY_STORE_ALIAS"
        } else {
            "POLICY_STORE"
        };
        Self {
            detail: Some(Box::new(Detail::Resource(id.to_owned(), kind))),
            ..Self::new(
                StatusCode::BAD_REQUEST,
                "ResourceNotFoundException",
                "there is no such policy store here",
            )
        }
    }

    pub(super) fn into_response(self) -> Response {
        let mut fault = FaultBody {
            name: self.name,
            message: &self.message,
            field_list: None,
            resource_id: None,
            resource_type: None,
        };
        match self.detail.as_deref() {
            Some(Detail::Member(Invalid { path, message })) => {
                fault.field_list = Some([FieldBody { path, message }]);
            }
            Some(Detail::Resource(id, kind)) => {
                fault.resource_id = Some(id);
                fault.resource_type = Some(kind);
            }
            None => {}
        }
        let mut response = written(&fault);
        *response.status_mut() = self.status;
        response
    }
}

impl From<Invalid> for Fault {
    fn from(invalid: Invalid) -> Self {
        if invalid.path.is_empty() {
            return Self::validation(&invalid.message);
        }
        Self {
            message: one_line(&format!("`{}`: {}", invalid.path, invalid.message)),
            detail: Some(Box::new(Detail::Member(invalid))),
            ..Self::validation("")
        }
    }
}

/// Why a body cannot be had.
impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        if refusal.status == StatusCode::REQUEST_TIMEOUT {
            let name = "RequestTimeoutException";
            return Self::new(refusal.status, name, &refusal.message);
        }
        Self::validation(&refusal.message)
    }
}

// === impl Invalid ===

impl Invalid {
    /// What is wrong with the member that the caller will name with [`Invalid::within`].
    pub(super) fn new(message: impl AsRef<str>) -> Self {
        Self {
            path: String::new(),
            message: one_line(message.as_ref()),
        }
    }

    /// The same, seen from the object that has the member.
    pub(super) fn within(mut self, member: &str) -> Self {
        if member.is_empty() {
            return self;
        }
        let separator = match self.path.as_bytes().first() {
            None | Some(b'[') => "",
            Some(_) => ".",
        };
        self.path = format!("{member}{separator}{}", self.path);
        self
    }
}

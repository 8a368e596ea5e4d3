//! Bodies in and out.

use std::error::Error;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::LengthLimitError;
use listener::BodyError;
use serde::Serialize;
use settings::ByteSize;

use super::refusal::Refusal;

/// Reads a JSON body of at most `limit` bytes.
pub(super) async fn read(request: Request, limit: ByteSize) -> Result<Bytes, Refusal> {
    if !is_json(request.headers()) {
        return Err(Refusal::not_json());
    }
    collect(request, limit).await
}

/// Reads a body of at most `limit` bytes, whatever it is said to be.
pub(super) async fn collect(request: Request, limit: ByteSize) -> Result<Bytes, Refusal> {
    let (head, body) = request.into_parts();
    // A body that says that it is too large need not be waited for.
    let announced = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > limit.0) {
        return Err(Refusal::too_large());
    }
    let most = usize::try_from(limit.0).unwrap_or(usize::MAX);
    to_bytes(body, most).await.map_err(|error| unread(&error))
}

/// A 200 with `value` as JSON. Decisions are of the moment: nobody may keep them.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        // Nothing that is written here has a key that is no string, which alone could fail.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether the body is said to be JSON, or nothing is said of it.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.to_str().is_ok_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        }),
        (Some(_), Some(_)) => false,
    }
}

/// What came between the body and us.
fn unread(error: &(dyn Error + 'static)) -> Refusal {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Refusal::too_large();
        }
        match error.downcast_ref() {
            Some(BodyError::TooLarge) => return Refusal::too_large(),
            Some(BodyError::TimedOut) => return Refusal::timed_out(),
            Some(BodyError::Malformed | BodyError::Aborted) | None => {}
        }
        cause = error.source();
    }
    Refusal::invalid("the body could not be read to its end")
}

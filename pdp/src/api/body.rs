//! Bodies in and out.

use std::error::Error;
use std::pin::pin;

use axum::BoxError;
use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use listener::BodyError;
use serde::Serialize;
use settings::ByteSize;

use super::refusal::Refusal;

/// Reads a JSON body of at most `limit` bytes.
pub(super) async fn read<B>(request: Request<B>, limit: ByteSize) -> Result<Bytes, Refusal>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if !is_json(request.headers()) {
        return Err(Refusal::not_json());
    }
    collect(request, limit).await
}

/// Reads a body of at most `limit` bytes, whatever it is said to be.
pub(super) async fn collect<B>(request: Request<B>, limit: ByteSize) -> Result<Bytes, Refusal>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (head, body) = request.into_parts();
    // A body that says that it is too large need not be waited for.
    let announced = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > limit.0) {
        return Err(Refusal::too_large());
    }
    let mut body = pin!(body);
    let mut left = limit.0;
    // A question mostly comes in one piece, which need not be copied.
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unread(&*error.into()))?;
        // Trailers are no part of a question.
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        left = left
            .checked_sub(piece.len() as u64)
            .ok_or_else(Refusal::too_large)?;
        if first.is_empty() {
            first = piece;
            continue;
        }
        if whole.is_empty() {
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(if whole.is_empty() {
        first
    } else {
        whole.freeze()
    })
}

/// A 200 with `value` as JSON. Decisions are of the moment: nobody may keep them.
pub(super) fn json(value: &impl Serialize) -> Response {
    plain_json(value).map(Body::new)
}

/// The same, of a kind that costs less to make.
pub(super) fn plain_json(value: &impl Serialize) -> Response<Full<Bytes>> {
    // Most answers fit.
    let mut bytes = Vec::with_capacity(512);
    // Nothing that is written here has a key that is no string, which alone could fail.
    if serde_json::to_writer(&mut bytes, value).is_err() {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    }
    let mut response = Response::new(Full::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
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
        match error.downcast_ref() {
            Some(BodyError::TooLarge) => return Refusal::too_large(),
            Some(BodyError::TimedOut) => return Refusal::timed_out(),
            Some(BodyError::Malformed | BodyError::Aborted) | None => {}
        }
        cause = error.source();
    }
    Refusal::invalid("the body could not be read to its end")
}

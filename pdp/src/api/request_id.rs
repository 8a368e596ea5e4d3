//! The id that a caller and the log know a request by.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use callers::RequestId;
use http::{HeaderMap, HeaderName, HeaderValue};

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a caller, in bytes.
const MAX_BYTES: usize = 128;

/// Middleware: gives the request an id, the caller's own if it can stand in a log, and the response
/// the same.
pub(super) async fn attach(mut request: Request, next: Next) -> Response {
    let id = of(request.headers());
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    write(&id, response.headers_mut());
    response
}

/// The id of the request with these headers.
pub(super) fn of(headers: &HeaderMap) -> RequestId {
    given(headers).unwrap_or_else(RequestId::generate)
}

/// Puts the id among the headers of the response.
pub(super) fn write(id: &RequestId, headers: &mut HeaderMap) {
    // Both kinds of id are visible ASCII.
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(HEADER, value);
    }
}

fn given(headers: &HeaderMap) -> Option<RequestId> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next()?.to_str().ok()?;
    let sane = !value.is_empty()
        && value.len() <= MAX_BYTES
        && value.bytes().all(|byte| byte.is_ascii_graphic());
    (sane && values.next().is_none()).then(|| RequestId(value.into()))
}

//! The demo upstream: answers every request with what it received, so that a newcomer sees which
//! headers the sidecar adds and which it takes away.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// How much of a body is echoed, in bytes.
const ECHO_LIMIT: usize = 64 * 1024;

/// Echoes every method and path.
pub(super) fn router() -> Router {
    Router::new().fallback(echo)
}

async fn echo(request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, ECHO_LIMIT).await else {
        return (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the demo upstream echoes up to 64 KiB\n",
        )
            .into_response();
    };
    let mut headers: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (name, value) in &head.headers {
        headers
            .entry(name.as_str())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into());
    }
    let echo = json!({
        "upstream_received": {
            "method": head.method.as_str(),
            "target": head.uri.to_string(),
            "headers": headers,
            "body": String::from_utf8_lossy(&body),
        }
    });
    let mut text = serde_json::to_string_pretty(&echo).unwrap_or_default();
    text.push('\n');
    ([("content-type", "application/json")], text).into_response()
}

//! The native decision API: JSON in, the one `decide`, JSON out.
//!
//! | call | does |
//! |---|---|
//! | `POST /v1/authorize` | one question |
//! | `POST /v1/authorize/batch` | many questions, one snapshot |
//! | `GET /v1/revision` | the content hash of the policies that decide |
//!
//! A body is JSON: a `Content-Type` that says otherwise is refused with 415, and none at all is
//! taken for JSON. Unknown and repeated fields are refused, so that a misspelt `entities` is not an
//! answer to another question. Who may call is asked before anything is read.

mod authorize;
mod batch;
mod body;
mod explanation;
mod read;
mod refusal;
mod request_id;
mod wire;

use std::sync::Arc;

use axum::extract::State;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use callers::{Callers, RequestId};

use crate::config::ApiLimits;
use crate::pdp::Pdp;

pub use read::{Asked, ask, read_bytes};
pub use refusal::Refusal;

/// What every handler needs.
#[derive(Debug)]
struct Api {
    pdp: Arc<Pdp>,
    limits: ApiLimits,
}

/// The native API. Callers are authenticated by `callers`.
pub fn router(pdp: Arc<Pdp>, callers: Callers, limits: ApiLimits) -> Router {
    Router::new()
        .route("/v1/authorize", post(authorize::authorize))
        .route("/v1/authorize/batch", post(batch::authorize))
        .route("/v1/revision", get(revision))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::new(Api { pdp, limits }))
        // Before any body is read: a stranger costs a header comparison.
        .layer(from_fn_with_state(callers, callers::require))
        // Outermost, so that a refusal carries the id too.
        .layer(from_fn(request_id::attach))
}

async fn revision(State(api): State<Arc<Api>>, Extension(id): Extension<RequestId>) -> Response {
    let revision = Arc::clone(api.pdp.snapshot().revision());
    body::json(&wire::RevisionBody {
        revision: &revision,
        request_id: &id.0,
    })
}

async fn not_found(Extension(id): Extension<RequestId>) -> Response {
    Refusal::not_found().into_response(&id)
}

async fn method_not_allowed(Extension(id): Extension<RequestId>) -> Response {
    Refusal::method_not_allowed().into_response(&id)
}

#[cfg(test)]
mod tests;

//! The native decision API: JSON in, the one `decide`, JSON out.
//!
//! | call | does |
//! |---|---|
//! | `POST /v1/authorize` | one question |
//! | `POST /v1/authorize/batch` | many questions, one snapshot |
//! | `GET /v1/revision` | the content hash of the policies that decide |
//! | `POST /` with `X-Amz-Target` | what Amazon Verified Permissions answers: [`avp`] |
//! | `GET /openapi.json` | all of this, for programs |
//!
//! Each handler's module has an `operation`, which says where the handler is served and describes
//! it; router and document are made of these. A body is JSON: a `Content-Type` that says otherwise is refused with 415, and none at all is
//! taken for JSON. Unknown and repeated fields are refused, so that a misspelt `entities` is not an
//! answer to another question. Who may call is asked before anything is read.

mod authorize;
mod avp;
mod batch;
mod body;
mod explanation;
mod openapi;
mod pace;
mod read;
mod refusal;
mod request_id;
mod revision;
mod wire;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};
use bytes::Bytes;
use callers::{Callers, RequestId};
use http::StatusCode;

use self::openapi::{Operation, Schemas};
use crate::config::{ApiLimits, AvpApiConfig};
use crate::pdp::Pdp;

pub use avp::read_bytes as read_avp_bytes;
pub use read::{Asked, ask, read_bytes};
pub use refusal::Refusal;

/// What every handler needs.
#[derive(Debug)]
struct Api {
    pdp: Arc<Pdp>,
    limits: ApiLimits,
    avp: AvpApiConfig,
    /// The document that describes all of it.
    openapi: Bytes,
}

/// The decision APIs. Callers are authenticated by `callers`.
pub fn router(pdp: Arc<Pdp>, callers: Callers, limits: ApiLimits, avp: AvpApiConfig) -> Router {
    let mut schemas = Schemas::new();
    let operations = operations(&mut schemas);
    let api = Api {
        pdp,
        limits,
        avp,
        openapi: openapi::document(&operations, schemas),
    };
    operations
        .into_iter()
        .fold(Router::new(), |router, operation| {
            router.route(operation.path, operation.handler)
        })
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::new(api))
        // Before any body is read: a stranger costs a header comparison.
        .layer(from_fn_with_state(callers, admit))
        // Outermost, so that a refusal carries the id too.
        .layer(from_fn(request_id::attach))
}

/// All that is served.
fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        authorize::operation(schemas),
        batch::operation(schemas),
        avp::operation(schemas),
        revision::operation(schemas),
        openapi::operation(),
    ]
}

/// Middleware: lets known callers in, and tells the others so in the words of what they called.
async fn admit(
    callers: State<Callers>,
    Extension(id): Extension<RequestId>,
    request: Request,
    next: Next,
) -> Response {
    let is_avp = request.uri().path() == avp::PATH;
    let response = callers::require(callers, request, next).await;
    if is_avp && response.status() == StatusCode::UNAUTHORIZED {
        return avp::refused(&response, &id);
    }
    response
}

async fn not_found(Extension(id): Extension<RequestId>) -> Response {
    Refusal::not_found().into_response(&id)
}

async fn method_not_allowed(Extension(id): Extension<RequestId>) -> Response {
    Refusal::method_not_allowed().into_response(&id)
}

#[cfg(test)]
mod tests;

//! The decision APIs: JSON in, the one `decide`, JSON out.
//!
//! | call | does |
//! |---|---|
//! | `POST /v1/authorize` | one question |
//! | `POST /v1/authorize/batch` | many questions, one snapshot |
//! | `GET /v1/revision` | the content hash of the policies that decide |
//! | `POST /` with `X-Amz-Target` | what Amazon Verified Permissions answers: [`avp`] |
//! | `POST /access/v1/…` | AuthZEN 1.0: [`authzen`] |
//! | `GET /openapi.json` | all of this, for programs |
//!
//! Each handler's module has an `operation`, which says where the handler is served and describes
//! it; router and document are made of these. A body is JSON: a `Content-Type` that says otherwise is refused with 415, and none at all is
//! taken for JSON. Unknown and repeated fields are refused, so that a misspelt `entities` is not an
//! answer to another question. Who may call is asked before anything is read.

mod authorize;
pub(crate) mod authzen;
mod avp;
mod batch;
mod body;
mod explanation;
mod openapi;
mod read;
mod refusal;
mod request_id;
mod revision;
mod wire;

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::{BoxError, Extension, Router};
use bytes::Bytes;
use callers::{Callers, RequestId};
use http::{Method, Request};
use http_body_util::{Either, Full};
use tower_service::Service as _;

use self::authzen::Authzen;
use self::openapi::{Operation, Schemas};
use crate::bearer::Bearers;
use crate::config::{ApiLimits, AvpApiConfig};
use crate::pdp::Pdp;

pub use authzen::read_bytes as read_authzen_bytes;
pub use avp::read_bytes as read_avp_bytes;
pub use read::{Asked, ask, read_bytes};
pub use refusal::Refusal;

/// The decision APIs of one listener.
///
/// The call that is made for every request of somebody else's is answered straight, all others by a router, whose
/// layers and boxes would cost it as much as the decision does.
#[derive(Debug)]
pub struct DecisionApi {
    api: Arc<Api>,
    callers: Callers,
    router: Router,
}

/// The body of an answer: in one piece, or as the router's handlers made it.
pub type AnswerBody = Either<Full<Bytes>, Body>;

/// What every handler needs.
#[derive(Debug)]
struct Api {
    pdp: Arc<Pdp>,
    limits: ApiLimits,
    avp: AvpApiConfig,
    bearers: Bearers,
    authzen: Authzen,
    /// The document that describes all of it.
    openapi: Bytes,
}

// === impl DecisionApi ===

impl DecisionApi {
    /// Callers are authenticated by `callers`; `bearers` is asked about tokens in questions.
    #[must_use]
    pub fn new(
        pdp: Arc<Pdp>,
        callers: Callers,
        limits: ApiLimits,
        avp: AvpApiConfig,
        bearers: Bearers,
        authzen: Authzen,
    ) -> Self {
        let mut schemas = Schemas::new();
        let own = operations(&mut schemas);
        let authzens = authzen::operations(&mut schemas);
        let api = Arc::new(Api {
            pdp,
            limits,
            avp,
            bearers,
            authzen,
            openapi: openapi::document(own.iter().chain(&authzens), schemas),
        });
        Self {
            router: router(own, authzens, &api, &callers),
            api,
            callers,
        }
    }

    /// Answers a request, whatever it asks for.
    pub async fn call<B>(&self, request: Request<B>) -> Response<AnswerBody>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if request.method() == Method::POST && request.uri().path() == authorize::PATH {
            return self.authorize(request).await;
        }
        let answered = self.router.clone().call(request.map(Body::new)).await;
        answered.map_or_else(
            |never| match never {},
            |response| response.map(Either::Right),
        )
    }

    /// What the router's layers and its handler do, in the same order.
    async fn authorize<B>(&self, request: Request<B>) -> Response<AnswerBody>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let id = request_id::of(request.headers());
        let answered = match self.callers.identify(request.headers()).await {
            Ok(_) => authorize::answer(&self.api, &id, request).await,
            Err(refusal) => return identified(&id, refusal.into_response(&id).map(Either::Right)),
        };
        let response = answered.map_or_else(
            |refusal| refusal.into_response(&id).map(Either::Right),
            |response| response.map(Either::Left),
        );
        identified(&id, response)
    }
}

fn identified(id: &RequestId, mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    request_id::write(id, response.headers_mut());
    response
}

fn router(
    own: Vec<Operation>,
    authzens: Vec<Operation>,
    api: &Arc<Api>,
    callers: &Callers,
) -> Router {
    let own = routes(own)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::clone(api))
        // Before any body is read: a stranger costs a header comparison.
        .layer(from_fn_with_state(callers.clone(), admit))
        // Outermost, so that a refusal carries the id too.
        .layer(from_fn(request_id::attach));
    let authzens = routes(authzens)
        .method_not_allowed_fallback(authzen::method_not_allowed)
        .with_state(Arc::clone(api))
        .layer(from_fn_with_state(callers.clone(), callers::require))
        .layer(from_fn(authzen::plain_refusal))
        .layer(from_fn(request_id::attach))
        .layer(from_fn(authzen::echo_request_id));
    own.merge(authzens)
}

fn routes(operations: Vec<Operation>) -> Router<Arc<Api>> {
    operations
        .into_iter()
        .fold(Router::new(), |router, operation| {
            router.route(operation.path, operation.handler)
        })
}

/// All that is served but AuthZEN's, which has refusals of its own.
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
    request: Request<Body>,
    next: Next,
) -> Response {
    let is_avp = request.uri().path() == avp::PATH;
    let response = callers::require(callers, request, next).await;
    match response.extensions().get() {
        Some(refusal) if is_avp => avp::refused(*refusal, &response, &id),
        _ => response,
    }
}

async fn not_found(Extension(id): Extension<RequestId>) -> Response {
    Refusal::not_found().into_response(&id)
}

async fn method_not_allowed(Extension(id): Extension<RequestId>) -> Response {
    Refusal::method_not_allowed().into_response(&id)
}

#[cfg(test)]
mod tests;

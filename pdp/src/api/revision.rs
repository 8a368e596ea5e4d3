//! `GET /v1/revision`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use callers::RequestId;

use super::openapi::{JSON, Operation, Schemas};
use super::wire::RevisionBody;
use super::{Api, body};

pub(super) fn operation(schemas: &mut Schemas) -> Operation {
    let answer = schemas.response::<RevisionBody<'_>>();
    Operation::get("/v1/revision", revision)
        .named("revision", "Names the policies that decide now.")
        .answers(200, "The revision.", &[(JSON, answer)])
}

async fn revision(State(api): State<Arc<Api>>, Extension(id): Extension<RequestId>) -> Response {
    let snapshot = api.pdp.snapshot();
    body::json(&RevisionBody {
        revision: snapshot.revision(),
        entities_revision: snapshot.entities_revision(),
        request_id: &id.0,
    })
}

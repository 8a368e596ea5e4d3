//! `GET /.well-known/authzen-configuration`: where everything is.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use serde_json::json;

use super::super::openapi::{JSON, Operation, Schemas};
use super::super::refusal::Refusal;
use super::super::{Api, body};
use super::wire::MetadataBody;
use super::{PLAIN, STORE, refused, refuses};

pub(super) fn operations(schemas: &mut Schemas) -> [Operation; 2] {
    let metadata = schemas.response::<MetadataBody>();
    let described = |operation: Operation| {
        operation
            .answers(200, "The metadata.", &[(JSON, metadata.clone())])
            .answers(
                404,
                "This decision point has no name, because it can be reached from elsewhere and `authzen.policy_decision_point` is not configured.",
                &[(PLAIN, json!({ "type": "string" }))],
            )
    };
    [
        described(
            Operation::get("/.well-known/authzen-configuration", whole).named(
                "authzen_metadata",
                "AuthZEN: where everything is at this decision point.",
            ),
        ),
        described(
            Operation::get("/.well-known/authzen-configuration/default", store).named(
                "authzen_store_metadata",
                "AuthZEN: where everything is at this policy store, the tenant form.",
            ),
        ),
    ]
    .map(|operation| refuses(operation, schemas))
}

async fn whole(State(api): State<Arc<Api>>) -> Response {
    match &api.authzen.identifier {
        Some(identifier) => metadata(identifier),
        None => unnamed(),
    }
}

async fn store(State(api): State<Arc<Api>>) -> Response {
    match &api.authzen.identifier {
        Some(identifier) => metadata(&format!("{}/{STORE}", identifier.trim_end_matches('/'))),
        None => unnamed(),
    }
}

fn metadata(identifier: &str) -> Response {
    let at = |path: &str| format!("{}/access/v1/{path}", identifier.trim_end_matches('/'));
    let mut response = body::json(&MetadataBody {
        policy_decision_point: identifier.to_owned(),
        access_evaluation_endpoint: at("evaluation"),
        access_evaluations_endpoint: at("evaluations"),
        search_subject_endpoint: at("search/subject"),
        search_resource_endpoint: at("search/resource"),
        search_action_endpoint: at("search/action"),
    });
    // Unlike decisions they stay.
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    response
}

/// A name made of what the request says would be no protection against being taken for another.
fn unnamed() -> Response {
    refused(&Refusal::not_found_because(
        "this decision point has no name: `authzen.policy_decision_point` is not configured",
    ))
}

//! `POST /v1/authorize/batch`.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use callers::RequestId;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::openapi::{JSON, Operation, Schemas};
use super::pace::Pace;
use super::read::Common;
use super::refusal::Refusal;
use super::wire::{BatchAnswerBody, BatchBody, ItemErrorBody, QuestionBody, UnreadItemBody};
use super::{Api, authorize, body, explanation, read};
use crate::answer::Source;
use crate::snapshot::Snapshot;

pub(super) fn operation(schemas: &mut Schemas) -> Operation {
    let batch = schemas.request::<BatchBody<'_>>();
    let answer = schemas.response::<BatchAnswerBody<'_>>();
    Operation::post("/v1/authorize/batch", authorize)
        .named(
            "authorize_batch",
            "Answers many questions from one revision, in order.",
        )
        .reads(
            JSON,
            batch,
            json!({
                "principal": "User::\"alice\"",
                "action": "update_user",
                "requests": [{ "resource": "User::\"alice\"" }, { "resource": "User::\"bob\"" }],
            }),
        )
        .answers(200, "One result for each question.", &[(JSON, answer)])
        .refuses(
            schemas,
            400,
            "The body is no batch (`invalid_request`, `too_deep`).",
        )
        .refuses(
            schemas,
            415,
            "The body is said not to be JSON (`unsupported_media_type`).",
        )
}

async fn authorize(
    State(api): State<Arc<Api>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    match answer(&api, &id, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(&id),
    }
}

async fn answer(api: &Api, id: &RequestId, request: Request) -> Result<Response, Refusal> {
    let bytes = body::read(request, api.limits.batch_bytes).await?;
    let mut pace = Pace::new();
    let arrived = Instant::now();
    let batch: BatchBody<'_> = read::parse_object(&bytes, api.limits.nesting)?;
    let (requests, common) = batch.split();
    if requests.len() > api.limits.batch_items {
        return Err(Refusal::batch_too_large(api.limits.batch_items));
    }
    let snapshot = api.pdp.snapshot();
    let mut common = Common::new(common, &snapshot);
    let mut spent = arrived.elapsed();
    let mut results: Vec<Box<RawValue>> = Vec::with_capacity(requests.len());
    for item in requests {
        if spent >= api.limits.batch_cpu.0 {
            results.push(unread(
                "budget_exhausted",
                "the batch has used up its time",
            )?);
            continue;
        }
        let began = Instant::now();
        results.push(decide(api, &snapshot, id, item, &mut common, began)?);
        spent += began.elapsed();
        pace.pause().await;
    }
    Ok(body::json(&BatchAnswerBody {
        results: &results,
        revision: snapshot.revision(),
        request_id: &id.0,
    }))
}

/// One item's result. An item that cannot be read is Deny, and says why.
fn decide(
    api: &Api,
    snapshot: &Snapshot,
    id: &RequestId,
    item: &RawValue,
    common: &mut Common,
    began: Instant,
) -> Result<Box<RawValue>, Refusal> {
    let fields: Result<QuestionBody, Refusal> =
        read::parse_object(item.get().as_bytes(), api.limits.nesting);
    let explain = fields
        .as_ref()
        .ok()
        .and_then(|fields| fields.explain)
        .unwrap_or(common.explain());
    let answer =
        fields.and_then(|fields| authorize::decide(api, snapshot, id, fields, common, began));
    match answer {
        Ok(answer) => written(&explanation::body(&answer, explain.then_some(snapshot))),
        Err(refusal) => unread(refusal.code, &refusal.message),
    }
}

fn unread(code: &'static str, message: &str) -> Result<Box<RawValue>, Refusal> {
    written(&UnreadItemBody {
        decision: "DENY",
        determining_policies: [],
        errors: [],
        source: Source::FailClosed.name(),
        error: ItemErrorBody { code, message },
    })
}

fn written(result: &impl serde::Serialize) -> Result<Box<RawValue>, Refusal> {
    to_raw_value(result)
        .map_err(|error| Refusal::invalid(format!("an answer cannot be written: {error}")))
}

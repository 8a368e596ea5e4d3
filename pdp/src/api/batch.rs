//! `POST /v1/authorize/batch`.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use callers::RequestId;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::authorize::answer_to;
use super::openapi::{JSON, Operation, Schemas};
use super::read::{Common, Reading};
use super::refusal::Refusal;
use super::wire::{BatchAnswerBody, BatchBody, ItemErrorBody, QuestionBody, UnreadItemBody};
use super::{Api, body, explanation, read};
use crate::answer::Source;
use crate::pace::Pace;
use crate::snapshot::{Seen, Snapshot};

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
    let mut seen = common.entities().map(|given| snapshot.see(given));
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
        results.push(decide(
            api,
            &snapshot,
            id,
            item,
            (&mut common, &mut seen),
            began,
        )?);
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
    (common, seen): (&mut Common, &mut Option<Seen<'_>>),
    began: Instant,
) -> Result<Box<RawValue>, Refusal> {
    let fields: Result<QuestionBody, Refusal> =
        read::parse_object(item.get().as_bytes(), api.limits.nesting);
    let explain = fields
        .as_ref()
        .ok()
        .and_then(|fields| fields.explain)
        .unwrap_or(common.explain());
    let answer = fields.and_then(|fields| {
        // What the entities in common make of the stored ones is the same for all who bring them.
        let mut shared = seen.as_mut().filter(|_| fields.entities.is_none());
        let lent = shared.is_some();
        let reading = read::question(fields, common, snapshot, api.pdp.namespace())?;
        let is_question = matches!(reading, Reading::Question(_));
        let (answer, entities) = answer_to(
            reading,
            "native",
            api,
            snapshot,
            id,
            began,
            |question| match &mut shared {
                Some(seen) => api.pdp.decide_over(snapshot, question, seen),
                None => api.pdp.decide(snapshot, question),
            },
        );
        if let Some(common) = common.entities().filter(|_| lent && is_question) {
            *common = entities;
        }
        Ok(answer)
    });
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

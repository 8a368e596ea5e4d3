//! `POST /v1/authorize`.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::response::Response;
use axum::{BoxError, Extension};
use bytes::Bytes;
use callers::RequestId;
use cedar_policy::Entity;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use super::openapi::{JSON, Operation, Schemas};
use super::read::{Common, Reading, Scope};
use super::refusal::Refusal;
use super::wire::{AnswerBody, QuestionBody};
use super::{Api, body, explanation, read};
use crate::answer::Answer;
use crate::decision_log::{Decided, Literal};
use crate::question::Question;
use crate::snapshot::Snapshot;

pub(super) const PATH: &str = "/v1/authorize";

pub(super) fn operation(schemas: &mut Schemas) -> Operation {
    // Only in a batch may the three be left out.
    let question = json!({
        "allOf": [schemas.request::<QuestionBody>(), { "required": ["principal", "action", "resource"] }],
    });
    let answer = schemas.response::<AnswerBody<'_>>();
    Operation::post(PATH, authorize)
        .named("authorize", "Answers one question.")
        .reads(
            JSON,
            question,
            json!({
                "principal": "User::\"alice\"",
                "action": "update_user",
                "resource": { "type": "User", "id": "alice" },
            }),
        )
        .answers(
            200,
            "The decision, which may well be Deny.",
            &[(JSON, answer)],
        )
        .refuses(
            schemas,
            400,
            "The body is no question (`invalid_request`, `too_deep`).",
        )
        .refuses(
            schemas,
            415,
            "The body is said not to be JSON (`unsupported_media_type`).",
        )
}

/// For the router, which knows the path and the methods that it does not take; what is asked here goes past it.
async fn authorize(
    State(api): State<Arc<Api>>,
    Extension(id): Extension<RequestId>,
    request: Request<Body>,
) -> Response {
    match answer(&api, &id, request).await {
        Ok(response) => response.map(Body::new),
        Err(refusal) => refusal.into_response(&id),
    }
}

/// Answers a question, whoever asks.
pub(super) async fn answer<B>(
    api: &Api,
    id: &RequestId,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Refusal>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let bytes = body::read(request, api.limits.request_bytes).await?;
    let began = Instant::now();
    let fields: QuestionBody = read::parse_object(&bytes, api.limits.nesting)?;
    let explain = fields.explain.unwrap_or_default();
    let snapshot = api.pdp.current();
    let answer = decide(api, &snapshot, id, fields, began)?;
    Ok(body::plain_json(&AnswerBody {
        decided: explanation::body(&answer, explain.then_some(&**snapshot)),
        revision: &answer.revision,
        request_id: &id.0,
    }))
}

fn decide(
    api: &Api,
    snapshot: &Snapshot,
    id: &RequestId,
    fields: QuestionBody,
    began: Instant,
) -> Result<Answer, Refusal> {
    let mut common = Common::default();
    let reading = read::question(fields, &mut common, snapshot, api.pdp.namespace())?;
    Ok(
        answer_to(reading, "native", api, snapshot, id, began, |question| {
            api.pdp.decide(snapshot, question)
        })
        .0,
    )
}

/// Answers what was read by `surface` with the help of `decide`, and tells the decision log. The
/// entities that the question brought are given back.
pub(super) fn answer_to(
    reading: Reading,
    surface: &'static str,
    api: &Api,
    snapshot: &Snapshot,
    id: &RequestId,
    began: Instant,
    decide: impl FnOnce(&Question) -> Answer,
) -> (Answer, Vec<Entity>) {
    let (scope, answer, entities) = match reading {
        Reading::Question(question) => {
            let answer = decide(&question);
            let Question {
                principal,
                action,
                resource,
                entities,
                ..
            } = *question;
            (
                Scope {
                    principal,
                    action,
                    resource,
                },
                answer,
                entities,
            )
        }
        Reading::OutsideSchema(scope, message) => {
            (*scope, api.pdp.refuse(snapshot, &message), Vec::new())
        }
    };
    Decided {
        surface,
        request_id: &id.0,
        principal: &Literal(&scope.principal),
        action: &Literal(&scope.action),
        resource: &Literal(&scope.resource),
        answer: &answer,
        took: began.elapsed(),
    }
    .record();
    (answer, entities)
}

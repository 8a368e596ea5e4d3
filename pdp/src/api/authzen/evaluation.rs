//! `POST /access/v1/evaluation` and `/access/v1/evaluations`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use callers::RequestId;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::openapi::{JSON, Operation, Schemas};
use super::super::refusal::Refusal;
use super::super::{Api, body, explanation, read};
use super::read::Reader;
use super::wire::{
    DecisionBody, DecisionContext, DecisionsBody, EvaluationBody, EvaluationsBody, OptionsBody,
    PolicyErrorBody, ReasonsBody, Semantic, UnreadBody,
};
use super::{At, refused, refuses};
use crate::answer::Answer;
use crate::decision_log::Decided;
use crate::pace::Pace;

pub(super) fn one_operation(schemas: &mut Schemas, (path, id): At) -> Operation {
    let question = schemas.request::<EvaluationBody<'_>>();
    let decision = schemas.response::<DecisionBody>();
    let operation = Operation::post(path, one)
        .named(
            id,
            "AuthZEN: may the subject perform the action on the resource?",
        )
        .reads(
            JSON,
            question,
            json!({
                "subject": { "type": "User", "id": "alice" },
                "action": { "name": "update_user" },
                "resource": { "type": "User", "id": "alice" },
            }),
        )
        .answers(
            200,
            "The decision, which may well be `false`.",
            &[(JSON, decision)],
        );
    refuses(operation, schemas)
}

pub(super) fn many_operation(schemas: &mut Schemas, (path, id): At) -> Operation {
    let questions = schemas.request::<EvaluationsBody<'_>>();
    let decisions = json!({
        "anyOf": [schemas.response::<DecisionsBody>(), schemas.response::<DecisionBody>()],
    });
    let operation = Operation::post(path, many)
        .named(id, "AuthZEN: many questions, answered in order from one revision.")
        .reads(
            JSON,
            questions,
            json!({
                "subject": { "type": "User", "id": "alice" },
                "action": { "name": "update_user" },
                "evaluations": [
                    { "resource": { "type": "User", "id": "alice" } },
                    { "resource": { "type": "User", "id": "bob" } },
                ],
                "options": { "evaluations_semantic": "execute_all" },
            }),
        )
        .answers(
            200,
            "A decision for each question that was answered; where there was no list, the decision on the one.",
            &[(JSON, decisions)],
        );
    refuses(operation, schemas)
}

async fn one(
    State(api): State<Arc<Api>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    match answer_one(&api, &id, request).await {
        Ok(decision) => body::json(&decision),
        Err(refusal) => refused(&refusal),
    }
}

async fn many(
    State(api): State<Arc<Api>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    match answer_many(&api, &id, request).await {
        Ok(response) => response,
        Err(refusal) => refused(&refusal),
    }
}

async fn answer_one(api: &Api, id: &RequestId, request: Request) -> Result<DecisionBody, Refusal> {
    let bytes = super::read(request, api.limits.request_bytes).await?;
    let began = Instant::now();
    let body: EvaluationBody<'_> = read::parse_object(&bytes, api.limits.nesting)?;
    let snapshot = api.pdp.snapshot();
    let reader = Reader {
        snapshot: &snapshot,
        types: &api.authzen.types,
    };
    let explain = options(api, &body)?.explain.unwrap_or_default();
    decide(api, reader, id, body, explain, began)
}

async fn answer_many(api: &Api, id: &RequestId, request: Request) -> Result<Response, Refusal> {
    let bytes = super::read(request, api.limits.batch_bytes).await?;
    let began = Instant::now();
    let body: EvaluationsBody<'_> = read::parse_object(&bytes, api.limits.nesting)?;
    let (questions, common) = body.split();
    if questions.len() > api.limits.batch_items {
        return Err(Refusal::batch_too_large(api.limits.batch_items));
    }
    let snapshot = api.pdp.snapshot();
    let reader = Reader {
        snapshot: &snapshot,
        types: &api.authzen.types,
    };
    let options = options(api, &common)?;
    let explain = options.explain.unwrap_or_default();
    if questions.is_empty() {
        let decision = decide(api, reader, id, common, explain, began)?;
        return Ok(body::json(&decision));
    }
    let semantic = options.evaluations_semantic.unwrap_or_default();
    let mut pace = Pace::within(api.limits.batch_cpu.0, began);
    let mut decisions = Vec::with_capacity(questions.len());
    for question in questions {
        let decision = if pace.step().await {
            let began = Instant::now();
            item(api, reader, id, question, &common, explain, began)
        } else {
            unread(503, "the request has used up its time")
        };
        let last = match semantic {
            Semantic::ExecuteAll => false,
            Semantic::DenyOnFirstDeny => !decision.decision,
            Semantic::PermitOnFirstPermit => decision.decision,
        };
        decisions.push(decision);
        if last {
            break;
        }
    }
    Ok(body::json(&DecisionsBody {
        evaluations: decisions,
    }))
}

fn options(api: &Api, body: &EvaluationBody<'_>) -> Result<OptionsBody, Refusal> {
    let Some(options) = body.options else {
        return Ok(OptionsBody::default());
    };
    read::parse_object(options.get().as_bytes(), api.limits.nesting)
}

/// One of many questions. One that cannot be read is denied, and says why.
fn item(
    api: &Api,
    reader: Reader<'_>,
    id: &RequestId,
    question: &RawValue,
    common: &EvaluationBody<'_>,
    explain: bool,
    began: Instant,
) -> DecisionBody {
    let body = read::parse_object(question.get().as_bytes(), api.limits.nesting);
    body.and_then(|body: EvaluationBody<'_>| {
        decide(api, reader, id, body.or(common), explain, began)
    })
    .unwrap_or_else(|refusal| unread(refusal.status.as_u16(), &refusal.message))
}

/// Decides one question and tells the decision log.
fn decide(
    api: &Api,
    reader: Reader<'_>,
    id: &RequestId,
    body: EvaluationBody<'_>,
    explain: bool,
    began: Instant,
) -> Result<DecisionBody, Refusal> {
    let asked = reader.asked(body)?;
    let answer = match &asked.question {
        Ok(question) => api.pdp.decide(reader.snapshot, question),
        Err(message) => api.pdp.refuse(reader.snapshot, message),
    };
    Decided {
        surface: "authzen",
        request_id: &id.0,
        principal: &asked.scope.principal,
        action: &asked.scope.action,
        resource: &asked.scope.resource,
        answer: &answer,
        took: began.elapsed(),
    }
    .record();
    Ok(DecisionBody {
        decision: answer.is_allow(),
        context: explain.then(|| DecisionContext::Reasons(reasons(&answer))),
    })
}

fn unread(status: u16, message: &str) -> DecisionBody {
    let error = UnreadBody {
        status,
        message: message.to_owned(),
    };
    DecisionBody {
        decision: false,
        context: Some(DecisionContext::Unread { error }),
    }
}

fn reasons(answer: &Answer) -> ReasonsBody {
    let reason = explanation::reason(answer);
    let policies = answer.determining_policies.join("`, `");
    let cause = answer
        .errors
        .first()
        .map_or("", |error| error.message.as_str());
    let (status, sentence) = match reason {
        "permitted" => ("200", format!("permitted by `{policies}`")),
        "forbidden" => ("403", format!("forbidden by `{policies}`")),
        "not_permitted" => ("403", "no policy permits it".to_owned()),
        "policy_error" => (
            "403",
            "a policy could not be evaluated, and so nothing is permitted".to_owned(),
        ),
        "cannot_decide" => ("503", format!("nobody could decide: {cause}")),
        _ => ("403", format!("outside the schema: {cause}")),
    };
    let errors = answer.errors.iter().map(|error| PolicyErrorBody {
        policy: error.policy.clone(),
        message: error.message.clone(),
    });
    ReasonsBody {
        reason,
        reason_admin: BTreeMap::from([(status, sentence)]),
        determining_policies: answer.determining_policies.clone(),
        errors: errors.collect(),
        source: answer.source.name(),
        revision: Arc::from(&*answer.revision),
    }
}

//! The decision API of Amazon Verified Permissions: an AWS SDK that is pointed here gets local
//! answers.
//!
//! `POST /` in AWS JSON 1.0; the header `X-Amz-Target` names the operation: one question or a batch, with the
//! principal by its name or by its tokens. What else the service has is answered as AWS answers an operation
//! that it does not have.
//!
//! A question is an [`Item`], whoever its principal was named by. Where tokens name it, [`Bearers`](crate::Bearers)
//! finds out who that is, before anything else is asked; everything behind it is the same.
//!
//! Signatures (`SigV4`) are not looked at: callers are known by `callers`, as on the other surfaces.
//! Unknown members are ignored, as AWS ignores them. Everything that the model of the service
//! forbids, and everything that is no JSON, is a `ValidationException`.

mod answers;
mod fault;
mod read;
mod value;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use callers::RequestId;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::json;

use self::answers::{
    BatchOutput, FaultBody, Output, OutputItem, Policy, Problem, TokenBatchOutput, TokenOutput,
    TokenOutputItem,
};
use self::fault::Fault;
use self::wire::{BatchInput, EntitiesDefinition, Input, Item, TokenBatchInput, TokenInput};
use super::authorize::answer_to;
use super::openapi::{JSON, Operation, Schemas};
use super::read::Reading;
use super::wire::RefusalBody;
use super::{Api, body};
use crate::answer::{Answer, Source};
use crate::bearer::Bearer;
use crate::pace::Pace;

pub use self::read::read_bytes;

/// Where it is served.
pub(super) const PATH: &str = "/";

const MEDIA_TYPE: &str = "application/x-amz-json-1.0";

/// The header that names the operation.
const TARGET: &str = "x-amz-target";

/// The header that AWS tells the id of a request in.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// An operation of the service.
#[derive(Debug, Clone, Copy)]
enum Call {
    IsAuthorized,
    BatchIsAuthorized,
    IsAuthorizedWithToken,
    BatchIsAuthorizedWithToken,
}

pub(super) fn operation(schemas: &mut Schemas) -> Operation {
    let input = json!({
        "anyOf": [
            schemas.request::<Input>(),
            schemas.request::<BatchInput>(),
            schemas.request::<TokenInput>(),
            schemas.request::<TokenBatchInput>(),
        ],
    });
    let output = json!({
        "anyOf": [
            schemas.response::<Output<'_>>(),
            schemas.response::<BatchOutput<'_>>(),
            schemas.response::<TokenOutput<'_>>(),
            schemas.response::<TokenBatchOutput<'_>>(),
        ],
    });
    let fault = schemas.response::<FaultBody<'_>>();
    let envelope = schemas.response::<RefusalBody<'_>>();
    let targets = json!({
        "type": "string",
        "enum": [
            "VerifiedPermissions.IsAuthorized",
            "VerifiedPermissions.BatchIsAuthorized",
            "VerifiedPermissions.IsAuthorizedWithToken",
            "VerifiedPermissions.BatchIsAuthorizedWithToken",
        ],
    });
    Operation::post(PATH, call)
        .named(
            "verified_permissions",
            "Answers as Amazon Verified Permissions does: for AWS SDKs.",
        )
        .header("X-Amz-Target", "The operation.", targets)
        .reads(
            MEDIA_TYPE,
            input,
            json!({
                "policyStoreId": "default",
                "principal": { "entityType": "User", "entityId": "alice" },
                "action": { "actionType": "Action", "actionId": "update_user" },
                "resource": { "entityType": "User", "entityId": "alice" },
            }),
        )
        .answers(
            200,
            "The decision or decisions, which may well be Deny.",
            &[(MEDIA_TYPE, output)],
        )
        .answers(
            400,
            "`ValidationException`, `ResourceNotFoundException` or `UnknownOperationException`; or the request is malformed (`invalid_request`).",
            &[(MEDIA_TYPE, fault.clone()), (JSON, envelope.clone())],
        )
        .answers(
            401,
            "`AccessDeniedException`: the caller is not known. Only where `callers` are configured.",
            &[(MEDIA_TYPE, fault.clone())],
        )
        .answers(
            403,
            "`AccessDeniedException`: the caller is a service that may not. Only where `callers` are configured.",
            &[(MEDIA_TYPE, fault.clone())],
        )
        .answers(
            408,
            "`RequestTimeoutException`; or the head of the request did not arrive in time (`request_timeout`).",
            &[(MEDIA_TYPE, fault.clone()), (JSON, envelope)],
        )
        .answers(
            415,
            "`UnsupportedMediaTypeException`: the body is not said to be AWS JSON 1.0.",
            &[(MEDIA_TYPE, fault.clone())],
        )
        .answers(
            500,
            "`InternalServerException`: the policies cannot decide now, or whether a token is good cannot be found out, that of the caller or one in a question.",
            &[(MEDIA_TYPE, fault)],
        )
}

/// Tells a caller who is not let in so in the words of AWS.
pub(super) fn refused(refusal: callers::Refusal, said: &Response, id: &RequestId) -> Response {
    let mut response = finish(Fault::stranger(refusal).into_response(), id);
    for name in [WWW_AUTHENTICATE, RETRY_AFTER] {
        if let Some(value) = said.headers().get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

async fn call(
    State(api): State<Arc<Api>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    let response = answer(&api, &id, request)
        .await
        .unwrap_or_else(Fault::into_response);
    finish(response, &id)
}

async fn answer(api: &Api, id: &RequestId, request: Request) -> Result<Response, Fault> {
    let call = Call::of(request.headers())?;
    if !is_aws_json(request.headers()) {
        return Err(Fault::media_type());
    }
    let bytes = body::collect(request, api.limits.request_bytes)
        .await
        .map_err(Fault::from)?;
    match call {
        Call::IsAuthorized => is_authorized(api, id, &bytes),
        Call::BatchIsAuthorized => batch_is_authorized(api, id, &bytes).await,
        Call::IsAuthorizedWithToken => is_authorized_with_token(api, id, &bytes).await,
        Call::BatchIsAuthorizedWithToken => batch_is_authorized_with_token(api, id, &bytes).await,
    }
}

fn is_authorized(api: &Api, id: &RequestId, bytes: &Bytes) -> Result<Response, Fault> {
    let began = Instant::now();
    let input: Input = read::parse(bytes, api.limits.nesting)?;
    read::store(input.policy_store_id.as_deref(), &api.avp)?;
    let item = Item {
        principal: input.principal,
        action: input.action,
        resource: input.resource,
        context: input.context,
    };
    let answer = one(api, id, &item, input.entities, None, began)?;
    Ok(written(&output(&answer)))
}

async fn is_authorized_with_token(
    api: &Api,
    id: &RequestId,
    bytes: &Bytes,
) -> Result<Response, Fault> {
    let began = Instant::now();
    let input: TokenInput = read::parse(bytes, api.limits.nesting)?;
    read::store(input.policy_store_id.as_deref(), &api.avp)?;
    let tokens = read::tokens(input.identity_token, input.access_token)?;
    let bearer = api.bearers.find(tokens).await.map_err(Fault::unproven)?;
    let item = Item {
        principal: None,
        action: input.action,
        resource: input.resource,
        context: input.context,
    };
    let answer = one(api, id, &item, input.entities, Some(&bearer), began)?;
    Ok(written(&TokenOutput {
        output: output(&answer),
        principal: value::identifier(&bearer.principal),
    }))
}

/// The answer to one question.
fn one(
    api: &Api,
    id: &RequestId,
    item: &Item,
    entities: Option<EntitiesDefinition>,
    bearer: Option<&Bearer>,
    began: Instant,
) -> Result<Answer, Fault> {
    let nesting = api.limits.nesting;
    let snapshot = api.pdp.snapshot();
    let namespace = api.pdp.namespace();
    let mut entities = read::entities(entities, usize::MAX, nesting, &snapshot, namespace)?;
    if let Some(bearer) = bearer {
        entities = read::with_bearer(entities, bearer, &snapshot)?;
    }
    let asked = read::question(item, bearer, nesting, &snapshot, namespace)?;
    let reading = asked.with(&mut entities);
    let (answer, _) = answer_to(reading, "avp", api, &snapshot, id, began, |question| {
        api.pdp.decide(&snapshot, question)
    });
    decided(answer)
}

async fn batch_is_authorized(api: &Api, id: &RequestId, bytes: &Bytes) -> Result<Response, Fault> {
    let input: BatchInput = read::parse(bytes, api.limits.nesting)?;
    read::store(input.policy_store_id.as_deref(), &api.avp)?;
    let items = read::batch(input.requests)?;
    let answers = many(api, id, &items, input.entities, None).await?;
    let results = items.iter().zip(&answers);
    let results = results.map(|(request, answer)| OutputItem {
        request,
        output: output(answer),
    });
    Ok(written(&BatchOutput {
        results: results.collect(),
    }))
}

async fn batch_is_authorized_with_token(
    api: &Api,
    id: &RequestId,
    bytes: &Bytes,
) -> Result<Response, Fault> {
    let input: TokenBatchInput = read::parse(bytes, api.limits.nesting)?;
    read::store(input.policy_store_id.as_deref(), &api.avp)?;
    let tokens = read::tokens(input.identity_token, input.access_token)?;
    let items = read::batch(input.requests)?;
    let bearer = api.bearers.find(tokens).await.map_err(Fault::unproven)?;
    let answers = many(api, id, &items, input.entities, Some(&bearer)).await?;
    let results = items.iter().zip(&answers);
    let results = results.map(|(request, answer)| TokenOutputItem {
        request,
        output: output(answer),
    });
    Ok(written(&TokenBatchOutput {
        principal: value::identifier(&bearer.principal),
        results: results.collect(),
    }))
}

/// The answers to a batch, in its order.
async fn many(
    api: &Api,
    id: &RequestId,
    items: &[Item],
    entities: Option<EntitiesDefinition>,
    bearer: Option<&Bearer>,
) -> Result<Vec<Answer>, Fault> {
    let mut pace = Pace::new();
    let nesting = api.limits.nesting;
    let snapshot = api.pdp.snapshot();
    let namespace = api.pdp.namespace();
    let most = read::BATCH_ENTITIES;
    let mut entities = read::entities(entities, most, nesting, &snapshot, namespace)?;
    if let Some(bearer) = bearer {
        entities = read::with_bearer(entities, bearer, &snapshot)?;
    }
    let mut seen = entities.as_ref().ok().map(|given| snapshot.see(given));
    // All are read before one is asked: one that cannot be read spoils the call, as with AWS.
    let mut asked = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let question = read::question(item, bearer, nesting, &snapshot, namespace);
        asked.push(question.map_err(|invalid| invalid.within(&format!("requests[{index}]")))?);
        pace.pause().await;
    }
    read::share(&asked)?;
    let mut answers = Vec::with_capacity(items.len());
    let mut spent = Duration::ZERO;
    for question in asked {
        if spent >= api.limits.batch_cpu.0 {
            return Err(Fault::unavailable());
        }
        let began = Instant::now();
        // The entities are lent to one question after the other.
        let reading = question.with(&mut entities);
        let is_question = matches!(reading, Reading::Question(_));
        let (answer, given_back) = answer_to(
            reading,
            "avp",
            api,
            &snapshot,
            id,
            began,
            |question| match &mut seen {
                Some(seen) => api.pdp.decide_over(&snapshot, question, seen),
                None => api.pdp.decide(&snapshot, question),
            },
        );
        if let (Ok(entities), true) = (&mut entities, is_question) {
            *entities = given_back;
        }
        answers.push(decided(answer)?);
        spent += began.elapsed();
        pace.pause().await;
    }
    Ok(answers)
}

/// A decision that somebody made.
fn decided(answer: Answer) -> Result<Answer, Fault> {
    if answer.source == Source::FailClosed {
        return Err(Fault::unavailable());
    }
    Ok(answer)
}

fn output(answer: &Answer) -> Output<'_> {
    let policies = answer.determining_policies.iter();
    let errors = answer.errors.iter().map(|error| Problem {
        error_description: match &error.policy {
            Some(policy) => format!("while evaluating policy `{policy}`: {}", error.message),
            None => error.message.clone(),
        },
    });
    Output {
        decision: answer.decision_name(),
        determining_policies: policies.map(|policy_id| Policy { policy_id }).collect(),
        errors: errors.collect(),
    }
}

fn written(output: &impl Serialize) -> Response {
    let mut response = body::json(output);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

fn finish(mut response: Response, id: &RequestId) -> Response {
    // Both kinds of id are visible ASCII.
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn is_aws_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let essence = value.as_bytes().split(|byte| *byte == b';').next();
    essence.is_some_and(|essence| {
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())
    })
}

// === impl Call ===

impl Call {
    fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        let mut values = headers.get_all(TARGET).iter();
        match (values.next().map(HeaderValue::as_bytes), values.next()) {
            (Some(b"VerifiedPermissions.IsAuthorized"), None) => Ok(Self::IsAuthorized),
            (Some(b"VerifiedPermissions.BatchIsAuthorized"), None) => Ok(Self::BatchIsAuthorized),
            (Some(b"VerifiedPermissions.IsAuthorizedWithToken"), None) => {
                Ok(Self::IsAuthorizedWithToken)
            }
            (Some(b"VerifiedPermissions.BatchIsAuthorizedWithToken"), None) => {
                Ok(Self::BatchIsAuthorizedWithToken)
            }
            _ => Err(Fault::unknown_operation()),
        }
    }
}

#[cfg(test)]
mod tests;

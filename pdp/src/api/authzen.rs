//! The AuthZEN Authorization API 1.0: a translation to the one `decide`.
//!
//! | call | does |
//! |---|---|
//! | `POST /access/v1/evaluation` | one question |
//! | `POST /access/v1/evaluations` | many questions, one snapshot |
//! | `POST /access/v1/search/{subject,resource,action}` | all that would be permitted, page by page |
//! | `GET /.well-known/authzen-configuration` | where all of this is |
//!
//! The same stands below `/default`, the id of the one policy store: the tenant form.
//!
//! `subject` is the principal and `type` the Cedar entity type, both in the namespace of the policies
//! unless `authzen.types` says otherwise; `action.name` is the id of the action. Properties of subject
//! and resource are attributes laid over the stored entity for the one question, properties of the
//! action are `context.action`. What the schema does not declare of all these is ignored; a value of
//! another type than the declared one makes the question one outside the schema, which is denied.
//!
//! A plain answer is `{"decision":…}` and nothing else; `"options": {"explain": true}` adds the reasons. A denial is
//! 200. What is no request gets a status and a sentence as plain text. The id in `X-Request-ID` comes back as it was.

mod config;
mod cursor;
mod datetime;
mod evaluation;
mod metadata;
mod read;
mod search;
mod types;
mod value;
pub(crate) mod wire;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use cedar_policy::Schema;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use settings::{Address, ByteSize};

pub use self::config::{AuthzenConfig, SearchLimits};
use self::read::Reader;
use self::types::Types;
use self::wire::{EvaluationBody, EvaluationsBody};
use super::openapi::{JSON, Operation, Schemas};
use super::refusal::Refusal;
use super::wire::RefusalBody;
use super::{body, read as json};
use crate::namespace::Namespace;
use crate::question::Question;
use crate::snapshot::Snapshot;

/// The id of the policy store, under which everything stands once more.
const STORE: &str = "default";

/// How the AuthZEN API is set up.
#[derive(Debug, Clone)]
pub struct Authzen {
    types: Types,
    search: SearchLimits,
    /// The identifier of this decision point.
    identifier: Option<String>,
}

// === impl Authzen ===

impl Authzen {
    /// Takes over section `authzen`.
    ///
    /// # Errors
    /// Every mistake in it, with its key below the section.
    pub fn new(
        config: &AuthzenConfig,
        namespace: &Namespace,
        schema: Option<&Schema>,
    ) -> Result<Self, Vec<(String, String)>> {
        let problems = config.problems(namespace, schema);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            types: Types::new(&config.types, namespace, schema)?,
            search: config.search.clone(),
            identifier: config.policy_decision_point.clone(),
        })
    }

    /// Names the decision point after the address that it listens at, where it has no other name and
    /// only this machine can connect.
    #[must_use]
    pub fn listening_at(mut self, address: &Address) -> Self {
        if let (None, Address::Tcp(at)) = (&self.identifier, address)
            && at.ip().is_loopback()
        {
            self.identifier = Some(format!("http://{at}"));
        }
        self
    }
}

/// Reads a body as every call of AuthZEN does, as far as one reads it. The questions that it holds. For
/// fuzzing: no bytes may make it panic.
pub fn read_bytes(
    body: &[u8],
    nesting: usize,
    snapshot: &Snapshot,
    authzen: &Authzen,
) -> Vec<Question> {
    let reader = Reader {
        snapshot,
        types: &authzen.types,
    };
    search::read_bytes(body, nesting, reader, &authzen.search);
    let Ok(body) = json::parse_object::<EvaluationsBody<'_>>(body, nesting) else {
        return Vec::new();
    };
    let (items, common) = body.split();
    let items = items.iter().filter_map(|item| {
        let item: EvaluationBody<'_> = json::parse_object(item.get().as_bytes(), nesting).ok()?;
        reader.asked(item.or(&common)).ok()
    });
    let mut asked: Vec<_> = items.collect();
    asked.extend(reader.asked(common).ok());
    let questions = asked.into_iter().filter_map(|asked| asked.question.ok());
    questions.map(|question| *question).collect()
}

/// Where an operation is served, and the id that programs know it by.
type At = (&'static str, &'static str);

/// Each call is served by itself, and below the id of the policy store.
const EVALUATION: [At; 2] = [
    ("/access/v1/evaluation", "authzen_evaluation"),
    ("/default/access/v1/evaluation", "authzen_store_evaluation"),
];
const EVALUATIONS: [At; 2] = [
    ("/access/v1/evaluations", "authzen_evaluations"),
    (
        "/default/access/v1/evaluations",
        "authzen_store_evaluations",
    ),
];
const SUBJECTS: [At; 2] = [
    ("/access/v1/search/subject", "authzen_search_subject"),
    (
        "/default/access/v1/search/subject",
        "authzen_store_search_subject",
    ),
];
const RESOURCES: [At; 2] = [
    ("/access/v1/search/resource", "authzen_search_resource"),
    (
        "/default/access/v1/search/resource",
        "authzen_store_search_resource",
    ),
];
const ACTIONS: [At; 2] = [
    ("/access/v1/search/action", "authzen_search_action"),
    (
        "/default/access/v1/search/action",
        "authzen_store_search_action",
    ),
];

/// All that is served.
pub(super) fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let mut operations = Vec::from(metadata::operations(schemas));
    operations.extend(EVALUATION.map(|at| evaluation::one_operation(schemas, at)));
    operations.extend(EVALUATIONS.map(|at| evaluation::many_operation(schemas, at)));
    operations.extend(SUBJECTS.map(|at| search::subjects_operation(schemas, at)));
    operations.extend(RESOURCES.map(|at| search::resources_operation(schemas, at)));
    operations.extend(ACTIONS.map(|at| search::actions_operation(schemas, at)));
    operations
}

/// An operation with what it may be refused with: a sentence, or an envelope where the listener
/// refused it before it came here.
fn refuses(operation: Operation, schemas: &mut Schemas) -> Operation {
    let envelope = schemas.response::<RefusalBody<'_>>();
    let sentence = json!({ "type": "string" });
    let either = [(PLAIN, sentence.clone()), (JSON, envelope)];
    operation
        .answers(
            400,
            "The request is malformed, or its body not JSON.",
            &either,
        )
        .answers(
            401,
            "The caller is not known. Only where `callers` are configured.",
            &[(PLAIN, sentence.clone())],
        )
        .answers(
            403,
            "The caller is a service that may not. Only where `callers` are configured.",
            &[(PLAIN, sentence.clone())],
        )
        .answers(
            503,
            "Whether the caller may is not to be found out, or too many requests are being answered.",
            &[(PLAIN, sentence), (JSON, schemas.response::<RefusalBody<'_>>())],
        )
        .answers(408, "The request did not arrive in time.", &either)
        .answers(
            413,
            "The body is too large, or holds too many questions.",
            &either,
        )
}

/// Middleware, outermost: a request's own id comes back as it was, even one that cannot stand in a log,
/// which then has an id of ours.
pub(super) async fn echo_request_id(request: Request, next: Next) -> Response {
    const HEADER: HeaderName = HeaderName::from_static("x-request-id");
    let given = request.headers().get(&HEADER).cloned();
    let mut response = next.run(request).await;
    if let Some(given) = given {
        response.headers_mut().insert(HEADER, given);
    }
    response
}

/// Middleware in front of the authentication of callers: its refusal as AuthZEN has it, a sentence.
pub(super) async fn plain_refusal(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let Some(refusal) = response.extensions().get::<callers::Refusal>() else {
        return response;
    };
    let sentence = match refusal.status() {
        StatusCode::UNAUTHORIZED => "the caller is not known by a bearer token",
        _ => refusal.message(),
    };
    let (mut head, _) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    head.headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(PLAIN));
    Response::from_parts(head, Body::from(sentence))
}

const PLAIN: &str = "text/plain; charset=utf-8";

/// Reads the body of a request, which has to say that it is JSON.
async fn read(request: Request, limit: ByteSize) -> Result<Bytes, Refusal> {
    if !request.headers().contains_key(CONTENT_TYPE) {
        return Err(Refusal::not_json());
    }
    body::read(request, limit).await
}

/// A refusal as AuthZEN has it: a status, and a sentence.
fn refused(refusal: &Refusal) -> Response {
    let status = match refusal.status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => StatusCode::BAD_REQUEST,
        status => status,
    };
    let mut response = Response::new(Body::from(refusal.message.clone()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PLAIN));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) async fn method_not_allowed() -> Response {
    refused(&Refusal::method_not_allowed())
}

#[cfg(test)]
mod tests;

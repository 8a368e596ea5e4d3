//! `POST /access/v1/search/{subject,resource,action}`.
//!
//! Subjects and resources are the stored entities of the type, in the order of their ids; actions are
//! those that the schema declares for the two types, in the order of their names. Each is decided as
//! `/access/v1/evaluation` would decide it.

mod candidates;
mod page;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use callers::RequestId;
use cedar_policy::{Context, EntityUid};
use serde_json::json;

use self::candidates::{Candidates, Side};
use self::page::Wanted;
use super::super::openapi::{JSON, Operation, Schemas};
use super::super::refusal::Refusal;
use super::super::{Api, body, read};
use super::cursor::QuestionDigest;
use super::read::{Described, Reader, Sought};
use super::types::Party;
use super::wire::{
    ActionSearchBody, Members, ResourceSearchBody, ResultBody, ResultsBody, SubjectSearchBody,
};
use super::{At, SearchLimits, refused, refuses};
use crate::decision_log::Searched;
use crate::search::{Ended, Page, page};
use crate::snapshot::Snapshot;

pub(super) fn subjects_operation(schemas: &mut Schemas, (path, id): At) -> Operation {
    let request = schemas.request::<SubjectSearchBody>();
    let example = json!({
        "subject": { "type": "User" },
        "action": { "name": "update_user" },
        "resource": { "type": "User", "id": "alice" },
        "page": { "limit": 10 },
    });
    let operation = Operation::post(path, subjects)
        .named(
            id,
            "AuthZEN: which subjects of a type may perform the action on the resource?",
        )
        .reads(JSON, request, example);
    described(operation, schemas)
}

pub(super) fn resources_operation(schemas: &mut Schemas, (path, id): At) -> Operation {
    let request = schemas.request::<ResourceSearchBody>();
    let example = json!({
        "subject": { "type": "User", "id": "alice" },
        "action": { "name": "update_user" },
        "resource": { "type": "User" },
    });
    let operation = Operation::post(path, resources)
        .named(
            id,
            "AuthZEN: on which resources of a type may the subject perform the action?",
        )
        .reads(JSON, request, example);
    described(operation, schemas)
}

pub(super) fn actions_operation(schemas: &mut Schemas, (path, id): At) -> Operation {
    let request = schemas.request::<ActionSearchBody>();
    let example = json!({
        "subject": { "type": "User", "id": "alice" },
        "resource": { "type": "User", "id": "alice" },
    });
    let operation = Operation::post(path, actions)
        .named(
            id,
            "AuthZEN: which actions may the subject perform on the resource?",
        )
        .reads(JSON, request, example);
    described(operation, schemas)
}

fn described(operation: Operation, schemas: &mut Schemas) -> Operation {
    let results = schemas.response::<ResultsBody>();
    let operation = operation.answers(
        200,
        "One page of what is permitted. Without a `page`, or with an empty `next_token` in it, it is the last.",
        &[(JSON, results)],
    );
    refuses(operation, schemas)
}

async fn subjects(
    State(api): State<Arc<Api>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    match Call::begin(&api, &id, request).await {
        Ok(call) => respond(call.subjects().await),
        Err(refusal) => refused(&refusal),
    }
}

async fn resources(
    State(api): State<Arc<Api>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    match Call::begin(&api, &id, request).await {
        Ok(call) => respond(call.resources().await),
        Err(refusal) => refused(&refusal),
    }
}

async fn actions(
    State(api): State<Arc<Api>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    match Call::begin(&api, &id, request).await {
        Ok(call) => respond(call.actions().await),
        Err(refusal) => refused(&refusal),
    }
}

/// Reads a body as every search does, up to the deciding.
pub(super) fn read_bytes(body: &[u8], nesting: usize, reader: Reader<'_>, limits: &SearchLimits) {
    if let Ok(body) = read::parse_object::<SubjectSearchBody>(body, nesting) {
        let question = (&body.subject, &body.action, &body.resource, &body.context);
        let question = QuestionDigest::of("subject", &question);
        let _ = Wanted::new(question, body.page, limits);
        let _ = reader.sought("subject", body.subject);
        let _ = reader.described("resource", body.resource);
        if let Ok((action, about)) = reader.action(body.action) {
            let _ = reader.context(&action, body.context, about);
        }
    }
    if let Ok(body) = read::parse_object::<ResourceSearchBody>(body, nesting) {
        let question = (&body.subject, &body.action, &body.resource, &body.context);
        let question = QuestionDigest::of("resource", &question);
        let _ = Wanted::new(question, body.page, limits);
        let _ = reader.described("subject", body.subject);
        let _ = reader.sought("resource", body.resource);
    }
    if let Ok(body) = read::parse_object::<ActionSearchBody>(body, nesting) {
        let question = (&body.subject, &body.resource, &body.context);
        let question = QuestionDigest::of("action", &question);
        let _ = Wanted::new(question, body.page, limits);
        let _ = reader.described("subject", body.subject);
        let _ = reader.described("resource", body.resource);
    }
}

fn respond(results: Result<ResultsBody, Refusal>) -> Response {
    match results {
        Ok(results) => body::json(&results),
        Err(refusal) => refused(&refusal),
    }
}

/// One search under way, over one snapshot.
struct Call<'a> {
    api: &'a Api,
    id: &'a RequestId,
    body: Bytes,
    began: Instant,
    snapshot: Arc<Snapshot>,
}

// === impl Call ===

impl<'a> Call<'a> {
    async fn begin(api: &'a Api, id: &'a RequestId, request: Request) -> Result<Self, Refusal> {
        let body = super::read(request, api.limits.request_bytes).await?;
        Ok(Self {
            api,
            id,
            body,
            began: Instant::now(),
            snapshot: api.pdp.snapshot(),
        })
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            snapshot: &self.snapshot,
            types: &self.api.authzen.types,
        }
    }

    async fn subjects(&self) -> Result<ResultsBody, Refusal> {
        let body: SubjectSearchBody = read::parse_object(&self.body, self.api.limits.nesting)?;
        let question = (&body.subject, &body.action, &body.resource, &body.context);
        let question = QuestionDigest::of("subject", &question);
        let reader = self.reader();
        let sought = reader.sought("subject", body.subject)?;
        let (action, about) = reader.action(body.action)?;
        let resource = reader.described("resource", body.resource)?;
        let wanted = Wanted::new(question, body.page, &self.api.authzen.search)?;
        let context = reader.context(&action, body.context, about);
        let page = self
            .entities(Side::Subject, &sought, &action, &resource, context, &wanted)
            .await;
        let (type_name, target) = (&sought.type_name, &resource.party);
        self.record("subject", [type_name, &action, target], &page);
        Ok(entities_found(wanted, sought.type_name, page))
    }

    async fn resources(&self) -> Result<ResultsBody, Refusal> {
        let body: ResourceSearchBody = read::parse_object(&self.body, self.api.limits.nesting)?;
        let question = (&body.subject, &body.action, &body.resource, &body.context);
        let question = QuestionDigest::of("resource", &question);
        let reader = self.reader();
        let subject = reader.described("subject", body.subject)?;
        let (action, about) = reader.action(body.action)?;
        let sought = reader.sought("resource", body.resource)?;
        let wanted = Wanted::new(question, body.page, &self.api.authzen.search)?;
        let context = reader.context(&action, body.context, about);
        let page = self
            .entities(Side::Resource, &sought, &action, &subject, context, &wanted)
            .await;
        let (principal, type_name) = (&subject.party, &sought.type_name);
        self.record("resource", [principal, &action, type_name], &page);
        Ok(entities_found(wanted, sought.type_name, page))
    }

    async fn actions(&self) -> Result<ResultsBody, Refusal> {
        let body: ActionSearchBody = read::parse_object(&self.body, self.api.limits.nesting)?;
        let question = (&body.subject, &body.resource, &body.context);
        let question = QuestionDigest::of("action", &question);
        let reader = self.reader();
        let subject = reader.described("subject", body.subject)?;
        let resource = reader.described("resource", body.resource)?;
        let wanted = Wanted::new(question, body.page, &self.api.authzen.search)?;
        let page = self
            .allowed_actions(&subject, &resource, body.context.as_ref(), &wanted)
            .await;
        let (principal, target) = (&subject.party, &resource.party);
        self.record("action", [principal, &"", target], &page);
        let found = |name| ResultBody::Action { name };
        Ok(wanted.results(page, found))
    }

    /// A page of the entities that are allowed as one side of a question.
    async fn entities(
        &self,
        side: Side,
        sought: &Sought,
        action: &EntityUid,
        other: &Described,
        context: Result<Context, String>,
        wanted: &Wanted,
    ) -> Page<String> {
        let (Some(kind), Party::Entity(fixed), Ok(context)) = (&sought.kind, &other.party, context)
        else {
            return nothing();
        };
        let (principal, resource) = match side {
            Side::Subject => (kind, fixed.type_name()),
            Side::Resource => (fixed.type_name(), kind),
        };
        if !self.snapshot.applies(action, principal, resource) {
            return nothing();
        }
        let mut candidates = Candidates {
            pdp: &self.api.pdp,
            reader: self.reader(),
            side,
            kind,
            properties: sought.properties.clone(),
            action,
            other,
            context,
            question: None,
        };
        let ids = self.snapshot.ids_of(kind, wanted.cursor.after.as_deref());
        page(ids, wanted.ceiling, self.began, |id: &String| {
            candidates.is_allowed(id)
        })
        .await
    }

    /// A page of the names of the actions that are allowed.
    async fn allowed_actions(
        &self,
        subject: &Described,
        resource: &Described,
        context: Option<&Members>,
        wanted: &Wanted,
    ) -> Page<String> {
        let (Party::Entity(principal), Party::Entity(target)) = (&subject.party, &resource.party)
        else {
            return nothing();
        };
        let reader = self.reader();
        let known = self
            .snapshot
            .actions(principal.type_name(), target.type_name());
        let mut names: Vec<String> = known
            .iter()
            .map(|action| reader.types.action_name(action))
            .collect();
        names.sort_unstable();
        let after = wanted.cursor.after.as_ref();
        let names = names
            .into_iter()
            .filter(|name| after.is_none_or(|after| name > after));
        page(names, wanted.ceiling, self.began, |name: &String| {
            let action = reader.types.action(name);
            reader
                .context(&action, context.cloned(), None)
                .and_then(|context| reader.question(subject, &action, resource, context))
                .is_ok_and(|question| self.api.pdp.allows(&self.snapshot, &question))
        })
        .await
    }

    fn record(&self, sought: &'static str, scope: [&dyn Display; 3], page: &Page<String>) {
        let [principal, action, resource] = scope;
        Searched {
            surface: "authzen",
            request_id: &self.id.0,
            sought,
            principal,
            action,
            resource,
            candidates: page.candidates,
            found: page.found.len(),
            more: page.more(),
            revision: self.snapshot.revision(),
            took: self.began.elapsed(),
        }
        .record();
        self.api.pdp.searched(sought, page.candidates, page.ended);
    }
}

fn entities_found(wanted: Wanted, type_name: String, page: Page<String>) -> ResultsBody {
    let type_name: Arc<str> = type_name.into();
    wanted.results(page, |id| ResultBody::Entity {
        type_name: Arc::clone(&type_name),
        id,
    })
}

/// Where every candidate would be denied, or there is none.
fn nothing() -> Page<String> {
    Page {
        found: Vec::new(),
        candidates: 0,
        last: None,
        ended: Ended::Complete,
    }
}

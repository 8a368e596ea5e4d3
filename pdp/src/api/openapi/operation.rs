//! One operation of the API.

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use serde_json::{Map, Value, json};

use super::{REFUSALS, Schemas};
use crate::api::Api;
use crate::api::wire::RefusalBody;

/// The media type of all bodies but those of AWS.
pub(in crate::api) const JSON: &str = "application/json";

/// Where an operation is served, by what, and what is said of it.
pub(in crate::api) struct Operation {
    /// In lower case, as OpenAPI has it.
    pub(in crate::api) method: &'static str,
    pub(in crate::api) path: &'static str,
    pub(in crate::api) handler: MethodRouter<Arc<Api>>,
    members: Map<String, Value>,
    parameters: Vec<Value>,
    /// By status, in three digits.
    responses: Map<String, Value>,
}

// === impl Operation ===

impl Operation {
    pub(in crate::api) fn get<H, T>(path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new("get", path, routing::get(handler))
    }

    pub(in crate::api) fn post<H, T>(path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new("post", path, routing::post(handler))
    }

    fn new(method: &'static str, path: &'static str, handler: MethodRouter<Arc<Api>>) -> Self {
        let responses = REFUSALS.iter().map(|(status, name, _)| {
            let reference = json!({ "$ref": format!("#/components/responses/{name}") });
            (status.to_string(), reference)
        });
        Self {
            method,
            path,
            handler,
            members: Map::new(),
            parameters: vec![json!({
                "name": "X-Request-ID",
                "in": "header",
                "description": "The caller's own id for the request: up to 128 visible ASCII characters. The response carries it, or one of ours.",
                "schema": { "type": "string" },
            })],
            responses: responses.collect(),
        }
    }

    /// The id that programs know the operation by, and a sentence for people.
    pub(in crate::api) fn named(mut self, id: &str, summary: &str) -> Self {
        self.members.insert("operationId".to_owned(), json!(id));
        self.members.insert("summary".to_owned(), json!(summary));
        self
    }

    /// Another request header that counts.
    pub(in crate::api) fn header(mut self, name: &str, description: &str, schema: Value) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "header", "required": true, "description": description, "schema": schema,
        }));
        self
    }

    /// The body that is read.
    pub(in crate::api) fn reads(mut self, media_type: &str, schema: Value, example: Value) -> Self {
        let content = json!({ media_type: { "schema": schema, "example": example } });
        let body = json!({ "required": true, "content": content });
        self.members.insert("requestBody".to_owned(), body);
        self
    }

    /// A response, with a schema for each media type that it may have. Replaces what was said of
    /// the same status before.
    pub(in crate::api) fn answers(
        mut self,
        status: u16,
        description: &str,
        bodies: &[(&str, Value)],
    ) -> Self {
        let content: Map<String, Value> = bodies
            .iter()
            .map(|(media_type, schema)| ((*media_type).to_owned(), json!({ "schema": schema })))
            .collect();
        let response = json!({ "description": description, "content": content });
        self.responses.insert(status.to_string(), response);
        self
    }

    /// A refusal in the envelope that all refusals have.
    pub(in crate::api) fn refuses(
        self,
        schemas: &mut Schemas,
        status: u16,
        description: &str,
    ) -> Self {
        let envelope = schemas.response::<RefusalBody<'_>>();
        self.answers(status, description, &[(JSON, envelope)])
    }

    /// The operation as the document has it.
    pub(super) fn description(&self) -> Value {
        let mut members = self.members.clone();
        members.insert("parameters".to_owned(), json!(self.parameters));
        let mut responses: Vec<_> = self.responses.iter().collect();
        responses.sort_unstable_by_key(|(status, _)| *status);
        let responses: Map<String, Value> = responses
            .into_iter()
            .map(|(status, response)| (status.clone(), response.clone()))
            .collect();
        members.insert("responses".to_owned(), Value::Object(responses));
        Value::Object(members)
    }
}

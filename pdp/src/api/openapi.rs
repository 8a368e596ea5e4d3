//! `GET /openapi.json`: what this listener serves, for programs.
//!
//! Each handler's module describes its operation beside the handler, and the router is made of
//! those very [`Operation`]s: nothing is served that is not described, and the other way round.
//! Bodies are described by what reads and writes them.

mod operation;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

pub(super) use self::operation::{JSON, Operation};
use super::Api;
use super::wire::RefusalBody;

/// Makes the schemas of bodies, and keeps those that have names.
pub(super) struct Schemas {
    /// Of what is read: optional members may be left out.
    read: SchemaGenerator,
    /// Of what is written: only members that are skipped are left out.
    written: SchemaGenerator,
}

/// What any request may be refused with before its operation sees it: status, name, description.
const REFUSALS: [(u16, &str, &str); 11] = [
    (
        400,
        "Malformed",
        "The request is malformed (`invalid_request`).",
    ),
    (
        401,
        "Unauthenticated",
        "The caller is not known (`missing_token`, `invalid_token`, `token_expired`, `session_revoked`). Only where `callers` are configured.",
    ),
    (
        403,
        "Forbidden",
        "The caller is a service that may not (`insufficient_scope`, `user_not_active`). Only where `callers` are configured.",
    ),
    (
        408,
        "RequestTimeout",
        "The request did not arrive in time (`request_timeout`).",
    ),
    (
        413,
        "TooLarge",
        "The body is too large (`body_too_large`), or a batch holds too many items (`batch_too_large`).",
    ),
    (
        414,
        "UriTooLong",
        "The request target is too long (`uri_too_long`).",
    ),
    (
        417,
        "ExpectationFailed",
        "Something else than `100-continue` is expected (`expectation_failed`).",
    ),
    (
        431,
        "HeadersTooLarge",
        "There are too many headers, or they are too large (`headers_too_large`).",
    ),
    (
        501,
        "NotImplemented",
        "The method or the transfer coding is not known (`not_implemented`).",
    ),
    (
        503,
        "Overloaded",
        "As many requests are in flight as may be (`overloaded`); or whether the caller may is not to be found out (`keys_unavailable`, `session_store_unavailable`, `user_status_unavailable`).",
    ),
    (
        505,
        "VersionNotSupported",
        "The HTTP version is not supported (`version_not_supported`).",
    ),
];

pub(super) fn operation() -> Operation {
    Operation::get("/openapi.json", serve)
        .named("describe", "What this listener serves: this document.")
        .answers(200, "The document.", &[(JSON, json!({ "type": "object" }))])
}

async fn serve(State(api): State<Arc<Api>>) -> Response {
    let mut response = Response::new(Body::from(api.openapi.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The OpenAPI 3.1 document of `operations`, whose bodies are described in `schemas`.
pub(super) fn document<'a>(
    operations: impl Iterator<Item = &'a Operation>,
    mut schemas: Schemas,
) -> Bytes {
    let mut paths = Map::new();
    for operation in operations {
        let path = paths
            .entry(operation.path)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(path) = path {
            path.insert(operation.method.to_owned(), operation.description());
        }
    }
    let refusal = schemas.response::<RefusalBody<'_>>();
    let responses: Map<String, Value> = REFUSALS
        .iter()
        .map(|(_, name, description)| {
            let content = json!({ JSON: { "schema": refusal } });
            let response = json!({ "description": description, "content": content });
            ((*name).to_owned(), response)
        })
        .collect();
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portcullis decision APIs",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every call asks the same decision point. A caller who reads only the decision is always safe: whatever goes wrong, it is no Allow.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "caller": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "caller": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of one of the configured `callers`. Not needed where none is configured, which is only allowed on loopback and Unix sockets.",
                },
            },
            "responses": responses,
            "schemas": schemas.definitions(),
        },
    });
    // Every key is a string, so that it can always be written.
    serde_json::to_vec(&document).unwrap_or_default().into()
}

// === impl Schemas ===

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            read: settings().for_deserialize().into_generator(),
            written: settings().for_serialize().into_generator(),
        }
    }

    /// The schema of a body that is read.
    pub(super) fn request<T: JsonSchema>(&mut self) -> Value {
        self.read.subschema_for::<T>().to_value()
    }

    /// The schema of a body that is written.
    pub(super) fn response<T: JsonSchema>(&mut self) -> Value {
        self.written.subschema_for::<T>().to_value()
    }

    /// All schemas that have names.
    fn definitions(mut self) -> Map<String, Value> {
        let mut definitions = self.read.take_definitions(true);
        definitions.extend(self.written.take_definitions(true));
        definitions
    }
}

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::Value;

use crate::api::tests::serve;
use crate::config::ApiLimits;

async fn served_document() -> Value {
    let served = serve(ApiLimits::default());
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    let (status, headers, document) = served.send(request).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "application/json");
    document
}

/// The router is made of what the document is made of, so that only the methods need looking at.
#[tokio::test]
async fn what_is_described_is_served_and_nothing_else() {
    let served = serve(ApiLimits::default());
    let document = served_document().await;
    let paths = document["paths"].as_object().unwrap();
    for known in [
        "/v1/authorize",
        "/v1/authorize/batch",
        "/v1/revision",
        "/",
        "/openapi.json",
        "/access/v1/evaluation",
        "/default/access/v1/search/action",
        "/.well-known/authzen-configuration",
    ] {
        assert!(paths.contains_key(known), "{known}");
    }
    for (path, operations) in paths {
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ] {
            let described = operations
                .get(method.as_str().to_ascii_lowercase())
                .is_some();
            let request = Request::builder()
                .method(&method)
                .uri(path.replace(['{', '}'], ""))
                .body(Body::empty())
                .unwrap();
            let (status, ..) = served.send(request).await;
            assert_ne!(status, StatusCode::NOT_FOUND, "{method} {path}");
            assert_eq!(
                status == StatusCode::METHOD_NOT_ALLOWED,
                !described,
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn every_response_is_described_and_every_reference_leads_somewhere() {
    let document = served_document().await;
    let mut names = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let at = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(names.insert(id), "{at}: its name is another's");
            assert!(operation["summary"].is_string(), "{at}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200") && responses.contains_key("400"));
            for (status, response) in responses {
                assert!(status.parse::<u16>().is_ok(), "{at}: {status}");
                let is_described = response["$ref"].is_string() || !response["content"].is_null();
                assert!(is_described, "{at}: {status}");
            }
        }
    }
    let mut waiting = vec![&document];
    let mut references = 0;
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(values) => waiting.extend(values),
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                    references += 1;
                }
                waiting.extend(members.values());
            }
            _ => {}
        }
    }
    assert!(references > 20, "only {references} references");
}

/// What is read and what is written may share a name only where both are described alike.
#[test]
fn a_schema_has_one_meaning() {
    let mut schemas = super::Schemas::new();
    let _ = crate::api::operations(&mut schemas);
    let _ = crate::api::authzen::operations(&mut schemas);
    let read = schemas.read.take_definitions(true);
    let written = schemas.written.take_definitions(true);
    for (name, schema) in &read {
        if let Some(other) = written.get(name) {
            assert_eq!(schema, other, "{name}");
        }
    }
}

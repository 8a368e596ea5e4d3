use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::google::protobuf::Struct;
use envoy_types::pb::google::protobuf::value::Kind;
use prost::Message as _;
use serde_json::json;

use super::*;
use crate::config::RealmConfig;
use crate::fixture::World;
use crate::headers::ReservedNames;
use crate::headers::reserved::{IDENTITY, OVERRIDES};
use crate::rejection::{Realm, Reason, Rejection};

const ROUTES: &str =
    "routes: [{ match: 'GET /users/{id}', action: view, resource: { type: User, id: '{id}' } }]";
const POLICIES: &str = r#"
@id("own") permit(principal, action, resource) when { principal == resource };
@id("any") permit(principal in Fortress::Role::"admin", action, resource);
"#;

fn read(answer: &Bytes) -> CheckResponse {
    let (&[flag, a, b, c, d], message) = answer.split_first_chunk::<5>().unwrap();
    assert_eq!(flag, 0);
    assert_eq!(u32::from_be_bytes([a, b, c, d]) as usize, message.len());
    CheckResponse::decode(message).unwrap()
}

/// Each header as what it says and does, sorted.
#[expect(deprecated, reason = "up to 1.36 `append` alone decides")]
fn headers(of: &[HeaderValueOption]) -> Vec<(String, String, bool)> {
    let mut headers: Vec<_> = of
        .iter()
        .map(|option| {
            let header = option.header.clone().unwrap();
            assert!(header.raw_value.is_empty() && !option.keep_empty_value);
            let appended = option.append.unwrap().value;
            let action = if appended {
                HeaderAppendAction::AppendIfExistsOrAdd
            } else {
                HeaderAppendAction::OverwriteIfExistsOrAdd
            };
            assert_eq!(option.append_action(), action);
            (header.key, header.value, appended)
        })
        .collect();
    headers.sort();
    headers
}

fn told(metadata: &Struct) -> Vec<(&str, String)> {
    let text = |kind: &Option<Kind>| match kind {
        Some(Kind::StringValue(text)) => text.clone(),
        Some(Kind::ListValue(list)) => list
            .values
            .iter()
            .map(|value| format!("{:?}", value.kind))
            .collect(),
        other => panic!("{other:?}"),
    };
    let mut told: Vec<_> = metadata
        .fields
        .iter()
        .map(|(name, value)| (name.as_str(), text(&value.kind)))
        .collect();
    told.sort();
    told
}

#[tokio::test]
async fn what_passes_is_answered_with_who_is_calling() {
    let world = World::new(ROUTES, POLICIES);
    // Longer than what a length of one byte can say.
    let scopes: Vec<_> = (0..40).map(|number| format!("scope-{number}")).collect();
    let scope = scopes.join(" ");
    let token = world.token("alice", json!({ "roles": ["admin"], "scope": scope }));
    let permit = world.admit("GET /users/alice", Some(&token)).await.unwrap();
    let revision = permit.decision().unwrap().answer.revision.to_string();
    let mut received = HeaderMap::new();
    for name in [
        "accept",
        "x-user",
        "x-portcullis-roles",
        "x-portcullis-on-behalf-of",
    ] {
        received.insert(name, HeaderValue::from_static("forged"));
    }
    let id = RequestId::new(1, 2);
    let reserved = ReservedNames::fixed(&[IDENTITY, OVERRIDES]);
    let passed = Passed::new(permit, Some(&received), &reserved, &id);
    let answer = read(&ok(&passed, &id));

    let status = answer.status.unwrap();
    assert_eq!((status.code, status.message.as_str()), (0, ""));
    let Some(HttpResponse::OkResponse(ok)) = answer.http_response else {
        panic!("no OK");
    };
    let set = |name: &str, value: &str| (format!("x-portcullis-{name}"), value.to_owned(), false);
    assert_eq!(
        headers(&ok.headers),
        [
            set("principal", r#"Fortress::User::"alice""#),
            set("request-id", id.as_str()),
            set("roles", "admin"),
            set("scopes", &scope),
            set("user", "alice"),
        ]
    );
    assert_eq!(
        ok.headers_to_remove,
        [
            "x-portcullis-assertion",
            "x-portcullis-on-behalf-of",
            "x-user"
        ]
    );
    assert!(ok.response_headers_to_add.is_empty());
    let policies = ["any", "own"].map(|id| format!("{:?}", Some(Kind::StringValue(id.into()))));
    assert_eq!(
        told(&answer.dynamic_metadata.unwrap()),
        [
            ("code", "ok".to_owned()),
            ("decision", "ALLOW".to_owned()),
            ("policies", policies.concat()),
            ("principal", r#"Fortress::User::"alice""#.to_owned()),
            ("request_id", id.as_str().to_owned()),
            ("revision", revision),
            ("route", "GET /users/{id}".to_owned()),
        ]
    );
}

#[test]
fn a_refusal_is_never_an_allow() {
    let id = RequestId::new(1, 2);
    for (reason, code) in [
        (Reason::Forbidden, 7),
        (Reason::RouteNotMapped, 7),
        (Reason::AuthzUnavailable, 14),
        (Reason::NotImplemented, 12),
        (Reason::InvalidRequest, 3),
    ] {
        let rejection = Rejection::new(reason);
        let response = rejection.render(&Realm::new(&RealmConfig::default()).unwrap(), id.as_str());
        for for_grpc in [false, true] {
            let about = (Decided::no(&rejection), rejection.code(), &id);
            let message = rejection.message();
            let answer = read(&denied(&response, for_grpc, message, Some(about)));
            let status = answer.status.unwrap();
            assert_eq!((status.code, status.message.as_str()), (code, message));
            let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else {
                panic!("no denial");
            };
            let http = denied.status.unwrap().code;
            assert_eq!(http, i32::from(response.status().as_u16()));
            let body = if for_grpc {
                message.as_bytes()
            } else {
                response.body()
            };
            assert_eq!(denied.body.as_bytes(), body);
            let has_type = headers(&denied.headers)
                .iter()
                .any(|(name, _, _)| name == "content-type");
            assert_eq!(has_type, !for_grpc);
            let told = told(answer.dynamic_metadata.as_ref().unwrap());
            assert!(
                told.contains(&("decision", "REFUSED".to_owned())),
                "{told:?}"
            );
        }
    }
}

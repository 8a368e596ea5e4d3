use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::Peer;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use envoy_types::pb::google::protobuf::{ListValue, Struct};
use prost::Message as _;
use serde_json::json;

use super::*;

fn value(of: &serde_json::Value) -> Value {
    let kind = match of {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(truth) => Kind::BoolValue(*truth),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(values) => Kind::ListValue(ListValue {
            values: values.iter().map(value).collect(),
        }),
        serde_json::Value::Object(_) => Kind::StructValue(structure(of)),
    };
    Value { kind: Some(kind) }
}

fn structure(of: &serde_json::Value) -> Struct {
    let members = of.as_object().unwrap().iter();
    Struct {
        fields: members
            .map(|(name, member)| (name.clone(), value(member)))
            .collect(),
    }
}

fn attributes(metadata: &serde_json::Value) -> AttributeContext {
    let namespaces = metadata.as_object().unwrap().iter();
    AttributeContext {
        metadata_context: Some(Metadata {
            filter_metadata: namespaces
                .map(|(name, members)| (name.clone(), structure(members)))
                .collect(),
            ..Metadata::default()
        }),
        ..AttributeContext::default()
    }
}

fn sent(attributes: AttributeContext) -> Vec<u8> {
    let attributes = Some(attributes);
    CheckRequest { attributes }.encode_to_vec()
}

fn has_claims(attributes: AttributeContext) -> bool {
    let sent = sent(attributes);
    let question = Question::read(&sent).unwrap();
    claims(&question, &filter()).unwrap().is_some()
}

fn filter() -> JwtAuthnConfig {
    serde_json::from_value(json!({ "issuer": "a" })).unwrap()
}

#[test]
fn claims_survive_the_way_through_envoy() {
    for claims in [
        json!({ "sub": "alice", "exp": 1_800_000_000, "roles": ["a", "b"], "deep": { "x": [null, true, -7] } }),
        json!({ "n": 9_007_199_254_740_991_i64 }),
        json!({ "n": 1.5 }),
        json!({}),
    ] {
        assert_eq!(json(&value(&claims)), claims);
    }
    // Beyond it one number stands for several, and a claim that is not exact is none.
    for many in [9_007_199_254_740_992.0, 1e300, f64::INFINITY, f64::NAN] {
        let read = json(&Value {
            kind: Some(Kind::NumberValue(many)),
        });
        assert_eq!(read.as_i64(), None, "{many}: {read}");
    }
    assert_eq!(json(&Value { kind: None }), json!(null));
}

#[test]
fn one_member_of_one_namespace_is_read() {
    let payload = json!({ "payload": { "sub": "alice" } });
    let named = attributes(&json!({ "envoy.filters.http.jwt_authn": payload }));
    assert!(has_claims(named.clone()));
    for other in [
        json!({}),
        json!({ "envoy.filters.http.header_to_metadata": payload }),
        json!({ "envoy.filters.http.jwt_authn.": payload }),
        json!({ "envoy.filters.http.jwt_authn": { "other": { "sub": "alice" } } }),
        json!({ "payload": payload }),
    ] {
        assert!(!has_claims(attributes(&other)), "{other}");
    }
    let mut of_route = named.clone();
    of_route.route_metadata_context = of_route.metadata_context.take();
    assert!(!has_claims(of_route));

    // Metadata that cannot be read is not the same as none.
    let question = Question {
        metadata: vec![&[0x0a, 5]],
        ..Question::default()
    };
    assert_eq!(claims(&question, &filter()).map(|_| ()), Err(Malformed));
}

#[test]
fn the_peers_name_is_read_where_envoy_puts_it() {
    let peer = |peer: Peer| AttributeContext {
        source: Some(peer),
        ..AttributeContext::default()
    };
    let named = Peer {
        principal: "spiffe://td/a".to_owned(),
        ..Peer::default()
    };
    let certificate = |attributes| {
        let sent = sent(attributes);
        certificate(&Question::read(&sent).unwrap()).map(str::to_owned)
    };
    let found = certificate(peer(named.clone()));
    assert_eq!(found.as_deref(), Some("spiffe://td/a"));
    let destination = AttributeContext {
        destination: Some(named),
        ..AttributeContext::default()
    };
    let claimed = Peer {
        service: "spiffe://td/a".to_owned(),
        certificate: "-----BEGIN%20CERTIFICATE-----".to_owned(),
        labels: HashMap::from([("principal".to_owned(), "spiffe://td/a".to_owned())]),
        ..Peer::default()
    };
    for nobody in [AttributeContext::default(), destination, peer(claimed)] {
        assert_eq!(certificate(nobody), None);
    }
}

//! The AWS SDK for Rust, as an application uses it.

use super::{start, start_stale};
use crate::harness::sidecar::Sidecar;
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use aws_sdk_verifiedpermissions::Client;
use aws_sdk_verifiedpermissions::config::retry::RetryConfig;
use aws_sdk_verifiedpermissions::config::{Config, Credentials, Region};
use aws_sdk_verifiedpermissions::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_verifiedpermissions::operation::RequestId;
use aws_sdk_verifiedpermissions::operation::batch_is_authorized::BatchIsAuthorizedError;
use aws_sdk_verifiedpermissions::operation::is_authorized::IsAuthorizedError;
use aws_sdk_verifiedpermissions::operation::is_authorized::builders::IsAuthorizedFluentBuilder;
use aws_sdk_verifiedpermissions::types::{
    ActionIdentifier, AttributeValue, BatchIsAuthorizedInputItem, ContextDefinition, Decision, EntitiesDefinition, EntityIdentifier, EntityItem, ResourceType,
};
use serde_json::json;
use std::collections::HashMap;

pub(super) fn client(sidecar: &Sidecar) -> Client {
    let config = Config::builder()
        .endpoint_url(format!("http://{}", sidecar.decisions()))
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

pub(super) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

pub(super) fn entity(kind: &str, id: &str) -> EntityIdentifier {
    EntityIdentifier::builder().entity_type(format!("Depot::{kind}")).entity_id(id).build().unwrap()
}

pub(super) fn action(id: &str) -> ActionIdentifier {
    ActionIdentifier::builder().action_type("Depot::Action").action_id(id).build().unwrap()
}

fn question(client: &Client, user: &str, act: &str, document: &str) -> IsAuthorizedFluentBuilder {
    client.is_authorized().policy_store_id("default").principal(entity("User", user)).action(action(act)).resource(entity("Document", document))
}

fn context(name: &str, value: AttributeValue) -> ContextDefinition {
    ContextDefinition::ContextMap(HashMap::from([(name.to_owned(), value)]))
}

#[test]
fn the_sdk_asks_one_question() {
    let (_upstream, sidecar) = start();
    let client = client(&sidecar);
    run(async {
        let answer = question(&client, "rita", "view", "report").send().await.unwrap();
        assert_eq!(*answer.decision(), Decision::Allow);
        assert_eq!(answer.determining_policies()[0].policy_id(), "readers_view");
        assert!(answer.errors().is_empty());
        assert!(answer.request_id().is_some());
        let answer = question(&client, "rita", "view", "secret").send().await.unwrap();
        assert_eq!((answer.decision(), answer.determining_policies()[0].policy_id()), (&Decision::Deny, "confidential"));

        let values = [
            ("boolean", AttributeValue::Boolean(true)),
            ("entity", AttributeValue::EntityIdentifier(entity("User", "rita"))),
            ("long", AttributeValue::Long(7)),
            ("string", AttributeValue::String("ü\0\"\\".to_owned())),
            ("set", AttributeValue::Set(vec![AttributeValue::String("a".to_owned()), AttributeValue::String("b".to_owned())])),
            (
                "record",
                AttributeValue::Record(HashMap::from([(
                    "inner".to_owned(),
                    AttributeValue::Record(HashMap::from([("deep".to_owned(), AttributeValue::Boolean(true))])),
                )])),
            ),
            ("ipaddr", AttributeValue::Ipaddr("10.1.2.3".to_owned())),
            ("decimal", AttributeValue::Decimal("1.2345".to_owned())),
            ("datetime", AttributeValue::Datetime("2024-10-15T11:35:00Z".to_owned())),
            ("duration", AttributeValue::Duration("1h30m".to_owned())),
        ];
        for (name, value) in values {
            let answer = question(&client, "rita", "inspect", "report").context(context(name, value.clone())).send().await.unwrap();
            assert_eq!((answer.decision(), answer.errors()), (&Decision::Allow, [].as_slice()), "{name}");
            assert_eq!(answer.determining_policies()[0].policy_id(), format!("is_{name}"));
            let item = EntityItem::builder().identifier(entity("Document", "report")).attributes(name, value).build();
            let answer = question(&client, "rita", "inspect", "report").entities(EntitiesDefinition::EntityList(vec![item])).send().await.unwrap();
            assert_eq!(*answer.decision(), Decision::Allow, "{name} of an entity");
        }
        let text = ContextDefinition::CedarJson("{\"long\":7}".to_owned());
        let answer = question(&client, "rita", "inspect", "report").context(text).send().await.unwrap();
        assert_eq!(*answer.decision(), Decision::Allow);
        let known = json!([{"uid": {"type": "Depot::User", "id": "nia"}, "attrs": {}, "parents": [{"type": "Depot::Role", "id": "reader"}]}]);
        let known = EntitiesDefinition::CedarJson(known.to_string());
        let answer = question(&client, "nia", "view", "report").entities(known).send().await.unwrap();
        assert_eq!(*answer.decision(), Decision::Allow);
        let undeclared = context("weather", AttributeValue::String("fine".to_owned()));
        let answer = question(&client, "rita", "view", "report").context(undeclared).send().await.unwrap();
        assert_eq!((answer.decision(), answer.errors().len()), (&Decision::Deny, 1));
        assert!(answer.errors()[0].error_description().contains("weather"));
    });
}

#[test]
fn the_sdk_asks_many() {
    let (_upstream, sidecar) = start();
    let client = client(&sidecar);
    let item = |user: &str, document: &str| {
        BatchIsAuthorizedInputItem::builder().principal(entity("User", user)).action(action("view")).resource(entity("Document", document)).build()
    };
    run(async {
        let items = vec![item("rita", "report"), item("rita", "secret"), item("rita", "plan")];
        let answer = client.batch_is_authorized().policy_store_id("PSEXAMPLE").set_requests(Some(items.clone())).send().await.unwrap();
        let decisions: Vec<_> = answer.results().iter().map(|result| result.decision().clone()).collect();
        assert_eq!(decisions, [Decision::Allow, Decision::Deny, Decision::Allow]);
        for (result, item) in answer.results().iter().zip(&items) {
            assert_eq!(result.request(), Some(item));
        }
        let apart = vec![item("rita", "report"), item("olga", "plan")];
        let error = client.batch_is_authorized().policy_store_id("default").set_requests(Some(apart)).send().await.unwrap_err();
        match error.into_service_error() {
            BatchIsAuthorizedError::ValidationException(error) => assert_eq!(error.field_list()[0].path(), "requests"),
            error => panic!("{error:?}"),
        }
    });
}

#[test]
fn the_sdk_has_a_type_for_every_error() {
    let (_upstream, sidecar) = start();
    let client = client(&sidecar);
    run(async {
        let error = question(&client, "rita", "view", "report").policy_store_id("PSOTHER").send().await.unwrap_err();
        assert!(matches!(error, SdkError::ServiceError(_)), "{error:?}");
        match error.into_service_error() {
            IsAuthorizedError::ResourceNotFoundException(error) => {
                assert_eq!((error.resource_id(), error.resource_type()), ("PSOTHER", &ResourceType::PolicyStore));
                assert!(error.meta().message().is_some());
            }
            error => panic!("{error:?}"),
        }
        let error = question(&client, "", "view", "report").send().await.unwrap_err().into_service_error();
        match error {
            IsAuthorizedError::ValidationException(error) => {
                assert_eq!(error.field_list()[0].path(), "principal.entityId");
            }
            error => panic!("{error:?}"),
        }
        let error = client.is_authorized_with_token().policy_store_id("default").access_token("a.b.c").send().await.unwrap_err();
        assert_eq!(error.into_service_error().code(), Some("ValidationException"));
    });
}

#[test]
fn the_sdk_is_told_when_nobody_can_decide() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/policies/max_staleness", json!("1ms"));
    let sidecar = start_stale(&workspace);
    let client = client(&sidecar);
    run(async {
        let error = question(&client, "rita", "view", "report").send().await.unwrap_err();
        assert_eq!(error.raw_response().unwrap().status().as_u16(), 500);
        assert!(matches!(error.into_service_error(), IsAuthorizedError::InternalServerException(_)));
    });
}

//! Questions that name their principal by its tokens: what a token proves here is what it proves to the proxy.

use super::sdk::{action, client, entity, run};
use super::{LINES, boto3, send, start_stale};
use crate::harness::moto::Moto;
use crate::harness::redis::Redis;
use crate::harness::sidecar::Sidecar;
use crate::harness::tokens::{ISSUER, KEYS, claims, reader, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use aws_sdk_verifiedpermissions::error::ProvideErrorMetadata;
use aws_sdk_verifiedpermissions::operation::is_authorized_with_token::IsAuthorizedWithTokenError;
use aws_sdk_verifiedpermissions::types::{BatchIsAuthorizedWithTokenInputItem, Decision};
use serde_json::{Value, json};

/// Who rita is by her token, with a scope that a policy reads.
const SCHEMA: &str = r#"
namespace Depot {
  entity Role;
  entity User in [Role] = { department?: String };
  entity Service;
  entity Document;
  action view appliesTo { principal: [User, Service], resource: [Document], context: { urgent?: Bool, on_behalf_of?: User } };
  action edit appliesTo {
    principal: [User], resource: [Document],
    context: { token: { issuer: String, scopes: Set<String>, expires_at: datetime }, urgent?: Bool },
  };
  action relay appliesTo { principal: [Service], resource: [Document], context: { on_behalf_of: User } };
}"#;

const POLICIES: &str = r#"
@id("readers_view") permit (principal in Depot::Role::"reader", action == Depot::Action::"view", resource);
@id("editors_by_scope") permit (principal, action == Depot::Action::"edit", resource) when { context.token.scopes.contains("documents.write") };
@id("relayed") permit (principal is Depot::Service, action == Depot::Action::"relay", resource)
when { context.on_behalf_of in Depot::Role::"reader" };
@id("archive") permit (principal is Depot::User, action == Depot::Action::"view", resource)
when { principal has department && principal.department == "archive" };
"#;

fn workspace(upstream: &Upstream) -> Workspace {
    let services = json!({
        "name": "services", "kind": "service", "issuer": [ISSUER], "jwks": {"file": "jwks.json"}, "algorithms": ["ES256"],
        "principal": {"type": "Service", "id": "sub"}, "on_behalf_of": {"type": "User", "id": "sub", "groups": {"claim": "roles", "type": "Role"}},
    });
    let workspace = Workspace::new(upstream.address()).set("/routes", json!([])).set("/issuers/1", services);
    workspace.write("depot.cedarschema", SCHEMA);
    workspace.write("policies/documents.cedar", POLICIES);
    workspace.write("entities.json", "[]");
    workspace
}

/// The body of a question about the report, and what it is answered.
fn ask(sidecar: &Sidecar, members: Value) -> (u16, Value) {
    let question = json!({
        "policyStoreId": "default", "resource": {"entityType": "Depot::Document", "entityId": "report"},
        "action": {"actionType": "Depot::Action", "actionId": "view"},
    });
    let lines = LINES.replace(".IsAuthorized", ".IsAuthorizedWithToken");
    let answer = send(sidecar.decisions(), &lines, with(&question, members).to_string().as_bytes());
    (answer.status, answer.json())
}

fn exception(answer: &(u16, Value)) -> (u16, &str, &str) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let path = answer.1.pointer("/fieldList/0/path").and_then(Value::as_str).unwrap_or("");
    assert!(!text(&answer.1["message"]).contains("eyJ"), "{answer:?}");
    (answer.0, answer.1["__type"].as_str().unwrap_or("-"), path)
}

#[test]
fn boto3_with_the_tokens_of_a_cognito_pool() {
    let (upstream, moto) = (Upstream::start(), Moto::start());
    let pool = json!({
        "name": "cognito", "kind": "cognito", "issuer": [moto.issuer()], "jwks": {"url": moto.jwks_url()},
        "client_ids": [moto.client], "token_use": ["access", "id"], "user_status": "cognito",
        "principal": {
            "type": "User", "id": "sub", "groups": {"claim": "cognito:groups", "type": "Role"},
            "attributes": {"department": {"directory": "custom:department"}},
        },
    });
    let cognito = json!({"user_pool_id": moto.pool, "region": "us-east-1", "endpoint": moto.endpoint(), "timeout": "10s"});
    let workspace = workspace(&upstream).set("/issuers/1", pool).set("/cognito", cognito);
    let (rita, rob, dora) = (moto.user("rita", "lending"), moto.user("rob", "lending"), moto.user("dora", "lending"));
    let amos = moto.user("amos", "archive");
    moto.about("dora", "AdminDisableUser", json!({}));
    let sidecar = Sidecar::start(&workspace);
    let tokens = json!({
        "access": rita.access, "identity": rita.id, "other": rob.access, "disabled": dora.access, "archivist": amos.access,
        "expired": KEYS.token(&with(&reader(), json!({"iat": 1_600_000_000, "exp": 1_600_000_100}))),
    });
    let said = boto3(sidecar.decisions(), "tokens", &tokens.to_string());
    assert!(said.contains("responses held to the model"), "{said}");
    upstream.assert_untouched();
}

#[test]
fn the_sdk_asks_with_tokens() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let sdk = client(&sidecar);
    let token = KEYS.token(&reader());
    run(async {
        let ask = || sdk.is_authorized_with_token().policy_store_id("default").action(action("view")).resource(entity("Document", "report"));
        let answer = ask().access_token(&token).send().await.unwrap();
        assert_eq!((answer.decision(), answer.principal()), (&Decision::Allow, Some(&entity("User", "rita"))));
        assert_eq!(answer.determining_policies()[0].policy_id(), "readers_view");
        let item = |act: &str| BatchIsAuthorizedWithTokenInputItem::builder().action(action(act)).resource(entity("Document", "report")).build();
        let items = vec![item("view"), item("edit"), item("relay"), item("fly")];
        let batch = || sdk.batch_is_authorized_with_token().policy_store_id("default").set_requests(Some(items.clone()));
        let answer = batch().access_token(&token).send().await.unwrap();
        let decisions: Vec<_> = answer.results().iter().map(|result| (result.decision().clone(), result.errors().len())).collect();
        assert_eq!(decisions, [(Decision::Allow, 0), (Decision::Allow, 0), (Decision::Deny, 1), (Decision::Deny, 1)]);
        assert_eq!(answer.principal(), Some(&entity("User", "rita")));
        for (result, item) in answer.results().iter().zip(&items) {
            assert_eq!(result.request(), Some(item));
        }
        let error = ask().access_token(KEYS.token(&with(&reader(), json!({"aud": "other"})))).send().await.unwrap_err();
        match error.into_service_error() {
            IsAuthorizedWithTokenError::ValidationException(error) => assert_eq!(error.field_list()[0].path(), "accessToken"),
            error => panic!("{error:?}"),
        }
        let error = ask().send().await.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some("ValidationException"));
    });
    upstream.assert_untouched();
}

#[test]
fn a_token_proves_here_what_it_proves_to_the_proxy() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let access = |claims: &Value| json!({"accessToken": KEYS.token(claims)});
    let edit = json!({"actionType": "Depot::Action", "actionId": "edit"});
    let relay = json!({"actionType": "Depot::Action", "actionId": "relay"});
    let service = with(
        &claims("spn:bff", &[]),
        json!({
            "token_use": "svc", "aud": "internal", "sid": null, "sidv": null, "roles": null,
            "act": {"sub": "rita", "roles": ["reader"], "scope": "documents.read"},
        }),
    );
    let services_alone = with(&service, json!({"act": null}));
    for (what, members, decision, policy, errors) in [
        ("a reader", access(&reader()), "ALLOW", Some("readers_view"), 0),
        ("a role that the token does not name", access(&claims("rita", &[])), "DENY", None, 0),
        ("a scope of the token", with(&access(&reader()), json!({"action": edit})), "ALLOW", Some("editors_by_scope"), 0),
        ("no such scope", with(&access(&with(&reader(), json!({"scope": "x"}))), json!({"action": edit})), "DENY", None, 0),
        (
            "facts beside the token's",
            with(&access(&reader()), json!({"action": edit, "context": {"cedarJson": "{\"urgent\":true}"}})),
            "ALLOW",
            Some("editors_by_scope"),
            0,
        ),
        ("a service for a reader", with(&access(&service), json!({"action": relay})), "ALLOW", Some("relayed"), 0),
        ("a service for nobody", with(&access(&services_alone), json!({"action": relay})), "DENY", None, 1),
        ("an undeclared attribute", with(&access(&reader()), json!({"context": {"cedarJson": "{\"weather\":1}"}})), "DENY", None, 1),
    ] {
        let (status, body) = ask(&sidecar, members);
        assert_eq!((status, body["decision"].as_str()), (200, Some(decision)), "{what}: {body}");
        assert_eq!(body.pointer("/determiningPolicies/0/policyId").and_then(Value::as_str), policy, "{what}: {body}");
        assert_eq!(body["errors"].as_array().unwrap().len(), errors, "{what}: {body}");
    }
    let bad = |members: Value| json!({"accessToken": KEYS.token(&with(&reader(), members))});
    let good = access(&reader());
    let entity = |kind: &str| json!({"entityList": [{"identifier": {"entityType": format!("Depot::{kind}"), "entityId": "rita"}}]});
    let stranger = KEYS.stranger.sign_jwt(serde_json::Map::new(), &reader());
    for (what, members, path) in [
        ("no token", json!({}), ""),
        ("null for a token", json!({"accessToken": Value::Null}), ""),
        ("no JWT", json!({"accessToken": "a.b.c"}), "accessToken"),
        ("no characters of a token", json!({"accessToken": "é"}), "accessToken"),
        ("nothing", json!({"accessToken": ""}), "accessToken"),
        ("far too long", json!({"accessToken": format!("a.b.{}", "c".repeat(200_000))}), "accessToken"),
        ("too long for us", json!({"accessToken": format!("a.b.{}", "c".repeat(10_000))}), "accessToken"),
        ("expired", bad(json!({"iat": 1_600_000_000, "exp": 1_600_000_100})), "accessToken"),
        ("of another audience", bad(json!({"aud": "other"})), "accessToken"),
        ("of another issuer", bad(json!({"iss": "https://evil.test"})), "accessToken"),
        ("signed by a stranger", json!({"accessToken": stranger}), "accessToken"),
        ("an access token for an identity token", json!({"identityToken": KEYS.token(&reader())}), "identityToken"),
        ("a token fact that is the caller's", with(&good, json!({"context": {"contextMap": {"token": {"record": {}}}}})), "context.contextMap.token"),
        ("another token fact", with(&good, json!({"context": {"cedarJson": "{\"on_behalf_of\":1}"}})), "context.cedarJson.on_behalf_of"),
        ("a principal among the entities", with(&good, json!({"entities": entity("User")})), "entities"),
        ("a group among the entities", with(&good, json!({"entities": entity("Role")})), "entities"),
        ("an action that is none", with(&good, json!({"action": {"actionType": "x", "actionId": "view"}})), "action.actionType"),
    ] {
        let answer = ask(&sidecar, members);
        assert_eq!(exception(&answer), (400, "ValidationException", path), "{what}: {answer:?}");
    }
    upstream.assert_untouched();
}

#[test]
fn an_ended_session_and_an_outage_are_no_allow() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start());
    let sessions = json!({"url": redis.url(), "timeout": "1s", "connect_timeout": "1s"});
    let sidecar = Sidecar::start(&workspace(&upstream).set("/redis", sessions).set("/issuers/0/session", json!("redis")));
    let good = || json!({"accessToken": KEYS.token(&reader())});
    assert_eq!(exception(&ask(&sidecar, good())), (400, "ValidationException", "accessToken"), "no session yet");
    redis.open_session("s-rita", "rita", 1);
    assert_eq!(ask(&sidecar, good()).1["decision"], "ALLOW");
    redis.set("revoked:jti:j-rita", "1");
    let answer = ask(&sidecar, good());
    assert_eq!((exception(&answer), &answer.1["message"]), ((400, "ValidationException", "accessToken"), &json!("`accessToken`: the session has ended")));
    redis.delete("revoked:jti:j-rita");
    assert_eq!(ask(&sidecar, good()).1["decision"], "ALLOW");
    redis.kill();
    assert_eq!(exception(&ask(&sidecar, good())), (500, "InternalServerException", ""));
    let keys = json!({"url": "http://127.0.0.1:1/jwks"});
    let sidecar = start_stale(&workspace(&upstream).set("/issuers/0/jwks", keys));
    assert_eq!(exception(&ask(&sidecar, good())), (500, "InternalServerException", ""), "no keys");
    upstream.assert_untouched();
}

//! Tokens of Cognito and of services, and entries that share an issuer.

use serde_json::json;

use super::*;
use crate::config::{Kind, PrincipalConfig, SessionSource};
use crate::{ActingFor, Finding, SessionRef, Stage};

const POOL: &str = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI";
const UPDATED_POOL: &str = "https://issuer-cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI";
const ALICE: &str = "1a2b3c4d-0000-4000-8000-00000000a11c";
const CLIENT: &str = "3n4b5urk1ft4fl3mg5e62d9ado";

fn pool() -> World {
    World::with(|config| {
        config.kind = Kind::Cognito;
        config.issuer = vec![POOL.to_owned()];
        config.algorithms.clear();
        config.audiences.clear();
        config.client_ids = vec![CLIENT.to_owned()];
        config.principal.groups = Some(GroupsConfig {
            claim: "cognito:groups".to_owned(),
            entity_type: "Role".to_owned(),
        });
    })
}

fn pool_of(token_use: &[&str]) -> World {
    let uses: Vec<_> = token_use.iter().map(|&usage| usage.to_owned()).collect();
    World::with(|config| {
        config.kind = Kind::Cognito;
        config.issuer = vec![POOL.to_owned(), UPDATED_POOL.to_owned()];
        config.algorithms.clear();
        config.audiences.clear();
        config.client_ids = vec![CLIENT.to_owned()];
        config.token_use = uses;
    })
}

fn access() -> Value {
    json!({
        "iss": POOL, "sub": ALICE, "username": "alice", "client_id": CLIENT, "token_use": "access",
        "scope": "aws.cognito.signin.user.admin https://api.example.com/read",
        "cognito:groups": ["admin"], "origin_jti": "origin-1", "jti": "token-1", "event_id": "e",
        "auth_time": NOW - 60, "iat": NOW, "exp": NOW + 86_400, "version": 2,
    })
}

fn id() -> Value {
    json!({
        "iss": POOL, "sub": ALICE, "cognito:username": "alice", "aud": CLIENT, "token_use": "id",
        "email": "alice@example.com", "email_verified": true, "at_hash": "x",
        "auth_time": NOW - 60, "iat": NOW, "exp": NOW + 3600,
    })
}

fn services() -> World {
    World::with(|config| {
        config.kind = Kind::Service;
        config.audiences = vec!["internal".to_owned()];
        config.principal.entity_type = "Service".to_owned();
        config.principal.groups = None;
        config.on_behalf_of = Some(PrincipalConfig {
            groups: Some(GroupsConfig {
                claim: "roles".to_owned(),
                entity_type: "Role".to_owned(),
            }),
            ..PrincipalConfig::default()
        });
    })
}

fn service() -> Value {
    json!({
        "iss": URL, "aud": "internal", "sub": "spn:bff", "token_use": "svc", "scope": "svc.users.write",
        "jti": "svc-1", "iat": NOW, "exp": NOW + 300,
    })
}

fn acting(act: Value) -> Value {
    laid_over(service(), "act", act)
}

fn laid_over(mut claims: Value, name: &str, value: Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
    claims
}

fn rs256(claims: &Value) -> String {
    RS256.sign_jwt(json!({"typ": null}).as_object().unwrap().clone(), claims)
}

fn check_changed(
    world: &World,
    base: &Value,
    sign: fn(&Value) -> String,
    cases: &[(&str, Value, &str)],
) {
    let cases: Vec<_> = cases
        .iter()
        .map(|(name, value, expected)| {
            let claims = laid_over(base.clone(), name, value.clone());
            (*name, sign(&claims), *expected)
        })
        .collect();
    check(world, &cases);
}

#[test]
fn a_cognito_access_token() {
    let world = pool();
    let identity = world.verify(&rs256(&access())).unwrap();
    assert_eq!(identity.kind, Kind::Cognito);
    assert_eq!(&*identity.principal_id, ALICE);
    assert_eq!(identity.username.as_deref(), Some("alice"));
    assert_eq!(identity.client_id.as_deref(), Some(CLIENT));
    assert_eq!(identity.origin_token_id.as_deref(), Some("origin-1"));
    assert_eq!(identity.authenticated_at, Some(NOW - 60));
    assert_eq!(identity.groups, ["admin"]);
    assert_eq!(identity.scopes.len(), 2);
    assert_eq!(identity.on_behalf_of, None);
    check_changed(
        &world,
        &access(),
        rs256,
        &[
            ("jti", json!(null), "ok"),
            ("jti", json!(""), "invalid"),
            ("origin_jti", json!(null), "ok"),
            ("origin_jti", json!(7), "invalid"),
            ("auth_time", json!("now"), "invalid"),
            ("cognito:groups", json!(null), "ok"),
            ("cognito:groups", json!("admin"), "invalid"),
            ("cognito:groups", json!(["a,admin"]), "invalid"),
            ("cognito:groups", json!(["a\r\nadmin"]), "invalid"),
            ("exp", json!(NOW + 86_405), "ok"),
            ("exp", json!(NOW + 86_406), "invalid"),
            ("iss", json!(UPDATED_POOL), "invalid"),
            ("iss", json!(format!("{POOL}x")), "invalid"),
            (
                "iss",
                json!(POOL.replace("eu-west-1.", "us-east-1.")),
                "invalid",
            ),
            ("client_id", json!(null), "invalid"),
            ("client_id", json!("other"), "invalid"),
            ("client_id", json!([CLIENT]), "invalid"),
            ("aud", json!(CLIENT), "invalid"),
            ("token_use", json!(null), "invalid"),
            ("token_use", json!("id"), "invalid"),
            ("token_use", json!("ACCESS"), "invalid"),
            ("token_use", json!(["access"]), "invalid"),
            ("token_use", json!("svc"), "invalid"),
            ("sub", json!("alice"), "invalid"),
            ("sub", json!(format!("{ALICE}0")), "invalid"),
            ("sub", json!("spn:bff"), "invalid"),
            ("username", json!(null), "invalid"),
            ("username", json!(""), "invalid"),
            ("username", json!("spn:bff"), "invalid"),
            ("username", json!("a\nb"), "invalid"),
            ("username", json!("IdP_zoë@example.com"), "ok"),
            ("act", json!({"sub": "bob"}), "invalid"),
            ("cnf", json!({"jkt": "x"}), "invalid"),
        ],
    );
    check(&world, &[("ES256", token(&access()), "invalid")]);
}

#[test]
fn a_cognito_id_token() {
    let both = pool_of(&["access", "id"]);
    let identity = both.verify(&rs256(&id())).unwrap();
    assert_eq!(identity.username.as_deref(), Some("alice"));
    assert_eq!(identity.client_id.as_deref(), Some(CLIENT));
    assert_eq!(identity.scopes, [""; 0]);
    check_changed(
        &both,
        &id(),
        rs256,
        &[
            ("aud", json!([CLIENT]), "invalid"),
            ("aud", json!("other"), "invalid"),
            ("aud", json!(null), "invalid"),
            ("client_id", json!(CLIENT), "invalid"),
            ("cognito:username", json!(null), "invalid"),
            ("cognito:username", json!("spn:bff"), "invalid"),
            ("token_use", json!("access"), "invalid"),
            ("iss", json!(UPDATED_POOL), "ok"),
        ],
    );
    check(
        &both,
        &[("access where both are taken", rs256(&access()), "ok")],
    );
    check(
        &pool(),
        &[("id where access is needed", rs256(&id()), "invalid")],
    );
    check(
        &pool_of(&["id"]),
        &[("access where id is needed", rs256(&access()), "invalid")],
    );
}

#[test]
fn a_service_alone() {
    let world = services();
    let identity = world.verify(&token(&service())).unwrap();
    assert_eq!(identity.kind, Kind::Service);
    assert_eq!(&*identity.principal_type, "Service");
    assert_eq!(&*identity.principal_id, "spn:bff");
    assert_eq!(identity.scopes, ["svc.users.write"]);
    assert_eq!(identity.on_behalf_of, None);
    check_changed(
        &world,
        &service(),
        token,
        &[
            ("jti", json!(null), "ok"),
            ("token_use", json!(null), "invalid"),
            ("token_use", json!("access"), "invalid"),
            ("token_use", json!(["svc"]), "invalid"),
            ("aud", json!("cloud-app"), "invalid"),
            ("aud", json!(["internal", "x"]), "ok"),
            ("sub", json!("bff"), "invalid"),
            ("sub", json!("spn:"), "invalid"),
            ("sub", json!("SPN:bff"), "invalid"),
            ("sub", json!("spn:a:b"), "invalid"),
            ("sub", json!("spn:*"), "invalid"),
            ("sub", json!("spn:a b"), "invalid"),
            ("exp", json!(NOW + 906), "invalid"),
            ("cnf", json!({"jkt": "x"}), "invalid"),
        ],
    );
}

#[test]
fn a_service_acting_for_a_user() {
    let world = services();
    let act = json!({
        "sub": "alice", "scope": "user.write", "roles": ["reader"], "sid": "s", "sidv": 3, "extra": 1,
    });
    let identity = world.verify(&token(&acting(act.clone()))).unwrap();
    // The reverse of RFC 8693: the service is the caller, whatever `act` holds.
    assert_eq!(&*identity.subject, "spn:bff");
    assert_eq!(identity.scopes, ["svc.users.write"]);
    assert_eq!(identity.groups, [""; 0]);
    let expected = ActingFor {
        subject: "alice".into(),
        principal_type: "User".into(),
        principal_id: "alice".into(),
        group_type: Some("Role".into()),
        groups: vec!["reader".to_owned()],
        attributes: Vec::new(),
        scopes: vec!["user.write".to_owned()],
        username: None,
        session: Some(SessionRef {
            id: "s".into(),
            version: 3,
        }),
    };
    assert_eq!(identity.on_behalf_of.as_deref(), Some(&expected));
    assert!(!format!("{:?}", identity.on_behalf_of).contains("reader"));

    let mut deep = json!({"sub": "alice"});
    for _ in 0..20 {
        deep = json!({"sub": "alice", "act": deep});
    }
    let cases = [
        json!("alice"),
        json!(["alice"]),
        json!(1),
        json!({}),
        json!({"sub": "spn:other"}),
        json!({"sub": "spn:bff"}),
        json!({"sub": ""}),
        json!({"sub": ["alice"]}),
        json!({"sub": "alice", "act": {"sub": "bob"}}),
        json!({"sub": "alice", "act": {}}),
        json!({"sub": "alice", "cnf": {"jkt": "x"}}),
        json!({"sub": "alice", "roles": "reader"}),
        json!({"sub": "alice", "scope": "a,b"}),
        deep,
    ];
    for act in cases {
        check(&world, &[("act", token(&acting(act)), "invalid")]);
    }
    let mut null = service();
    null["act"] = Value::Null;
    check(&world, &[("act null", token(&null), "invalid")]);
}

#[test]
fn the_session_of_a_user_acted_for_is_named_in_full_or_not_at_all() {
    let mut profile = crate::profile::Profile::new(
        &crate::config::IssuerConfig {
            kind: Kind::Service,
            audiences: Vec::new(),
            ..config(Jwks::File("k".into()))
        },
        &mut crate::profile::Problems::of_issuer(0, &mut Vec::new()),
    );
    profile.session = SessionSource::Redis;
    let outcome = |act: Value| profile.accept_unsigned(&acting(act), NOW);
    let session = |act: Value| outcome(act).unwrap().on_behalf_of.unwrap().session;
    assert_eq!(session(json!({"sub": "alice"})), None);
    assert_eq!(
        session(json!({"sub": "alice", "sid": "s-1", "sidv": 3})),
        Some(SessionRef {
            id: "s-1".into(),
            version: 3
        })
    );
    for act in [
        json!({"sub": "alice", "sid": "s-1"}),
        json!({"sub": "alice", "sidv": 3}),
        json!({"sub": "alice", "sid": "s:1", "sidv": 3}),
        json!({"sub": "alice", "sid": "*", "sidv": 3}),
        json!({"sub": "alice", "sid": "s-1", "sidv": "3"}),
        json!({"sub": "alice", "sid": "s-1", "sidv": -3}),
        json!({"sub": "alice", "sid": "s-1", "sidv": 3.0}),
        json!({"sub": "alice", "sid": null, "sidv": 3}),
    ] {
        assert!(outcome(act.clone()).is_err(), "{act}");
    }
}

/// Two entries of one issuer, told apart by what the tokens say.
#[test]
fn entries_that_share_an_issuer() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("k"), jwks(&[&ES256]).to_string()).unwrap();
    let users = config(Jwks::File("k".into()));
    let services = IssuerConfig {
        name: "services".to_owned(),
        kind: Kind::Service,
        audiences: Vec::new(),
        ..users.clone()
    };
    let clock = Clock::manual(NOW);
    let issuers = issuers(&[users, services], folder.path(), &clock).unwrap();
    let entry = |claims: &Value| {
        let identity = issuers.verify_now(&token(claims));
        identity.map(|identity| identity.issuer.to_string())
    };
    assert_eq!(entry(&claims()).as_deref(), Ok("main"));
    assert_eq!(entry(&service()).as_deref(), Ok("services"));
    let both = json!(["internal", "cloud-app"]);
    for (name, claims) in [
        (
            "a user's token for services",
            claims_with("aud", json!("internal")),
        ),
        (
            "a service's token for users",
            laid_over(service(), "aud", json!("cloud-app")),
        ),
        (
            "svc with a user's subject",
            laid_over(service(), "sub", json!("alice")),
        ),
        (
            "a user called like a service",
            claims_with("sub", json!("spn:bff")),
        ),
        (
            "a user acting for another",
            claims_with("act", json!({"sub": "bob"})),
        ),
        (
            "no use, for services",
            laid_over(service(), "token_use", Value::Null),
        ),
    ] {
        assert!(entry(&claims).is_err(), "{name}");
    }
    // For both, and still only of the one kind that its use says.
    assert_eq!(
        entry(&claims_with("aud", both.clone())).as_deref(),
        Ok("main")
    );
    assert_eq!(
        entry(&laid_over(service(), "aud", both)).as_deref(),
        Ok("services")
    );
}

#[tokio::test]
async fn an_explanation_agrees_with_the_verdict_and_keeps_the_signature() {
    let refused = |explanation: &crate::Explanation| {
        let refused = |step: &&crate::Step| matches!(step.finding, Finding::Refused(_));
        let names = explanation.steps.iter().filter(refused);
        names.map(|step| step.name.clone()).collect::<Vec<_>>()
    };
    let world = World::new();
    let good = world.issuers.explain(&token(&claims())).await;
    assert!(good.outcome.is_ok());
    assert_eq!(refused(&good), [""; 0]);
    assert_eq!(good.issuer.as_deref(), Some("main"));
    assert_eq!(
        good.steps
            .iter()
            .filter(|step| step.stage == Stage::Signature)
            .count(),
        1
    );

    // Everything that is wrong, not only what would have ended it.
    let mut wrong = claims();
    wrong["aud"] = json!("other");
    wrong["exp"] = json!(NOW - 100);
    wrong["iat"] = json!(NOW - 200);
    wrong["roles"] = json!("admin");
    wrong["made\nup"] = json!("x");
    let signed = FORGER.sign_jwt(Map::new(), &wrong);
    let bad = world.issuers.explain(&signed).await;
    assert_eq!(bad.outcome, Err(TokenError::Invalid("signature")));
    assert_eq!(refused(&bad), ["signature", "aud", "roles", "exp"]);
    let ignored = bad
        .steps
        .iter()
        .find(|step| step.finding == Finding::Ignored);
    assert_eq!(ignored.map(|step| step.name.as_str()), Some("made\nup"));
    let (_, signature) = signed.rsplit_once('.').unwrap();
    assert!(!format!("{bad:?}").contains(signature));

    for (token, names) in [
        ("a.b".to_owned(), vec!["structure"]),
        ("x".repeat(9000), vec!["size"]),
        (token(&claims_with("iss", json!("https://x"))), vec!["iss"]),
        (token_with_header(json!({"kid": "nobody"})), vec![]),
        (token_with_header(json!({"typ": "dpop+jwt"})), vec!["typ"]),
    ] {
        let explanation = world.issuers.explain(&token).await;
        assert!(explanation.outcome.is_err());
        let found = refused(&explanation);
        assert!(
            names
                .iter()
                .all(|name| found.iter().any(|found| found == name)),
            "{found:?}"
        );
    }
    let world = services();
    let explanation = world
        .issuers
        .explain(&token(&acting(json!({"sub": "spn:x", "n": 1}))))
        .await;
    // The user's id is read of the same member.
    assert_eq!(refused(&explanation), ["act.sub"]);
}

//! Tokens of Cognito and of services: whose they are, what they may carry, and where each may be shown.

use crate::harness::sidecar::{Sidecar, run};
use crate::harness::table::{Expect, Table, bearer, with_lines};
use crate::harness::tokens::{ISSUER, KEYS, b64, now, reader, signing_input, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use Expect::{BadToken, Forwarded, Refused};
use dev_issuer::{Algorithm, Draft, Shape, SigningKey};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

const BAD: Expect = BadToken("invalid_token");
const LACKING: Expect = Refused(403, "insufficient_scope");
const DENIED: Expect = Refused(403, "forbidden");
const ACTOR: Expect = Refused(403, "actor_required");

/// Two user pools; the first under both forms of its issuer.
const POOL: &str = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI";
const UPDATED_POOL: &str = "https://issuer-cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI";
const OTHER_POOL: &str = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_ZzZzZzZzZ";
const CLIENT: &str = "3n4b5urk1ft4fl3mg5e62d9ado";
const OTHER_CLIENT: &str = "7otherclient";
const ALICE: &str = "1a2b3c4d-0000-4000-8000-00000000a11c";

static POOL_KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::Rs256, "pool-1").unwrap());
static OTHER_POOL_KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::Rs256, "pool-2").unwrap());

const SCHEMA: &str = r#"
namespace Depot {
  entity Role;
  entity User in [Role];
  entity Service;
  entity Document;
  action view, edit appliesTo { principal: [User, Service], resource: [Document], context: { on_behalf_of?: User } };
  action relay appliesTo { principal: [Service], resource: [Document], context: { on_behalf_of: User } };
}"#;

const POLICIES: &str = r#"
@id("readers") permit (principal in Depot::Role::"reader", action, resource);
@id("services_alone") permit (principal is Depot::Service, action == Depot::Action::"view", resource)
unless { context has on_behalf_of };
@id("services_for_readers") permit (principal is Depot::Service, action, resource)
when { context has on_behalf_of && context.on_behalf_of in Depot::Role::"reader" };
"#;

/// The depot pack with pools and services beside the first-party issuer, whose URL the services share.
fn workspace(upstream: &Upstream) -> Workspace {
    let document = json!({"type": "Document", "id": "{id}"});
    let route = |path: &str, action: &str, more: Value| with(&json!({"match": format!("GET {path}/{{id}}"), "action": action, "resource": document}), more);
    let both = json!(["user", "service"]);
    let user = json!({"type": "User", "id": "sub", "groups": {"claim": "roles", "type": "Role"}});
    let pool = |name: &str, issuers: Value, jwks: &str, client: &str, uses: Value| {
        json!({
            "name": name, "kind": "cognito", "issuer": issuers, "jwks": {"file": jwks}, "client_ids": [client], "token_use": uses,
            "principal": {"type": "User", "id": "sub", "groups": {"claim": "cognito:groups", "type": "Role"}},
        })
    };
    let workspace = Workspace::new(upstream.address());
    workspace.write("depot.cedarschema", SCHEMA);
    workspace.write("entities.json", "[]");
    workspace.write("policies/documents.cedar", POLICIES);
    workspace.write("pool.json", &dev_issuer::jwks(&[&POOL_KEY]).to_string());
    workspace.write("other-pool.json", &dev_issuer::jwks(&[&OTHER_POOL_KEY]).to_string());
    workspace
        .set(
            "/routes",
            json!([
                route("/v1/documents", "view", json!({})),
                route("/users", "view", json!({"scopes": ["read"]})),
                route("/both", "view", json!({"callers": both, "scopes": ["read"], "service_scopes": ["svc.read"]})),
                route("/free", "view", json!({"callers": both, "service_scopes": ["svc.read"]})),
                route("/internal", "view", json!({"callers": ["service"]})),
                route("/edit", "edit", json!({"callers": ["service"]})),
                route("/relay", "relay", json!({"callers": ["service"]})),
                {"match": "* /public/{*rest}", "public": true},
            ]),
        )
        .set(
            "/issuers",
            json!([
                {
                    "name": "local", "kind": "first_party", "issuer": [ISSUER], "jwks": {"file": "jwks.json"},
                    "audiences": ["cloud-app"], "algorithms": ["ES256"], "leeway": "30s", "principal": user,
                },
                {
                    "name": "services", "kind": "service", "issuer": [ISSUER], "jwks": {"file": "jwks.json"},
                    "algorithms": ["ES256"], "principal": {"type": "Service", "id": "sub"}, "on_behalf_of": user,
                },
                pool("pool", json!([POOL, UPDATED_POOL]), "pool.json", CLIENT, json!(["access"])),
                pool("other", json!([OTHER_POOL]), "other-pool.json", OTHER_CLIENT, json!(["id"])),
            ]),
        )
}

fn draft(issuer: &str, audience: &str, subject: &str, groups: &[&str], scope: &str) -> Draft {
    Draft {
        issuer: issuer.to_owned(),
        audiences: vec![audience.to_owned()],
        subject: subject.to_owned(),
        username: Some("alice".to_owned()),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        scopes: scope.split_whitespace().map(str::to_owned).collect(),
        token_id: "t-1".to_owned(),
        issued_at: now() - 5,
        lifetime: 300,
        act: None,
    }
}

fn access() -> Value {
    Value::Object(draft(POOL, CLIENT, ALICE, &["reader"], "read").claims(Shape::CognitoAccess))
}

fn id_token() -> Value {
    Value::Object(draft(OTHER_POOL, OTHER_CLIENT, ALICE, &["reader"], "").claims(Shape::CognitoId))
}

fn service(scope: &str) -> Value {
    Value::Object(draft(ISSUER, "internal", "spn:bff", &[], scope).claims(Shape::Service))
}

fn acting(scope: &str, act: Value) -> Value {
    with(&service(scope), json!({"act": act}))
}

/// Signed as Cognito does: no `typ`.
fn by(key: &SigningKey, claims: &Value) -> String {
    let untyped = Map::from_iter([("typ".to_owned(), Value::Null)]);
    key.sign_jwt(untyped, claims)
}

#[test]
fn cognito() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let mut table = Table::new(&sidecar, &upstream);
    let changed = |members: Value| with(&access(), members);
    let day = 24 * 3600;
    let rows: Vec<(u16, &str, Value, Expect)> = vec![
        (0, "an honest access token", access(), Forwarded),
        (75, "lives for a day", changed(json!({"exp": access()["iat"].as_u64().unwrap() + day})), Forwarded),
        (75, "lives for more than a day", changed(json!({"exp": access()["iat"].as_u64().unwrap() + day + 60})), BAD),
        (79, "another region", changed(json!({"iss": POOL.replace("eu-west-1.", "us-east-1.")})), BAD),
        (79, "another pool", changed(json!({"iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Nope"})), BAD),
        (79, "the pool as a prefix", changed(json!({"iss": format!("{POOL}_evil")})), BAD),
        (79, "over http", changed(json!({"iss": POOL.replace("https", "http")})), BAD),
        (80, "the updated form, configured", changed(json!({"iss": UPDATED_POOL})), Forwarded),
        (80, "the updated form, not configured", changed(json!({"iss": OTHER_POOL.replace("cognito-idp", "issuer-cognito-idp")})), BAD),
        (82, "aud in an access token", changed(json!({"aud": CLIENT})), BAD),
        (82, "client_id absent", changed(json!({"client_id": null})), BAD),
        (83, "client_id unknown", changed(json!({"client_id": "stranger"})), BAD),
        (83, "client_id of the other pool", changed(json!({"client_id": OTHER_CLIENT})), BAD),
        (83, "client_id in capitals", changed(json!({"client_id": CLIENT.to_uppercase()})), BAD),
        (83, "client_id an array", changed(json!({"client_id": [CLIENT]})), BAD),
        (84, "token_use id", changed(json!({"token_use": "id"})), BAD),
        (84, "token_use missing", changed(json!({"token_use": null})), BAD),
        (84, "token_use ACCESS", changed(json!({"token_use": "ACCESS"})), BAD),
        (84, "token_use an array", changed(json!({"token_use": ["access"]})), BAD),
        (85, "an id token's shape and an access token's use", changed(json!({"aud": CLIENT, "client_id": null})), BAD),
        (86, "sub no UUID", changed(json!({"sub": "alice"})), BAD),
        (86, "sub a UUID and more", changed(json!({"sub": format!("{ALICE}:x")})), BAD),
        (86, "sub missing", changed(json!({"sub": null})), BAD),
        (87, "jti missing, as old pools issue them", changed(json!({"jti": null, "origin_jti": null})), Forwarded),
        (87, "jti a number", changed(json!({"jti": 1})), BAD),
        (90, "cognito:groups a string", changed(json!({"cognito:groups": "reader"})), BAD),
        (90, "a group with a comma", changed(json!({"cognito:groups": ["reader", "a,admin"]})), BAD),
        (90, "a group with a line break", changed(json!({"cognito:groups": ["reader", "a\r\nadmin"]})), BAD),
        (90, "no groups", changed(json!({"cognito:groups": null})), DENIED),
        (91, "claims nobody knows", changed(json!({"event_id": "e", "version": 2, "device_key": "k"})), Forwarded),
        (105, "a user called like a service", changed(json!({"username": "spn:bff"})), BAD),
        (105, "sub of a service", changed(json!({"sub": "spn:bff"})), BAD),
        (108, "a user who acts for another", changed(json!({"act": {"sub": "bob"}})), BAD),
        (10, "bound to a key", changed(json!({"cnf": {"jkt": "x"}})), BAD),
    ];
    for (case, what, claims, expect) in rows {
        table.token(case, what, &by(&POOL_KEY, &claims), expect);
    }
    let id = by(&OTHER_POOL_KEY, &id_token());
    table.token(0, "an honest id token", &id, Forwarded);
    for (case, what, claims) in [
        (84, "an access token where id is needed", json!({"token_use": "access", "client_id": OTHER_CLIENT, "aud": null, "username": "alice"})),
        (85, "an id token with client_id", json!({"client_id": OTHER_CLIENT})),
        (81, "aud an array", json!({"aud": [OTHER_CLIENT]})),
        (83, "aud of the other pool's client", json!({"aud": CLIENT})),
    ] {
        table.token(case, what, &by(&OTHER_POOL_KEY, &with(&id_token(), claims)), BAD);
    }
    table.token(44, "signed by the other pool", &by(&OTHER_POOL_KEY, &access()), BAD);
    table.token(45, "signed by the first-party key", &KEYS.token(&access()), BAD);
    table.token(45, "first-party claims signed by the pool", &by(&POOL_KEY, &reader()), BAD);
    table.token(36, "ES256 from a pool", &KEYS.with_header(json!({"kid": "pool-1"}), &access()), BAD);
    // A refresh token is a JWE of five parts.
    let refresh = format!("{}.a.b.c", signing_input(&json!({"alg": "RSA-OAEP", "enc": "A256GCM", "cty": "JWT"}), &json!({})));
    table.token(14, "a refresh token", &refresh, BAD);
    table.token(14, "an opaque token", &b64(&[7; 48]), BAD);
    let scoped = |scope: Value| bearer("GET", "/users/report", &by(&POOL_KEY, &with(&access(), json!({"scope": scope}))));
    table.row(88, "the scope", &scoped(json!("aws.cognito.signin.user.admin read")), Forwarded);
    table.row(88, "another scope", &scoped(json!("readwrite")), LACKING);
    table.row(88, "scopes as an array", &scoped(json!(["read"])), LACKING);
    table.row(88, "an id token has no scopes", &bearer("GET", "/users/report", &id), LACKING);
    table.row(104, "a user at an internal route", &bearer("GET", "/internal/report", &by(&POOL_KEY, &access())), DENIED);
    table.finish();
}

#[test]
fn services() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let mut table = Table::new(&sidecar, &upstream);
    let rita = json!({"sub": "rita", "roles": ["reader"], "scope": "read"});
    let sam = json!({"sub": "sam", "scope": "read"});
    let alone = service("svc.read");
    let for_rita = acting("svc.read", rita.clone());
    let member = |name: &str, value: Value| with(&rita, json!({name: value}));
    let mut deep = json!({"sub": "rita"});
    for _ in 0..25 {
        deep = json!({"sub": "rita", "act": deep});
    }
    let rows: Vec<(u16, &str, &str, Value, Expect)> = vec![
        (103, "a service where only users belong", "/v1/documents", alone.clone(), BAD),
        (103, "a service for a user where only users belong", "/users", for_rita.clone(), BAD),
        (104, "a user where only services belong", "/internal", reader(), DENIED),
        (0, "a service by itself", "/internal", alone.clone(), Forwarded),
        (0, "a service by itself on a route for both", "/free", alone.clone(), Forwarded),
        (0, "a service for a user", "/both", for_rita.clone(), Forwarded),
        (0, "for a user who may not", "/both", acting("svc.read", sam), DENIED),
        (0, "a user on a route for both", "/both", with(&reader(), json!({"scope": "read"})), Forwarded),
        (106, "for nobody where a user's scopes are required", "/both", alone, ACTOR),
        (106, "for nobody where the schema requires a user", "/relay", service(""), ACTOR),
        (106, "for a user where the schema requires one", "/relay", acting("", rita.clone()), Forwarded),
        (107, "the service lacks its scope", "/free", service("read"), LACKING),
        (107, "the user's scope is not the service's", "/both", acting("read", member("scope", json!("read svc.read"))), LACKING),
        (107, "the service's scope is not the user's", "/both", acting("svc.read read", member("scope", json!("write"))), LACKING),
        (107, "the user lent no scope", "/both", acting("svc.read read", member("scope", Value::Null)), LACKING),
        (107, "scopes of the user as an array", "/both", acting("svc.read", member("scope", json!(["read"]))), LACKING),
        (107, "roles of the service are nobody's", "/edit", with(&service("svc.read"), json!({"roles": ["reader"]})), DENIED),
        (107, "the user's roles are not the service's", "/edit", acting("", json!({"sub": "rita", "roles": ["other"]})), DENIED),
        (108, "act a string", "/both", acting("svc.read", json!("rita")), BAD),
        (108, "act an array", "/both", acting("svc.read", json!(["rita"])), BAD),
        (108, "act empty", "/both", acting("svc.read", json!({})), BAD),
        (108, "act nested", "/both", acting("svc.read", member("act", json!({"sub": "bob"}))), BAD),
        (108, "act nested deeply", "/both", acting("svc.read", deep), BAD),
        (108, "act of a service", "/both", acting("svc.read", member("sub", json!("spn:other"))), BAD),
        (108, "act.sub a number", "/both", acting("svc.read", member("sub", json!(1))), BAD),
        (108, "a user with act", "/v1/documents", with(&reader(), json!({"act": {"sub": "bob"}})), BAD),
        (105, "a service called like a user", "/internal", with(&service(""), json!({"sub": "rita"})), BAD),
        (105, "a user called like a service", "/v1/documents", with(&reader(), json!({"sub": "spn:bff"})), BAD),
        (105, "no name behind spn:", "/internal", with(&service(""), json!({"sub": "spn:"})), BAD),
        (105, "a star behind spn:", "/internal", with(&service(""), json!({"sub": "spn:*"})), BAD),
        (105, "svc for users", "/v1/documents", with(&reader(), json!({"token_use": "svc"})), BAD),
        (105, "svc for users, named like a service", "/internal", with(&service(""), json!({"aud": "cloud-app"})), BAD),
        (84, "no use, for services", "/internal", with(&service(""), json!({"token_use": null})), BAD),
        (84, "access, for services", "/internal", with(&service(""), json!({"token_use": "access"})), BAD),
        (81, "for both audiences, still a service", "/internal", with(&service(""), json!({"aud": ["internal", "cloud-app"]})), Forwarded),
        (81, "for both audiences, still a user", "/v1/documents", with(&reader(), json!({"aud": ["internal", "cloud-app"]})), Forwarded),
        (75, "lives an hour", "/internal", with(&service(""), json!({"exp": now() + 3600})), BAD),
        (73, "expired", "/internal", with(&service(""), json!({"iat": now() - 400, "exp": now() - 100})), BadToken("token_expired")),
        (10, "bound to a certificate", "/internal", with(&service(""), json!({"cnf": {"x5t#S256": "x"}})), BAD),
    ];
    for (case, what, path, claims, expect) in rows {
        table.row(case, what, &bearer("GET", &format!("{path}/report"), &KEYS.token(&claims)), expect);
    }
    table.row(109, "signed by a pool's key", &bearer("GET", "/internal/report", &by(&POOL_KEY, &service(""))), BAD);
    table.row(109, "of a pool", &bearer("GET", "/internal/report", &by(&POOL_KEY, &with(&service(""), json!({"iss": POOL})))), BAD);

    let lines = format!("Authorization: Bearer {}\r\nX-Portcullis-On-Behalf-Of: root\r\n", KEYS.token(&for_rita));
    let seen = table.row(131, "what the upstream is told", &with_lines("GET", "/both/report", &lines), Forwarded).unwrap();
    for (name, value) in [
        ("x-portcullis-user", "spn:bff"),
        ("x-portcullis-principal", "Depot::Service::\"spn:bff\""),
        ("x-portcullis-scopes", "svc.read"),
        ("x-portcullis-on-behalf-of", "rita"),
    ] {
        assert_eq!(seen.head.all(name), [value], "{name}");
    }
    assert!(seen.head.all("x-portcullis-roles").is_empty());
    let lines = format!("Authorization: Bearer {}\r\nX-Portcullis-On-Behalf-Of: root\r\n", KEYS.token(&service("svc.read")));
    let seen = table.row(134, "nobody acted for", &with_lines("GET", "/free/report", &lines), Forwarded).unwrap();
    assert!(seen.head.all("x-portcullis-on-behalf-of").is_empty());
    table.finish();
    assert!(sidecar.stdout().contains(r#""on_behalf_of":"Depot::User::\"rita\"""#), "{}", sidecar.stdout());
}

/// The code and the standard output of `portcullis token inspect`.
fn inspect(workspace: &Workspace, more: &[&str]) -> (Option<i32>, String) {
    let config = workspace.config_path();
    let output = run(&[&["token", "inspect", "-c", config.to_str().unwrap()], more].concat());
    let both = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(both).unwrap())
}

#[test]
fn inspection_says_why() {
    let upstream = Upstream::start();
    let workspace = workspace(&upstream);
    let says = |more: &[&str], code: i32, words: &[&str]| {
        let (found, text) = inspect(&workspace, more);
        assert_eq!(found, Some(code), "{more:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{more:?} lacks {word}: {text}");
        }
        let signature = more.iter().filter_map(|arg| Some(arg.rsplit_once('.')?.1));
        for signature in signature.filter(|part| part.len() > 40) {
            assert!(!text.contains(signature), "{text}");
        }
        text
    };
    let good = by(&POOL_KEY, &access());
    says(&[&good], 0, &["ACCEPTED as User::", ALICE, "`pool`"]);
    says(&[&format!("Authorization: Bearer {good}")], 0, &["ACCEPTED"]);
    let service = KEYS.token(&acting("svc.read", json!({"sub": "rita"})));
    says(&[&service], 0, &["Service::\"spn:bff\"", "on behalf of User::\"rita\""]);
    says(&[&good, "--at", "2020-01-01T00:00:00Z"], 2, &["issued in the future"]);
    says(&[&good, "--at", &(now() + 1000).to_string()], 2, &["REFUSED  401 token_expired", "the token expired"]);
    let wrong = with(&access(), json!({"client_id": "stranger", "cognito:groups": "x", "b\u{1b}[2J": 1}));
    let text = says(&[&by(&OTHER_POOL_KEY, &wrong)], 2, &["refused  kid", "refused  client_id", "refused  cognito:groups", CLIENT]);
    assert!(!text.contains('\u{1b}'));
    says(&[&KEYS.token(&with(&reader(), json!({"aud": "nobody"})))], 2, &["aud for `local`", "aud for `services`"]);
    says(&["nonsense"], 2, &["refused  structure"]);
    says(&["--nonsense"], 1, &[]);
    says(&[&good, "--at", "yesterday"], 1, &[]);
    let json = says(&[&good, "--format", "json"], 0, &[]);
    let answer: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(answer["accepted"], json!(true));
    assert_eq!(answer["bearer"]["id"], json!(ALICE));
    let step = |name: &str| answer["steps"].as_array().unwrap().iter().find(|step| step["name"] == name).unwrap().clone();
    assert_eq!(step("token_use")["verdict"], json!("ok"));
    assert_eq!(step("signature")["value"], Value::Null);

    // Nobody listens there, so nothing can be said.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = workspace.set("/issuers/2/jwks", json!({"url": format!("http://{closed}/jwks.json")}));
    let (code, text) = inspect(&away, &[&good]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("keys_unavailable"), "{text}");
    let broken = away.set("/issuers/2/client_ids", json!([]));
    let (code, text) = inspect(&broken, &[&good]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("issuers[2].client_ids"), "{text}");
}

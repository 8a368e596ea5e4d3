mod vouched;

use std::sync::LazyLock;

use dev_issuer::{Algorithm, SigningKey};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use super::*;
use crate::fixture::{ISSUER, World, head, unix_now};

const ROUTES: &str = r#"
routes:
  - { match: "GET /users", action: list, resource: { type: User, id: anyone } }
  - { match: "GET /users/{id}", action: view, resource: { type: User, id: "{id}" } }
  - { match: "PUT /users/{id}", action: change, resource: { type: User, id: "{id}" }, scopes: [user.read, user.write] }
  - { match: "GET /me", action: view, resource: { type: User, id: "{principal.id}" } }
  - { match: "GET /notes/{id}", action: view, resource: { type: Note, id: "{id}" }, attributes: { owner: bob } }
  - match: "GET /{team}/users/{id}"
    action: view
    resource: { type: User, id: "{id}" }
    attributes: { owner: "{team}" }
  - { match: "GET /loose/{id}", action: view, resource: { type: Note, id: "{id}" } }
  - { match: "GET /services", action: list, resource: { type: User, id: x }, callers: [service] }
  - { match: "GET /seen", action: seen, resource: { type: User, id: x } }
  - { match: "GET /beyond", action: beyond, resource: { type: User, id: x } }
  - { match: "GET /unknown", action: no_such_action, resource: { type: User, id: x } }
  - { match: "PURGE /cache", action: list, resource: { type: User, id: x } }
  - { match: "POST /auth/{*rest}", public: true }
  - { match: "* /any", public: true }
"#;

const POLICIES: &str = r#"
@id("own") permit(principal, action == Fortress::Action::"view", resource) when { principal == resource };
@id("admin") permit(principal in Fortress::Role::"admin", action, resource);
@id("bobs") permit(principal == Fortress::User::"bob", action, resource is Fortress::Note) when { resource.owner == "bob" };
@id("owners") permit(principal, action == Fortress::Action::"view", resource is Fortress::User)
  when { principal has owner && principal.owner == "chiefs" };
@id("seen") permit(principal, action == Fortress::Action::"seen", resource)
  when { context.token.scopes.contains("s") && context.http.path == "/seen" };
"#;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// `code` of the refusal, or `ok` and the determining policies.
fn outcome(result: &Result<Permit, Rejection>) -> String {
    match result {
        Ok(permit) => match permit.decision() {
            Some(asked) => format!("ok {}", asked.answer.determining_policies.join(",")),
            None => "ok public".to_owned(),
        },
        Err(rejection) => rejection.code().to_owned(),
    }
}

/// A request line, a subject with further claims (or nobody), and what comes of it.
type Case<'a> = (&'a str, Option<(&'a str, Value)>, &'a str);

/// Puts requests to one gate.
fn check(cases: &[Case<'_>]) {
    let world = World::new(ROUTES, POLICIES);
    for (request, bearer, expected) in cases {
        let token = bearer
            .as_ref()
            .map(|(subject, claims)| world.token(subject, claims.clone()));
        let result = RUNTIME.block_on(world.admit(request, token.as_deref()));
        assert_eq!(
            outcome(&result),
            *expected,
            "{request} by {bearer:?}: {result:?}"
        );
    }
}

fn alice() -> Option<(&'static str, Value)> {
    Some(("alice", json!({})))
}

#[test]
fn the_policies_decide() {
    let root = || Some(("root", json!({ "roles": ["admin"] })));
    let bob = || Some(("bob", json!({})));
    check(&[
        ("GET /users/alice", alice(), "ok own"),
        ("GET /users/%61lice", alice(), "ok own"),
        ("GET /users/bob", alice(), "forbidden"),
        ("GET /me", alice(), "ok own"),
        ("GET /me", Some(("nobody@example.com", json!({}))), "ok own"),
        ("GET /users", alice(), "forbidden"),
        ("GET /users", root(), "ok admin"),
        // The store still says that alice is an admin; her token does not.
        (
            "GET /users",
            Some(("alice", json!({ "roles": [] }))),
            "forbidden",
        ),
        // A stored resource is what the store says, any other what its route says.
        ("GET /notes/n1", bob(), "forbidden"),
        ("GET /notes/n2", bob(), "ok bobs"),
        ("GET /notes/n2", alice(), "forbidden"),
        // A resource that the schema cannot hold is never allowed, whoever asks.
        ("GET /loose/n2", root(), "forbidden"),
        ("PURGE /cache", root(), "ok admin"),
    ]);
}

#[test]
fn the_context_is_what_the_schema_declares() {
    check(&[
        (
            "GET /seen",
            Some(("alice", json!({ "scope": "s" }))),
            "ok seen",
        ),
        (
            "GET /seen",
            Some(("alice", json!({ "scope": "t" }))),
            "forbidden",
        ),
        // A required attribute that nothing is known of, and an action that does not exist: outside the schema.
        (
            "GET /beyond",
            Some(("root", json!({ "roles": ["admin"] }))),
            "forbidden",
        ),
        (
            "GET /unknown",
            Some(("root", json!({ "roles": ["admin"] }))),
            "forbidden",
        ),
    ]);
}

#[test]
fn scopes_and_callers_come_before_the_policies() {
    let root = |scope: &str| Some(("root", json!({ "roles": ["admin"], "scope": scope })));
    check(&[
        ("PUT /users/bob", root("user.read user.write"), "ok admin"),
        ("PUT /users/bob", root("user.write x user.read"), "ok admin"),
        ("PUT /users/bob", root("user.read"), "insufficient_scope"),
        (
            "PUT /users/bob",
            root("user.read user.writer"),
            "insufficient_scope",
        ),
        (
            "PUT /users/bob",
            Some(("root", json!({ "roles": ["admin"] }))),
            "insufficient_scope",
        ),
        ("GET /services", root("a"), "forbidden"),
    ]);
}

#[test]
fn public_routes_ask_nobody() {
    check(&[
        ("POST /auth/login", None, "ok public"),
        ("POST /auth/login", alice(), "ok public"),
        ("DELETE /any", None, "ok public"),
        ("GET /auth/login", None, "route_not_mapped"),
        ("POST /auth", None, "route_not_mapped"),
        ("POST /auth/../users", None, "ambiguous_path"),
    ]);
}

#[test]
fn malformed_requests_stop_at_the_door() {
    let long = format!("{} /users", "A".repeat(1024));
    check(&[
        ("GET /users", None, "missing_token"),
        ("GET /users?access_token=x.y.z", None, "missing_token"),
        ("GET /nowhere", alice(), "route_not_mapped"),
        ("GET /USERS", alice(), "route_not_mapped"),
        ("GET /users/", alice(), "route_not_mapped"),
        ("GET /x?/users/alice", alice(), "route_not_mapped"),
        ("HEAD /users/alice", alice(), "route_not_mapped"),
        ("GET /users//alice", alice(), "ambiguous_path"),
        ("GET /users/bob/%2e%2e/alice", alice(), "ambiguous_path"),
        ("GET /users/a%2Fb", alice(), "ambiguous_path"),
        ("TRACE /users", alice(), "method_not_allowed"),
        ("CONNECT example.com:443", alice(), "method_not_allowed"),
        ("get /users", alice(), "invalid_request"),
        (&long, alice(), "invalid_request"),
        ("OPTIONS *", alice(), "invalid_request"),
        ("FROB /any", alice(), "not_implemented"),
        ("PROPFIND /any", None, "not_implemented"),
        ("PURGE /any", None, "ok public"),
    ]);
}

/// A caller writes the path, so nothing in it may become an attribute of the caller.
#[test]
fn a_path_says_nothing_about_who_calls() {
    check(&[
        ("GET /chiefs/users/alice", alice(), "ok own"),
        ("GET /chiefs/users/bob", alice(), "forbidden"),
    ]);
}

#[test]
fn a_permit_says_what_was_decided() {
    let world = World::new(ROUTES, POLICIES);
    let token = world.token("alice", json!({ "roles": ["auditor"], "scope": "a b" }));
    let permit = RUNTIME
        .block_on(world.admit("GET /users/%61lice?x=%2F&y=1", Some(&token)))
        .unwrap();
    assert_eq!(permit.path().path_and_query(), "/users/alice?x=%2F&y=1");
    assert_eq!(permit.route().name(), "GET /users/{id}");
    assert_eq!(
        permit.principal().unwrap().to_string(),
        r#"Fortress::User::"alice""#
    );
    let identity = permit.user().unwrap().identity();
    assert_eq!(identity.groups, ["auditor"]);
    assert_eq!(identity.scopes, ["a", "b"]);
    let asked = permit.decision().unwrap();
    assert_eq!(asked.answer.revision, *world.pdp.snapshot().revision());

    let rejection = RUNTIME
        .block_on(world.admit("GET /users/bob", Some(&token)))
        .unwrap_err();
    assert_eq!(rejection.route().unwrap().name(), "GET /users/{id}");
    assert_eq!(
        rejection.decision().unwrap().resource.to_string(),
        r#"Fortress::User::"bob""#
    );
}

/// How many tokens were judged and questions decided on the way to a refusal.
#[test]
fn a_step_that_fails_makes_no_later_call() {
    let world = World::new(ROUTES, POLICIES);
    let good = world.token("alice", json!({}));
    let expired = world.token(
        "alice",
        json!({ "iat": unix_now() - 600, "exp": unix_now() - 300 }),
    );
    let large = "a".repeat(9 * 1024);
    for (request, token, code, tokens, decisions) in [
        ("get /users", Some(&good), "invalid_request", 0, 0),
        ("TRACE /users", Some(&good), "method_not_allowed", 0, 0),
        ("GET //users", Some(&good), "ambiguous_path", 0, 0),
        ("GET /nowhere", Some(&good), "route_not_mapped", 0, 0),
        ("POST /auth/login", Some(&good), "ok public", 0, 0),
        ("GET /users", None, "missing_token", 0, 0),
        ("GET /users", Some(&large), "token_too_large", 1, 0),
        ("GET /users", Some(&expired), "token_expired", 1, 0),
        ("GET /services", Some(&good), "forbidden", 1, 0),
        ("PUT /users/alice", Some(&good), "insufficient_scope", 1, 0),
        ("GET /users", Some(&good), "forbidden", 1, 1),
        ("GET /users/alice", Some(&good), "ok own", 1, 1),
    ] {
        let before = world.calls();
        let result = RUNTIME.block_on(world.admit(request, token.map(String::as_str)));
        let after = world.calls();
        assert_eq!(outcome(&result), code, "{request}");
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            (tokens, decisions),
            "{request}"
        );
    }
}

#[test]
fn bad_credentials_prove_nobody() {
    let world = World::new(ROUTES, POLICIES);
    let good = world.token("alice", json!({}));
    let stranger = SigningKey::generate(Algorithm::Es256, "key-1").unwrap();
    let now = unix_now();
    let claims = json!({ "iss": ISSUER, "aud": "cloud-app", "sub": "alice", "jti": "j", "iat": now, "exp": now + 300 });
    let forged = stranger.sign_jwt(Map::new(), &claims);
    for (lines, code) in [
        (vec![format!("bearer   {good}")], "ok own"),
        (vec![format!("Bearer {forged}")], "invalid_token"),
        (
            vec![format!("Bearer {}", good.replace('.', ""))],
            "invalid_token",
        ),
        (vec!["Bearer".to_owned()], "invalid_token"),
        (
            vec![format!("Bearer {good}"), format!("Bearer {good}")],
            "invalid_request",
        ),
        (
            vec![format!("Bearer {good}, Bearer {good}")],
            "invalid_request",
        ),
        (vec![format!("Bearer {good} {good}")], "invalid_request"),
        (vec![format!("Bearer\t{good}")], "invalid_request"),
        (vec![format!("DPoP {good}")], "missing_token"),
        (vec!["Basic YTpi".to_owned()], "missing_token"),
    ] {
        let mut head = head("GET /users/alice", None);
        for line in &lines {
            head.headers.append("authorization", line.parse().unwrap());
        }
        let result = RUNTIME.block_on(world.gate.admit(&head, &Client::default()));
        assert_eq!(outcome(&result), code, "{lines:?}");
    }
}

#[test]
fn policies_are_replaced_between_requests() {
    let world = World::new(ROUTES, POLICIES);
    let token = world.token("alice", json!({}));
    let ask = |request: &str| outcome(&RUNTIME.block_on(world.admit(request, Some(&token))));
    assert_eq!(ask("GET /users/alice"), "ok own");
    world.rewrite_policies(r#"@id("none") forbid(principal, action, resource);"#);
    assert_eq!(ask("GET /users/alice"), "forbidden");
}

// === nothing gets a permit but by an Allow or a public route ===

/// A rule of a generated policy set: simple enough to be judged without Cedar.
#[derive(Clone, Copy, Debug)]
struct Policy {
    permit: bool,
    who: Who,
    action: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Anyone,
    Alice,
    Admins,
}

#[derive(Clone, Debug)]
enum Token {
    None,
    Good {
        subject: &'static str,
        admin: bool,
        scope: bool,
    },
    Expired,
    Early,
    OtherKey,
    OtherAudience,
    Tampered(usize),
    Garbage(String),
}

/// A generated route, and the requests that it is about.
const CHOICES: [(&str, &str, Option<&str>, bool); 5] = [
    ("GET /users/{id}", "view", None, false),
    ("PUT /users/{id}", "change", Some("w"), false),
    ("* /users/{id}/list", "list", None, false),
    ("POST /auth/{*rest}", "", None, true),
    ("GET /users/open", "", None, true),
];

/// Requests, each with the routes that it would find, the most specific first.
const REQUESTS: [(&str, &[usize]); 12] = [
    ("GET /users/alice", &[0]),
    ("GET /users/open", &[4, 0]),
    ("GET /users/%6Fpen?x", &[4, 0]),
    ("PUT /users/bob", &[1]),
    ("PATCH /users/bob/list", &[2]),
    ("POST /auth/login", &[3]),
    ("POST /auth/%2e%2e/users", &[]),
    ("POST /auth//x", &[]),
    ("GET /auth/login", &[]),
    ("DELETE /users/alice", &[]),
    ("GET /users/open/", &[]),
    ("GET /", &[]),
];

fn policy() -> impl Strategy<Value = Policy> {
    let who = prop_oneof![Just(Who::Anyone), Just(Who::Alice), Just(Who::Admins)];
    let action = prop_oneof![
        Just(None),
        Just(Some("view")),
        Just(Some("change")),
        Just(Some("list"))
    ];
    (prop::bool::weighted(0.8), who, action).prop_map(|(permit, who, action)| Policy {
        permit,
        who,
        action,
    })
}

fn token() -> impl Strategy<Value = Token> {
    let good = (
        prop_oneof![Just("alice"), Just("bob")],
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(subject, admin, scope)| Token::Good {
            subject,
            admin,
            scope,
        });
    prop_oneof![
        6 => good,
        1 => Just(Token::None),
        1 => Just(Token::Expired),
        1 => Just(Token::Early),
        1 => Just(Token::OtherKey),
        1 => Just(Token::OtherAudience),
        2 => any::<usize>().prop_map(Token::Tampered),
        1 => "[ -~]{0,40}".prop_map(Token::Garbage),
    ]
}

impl Policy {
    fn text(&self) -> String {
        let effect = if self.permit { "permit" } else { "forbid" };
        let who = match self.who {
            Who::Anyone => "principal",
            Who::Alice => r#"principal == Fortress::User::"alice""#,
            Who::Admins => r#"principal in Fortress::Role::"admin""#,
        };
        let action = match self.action {
            Some(action) => format!(r#"action == Fortress::Action::"{action}""#),
            None => "action".to_owned(),
        };
        format!("{effect}({who}, {action}, resource);\n")
    }

    fn covers(&self, subject: &str, admin: bool, action: &str) -> bool {
        let who = match self.who {
            Who::Anyone => true,
            Who::Alice => subject == "alice",
            Who::Admins => admin,
        };
        who && self.action.is_none_or(|own| own == action)
    }
}

impl Token {
    fn text(&self, world: &World) -> Option<String> {
        let now = unix_now();
        Some(match self {
            Self::None => return None,
            Self::Good { subject, admin, scope } => world.token(
                subject,
                json!({ "roles": if *admin { vec!["admin"] } else { vec![] }, "scope": if *scope { "w" } else { "" } }),
            ),
            Self::Expired => world.token("alice", json!({ "iat": now - 600, "exp": now - 300 })),
            Self::Early => world.token("alice", json!({ "nbf": now + 200 })),
            Self::OtherAudience => world.token("alice", json!({ "aud": "other" })),
            Self::OtherKey => SigningKey::generate(Algorithm::Es256, "key-1").unwrap().sign_jwt(
                Map::new(),
                &json!({ "iss": ISSUER, "aud": "cloud-app", "sub": "alice", "jti": "j", "iat": now, "exp": now + 300 }),
            ),
            Self::Tampered(at) => {
                let mut token = world.token("alice", json!({ "roles": ["admin"], "scope": "w" })).into_bytes();
                let at = at % token.len();
                token[at] = if token[at] == b'A' { b'B' } else { b'A' };
                String::from_utf8(token).unwrap()
            }
            Self::Garbage(text) => text.clone(),
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_permit_has_its_grounds(
        chosen in prop::collection::vec(prop::bool::weighted(0.8), CHOICES.len()),
        policies in prop::collection::vec(policy(), 0..5),
        tokens in prop::collection::vec(token(), 1..8),
    ) {
        let mut routes = "routes:\n".to_owned();
        for ((matches, action, scope, public), _) in CHOICES.iter().zip(&chosen).filter(|(_, chosen)| **chosen) {
            let rest = if *public {
                "public: true".to_owned()
            } else {
                format!("action: {action}, resource: {{ type: User, id: x }}, scopes: [{}]", scope.unwrap_or_default())
            };
            routes.push_str(&format!("  - {{ match: '{matches}', {rest} }}\n"));
        }
        if !chosen.contains(&true) {
            routes = "routes: []".to_owned();
        }
        let world = World::new(&routes, &policies.iter().map(Policy::text).collect::<String>());

        for (request, candidates) in REQUESTS {
            for token in &tokens {
                let route = candidates.iter().find(|candidate| chosen[**candidate]).map(|found| CHOICES[*found]);
                let entitled = match (route, token) {
                    (None, _) => false,
                    (Some((_, _, _, true)), _) => true,
                    (Some((_, action, required, false)), Token::Good { subject, admin, scope }) => {
                        let mut covering = policies.iter().filter(|policy| policy.covers(subject, *admin, action));
                        let permitted = covering.clone().any(|policy| policy.permit);
                        (required.is_none() || *scope) && permitted && covering.all(|policy| policy.permit)
                    }
                    _ => false,
                };
                let text = token.text(&world);
                let result = RUNTIME.block_on(world.admit(request, text.as_deref()));
                prop_assert_eq!(result.is_ok(), entitled, "{} by {:?}: {:?}", request, token, result);
                if let Ok(permit) = result {
                    let public = route.is_some_and(|(_, _, _, public)| public);
                    prop_assert_eq!(permit.decision().is_none(), public);
                    prop_assert!(permit.decision().is_none_or(|asked| asked.answer.is_allow()));
                }
            }
        }
    }
}

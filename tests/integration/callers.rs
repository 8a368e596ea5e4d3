//! Who may ask the decision API.

use crate::harness::http1::{exchange, post};
use crate::harness::redis::Redis;
use crate::harness::sidecar::{Sidecar, command, run};
use crate::harness::tokens::{ISSUER, KEYS, claims, reader, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use serde_json::{Value, json};
use std::net::SocketAddr;

const QUESTION: &str = r#"{"principal":{"type":"User","id":"rita"},"action":"view","resource":{"type":"Document","id":"report"}}"#;
const TOKEN: &str = "c2VjcmV0LW9mLXRoZS1jYWxsZXI";

fn digest(token: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_open_decision_api_refuses_to_start() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/listen/decisions", json!("0.0.0.0:0"));
    let output = run(&["serve", "-c", workspace.config_path().to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("callers"), "{said}");
    assert!(!String::from_utf8(output.stdout).unwrap().contains("listening"), "nothing was bound");
    let output = run(&["check", "-c", workspace.config_path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "`check` says so too");
}

#[test]
fn callers_prove_themselves() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address())
        .set("/listen/decisions", json!("0.0.0.0:0"))
        .set("/callers", json!([{"name": "billing", "token_sha256": digest(TOKEN)}, {"name": "other", "token_sha256": digest("other")}]));
    let sidecar = Sidecar::start(&workspace);
    let mut at = sidecar.decisions();
    at.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    let ask = |lines: &str| post(at, "/v1/authorize", lines, QUESTION);

    for scheme in ["Bearer", "bearer"] {
        let answer = ask(&format!("Authorization: {scheme} {TOKEN}\r\n"));
        assert_eq!((answer.status, answer.json()["decision"].as_str()), (200, Some("ALLOW")));
    }
    let unknown = digest(TOKEN);
    for (what, lines, code, error) in [
        ("nothing", String::new(), "missing_token", false),
        ("another token", "Authorization: Bearer wrong\r\n".into(), "invalid_token", true),
        ("the hash itself", format!("Authorization: Bearer {unknown}\r\n"), "invalid_token", true),
        ("a longer token", format!("Authorization: Bearer {TOKEN}x\r\n"), "invalid_token", true),
        ("a shorter token", format!("Authorization: Bearer {}\r\n", &TOKEN[1..]), "invalid_token", true),
        ("two tokens", format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n"), "invalid_token", true),
        ("another scheme", format!("Authorization: Basic {TOKEN}\r\n"), "invalid_token", true),
        ("an empty token", "Authorization: Bearer \r\n".into(), "invalid_token", true),
    ] {
        let answer = ask(&lines);
        assert_eq!((answer.status, answer.code().as_str()), (401, code), "{what}: {}", answer.text());
        let challenge = answer.head.get("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer realm="), "{what}: {challenge}");
        assert_eq!(challenge.contains("error="), error, "{what}: {challenge}");
    }
    // Who may not ask learns nothing else either.
    for target in ["/v1/revision", "/nowhere"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: d\r\n\r\n");
        assert_eq!(exchange(at, request.as_bytes()).unwrap().status, 401, "{target}");
    }
    let output = format!("{}{}", sidecar.stdout(), sidecar.stderr());
    assert!(!output.contains(TOKEN), "the token was logged");
}

/// The depot with callers that an issuer of services vouches for, on every address.
fn with_services(upstream: &Upstream) -> Workspace {
    let services = json!({
        "name": "services", "kind": "service", "issuer": [ISSUER], "jwks": {"file": "jwks.json"}, "algorithms": ["ES256"],
        "principal": {"type": "Service", "id": "sub"}, "on_behalf_of": {"type": "User", "id": "sub"},
    });
    let callers = json!([
        {"name": "ci", "token_sha256": digest(TOKEN)},
        {"name": "orders", "issuer": "services", "subjects": ["spn:orders", "spn:orders-batch"], "scopes": ["decisions.ask"]},
        {"name": "any", "issuer": "services", "subjects": ["spn:plain"]},
    ]);
    let workspace = Workspace::new(upstream.address()).set("/listen/decisions", json!("0.0.0.0:0")).set("/issuers/1", services).set("/callers", callers);
    let schema = include_str!("pack/depot.cedarschema").replace("entity Role;", "entity Role;\n  entity Service;");
    workspace.write("depot.cedarschema", &schema);
    workspace
}

/// What a service's token says.
fn service(subject: &str, scope: &str) -> Value {
    with(&claims(subject, &[]), json!({"token_use": "svc", "aud": "internal", "scope": scope, "sid": null, "sidv": null, "roles": null}))
}

fn loopback(sidecar: &Sidecar) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], sidecar.decisions().port()))
}

/// How the three surfaces answer one bearer: a status and a code, an exception, a sentence.
fn answers(at: SocketAddr, token: &str) -> [(u16, String); 3] {
    let line = format!("Authorization: Bearer {token}\r\n");
    let native = post(at, "/v1/authorize", &line, QUESTION);
    let aws = format!(
        "POST / HTTP/1.1\r\nHost: d\r\n{line}X-Amz-Target: VerifiedPermissions.IsAuthorized\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let aws = exchange(at, aws.as_bytes()).unwrap();
    let subject = r#"{"subject":{"type":"User","id":"rita"},"action":{"name":"view"},"resource":{"type":"Document","id":"report"}}"#;
    let authzen = post(at, "/access/v1/evaluation", &line, subject);
    for answer in [&native, &aws, &authzen] {
        assert!(!answer.text().contains("eyJ"), "{}", answer.text());
        assert_eq!(answer.head.get("retry-after").is_some(), native.status == 503, "{}", answer.text());
    }
    let code = if native.status == 200 { native.json()["decision"].as_str().unwrap().to_owned() } else { native.code() };
    [(native.status, code), (aws.status, aws.json()["__type"].as_str().unwrap_or("-").to_owned()), (authzen.status, authzen.text())]
}

#[test]
fn services_call_with_their_own_tokens() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&with_services(&upstream));
    let at = loopback(&sidecar);
    let known = |claims: Value| KEYS.token(&claims);
    let allowed = "ALLOW";
    let stranger = KEYS.stranger.sign_jwt(serde_json::Map::new(), &service("spn:orders", "decisions.ask"));
    for (what, token, status, code) in [
        ("the token of its own", TOKEN.to_owned(), 200, allowed),
        ("a service", known(service("spn:orders", "x decisions.ask")), 200, allowed),
        ("another name of the same caller", known(service("spn:orders-batch", "decisions.ask")), 200, allowed),
        ("a service that needs no scope", known(service("spn:plain", "")), 200, allowed),
        ("for a user", known(with(&service("spn:plain", ""), json!({"act": {"sub": "rita"}}))), 200, allowed),
        ("a scope lacks", known(service("spn:orders", "decisions.asking")), 403, "insufficient_scope"),
        (
            "the user's scope does not count",
            known(with(&service("spn:orders", ""), json!({"act": {"sub": "rita", "scope": "decisions.ask"}}))),
            403,
            "insufficient_scope",
        ),
        ("an unknown service", known(service("spn:billing", "decisions.ask")), 401, "invalid_token"),
        ("a longer name", known(service("spn:orders2", "decisions.ask")), 401, "invalid_token"),
        ("a user", known(reader()), 401, "invalid_token"),
        ("a user of a service's name", known(with(&reader(), json!({"sub": "spn:orders", "scope": "decisions.ask"}))), 401, "invalid_token"),
        ("expired", known(with(&service("spn:orders", "decisions.ask"), json!({"iat": 1_600_000_000, "exp": 1_600_000_100}))), 401, "token_expired"),
        ("for another audience", known(with(&service("spn:orders", "decisions.ask"), json!({"aud": "cloud-app"}))), 401, "invalid_token"),
        ("signed by a stranger", stranger, 401, "invalid_token"),
        ("far too long", format!("{}.{}.c", "a".repeat(6000), "b".repeat(6000)), 401, "invalid_token"),
        ("no JWT", "a.b.c".to_owned(), 401, "invalid_token"),
    ] {
        let [native, aws, authzen] = answers(at, &token);
        assert_eq!((native.0, native.1.as_str()), (status, code), "{what}");
        let exception = if status == 200 { (400, "ValidationException") } else { (status, "AccessDeniedException") };
        assert_eq!((aws.0, aws.1.as_str()), exception, "{what}");
        assert_eq!(authzen.0, status, "{what}: {}", authzen.1);
    }
}

#[test]
fn what_cannot_be_found_out_about_a_caller_is_no_pass() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start());
    let token = KEYS.token(&service("spn:plain", ""));
    let sessions = json!({"url": redis.url(), "timeout": "1s", "connect_timeout": "1s"});
    let sidecar = Sidecar::start(&with_services(&upstream).set("/redis", sessions).set("/issuers/1/session", json!("redis")));
    let at = loopback(&sidecar);
    let expect = |at: SocketAddr, status: u16, code: &str, aws: (u16, &str)| {
        let answers = answers(at, &token);
        assert_eq!((answers[0].0, answers[0].1.as_str()), (status, code));
        assert_eq!((answers[1].0, answers[1].1.as_str()), aws);
        assert_eq!(answers[2].0, status);
    };
    expect(at, 200, "ALLOW", (400, "ValidationException"));
    redis.set("revoked:jti:j-spn:plain", "1");
    expect(at, 401, "session_revoked", (401, "AccessDeniedException"));
    redis.delete("revoked:jti:j-spn:plain");
    expect(at, 200, "ALLOW", (400, "ValidationException"));
    redis.kill();
    expect(at, 503, "session_store_unavailable", (500, "InternalServerException"));
    // A caller whose token is known by its hash needs nobody else.
    assert_eq!(answers(at, TOKEN)[0], (200, "ALLOW".to_owned()));

    let workspace = with_services(&upstream).set("/issuers/1/jwks", json!({"url": "http://127.0.0.1:1/jwks"}));
    let config = workspace.config_path();
    let mut sidecar = Sidecar::spawn(command(&["serve", "-c", config.to_str().unwrap()]));
    sidecar.await_listening();
    expect(loopback(&sidecar), 503, "keys_unavailable", (500, "InternalServerException"));
}

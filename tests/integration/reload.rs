//! Policies, entities and keys change under a running sidecar; a bad change changes nothing.

use crate::harness::http1::{get, post};
use crate::harness::sidecar::Sidecar;
use crate::harness::table::bearer;
use crate::harness::tokens::{KEYS, claims, reader};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, until};
use crate::upstream_faults::under_load;
use serde_json::{Value, json};

const POLICIES: &str = include_str!("pack/documents.cedar");
const ENTITIES: &str = include_str!("pack/entities.json");
const TARGET: &str = "/v1/documents/report";

fn status(sidecar: &Sidecar, token: &str) -> u16 {
    get(sidecar.proxy(), TARGET, &format!("Authorization: Bearer {token}\r\n")).status
}

fn revision(sidecar: &Sidecar) -> String {
    get(sidecar.decisions(), "/v1/revision", "").json()["revision"].as_str().unwrap().to_owned()
}

fn ready(sidecar: &Sidecar) -> Value {
    get(sidecar.telemetry(), "/readyz", "").json()
}

#[test]
fn policies_change_under_load() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address());
    let sidecar = Sidecar::start(&workspace);
    let reader = KEYS.token(&reader());
    let newcomer = KEYS.token(&claims("nia", &["newcomer"]));
    assert_eq!((status(&sidecar, &reader), status(&sidecar, &newcomer)), (200, 403));
    let first = revision(&sidecar);

    let (second, asked) = under_load(&sidecar, &bearer("GET", TARGET, &reader), 200, || {
        let newcomers = r#"@id("newcomers") permit (principal in Depot::Role::"newcomer", action == Depot::Action::"view", resource);"#;
        workspace.write("policies/newcomers.cedar", newcomers);
        until("the new policy to decide", PATIENCE, || (status(&sidecar, &newcomer) == 200).then_some(()));
        let second = revision(&sidecar);

        workspace.write("policies/newcomers.cedar", "permit (principal, action, resource) when { ");
        until("the mistake to be reported", PATIENCE, || {
            let details = ready(&sidecar).to_string();
            details.contains("newcomers.cedar").then_some(())
        });
        assert_eq!(status(&sidecar, &newcomer), 200, "the last good policies stay");
        assert_eq!(revision(&sidecar), second);
        let output = format!("{}{}", sidecar.stdout(), sidecar.stderr());
        assert!(output.contains("newcomers.cedar:1"), "the log names file and line");

        let unknown = r#"permit (principal, action == Depot::Action::"fly", resource);"#;
        workspace.write("policies/newcomers.cedar", unknown);
        until("the policy that the schema does not know to be reported", PATIENCE, || ready(&sidecar).to_string().contains("fly").then_some(()));
        assert_eq!(revision(&sidecar), second, "policies are validated at every load");

        workspace.remove("policies/newcomers.cedar");
        until("the policy to be gone", PATIENCE, || (status(&sidecar, &newcomer) == 403).then_some(()));
        second
    });
    assert!(asked > 0);
    assert_ne!(first, second);
    assert_eq!(revision(&sidecar), first, "a revision names its content");
    assert_eq!(ready(&sidecar)["policies"]["problems"], json!([]));

    // Nothing is left to permit: everything is denied, nothing fails.
    workspace.write("policies/documents.cedar", "");
    until("the empty set to decide", PATIENCE, || (status(&sidecar, &reader) == 403).then_some(()));
    workspace.write("policies/documents.cedar", POLICIES);
    until("the old set to decide", PATIENCE, || (status(&sidecar, &reader) == 200).then_some(()));
}

#[test]
fn entities_change() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address());
    let sidecar = Sidecar::start(&workspace);
    let token = KEYS.token(&reader());
    assert_eq!(status(&sidecar, &token), 200);
    let mut entities: Value = serde_json::from_str(ENTITIES).unwrap();
    entities.as_array_mut().unwrap().push(json!({
        "uid": {"type": "Depot::Document", "id": "report"}, "attrs": {"confidential": true}, "parents": [],
    }));
    workspace.write("entities.json", &entities.to_string());
    until("the document to be confidential", PATIENCE, || (status(&sidecar, &token) == 403).then_some(()));
    workspace.write("entities.json", r#"[{"uid": {"type": "Depot::Document", "id": "report"}, "attrs": {"confidential": "no"}, "parents": []}]"#);
    until("the bad entities to be reported", PATIENCE, || ready(&sidecar).to_string().contains("entities.json").then_some(()));
    assert_eq!(status(&sidecar, &token), 403, "the last good entities stay");
    workspace.write("entities.json", ENTITIES);
    until("the document to be open again", PATIENCE, || (status(&sidecar, &token) == 200).then_some(()));
}

#[test]
fn keys_change() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address());
    let sidecar = Sidecar::start(&workspace);
    let token = KEYS.token(&reader());
    assert_eq!(status(&sidecar, &token), 200);
    workspace.write("jwks.json", "{\"keys\": [");
    assert_eq!(status(&sidecar, &token), 200, "the last good keys stay");
    workspace.write("jwks.json", &json!({"keys": [KEYS.stranger.public_jwk()]}).to_string());
    until("the withdrawn key's tokens to be refused", PATIENCE, || (status(&sidecar, &token) == 401).then_some(()));
    let strangers = KEYS.stranger.sign_jwt(serde_json::Map::new(), &reader());
    assert_eq!(status(&sidecar, &strangers), 200, "the new key counts");
}

/// An unknown key id is looked for once; then it is bad, and a stream of them is told to wait.
#[test]
fn unknown_keys() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let ask = |kid: &str| {
        let token = KEYS.with_header(json!({"kid": kid}), &reader());
        let answer = get(sidecar.proxy(), TARGET, &format!("Authorization: Bearer {token}\r\n"));
        if answer.status == 503 {
            assert!(answer.head.get("retry-after").is_some());
        }
        (answer.status, answer.code())
    };
    let judged = until("the keys to be read again", PATIENCE, || match ask("es-9") {
        (503, code) => {
            assert_eq!(code, "keys_refreshing");
            None
        }
        answer => Some(answer),
    });
    assert_eq!(judged, (401, "invalid_token".to_owned()));
    let rush: Vec<_> = (0..50).map(|number| ask(&format!("rush-{number}"))).collect();
    assert_eq!(rush[49], (503, "keys_refreshing".to_owned()), "{rush:?}");
    assert!(rush.iter().all(|(status, _)| matches!(status, 401 | 503)), "{rush:?}");
    assert_eq!(ask("es-9"), (401, "invalid_token".to_owned()), "what is known to be unknown stays so");
    upstream.assert_untouched();
    assert_eq!(status(&sidecar, &KEYS.token(&reader())), 200, "known keys are not affected");
}

/// Without keys nothing can be proved: the sidecar runs, is not ready, and says so.
#[test]
fn no_keys_at_the_start() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address());
    let sidecar_without_rsa = workspace.set("/issuers/1/jwks", json!({"url": format!("http://{}/jwks", unused_address())}));
    let config = sidecar_without_rsa.config_path();
    let mut sidecar = Sidecar::spawn(crate::harness::sidecar::command(&["serve", "-c", config.to_str().unwrap()]));
    sidecar.await_listening();
    let token = KEYS.rsa_token(&reader());
    let answer = get(sidecar.proxy(), TARGET, &format!("Authorization: Bearer {token}\r\n"));
    assert_eq!((answer.status, answer.code().as_str()), (503, "keys_unavailable"));
    assert_eq!(answer.json()["retry"]["retryable"], true);
    assert!(answer.head.get("retry-after").is_some());
    assert_eq!(get(sidecar.telemetry(), "/readyz", "").status, 503);
    assert_eq!(get(sidecar.telemetry(), "/livez", "").status, 200);
    assert_eq!(status(&sidecar, &KEYS.token(&self::reader())), 200, "the other issuer is not affected");
    let reasons = post(
        sidecar.decisions(),
        "/v1/authorize",
        "",
        &json!({
            "principal": {"type": "User", "id": "rita"}, "action": "view", "resource": {"type": "Document", "id": "report"},
        })
        .to_string(),
    );
    assert_eq!(reasons.json()["decision"], "ALLOW");
    assert_eq!(upstream.heads().len(), 1);
}

fn unused_address() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

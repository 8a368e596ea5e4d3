//! Who may ask the decision API.

use crate::harness::http1::{exchange, post};
use crate::harness::sidecar::{Sidecar, run};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use serde_json::json;

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

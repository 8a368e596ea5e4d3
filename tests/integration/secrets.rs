//! Nothing that a caller keeps secret is written anywhere: not to logs, metrics or answers.

use crate::harness::cases;
use crate::harness::http1::{exchange, get};
use crate::harness::sidecar::{Sidecar, assert_no_token, command};
use crate::harness::table::{bearer, with_lines};
use crate::harness::tokens::{KEYS, claims, reader, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use serde_json::{Value, json};

/// At the most talkative level, too; elsewhere every sidecar's output is searched when it ends.
#[test]
fn no_secret_is_written() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address());
    let config = workspace.config_path();
    let mut verbose = command(&["serve", "-c", config.to_str().unwrap()]);
    verbose.env("RUST_LOG", "trace").env("PORTCULLIS_LOG", "trace");
    let mut sidecar = Sidecar::spawn(verbose);
    sidecar.await_ready();
    // One of our own making in everything that a client or an issuer may keep to itself.
    const CANARY: &str = "c4n4ry";
    let mark = |claims: &Value| with(claims, json!({"email": format!("{CANARY}@depot.test"), "jti": format!("{CANARY}-jti")}));
    let tokens = [
        KEYS.token(&mark(&reader())),
        KEYS.rsa_token(&mark(&reader())),
        KEYS.token(&mark(&claims("root", &["admin"]))),
        KEYS.token(&mark(&with(&reader(), json!({"exp": 1})))),
        KEYS.stranger.sign_jwt(serde_json::Map::new(), &mark(&reader())),
        format!("{CANARY}.{CANARY}.{CANARY}"),
        CANARY.to_owned(),
    ];
    let mut answers = String::new();
    for token in &tokens {
        for request in [
            bearer("GET", "/v1/documents/report", token),
            bearer("GET", "/v1/documents/secret", token),
            bearer("GET", "/nowhere", token),
            bearer("GET", "/public/%2e%2e/x", token),
            bearer("TRACE", "/public/x", token),
            with_lines("GET", &format!("/v1/documents/report?access_token={token}&{CANARY}=1"), ""),
            with_lines("GET", "/v1/documents/report", &format!("Cookie: session={CANARY}; t={token}\r\n")),
            with_lines("GET", "/v1/documents/report", &format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n")),
            with_lines("GET", "/v1/documents/report", &format!("Authorization: Basic {CANARY}\r\nX-Api-Key: {CANARY}\r\n")),
            with_lines("GET", "/public/x", &format!("Authorization : Bearer {token}\r\n")),
        ] {
            answers.push_str(&exchange(sidecar.proxy(), &request).map_or_else(|error| error.to_string(), |answer| answer.text()));
        }
    }
    answers.push_str(&get(sidecar.telemetry(), "/metrics", "").text());
    answers.push_str(&get(sidecar.telemetry(), "/readyz", "").text());
    sidecar.terminate();
    sidecar.exited(crate::harness::PATIENCE);
    for (place, text) in [("answers", &answers), ("stdout", &sidecar.stdout()), ("stderr", &sidecar.stderr())] {
        assert_no_token(text);
        if let Some(line) = text.lines().find(|line| line.contains(CANARY)) {
            panic!("{place}: {line}");
        }
    }
    assert!(sidecar.stdout().contains("\"decision\""), "the decision log was there to be searched");
    cases::held(194, "written nowhere");
}

/// Case 195: what a client says cannot write a line of its own into the log.
#[test]
fn a_line_of_the_log_cannot_be_forged() {
    let upstream = Upstream::start();
    let sidecar = &mut Sidecar::start(&Workspace::new(upstream.address()));
    let forged = "x\",\"decision\":\"ALLOW";
    let token = KEYS.token(&claims(forged, &["reader"]));
    exchange(sidecar.proxy(), &bearer("GET", "/v1/documents/%22%2C%22forged%22%3A%221", &token)).unwrap();
    let agent = "User-Agent: a\"}{\"forged\":\"1\r\n";
    get(sidecar.proxy(), "/public/x", agent);
    sidecar.terminate();
    sidecar.exited(crate::harness::PATIENCE);
    let mut events = 0;
    for line in sidecar.stdout().lines().filter(|line| !line.starts_with("portcullis: ")) {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event.get("forged").is_none(), "{line}");
        events += 1;
    }
    assert!(events >= 2, "{}", sidecar.stdout());
    cases::held(195, "one line, escaped");
}

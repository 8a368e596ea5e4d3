//! Whatever is sent, nothing reaches the upstream without an Allow.

use crate::harness::http1::Client;
use crate::harness::sidecar::Sidecar;
use crate::harness::tokens::{KEYS, b64, claims, now, parts, reader, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, json};
use std::time::Duration;

/// What a generated request says, before it is written down and perhaps damaged.
#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    path: String,
    bearer: Bearer,
    lines: Vec<&'static str>,
    body: &'static str,
    damage: Option<(usize, u8)>,
}

/// Whose token a request carries.
#[derive(Clone, Debug)]
enum Bearer {
    Nobody,
    Reader,
    Editor,
    Admin,
    Expired,
    Stranger,
    NoAlgorithm,
    Elevated,
    /// A reader's with one byte changed.
    Damaged(usize, u8),
    Text(String),
}

// === impl Bearer ===

impl Bearer {
    fn token(&self) -> Option<String> {
        let honest = KEYS.token(&reader());
        Some(match self {
            Bearer::Nobody => return None,
            Bearer::Reader => honest,
            Bearer::Editor => KEYS.token(&claims("ed", &["editor"])),
            Bearer::Admin => KEYS.token(&claims("root", &["admin"])),
            Bearer::Expired => KEYS.token(&with(&claims("root", &["admin", "editor", "reader"]), json!({"iat": now() - 900, "exp": now() - 600}))),
            Bearer::Stranger => KEYS.stranger.sign_jwt(Map::new(), &claims("root", &["admin", "editor", "reader"])),
            Bearer::NoAlgorithm => format!("{}.{}.", b64(br#"{"alg":"none","kid":"es-1"}"#), parts(&honest)[1]),
            Bearer::Elevated => {
                let elevated = claims("root", &["admin", "editor", "reader"]).to_string();
                format!("{}.{}.{}", parts(&honest)[0], b64(elevated.as_bytes()), parts(&honest)[2])
            }
            Bearer::Damaged(at, byte) => {
                let mut bytes = honest.clone().into_bytes();
                let at = at % bytes.len();
                bytes[at] = if bytes[at] == *byte { b'~' } else { *byte };
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Bearer::Text(text) => text.clone(),
        })
    }

    /// The roles that this token proves.
    fn roles(&self) -> &'static [&'static str] {
        match self {
            Bearer::Reader => &["reader"],
            Bearer::Editor => &["editor"],
            Bearer::Admin => &["admin"],
            _ => &[],
        }
    }
}

/// The oracle: whether a request with this line, as the upstream saw it, was allowed to `bearer`. Written from the pack's
/// routes and policies, not from the product.
fn allowed(method: &str, target: &str, bearer: &Bearer) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let has = |role: &str| bearer.roles().contains(&role);
    let confidential = |id: &str| id == "secret";
    match (method, segments.as_slice()) {
        (_, ["public", rest @ ..]) => !rest.is_empty() && rest != [""],
        (_, ["admin"]) => has("admin"),
        ("GET" | "HEAD", ["v1", "documents", id]) | ("GET", ["v1", "scoped", id]) => !id.is_empty() && !confidential(id) && (has("reader") || has("editor")),
        ("PUT" | "POST" | "DELETE", ["v1", "documents", id]) | ("GET", ["v1", "own", _, id]) => !id.is_empty() && !confidential(id) && has("editor"),
        _ => false,
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    let method = select(vec![
        "GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "PUT", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "FETCH",
    ]);
    let piece = prop_oneof![
        4 => select(vec!["v1", "documents", "report", "secret", "plan", "admin", "public", "scoped", "own", "olga"]).prop_map(str::to_owned),
        2 => select(vec!["..", ".", "%2e%2e", ".%2e", "..;", "%2f", "..%2f", "%5c", "\\", "", "%00", "%", "%zz", "%73ecret", "SECRET", "secret%20", ";a", "%c0%ae"]).prop_map(str::to_owned),
        1 => "[ -~]{0,6}",
    ];
    let known = select(vec![
        "/v1/documents/report",
        "/v1/documents/secret",
        "/v1/documents/plan",
        "/admin",
        "/public/x",
        "/v1/scoped/report",
        "/v1/own/olga/new",
        "/public/../admin",
        "/public/..%2fadmin",
        "/%61dmin",
        "//admin",
        "/admin/",
        "/public%2f..%2fadmin",
        "/v1/documents/%73ecret",
        "http://service/admin",
    ]);
    let path = prop_oneof![
        6 => known.prop_map(str::to_owned),
        2 => prop::collection::vec(piece, 1..5).prop_map(|pieces| format!("/{}", pieces.join("/"))),
        1 => known_with_query(),
    ];
    let bearer = prop_oneof![
        6 => select(vec![Bearer::Reader, Bearer::Editor, Bearer::Admin]),
        4 => select(vec![Bearer::Nobody, Bearer::Expired, Bearer::Stranger, Bearer::NoAlgorithm, Bearer::Elevated]),
        2 => (any::<usize>(), 0x21_u8..0x7f).prop_map(|(at, byte)| Bearer::Damaged(at, byte)),
        1 => "[A-Za-z0-9._-]{0,60}".prop_map(Bearer::Text),
    ];
    let line = select(vec![
        "X-Portcullis-User: root",
        "x_portcullis_roles: admin",
        "X-Original-URL: /public/x",
        "X-HTTP-Method-Override: GET",
        "Connection: authorization",
        "Connection: close",
        "Transfer-Encoding: chunked",
        "Content-Length: 5",
        "Content-Length: 0",
        "Host: public",
        "X-Forwarded-For: 127.0.0.1",
        "Expect: 100-continue",
        "Upgrade: websocket",
        "TE: trailers",
        "Cookie: a=b",
        "Authorization: Basic dTpw",
        " folded: x",
        "X-A : b",
    ]);
    let lines = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(line, 1..3)];
    let body = select(vec!["", "", "", "hello", "0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "GET /admin HTTP/1.1\r\nHost: service\r\n\r\n"]);
    let damage = prop_oneof![6 => Just(None), 1 => (any::<usize>(), any::<u8>()).prop_map(Some)];
    (method, path, bearer, lines, body, damage).prop_map(|(method, path, bearer, lines, body, damage)| Sent { method, path, bearer, lines, body, damage })
}

fn known_with_query() -> impl Strategy<Value = String> {
    (select(vec!["/admin", "/v1/documents/secret", "/v1/documents/report", "/public/x"]), "[!-~]{0,12}").prop_map(|(path, query)| format!("{path}?{query}"))
}

fn written(sent: &Sent) -> Vec<u8> {
    let mut request = format!("{} {} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n", sent.method, sent.path);
    if let Some(token) = sent.bearer.token() {
        request.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    for line in &sent.lines {
        request.push_str(line);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.push_str(sent.body);
    let mut bytes = request.into_bytes();
    if let Some((at, byte)) = sent.damage {
        let at = at % bytes.len();
        bytes[at] = byte;
    }
    bytes
}

#[test]
fn nothing_passes_without_an_allow() {
    let upstream = Upstream::start();
    // Requests that promise a body and send none are cut off soon.
    let workspace = Workspace::new(upstream.address()).set("/timeouts", json!({"header": "300ms", "body": "300ms", "idle": "300ms"}));
    let sidecar = Sidecar::start(&workspace);
    let mut runner = TestRunner::new(Config { cases: 400, max_shrink_iters: 200, failure_persistence: None, ..Config::default() });
    let forwarded = std::cell::Cell::new(0);
    runner
        .run(&sent(), |sent| {
            let before = upstream.heads().len();
            let bytes = written(&sent);
            let mut client = Client::connect(sidecar.proxy());
            client.send(&bytes);
            // Read to the end, so that everything that was going to be forwarded has been.
            client.set_patience(Duration::from_secs(3));
            let _ = client.rest();
            for head in upstream.heads().split_off(before) {
                forwarded.set(forwarded.get() + 1);
                let method = head.method().to_owned();
                prop_assert!(
                    allowed(&method, head.target(), &sent.bearer),
                    "the upstream was asked {} by {:?}\nsent: {}",
                    head.line,
                    sent.bearer,
                    bytes.escape_ascii()
                );
                for (name, value) in &head.fields {
                    let canonical = name.to_ascii_lowercase().replace(['_', '.'], "-");
                    if canonical == "x-portcullis-user" || canonical == "x-portcullis-roles" {
                        prop_assert!(name.contains('-') && (value != "root" || matches!(sent.bearer, Bearer::Admin)), "{name}: {value}");
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    // Thirty or so of 400; far below that the property would hold for want of trying.
    assert!(forwarded.get() > 5, "the generator hardly ever makes an allowed request: {}", forwarded.get());
}

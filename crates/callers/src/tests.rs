use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower_service::Service as _;

use super::*;

fn config(name: &str, digest: &str) -> CallerConfig {
    serde_json::from_value(json!({ "name": name, "token_sha256": digest })).expect("a caller")
}

fn config_json(name: &str, token: &str) -> Value {
    json!({ "name": name, "token_sha256": hash(token) })
}

fn hash(token: &str) -> String {
    digest(&SHA256, token.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn callers(bind: &str) -> Callers {
    let configs = [
        config("other", &hash("other-token")),
        config("ci", &hash("open-sesame")),
    ];
    Callers::new(&configs, &bind.parse().expect("an address"))
}

async fn ask(callers: Callers, authorization: &[&[u8]]) -> (StatusCode, Option<String>, String) {
    let mut api = Router::new()
        .route(
            "/",
            get(|caller: Option<Extension<Caller>>| async move {
                caller.map_or_else(
                    || "anyone".to_owned(),
                    |Extension(caller)| caller.0.to_string(),
                )
            }),
        )
        .layer(from_fn_with_state(callers, require));
    let mut request = Request::get("/").body(Body::empty()).expect("a request");
    for value in authorization {
        let value = HeaderValue::from_bytes(value).expect("a value");
        request.headers_mut().append(AUTHORIZATION, value);
    }
    let response = api.call(request).await.expect("a response");
    let status = response.status();
    let challenge = response
        .headers()
        .get(http::header::WWW_AUTHENTICATE)
        .map(|value| value.to_str().expect("text").to_owned());
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (
        status,
        challenge,
        String::from_utf8(body.to_vec()).expect("text"),
    )
}

#[tokio::test]
async fn a_known_caller_is_named() {
    for bind in ["0.0.0.0:8180", "127.0.0.1:8180"] {
        for scheme in ["Bearer ", "bearer ", "BEARER   "] {
            let value = format!("{scheme}open-sesame");
            let (status, challenge, body) = ask(callers(bind), &[value.as_bytes()]).await;
            assert_eq!(
                (status, challenge, body.as_str()),
                (StatusCode::OK, None, "ci")
            );
        }
    }
}

#[tokio::test]
async fn no_token_is_told_apart_from_a_bad_one() {
    let (status, challenge, body) = ask(callers("127.0.0.1:1"), &[]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(challenge.as_deref(), Some("Bearer realm=\"portcullis\""));
    let mut body: Value = serde_json::from_str(&body).expect("json");
    let id = body["request_id"].take();
    assert_eq!(id.as_str().map(str::len), Some(32));
    assert_eq!(
        body,
        json!({
            "error": { "code": "missing_token", "message": "a bearer token is required", "details": {} },
            "retry": { "retryable": false, "retry_after": null },
            "request_id": null,
        })
    );
    let long = [b"Bearer ".as_slice(), &[b'a'; MAX_TOKEN_BYTES + 1]].concat();
    let cases: &[&[&[u8]]] = &[
        &[b"Bearer open-sesam"],
        &[b"Bearer open-sesame2"],
        &[b"Bearer "],
        &[b"Bearer"],
        &[b""],
        &[b"open-sesame"],
        &[b"Basic open-sesame"],
        &[b"Bearer\topen-sesame"],
        &[b"Bearer open-sesame,"],
        &[b"Bearer open-sesame "],
        &[b"Bearer open-sesame other-token"],
        &[b"Bearer \xff\xfe"],
        &[b"Bearer open-sesame", b"Bearer open-sesame"],
        &[b"Bearer open-sesame", b""],
        &[b"Bearer", b"open-sesame"],
        &[&long],
    ];
    for case in cases {
        let (status, challenge, body) = ask(callers("127.0.0.1:1"), case).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{case:?}");
        assert_eq!(
            challenge.as_deref(),
            Some("Bearer realm=\"portcullis\", error=\"invalid_token\"")
        );
        assert!(
            body.contains("\"invalid_token\"") && !body.contains("sesame"),
            "{body}"
        );
    }
    // The hash is not the token.
    let value = format!("Bearer {}", hash("open-sesame"));
    assert_eq!(
        ask(callers("127.0.0.1:1"), &[value.as_bytes()]).await.0,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn without_callers_only_this_machine_may_call() {
    for (bind, expected) in [
        ("127.0.0.1:8180", StatusCode::OK),
        ("[::1]:8180", StatusCode::OK),
        ("unix:/run/x.sock", StatusCode::OK),
        ("0.0.0.0:8180", StatusCode::UNAUTHORIZED),
        ("10.0.0.1:8180", StatusCode::UNAUTHORIZED),
    ] {
        let callers = Callers::new(&[], &bind.parse().expect("an address"));
        let (status, _, body) = ask(callers.clone(), &[]).await;
        assert_eq!(status, expected, "{bind}");
        assert_eq!(body == "anyone", expected == StatusCode::OK);
        assert_eq!(ask(callers, &[b"Bearer x"]).await.0, expected, "{bind}");
    }
}

#[test]
fn digests_are_read_strictly() {
    let read = |text: &str| serde_json::from_value::<TokenDigest>(json!(text));
    assert_eq!(
        read(&hash("x")).expect("a digest"),
        read(&hash("x").to_uppercase()).expect("a digest")
    );
    for text in [
        "",
        "00",
        hash("x").trim_start_matches(|c| c != 'f'),
        &format!("{}0", hash("x")),
        &format!("0x{}", "0".repeat(62)),
        &"é".repeat(32),
        &"g".repeat(64),
    ] {
        let error = read(text).expect_err(text);
        assert!(text.is_empty() || text == "00" || !error.to_string().contains(text));
    }
    assert_eq!(
        format!("{:?}", config("ci", &hash("x"))),
        "CallerConfig { name: \"ci\", token_sha256: Some(<digest>), issuer: None, subjects: [], scopes: [] }"
    );
}

#[test]
fn settings_never_show_what_stands_in_place_of_a_digest() {
    let loaded = settings::parse::<CallerConfig>(
        "name: ci\ntoken_sha256: open-sesame",
        std::path::Path::new("p.yaml"),
        &|_| None,
    );
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["p.yaml:2:1: token_sha256: expected the sha-256 of a token in 64 hexadecimal digits"]
    );
}

#[test]
fn callers_that_cannot_be_told_apart_are_refused() {
    let configs = [
        config("a", &hash("1")),
        config("a", &hash("2")),
        config("b", &hash("1")),
        config("", &hash("3")),
        config("c", &hash("")),
    ];
    let keys: Vec<String> = CallerConfig::problems(&configs, &[])
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(
        keys,
        [
            "[1].name",
            "[2].token_sha256",
            "[3].name",
            "[4].token_sha256"
        ]
    );
    assert!(CallerConfig::problems(&configs[..1], &[]).is_empty());
}

#[test]
fn a_service_is_named_by_issuer_and_subject() {
    let issuers: Vec<identity::config::IssuerConfig> = serde_json::from_value(json!([
        { "name": "services", "kind": "service" }, { "name": "users", "kind": "first_party" },
    ]))
    .expect("issuers");
    let problems = |callers: Value| -> Vec<String> {
        let callers: Vec<CallerConfig> = serde_json::from_value(callers).expect("callers");
        let problems = CallerConfig::problems(&callers, &issuers);
        problems.into_iter().map(|(key, _)| key).collect()
    };
    let good = json!({ "name": "orders", "issuer": "services", "subjects": ["spn:orders"], "scopes": ["ask"] });
    assert!(problems(json!([good, config_json("ci", "1")])).is_empty());
    for (callers, keys) in [
        (json!([{ "name": "a" }]), vec!["[0].token_sha256"]),
        (
            json!([{ "name": "a", "issuer": "nobody", "subjects": ["spn:a"] }]),
            vec!["[0].issuer"],
        ),
        (
            json!([{ "name": "a", "issuer": "users", "subjects": ["spn:a"] }]),
            vec!["[0].issuer"],
        ),
        (
            json!([{ "name": "a", "issuer": "services" }]),
            vec!["[0].subjects"],
        ),
        (
            json!([{ "name": "a", "issuer": "services", "subjects": ["a", "spn:", "*"], "scopes": ["a b"] }]),
            vec![
                "[0].subjects[0]",
                "[0].subjects[1]",
                "[0].subjects[2]",
                "[0].scopes[0]",
            ],
        ),
        (
            json!([{ "name": "a", "token_sha256": hash("1"), "subjects": ["spn:a"], "scopes": ["x"] }]),
            vec!["[0].subjects", "[0].scopes"],
        ),
        (
            json!([{ "name": "a", "token_sha256": hash("1"), "issuer": "services", "subjects": ["spn:a"] }]),
            vec!["[0].issuer"],
        ),
        (
            json!([good, { "name": "b", "issuer": "services", "subjects": ["spn:b", "spn:orders"] }]),
            vec!["[1].subjects[1]"],
        ),
    ] {
        assert_eq!(problems(callers.clone()), keys, "{callers}");
    }
}

#[test]
fn ids_are_hexadecimal_and_each_another() {
    let ids: std::collections::HashSet<String> = (0..1000)
        .map(|_| RequestId::generate().to_string())
        .collect();
    assert_eq!(ids.len(), 1000);
    for id in ids {
        assert_eq!(id.len(), 32);
        assert!(
            id.bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
            "{id}"
        );
    }
}

proptest! {
    #[test]
    fn only_the_token_opens(value in prop::collection::vec(any::<u8>(), 0..64)) {
        let callers = callers("0.0.0.0:1");
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.insert(AUTHORIZATION, value);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        prop_assert!(runtime.block_on(callers.identify(&headers)).is_err());
    }
}

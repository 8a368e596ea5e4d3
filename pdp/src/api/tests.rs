use std::fs;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use settings::{Address, ByteSize, Span};
use tempfile::TempDir;

use super::*;
use crate::config::{OnError, PoliciesConfig, PolicySource};

const SCHEMA: &str = r#"namespace Shop {
    entity User in [User] { age?: Long };
    action view appliesTo { principal: User, resource: User, context: { mfa?: Bool } };
    action fail appliesTo { principal: User, resource: User };
}"#;

const POLICIES: &str = r#"
    @id("own") @why("one's own") permit(principal, action == Shop::Action::"view", resource) when { principal == resource };
    @id("mfa") forbid(principal, action, resource) when { context has mfa && !context.mfa };
    @id("fail") permit(principal, action == Shop::Action::"fail", resource)
        when { principal has age && principal.age + 9223372036854775807 > 0 };
    @id("always") permit(principal, action == Shop::Action::"fail", resource);
"#;

pub(super) struct Served {
    _folder: TempDir,
    pub(super) pdp: Arc<Pdp>,
    api: DecisionApi,
}

pub(super) fn serve(limits: ApiLimits) -> Served {
    serve_policies(SCHEMA, POLICIES, limits)
}

/// Serves these policies, in namespace `Shop`.
pub(super) fn serve_policies(schema: &str, policies: &str, limits: ApiLimits) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("p.cedar"), policies).unwrap();
    fs::write(path("s.cedarschema"), schema).unwrap();
    let config = PoliciesConfig {
        source: PolicySource::Dir(path("p.cedar")),
        schema: Some(path("s.cedarschema")),
        allow_no_schema: false,
        entities: None,
        namespace: Some("Shop".to_owned()),
        on_error: OnError::Deny,
        max_staleness: Span::from_secs(3600),
    };
    let pdp = Pdp::open(&config, &prometheus::Registry::new()).unwrap();
    let local: Address = "127.0.0.1:0".parse().unwrap();
    let api = DecisionApi::new(
        Arc::clone(&pdp),
        Callers::new(&[], &local),
        limits,
        AvpApiConfig {
            policy_store_ids: vec!["PSEXAMPLE".to_owned()],
        },
        Bearers::default(),
        plain(&pdp),
    );
    Served {
        _folder: folder,
        pdp,
        api,
    }
}

fn plain(pdp: &Pdp) -> Authzen {
    let authzen = Authzen::new(&authzen::AuthzenConfig::default(), pdp.namespace(), None).unwrap();
    authzen.listening_at(&"127.0.0.1:0".parse().unwrap())
}

impl Served {
    pub(super) async fn send(
        &self,
        request: Request<Body>,
    ) -> (StatusCode, http::HeaderMap, Value) {
        let response = self.api.call(request).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        (head.status, head.headers, value)
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
        let (status, headers, value) = self.send(request).await;
        assert_eq!(headers["content-type"], "application/json");
        (status, value)
    }

    async fn ask(&self, body: &Value) -> (StatusCode, Value) {
        self.post("/v1/authorize", body.to_string()).await
    }
}

fn question(principal: &str, resource: &str) -> Value {
    json!({
        "principal": { "type": "User", "id": principal },
        "action": { "type": "Action", "id": "view" },
        "resource": format!("User::{}", json!(resource)),
    })
}

fn with(mut value: Value, key: &str, member: Value) -> Value {
    value[key] = member;
    value
}

fn code(value: &Value) -> &str {
    value["error"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn an_answer_has_exactly_its_fields() {
    let served = serve(ApiLimits::default());
    let request = Request::post("/v1/authorize")
        .header("content-type", "application/json; charset=utf-8")
        .header("x-request-id", "caller-1")
        .body(Body::from(question("ann", "ann").to_string()))
        .unwrap();
    let (status, headers, answer) = served.send(request).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["x-request-id"], "caller-1");
    assert_eq!(headers["cache-control"], "no-store");
    let expected = json!({
        "decision": "ALLOW",
        "determining_policies": ["own"],
        "errors": [],
        "source": "engine",
        "revision": &**served.pdp.snapshot().revision(),
        "request_id": "caller-1",
    });
    assert_eq!(answer, expected);
    let order: Vec<_> = answer.as_object().unwrap().keys().collect();
    assert_eq!(
        order,
        [
            "decision",
            "determining_policies",
            "errors",
            "source",
            "revision",
            "request_id"
        ]
    );
}

#[tokio::test]
async fn decisions() {
    let served = serve(ApiLimits::default());
    let own = question("ann", "ann");
    for (body, decision, policies, errors) in [
        (own.clone(), "ALLOW", json!(["own"]), 0),
        (question("ann", "ben"), "DENY", json!([]), 0),
        (
            with(own.clone(), "context", json!({ "mfa": false })),
            "DENY",
            json!(["mfa"]),
            0,
        ),
        (
            with(own.clone(), "context", Value::Null),
            "ALLOW",
            json!(["own"]),
            0,
        ),
        (
            with(own.clone(), "context", json!({ "other": 1 })),
            "DENY",
            json!([]),
            1,
        ),
        (
            with(own.clone(), "action", json!("view")),
            "ALLOW",
            json!(["own"]),
            0,
        ),
        (
            with(own.clone(), "action", json!("Action::\"view\"")),
            "ALLOW",
            json!(["own"]),
            0,
        ),
        (
            with(own.clone(), "action", json!("Shop::Action::\"view\"")),
            "ALLOW",
            json!(["own"]),
            0,
        ),
        (
            with(own.clone(), "action", json!("unknown")),
            "DENY",
            json!([]),
            1,
        ),
        (
            with(own.clone(), "principal", json!("Other::User::\"ann\"")),
            "DENY",
            json!([]),
            1,
        ),
        (
            with(own.clone(), "consistency", json!("fully_consistent")),
            "ALLOW",
            json!(["own"]),
            0,
        ),
        (
            with(
                with(own.clone(), "action", json!("fail")),
                "entities",
                json!([{ "uid": { "type": "Shop::User", "id": "ann" }, "attrs": { "age": 1 }, "parents": [] }]),
            ),
            "DENY",
            json!([]),
            1,
        ),
    ] {
        let (status, answer) = served.ask(&body).await;
        assert_eq!(status, StatusCode::OK, "{body} {answer}");
        assert_eq!(answer["decision"], decision, "{body} {answer}");
        assert_eq!(answer["determining_policies"], policies, "{body} {answer}");
        assert_eq!(
            answer["errors"].as_array().unwrap().len(),
            errors,
            "{body} {answer}"
        );
        assert_eq!(answer["source"], "engine");
        assert!(answer.get("explanation").is_none());
    }
}

#[tokio::test]
async fn an_explanation_is_given_on_request() {
    let served = serve(ApiLimits::default());
    let explained = |body: Value| with(body, "explain", json!(true));
    let (_, answer) = served.ask(&explained(question("ann", "ann"))).await;
    let policy = json!({ "id": "own", "effect": "permit", "annotations": { "id": "own", "why": "one's own" } });
    assert_eq!(
        answer["explanation"],
        json!({ "reason": "permitted", "policies": [policy] })
    );
    for (body, reason) in [
        (question("ann", "ben"), "not_permitted"),
        (
            with(question("ann", "ann"), "context", json!({ "mfa": false })),
            "forbidden",
        ),
        (
            with(question("ann", "ann"), "action", json!("nope")),
            "outside_schema",
        ),
    ] {
        assert_eq!(
            served.ask(&explained(body)).await.1["explanation"]["reason"],
            reason
        );
    }
}

#[tokio::test]
async fn what_is_no_question_is_refused() {
    let limits = ApiLimits {
        request_bytes: ByteSize(2000),
        ..ApiLimits::default()
    };
    let served = serve(limits);
    let own = question("ann", "ann");
    let text = own.to_string();
    let duplicate = text.replacen('{', "{\"action\":\"view\",", 1);
    let twice = with(own.clone(), "context", json!({ "a": 1 }))
        .to_string()
        .replace("\"a\":1", "\"a\":1,\"a\":1");
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    for (body, status, expected) in [
        (String::new(), 400, "invalid_request"),
        ("{}".to_owned(), 400, "invalid_request"),
        ("[]".to_owned(), 400, "invalid_request"),
        (
            json!([
                own["principal"],
                own["action"],
                own["resource"],
                null,
                null,
                null,
                null
            ])
            .to_string(),
            400,
            "invalid_request",
        ),
        ("null".to_owned(), 400, "invalid_request"),
        ("\"x\"".to_owned(), 400, "invalid_request"),
        (format!("{text} {text}"), 400, "invalid_request"),
        (
            text.replace("principal", "principle"),
            400,
            "invalid_request",
        ),
        (duplicate, 400, "invalid_request"),
        (twice, 400, "invalid_request"),
        (
            with(own.clone(), "extra", json!(1)).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "principal", json!({ "type": "User" })).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(
                own.clone(),
                "principal",
                json!({ "type": "User", "id": "a", "x": 1 }),
            )
            .to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "principal", json!({ "type": "User", "id": 1 })).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(
                own.clone(),
                "principal",
                json!({ "type": "Us er", "id": "a" }),
            )
            .to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "principal", json!("User::ann")).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "principal", json!("ann")).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "action", json!("Action::\"view")).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "context", json!("x")).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "context", json!({ "mfa": null })).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "context", json!({ "mfa": { "__expr": "1" } })).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "entities", json!({})).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "entities", json!([1])).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "consistency", json!("sometimes")).to_string(),
            400,
            "invalid_request",
        ),
        (
            with(own.clone(), "explain", json!("yes")).to_string(),
            400,
            "invalid_request",
        ),
        (deep, 400, "too_deep"),
        (
            with(own.clone(), "principal", json!("x".repeat(3000))).to_string(),
            413,
            "body_too_large",
        ),
    ] {
        let (got, answer) = served.post("/v1/authorize", body.clone()).await;
        assert_eq!(
            (got.as_u16(), code(&answer)),
            (status, expected),
            "{body} {answer}"
        );
        let object = answer.as_object().unwrap();
        assert_eq!(
            object.keys().collect::<Vec<_>>(),
            ["error", "retry", "request_id"]
        );
        assert_eq!(
            answer["retry"],
            json!({ "retryable": false, "retry_after": null })
        );
        assert_eq!(answer["request_id"].as_str().unwrap().len(), 32);
        assert!(!answer["error"]["message"].as_str().unwrap().contains('\n'));
    }
    let (got, answer) = served.post("/v1/authorize", vec![b'"', 0xff, b'"']).await;
    assert_eq!(
        (got, code(&answer)),
        (StatusCode::BAD_REQUEST, "invalid_request")
    );
}

#[tokio::test]
async fn only_what_is_there_is_served() {
    let served = serve(ApiLimits::default());
    let send = async |method: Method, path: &str, content_type: Option<&str>| {
        let mut request = Request::new(Body::from(question("ann", "ann").to_string()));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        if let Some(content_type) = content_type {
            request
                .headers_mut()
                .insert("content-type", content_type.parse().unwrap());
        }
        served.send(request).await
    };
    let (status, headers, answer) = send(Method::GET, "/v1/authorize", None).await;
    assert_eq!(
        (status.as_u16(), code(&answer)),
        (405, "method_not_allowed")
    );
    assert_eq!(headers["allow"], "POST");
    let (status, _, answer) = send(Method::POST, "/v1/authorize/", None).await;
    assert_eq!((status.as_u16(), code(&answer)), (404, "not_found"));
    assert_eq!(
        send(Method::POST, "/v1/authorize", None).await.0,
        StatusCode::OK
    );
    for wrong in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "",
    ] {
        let (status, _, answer) = send(Method::POST, "/v1/authorize", Some(wrong)).await;
        assert_eq!(
            (status.as_u16(), code(&answer)),
            (415, "unsupported_media_type"),
            "{wrong}"
        );
    }
    let (status, _, answer) = send(Method::GET, "/v1/revision", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["revision"], &**served.pdp.snapshot().revision());
}

#[tokio::test]
async fn a_request_id_is_taken_only_if_it_can_stand_in_a_log() {
    let served = serve(ApiLimits::default());
    let longest = "x".repeat(128);
    let long = "x".repeat(129);
    for (given, kept) in [
        (&["a-1"][..], true),
        (&[longest.as_str()], true),
        (&[long.as_str()], false),
        (&["a b"], false),
        (&[""], false),
        (&["a", "b"], false),
    ] {
        let mut request = Request::get("/v1/revision").body(Body::empty()).unwrap();
        for value in given {
            request
                .headers_mut()
                .append("x-request-id", value.parse().unwrap());
        }
        let (_, headers, answer) = served.send(request).await;
        assert_eq!(headers["x-request-id"] == given[0], kept, "{given:?}");
        assert_eq!(
            answer["request_id"],
            headers["x-request-id"].to_str().unwrap()
        );
    }
}

#[tokio::test]
async fn strangers_are_refused_before_their_body_is_read() {
    let served = serve(ApiLimits::default());
    let remote: Address = "0.0.0.0:8180".parse().unwrap();
    let api = DecisionApi::new(
        Arc::clone(&served.pdp),
        Callers::new(&[], &remote),
        ApiLimits::default(),
        AvpApiConfig::default(),
        Bearers::default(),
        plain(&served.pdp),
    );
    for path in [
        "/v1/authorize",
        "/v1/authorize/batch",
        "/",
        "/access/v1/evaluation",
        "/v1/nothing",
    ] {
        let request = Request::post(path).body(Body::new(Never)).unwrap();
        let response = api.call(request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(response.headers().contains_key("x-request-id"));
    }
}

/// What goes past the router is answered as the router would have it answered.
#[tokio::test]
async fn the_way_past_the_router_is_no_other_way() {
    let limits = ApiLimits {
        request_bytes: ByteSize(400),
        ..ApiLimits::default()
    };
    let mut served = serve(limits.clone());
    let good = question("ann", "ann").to_string();
    let long = format!("{good}{}", " ".repeat(400));
    let length = long.len().to_string();
    let heads: [&[(&str, &str)]; 9] = [
        &[],
        &[("content-type", "application/json")],
        &[("content-type", "Application/JSON ; charset=utf-8")],
        &[("content-type", "text/plain")],
        &[
            ("content-type", "application/json"),
            ("content-type", "text/plain"),
        ],
        &[("content-length", &length)],
        &[("content-length", "x")],
        &[("authorization", "Bearer nobody")],
        &[
            ("x-amz-target", "VerifiedPermissions.IsAuthorized"),
            ("origin", "https://x.example"),
        ],
    ];
    let paths = [
        "/v1/authorize",
        "/v1/authorize?explain=true",
        "/v1/authorize/",
        "//v1/authorize",
        "/v1/authorize/../authorize",
        "/v1/%61uthorize",
        "/V1/authorize",
        "/v1/authorize;x",
        "http://elsewhere.example/v1/authorize",
    ];
    for remote in [false, true] {
        if remote {
            served.api = DecisionApi::new(
                Arc::clone(&served.pdp),
                Callers::new(&[], &"0.0.0.0:8180".parse::<Address>().unwrap()),
                limits.clone(),
                AvpApiConfig::default(),
                Bearers::default(),
                plain(&served.pdp),
            );
        }
        for method in ["POST", "GET", "HEAD", "OPTIONS", "PUT", "post", "TRACE"] {
            for (path, head) in paths.iter().flat_map(|path| heads.map(|head| (path, head))) {
                for body in [good.as_str(), "", "{}", "[]", &long] {
                    let request = || {
                        let request = Request::builder().method(method).uri(*path);
                        let request = request.header("x-request-id", "one");
                        head.iter()
                            .fold(request, |request, (name, value)| {
                                request.header(*name, *value)
                            })
                            .body(Body::from(body.to_owned()))
                            .unwrap()
                    };
                    let (status, mut headers, answer) = served.send(request()).await;
                    let routed = served.api.router.clone().call(request()).await.unwrap();
                    let (routed, rest) = routed.into_parts();
                    let rest = rest.collect().await.unwrap().to_bytes();
                    // Whoever writes the answer says how long it is.
                    let mut expected = routed.headers;
                    headers.remove("content-length");
                    expected.remove("content-length");
                    let told = format!("{remote} {method} {path} {head:?} {body}");
                    assert_eq!((status, headers), (routed.status, expected), "{told}");
                    let expected = serde_json::from_slice(&rest).unwrap_or(Value::Null);
                    assert_eq!(answer, expected, "{told}");
                }
            }
        }
    }
}

/// A body that never comes.
struct Never;

impl http_body::Body for Never {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

/// A body that comes in these pieces, and trailers behind them.
struct Pieces(Vec<bytes::Bytes>);

impl http_body::Body for Pieces {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Ready(self.0.pop().map(|piece| match piece.is_empty() {
            true => Ok(http_body::Frame::trailers(http::HeaderMap::new())),
            false => Ok(http_body::Frame::data(piece)),
        }))
    }
}

#[tokio::test]
async fn a_body_is_the_same_in_however_many_pieces_it_comes() {
    let whole = question("ann", "ann").to_string();
    for limit in [whole.len(), whole.len() - 1] {
        let limits = ApiLimits {
            request_bytes: ByteSize(limit as u64),
            ..ApiLimits::default()
        };
        let served = serve(limits);
        for size in [1, 2, 7, whole.len() - 1, whole.len()] {
            let pieces = whole.as_bytes().chunks(size);
            let mut pieces: Vec<_> = pieces.map(bytes::Bytes::copy_from_slice).collect();
            pieces.push(bytes::Bytes::new());
            pieces.reverse();
            let request = Request::post("/v1/authorize").body(Body::new(Pieces(pieces)));
            let (status, _, answer) = served.send(request.unwrap()).await;
            if limit == whole.len() {
                assert_eq!(status, StatusCode::OK, "{size}: {answer}");
                assert_eq!(answer["decision"], "ALLOW", "{size}");
            } else {
                assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{size}: {answer}");
                assert_eq!(answer["error"]["code"], "body_too_large");
            }
        }
    }
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_its_bad_items_to_themselves() {
    let served = serve(ApiLimits::default());
    let body = json!({
        "principal": "User::\"ann\"",
        "action": "view",
        "context": { "mfa": true },
        "requests": [
            { "resource": "User::\"ann\"" },
            { "resource": "User::\"ben\"" },
            { "principal": "User::\"ben\"", "resource": "User::\"ben\"" },
            { "resource": "User::\"ann\"", "context": { "mfa": false } },
            {},
            7,
            { "resource": "User::\"ann\"", "what": 1 },
            { "resource": "User::\"ann\"", "context": { "other": 1 } },
            { "resource": "User::\"ann\"", "explain": true },
        ],
    });
    let (status, answer) = served.post("/v1/authorize/batch", body.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let results = answer["results"].as_array().unwrap();
    let decisions: Vec<_> = results
        .iter()
        .map(|result| result["decision"].as_str().unwrap())
        .collect();
    assert_eq!(
        decisions,
        [
            "ALLOW", "DENY", "ALLOW", "DENY", "DENY", "DENY", "DENY", "DENY", "ALLOW"
        ]
    );
    assert_eq!(results[3]["determining_policies"], json!(["mfa"]));
    for unread in &results[4..7] {
        assert_eq!(code(unread), "invalid_request");
        assert_eq!(unread["source"], "fail_closed");
    }
    assert_eq!(
        results[0].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["decision", "determining_policies", "errors", "source"]
    );
    assert!(results[7].get("error").is_none() && results[7]["errors"][0]["policy"].is_null());
    assert_eq!(results[8]["explanation"]["reason"], "permitted");
    assert_eq!(answer["revision"], &**served.pdp.snapshot().revision());
    let (status, answer) = served
        .post("/v1/authorize/batch", r#"{"requests":[]}"#)
        .await;
    assert_eq!((status, &answer["results"]), (StatusCode::OK, &json!([])));
    for bad in [
        "{}",
        "[]",
        r#"{"requests":{}}"#,
        r#"{"requests":[],"x":1}"#,
        r#"{"requests":[],"action":1}"#,
    ] {
        assert_eq!(
            served.post("/v1/authorize/batch", bad).await.0,
            StatusCode::BAD_REQUEST,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn default_entities_are_those_of_every_item() {
    let served = serve(ApiLimits::default());
    let entity = |id: &str| json!([{ "uid": { "type": "Shop::User", "id": id }, "attrs": { "age": 1 }, "parents": [] }]);
    let items = |defaults: Value| {
        json!({ "principal": "User::\"ann\"", "action": "fail", "resource": "User::\"ann\"", "entities": defaults,
                "requests": [{}, { "entities": [] }] })
    };
    let (_, answer) = served
        .post("/v1/authorize/batch", items(entity("ann")).to_string())
        .await;
    assert_eq!(answer["results"][0]["errors"][0]["policy"], "fail");
    assert_eq!(answer["results"][1]["decision"], "ALLOW");
    let (_, answer) = served
        .post("/v1/authorize/batch", items(json!([{}])).to_string())
        .await;
    assert_eq!(code(&answer["results"][0]), "invalid_request");
    assert_eq!(answer["results"][1]["decision"], "ALLOW");
}

#[tokio::test]
async fn a_batch_is_bounded() {
    let limits = ApiLimits {
        batch_items: 3,
        batch_bytes: ByteSize(5000),
        ..ApiLimits::default()
    };
    let served = serve(limits);
    let batch =
        |items: usize| json!({ "requests": vec![question("ann", "ann"); items] }).to_string();
    assert_eq!(
        served.post("/v1/authorize/batch", batch(3)).await.0,
        StatusCode::OK
    );
    let (status, answer) = served.post("/v1/authorize/batch", batch(4)).await;
    assert_eq!((status.as_u16(), code(&answer)), (413, "batch_too_large"));
    let (status, answer) = served.post("/v1/authorize/batch", batch(400)).await;
    assert_eq!((status.as_u16(), code(&answer)), (413, "body_too_large"));

    let served = serve(ApiLimits {
        batch_cpu: Span(Duration::from_nanos(1)),
        ..ApiLimits::default()
    });
    let (status, answer) = served.post("/v1/authorize/batch", batch(50)).await;
    assert_eq!(status, StatusCode::OK);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 50);
    for result in results {
        assert_eq!(
            (code(result), &result["decision"]),
            ("budget_exhausted", &json!("DENY"))
        );
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z\"\\\\:]{0,12}".prop_map(Value::from),
        Just(json!("User::\"ann\"")),
        Just(json!({ "type": "User", "id": "ann" })),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let key = prop_oneof![
            "[a-z]{1,4}",
            Just("principal".to_owned()),
            Just("action".to_owned()),
            Just("resource".to_owned()),
            Just("context".to_owned()),
            Just("entities".to_owned()),
            Just("__entity".to_owned()),
            Just("__extn".to_owned()),
            Just("uid".to_owned()),
            Just("attrs".to_owned()),
            Just("parents".to_owned()),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn read(body: &[u8]) {
    use std::sync::LazyLock;
    static SERVED: LazyLock<Served> = LazyLock::new(|| serve(ApiLimits::default()));
    let snapshot = SERVED.pdp.snapshot();
    if let Ok(Some(question)) = read_bytes(body, 32, &snapshot, SERVED.pdp.namespace()) {
        let _ = snapshot.decide(&question);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&body);
    }

    #[test]
    fn no_json_makes_it_panic(value in value()) {
        read(value.to_string().as_bytes());
    }

    #[test]
    fn no_context_and_no_entities_make_it_panic(context in value(), entities in value()) {
        let mut body = with(question("ann", "ann"), "context", context);
        body["entities"] = json!([entities]);
        read(body.to_string().as_bytes());
    }
}

//! The native decision API: single, batch, and everything that is not a question.

use crate::harness::cases;
use crate::harness::http1::{Answer, Client, exchange, get, post};
use crate::harness::sidecar::Sidecar;
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use serde_json::{Value, json};

fn question(principal: &str, action: &str, resource: &str) -> Value {
    json!({
        "principal": {"type": "User", "id": principal}, "action": action, "resource": {"type": "Document", "id": resource},
    })
}

fn with(question: &Value, members: Value) -> Value {
    crate::harness::tokens::with(question, members)
}

fn ask(sidecar: &Sidecar, body: &Value) -> Answer {
    post(sidecar.decisions(), "/v1/authorize", "", &body.to_string())
}

fn start() -> (Upstream, Sidecar) {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    (upstream, sidecar)
}

#[test]
fn one_question() {
    let (upstream, sidecar) = start();
    let view = question("rita", "view", "report");
    let group = |role: &str| json!({"uid": {"type": "Depot::User", "id": "nia"}, "attrs": {}, "parents": [{"type": "Depot::Role", "id": role}]});
    let cedar = json!({"principal": "Depot::User::\"rita\"", "action": "Depot::Action::\"view\"", "resource": "Depot::Document::\"report\""});
    let full = json!({
        "principal": {"type": "Depot::User", "id": "rita"}, "action": {"type": "Depot::Action", "id": "view"},
        "resource": {"type": "Depot::Document", "id": "report"}, "context": {"urgent": true}, "entities": [],
        "consistency": "fully_consistent", "explain": false,
    });
    let rows: Vec<(&str, Value, &str, Value, usize)> = vec![
        ("allowed", view.clone(), "ALLOW", json!(["readers_view"]), 0),
        ("Cedar syntax", cedar, "ALLOW", json!(["readers_view"]), 0),
        ("every field", full, "ALLOW", json!(["readers_view"]), 0),
        ("denied by nobody", question("rita", "edit", "report"), "DENY", json!([]), 0),
        ("forbidden", question("rita", "view", "secret"), "DENY", json!(["confidential"]), 0),
        ("by an attribute", question("olga", "edit", "plan"), "ALLOW", json!(["owners_edit"]), 0),
        ("someone unknown", question("nobody", "view", "report"), "DENY", json!([]), 0),
        ("someone unknown, supplied", with(&question("nia", "view", "report"), json!({"entities": [group("reader")]})), "ALLOW", json!(["readers_view"]), 0),
        (
            "the stored one, replaced",
            with(&view, json!({"entities": [{"uid": {"type": "Depot::User", "id": "rita"}, "attrs": {}, "parents": []}]})),
            "DENY",
            json!([]),
            0,
        ),
        ("an unknown action", question("rita", "fly", "report"), "DENY", json!([]), 1),
        ("an action for another resource", question("rita", "administer", "report"), "DENY", json!([]), 1),
        ("an unknown type", with(&view, json!({"resource": {"type": "Ship", "id": "1"}})), "DENY", json!([]), 1),
        ("an undeclared context attribute", with(&view, json!({"context": {"weather": "fine"}})), "DENY", json!([]), 1),
        ("a context attribute of another type", with(&view, json!({"context": {"urgent": "yes"}})), "DENY", json!([]), 1),
        (
            "an undeclared entity attribute",
            with(&view, json!({"entities": [{"uid": {"type": "Depot::User", "id": "rita"}, "attrs": {"shoe": 42}, "parents": []}]})),
            "DENY",
            json!([]),
            1,
        ),
    ];
    let revision = get(sidecar.decisions(), "/v1/revision", "").json()["revision"].clone();
    assert!(revision.is_string());
    let mut failures = Vec::new();
    for (what, body, decision, policies, errors) in rows {
        let answer = ask(&sidecar, &body);
        let said: Value = serde_json::from_slice(&answer.body.bytes).unwrap_or_default();
        let is_good = answer.status == 200
            && said["decision"] == decision
            && said["determining_policies"] == policies
            && said["errors"].as_array().is_some_and(|list| list.len() == errors)
            && said["source"] == "engine"
            && said["revision"] == revision
            && said["request_id"].is_string();
        if !is_good {
            failures.push(format!("{what}: {body}\n    got {} {}", answer.status, answer.text()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let explained = ask(&sidecar, &with(&view, json!({"explain": true}))).json();
    assert_eq!(explained["explanation"]["reason"], "permitted");
    assert_eq!(explained["explanation"]["policies"][0]["id"], "readers_view");
    upstream.assert_untouched();
}

#[test]
fn what_is_no_question() {
    let (_upstream, sidecar) = start();
    let good = question("rita", "view", "report");
    let text = good.to_string();
    let deep = format!("{{\"context\":{}1{},{}", "{\"a\":".repeat(100), "}".repeat(100), &text[1..]);
    let very_deep = format!("{{\"context\":{}", "[".repeat(500_000));
    let bad = "invalid_request";
    let rows: Vec<(&str, String, u16, &str)> = vec![
        ("nothing", String::new(), 400, bad),
        ("not JSON", "principal=rita".into(), 400, bad),
        ("an array", format!("[{text}]"), 400, bad),
        ("a string", "\"ALLOW\"".into(), 400, bad),
        ("null", "null".into(), 400, bad),
        ("cut short", text[..text.len() - 1].into(), 400, bad),
        ("bytes behind it", format!("{text} {text}"), 400, bad),
        ("an empty object", "{}".into(), 400, bad),
        ("no principal", with(&good, json!({"principal": null})).to_string(), 400, bad),
        ("no action", with(&good, json!({"action": null})).to_string(), 400, bad),
        ("no resource", with(&good, json!({"resource": null})).to_string(), 400, bad),
        ("an unknown field", with(&good, json!({"subject": 1})).to_string(), 400, bad),
        ("a misspelt field", with(&good, json!({"Context": {}})).to_string(), 400, bad),
        ("an unknown field of an entity", with(&good, json!({"principal": {"type": "User", "id": "rita", "name": "R"}})).to_string(), 400, bad),
        ("a principal without id", with(&good, json!({"principal": {"type": "User"}})).to_string(), 400, bad),
        ("a numeric id", with(&good, json!({"principal": {"type": "User", "id": 1}})).to_string(), 400, bad),
        ("a type that is none", with(&good, json!({"principal": {"type": "Us er", "id": "rita"}})).to_string(), 400, bad),
        ("an empty type", with(&good, json!({"principal": {"type": "", "id": "rita"}})).to_string(), 400, bad),
        ("a principal in bad syntax", with(&good, json!({"principal": "Depot::User::rita"})).to_string(), 400, bad),
        ("a principal that is a number", with(&good, json!({"principal": 7})).to_string(), 400, bad),
        ("a principal twice", format!("{{\"principal\":\"Depot::User::\\\"root\\\"\",{}", &text[1..]), 400, bad),
        ("a context member twice", format!("{{\"context\":{{\"urgent\":true,\"urgent\":false}},{}", &text[1..]), 400, bad),
        ("a context that is an array", with(&good, json!({"context": []})).to_string(), 400, bad),
        ("entities that are an object", with(&good, json!({"entities": {}})).to_string(), 400, bad),
        (
            "an unknown member of an entity",
            with(&good, json!({"entities": [{"uid": {"type": "Depot::User", "id": "rita"}, "attrs": {}, "parents": [], "tag": {}}]})).to_string(),
            400,
            bad,
        ),
        ("a huge number", format!("{{\"context\":{{\"a\":1e999}},{}", &text[1..]), 400, bad),
        ("a number of many digits", format!("{{\"context\":{{\"a\":{}}},{}", "9".repeat(100_000), &text[1..]), 400, bad),
        ("a principal twice, once escaped", format!("{{\"princip\\u0061l\":\"Depot::User::\\\"root\\\"\",{}", &text[1..]), 400, bad),
        ("a byte order mark", format!("\u{feff}{text}"), 400, bad),
        ("an entity without uid", with(&good, json!({"entities": [{"attrs": {}}]})).to_string(), 400, bad),
        ("an unknown consistency", with(&good, json!({"consistency": "eventual"})).to_string(), 400, bad),
        ("explain as text", with(&good, json!({"explain": "yes"})).to_string(), 400, bad),
        ("a lone surrogate", text.replace("rita", "\\ud800"), 400, bad),
        ("deep", deep, 400, "too_deep"),
        ("very deep and never closed", very_deep, 400, "too_deep"),
        ("large", with(&good, json!({"context": {"a": "x".repeat(1 << 20)}})).to_string(), 413, "body_too_large"),
    ];
    let mut failures = Vec::new();
    for (what, body, status, code) in rows {
        let answer = post(sidecar.decisions(), "/v1/authorize", "", &body);
        if (answer.status, answer.code().as_str()) != (status, code) || !answer.json()["request_id"].is_string() {
            failures.push(format!("{what}: expected {status} {code}, got {} {}", answer.status, answer.text()));
        }
    }
    let at = sidecar.decisions();
    for (what, request, status) in [
        ("GET", "GET /v1/authorize HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(), 405),
        ("an unknown path", "GET /v2/authorize HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(), 404),
        ("telemetry", "GET /metrics HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(), 404),
        ("a form", format!("POST /v1/authorize HTTP/1.1\r\nHost: d\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}", text.len()), 415),
        ("both framings", "POST /v1/authorize HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("no host", "GET /v1/revision HTTP/1.1\r\n\r\n".to_owned(), 400),
    ] {
        let answer = exchange(at, request.as_bytes()).unwrap();
        if answer.status != status {
            failures.push(format!("{what}: expected {status}, got {} {}", answer.status, answer.text()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(ask(&sidecar, &good).json()["decision"], "ALLOW", "and it still answers");
}

/// Bytes that are no text, pieces that are too many, and requests that do not wait for each other.
#[test]
fn raw_bytes() {
    let (_upstream, sidecar) = start();
    let at = sidecar.decisions();
    let text = question("rita", "view", "report").to_string();
    let framed = |body: &[u8]| {
        let mut request =
            format!("POST /v1/authorize HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(body);
        request
    };
    for bytes in [b"\xff\xfe".as_slice(), b"\xc0\xaf", b"\xed\xa0\x80"] {
        let body: Vec<u8> = text.bytes().flat_map(|byte| if byte == b'r' { bytes.to_vec() } else { vec![byte] }).collect();
        let answer = exchange(at, &framed(&body)).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{bytes:?}: {}", answer.text());
    }
    let mut chunked = "POST /v1/authorize HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for _ in 0..100 {
        chunked.push_str("4000\r\n");
        chunked.push_str(&" ".repeat(0x4000));
        chunked.push_str("\r\n");
    }
    let answer = exchange(at, format!("{chunked}0\r\n\r\n").as_bytes()).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    let mut client = Client::connect(at);
    let denied = question("rita", "view", "secret").to_string();
    for _ in 0..20 {
        client.send(&[framed(text.as_bytes()), framed(b"{"), framed(denied.as_bytes())].concat());
    }
    for round in 0..20 {
        let statuses: Vec<_> = (0..3).map(|_| client.answer().unwrap()).map(|answer| (answer.status, answer.json()["decision"].clone())).collect();
        assert_eq!(statuses, [(200, json!("ALLOW")), (400, Value::Null), (200, json!("DENY"))], "round {round}");
    }
}

#[test]
fn batches() {
    let (_upstream, sidecar) = start();
    let batch = |body: &Value| post(sidecar.decisions(), "/v1/authorize/batch", "", &body.to_string());
    let answer = batch(&json!({
        "principal": {"type": "User", "id": "rita"},
        "action": "view",
        "requests": [
            {"resource": {"type": "Document", "id": "report"}},
            {"resource": {"type": "Document", "id": "secret"}},
            {"resource": {"type": "Document", "id": "report"}, "action": "edit"},
            {"resource": {"type": "Document", "id": "plan"}, "action": "edit", "principal": "Depot::User::\"olga\""},
            {},
            {"resource": {"type": "Document", "id": "report"}, "unknown": 1},
            {"resource": 7},
            "ALLOW",
            null,
            {"resource": {"type": "Ship", "id": "1"}},
            {"resource": {"type": "Document", "id": "report"}, "context": {"weather": "fine"}},
            {"resource": {"type": "Document", "id": "report"}},
        ],
    }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = answer.json();
    let results = said["results"].as_array().unwrap();
    let decisions: Vec<_> = results.iter().map(|result| result["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["ALLOW", "DENY", "DENY", "ALLOW", "DENY", "DENY", "DENY", "DENY", "DENY", "DENY", "DENY", "ALLOW"], "{said:#}");
    for (at, result) in results.iter().enumerate() {
        assert_eq!(result.get("error").is_some(), (4..=8).contains(&at), "{at}: {result}");
    }
    assert_eq!(results[1]["determining_policies"], json!(["confidential"]));
    assert_eq!(results[9]["errors"].as_array().unwrap().len(), 1);
    assert_eq!(results[10]["errors"].as_array().unwrap().len(), 1);
    assert!(said["revision"].is_string());
    assert_eq!(batch(&json!({"requests": []})).json()["results"], json!([]));

    let item = json!({"resource": {"type": "Document", "id": "report"}});
    let many = |count: usize| json!({"principal": {"type": "User", "id": "rita"}, "action": "view", "requests": vec![item.clone(); count]});
    let full = batch(&many(1000));
    assert_eq!(full.json()["results"].as_array().unwrap().len(), 1000);
    let over = batch(&many(1001));
    assert_eq!((over.status, over.code().as_str()), (413, "batch_too_large"));
    for body in ["{}", "[]", "{\"requests\":{}}", "{\"requests\":[],\"extra\":1}", "{\"requests\":[", "{\"requests\":[],\"requests\":[]}"] {
        let answer = post(sidecar.decisions(), "/v1/authorize/batch", "", body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{body}");
    }
    let deep = format!("{{\"requests\":[{}", "[".repeat(500_000));
    assert_eq!(post(sidecar.decisions(), "/v1/authorize/batch", "", &deep).status, 400);
}

/// What cannot be finished in time is denied and says so; the rest stands.
#[test]
fn a_batch_has_a_budget() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/decision_api", json!({"batch_cpu": "1ms"}));
    let sidecar = Sidecar::start(&workspace);
    let body = json!({"principal": {"type": "User", "id": "rita"}, "action": "view", "requests": vec![json!({"resource": {"type": "Document", "id": "report"}}); 1000]});
    let answer = post(sidecar.decisions(), "/v1/authorize/batch", "", &body.to_string()).json();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 1000);
    let last = &results[999];
    assert_eq!((last["decision"].as_str(), last["error"]["code"].as_str()), (Some("DENY"), Some("budget_exhausted")));
    let mut seen_exhausted = false;
    for result in results {
        let exhausted = result.get("error").is_some();
        assert!(exhausted || !seen_exhausted, "order holds");
        assert_eq!(result["decision"] == "ALLOW", !exhausted);
        seen_exhausted |= exhausted;
    }
}

#[test]
fn many_questions_on_one_connection() {
    let (_upstream, sidecar) = start();
    let mut client = Client::connect(sidecar.decisions());
    for round in 0..200 {
        let resource = if round % 3 == 0 { "secret" } else { "report" };
        let body = question("rita", "view", resource).to_string();
        let request = format!("POST /v1/authorize HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = client.send(request.as_bytes()).answer().unwrap();
        assert_eq!(answer.json()["decision"], if round % 3 == 0 { "DENY" } else { "ALLOW" });
    }
}

/// Case 196: operation has a listener of its own.
#[test]
fn telemetry_stands_apart() {
    let (upstream, sidecar) = start();
    for (path, holds) in [("/livez", "ok"), ("/readyz", "\"ready\":true"), ("/metrics", "portcullis_"), ("/version", "\"version\"")] {
        let answer = get(sidecar.telemetry(), path, "");
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().contains(holds), "{path}: {}", answer.text());
        assert_eq!(get(sidecar.proxy(), path, "").code(), "route_not_mapped", "{path}");
        cases::held(196, "403 route_not_mapped");
    }
    assert_eq!(get(sidecar.telemetry(), "/v1/revision", "").status, 404);
    upstream.assert_untouched();
}

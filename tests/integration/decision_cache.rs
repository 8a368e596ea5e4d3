//! Answers that are given again: over the API and to requests of the proxy, until what they saw changes.

use crate::harness::http1::{get, post};
use crate::harness::sidecar::Sidecar;
use crate::harness::tokens::{KEYS, claims};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, until};
use serde_json::{Value, json};

/// So many policies without a scope that looking an answer up is worth it.
fn dear() -> String {
    let policy = |n: usize| {
        format!(
            r#"@id("dear{n}") permit (principal, action == Depot::Action::"view", resource) when {{
                context has http && context.http.method == "GET" && principal in Depot::Role::"group{n}" &&
                resource has owner && resource.owner == "owner{n}"
            }};"#
        )
    };
    (0..400).map(policy).collect()
}

fn entities(owner: &str) -> String {
    json!([{"uid": {"type": "Depot::Document", "id": "ledger"}, "attrs": {"owner": owner}, "parents": []}]).to_string()
}

fn workspace(upstream: &Upstream) -> Workspace {
    let workspace = Workspace::new(upstream.address());
    workspace.write("policies/dear.cedar", &dear());
    workspace.write("entities.json", &entities("owner7"));
    workspace
}

fn question() -> Value {
    json!({
        "principal": "User::\"gina\"", "action": "view", "resource": "Document::\"ledger\"",
        "context": {"http": {"method": "GET", "path": "/", "host": "a", "client_ip": {"fn": "ip", "arg": "10.0.0.1"}}},
        "entities": [{"uid": {"type": "Depot::User", "id": "gina"}, "attrs": {}, "parents": [{"type": "Depot::Role", "id": "group7"}]}],
    })
}

fn ask(sidecar: &Sidecar, body: &Value) -> (String, String) {
    let said = post(sidecar.decisions(), "/v1/authorize", "", &body.to_string()).json();
    let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    (text("decision"), text("source"))
}

fn is(said: &(String, String), decision: &str, source: &str) -> bool {
    (said.0.as_str(), said.1.as_str()) == (decision, source)
}

#[test]
fn the_api_says_where_an_answer_comes_from() {
    let upstream = Upstream::start();
    let workspace = workspace(&upstream);
    let sidecar = Sidecar::start(&workspace);
    let asked = question();
    let ask = |body: &Value| ask(&sidecar, body);
    let expect = |body: &Value, decision: &str, source: &str| {
        let said = ask(body);
        assert!(is(&said, decision, source), "{decision} {source}: {said:?}");
    };
    expect(&asked, "ALLOW", "engine");
    expect(&asked, "ALLOW", "cache");
    // Of the request only the method is read.
    let mut elsewhere = asked.clone();
    elsewhere["context"]["http"]["path"] = json!("/other");
    expect(&elsewhere, "ALLOW", "cache");
    let mut other = asked.clone();
    other["context"]["http"]["method"] = json!("PUT");
    expect(&other, "DENY", "engine");
    let mut consistent = asked.clone();
    consistent["consistency"] = json!("fully_consistent");
    expect(&consistent, "ALLOW", "engine");
    let mut explained = asked.clone();
    explained["explain"] = json!(true);
    let said = post(sidecar.decisions(), "/v1/authorize", "", &explained.to_string()).json();
    assert_eq!((&said["source"], &said["explanation"]["reason"]), (&json!("cache"), &json!("permitted")), "{said}");
    assert_eq!(said["determining_policies"], json!(["dear7"]));

    let batch = json!({"requests": [asked, other, {"consistency": "fully_consistent"}], "principal": "User::\"gina\"", "action": "view",
        "resource": "Document::\"ledger\"", "context": asked["context"], "entities": asked["entities"]});
    let said = post(sidecar.decisions(), "/v1/authorize/batch", "", &batch.to_string()).json();
    let sources: Vec<&Value> = said["results"].as_array().unwrap().iter().map(|result| &result["source"]).collect();
    assert_eq!(sources, ["cache", "cache", "engine"], "{said}");

    let metrics = get(sidecar.telemetry(), "/metrics", "").text();
    for line in
        ["portcullis_decision_cache_total{result=\"hit\"} 5", "portcullis_decision_cache_total{result=\"miss\"} 2", "portcullis_decision_cache_entries 2"]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    upstream.assert_untouched();
}

#[test]
fn the_proxy_forwards_on_an_answer_given_again_until_an_entity_changes() {
    let upstream = Upstream::start();
    let workspace = workspace(&upstream);
    let sidecar = Sidecar::start(&workspace);
    let token = KEYS.token(&claims("gina", &["group7"]));
    let status = |id: &str| {
        let lines = format!("Authorization: Bearer {token}\r\nX-Request-ID: {id}\r\n");
        get(sidecar.proxy(), "/v1/documents/ledger", &lines).status
    };
    assert_eq!((status("first"), status("second")), (200, 200));
    until("both to be logged", PATIENCE, || {
        let log = sidecar.stdout();
        let sources = ["engine", "cache"].map(|source| log.matches(&format!("\"source\":\"{source}\"")).count());
        (sources == [1, 1]).then_some(())
    });
    workspace.write("entities.json", &entities("somebody"));
    until("the change to decide", PATIENCE, || (status("third") == 403).then_some(()));
    assert_eq!(status("fourth"), 403);
}

#[test]
fn nothing_is_kept_where_the_configuration_says_so() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream).set("/cache", json!({"max_entries": 0})));
    for _ in 0..2 {
        let said = ask(&sidecar, &question());
        assert!(is(&said, "ALLOW", "engine"), "{said:?}");
    }
}

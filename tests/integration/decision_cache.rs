//! Answers that are given again: over the API and to requests of the proxy, until what they saw changes.

use crate::harness::http1::{get, post};
use crate::harness::sidecar::Sidecar;
use crate::harness::table::{Expect, Table, bearer, with_lines};
use crate::harness::tokens::{KEYS, claims};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, cases, until};
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

/// Case 124: names that would be one text if they were joined are two questions.
#[test]
fn names_that_would_join_to_one_are_told_apart() {
    let upstream = Upstream::start();
    let workspace = workspace(&upstream);
    // One of the two may.
    workspace.write(
        "policies/named.cedar",
        r#"@id("named") permit (principal == Depot::User::"a:b", action == Depot::Action::"view", resource == Depot::Document::"c");"#,
    );
    let sidecar = Sidecar::start(&workspace);
    let named = |principal: &str, resource: &str| {
        let mut body = question();
        body["principal"] = json!({"type": "User", "id": principal});
        body["resource"] = json!({"type": "Document", "id": resource});
        ask(&sidecar, &body)
    };
    for source in ["engine", "cache"] {
        for (principal, resource, decision) in
            [("a:b", "c", "ALLOW"), ("a", "b:c", "DENY"), ("a:b:c", "", "DENY"), ("", "a:b:c", "DENY"), ("a:b\u{0}", "c", "DENY")]
        {
            let said = named(principal, resource);
            assert!(is(&said, decision, source), "{principal} {resource}: {said:?}");
        }
    }
    cases::held(124, "decided each for itself");
}

/// Case 125: an id may hold whatever it likes, and is nobody else's.
#[test]
fn ids_of_any_kind_have_answers_of_their_own() {
    let upstream = Upstream::start();
    let workspace = workspace(&upstream);
    let long = "x".repeat(10 * 1024);
    let ids = ["*", "led*", "ledger:", "a:b:c", "λόγος", "日誌\u{202e}", "a b", "?", "[a-z]", "\\", &long];
    let owned: Vec<Value> = ids.iter().map(|id| json!({"uid": {"type": "Depot::Document", "id": id}, "attrs": {"owner": "owner7"}, "parents": []})).collect();
    workspace.write("entities.json", &json!(owned).to_string());
    let sidecar = Sidecar::start(&workspace);
    for source in ["engine", "cache"] {
        for id in ids {
            let mut body = question();
            body["resource"] = json!({"type": "Document", "id": id});
            let said = ask(&sidecar, &body);
            // What is longer to read than to decide is not kept.
            let source = if id.len() > 1000 { "engine" } else { source };
            assert!(is(&said, "ALLOW", source), "{id:.20}: {said:?}");
        }
        let mut other = question();
        other["resource"] = json!({"type": "Document", "id": "ledger"});
        let said = ask(&sidecar, &other);
        assert!(is(&said, "DENY", source), "{said:?}");
    }
    let mut table = Table::new(&sidecar, &upstream);
    let token = KEYS.token(&claims("gina", &["group7"]));
    for (what, id, expect) in [
        ("a star", "*", Expect::Forwarded),
        ("colons", "a:b:c", Expect::Forwarded),
        ("letters of elsewhere", "%CE%BB%CF%8C%CE%B3%CE%BF%CF%82", Expect::Forwarded),
        ("another star", "**", Expect::Refused(403, "forbidden")),
        ("a name that a star would match", "ledger", Expect::Refused(403, "forbidden")),
    ] {
        table.row(125, what, &bearer("GET", &format!("/v1/documents/{id}"), &token), expect);
    }
    table.finish();
}

/// Case 126: from the moment that new policies decide, no answer of the old ones is given any more, however often they were given.
#[test]
fn new_policies_make_old_answers_unreachable() {
    let upstream = Upstream::start();
    let workspace = workspace(&upstream);
    let sidecar = Sidecar::start(&workspace);
    let revision = || get(sidecar.decisions(), "/v1/revision", "").json()["revision"].as_str().unwrap().to_owned();
    let (first, body) = (revision(), question());
    for source in ["engine", "cache", "cache"] {
        let said = ask(&sidecar, &body);
        assert!(is(&said, "ALLOW", source), "{said:?}");
    }
    let closed = r#"@id("closed") forbid (principal, action, resource == Depot::Document::"ledger");"#;
    workspace.write("policies/closed.cedar", closed);
    until("the new revision", PATIENCE, || {
        // Asked all the while, so that fills are under way when it changes.
        let (before, said) = (revision(), ask(&sidecar, &body));
        let expected = if before == first { said.0 == "ALLOW" || revision() != first } else { said.0 == "DENY" };
        assert!(expected, "{before}: {said:?}");
        (before != first).then_some(())
    });
    let mut table = Table::new(&sidecar, &upstream);
    let token = KEYS.token(&claims("gina", &["group7"]));
    table.row(126, "allowed by the old policies", &bearer("GET", "/v1/documents/ledger", &token), Expect::Refused(403, "forbidden"));
    assert_eq!(ask(&sidecar, &body).0, "DENY");
    workspace.remove("policies/closed.cedar");
    until("the old revision", PATIENCE, || (revision() == first).then_some(()));
    table.row(126, "allowed again", &bearer("GET", "/v1/documents/ledger", &token), Expect::Forwarded);
    table.finish();
}

/// Case 127: the same user with a token that says something else of them. Case 128: what a policy reads of the request is part
/// of the question.
#[test]
fn what_a_token_and_a_request_say_is_part_of_the_question() {
    let upstream = Upstream::start();
    let workspace = workspace(&upstream).set("/forwarded", json!({"trusted_peers": ["127.0.0.0/8"]}));
    let far = r#"@id("far") forbid (principal, action, resource) when { context has http && !context.http.client_ip.isInRange(ip("10.0.0.0/8")) };"#;
    workspace.write("policies/far.cedar", far);
    let sidecar = Sidecar::start(&workspace);
    let mut table = Table::new(&sidecar, &upstream);
    let request = |roles: &[&str], from: &str| {
        let token = KEYS.token(&claims("gina", roles));
        with_lines("GET", "/v1/documents/ledger", &format!("Authorization: Bearer {token}\r\nX-Forwarded-For: {from}\r\n"))
    };
    let denied = Expect::Refused(403, "forbidden");
    // Twice over, so that each is kept before it is asked again.
    for _ in 0..2 {
        table.row(127, "in the group", &request(&["group7"], "10.1.1.1"), Expect::Forwarded);
        table.row(127, "in the group no more", &request(&["group8"], "10.1.1.1"), denied);
        table.row(127, "in no group", &request(&[], "10.1.1.1"), denied);
        table.row(128, "from elsewhere", &request(&["group7"], "192.0.2.1"), denied);
        table.row(128, "from here", &request(&["group7"], "10.2.2.2"), Expect::Forwarded);
    }
    table.finish();
    let hits = get(sidecar.telemetry(), "/metrics", "").text();
    assert!(!hits.contains("portcullis_decision_cache_total{result=\"hit\"} 0\n"), "nothing came from the cache: {hits}");
}

//! The AuthZEN API: every request and its exact answer.

use crate::harness::http1::{Answer, exchange, get, post};
use crate::harness::sidecar::{Sidecar, run};
use crate::harness::tokens::{with, with_null};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, until};
use serde_json::{Value, json};

const TOKEN: &str = "c2VjcmV0LW9mLXRoZS1jYWxsZXI";

const PERMIT: &str = r#"{"decision":true}"#;
const DENY: &str = r#"{"decision":false}"#;

fn workspace(upstream: &Upstream) -> Workspace {
    let types = json!({"user": "User", "doc": "Document", "odd type": "Depot::Document"});
    Workspace::new(upstream.address()).set("/authzen", json!({"types": types}))
}

fn start() -> (Upstream, Sidecar) {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    (upstream, sidecar)
}

fn question(subject: &str, action: &str, resource: &str) -> Value {
    json!({"subject": {"type": "user", "id": subject}, "action": {"name": action}, "resource": {"type": "doc", "id": resource}})
}

/// The one check: requests to `path`, each with the status and the body that it gets.
#[track_caller]
fn check(sidecar: &Sidecar, path: &str, rows: &[(&str, String, u16, &str)]) {
    let mut failures = Vec::new();
    for (what, body, status, expected) in rows {
        let answer = post(sidecar.decisions(), path, "", body);
        let kind = if *status == 200 { "application/json" } else { "text/plain; charset=utf-8" };
        let fits = (answer.status, answer.text().as_str()) == (*status, *expected) && answer.head.get("content-type") == Some(kind);
        if !fits {
            let body: String = body.chars().take(300).collect();
            failures.push(format!("{what}: {body}\n  expected {status} {expected}\n       got {} {}", answer.status, answer.text()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn one_question() {
    let (upstream, sidecar) = start();
    let view = question("rita", "view", "report");
    let row = |what, question: Value, expected| (what, question.to_string(), 200, expected);
    let edit = |properties: Value| with(&question("olga", "edit", "report"), json!({"resource": {"type": "doc", "id": "report", "properties": properties}}));
    let rows = [
        row("permitted", view.clone(), PERMIT),
        row(
            "Cedar's own names",
            json!({"subject": {"type": "Depot::User", "id": "rita"}, "action": {"name": "Depot::Action::\"view\""}, "resource": {"type": "Document", "id": "report"}}),
            PERMIT,
        ),
        row("a type that Cedar could not be asked about", with(&view, json!({"resource": {"type": "odd type", "id": "report"}})), PERMIT),
        row("denied by nobody", question("rita", "edit", "report"), DENY),
        row("forbidden", question("rita", "view", "secret"), DENY),
        row("by a stored attribute", question("olga", "edit", "plan"), PERMIT),
        row("someone unknown", question("nobody", "view", "report"), DENY),
        row("an unknown action", question("rita", "fly", "report"), DENY),
        row("an action for another type", question("rita", "administer", "report"), DENY),
        row("an unknown type", with(&view, json!({"resource": {"type": "Ship", "id": "1"}})), DENY),
        row("a name that no type has", with(&view, json!({"subject": {"type": "urn:user \"x\"", "id": "rita"}})), DENY),
        row("an empty type", with(&view, json!({"subject": {"type": "", "id": "rita"}})), DENY),
        row("an empty id", question("", "view", ""), DENY),
        row("unknown members", with(&view, json!({"foo": "bar", "future": {"a": [1]}, "subject": {"type": "user", "id": "rita", "name": 7}})), PERMIT),
        row("members that are null", with_null(&with_null(&with_null(&view, "context"), "options"), "evaluations"), PERMIT),
        // Properties are laid over what is stored, for this question only.
        row("an attribute", edit(json!({"owner": "olga"})), PERMIT),
        row("which is gone again", question("olga", "edit", "report"), DENY),
        row(
            "another value than the stored one",
            with(&question("olga", "edit", "plan"), json!({"resource": {"type": "doc", "id": "plan", "properties": {"owner": "rita"}}})),
            DENY,
        ),
        row(
            "beside the stored ones",
            with(&question("olga", "edit", "plan"), json!({"resource": {"type": "doc", "id": "plan", "properties": {"confidential": false}}})),
            PERMIT,
        ),
        row("to forbid", with(&view, json!({"resource": {"type": "doc", "id": "report", "properties": {"confidential": true}}})), DENY),
        row("parents stay", with(&view, json!({"subject": {"type": "user", "id": "rita", "properties": {"department": "sales"}}})), PERMIT),
        row("no properties", edit(json!({})), DENY),
        row("undeclared properties", edit(json!({"owner": "olga", "shoe": 42.5, "null": null, "deep": [[[{}]]]})), PERMIT),
        row(
            "null is nothing",
            with(&question("olga", "edit", "plan"), json!({"resource": {"type": "doc", "id": "plan", "properties": {"owner": null}}})),
            PERMIT,
        ),
        row("a number for a text", edit(json!({"owner": 7})), DENY),
        row("a list for a text", edit(json!({"owner": ["olga"]})), DENY),
        row("an object for a text", edit(json!({"owner": {"__extn": {"fn": "unknown", "arg": "olga"}}})), DENY),
        row("a text for a truth value", with(&view, json!({"resource": {"type": "doc", "id": "report", "properties": {"confidential": "false"}}})), DENY),
        // The context, as far as it is declared.
        row("a declared context", with(&view, json!({"context": {"urgent": true}})), PERMIT),
        row("an undeclared one", with(&view, json!({"context": {"time": "1985-10-26T01:22-07:00", "weather": 1.5}})), PERMIT),
        row("a value of another type", with(&view, json!({"context": {"urgent": "yes"}})), DENY),
        row(
            "an address",
            with(&view, json!({"context": {"http": {"method": "GET", "path": "/", "host": "a", "client_ip": "10.0.0.1", "more": null}}})),
            PERMIT,
        ),
        row("no address", with(&view, json!({"context": {"http": {"method": "GET", "path": "/", "host": "a", "client_ip": "10.0.0.256"}}})), DENY),
        row("a part that is missing", with(&view, json!({"context": {"http": {"method": "GET"}}})), DENY),
        row("undeclared action properties", with(&view, json!({"action": {"name": "view", "properties": {"method": "GET"}}})), PERMIT),
        row("reasons that are not wanted", with(&view, json!({"options": {"explain": false, "other": 1}})), PERMIT),
    ];
    check(&sidecar, "/access/v1/evaluation", &rows);
    check(&sidecar, "/default/access/v1/evaluation", &rows);
    // Many of none are one.
    check(&sidecar, "/access/v1/evaluations", &rows);
    let none: Vec<_> =
        rows.into_iter().map(|(what, body, status, expected)| (what, format!("{{\"evaluations\":[],{}", &body[1..]), status, expected)).collect();
    let none: Vec<_> = none.into_iter().filter(|(_, body, ..)| !body.contains("\"evaluations\":null")).collect();
    check(&sidecar, "/access/v1/evaluations", &none);
    upstream.assert_untouched();
}

#[test]
fn what_is_no_question() {
    let (upstream, sidecar) = start();
    let good = question("rita", "view", "report");
    let text = good.to_string();
    let without = |name: &str| {
        let mut question = good.clone();
        question.as_object_mut().unwrap().remove(name);
        question.to_string()
    };
    let cannot = |rest: &str| format!("the body cannot be read: {rest}");
    let deep = format!("{{\"context\":{}1{},{}", "{\"a\":".repeat(100), "}".repeat(100), &text[1..]);
    let very_deep = format!("{{\"context\":{}", "[".repeat(500_000));
    let subject = |subject: Value| with(&good, json!({"subject": subject})).to_string();
    let rows: Vec<(&str, String, u16, String)> = vec![
        ("nothing", String::new(), 400, cannot("EOF while parsing a value at line 1 column 0")),
        ("not JSON", "subject=rita".into(), 400, cannot("expected value at line 1 column 1")),
        ("an array", format!("[{text}]"), 400, cannot("an array stands where an object belongs")),
        ("cut short", text[..text.len() - 1].into(), 400, cannot("EOF while parsing an object at line 1 column 103")),
        ("bytes behind it", format!("{text} {text}"), 400, cannot("trailing characters at line 1 column 106")),
        ("an empty object", "{}".into(), 400, "`subject` is missing".into()),
        ("no subject", without("subject"), 400, "`subject` is missing".into()),
        ("no action", without("action"), 400, "`action` is missing".into()),
        ("no resource", without("resource"), 400, "`resource` is missing".into()),
        ("a subject that is null", with_null(&good, "subject").to_string(), 400, "`subject` is missing".into()),
        ("a subject without type", subject(json!({"id": "rita"})), 400, "`subject.type` is missing".into()),
        ("a subject without id", subject(json!({"type": "user"})), 400, "`subject.id` is missing".into()),
        ("an action without name", with(&good, json!({"action": {}})).to_string(), 400, "`action.name` is missing".into()),
        ("a resource without type", with(&good, json!({"resource": {"id": "report"}})).to_string(), 400, "`resource.type` is missing".into()),
        ("a resource without id", with(&good, json!({"resource": {"type": "doc"}})).to_string(), 400, "`resource.id` is missing".into()),
        ("very deep and never closed", very_deep, 400, "the body nests more than 32 deep".into()),
        ("deep", deep, 400, "the body nests more than 32 deep".into()),
        ("large", with(&good, json!({"context": {"a": "x".repeat(1 << 20)}})).to_string(), 413, "the body is too large".into()),
    ];
    let rows: Vec<_> = rows.iter().map(|(what, body, status, expected)| (*what, body.clone(), *status, expected.as_str())).collect();
    check(&sidecar, "/access/v1/evaluation", &rows);

    // Of these only the status counts: the sentence names a place in the text.
    for (what, body) in [
        ("a string", "\"permit\"".into()),
        ("null", "null".into()),
        ("a subject that is a string", subject(json!("rita"))),
        ("a subject that is an array", subject(json!(["user", "rita"]))),
        ("a numeric id", subject(json!({"type": "user", "id": 1}))),
        ("properties that are an array", subject(json!({"type": "user", "id": "rita", "properties": []}))),
        ("a numeric action", with(&good, json!({"action": {"name": 123}})).to_string()),
        ("a context that is an array", with(&good, json!({"context": []})).to_string()),
        ("options that are an array", with(&good, json!({"options": []})).to_string()),
        ("explain as a text", with(&good, json!({"options": {"explain": "yes"}})).to_string()),
        ("a subject twice", format!("{{\"subject\":{{\"type\":\"user\",\"id\":\"root\"}},{}", &text[1..])),
        ("an id twice", text.replace("\"id\":\"rita\"", "\"id\":\"rita\",\"id\":\"root\"")),
        ("a property twice", subject(json!({"type": "user", "id": "rita", "properties": {"a": 1}})).replace("\"a\":1", "\"a\":1,\"\\u0061\":2")),
        ("a lone surrogate", text.replace("rita", "\\ud800")),
        ("a number out of range", with(&good, json!({"context": {"urgent": 7}})).to_string().replace('7', "1e999")),
        ("no UTF-8", text.replace("rita", "\u{1}")),
    ] {
        for path in ["/access/v1/evaluation", "/access/v1/evaluations"] {
            let answer = post(sidecar.decisions(), path, "", &body);
            assert_eq!((answer.status, answer.head.get("content-type")), (400, Some("text/plain; charset=utf-8")), "{what}: {body}\n{}", answer.text());
            assert!(!answer.text().is_empty() && !answer.text().contains('\n'), "{what}");
        }
    }
    let at = sidecar.decisions();
    let typed = |kind: &str| format!("POST /access/v1/evaluation HTTP/1.1\r\nHost: d\r\n{kind}Content-Length: {}\r\n\r\n{text}", text.len());
    for (what, request, status) in [
        ("JSON in a charset", typed("Content-Type: application/json; charset=utf-8\r\n"), 200),
        ("another kind of JSON", typed("Content-Type: application/ld+json\r\n"), 400),
        ("a text", typed("Content-Type: text/plain\r\n"), 400),
        ("a form", typed("Content-Type: application/x-www-form-urlencoded\r\n"), 400),
        ("no type", typed(""), 400),
        ("two types", typed("Content-Type: application/json\r\nContent-Type: application/json\r\n"), 400),
        ("GET", "GET /access/v1/evaluation HTTP/1.1\r\nHost: d\r\n\r\n".to_owned(), 405),
        ("an unknown path", "POST /access/v2/evaluation HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n".to_owned(), 404),
        ("another store", "POST /other/access/v1/evaluation HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n".to_owned(), 404),
    ] {
        let answer = exchange(at, request.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
    }
    upstream.assert_untouched();
}

#[test]
fn many_questions() {
    let (_upstream, sidecar) = start();
    let at = |id: &str| json!({"resource": {"type": "doc", "id": id}});
    let rita = json!({"subject": {"type": "user", "id": "rita"}, "action": {"name": "view"}});
    let many = |questions: Value, more: Value| with(&with(&rita, json!({"evaluations": questions})), more).to_string();
    let mixed = json!([at("report"), at("secret"), at("report")]);
    let semantic = |name: &str| json!({"options": {"evaluations_semantic": name}});
    let (yes, no) = (r#"{"decision":true}"#, r#"{"decision":false}"#);
    let list = |decisions: &[&str]| format!("{{\"evaluations\":[{}]}}", decisions.join(","));
    let error = |status: u16, message: &str| format!("{{\"decision\":false,\"context\":{{\"error\":{{\"status\":{status},\"message\":\"{message}\"}}}}}}");
    let no_resource = error(400, "`resource` is missing");
    let whole = json!([
        {"subject": {"type": "user", "id": "olga"}, "action": {"name": "edit"}, "resource": {"type": "doc", "id": "plan"}},
        {"subject": {"type": "user", "id": "rita"}, "action": {"name": "edit"}, "resource": {"type": "doc", "id": "plan"}},
    ]);
    let rows: Vec<(&str, String, u16, String)> = vec![
        ("all", many(mixed.clone(), json!({})), 200, list(&[yes, no, yes])),
        ("all, said so", many(mixed.clone(), semantic("execute_all")), 200, list(&[yes, no, yes])),
        ("up to a denial", many(mixed.clone(), semantic("deny_on_first_deny")), 200, list(&[yes, no])),
        ("up to a permission", many(mixed.clone(), semantic("permit_on_first_permit")), 200, list(&[yes])),
        ("no denial", many(json!([at("report"), at("report")]), semantic("deny_on_first_deny")), 200, list(&[yes, yes])),
        ("no permission", many(json!([at("secret"), at("secret")]), semantic("permit_on_first_permit")), 200, list(&[no, no])),
        (
            "an item that cannot be read is a denial",
            many(json!([at("report"), {}, at("report")]), semantic("deny_on_first_deny")),
            200,
            list(&[yes, &no_resource]),
        ),
        ("and no permission", many(json!([{}, at("report"), at("report")]), semantic("permit_on_first_permit")), 200, list(&[&no_resource, yes])),
        ("everything in the items", json!({"evaluations": whole}).to_string(), 200, list(&[yes, no])),
        ("nothing in an item", many(json!([{}]), at("report")), 200, list(&[yes])),
        // A member of an item replaces the whole member that all have in common.
        (
            "whole members",
            many(json!([at("report"), {}]), json!({"resource": {"type": "doc", "id": "report", "properties": {"confidential": true}}})),
            200,
            list(&[yes, no]),
        ),
        (
            "a context replaced",
            many(json!([with(&at("report"), json!({"context": {}})), at("report")]), json!({"context": {"urgent": 1}})),
            200,
            list(&[yes, no]),
        ),
        ("half a default, unused", many(json!([at("report")]), json!({"resource": {}, "context": {}})), 200, list(&[yes])),
        (
            "half a default, used",
            many(json!([at("report"), {}]), json!({"resource": {"type": "doc"}})),
            200,
            list(&[yes, &error(400, "`resource.id` is missing")]),
        ),
        (
            "half a member is not filled up",
            many(json!([{"resource": {"id": "report"}}]), json!({"resource": {"type": "doc", "id": "plan"}})),
            200,
            list(&[&error(400, "`resource.type` is missing")]),
        ),
        ("unknown members", many(json!([with(&at("report"), json!({"x": 1, "options": 7}))]), json!({"x": 1})), 200, list(&[yes])),
        (
            "items that are none",
            many(json!(["x", null, [at("report")], 7]), at("report")),
            200,
            list(&[
                &error(400, "the body cannot be read: invalid type: string \\\"x\\\", expected an object at line 1 column 3"),
                &error(400, "the body cannot be read: invalid type: null, expected an object at line 1 column 4"),
                &error(400, "the body cannot be read: an array stands where an object belongs"),
                &error(400, "the body cannot be read: invalid type: integer `7`, expected an object at line 1 column 1"),
            ]),
        ),
        ("none, and half a question", many(json!([]), json!({})), 400, "`resource` is missing".into()),
        ("too many", many(vec![json!({}); 1001].into(), json!({})), 413, "the batch holds more than 1000 requests".into()),
    ];
    let rows: Vec<_> = rows.iter().map(|(what, body, status, expected)| (*what, body.clone(), *status, expected.as_str())).collect();
    check(&sidecar, "/access/v1/evaluations", &rows);
    for body in [
        many(json!({}), json!({})),
        many(mixed.clone(), semantic("first_come")),
        many(mixed.clone(), json!({"options": {"evaluations_semantic": 1}})),
        many(mixed.clone(), json!({"subject": "rita"})),
        format!("{{\"evaluations\":[],{}", &many(mixed, json!({}))[1..]),
    ] {
        let answer = post(sidecar.decisions(), "/access/v1/evaluations", "", &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let full = post(sidecar.decisions(), "/access/v1/evaluations", "", &many(vec![at("report"); 1000].into(), json!({}))).json();
    let full = full["evaluations"].as_array().unwrap();
    assert!(full.len() == 1000 && full.iter().all(|decision| decision == &json!({"decision": true})));
}

/// What cannot be finished in time is denied and says so.
#[test]
fn many_questions_have_a_budget() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream).set("/decision_api", json!({"batch_cpu": "1ms"})));
    let body = with(&question("rita", "view", "report"), json!({"evaluations": vec![json!({}); 1000]}));
    let answer = post(sidecar.decisions(), "/access/v1/evaluations", "", &body.to_string()).json();
    let decisions = answer["evaluations"].as_array().unwrap();
    assert_eq!((decisions.len(), &decisions[999]["context"]["error"]["status"]), (1000, &json!(503)));
    assert!(decisions.iter().all(|decision| (decision["decision"] == true) != decision["context"].is_object()));
    let stopping = with(&body, json!({"options": {"evaluations_semantic": "deny_on_first_deny"}}));
    let answer = post(sidecar.decisions(), "/access/v1/evaluations", "", &stopping.to_string()).json();
    let decisions = answer["evaluations"].as_array().unwrap();
    assert!(decisions.len() < 1000 && decisions.last().unwrap()["decision"] == false, "and a denial ends it");
}

#[test]
fn reasons_are_given_where_they_are_asked_for() {
    let (_upstream, sidecar) = start();
    let ask =
        |question: &Value| post(sidecar.decisions(), "/access/v1/evaluation", "", &with(question, json!({"options": {"explain": true}})).to_string()).json();
    for (question, decision, reason, admin, policies) in [
        (question("rita", "view", "report"), true, "permitted", json!({"200": "permitted by `readers_view`"}), json!(["readers_view"])),
        (question("rita", "view", "secret"), false, "forbidden", json!({"403": "forbidden by `confidential`"}), json!(["confidential"])),
        (question("rita", "edit", "report"), false, "not_permitted", json!({"403": "no policy permits it"}), json!([])),
        (
            with(&question("rita", "view", "report"), json!({"context": {"urgent": 7}})),
            false,
            "outside_schema",
            json!({"403": "outside the schema: context: `urgent` is not a boolean"}),
            json!([]),
        ),
        (
            with(&question("rita", "view", "report"), json!({"subject": {"type": "a b", "id": "c"}})),
            false,
            "outside_schema",
            json!({"403": "outside the schema: subject: the schema has no such entity type"}),
            json!([]),
        ),
    ] {
        let answer = ask(&question);
        let context = &answer["context"];
        assert_eq!((&answer["decision"], &context["reason"]), (&json!(decision), &json!(reason)), "{question}: {answer}");
        assert_eq!((&context["reason_admin"], &context["determining_policies"]), (&admin, &policies), "{question}");
        assert_eq!(context["errors"].as_array().unwrap().is_empty(), reason != "outside_schema");
        assert!(context["revision"].is_string() && context["source"] == "engine");
    }
    let both = json!({"options": {"explain": true}, "evaluations": [{}, {"resource": {"type": "doc", "id": "secret"}}]});
    let answer = post(sidecar.decisions(), "/access/v1/evaluations", "", &with(&question("rita", "view", "report"), both).to_string()).json();
    assert_eq!(answer["evaluations"][0]["context"]["reason"], "permitted");
    assert_eq!(answer["evaluations"][1]["context"]["reason"], "forbidden");
}

#[test]
fn searches() {
    let (_upstream, sidecar) = start();
    let row = |what, body: Value, expected| (what, body.to_string(), 200, expected);
    let subjects = json!({"subject": {"type": "user"}, "action": {"name": "view"}, "resource": {"type": "doc", "id": "report"}});
    let none = r#"{"results":[]}"#;
    check(
        &sidecar,
        "/access/v1/search/subject",
        &[
            row("who may view", subjects.clone(), r#"{"results":[{"type":"user","id":"rita"}]}"#),
            row(
                "the type as it was named",
                with(&subjects, json!({"subject": {"type": "Depot::User"}})),
                r#"{"results":[{"type":"Depot::User","id":"rita"}]}"#,
            ),
            row("an id has no meaning", with(&subjects, json!({"subject": {"type": "user", "id": "olga"}})), r#"{"results":[{"type":"user","id":"rita"}]}"#),
            row("nor has one that is no text", with(&subjects, json!({"subject": {"type": "user", "id": 7}})), r#"{"results":[{"type":"user","id":"rita"}]}"#),
            row(
                "of a resource that is described",
                with(&subjects, json!({"action": {"name": "edit"}, "resource": {"type": "doc", "id": "new", "properties": {"owner": "olga"}}})),
                r#"{"results":[{"type":"user","id":"olga"}]}"#,
            ),
            row("of one that is forbidden", with(&subjects, json!({"resource": {"type": "doc", "id": "secret"}})), none),
            row(
                "with a context",
                with(&subjects, json!({"context": {"time": "2025-06-27T18:03-07:00", "urgent": true}})),
                r#"{"results":[{"type":"user","id":"rita"}]}"#,
            ),
            row("with a context that does not fit", with(&subjects, json!({"context": {"urgent": 7}})), none),
            row("of an unknown type", with(&subjects, json!({"subject": {"type": "spaceship"}})), none),
            row("of a type that cannot be", with(&subjects, json!({"subject": {"type": "space ship"}})), none),
            row("of a type that may not act", with(&subjects, json!({"subject": {"type": "doc"}})), none),
            row("an unknown action", with(&subjects, json!({"action": {"name": "fly"}})), none),
            row("an unknown resource", with(&subjects, json!({"resource": {"type": "spaceship", "id": "1"}})), none),
            row("with a page", with(&subjects, json!({"page": {}})), r#"{"page":{"next_token":"","count":1},"results":[{"type":"user","id":"rita"}]}"#),
            row(
                "with a limit",
                with(&subjects, json!({"page": {"limit": 5, "properties": {"sort": 1}}})),
                r#"{"page":{"next_token":"","count":1},"results":[{"type":"user","id":"rita"}]}"#,
            ),
        ],
    );
    let resources = json!({"subject": {"type": "user", "id": "olga"}, "action": {"name": "edit"}, "resource": {"type": "doc"}});
    check(
        &sidecar,
        "/access/v1/search/resource",
        &[
            row("what may be edited", resources.clone(), r#"{"results":[{"type":"doc","id":"plan"}]}"#),
            row(
                "all that is stored, if it were hers",
                with(&resources, json!({"resource": {"type": "doc", "properties": {"owner": "olga", "confidential": false}}})),
                r#"{"results":[{"type":"doc","id":"plan"},{"type":"doc","id":"secret"}]}"#,
            ),
            row("by someone unknown", with(&resources, json!({"subject": {"type": "user", "id": "nobody"}})), none),
        ],
    );
    let actions = json!({"subject": {"type": "user", "id": "olga"}, "resource": {"type": "doc", "id": "plan"}});
    check(
        &sidecar,
        "/access/v1/search/action",
        &[
            row("what may be done", actions.clone(), r#"{"results":[{"name":"edit"}]}"#),
            row("an action has no meaning", with(&actions, json!({"action": 7})), r#"{"results":[{"name":"edit"}]}"#),
            row("to something unknown", with(&actions, json!({"resource": {"type": "doc", "id": "nothing"}})), none),
            row("by someone unknown", with(&actions, json!({"subject": {"type": "user", "id": "nobody"}})), none),
            row("to an unknown type", with(&actions, json!({"resource": {"type": "spaceship", "id": "1"}})), none),
            row("to a type that cannot be", with(&actions, json!({"resource": {"type": "space ship", "id": "1"}})), none),
        ],
    );
    let missing = |what, body: Value, expected| (what, body.to_string(), 400, expected);
    let neither = json!({"subject": {"type": "user"}, "action": {"name": "view"}, "resource": {"type": "doc"}});
    check(
        &sidecar,
        "/access/v1/search/subject",
        &[
            missing("no action", json!({"subject": {"type": "user"}, "resource": {"type": "doc", "id": "plan"}}), "`action` is missing"),
            missing("no type", with(&subjects, json!({"subject": {"id": "rita"}})), "`subject.type` is missing"),
            missing("no resource id", neither.clone(), "`resource.id` is missing"),
        ],
    );
    check(
        &sidecar,
        "/access/v1/search/resource",
        &[
            missing("no subject", json!({"action": {"name": "view"}, "resource": {"type": "doc"}}), "`subject` is missing"),
            missing("no subject id", neither.clone(), "`subject.id` is missing"),
        ],
    );
    check(
        &sidecar,
        "/access/v1/search/action",
        &[
            missing("no resource", json!({"subject": {"type": "user", "id": "olga"}}), "`resource` is missing"),
            missing("no subject id", json!({"subject": {"type": "user"}, "resource": {"type": "doc", "id": "plan"}}), "`subject.id` is missing"),
        ],
    );
    for page in
        [json!([]), json!({"limit": -1}), json!({"limit": 1.5}), json!({"limit": "5"}), json!({"token": 7}), json!({"token": ""}), json!({"token": "AAAA"})]
    {
        let answer = post(sidecar.decisions(), "/access/v1/search/subject", "", &with(&subjects, json!({"page": page})).to_string());
        assert_eq!(answer.status, 400, "{page}: {}", answer.text());
    }
}

/// A world of many users, every second of whom may view.
fn crowd(upstream: &Upstream, users: usize, search: Value) -> Workspace {
    let mut entities = vec![json!({"uid": {"type": "Depot::Role", "id": "reader"}, "attrs": {}, "parents": []})];
    entities.extend((0..users).map(|n| {
        let roles = if n % 2 == 0 { json!([{"type": "Depot::Role", "id": "reader"}]) } else { json!([]) };
        json!({"uid": {"type": "Depot::User", "id": format!("user{n:05}")}, "attrs": {}, "parents": roles})
    }));
    let workspace = workspace(upstream).set("/authzen/search", search);
    workspace.write("entities.json", &Value::from(entities).to_string());
    workspace
}

fn page(sidecar: &Sidecar, body: &Value) -> Answer {
    post(sidecar.decisions(), "/access/v1/search/subject", "", &body.to_string())
}

#[test]
fn pages_have_a_ceiling_and_a_way_on() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&crowd(&upstream, 2000, json!({"page_size": 90, "max_page_size": 200, "max_candidates": 300})));
    let body = json!({"subject": {"type": "user"}, "action": {"name": "view"}, "resource": {"type": "doc", "id": "report"}});
    let expected: Vec<String> = (0..2000).step_by(2).map(|n| format!("user{n:05}")).collect();
    for (limit, most) in [(None, 90), (Some(1000), 150), (Some(7), 7)] {
        let (mut all, mut token, mut pages) = (Vec::new(), None::<Value>, 0);
        loop {
            let mut body = body.clone();
            match (&token, limit) {
                // The limit of the first page holds for all.
                (Some(token), _) => body["page"] = json!({"token": token}),
                (None, Some(limit)) => body["page"] = json!({"limit": limit}),
                (None, None) => {}
            }
            let found = page(&sidecar, &body).json();
            let results = found["results"].as_array().unwrap();
            assert!(results.len() <= most && found["page"]["count"] == results.len(), "{limit:?}: {}", results.len());
            all.extend(results.iter().map(|result| result["id"].as_str().unwrap().to_owned()));
            pages += 1;
            if found["page"]["next_token"] == "" {
                break;
            }
            token = Some(found["page"]["next_token"].clone());
        }
        assert_eq!(all, expected, "{limit:?}");
        assert!(pages >= 1000 / most, "{limit:?}: {pages}");
    }

    // A token belongs to its question.
    let with_page = |body: &Value, page: Value| with(body, json!({"page": page}));
    let first = page(&sidecar, &with_page(&body, json!({"limit": 5}))).json();
    let token = first["page"]["next_token"].as_str().unwrap();
    for (what, body, good) in [
        ("the same", with_page(&body, json!({"token": token})), true),
        ("with its limit", with_page(&body, json!({"token": token, "limit": 5})), true),
        ("twice", with_page(&body, json!({"token": token})), true),
        ("with another limit", with_page(&body, json!({"token": token, "limit": 6})), false),
        ("another action", with_page(&with(&body, json!({"action": {"name": "edit"}})), json!({"token": token})), false),
        ("another resource", with_page(&with(&body, json!({"resource": {"type": "doc", "id": "plan"}})), json!({"token": token})), false),
        ("another context", with_page(&with(&body, json!({"context": {"urgent": true}})), json!({"token": token})), false),
        ("another type", with_page(&with(&body, json!({"subject": {"type": "User"}})), json!({"token": token})), false),
        ("a changed token", with_page(&body, json!({"token": format!("A{}", &token[1..])})), false),
        ("a longer token", with_page(&body, json!({"token": format!("{token}AAAA")})), false),
    ] {
        assert_eq!(page(&sidecar, &body).status, if good { 200 } else { 400 }, "{what}");
    }
    // Nothing is asked for, and nothing is said about the end.
    let nothing = page(&sidecar, &with_page(&body, json!({"limit": 0}))).json();
    assert!(nothing["results"] == json!([]) && nothing["page"]["next_token"] != "");
}

/// A page that ran out of time is no error, and not the last.
#[test]
fn a_page_has_a_budget() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&crowd(&upstream, 500, json!({"page_size": 1000, "max_cpu": "1us"})));
    let mut body = json!({"subject": {"type": "user"}, "action": {"name": "view"}, "resource": {"type": "doc", "id": "report"}});
    let mut found = 0;
    for pages in 1.. {
        let answer = page(&sidecar, &body).json();
        found += answer["results"].as_array().unwrap().len();
        if answer["page"]["next_token"] == "" {
            assert!(found == 250 && pages > 100, "{found} on {pages}");
            break;
        }
        body["page"] = json!({"token": answer["page"]["next_token"]});
    }
}

#[test]
fn metadata() {
    let (upstream, sidecar) = start();
    let document = |base: &str| {
        json!({
            "policy_decision_point": base,
            "access_evaluation_endpoint": format!("{base}/access/v1/evaluation"),
            "access_evaluations_endpoint": format!("{base}/access/v1/evaluations"),
            "search_subject_endpoint": format!("{base}/access/v1/search/subject"),
            "search_resource_endpoint": format!("{base}/access/v1/search/resource"),
            "search_action_endpoint": format!("{base}/access/v1/search/action"),
        })
    };
    let own = format!("http://{}", sidecar.decisions());
    let path = "/.well-known/authzen-configuration";
    let answer = get(sidecar.decisions(), path, "");
    assert_eq!((answer.status, answer.head.get("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json(), document(&own));
    let store = get(sidecar.decisions(), &format!("{path}/default"), "").json();
    assert_eq!(store, document(&format!("{own}/default")));
    assert_eq!(get(sidecar.decisions(), &format!("{path}/other"), "").status, 404);
    // What the document names is there.
    for (name, endpoint) in store.as_object().unwrap().iter().skip(1) {
        let path = endpoint.as_str().unwrap().strip_prefix(&own).unwrap();
        assert_eq!(post(sidecar.decisions(), path, "", "{}").text(), "`subject` is missing", "{name}");
    }
    // Whatever a request calls us, we are who we were told to be.
    let named = Sidecar::start(&workspace(&upstream).set("/authzen/policy_decision_point", json!("https://pdp.example.com")));
    let answer = exchange(named.decisions(), format!("GET {path} HTTP/1.1\r\nHost: evil.example.com\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(answer.json(), document("https://pdp.example.com"));
    let config =
        workspace(&upstream).set("/authzen", json!({"policy_decision_point": "http://pdp.example.com", "types": {"x": "Ship"}, "search": {"page_size": 0}}));
    let output = run(&["check", "-c", config.config_path().to_str().unwrap()]);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    for key in ["authzen.policy_decision_point", "authzen.types.x", "authzen.search.page_size"] {
        assert!(said.contains(key), "{key}: {said}");
    }
}

#[test]
fn a_request_keeps_its_id() {
    let (_upstream, sidecar) = start();
    let body = question("rita", "view", "report").to_string();
    let long = "x".repeat(300);
    for id in ["bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "an id with spaces", "\"quoted\", and more", &long] {
        for (path, body, status) in
            [("/access/v1/evaluation", body.as_str(), 200), ("/access/v1/evaluations", "{", 400), ("/access/v1/search/action", "{}", 400)]
        {
            let answer = post(sidecar.decisions(), path, &format!("X-Request-ID: {id}\r\n"), body);
            assert_eq!((answer.status, answer.head.all("x-request-id")), (status, vec![id]), "{path}");
        }
    }
    let answer = post(sidecar.decisions(), "/access/v1/evaluation", "", &body);
    assert_eq!(answer.head.all("x-request-id").len(), 1, "one of ours");
}

#[test]
fn callers_prove_themselves_and_strangers_learn_nothing() {
    let upstream = Upstream::start();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, TOKEN.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let workspace = workspace(&upstream).set("/listen/decisions", json!("0.0.0.0:0")).set("/callers", json!([{"name": "pep", "token_sha256": digest}]));
    let sidecar = Sidecar::start(&workspace);
    let mut at = sidecar.decisions();
    at.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    let body = question("rita", "view", "report").to_string();
    let known = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(post(at, "/access/v1/evaluation", &known, &body).text(), PERMIT);
    for (path, body) in
        [("/access/v1/evaluation", body.as_str()), ("/access/v1/evaluations", ""), ("/access/v1/search/subject", "{"), ("/default/access/v1/evaluation", "{}")]
    {
        let answer = post(at, path, "X-Request-ID: mine\r\n", body);
        assert_eq!((answer.status, answer.text().as_str()), (401, "the caller is not known by a bearer token"), "{path}");
        assert_eq!(answer.head.get("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.head.get("x-request-id"), Some("mine"));
        assert_eq!(answer.head.get("www-authenticate"), Some("Bearer realm=\"portcullis\""));
        let wrong = post(at, path, "Authorization: Bearer wrong\r\n", body);
        assert!(wrong.status == 401 && wrong.head.get("www-authenticate").unwrap().contains("invalid_token"));
    }
    // The address that is bound is not one that others could know us by.
    let path = "/.well-known/authzen-configuration";
    assert_eq!(get(at, path, "").status, 401);
    let answer = get(at, path, &known);
    assert!(answer.status == 404 && answer.text().contains("authzen.policy_decision_point"), "{}", answer.text());
}

#[test]
fn the_decision_log_tells_of_everything_once() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&crowd(&upstream, 40, json!({"max_candidates": 30})));
    let at = sidecar.decisions();
    let events = |id: &str| -> Vec<Value> {
        let id = format!("\"request_id\":\"{id}\"");
        let stdout = sidecar.stdout();
        stdout.lines().filter(|line| line.contains(&id)).map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let one = question("user00000", "view", "report");
    let many = with(&one, json!({"evaluations": [{}, {"resource": {"type": "a b", "id": "\n"}}, {"resource": 7}]}));
    let search = json!({"subject": {"type": "user"}, "action": {"name": "view"}, "resource": {"type": "doc", "id": "report"}});
    let actions = json!({"subject": {"type": "user", "id": "user00000"}, "resource": {"type": "doc", "id": "report"}});
    post(at, "/access/v1/evaluation", "X-Request-ID: one\r\n", &one.to_string());
    post(at, "/access/v1/evaluations", "X-Request-ID: many\r\n", &many.to_string());
    post(at, "/access/v1/search/subject", "X-Request-ID: search\r\n", &search.to_string());
    post(at, "/access/v1/search/action", "X-Request-ID: actions\r\n", &actions.to_string());
    until("the log", PATIENCE, || (!events("actions").is_empty()).then_some(()));
    let [event] = &events("one")[..] else { panic!("one event") };
    for (name, value) in [
        ("surface", "authzen"),
        ("principal", "Depot::User::\"user00000\""),
        ("action", "Depot::Action::\"view\""),
        ("resource", "Depot::Document::\"report\""),
        ("decision", "ALLOW"),
        ("policies", "readers_view"),
    ] {
        assert_eq!(event[name], value, "{name}");
    }
    let [first, second] = &events("many")[..] else { panic!("two could be asked") };
    assert_eq!((&first["decision"], &second["decision"]), (&json!("ALLOW"), &json!("DENY")));
    assert_eq!(second["resource"], "a b::\"\\n\"");
    let [event] = &events("search")[..] else { panic!("one event") };
    assert_eq!((&event["search"], &event["principal"]), (&json!("subject"), &json!("user")));
    assert_eq!((&event["candidates"], &event["found"], &event["more"]), (&json!(30), &json!(15), &json!(true)));
    let metrics = get(sidecar.telemetry(), "/metrics", "").text();
    for line in [
        "portcullis_searches_total{ended=\"ceiling\",sought=\"subject\"} 1",
        "portcullis_searches_total{ended=\"complete\",sought=\"action\"} 1",
        "portcullis_searches_total{ended=\"full\",sought=\"resource\"} 0",
        "portcullis_search_candidates_total{sought=\"subject\"} 30",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let [event] = &events("actions")[..] else { panic!("one event") };
    assert_eq!((&event["search"], &event["candidates"], &event["found"]), (&json!("action"), &json!(2), &json!(1)));
}

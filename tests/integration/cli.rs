//! The subcommands that run and end: `check`, `authorize`, `config`, `token`, `completions`, and a `serve` that must not start.

use crate::harness::cases;
use crate::harness::sidecar::run;
use crate::harness::workspace::Workspace;
use serde_json::{Value, json};
use std::process::Output;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn depot() -> Workspace {
    Workspace::new("127.0.0.1:9".parse().unwrap())
}

fn check(workspace: &Workspace) -> Output {
    run(&["check", "-c", workspace.config_path().to_str().unwrap()])
}

/// Checks that `check` fails and that its words, wherever it prints them, hold every one of `expected`.
fn refused(workspace: &Workspace, expected: &[&str]) {
    let output = check(workspace);
    let said = format!("{}{}", stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in expected {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
}

#[test]
fn a_good_system_passes_the_check() {
    let output = check(&depot());
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn every_mistake_is_told_at_once() {
    let workspace = Workspace::empty();
    workspace.write(
        "portcullis.yaml",
        "listen: { proxy: 127.0.0.1:0 }\n\
         upstreem: { url: http://127.0.0.1:1 }\n\
         upstream:\n  url: ftp://127.0.0.1:1\n  connect_timeout: soon\n\
         policies:\n  source: { dir: policies }\n  schema: missing.cedarschema\n  namespace: Depot\n\
         routes:\n  - match: \"GET v1/users\"\n    action: view\n    resource: { type: Document, id: x }\n\
         \x20 - match: \"GET /a/{b}\"\n    colour: red\n\
         issuers:\n  - name: local\n    kind: first_party\n    issuer: [https://auth.depot.test]\n    algorithms: [HS256]\n    leeway: 1h\n",
    );
    let config = workspace.config_path();
    let output = run(&["serve", "-c", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    let said = stderr(&output);
    for part in ["portcullis.yaml:2:", "upstreem", "portcullis.yaml:5:", "connect_timeout", "colour", "HS256"] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert!(stdout(&output).is_empty(), "{}", stdout(&output));
    refused(&workspace, &["portcullis.yaml:2:", "upstreem", "portcullis.yaml:5:", "connect_timeout", "colour", "HS256"]);
}

/// Mistakes of meaning, which only the parts themselves can find, are told together too.
#[test]
fn what_does_not_fit_together_is_told_at_once() {
    let workspace = depot()
        .set("/routes/0/action", json!("fly"))
        .set("/routes/1/resource/type", json!("Ship"))
        .set("/routes/2/match", json!("PUT /v1//documents/{id}"))
        .set("/issuers/0/issuer", json!(["https://*.depot.test"]))
        .set("/issuers/0/leeway", json!("1h"))
        .set("/issuers/1/audiences", json!([]));
    refused(&workspace, &["routes[0]", "fly", "routes[1]", "Ship", "routes[2]", "issuers[0].issuer", "issuers[0].leeway", "issuers[1].audiences"]);
}

#[test]
fn mistakes_in_policies_have_a_place() {
    let workspace = depot();
    workspace.write("policies/broken.cedar", "permit (principal, action, resource)\nwhen { resource. };\n");
    workspace.write("policies/unknown.cedar", "\n@id(\"x\")\npermit (principal, action == Depot::Action::\"fly\", resource);\n");
    workspace.write("policies/attribute.cedar", "permit (principal, action == Depot::Action::\"view\", resource) when { resource.colour == \"red\" };\n");
    workspace.write("policies/twice.cedar", "@id(\"readers_view\") permit (principal, action, resource);\n");
    refused(&workspace, &["broken.cedar:2:", "unknown.cedar:", "fly", "attribute.cedar:1:", "colour", "readers_view"]);

    let workspace = depot();
    workspace.write("depot.cedarschema", "namespace Depot {\n  entity User = { name: Strin };\n}\n");
    refused(&workspace, &["depot.cedarschema"]);
    let workspace = depot();
    workspace.write("entities.json", r#"[{"uid": {"type": "Depot::Document", "id": "a"}, "attrs": {"confidential": 1}, "parents": []}]"#);
    refused(&workspace, &["entities.json", "confidential"]);
    let workspace = depot();
    workspace.write("policies/deep.cedar", &format!("permit (principal, action, resource) when {{ {}true{} }};", "(".repeat(100_000), ")".repeat(100_000)));
    refused(&workspace, &["deep.cedar"]);
}

/// Case 200: what would weaken the gate without anyone noticing.
#[test]
fn weak_configurations_do_not_start() {
    for (what, pointer, value, key) in [
        ("a wildcard issuer", "/issuers/0/issuer", json!(["*"]), "issuers[0].issuer"),
        ("no issuer", "/issuers/0/issuer", json!([]), "issuers[0].issuer"),
        ("no audience", "/issuers/0/audiences", json!([]), "issuers[0].audiences"),
        ("an empty audience", "/issuers/0/audiences", json!([""]), "issuers[0].audiences"),
        ("no algorithm", "/issuers/0/algorithms", json!([]), "issuers[0].algorithms"),
        ("the algorithm none", "/issuers/0/algorithms", json!(["none"]), "issuers[0].algorithms"),
        ("a symmetric algorithm", "/issuers/0/algorithms", json!(["HS256"]), "issuers[0].algorithms"),
        ("keys over http", "/issuers/0/jwks", json!({"url": "http://auth.depot.test/jwks.json"}), "issuers[0].jwks"),
        ("no keys", "/issuers/0/jwks", json!(null), "issuers[0].jwks"),
        ("a long leeway", "/issuers/0/leeway", json!("301s"), "issuers[0].leeway"),
        ("a long lifetime", "/issuers/0/max_lifetime", json!("48h"), "issuers[0].max_lifetime"),
        ("a misspelt key", "/issuers/0/audience", json!(["cloud-app"]), "issuers[0].audience"),
        ("two issuers of one name", "/issuers/1/name", json!("local"), "issuers[1].name"),
        ("no schema", "/policies/schema", json!(null), "policies.schema"),
        ("a source for later", "/policies/source", json!({"bundle": {"url": "https://x.test/b", "public_key": "k.pem"}}), "policies.source"),
        ("sessions for later", "/issuers/0/session", json!("redis"), "issuers[0].session"),
        ("an upstream without host", "/upstream/url", json!("http://"), "upstream.url"),
        ("an upstream with a path", "/upstream/url", json!("http://service/api"), "upstream.url"),
        ("an unknown section", "/telemtry", json!({}), "telemtry"),
    ] {
        let workspace = depot().set(pointer, value);
        let output = run(&["serve", "-c", workspace.config_path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(64), "{what}: {}{}", stdout(&output), stderr(&output));
        assert!(stderr(&output).contains(key), "{what}: {}", stderr(&output));
        cases::held(200, "exit 64");
    }
    let output = run(&["serve", "-c", "/nonexistent/portcullis.yaml"]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
}

struct Question {
    workspace: Workspace,
    options: Vec<&'static str>,
}

impl Question {
    fn new() -> Question {
        Question { workspace: depot(), options: Vec::new() }
    }

    fn option(mut self, option: &[&'static str]) -> Question {
        self.options.extend(option);
        self
    }

    fn ask(&self, request: &Value) -> Output {
        self.workspace.write("request.json", &request.to_string());
        let path = |name: &str| self.workspace.path(name).to_str().unwrap().to_owned();
        let files = [path("policies"), path("depot.cedarschema"), path("entities.json"), path("request.json")];
        let named = ["--policies", &files[0], "--schema", &files[1], "--entities", &files[2], "--request", &files[3]];
        let arguments: Vec<&str> = ["authorize"].into_iter().chain(named).chain(self.options.iter().copied()).collect();
        run(&arguments)
    }
}

fn view(principal: &str, document: &str) -> Value {
    json!({
        "principal": {"type": "Depot::User", "id": principal}, "action": {"type": "Depot::Action", "id": "view"},
        "resource": {"type": "Depot::Document", "id": document}, "context": {},
    })
}

#[test]
fn decisions_from_files() {
    let question = Question::new();
    let decided =
        |output: &Output| -> Value { serde_json::from_str(&stdout(output)).unwrap_or_else(|error| panic!("{error}: {} {}", stdout(output), stderr(output))) };

    let output = question.ask(&view("rita", "report"));
    assert_eq!(decided(&output), json!({"decision": "ALLOW", "determining_policies": ["readers_view"], "errors": []}));
    assert_eq!(output.status.code(), Some(0));
    let output = question.ask(&view("rita", "secret"));
    assert_eq!(decided(&output), json!({"decision": "DENY", "determining_policies": ["confidential"], "errors": []}));
    assert_eq!(output.status.code(), Some(2));
    let cedar = json!({"principal": "Depot::User::\"rita\"", "action": "Depot::Action::\"view\"", "resource": "Depot::Document::\"report\""});
    assert_eq!(question.ask(&cedar).status.code(), Some(0));

    let output = question.ask(&json!([view("rita", "report"), view("rita", "secret"), view("nobody", "report")]));
    assert_eq!(output.status.code(), Some(0));
    let said = stdout(&output);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let decisions: Vec<_> = lines.iter().map(|line| line["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["ALLOW", "DENY", "DENY"]);

    let mut outside = view("rita", "report");
    outside["context"] = json!({"weather": "fine"});
    let output = question.ask(&outside);
    let said = decided(&output);
    assert_eq!((output.status.code(), said["decision"].as_str()), (Some(2), Some("DENY")), "{said}");
    assert_eq!(said["errors"].as_array().unwrap().len(), 1, "{said}");
}

#[test]
fn questions_that_cannot_be_asked() {
    let question = Question::new();
    for (what, request) in [
        ("no action", json!({"principal": "Depot::User::\"rita\"", "resource": "Depot::Document::\"a\""})),
        ("bad syntax", json!({"principal": "Depot::User::rita", "action": "view", "resource": "Depot::Document::\"a\""})),
        ("a number", json!(7)),
        ("an unknown member", json!({"principal": "Depot::User::\"rita\"", "action": "view", "resource": "Depot::Document::\"a\"", "when": 1})),
    ] {
        let output = question.ask(&request);
        assert_eq!(output.status.code(), Some(1), "{what}: {}{}", stdout(&output), stderr(&output));
        assert!(!stderr(&output).is_empty(), "{what}");
        assert!(!stdout(&output).contains("ALLOW"), "{what}");
    }
    question.workspace.write("policies/broken.cedar", "permit (");
    let output = question.ask(&view("rita", "report"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("broken.cedar"), "{}", stderr(&output));
    assert_eq!(run(&["authorize", "--policies", "x"]).status.code(), Some(1));
    assert_eq!(
        run(&["authorize", "--policies", "/nonexistent", "--schema", "/nonexistent", "--entities", "/nonexistent", "--request", "/nonexistent"]).status.code(),
        Some(1)
    );
}

#[test]
fn ids_of_policies() {
    let question = Question::new();
    question.workspace.write(
        "policies/documents.cedar",
        "permit (principal, action, resource) when { false };\npermit (principal, action, resource);\n@id(\"named\") permit (principal, action, resource);\n",
    );
    let ids = |question: &Question| -> Value {
        serde_json::from_str::<Value>(&stdout(&question.ask(&view("rita", "report")))).unwrap()["determining_policies"].clone()
    };
    assert_eq!(ids(&question), json!(["documents#1", "named"]));
    let question = question.option(&["--positional-ids"]);
    assert_eq!(ids(&question), json!(["policy1", "policy2"]));
    let twice = Question::new();
    twice.workspace.write("policies/twice.cedar", "@id(\"readers_view\") permit (principal, action, resource);");
    let output = twice.ask(&view("rita", "report"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("readers_view"), "{}", stderr(&output));
}

#[test]
fn errors_and_validation_at_will() {
    let erring = "@id(\"erring\") forbid (principal, action, resource) when { resource.missing };\n@id(\"all\") permit (principal, action, resource);\n";
    let question = Question::new();
    question.workspace.write("policies/documents.cedar", erring);
    let output = question.ask(&view("rita", "report"));
    assert_eq!(output.status.code(), Some(1), "validation finds it first: {}", stdout(&output));

    let lax = question.option(&["--no-validate"]);
    let output = lax.ask(&view("rita", "report"));
    let said: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((output.status.code(), said["decision"].as_str()), (Some(2), Some("DENY")), "an Allow with an error is none: {said}");
    assert_eq!(said["errors"][0]["policy"], "erring");
    let lax = lax.option(&["--on-error", "cedar"]);
    let output = lax.ask(&view("rita", "report"));
    let said: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((output.status.code(), said["decision"].as_str()), (Some(0), Some("ALLOW")), "Cedar's own rule: {said}");
    assert_eq!(said["errors"][0]["policy"], "erring");
    assert_eq!(said["determining_policies"], json!(["all"]));
}

#[test]
fn the_schema_of_the_configuration() {
    let output = run(&["config", "schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_str(&stdout(&output)).unwrap();
    for section in ["listen", "upstream", "policies", "routes", "issuers", "limits", "timeouts", "callers", "decision_log"] {
        let property = &schema["properties"][section];
        assert!(property.is_object(), "{section}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn completions_help_and_version() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("authorize"), "{shell}");
    }
    assert_eq!(run(&["completions", "abacus"]).status.code(), Some(64));
    for (arguments, holds) in [(["--help"], "authorize"), (["--version"], env!("CARGO_PKG_VERSION"))] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains(holds), "{}", stdout(&output));
    }
    assert_eq!(run(&["fly"]).status.code(), Some(64));
}

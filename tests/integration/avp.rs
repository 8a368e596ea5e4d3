//! The surface for AWS SDKs: real clients, and bytes that no client sends.

mod sdk;
mod tokens;

use crate::harness::http1::{Answer, exchange, post};
use crate::harness::peers;
use crate::harness::sidecar::{Sidecar, command};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;

const TOKEN: &str = "a-long-random-token-for-the-application";

const KINDS: &str = r#""boolean"?: Bool, "entity"?: User, "long"?: Long, "string"?: String, "set"?: Set<String>, "ipaddr"?: ipaddr,
    "record"?: { inner?: { deep: Bool } }, "decimal"?: decimal, "datetime"?: datetime, "duration"?: duration,"#;

/// The depot, with an action and a policy for each kind of value.
fn workspace(upstream: &Upstream) -> Workspace {
    let schema = include_str!("pack/depot.cedarschema")
        .replace("department?: String,\n  };", "department?: String,\n  } tags String;")
        .replace("confidential?: Bool,", &format!("confidential?: Bool, {KINDS}"))
        .replace(
            "  action administer",
            &format!("  action inspect appliesTo {{ principal: [User], resource: [Document], context: {{ {KINDS} }} }};\n  action administer"),
        );
    let stores = json!({"policy_store_ids": ["PSEXAMPLE", "policy-store-alias/depot"]});
    let workspace = Workspace::new(upstream.address()).set("/avp_api", stores);
    workspace.write("depot.cedarschema", &schema);
    workspace.write("policies/types.cedar", include_str!("avp/types.cedar"));
    workspace
}

fn start() -> (Upstream, Sidecar) {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    (upstream, sidecar)
}

/// With policies that are too old as soon as they are read: it listens, and is never ready.
fn start_stale(workspace: &Workspace) -> Sidecar {
    let config = workspace.config_path();
    let mut sidecar = Sidecar::spawn(command(&["serve", "-c", config.to_str().unwrap()]));
    sidecar.await_listening();
    sidecar
}

fn boto3(endpoint: SocketAddr, suite: &str, given: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/avp/client.py");
    let endpoint = format!("http://{endpoint}");
    peers::succeed(Command::new(peers::program("python")).args([script, &endpoint, suite, given]))
}

/// The body of the question whether rita may view the report, without its last brace.
const OPEN: &str = r#"{"policyStoreId":"default","principal":{"entityType":"Depot::User","entityId":"rita"},"action":{"actionType":"Depot::Action","actionId":"view"},"resource":{"entityType":"Depot::Document","entityId":"report"}"#;

const LINES: &str = "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: VerifiedPermissions.IsAuthorized\r\n";

fn send(at: SocketAddr, lines: &str, body: &[u8]) -> Answer {
    let mut request = format!("POST / HTTP/1.1\r\nHost: avp\r\n{lines}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    exchange(at, &request).unwrap()
}

#[test]
fn boto3_is_answered_as_by_the_service() {
    let (upstream, sidecar) = start();
    let said = boto3(sidecar.decisions(), "answers", TOKEN);
    assert!(said.contains("responses held to the model"), "{said}");
    upstream.assert_untouched();
}

#[test]
fn boto3_has_to_be_known_where_callers_are() {
    let upstream = Upstream::start();
    let mut hash = String::new();
    for byte in digest(&SHA256, TOKEN.as_bytes()).as_ref() {
        let _ = write!(hash, "{byte:02x}");
    }
    let workspace = workspace(&upstream).set("/listen/decisions", json!("0.0.0.0:0")).set("/callers", json!([{"name": "app", "token_sha256": hash}]));
    let sidecar = Sidecar::start(&workspace);
    let mut at = sidecar.decisions();
    at.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    boto3(at, "strangers", TOKEN);
    let answer = send(at, LINES, format!("{OPEN}}}").as_bytes());
    assert_eq!((answer.status, answer.json()["__type"].as_str()), (401, Some("AccessDeniedException")));
    assert!(answer.head.get("www-authenticate").unwrap().starts_with("Bearer "));
    assert!(answer.head.get("x-amzn-requestid").is_some());
    let answer = post(at, "/v1/authorize", "", "{}");
    assert_eq!((answer.status, answer.code().as_str()), (401, "missing_token"), "the other surfaces keep their own words");
}

#[test]
fn boto3_is_told_when_nobody_can_decide() {
    let upstream = Upstream::start();
    let workspace = workspace(&upstream).set("/policies/max_staleness", json!("1ms"));
    let sidecar = start_stale(&workspace);
    boto3(sidecar.decisions(), "stale", TOKEN);
}

/// What is wrong, and the exact answer: its status, the exception, its message, and the member at fault.
#[test]
fn hostile_bodies() {
    let (upstream, sidecar) = start();
    let at = sidecar.decisions();
    let good = format!("{OPEN}}}");
    let with = |members: &str| format!("{OPEN},{members}}}").into_bytes();
    let deep = format!("{OPEN},\"x\":{}", "[".repeat(500_000));
    let validation = "ValidationException";
    let unreadable = |what: &str| format!("the body cannot be read: {what}");
    let rows: Vec<(&str, Vec<u8>, String, &str)> = vec![
        ("nothing", Vec::new(), unreadable("EOF while parsing a value at line 1 column 0"), ""),
        ("white space", b" \n".to_vec(), unreadable("EOF while parsing a value at line 2 column 0"), ""),
        ("not JSON", b"Action=IsAuthorized".to_vec(), unreadable("expected value at line 1 column 1"), ""),
        ("a byte order mark", [b"\xef\xbb\xbf", good.as_bytes()].concat(), unreadable("expected value at line 1 column 1"), ""),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect(), unreadable("key must be a string at line 1 column 2"), ""),
        ("invalid UTF-8", good.replace("rita", "\u{1}").replace('\u{1}', "~~").into_bytes().iter().map(|byte| if *byte == b'~' { 0xff } else { *byte }).collect(), "the body is not text in UTF-8".into(), ""),
        ("an array", format!("[{good}]").into_bytes(), unreadable("invalid type: sequence, expected an object at line 1 column 0"), ""),
        ("null", b"null".to_vec(), unreadable("invalid type: null, expected an object at line 1 column 4"), ""),
        ("a string", b"\"ALLOW\"".to_vec(), unreadable("invalid type: string \"ALLOW\", expected an object at line 1 column 7"), ""),
        ("cut short", OPEN.as_bytes().to_vec(), unreadable("EOF while parsing an object at line 1 column 207"), ""),
        ("bytes behind it", format!("{good}{good}").into_bytes(), unreadable("trailing characters at line 1 column 209"), ""),
        ("deep and never closed", deep.into_bytes(), "the body nests more than 64 deep".into(), ""),
        ("an empty object", b"{}".to_vec(), "`policyStoreId`: is missing".into(), "policyStoreId"),
        ("a store twice", with("\"policyStoreId\":\"default\""), unreadable("duplicate field `policyStoreId` at line 1 column 223"), ""),
        ("a principal twice", with("\"principal\":{\"entityType\":\"Depot::User\",\"entityId\":\"root\"}"), unreadable("duplicate field `principal` at line 1 column 219"), ""),
        ("a principal as an array", good.replace("{\"entityType\":\"Depot::User\",\"entityId\":\"rita\"}", "[\"Depot::User\",\"rita\"]").into_bytes(), "`principal`: invalid type: sequence, expected an object".into(), "principal"),
        ("an id that is a number", good.replace("\"rita\"", "7").into_bytes(), "`principal.entityId`: invalid type: integer `7`, expected a string".into(), "principal.entityId"),
        ("an id twice", good.replace("\"entityId\":\"rita\"", "\"entityId\":\"rita\",\"entityId\":\"root\"").into_bytes(), "`principal`: duplicate field `entityId`".into(), "principal"),
        ("no id", good.replace(",\"entityId\":\"rita\"", "").into_bytes(), "`principal`: missing field `entityId`".into(), "principal"),
        ("a principal that is null", good.replace("{\"entityType\":\"Depot::User\",\"entityId\":\"rita\"}", "null").into_bytes(), "`principal`: is missing".into(), "principal"),
        ("a lone surrogate", good.replace("rita", "\\ud800").into_bytes(), "`principal.entityId`: unexpected end of hex escape".into(), "principal.entityId"),
        ("two values in one", with("\"context\":{\"contextMap\":{\"a\":{\"boolean\":true,\"long\":1}}}"), "`context.contextMap.a`: holds more than one value".into(), "context.contextMap.a"),
        ("a value of no kind", with("\"context\":{\"contextMap\":{\"a\":{\"date\":1}}}"), "`context.contextMap.a`: holds none of `boolean` `entityIdentifier` `long` `string` `set` `record` `ipaddr` `decimal` `datetime` `duration`".into(), "context.contextMap.a"),
        ("a bare value", with("\"context\":{\"contextMap\":{\"a\":true}}"), "`context.contextMap.a`: invalid type: boolean `true`, expected an object with one of `boolean` `entityIdentifier` `long` `string` `set` `record` `ipaddr` `decimal` `datetime` `duration`".into(), "context.contextMap.a"),
        ("both forms of context", with("\"context\":{\"contextMap\":{},\"cedarJson\":\"{}\"}"), "`context`: holds more than one value".into(), "context"),
        ("a name twice", with("\"context\":{\"contextMap\":{\"urgent\":{\"boolean\":true},\"urgent\":{\"boolean\":false}}}"), "`context.contextMap`: duplicate field `urgent`".into(), "context.contextMap"),
        ("a number beyond 64 bits", with("\"context\":{\"contextMap\":{\"a\":{\"long\":9223372036854775808}}}"), "`context.contextMap.a.long`: invalid value: integer `9223372036854775808`, expected i64".into(), "context.contextMap.a.long"),
        ("a number with a point", with("\"context\":{\"contextMap\":{\"a\":{\"long\":1.0}}}"), "`context.contextMap.a.long`: invalid type: floating point `1.0`, expected i64".into(), "context.contextMap.a.long"),
        ("a huge number", with("\"context\":{\"contextMap\":{\"a\":{\"long\":1e999}}}"), "`context.contextMap.a.long`: number out of range".into(), "context.contextMap.a.long"),
        ("a boolean as text", with("\"context\":{\"contextMap\":{\"a\":{\"boolean\":\"true\"}}}"), "`context.contextMap.a.boolean`: invalid type: string \"true\", expected a boolean".into(), "context.contextMap.a.boolean"),
        ("text that is an object", with("\"context\":{\"cedarJson\":{}}"), "`context.cedarJson`: invalid type: map, expected a string".into(), "context.cedarJson"),
        ("a list that is an object", with("\"entities\":{\"entityList\":{}}"), "`entities.entityList`: invalid type: map, expected a sequence".into(), "entities.entityList"),
        ("large", with(&format!("\"x\":\"{}\"", "x".repeat(1 << 20))), "the body is too large".into(), ""),
    ];
    let mut failures = Vec::new();
    let mut check = |what: &str, answer: &Answer, status: u16, body: &Value| {
        let media_type = answer.head.get("content-type");
        let is_good = answer.status == status
            && answer.json() == *body
            && media_type == Some("application/x-amz-json-1.0")
            && answer.head.get("x-amzn-requestid").is_some();
        if !is_good {
            failures.push(format!("{what}: expected {status} {body}\n    got {} {}", answer.status, answer.text()));
        }
    };
    for (what, body, message, path) in rows {
        let mut expected = json!({"__type": validation, "message": message});
        if !path.is_empty() {
            let own = message.strip_prefix(&format!("`{path}`: ")).unwrap_or(&message);
            expected["fieldList"] = json!([{"path": path, "message": own}]);
        }
        check(what, &send(at, LINES, &body), 400, &expected);
    }
    let allowed = json!({"decision": "ALLOW", "determiningPolicies": [{"policyId": "readers_view"}], "errors": []});
    for (what, body) in [
        ("unknown members", with("\"x\":{\"y\":[]},\"x\":1,\"clientToken\":null")),
        ("members that are null", with("\"context\":null,\"entities\":null")),
        (
            "unions with nulls and strangers",
            with("\"context\":{\"contextMap\":{\"urgent\":{\"__type\":\"x\",\"boolean\":true,\"long\":null}},\"cedarJson\":null}"),
        ),
        ("white space around", format!("\r\n\t {good} \n").into_bytes()),
    ] {
        check(what, &send(at, LINES, &body), 200, &allowed);
    }
    let unknown = json!({"__type": "UnknownOperationException", "message": "`X-Amz-Target` names no operation that is served here"});
    let tokenless = json!({"__type": validation, "message": "`identityToken`, `accessToken` or both are required"});
    let media = json!({"__type": "UnsupportedMediaTypeException", "message": "the body must be `application/x-amz-json-1.0`"});
    let target = |name: &str| format!("Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: {name}\r\n");
    let of_type = |name: &str| format!("Content-Type: {name}\r\nX-Amz-Target: VerifiedPermissions.IsAuthorized\r\n");
    for (what, lines, status, body) in [
        ("no target", "Content-Type: application/x-amz-json-1.0\r\n".to_owned(), 400, &unknown),
        ("an empty target", target(""), 400, &unknown),
        ("another service", target("DynamoDB_20120810.GetItem"), 400, &unknown),
        ("another case", target("verifiedpermissions.isauthorized"), 400, &unknown),
        ("a longer name", target("VerifiedPermissions.IsAuthorizedX"), 400, &unknown),
        ("with a token", target("VerifiedPermissions.IsAuthorizedWithToken"), 400, &tokenless),
        ("a batch with a token", target("VerifiedPermissions.BatchIsAuthorizedWithToken"), 400, &tokenless),
        ("of the control plane", target("VerifiedPermissions.CreatePolicy"), 400, &unknown),
        ("two targets", format!("{LINES}X-Amz-Target: VerifiedPermissions.IsAuthorized\r\n"), 400, &unknown),
        ("no type", "X-Amz-Target: VerifiedPermissions.IsAuthorized\r\n".to_owned(), 415, &media),
        ("plain JSON", of_type("application/json"), 415, &media),
        ("JSON 1.1", of_type("application/x-amz-json-1.1"), 415, &media),
        ("two types", format!("{LINES}Content-Type: application/x-amz-json-1.0\r\n"), 415, &media),
        ("a type with a parameter", of_type("Application/X-Amz-JSON-1.0; charset=utf-8"), 200, &allowed),
    ] {
        check(what, &send(at, &lines, good.as_bytes()), status, body);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    upstream.assert_untouched();
}

/// Above what any listener of ours takes, whatever the surface.
#[test]
fn bodies_larger_than_the_listener_takes() {
    let (_upstream, sidecar) = start();
    let at = sidecar.decisions();
    let announced = format!("POST / HTTP/1.1\r\nHost: avp\r\n{LINES}Content-Length: 99999999\r\n\r\n");
    let answer = exchange(at, announced.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"), "{}", answer.text());
    let mut chunked = format!("POST / HTTP/1.1\r\nHost: avp\r\n{LINES}Transfer-Encoding: chunked\r\n\r\n");
    for _ in 0..200 {
        let _ = write!(chunked, "4000\r\n{}\r\n", " ".repeat(0x4000));
    }
    chunked.push_str("0\r\n\r\n");
    let answer = exchange(at, chunked.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.json()["__type"].as_str()), (400, Some("ValidationException")), "{}", answer.text());
}

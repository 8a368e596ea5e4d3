//! What a real Envoy is believed, and what nobody else can say: verified tokens, certificates, sets of routes; and what it is told.

use crate::ext_authz::{authz, workspace};
use crate::harness::envoy::{Envoy, Mode, Plan};
use crate::harness::http1::Client;
use crate::harness::peers::{program, succeed};
use crate::harness::sidecar::{Sidecar, run};
use crate::harness::table::{Expect, Table, bearer, with_lines};
use crate::harness::tokens::{AUDIENCE, ISSUER, KEYS, claims, now, reader, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, until};
use Expect::{BadToken, Forwarded, NoCredentials, Refused};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const TARGET: &str = "/v1/documents/report";
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";
const TRUST_DOMAIN: &str = "depot.test";
const ORDERS: &str = "spiffe://depot.test/ns/shop/sa/orders";

/// Envoy's own filter for tokens, which removes what it has verified. Requests without a token pass it.
fn verifying(plan: Plan, forward: bool) -> Plan {
    let provider = json!({
        "issuer": ISSUER, "audiences": [AUDIENCE], "local_jwks": {"inline_string": KEYS.jwks().to_string()},
        "payload_in_metadata": "payload", "forward": forward,
    });
    let requires = json!({"requires_any": {"requirements": [{"provider_name": "local"}, {"allow_missing_or_failed": {}}]}});
    let config = json!({"providers": {"local": provider}, "rules": [{"match": {"prefix": "/"}, "requires": requires}]});
    plan.before(NAMESPACE, "jwt_authn.v3.JwtAuthentication", config)
}

/// A filter that anybody can make write metadata.
fn scribbling(plan: Plan, namespace: &str) -> Plan {
    let rule = json!({"header": "x-scribble", "on_header_present": {"metadata_namespace": namespace, "key": "payload", "type": "STRING"}});
    plan.before("scribble", "header_to_metadata.v3.Config", json!({"request_rules": [rule]}))
}

fn telling(mut plan: Plan, namespaces: &[&str]) -> Plan {
    plan.check()["metadata_context_namespaces"] = json!(namespaces);
    plan
}

#[test]
fn envoys_verified_token_stands_in_for_the_token() {
    let upstream = Upstream::start();
    let workspace = workspace(&upstream).set("/ext_authz", json!({"jwt_authn": {"issuer": "local"}}));
    let sidecar = Sidecar::start(&workspace);
    let doubtful = workspace.set("/ext_authz", json!({}));
    let unbelieving = Sidecar::start(&doubtful);
    let good = KEYS.token(&reader());
    for mode in [Mode::Grpc, Mode::GrpcRaw] {
        let plan = |sidecar: &Sidecar| Plan::new(mode, true, authz(sidecar, mode), upstream.address());
        let envoy = Envoy::run(&telling(verifying(plan(&sidecar), false), &[NAMESPACE]));
        let mut table = Table::at(envoy.front(), &upstream);
        let seen = table.row(0, "a verified token", &bearer("GET", TARGET, &good), Forwarded);
        let seen = seen.expect("forwarded");
        assert_eq!(seen.head.get("x-portcullis-user"), Some("rita"));
        assert_eq!(seen.head.get("authorization"), None, "envoy has removed it");
        let nobody = KEYS.token(&claims("nobody", &[]));
        table.row(0, "of whom no policy speaks", &bearer("GET", TARGET, &nobody), Refused(403, "forbidden"));
        // Envoy minds neither, and leaves to us what it has not verified.
        let long = KEYS.token(&with(&reader(), json!({"exp": now() + 86_400})));
        table.row(0, "too long a life", &bearer("GET", TARGET, &long), BadToken("invalid_token"));
        let bound = KEYS.token(&with(&reader(), json!({"cnf": {"jkt": "x"}})));
        table.row(0, "bound to a key", &bearer("GET", TARGET, &bound), BadToken("invalid_token"));
        let service = KEYS.token(&with(&reader(), json!({"token_use": "svc"})));
        table.row(0, "a service's", &bearer("GET", TARGET, &service), BadToken("invalid_token"));
        let forged = KEYS.stranger.sign_jwt(serde_json::Map::new(), &reader());
        table.row(0, "forged", &bearer("GET", TARGET, &forged), BadToken("invalid_token"));
        table.row(0, "none", &with_lines("GET", TARGET, ""), NoCredentials);
        table.finish();

        // What reaches us is verified by us, and what the upstream sees is what was decided about.
        let envoy = Envoy::run(&telling(verifying(plan(&sidecar), true), &[NAMESPACE]));
        let mut table = Table::at(envoy.front(), &upstream);
        table.row(0, "a token that stays", &bearer("GET", TARGET, &good), Forwarded);
        table.finish();

        // Not configured: Envoy may say what it likes.
        let envoy = Envoy::run(&telling(verifying(plan(&unbelieving), false), &[NAMESPACE]));
        let mut table = Table::at(envoy.front(), &upstream);
        table.row(0, "nobody asked Envoy", &bearer("GET", TARGET, &good), NoCredentials);
        table.finish();

        // Clients can write what some filter copies into a namespace; it is not the one, and headers are none at all.
        let payload = reader().to_string();
        let spoof = with_lines("GET", TARGET, &format!("X-Scribble: {payload}\r\nX-Jwt-Payload: {payload}\r\nx-envoy-jwt-payload: {payload}\r\n"));
        let others = ["scribble", "envoy.lb", NAMESPACE];
        let plan = scribbling(telling(plan(&sidecar), &others), "scribble");
        let envoy = Envoy::run(&verifying(plan, false));
        let mut table = Table::at(envoy.front(), &upstream);
        table.row(0, "another filter's metadata", &spoof, NoCredentials);
        table.finish();
    }
}

#[test]
fn a_workload_of_the_mesh_is_known_by_its_certificate() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&mesh(&upstream));
    let folder = TempDir::new().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/harness/certificates.py");
    let clients = [
        ("orders", ORDERS),
        ("billing", "spiffe://depot.test/ns/shop/sa/billing"),
        ("stranger", "spiffe://elsewhere.test/ns/shop/sa/orders"),
        ("crooked", "spiffe://depot.test/ns/shop/../shop/sa/orders"),
        ("site", "https://depot.test/ns/shop/sa/orders"),
    ];
    let mut certificates = Command::new(program("python"));
    certificates.arg(script).arg(folder.path()).args(clients.map(|(name, uri)| format!("{name}={uri}")));
    succeed(&mut certificates);
    let envoy = Envoy::run(&mutual(Plan::new(Mode::Grpc, true, authz(&sidecar, Mode::Grpc), upstream.address()), folder.path()));
    let token = format!("Authorization: Bearer {}", KEYS.token(&reader()));
    let orders_certificate = format!("x-forwarded-client-cert: By=spiffe://depot.test/x;URI={ORDERS}");
    for (client, path, header, expected) in [
        ("orders", "/v1/stock/7", "", "200"),
        ("billing", "/v1/stock/7", "", "403"),
        ("stranger", "/v1/stock/7", "", "401"),
        ("crooked", "/v1/stock/7", "", "401"),
        ("site", "/v1/stock/7", "", "401"),
        ("billing", "/v1/stock/7", orders_certificate.as_str(), "403"),
        ("stranger", "/v1/stock/7", orders_certificate.as_str(), "401"),
        ("orders", TARGET, "", "401"),
        ("orders", TARGET, token.as_str(), "200"),
        // The user is the principal, the workload is where they came from.
        ("orders", "/v1/through/7", token.as_str(), "200"),
        ("billing", "/v1/through/7", token.as_str(), "403"),
    ] {
        assert_eq!(curl(folder.path(), envoy.front(), client, path, header), expected, "{client} {path} {header}");
    }
    let seen = upstream.requests().into_iter().find(|request| request.head.target() == "/v1/stock/7").unwrap();
    assert_eq!(seen.head.get("x-portcullis-user"), Some(ORDERS));
    assert_eq!(seen.head.get("x-portcullis-principal"), Some(&*format!("Depot::Workload::\"{ORDERS}\"")));
    let events: Vec<_> = sidecar.stdout().lines().filter(|line| line.contains("/v1/stock/7") && line.contains("ALLOW")).map(str::to_owned).collect();
    assert!(events.len() == 1 && events[0].contains("sa/orders"), "{events:?}");

    let through = sidecar
        .stdout()
        .lines()
        .any(|line| line.contains("/v1/through/7") && line.contains("ALLOW") && line.contains("\"workload\"") && line.contains("sa/orders"));
    assert!(through, "the event names the workload that the user came through");

    // Without certificates, over the same listener of ours, nobody is anybody: a header is no proof.
    let plain = Envoy::start(Mode::Grpc, true, authz(&sidecar, Mode::Grpc), upstream.address());
    let mut table = Table::at(plain.front(), &upstream);
    table.row(
        0,
        "a header that claims a certificate",
        &with_lines("GET", "/v1/stock/7", &format!("{orders_certificate}\r\nx-envoy-downstream-service-cluster: {ORDERS}\r\n")),
        NoCredentials,
    );
    table.finish();
}

#[test]
fn envoys_word_is_refused_where_others_could_give_it() {
    let upstream = Upstream::start();
    for (workspace, key) in
        [(workspace(&upstream).set("/ext_authz", json!({"jwt_authn": {"issuer": "local"}})), "ext_authz.jwt_authn"), (mesh(&upstream), "issuers[2].kind")]
    {
        let workspace = workspace.set("/listen/ext_authz_grpc", json!("0.0.0.0:0"));
        let output = run(&["serve", "-c", workspace.config_path().to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(&format!("{key}: would believe everyone who can connect")), "{said}");
    }
}

#[test]
fn routes_of_envoy_choose_sets_of_ours() {
    let upstream = Upstream::start();
    let sets = json!({"admin": [{"match": "GET /inside", "public": true}]});
    let sidecar = Sidecar::start(&workspace(&upstream).set("/ext_authz", json!({"route_sets": sets})));
    for mode in [Mode::Grpc, Mode::GrpcRaw] {
        let mut plan = Plan::new(mode, true, authz(&sidecar, mode), upstream.address());
        let route = |prefix: &str, set: &str| {
            let extensions = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", "check_settings": {"context_extensions": {"portcullis.routes": set}}});
            json!({"match": {"prefix": prefix}, "route": {"cluster": "upstream"}, "typed_per_filter_config": {"envoy.filters.http.ext_authz": extensions}})
        };
        let routes = plan.manager()["route_config"]["virtual_hosts"][0]["routes"].as_array_mut().unwrap();
        routes.splice(0..0, [route("/inside", "admin"), route("/public/unknown", "nobody")]);
        let envoy = Envoy::run(&plan);
        let mut table = Table::at(envoy.front(), &upstream);
        table.row(0, "a route of the set", &with_lines("GET", "/inside", ""), Forwarded);
        table.row(0, "not in the set", &with_lines("GET", "/inside/more", ""), Refused(403, "route_not_mapped"));
        table.row(0, "a set that is none", &with_lines("GET", "/public/unknown", ""), Refused(403, "route_not_mapped"));
        table.row(0, "the common routes", &with_lines("GET", "/public/page", ""), Forwarded);
        table.row(0, "no client chooses", &with_lines("GET", "/v1/inside", "portcullis.routes: admin\r\n"), Refused(403, "route_not_mapped"));
        table.finish();
    }
}

#[test]
fn envoys_access_log_tells_what_was_decided() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("access.log");
    let of = |key: &str| format!("%DYNAMIC_METADATA(envoy.filters.http.ext_authz:{key})%");
    let format = json!({
        "decision": of("decision"), "code": of("code"), "principal": of("principal"), "policies": of("policies"),
        "route": of("route"), "request_id": of("request_id"), "revision": of("revision"),
    });
    let mut plan = Plan::new(Mode::Grpc, false, authz(&sidecar, Mode::Grpc), upstream.address());
    plan.manager()["access_log"] = json!([{"name": "file", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": log, "log_format": {"json_format": format},
    }}]);
    let envoy = Envoy::run(&plan);
    let nobody = KEYS.token(&claims("nobody", &[]));
    for request in
        [bearer("GET", TARGET, &KEYS.token(&reader())), bearer("GET", TARGET, &nobody), with_lines("GET", TARGET, ""), with_lines("GET", "/public/page", "")]
    {
        Client::connect(envoy.front()).send(&request).answer().unwrap();
    }
    let lines: Vec<Value> = until("envoy's access log", PATIENCE, || {
        let text = std::fs::read_to_string(&log).ok()?;
        let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<_>, _>>().ok()?;
        (lines.len() == 4).then_some(lines)
    });
    let told: Vec<_> = lines.iter().map(|line| json!([line["decision"], line["code"], line["principal"], line["policies"], line["route"]])).collect();
    let route = "GET /v1/documents/{id}";
    let expected = [
        json!(["ALLOW", "ok", "Depot::User::\"rita\"", ["readers_view"], route]),
        json!(["DENY", "forbidden", "Depot::User::\"nobody\"", [], route]),
        json!(["REFUSED", "missing_token", null, null, route]),
        json!(["PUBLIC", "ok", null, null, "* /public/{*rest}"]),
    ];
    assert_eq!(told, expected);
    for line in &lines {
        let id = line["request_id"].as_str().unwrap();
        until("the same id in our log", PATIENCE, || sidecar.stdout().contains(id).then_some(()));
    }
}

/// A body that Envoy holds back for us is carried along, never looked at, and forwarded whole.
#[test]
fn bodies_say_nothing_that_is_decided_about() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let good = KEYS.token(&claims("erik", &["editor"]));
    for (mode, bytes) in [(Mode::Grpc, false), (Mode::GrpcRaw, true), (Mode::Http, false)] {
        for partial in [true, false] {
            let mut plan = Plan::new(mode, true, authz(&sidecar, mode), upstream.address());
            plan.check()["with_request_body"] = json!({"max_request_bytes": 4096, "allow_partial_message": partial, "pack_as_bytes": bytes});
            let envoy = Envoy::run(&plan);
            let request = |token: &str, body: &[u8]| {
                let length = body.len();
                let mut request = with_lines("POST", TARGET, &format!("Authorization: Bearer {token}\r\nContent-Length: {length}\r\n"));
                request.extend(body);
                request
            };
            let mut table = Table::at(envoy.front(), &upstream);
            for body in [&b""[..], b"{\"decision\":\"ALLOW\"}", b"\x00\xff\xfe{", &[b'x'; 4096]] {
                let seen = table.row(0, "a body within Envoy's bounds", &request(&good, body), Forwarded);
                assert_eq!(seen.unwrap().body.bytes, body);
                table.row(0, "a body and no token that counts", &request("x", body), BadToken("invalid_token"));
            }
            let long = vec![b'y'; 100_000];
            if partial {
                let seen = table.row(0, "the beginning of a body", &request(&good, &long), Forwarded);
                assert_eq!(seen.unwrap().body.bytes, long);
            }
            table.finish();
        }
    }
}

// === a mesh ===

/// The depot pack, with workloads that call for themselves and that others call through.
fn mesh(upstream: &Upstream) -> Workspace {
    let entry = json!({
        "name": "mesh", "kind": "spiffe", "trust_domains": [TRUST_DOMAIN],
        "principal": {"type": "Workload", "id": "spiffe_id", "attributes": {"account": "service_account"}},
    });
    let resource = json!({"type": "Shelf", "id": "{id}"});
    let workspace = workspace(upstream);
    let more = "namespace Depot {
          entity Workload = { account?: String };
          entity Shelf;
          action stock appliesTo { principal: Workload, resource: Shelf, context: {} };
          action through appliesTo { principal: User, resource: Shelf, context: { workload?: Workload } };
        }";
    let schema = std::fs::read_to_string(workspace.path("depot.cedarschema")).unwrap();
    let end = schema.rfind('}').unwrap();
    let inner = &more[more.find('{').unwrap() + 1..];
    workspace.write("depot.cedarschema", &format!("{}{inner}", &schema[..end]));
    workspace.write(
        "policies/mesh.cedar",
        &format!(
            "@id(\"orders\") permit (principal == Depot::Workload::\"{ORDERS}\", action == Depot::Action::\"stock\", resource);
             @id(\"through\") permit (principal, action == Depot::Action::\"through\", resource)
             when {{ context has workload && context.workload has account && context.workload.account == \"orders\" }};"
        ),
    );
    workspace
        .set("/issuers/2", entry)
        .set("/routes/9", json!({"match": "GET /v1/stock/{id}", "action": "stock", "resource": resource, "callers": ["workload"]}))
        .set("/routes/10", json!({"match": "GET /v1/through/{id}", "action": "through", "resource": resource}))
}

/// TLS towards clients, who have to show a certificate of the authority in `folder`.
fn mutual(mut plan: Plan, folder: &Path) -> Plan {
    let file = |name: &str| json!({"filename": folder.join(name)});
    plan.chain()["transport_socket"] = json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificates": [{"certificate_chain": file("server.pem"), "private_key": file("server.key")}],
            "validation_context": {"trusted_ca": file("ca.pem")},
        },
    }});
    plan
}

/// The status of a request that is made with the certificate of `client`.
fn curl(folder: &Path, front: SocketAddr, client: &str, path: &str, header: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "15", "--output", "/dev/null", "--write-out", "%{http_code}", "--path-as-is"]);
    curl.arg("--cacert").arg(folder.join("ca.pem"));
    curl.arg("--cert").arg(folder.join(format!("{client}.pem"))).arg("--key").arg(folder.join(format!("{client}.key")));
    if !header.is_empty() {
        curl.args(["--header", header]);
    }
    curl.arg(format!("https://{front}{path}"));
    succeed(&mut curl)
}

//! A real Envoy in front: every request is denied, or forwarded as it was decided, whatever Envoy does about errors.

use crate::harness::envoy::{Envoy, Mode};
use crate::harness::http1::Client;
use crate::harness::http2::{self, BoxBody, full};
use crate::harness::peers::{program, succeed};
use crate::harness::sidecar::{Sidecar, command};
use crate::harness::table::{Expect, Table, bearer, with_lines};
use crate::harness::tokens::{KEYS, claims, reader, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use Expect::{BadToken, Denied, Forwarded, NoCredentials, Refused};
use serde_json::json;
use std::net::SocketAddr;

pub(crate) const MODES: [Mode; 3] = [Mode::Grpc, Mode::GrpcRaw, Mode::Http];

pub(crate) fn workspace(upstream: &Upstream) -> Workspace {
    let everywhere = json!({"ext_authz_grpc": "127.0.0.1:0", "ext_authz_http": "127.0.0.1:0", "telemetry": "127.0.0.1:0"});
    Workspace::new(upstream.address()).set("/listen", everywhere)
}

pub(crate) fn authz(sidecar: &Sidecar, mode: Mode) -> SocketAddr {
    sidecar.address(if mode == Mode::Http { "ext_authz_http" } else { "ext_authz_grpc" })
}

/// One request on an HTTP/2 connection of its own.
pub(crate) fn ask(address: SocketAddr, request: http::Request<BoxBody>) -> http2::Answer {
    http2::runtime().block_on(async { http2::ask(&mut http2::connect(address).await, request).await })
}

/// Envoys that ask one sidecar in every way, each told to let requests pass on errors, and not to.
fn check(sidecar: &Sidecar, upstream: &Upstream, rows: impl Fn(Mode, &mut Table<'_>)) {
    for mode in MODES {
        for fail_open in [true, false] {
            let envoy = Envoy::start(mode, fail_open, authz(sidecar, mode), upstream.address());
            let mut table = Table::at(envoy.front(), upstream);
            rows(mode, &mut table);
            table.finish();
        }
    }
}

#[test]
fn envoy_forwards_what_is_allowed_and_nothing_else() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let good = KEYS.token(&reader());
    let expired = KEYS.token(&with(&reader(), json!({"iat": 1_599_999_900, "exp": 1_600_000_000})));
    let nobody = KEYS.token(&claims("nobody", &[]));
    check(&sidecar, &upstream, |_, table| {
        let forged =
            "X-Portcullis-User: root\r\nX_Portcullis_User: root\r\nX-Portcullis-Roles: admin\r\nX-Auth-User: root\r\nX-HTTP-Method-Override: DELETE\r\n";
        let lines = format!("Authorization: Bearer {good}\r\n{forged}");
        let seen = table.row(0, "an allowed request", &with_lines("GET", "/v1/documents/report?q=1", &lines), Forwarded);
        if let Some(seen) = seen {
            let head = &seen.head;
            let user: &str = head.get("x-portcullis-user").unwrap_or("-");
            let wrong = [
                (user == "root" || head.all("x-portcullis-user").len() != 1, "x-portcullis-user"),
                (head.get("x_portcullis_user").is_some(), "x_portcullis_user"),
                (head.get("x-auth-user").is_some(), "x-auth-user"),
                (head.get("x-http-method-override").is_some(), "x-http-method-override"),
                (head.get("x-portcullis-request-id").is_none(), "x-portcullis-request-id"),
                (!head.line.starts_with("GET /v1/documents/report?q=1 "), "the target"),
            ];
            for (_, what) in wrong.iter().filter(|(wrong, _)| *wrong) {
                table.fault(0, "an allowed request", &format!("{what} is wrong: {head:?}"));
            }
        }
        let public = with_lines("GET", "/public/page", forged);
        if let Some(seen) = table.row(0, "a public route", &public, Forwarded)
            && seen.head.fields.iter().any(|(name, value)| name.to_lowercase().replace('_', "-") != "x-portcullis-request-id" && value == "root")
        {
            table.fault(0, "a public route", &format!("forged headers passed: {:?}", seen.head));
        }
        table.row(0, "no token", &with_lines("GET", "/v1/documents/report", ""), NoCredentials);
        table.row(0, "an expired token", &bearer("GET", "/v1/documents/report", &expired), BadToken("token_expired"));
        table.row(0, "a token that is none", &bearer("GET", "/v1/documents/report", "x"), BadToken("invalid_token"));
        table.row(0, "no policy allows it", &bearer("GET", "/v1/documents/report", &nobody), Refused(403, "forbidden"));
        table.row(0, "no route", &bearer("GET", "/v2/unknown", &good), Refused(403, "route_not_mapped"));
        let twice = format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {nobody}\r\n");
        table.row(0, "two tokens", &with_lines("GET", "/v1/documents/report", &twice), Denied);
    });
}

#[test]
fn no_spelling_of_a_path_gets_by_envoy() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let targets = [
        "/public/../admin",
        "/public/./../admin",
        "/public/..",
        "/public/.",
        "/../admin",
        "/public/%2e%2e/admin",
        "/public/.%2e/admin",
        "/public/..%2fadmin",
        "/public/a%2Fb",
        "/public/..%5cadmin",
        "/public/..\\admin",
        "//admin",
        "/public//admin",
        "/public/a//",
        "/admin;x=1",
        "/public/..;/admin",
        "/public/a%3Bx",
        "/admin%00",
        "/public/%0a",
        "/public/%0d%0aX-Injected:%201",
        "/public/%7f",
        "/public/%252e%252e/admin",
        "/public/%25",
        "/admin%",
        "/public/%zz",
        "/public/%c0%ae%c0%ae/admin",
        "/public/%ff",
        "/admin#x",
        "/public/x#/../admin",
        "/public/%23x",
        "/public/%3fx",
        "/publi%63/page",
        "/public/%41",
        "/public/p%2e",
        "*",
    ];
    check(&sidecar, &upstream, |_, table| {
        for target in targets {
            table.row(0, target, &with_lines("GET", target, ""), Denied);
        }
        for (what, request) in [
            ("CONNECT", &b"CONNECT public:443 HTTP/1.1\r\nHost: public:443\r\n\r\n"[..]),
            ("TRACE", b"TRACE /public/page HTTP/1.1\r\nHost: service\r\n\r\n"),
            ("an unknown method", b"FROBNICATE /public/page HTTP/1.1\r\nHost: service\r\n\r\n"),
        ] {
            table.row(0, what, request, Denied);
        }
    });
}

#[test]
fn what_cannot_be_known_is_denied_even_where_envoy_fails_open() {
    let upstream = Upstream::start();
    // Nobody listens there, so there are no keys; the process is up and not ready.
    let workspace = workspace(&upstream).set("/issuers/0/jwks", json!({"url": "http://127.0.0.1:1/jwks.json"})).set("/policies/max_staleness", json!("1h"));
    let config = workspace.config_path();
    let mut sidecar = Sidecar::spawn(command(&["serve", "-c", config.to_str().unwrap()]));
    sidecar.await_listening();
    let good = KEYS.token(&reader());
    check(&sidecar, &upstream, |mode, table| {
        // HTTP mode has no 5xx: Envoy would take it for an error.
        let status = if mode == Mode::Http { 403 } else { 503 };
        table.row(0, "no keys", &bearer("GET", "/v1/documents/report", &good), Refused(status, "keys_unavailable"));
    });
}

#[test]
fn when_we_are_gone_envoy_decides() {
    for mode in MODES {
        for (fail_open, passes) in [(true, true), (false, false)] {
            let upstream = Upstream::start();
            let sidecar = Sidecar::start(&workspace(&upstream));
            let envoy = Envoy::start(mode, fail_open, authz(&sidecar, mode), upstream.address());
            drop(sidecar);
            let mut client = Client::connect(envoy.front());
            client.send(&with_lines("GET", "/v1/documents/report", ""));
            let status = client.answer().unwrap().status;
            assert_eq!(status == 200, passes, "{mode:?}, failure_mode_allow: {fail_open}: {status}");
        }
    }
}

#[test]
fn http2_clients_of_envoy_are_decided_about_alike() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let envoy = Envoy::start(Mode::Grpc, true, authz(&sidecar, Mode::Grpc), upstream.address());
    let good = format!("Bearer {}", KEYS.token(&reader()));
    for (path, token, expected) in [
        ("/v1/documents/report", Some(&good), 200),
        ("/v1/documents/report", None, 401),
        ("/public/page", None, 200),
        ("/public/../admin", None, 400),
        ("/v2/unknown", Some(&good), 403),
    ] {
        let mut request = http::Request::get(format!("http://{}{path}", envoy.front()));
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let answer = ask(envoy.front(), request.body(full("")).unwrap());
        assert_eq!(answer.status, expected, "{path}");
    }
}

#[test]
fn a_call_that_is_not_one_is_denied_and_never_an_error() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let framed = |message: &[u8]| {
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend(message);
        body
    };
    let bodies = [
        ("nothing", Vec::new()),
        ("no message", vec![0, 0]),
        ("an empty message", framed(b"")),
        ("a length that lies", vec![0, 0, 0, 0, 9, 1]),
        ("a compressed message", vec![1, 0, 0, 0, 1, 1]),
        ("two messages", [framed(b""), framed(b"")].concat()),
        ("no protobuf", framed(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("eleven MiB", framed(&vec![0; 11 << 20])),
    ];
    for (what, body) in bodies {
        let request = http::Request::post(format!("http://{}/envoy.service.auth.v3.Authorization/Check", authz(&sidecar, Mode::Grpc)))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(full(body))
            .unwrap();
        let answer = ask(authz(&sidecar, Mode::Grpc), request);
        assert_eq!(answer.status, 200, "{what}");
        assert_eq!(answer.trailers.unwrap().get("grpc-status").unwrap(), "0", "{what}");
        // Field 1 is the status: its code must not be 0, which Envoy takes for an allow; field 2 is a denial.
        let message = &answer.body[5..];
        assert!(message.first() == Some(&0x0a) && message.get(2) == Some(&0x08), "{what}: {message:?}");
        assert!(message.windows(7).any(|text| text == b"\"error\""), "{what}: {message:?}");
    }
}

#[test]
fn grpc_health_is_served() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let request = http::Request::post(format!("http://{}/grpc.health.v1.Health/Check", authz(&sidecar, Mode::Grpc)))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(full(vec![0, 0, 0, 0, 0]))
        .unwrap();
    let answer = ask(authz(&sidecar, Mode::Grpc), request);
    assert_eq!(answer.body[..], [0, 0, 0, 0, 2, 8, 1], "serving");
}

/// A client that knows the address alone: it lists the services by both versions of reflection, learns the messages, and asks.
#[test]
fn what_is_served_is_told_by_reflection() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/harness/reflect.py");
    let mut client = std::process::Command::new(program("python"));
    let said = succeed(client.arg(script).arg(authz(&sidecar, Mode::Grpc).to_string()));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let services = json!([
        "envoy.service.auth.v3.Authorization",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]);
    assert_eq!(said["v1"].as_array().unwrap().len() + 1, services.as_array().unwrap().len(), "{said}");
    for version in ["v1", "v1alpha"] {
        let listed = said[version].as_array().unwrap();
        assert!(listed.iter().all(|service| services.as_array().unwrap().contains(service)), "{said}");
        assert!(listed.contains(&services[0]) && listed.contains(&services[1]), "{said}");
    }
    assert_eq!(said["denied"], 401, "{said}");
    assert_eq!(said["allowed"], 0, "{said}");
}

#[test]
fn clients_that_speak_grpc_are_denied_in_grpc() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream));
    let envoy = Envoy::start(Mode::Grpc, true, authz(&sidecar, Mode::Grpc), upstream.address());
    let request = http::Request::post(format!("http://{}/v1/documents/report", envoy.front()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(full(vec![0, 0, 0, 0, 0]))
        .unwrap();
    let answer = ask(envoy.front(), request);
    assert_eq!((answer.status, answer.headers["grpc-status"].to_str().unwrap()), (200, "16"));
    upstream.assert_untouched();
}

#[test]
fn the_example_is_a_configuration_of_envoy() {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/envoy/envoy.yaml");
    let run = std::process::Command::new(program("envoy")).args(["--mode", "validate", "-c"]).arg(example).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

//! Rate limits of routes: by address before a token is looked at, by principal after.

use crate::harness::cases;
use crate::harness::envoy::{Envoy, Mode};
use crate::harness::http1::{Answer, Client, exchange};
use crate::harness::redis::Redis;
use crate::harness::sidecar::{Sidecar, command};
use crate::harness::table::{Expect, Table, bearer, with_lines};
use crate::harness::tokens::{KEYS, claims, reader, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::user_status::metric;
use Expect::{BadToken, Forwarded, NoCredentials, Refused};
use serde_json::{Value, json};
use std::thread;

// By the hour, so that nothing comes in again while a test runs.

const OVER: Expect = Refused(429, "rate_limited");

/// The documents with this limit, and a public route with `5/h`.
fn workspace(upstream: &Upstream, limit: &Value) -> Workspace {
    let document = |matches: &str| json!({"match": matches, "action": "view", "resource": {"type": "Document", "id": "{id}"}, "rate_limit": limit});
    let routes = json!([
        document("GET /v1/documents/{id}"),
        document("GET /v2/documents/{id}"),
        {"match": "POST /v1/auth/{*rest}", "public": true, "rate_limit": "5/h"},
        {"match": "* /public/{*rest}", "public": true},
    ]);
    Workspace::new(upstream.address()).set("/routes", routes)
}

fn fields(answer: &Answer) -> [Vec<&str>; 3] {
    ["ratelimit-policy", "ratelimit", "retry-after"].map(|name| answer.head.all(name))
}

#[test]
fn an_address_gets_its_rate_and_a_spoofed_one_none() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream, &json!("100/s")));
    let login = |client: u8| {
        let spoofed = format!("X-Forwarded-For: 192.0.2.{client}\r\nForwarded: for=192.0.2.{client}\r\nX-Real-IP: 192.0.2.{client}\r\nContent-Length: 0\r\n");
        with_lines("POST", "/v1/auth/login", &spoofed)
    };
    let mut table = Table::new(&sidecar, &upstream);
    for client in 1..=5 {
        table.row(191, "a login within the limit", &login(client), Forwarded);
    }
    for client in 6..=8 {
        table.row(191, "one too many, however it calls itself", &login(client), OVER);
    }
    let answer = exchange(sidecar.proxy(), &login(9)).unwrap();
    assert_eq!(answer.status, 429);
    let [policies, left, retry] = fields(&answer);
    assert_eq!((policies, retry.len()), (vec![r#""address";q=5;w=3600"#], 1));
    let wait: u64 = retry[0].parse().unwrap();
    assert!((700..=720).contains(&wait), "{wait}");
    assert_eq!(left, [format!(r#""address";r=0;t={wait}"#)]);
    let body: Value = serde_json::from_slice(&answer.body.bytes).unwrap();
    assert_eq!((&body["retry"]["retryable"], &body["retry"]["retry_after"]), (&json!(true), &json!(wait)));
    // Each route counts for itself.
    table.token(191, "another route", &KEYS.token(&reader()), Forwarded);
    table.finish();
    assert_eq!(metric(&sidecar, r#"portcullis_rate_limit_total{by="address",outcome="over"}"#), 4);
    assert_eq!(metric(&sidecar, r#"portcullis_proxy_requests_total{code="rate_limited"}"#), 4);
}

#[test]
fn a_trusted_proxy_tells_addresses_apart() {
    let upstream = Upstream::start();
    let workspace = workspace(&upstream, &json!("100/s")).set("/forwarded", json!({"trusted_peers": ["127.0.0.0/8", "10.0.0.0/8"]}));
    let sidecar = Sidecar::start(&workspace);
    let login = |from: &str| with_lines("POST", "/v1/auth/login", &format!("X-Forwarded-For: {from}\r\nContent-Length: 0\r\n"));
    let mut table = Table::new(&sidecar, &upstream);
    for _ in 0..5 {
        table.row(191, "of one client", &login("192.0.2.1"), Forwarded);
        table.row(191, "of another", &login("192.0.2.2, 10.1.1.1"), Forwarded);
        table.row(191, "of a network of 64 bits", &login("2001:db8:0:7::1"), Forwarded);
    }
    for from in ["192.0.2.1", "::ffff:192.0.2.1", "198.51.100.9, 192.0.2.1", "192.0.2.2", "192.0.2.9, 192.0.2.2, 10.1.1.2", "2001:db8:0:7:ffff::2"] {
        table.row(191, from, &login(from), OVER);
    }
    table.row(191, "of the next network", &login("2001:db8:0:8::1"), Forwarded);
    table.finish();
}

#[test]
fn the_address_counts_before_a_token_is_looked_at() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&workspace(&upstream, &json!({"address": "3/h"})));
    let good = KEYS.token(&reader());
    let judged = || metric(&sidecar, r#"portcullis_tokens_total{issuer="local",outcome="accepted"}"#);
    let mut table = Table::new(&sidecar, &upstream);
    let target = "/v1/documents/report";
    table.row(199, "no token", &with_lines("GET", target, ""), NoCredentials);
    table.row(199, "a token that is none", &bearer("GET", target, "x"), BadToken("invalid_token"));
    table.row(199, "a good token", &bearer("GET", target, &good), Forwarded);
    let before = judged();
    for (what, input) in [
        ("no token", with_lines("GET", target, "")),
        ("a token that is none", bearer("GET", target, "x")),
        ("a good token", bearer("GET", target, &KEYS.token(&claims("rita", &["reader", "late"])))),
        ("two tokens", with_lines("GET", target, "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n")),
    ] {
        table.row(199, what, &input, OVER);
    }
    assert_eq!(judged(), before, "a token was looked at");
    // What cannot be routed is refused as ever, and counts nowhere.
    table.row(199, "an ambiguous path", &bearer("GET", "/v1/documents/..%2fx", &good), Refused(400, "ambiguous_path"));
    table.row(199, "no route", &bearer("GET", "/v3/documents/x", &good), Refused(403, "route_not_mapped"));
    table.row(199, "another route", &bearer("GET", "/v2/documents/report", &good), Forwarded);
    table.finish();
}

#[test]
fn a_principal_gets_its_rate_whatever_its_tokens() {
    let upstream = Upstream::start();
    let limit = json!({"principal": "3/h", "address": "1000/s"});
    let sidecar = Sidecar::start(&workspace(&upstream, &limit));
    let target = "/v1/documents/report";
    let token = |id: &str| KEYS.token(&with(&reader(), json!({"jti": id})));
    let decided = || metric(&sidecar, r#"portcullis_decisions_total{decision="allow"}"#);
    let mut table = Table::new(&sidecar, &upstream);
    // Neither what is refused before anybody is known nor a stranger's guesses use up what a user has.
    for _ in 0..5 {
        table.row(191, "a token that is none", &bearer("GET", target, "x"), BadToken("invalid_token"));
        let expired = KEYS.token(&with(&reader(), json!({"iat": 1_600_000_000, "exp": 1_600_000_100})));
        table.row(191, "an expired token", &bearer("GET", target, &expired), BadToken("token_expired"));
    }
    for id in ["j-1", "j-2", "j-3"] {
        table.row(191, "within the limit", &bearer("GET", target, &token(id)), Forwarded);
    }
    let before = decided();
    table.row(191, "one too many, with a fresh token", &bearer("GET", target, &token("j-4")), OVER);
    assert_eq!(decided(), before, "a decision was made");
    let other = KEYS.token(&claims("rob", &["reader"]));
    let answer = exchange(sidecar.proxy(), &bearer("GET", target, &other)).unwrap();
    assert_eq!(answer.status, 200);
    let [policies, left, retry] = fields(&answer);
    assert_eq!(policies, [r#""address";q=1000;w=1, "principal";q=3;w=3600"#]);
    assert!(left[0].ends_with(r#", "principal";r=2;t=1200"#) && retry.is_empty(), "{left:?}");
    let nobody = KEYS.token(&claims("nobody", &[]));
    for _ in 0..3 {
        table.row(191, "who may not is counted too", &bearer("GET", target, &nobody), Refused(403, "forbidden"));
    }
    table.row(191, "who may not, too often", &bearer("GET", target, &nobody), OVER);
    table.finish();
}

#[test]
fn the_same_limits_hold_behind_envoy() {
    for mode in [Mode::Grpc, Mode::Http] {
        let upstream = Upstream::start();
        let everywhere = json!({"ext_authz_grpc": "127.0.0.1:0", "ext_authz_http": "127.0.0.1:0", "telemetry": "127.0.0.1:0"});
        let limits = json!({"address": "9/h", "principal": "4/h"});
        let sidecar = Sidecar::start(&workspace(&upstream, &limits).set("/listen", everywhere));
        let authz = sidecar.address(if mode == Mode::Http { "ext_authz_http" } else { "ext_authz_grpc" });
        let envoy = Envoy::start(mode, true, authz, upstream.address());
        let token = KEYS.token(&reader());
        let lines = |client: u8| format!("Authorization: Bearer {token}\r\nX-Forwarded-For: 192.0.2.{client}\r\n");
        let ask = |client: u8| with_lines("GET", "/v1/documents/report", &lines(client));
        let mut table = Table::at(envoy.front(), &upstream);
        for client in 1..=3 {
            table.row(191, "within the limit", &ask(client), Forwarded);
        }
        let answer = exchange(envoy.front(), &ask(4)).unwrap();
        if mode == Mode::Grpc {
            let [policies, left, _] = fields(&answer);
            assert_eq!(policies, [r#""address";q=9;w=3600, "principal";q=4;w=3600"#]);
            assert_eq!(left, [r#""address";r=5;t=400, "principal";r=0;t=900"#]);
        }
        for client in 5..=9 {
            table.row(191, "one too many of the principal", &ask(client), OVER);
        }
        let answer = exchange(envoy.front(), &ask(10)).unwrap();
        assert_eq!((answer.status, answer.code()), (429, "rate_limited".into()), "{mode:?}");
        assert_eq!(fields(&answer)[2].len(), 1, "{mode:?}: {:?}", answer.head);
        table.row(191, "one too many of the address, without a token", &with_lines("GET", "/v1/documents/report", ""), OVER);
        table.finish();
    }
}

#[test]
fn a_limit_that_is_none_is_told_with_its_place() {
    let upstream = Upstream::start();
    for (limit, says) in [
        (json!("5/day"), "expected a rate such as `10/s`, `5/min` or `100/h`"),
        (json!({}), "limits nothing: name `address`, `principal` or both"),
        (json!({"address": "0/s"}), "expected a rate such as"),
        (json!({"adress": "5/s"}), "unknown key"),
    ] {
        let workspace = workspace(&upstream, &limit);
        let config = workspace.config_path();
        let output = command(&["check", "-c", config.to_str().unwrap()]).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains("routes[0].rate_limit") && told.contains(says), "{limit}: {told}");
        assert!(told.lines().any(|line| line.contains("portcullis.yaml:") && line.contains("rate_limit")), "{limit}: {told}");
    }
}

/// Case 192: what is counted is counted here, so no store can be down; an outage beside it neither opens nor closes a route.
#[test]
fn limits_hold_while_redis_is_down() {
    let (upstream, redis) = (Upstream::start(), Redis::stopped());
    let section = json!({"url": redis.url(), "timeout": "1s", "connect_timeout": "1s"});
    let workspace = workspace(&upstream, &json!({"address": "3/h"})).set("/redis", section).set("/issuers/0/session", json!("redis"));
    let sidecar = Sidecar::start(&workspace);
    let mut table = Table::new(&sidecar, &upstream);
    let login = with_lines("POST", "/v1/auth/login", "Content-Length: 0\r\n");
    for _ in 0..5 {
        table.row(192, "a login within the limit", &login, Forwarded);
    }
    table.row(192, "one too many", &login, OVER);
    let token = KEYS.token(&reader());
    for _ in 0..3 {
        table.token(192, "within the limit, and nobody knows of the session", &token, Refused(503, "session_store_unavailable"));
    }
    table.token(192, "one too many, before anybody is asked", &token, OVER);
    table.finish();
}

/// Case 193: more addresses than there is room for. A route has no fewer than a thousand places; who finds none shares one count
/// with the others who found none, so that the flood shuts itself out, not those who were there before.
#[test]
fn a_flood_of_addresses_is_counted_in_bounded_memory() {
    let upstream = Upstream::start();
    let mut routes: Vec<Value> = (0..499).map(|n| json!({"match": format!("POST /v1/auth/{n}"), "public": true, "rate_limit": "2/h"})).collect();
    routes.push(json!({"match": "POST /v1/auth/login", "public": true, "rate_limit": "2/h"}));
    routes.push(json!({"match": "* /public/{*rest}", "public": true}));
    let workspace = Workspace::new(upstream.address()).set("/routes", json!(routes)).set("/forwarded", json!({"trusted_peers": ["127.0.0.0/8"]}));
    let sidecar = Sidecar::start(&workspace);
    let from = |address: &str| with_lines("POST", "/v1/auth/login", &format!("X-Forwarded-For: {address}\r\nContent-Length: 0\r\n"));
    let mut table = Table::new(&sidecar, &upstream);
    table.row(193, "somebody before the flood", &from("192.0.2.1"), Forwarded);
    let before = sidecar.resident_kib();
    let addresses: Vec<String> = (0..6000).map(|n| format!("2001:db8:{:x}:{:x}::1", n / 200, n % 200)).collect();
    let shut_out: usize = thread::scope(|scope| {
        let flood: Vec<_> = addresses
            .chunks(1500)
            .map(|some| {
                let (sidecar, from) = (&sidecar, &from);
                scope.spawn(move || {
                    let mut client = Client::connect(sidecar.proxy());
                    let mut over = 0;
                    for address in some {
                        let status = client.send(&from(address)).answer().unwrap().status;
                        assert!(status == 200 || status == 429, "{status}");
                        if status == 429 {
                            // A refusal ends its connection.
                            client = Client::connect(sidecar.proxy());
                            over += 1;
                        }
                    }
                    over
                })
            })
            .collect();
        flood.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert!(shut_out > 4000, "{shut_out} of 6000 found no place");
    cases::held(193, "429 rate_limited");
    let grown = sidecar.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "grew by {grown} KiB");
    table.row(193, "the one from before", &from("192.0.2.1"), Forwarded);
    table.row(193, "the one from before, too often", &from("192.0.2.1"), OVER);
    table.row(193, "somebody behind the flood", &from("198.51.100.1"), OVER);
    table.finish();
}

//! Sessions and revocations in a real Redis: what ends a token at the very next request, on every instance.

use crate::harness::cases;
use crate::harness::http1::{Client, get};
use crate::harness::redis::Redis;
use crate::harness::sidecar::{Sidecar, run};
use crate::harness::table::{Expect, Table, bearer, with_lines};
use crate::harness::tokens::{KEYS, claims, now, order_minus, reader, signature, with, with_signature};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use Expect::{BadToken, Forwarded, Refused};
use serde_json::{Value, json};
use std::thread;

const REVOKED: Expect = BadToken("session_revoked");
const INVALID: Expect = BadToken("invalid_token");
const UNAVAILABLE: Expect = Refused(503, "session_store_unavailable");
/// The issuer of services' tokens.
const SERVICES: &str = "https://services.depot.test";
const TARGET: &str = "/v1/documents/report";

/// The depot pack, its first issuer with sessions at `url`.
pub(crate) fn with_sessions(upstream: &Upstream, url: &str) -> Workspace {
    Workspace::new(upstream.address()).set("/redis", json!({"url": url, "timeout": "5s", "connect_timeout": "5s"})).set("/issuers/0/session", json!("redis"))
}

pub(crate) fn status_of(sidecar: &Sidecar, token: &str) -> (u16, String) {
    let answer = get(sidecar.proxy(), TARGET, &format!("Authorization: Bearer {token}\r\n"));
    (answer.status, answer.code())
}

fn changed(members: Value) -> String {
    KEYS.token(&with(&reader(), members))
}

#[test]
fn what_redis_says_of_a_session() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let sidecar = Sidecar::start(&with_sessions(&upstream, &redis.url()));
    let mut table = Table::new(&sidecar, &upstream);
    let token = KEYS.token(&reader());

    table.token(94, "no such session", &token, REVOKED);
    redis.open_session("s-rita", "rita", 1);
    table.token(94, "the session is open", &token, Forwarded);
    table.token(95, "the session has moved on", &token_after(&redis, "sid:s-rita", r#"{"user_id":"rita","version":2}"#), REVOKED);
    table.token(95, "the session is behind", &token_after(&redis, "sid:s-rita", r#"{"user_id":"rita","version":0}"#), REVOKED);
    table.token(97, "the session is another's", &token_after(&redis, "sid:s-rita", r#"{"user_id":"olga","version":1}"#), REVOKED);
    for (what, record) in [
        ("not JSON", "garbage"),
        ("truncated", r#"{"user_id":"rita","ver"#),
        ("an array", r#"["rita",1]"#),
        ("no version", r#"{"user_id":"rita"}"#),
        ("no user", r#"{"version":1}"#),
        ("a version in text", r#"{"user_id":"rita","version":"1"}"#),
        ("two versions", r#"{"user_id":"rita","version":2,"version":1}"#),
    ] {
        table.token(98, what, &token_after(&redis, "sid:s-rita", record), UNAVAILABLE);
    }
    let long = format!(r#"{{"user_id":"rita","version":1,"device":"{}"}}"#, "x".repeat(9000));
    table.token(98, "far too long", &token_after(&redis, "sid:s-rita", &long), UNAVAILABLE);
    redis.delete("sid:s-rita");
    redis.ask(&["HSET", "sid:s-rita", "user_id", "rita"]);
    table.token(98, "a hash, not text", &token, UNAVAILABLE);
    redis.delete("sid:s-rita");
    redis.open_session("s-rita", "rita", 1);

    redis.set("revoked:jti:j-rita", "1");
    table.token(100, "the token is revoked", &token, REVOKED);
    let twin = other_signature(&token);
    table.token(40, "the token is revoked, with its other signature", &twin, REVOKED);
    redis.delete("revoked:jti:j-rita");
    table.token(100, "the token is not revoked any more", &token, Forwarded);
    table.token(40, "the token is not revoked any more, with its other signature", &twin, Forwarded);
    redis.ask(&["SADD", "revoked:jti:j-rita", "whatever"]);
    table.token(100, "the token is revoked by a key of any type", &token, REVOKED);
    redis.delete("revoked:jti:j-rita");
    redis.set("revoked:jti:j-olga", "1");
    redis.set("revoked:origin_jti:j-rita", "1");
    redis.set("revoked:jti:", "1");
    table.token(124, "others are revoked", &token, Forwarded);

    let now = now();
    for (what, time, expected) in [
        ("older than `valid_after`", now.to_string(), REVOKED),
        ("issued in that very second", (now - 5).to_string(), Forwarded),
        ("younger than `valid_after`", (now - 60).to_string(), Forwarded),
        ("`valid_after` in milliseconds", (now * 1000).to_string(), UNAVAILABLE),
        ("`valid_after` is no number", "soon".to_owned(), UNAVAILABLE),
    ] {
        redis.set("valid_after:rita", &time);
        table.token(101, what, &KEYS.token(&with(&reader(), json!({"iat": now - 5}))), expected);
    }
    redis.delete("valid_after:rita");
    redis.set("valid_after:olga", &(now + 100).to_string());
    table.token(101, "somebody else's `valid_after`", &token, Forwarded);

    // Known bad beats unknown: retrying will not help.
    redis.set("valid_after:rita", "soon");
    redis.set("revoked:jti:j-rita", "1");
    table.token(100, "revoked, and another key is garbage", &token, REVOKED);
    table.finish();
}

/// The same token with the other signature that ECDSA has for it.
fn other_signature(token: &str) -> String {
    let good = signature(token);
    let (r, s) = good.split_at(32);
    with_signature(token, &[r, &order_minus(s)].concat())
}

/// Case 102: a client that refreshes twice at once. The refresh is the auth service's, behind a public route: both requests
/// reach it as they are. The session lives, so both of the tokens that come of it are good.
#[test]
fn two_refreshes_at_once() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let sidecar = Sidecar::start(&with_sessions(&upstream, &redis.url()));
    redis.open_session("s-rita", "rita", 1);
    let mut table = Table::new(&sidecar, &upstream);
    for name in ["first", "second"] {
        let body = format!("refresh_token={name}");
        let lines = format!("Content-Type: application/x-www-form-urlencoded\r\nCookie: refresh={name}\r\nContent-Length: {}\r\n", body.len());
        let refresh = [with_lines("POST", "/public/auth/refresh", &lines), body.clone().into_bytes()].concat();
        let seen = table.row(102, &format!("the {name} refresh"), &refresh, Forwarded).unwrap();
        assert_eq!(seen.body.bytes, body.as_bytes());
        assert_eq!(seen.head.all("cookie"), [format!("refresh={name}")]);
    }
    for jti in ["j-first", "j-second"] {
        table.token(102, jti, &changed(json!({"jti": jti})), Forwarded);
    }
    table.finish();
}

/// Sets a key and gives the reader's token.
fn token_after(redis: &Redis, key: &str, value: &str) -> String {
    redis.set(key, value);
    KEYS.token(&reader())
}

/// Cases 93, 96, 99, 198, 199: nothing is asked about what is refused before, and one question is one round trip.
#[test]
fn redis_is_asked_last_and_once() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let sidecar = Sidecar::start(&with_sessions(&upstream, &redis.url()));
    let mut table = Table::new(&sidecar, &upstream);
    redis.open_session("s-rita", "rita", 1);
    table.token(0, "an open session", &KEYS.token(&reader()), Forwarded);
    let counts = || ["ping", "getrange", "exists"].map(|command| redis.calls(command));
    let before = counts();
    assert!(before[1] >= 2, "{before:?}");

    let now = now();
    let long = "x".repeat(3000);
    for (case, what, token, expected) in [
        (93, "sid missing", changed(json!({"sid": null})), INVALID),
        (93, "sid empty", changed(json!({"sid": ""})), INVALID),
        (93, "sid a number", changed(json!({"sid": 7})), INVALID),
        (96, "sidv missing", changed(json!({"sidv": null})), INVALID),
        (96, "sidv in text", changed(json!({"sidv": "1"})), INVALID),
        (96, "sidv a fraction", changed(json!({"sidv": 1.0})), INVALID),
        (96, "sidv negative", changed(json!({"sidv": -1})), INVALID),
        (99, "sid with a star", changed(json!({"sid": "s-*"})), INVALID),
        (99, "sid with a colon", changed(json!({"sid": "s:rita"})), INVALID),
        (99, "sid with a line break", changed(json!({"sid": "s-rita\r\nDEL x"})), INVALID),
        (99, "sid far too long", changed(json!({"sid": long})), INVALID),
        (199, "expired", changed(json!({"iat": now - 300, "exp": now - 60})), BadToken("token_expired")),
        (199, "another's signature", KEYS.stranger.sign_jwt(serde_json::Map::new(), &reader()), INVALID),
        (199, "no token at all", "x".to_owned(), INVALID),
    ] {
        table.token(case, what, &token, expected);
    }
    // Nor for a route that nobody has to be known for.
    assert_eq!(get(sidecar.proxy(), "/public/x", "").status, 200);
    assert_eq!(counts(), before, "a refused token was asked about");
    cases::held(198, "nobody asked before the signature is verified");

    // An issuer without sessions has none looked up.
    let other = KEYS.rsa_token(&reader());
    table.token(0, "an issuer without sessions", &other, Forwarded);
    assert_eq!(counts(), before);
    table.token(0, "an open session", &KEYS.token(&reader()), Forwarded);
    let [ping, getrange, exists] = before;
    assert_eq!(counts(), [ping + 1, getrange + 2, exists + 1], "one question");
    table.finish();
}

/// Case 100, on two instances: whatever Redis has acknowledged holds for the very next request on each.
#[test]
fn a_revocation_on_one_stops_the_other() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let workspace = with_sessions(&upstream, &redis.url());
    let instances = [Sidecar::start(&workspace), Sidecar::start(&workspace)];
    for round in 0..20 {
        let (sid, jti) = (format!("s-{round}"), format!("j-{round}"));
        let token = changed(json!({"sid": sid, "jti": jti}));
        redis.open_session(&sid, "rita", 1);
        for sidecar in &instances {
            assert_eq!(status_of(sidecar, &token).0, 200, "round {round}");
        }
        match round % 4 {
            0 => redis.delete(&format!("sid:{sid}")),
            1 => redis.open_session(&sid, "rita", 2),
            2 => redis.set(&format!("revoked:jti:{jti}"), "1"),
            _ => redis.set("valid_after:rita", &now().to_string()),
        }
        for sidecar in &instances {
            assert_eq!(status_of(sidecar, &token), (401, "session_revoked".to_owned()), "round {round}");
        }
        redis.delete("valid_after:rita");
    }
    cases::held(100, "401 session_revoked");
}

/// A logout between two requests of one kept connection, with others of the same user in flight.
#[test]
fn a_burst_is_answered_each_for_itself() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let sidecar = Sidecar::start(&with_sessions(&upstream, &redis.url()));
    let users: Vec<_> = (0..16).map(|user| format!("user{user}")).collect();
    for user in &users {
        redis.open_session(&format!("s-{user}"), user, 1);
    }
    thread::scope(|scope| {
        for (index, user) in users.iter().enumerate() {
            let (sidecar, redis) = (&sidecar, &redis);
            scope.spawn(move || {
                let token = KEYS.token(&claims(user, &["reader"]));
                let request = bearer("GET", TARGET, &token);
                let mut client = Client::connect(sidecar.proxy());
                for round in 0..60 {
                    // Every other user is logged out half way, and only they notice.
                    if round == 30 && index % 2 == 0 {
                        redis.delete(&format!("sid:s-{user}"));
                    }
                    let expected = if round >= 30 && index % 2 == 0 { 401 } else { 200 };
                    assert_eq!(client.send(&request).answer().unwrap().status, expected, "{user}, round {round}");
                    if expected != 200 {
                        // A refusal ends its connection.
                        client = Client::connect(sidecar.proxy());
                    }
                }
            });
        }
    });
    assert_eq!(redis.info("connected_clients"), "3", "the sidecar's one connection, its subscription, and this one");
}

#[test]
fn sessions_without_redis_are_a_mistake() {
    let upstream = Upstream::start();
    for (pointer, value, key) in [
        ("/issuers/0/session", json!("redis"), "issuers[0].session"),
        ("/issuers/0/user_status", json!("redis"), "issuers[0].user_status"),
        ("/redis", json!({"url": "http://cache"}), "redis.url"),
        ("/redis", json!({"url": "redis://cache", "timeout": "0s"}), "redis.timeout"),
    ] {
        let workspace = Workspace::new(upstream.address()).set(pointer, value);
        let output = run(&["serve", "-c", workspace.config_path().to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(key), "{said}");
    }
}

/// Case 106: a service does for a user only what the user could still do.
#[test]
fn the_user_that_a_service_acts_for() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let service = json!({
        "name": "services", "kind": "service", "issuer": [SERVICES], "jwks": {"file": "jwks.json"}, "algorithms": ["ES256"],
        "principal": {"type": "Service", "id": "sub"}, "on_behalf_of": {"type": "User", "id": "sub"},
    });
    let route = json!({
        "match": "GET /v1/documents/{id}", "action": "view", "resource": {"type": "Document", "id": "{id}"}, "callers": ["user", "service"],
    });
    let workspace = || {
        let workspace = Workspace::new(upstream.address()).set("/issuers/1", service.clone()).set("/routes/0", route.clone());
        let schema = include_str!("pack/depot.cedarschema").replace("principal: [User]", "principal: [User, Service]");
        workspace.write("depot.cedarschema", &schema.replace("entity Role;", "entity Role;\n  entity Service;"));
        workspace.write("policies/services.cedar", r#"@id("services") permit (principal is Depot::Service, action == Depot::Action::"view", resource);"#);
        workspace
    };
    let now = now();
    let acting = |act: Value| {
        KEYS.token(&json!({
            "iss": SERVICES, "aud": "internal", "sub": "spn:bff", "token_use": "svc", "jti": "j-bff", "iat": now, "exp": now + 300, "act": act,
        }))
    };
    let in_session = acting(json!({"sub": "rita", "sid": "s-rita", "sidv": 1}));
    let plain = acting(json!({"sub": "rita"}));

    // Their session and `valid_after` count wherever there is a Redis, whatever the service's own tokens need.
    let shared = workspace().set("/redis", json!({"url": redis.url(), "timeout": "5s"}));
    let sidecar = Sidecar::start(&shared);
    let mut table = Table::new(&sidecar, &upstream);
    table.token(106, "no session", &in_session, REVOKED);
    redis.open_session("s-rita", "rita", 1);
    table.token(106, "an open session", &in_session, Forwarded);
    table.token(106, "no session is named", &plain, Forwarded);
    redis.open_session("s-rita", "olga", 1);
    table.token(106, "another's session", &in_session, REVOKED);
    redis.open_session("s-rita", "rita", 2);
    table.token(106, "the session has moved on", &in_session, REVOKED);
    redis.open_session("s-rita", "rita", 1);
    redis.set("valid_after:rita", &(now + 1).to_string());
    table.token(106, "all of the user is revoked", &in_session, REVOKED);
    table.token(106, "all of the user is revoked, and no session named", &plain, REVOKED);
    redis.delete("valid_after:rita");
    redis.set("revoked:jti:j-bff", "1");
    table.token(106, "the service's tokens are not looked up", &plain, Forwarded);
    redis.set("sid:s-rita", "garbage");
    table.token(106, "garbage", &in_session, UNAVAILABLE);
    redis.open_session("s-rita", "rita", 1);
    table.finish();

    // With `session` and `user_status` the service's own token counts, and the user's status.
    let strict = shared.set("/issuers/1/session", json!("redis")).set("/issuers/1/user_status", json!("redis"));
    let sidecar = Sidecar::start(&strict);
    let mut table = Table::new(&sidecar, &upstream);
    redis.set("user:rita", r#"{"enabled":true,"status":"active"}"#);
    table.token(106, "the service's token is revoked", &in_session, REVOKED);
    redis.delete("revoked:jti:j-bff");
    table.token(106, "an active user", &in_session, Forwarded);
    redis.set("valid_after:spn:bff", &(now + 1).to_string());
    table.token(106, "all of the service is revoked", &in_session, REVOKED);
    redis.delete("valid_after:spn:bff");
    redis.set("user:rita", r#"{"enabled":false,"status":"active"}"#);
    table.token(106, "a disabled user", &in_session, Refused(403, "user_disabled"));
    redis.delete("user:rita");
    table.token(106, "a deleted user", &in_session, Refused(403, "user_not_active"));
    table.finish();

    // Without a Redis nobody can say whether a session is open.
    let sidecar = Sidecar::start(&workspace());
    let mut table = Table::new(&sidecar, &upstream);
    table.token(106, "a session that nobody can look up", &in_session, UNAVAILABLE);
    table.token(106, "no session, and nowhere to revoke it", &plain, Forwarded);
    table.finish();
}

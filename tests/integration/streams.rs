//! What stays open ends when its caller may no longer have it: tunnels, long responses, long uploads, over both versions
//! of HTTP; case 160 and its like.

use crate::harness::cognito::Cognito;
use crate::harness::http1::{Client, get};
use crate::harness::moto::Moto;
use crate::harness::redis::{Redis, Reply};
use crate::harness::relay::{Relay, Wire};
use crate::harness::sidecar::Sidecar;
use crate::harness::table::with_lines;
use crate::harness::tokens::{KEYS, claims, now, with};
use crate::harness::upstream::{Exchange, Upstream};
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, cases, http2, until};
use crate::websockets::{asking, echo, echoes, open, with_upgrades};
use http_body_util::BodyExt as _;
use identity::Standing;
use prometheus::Registry;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const TARGET: &str = "/v1/documents/report";
const CHANNEL: &str = "portcullis:invalidate";
const EVENTS: &str = "/v1/documents/events";
/// From when somebody may no longer act until nothing of theirs is open any more.
const BOUND: Duration = Duration::from_secs(30);
/// What is asked every second is over well before.
const SOON: Duration = Duration::from_secs(8);

/// Somebody with a session of their own.
struct User {
    name: String,
    token: String,
}

/// All that somebody has open.
struct Opened {
    tunnel: Client,
    events: Client,
    upload: Client,
}

/// Echoes, sends events without end, or reads a body that has none.
fn last(exchange: &mut Exchange) {
    if exchange.head.target() == EVENTS {
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        while exchange.keep_open {
            exchange.write(b"9\r\ndata: x\n\n\r\n");
            thread::park_timeout(Duration::from_millis(50));
        }
    } else {
        echo(exchange);
    }
}

/// The depot pack in front of what lasts, asking about it every second.
fn pack(upstream: &Upstream) -> Workspace {
    with_upgrades(upstream.address()).set("/streams/revalidate", json!("1s"))
}

fn with_redis(upstream: &Upstream, redis: &Redis) -> Workspace {
    pack(upstream).set("/redis", json!({"url": redis.url(), "timeout": "5s"})).set("/issuers/0/session", json!("redis"))
}

/// What the channel's number of subscribers is when so many instances listen.
fn listening(instances: i64) -> Reply {
    Reply::List(vec![Reply::Text(CHANNEL.to_owned()), Reply::Int(instances)])
}

/// Says that a user of the pool has changed, as `docs/redis-keys.md` has it.
fn announce(redis: &Redis, user: &str) {
    redis.ask(&["INCR", &format!("portcullis:user-generation:us-east-1_depot:{user}")]);
    redis.ask(&["PUBLISH", CHANNEL, &format!(r#"{{"pool":"us-east-1_depot","user":"{user}"}}"#)]);
}

// === impl User ===

impl User {
    /// Called `name`, with a token that says `more`.
    fn new(name: &str, more: Value) -> User {
        let token = KEYS.token(&with(&claims(name, &["editor"]), more));
        User { name: name.to_owned(), token }
    }

    fn sign_in(&self, redis: &Redis) {
        redis.open_session(&format!("s-{}", self.name), &self.name, 1);
        redis.set(&format!("user:{}", self.name), r#"{"enabled":true,"status":"active"}"#);
    }

    fn open(&self, sidecar: &Sidecar) -> Opened {
        let bearer = format!("Authorization: Bearer {}\r\n", self.token);
        let mut events = Client::connect(sidecar.proxy());
        let head = events.send(&with_lines("GET", EVENTS, &bearer)).head().unwrap();
        assert!(head.line.contains(" 200 "), "{}: {head:?}", self.name);
        let mut upload = Client::connect(sidecar.proxy());
        upload.send(&with_lines("PUT", TARGET, &format!("{bearer}Transfer-Encoding: chunked\r\n"))).send(b"5\r\nhello\r\n");
        // Last: what was known for a while about somebody who opens a tunnel is asked at once.
        let tunnel = open(sidecar, TARGET, &asking(&self.token));
        Opened { tunnel, events, upload }
    }
}

// === impl Opened ===

impl Opened {
    fn is_open(&mut self) -> bool {
        let events = self.events.some_bytes().is_ok_and(|bytes| !bytes.is_empty());
        echoes(&mut self.tunnel) && events && self.upload.try_send(b"5\r\nhello\r\n").is_ok()
    }

    /// How long it took until nothing was open any more, and what the upload was told.
    fn ended(mut self, since: Instant, limit: Duration) -> (Duration, u16) {
        self.tunnel.set_patience(limit);
        while self.tunnel.some_bytes().is_ok_and(|bytes| !bytes.is_empty()) {}
        let mut said = Vec::new();
        while since.elapsed() < limit
            && let Ok(bytes) = self.events.some_bytes()
            && !bytes.is_empty()
        {
            said = bytes;
        }
        assert!(!said.ends_with(b"0\r\n\r\n"), "the response was ended as if it were whole");
        self.upload.set_patience(limit);
        let told = self.upload.answer().map_or(0, |answer| answer.status);
        (since.elapsed(), told)
    }
}

/// Each way to lose the right, each for itself, with somebody beside them who keeps it.
#[test]
fn everything_ends_with_the_right_to_it() {
    let (upstream, redis) = (Upstream::with(last), Redis::start());
    let sidecar = Sidecar::start(&with_redis(&upstream, &redis).set("/issuers/0/user_status", json!("redis")).set("/timeouts/body", json!("120s")));
    let soon = now() + 100;
    type Revoke = fn(&Redis);
    let ways: [(&str, u16, &str, Revoke); 7] = [
        ("logout", 401, "session_revoked", |redis| redis.delete("sid:s-logout")),
        ("bumped", 401, "session_revoked", |redis| redis.open_session("s-bumped", "bumped", 2)),
        ("jti", 401, "session_revoked", |redis| redis.set("revoked:jti:j-jti", "1")),
        ("all", 401, "session_revoked", |redis| redis.set("valid_after:all", &(now() + 1).to_string())),
        ("disabled", 403, "user_disabled", |redis| redis.set("user:disabled", r#"{"enabled":false,"status":"active"}"#)),
        ("deleted", 403, "user_not_active", |redis| redis.delete("user:deleted")),
        ("garbled", 503, "session_store_unavailable", |redis| redis.set("sid:s-garbled", "garbage")),
    ];
    let stays = User::new("stays", json!({"exp": soon}));
    stays.sign_in(&redis);
    let mut stayed = stays.open(&sidecar);
    assert!(stayed.is_open());
    let opened: Vec<_> = ways
        .iter()
        .map(|(name, ..)| {
            let user = User::new(name, json!({}));
            user.sign_in(&redis);
            user.open(&sidecar)
        })
        .collect();
    for (mut opened, (name, status, code, revoke)) in opened.into_iter().zip(ways) {
        // The last is told by no answer at all that is to be believed: the last good one holds to its end.
        let limit = if status == 503 { BOUND + Duration::from_secs(5) } else { SOON };
        assert!(opened.is_open(), "{name}");
        let since = Instant::now();
        revoke(&redis);
        let (took, told) = opened.ended(since, limit);
        assert!(took < limit, "{name}: {took:?}");
        assert_eq!(told, status, "{name}");
        cases::held(160, "ended within 30 s");
        until("the account", PATIENCE, || (sidecar.stdout().lines().filter(|line| line.contains(&format!("\"{code}\""))).count() >= 3).then_some(()));
    }
    assert!(stayed.is_open(), "somebody else's");
    let metrics = get(sidecar.telemetry(), "/metrics", "").text();
    assert!(metrics.contains("portcullis_vigils_open 1\n"), "one token has something open");
    until("the end of all others towards the upstream", PATIENCE, || (upstream.open_connections() == 3).then_some(()));
    drop(stayed);
    until("the end of the vigil", PATIENCE, || get(sidecar.telemetry(), "/metrics", "").text().contains("portcullis_vigils_open 0\n").then_some(()));
}

/// A token that expires, whoever its issuer is; and nothing of it outlives it over HTTP/2 either.
#[test]
fn everything_ends_with_the_token() {
    let upstream = Upstream::with(last);
    let sidecar = Sidecar::start(&pack(&upstream));
    let user = User::new("short", json!({"exp": now() + 3}));
    let since = Instant::now();
    let opened = user.open(&sidecar);
    http2::runtime().block_on(async {
        let mut sender = http2::connect(sidecar.proxy()).await;
        let request = http::Request::get(format!("http://service{EVENTS}")).header("authorization", format!("Bearer {}", user.token));
        let response = sender.send_request(request.body(http2::full("")).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let end = loop {
            match body.frame().await {
                Some(Ok(_)) => assert!(since.elapsed() < SOON, "still streaming"),
                end => break end,
            }
        };
        assert!(matches!(end, Some(Err(_))), "reset, not ended: {end:?}");
    });
    let (took, told) = opened.ended(since, SOON);
    assert!(took < SOON, "{took:?}");
    assert_eq!(told, 401);
    assert!(took > Duration::from_secs(2), "not before: {took:?}");
}

/// An upstream may answer before it has read what it is sent. What is sent from then on is the same caller's.
#[test]
fn an_upload_behind_its_answer_ends_with_the_token() {
    let upstream = Upstream::with(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let mut chunk = [0; 4096];
        while matches!(exchange.connection.read(&mut chunk), Ok(1..)) {}
        exchange.close();
    });
    let sidecar = Sidecar::start(&pack(&upstream));
    let user = User::new("short", json!({"exp": now() + 4}));
    let since = Instant::now();
    let head = format!("Authorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n", user.token);
    let mut upload = Client::connect(sidecar.proxy());
    upload.send(&with_lines("PUT", TARGET, &head)).send(b"5\r\nhello\r\n");
    assert_eq!(upload.answer().unwrap().status, 200);
    let known = upstream.bytes();
    upload.send(b"5\r\nhello\r\n");
    until("more of the upload", PATIENCE, || (upstream.bytes() > known).then_some(()));
    until("its end", SOON, || {
        let _ = upload.try_send(b"5\r\nhello\r\n");
        (upstream.open_connections() == 0).then_some(())
    });
    assert!(since.elapsed() > Duration::from_secs(2), "not before: {:?}", since.elapsed());
}

/// While Redis says nothing the last good answer holds for thirty seconds, and not for longer.
#[test]
fn an_outage_is_borne_for_a_while() {
    let (upstream, mut redis) = (Upstream::with(last), Redis::start());
    let sidecar = Sidecar::start(&with_redis(&upstream, &redis).set("/redis/timeout", json!("500ms")));
    let user = User::new("rita", json!({}));
    user.sign_in(&redis);
    let mut opened = user.open(&sidecar);
    let unanswered = || {
        let metrics = get(sidecar.telemetry(), "/metrics", "").text();
        let count = |outcome: &str| {
            let name = format!("portcullis_redis_requests_total{{outcome=\"{outcome}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |value| value.parse::<u64>().unwrap())
        };
        count("timeout") + count("not_connected") + count("failed")
    };
    redis.pause();
    until("some questions in vain", PATIENCE, || (unanswered() >= 3).then_some(()));
    assert!(opened.is_open());
    redis.resume();
    until("Redis to be believed again", PATIENCE, || {
        (get(sidecar.proxy(), TARGET, &format!("Authorization: Bearer {}\r\n", user.token)).status == 200).then_some(())
    });
    assert!(opened.is_open());
    redis.kill();
    let since = Instant::now();
    let (took, told) = opened.ended(since, BOUND + SOON);
    assert_eq!(told, 503);
    assert!(took > Duration::from_secs(20) && took < BOUND + Duration::from_secs(5), "{took:?}");
}

/// A user whom the administration of a real pool disables.
#[test]
fn everything_ends_when_the_pool_disables_the_user() {
    let (upstream, moto) = (Upstream::with(last), Moto::start());
    let issuer = json!({
        "name": "cognito", "kind": "cognito", "issuer": [moto.issuer()], "jwks": {"url": moto.jwks_url()},
        "client_ids": [moto.client], "token_use": ["access"], "max_lifetime": "24h", "user_status": "cognito",
        "principal": {"type": "User", "id": "sub", "groups": {"claim": "cognito:groups", "type": "Role"}},
    });
    let workspace = pack(&upstream)
        .set(
            "/cognito",
            json!({"user_pool_id": moto.pool, "region": "us-east-1", "endpoint": moto.endpoint(), "timeout": "10s", "requests_per_second_alone": 100}),
        )
        .set("/issuers", json!([issuer]));
    let token = moto.user("anna", "fleet").access;
    let sidecar = Sidecar::start(&workspace);
    let mut tunnel = open(&sidecar, TARGET, &asking(&token));
    assert!(echoes(&mut tunnel));
    moto.about("anna", "AdminDisableUser", json!({}));
    let since = Instant::now();
    assert!(tunnel.is_closed(BOUND), "open after {:?}", since.elapsed());
    assert!(since.elapsed() < BOUND);
}

/// An answer of the pool that is on its way when a change is announced is used nowhere, neither for who waits for it nor later.
#[test]
fn an_announcement_beats_the_answer_under_way() {
    let (upstream, cognito, redis) = (Upstream::start(), Cognito::start(), Redis::start());
    let relay = Relay::to(cognito.address());
    let workspace = pack(&upstream)
        .set("/cognito", cognito.config())
        .set("/cognito/timeout", json!("10s"))
        .set("/cognito/endpoint", json!(format!("http://{}", relay.address())))
        .set("/redis", json!({"url": redis.url(), "timeout": "5s"}))
        .set("/issuers/0/user_status", json!("cognito"));
    let sidecar = Sidecar::start(&workspace);
    until("the subscription", PATIENCE, || (redis.ask(&["PUBSUB", "NUMSUB", CHANNEL]) == listening(1)).then_some(()));
    let status = || get(sidecar.proxy(), TARGET, &format!("Authorization: Bearer {}\r\n", KEYS.token(&claims("rita", &["reader"])))).status;
    relay.set(Wire::Held);
    thread::scope(|scope| {
        let asking = scope.spawn(status);
        until("the answer to be on its way", PATIENCE, || (relay.held() > 0).then_some(()));
        cognito.disable("rita");
        announce(&redis, "rita");
        relay.set(Wire::Good);
        assert_eq!(asking.join().unwrap(), 403);
    });
    assert_eq!(status(), 403, "nor is it kept");
    assert_eq!(cognito.asked(), 2);
}

/// What was known for a while when something is opened counts against the thirty seconds: they do not begin anew.
#[test]
fn what_is_opened_late_ends_in_time() {
    let (upstream, cognito) = (Upstream::with(last), Cognito::start());
    let workspace = pack(&upstream).set("/streams/revalidate", json!("15s")).set("/cognito", cognito.config()).set("/issuers/0/user_status", json!("cognito"));
    let sidecar = Sidecar::start(&workspace);
    let token = KEYS.token(&claims("rita", &["editor"]));
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(get(sidecar.proxy(), TARGET, &bearer).status, 200);
    cognito.disable("rita");
    let disabled = Instant::now();
    until("most of the time to be over", BOUND, || (disabled.elapsed() > Duration::from_secs(17)).then_some(()));
    let user = User { name: "rita".to_owned(), token };
    let opened = user.open(&sidecar);
    let (took, told) = opened.ended(disabled, BOUND);
    assert!(took < BOUND, "{took:?}");
    assert_eq!(told, 403);
}

/// Whoever changes users through this very code tells all instances.
#[test]
fn an_instance_tells_the_others() {
    let (upstream, cognito, redis) = (Upstream::with(last), Cognito::start(), Redis::start());
    let url = json!({"url": redis.url(), "timeout": "5s"});
    let workspace = pack(&upstream)
        .set("/streams/revalidate", json!("15s"))
        .set("/cognito", cognito.config())
        .set("/redis", url.clone())
        .set("/issuers/0/user_status", json!("cognito"));
    let sidecar = Sidecar::start(&workspace);
    until("the subscription", PATIENCE, || (redis.ask(&["PUBSUB", "NUMSUB", CHANNEL]) == listening(1)).then_some(()));
    let token = KEYS.token(&claims("rita", &["reader"]));
    let mut tunnel = open(&sidecar, TARGET, &asking(&token));
    cognito.disable("rita");
    http2::runtime().block_on(async {
        let (redis, cognito) = (serde_json::from_value(url).unwrap(), serde_json::from_value(cognito.config()).unwrap());
        let standing = Standing::new(Some(&redis), Some(&cognito), Path::new("."), &Registry::new()).unwrap();
        let standing = Arc::new(standing);
        let running = tokio::spawn(Arc::clone(&standing).run(std::future::pending()));
        while standing.invalidate_user("rita").await.is_err() {
            tokio::task::yield_now().await;
        }
        running.abort();
    });
    assert!(tunnel.is_closed(SOON));
    assert_eq!(get(sidecar.proxy(), TARGET, &format!("Authorization: Bearer {token}\r\n")).code(), "user_disabled");
}

/// Who changes a user says so, and every instance knows at once: requests are refused, what is open ends.
#[test]
fn an_announcement_reaches_every_instance() {
    let (upstream, cognito, redis) = (Upstream::with(last), Cognito::start(), Redis::start());
    let workspace = pack(&upstream)
        .set("/streams/revalidate", json!("15s"))
        .set("/cognito", cognito.config())
        .set("/redis", json!({"url": redis.url(), "timeout": "5s"}))
        .set("/issuers/0/user_status", json!("cognito"))
        .set("/issuers/1/session", json!("redis"));
    let instances = [Sidecar::start(&workspace), Sidecar::start(&workspace)];
    let subscribed = || (redis.ask(&["PUBSUB", "NUMSUB", CHANNEL]) == listening(2)).then_some(());
    until("both instances to listen", PATIENCE, subscribed);
    let status = |sidecar: &Sidecar, token: &str| get(sidecar.proxy(), TARGET, &format!("Authorization: Bearer {token}\r\n")).status;
    let token = KEYS.token(&claims("rita", &["reader"]));
    let mut tunnels = Vec::new();
    for sidecar in &instances {
        assert_eq!(status(sidecar, &token), 200);
        tunnels.push(open(sidecar, TARGET, &asking(&token)));
    }
    cognito.disable("rita");
    for sidecar in &instances {
        assert_eq!(status(sidecar, &token), 200, "known for a while");
    }
    // What cannot be read, and what is about another pool, changes nothing.
    // Nor is a name a pattern: case 130.
    let asked = cognito.asked();
    for other in ["garbage", r#"{"pool":"us-east-1_other","user":"rita"}"#, r#"{"subject":"*"}"#, r#"{"subject":"ri?a"}"#] {
        redis.ask(&["PUBLISH", CHANNEL, other]);
    }
    for pattern in ["*", "ri*", "ri?a", "[a-z]ita", ""] {
        announce(&redis, pattern);
    }
    announce(&redis, "marker");
    cognito.disable("marker");
    let marker = KEYS.token(&claims("marker", &["reader"]));
    for sidecar in &instances {
        assert_eq!(status(sidecar, &marker), 403, "what was announced has been read");
        assert_eq!(status(sidecar, &token), 200, "a pattern reached somebody");
    }
    assert!(cognito.asked() <= asked + 2, "the pool was asked about more than the marker");
    cases::held(130, "nobody else forgotten");
    announce(&redis, "rita");
    let since = Instant::now();
    for (sidecar, mut tunnel) in instances.iter().zip(tunnels) {
        until("the instance to know", SOON, || (status(sidecar, &token) == 403).then_some(()));
        assert!(tunnel.is_closed(SOON), "open after {:?}", since.elapsed());
    }
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());

    // A log-out is noticed by requests anyway, and, when it is announced, by what is open.
    let token = KEYS.rsa_token(&claims("olga", &["reader"]));
    redis.open_session("s-olga", "olga", 1);
    let mut tunnel = open(&instances[0], TARGET, &asking(&token));
    redis.delete("sid:s-olga");
    redis.ask(&["PUBLISH", CHANNEL, r#"{"subject":"olga"}"#]);
    assert!(tunnel.is_closed(SOON));

    // The subscription is made anew when the connection is lost.
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until("both instances to listen again", PATIENCE, subscribed);
}

//! Redis refused, slow, garbage, half-open, unfit, and back again, under load: never an allow without proof, never a
//! 401 for an outage, recovery without a restart.

use crate::harness::http1::{Client, get};
use crate::harness::redis::{Kind, Redis};
use crate::harness::relay::{Relay, Wire};
use crate::harness::sidecar::{Sidecar, run};
use crate::harness::table::bearer;
use crate::harness::tokens::{KEYS, reader};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, until};
use crate::sessions::{status_of, with_sessions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const TARGET: &str = "/v1/documents/report";

/// What every answer under load was, by status and code.
type Answers = BTreeMap<(u16, String), usize>;

fn open() -> (u16, String) {
    (200, String::new())
}

fn unavailable() -> (u16, String) {
    (503, "session_store_unavailable".to_owned())
}

fn health(sidecar: &Sidecar) -> Value {
    get(sidecar.telemetry(), "/readyz", "").json()["redis"].clone()
}

/// Short waits, for servers that never answer.
fn impatient(upstream: &Upstream, url: &str) -> Workspace {
    with_sessions(upstream, url).set("/redis/timeout", json!("1s")).set("/redis/connect_timeout", json!("1s"))
}

/// Waits for an answer, and gives it back when it is the one.
fn await_status(sidecar: &Sidecar, token: &str, expected: &(u16, String)) {
    until(&format!("{expected:?}"), PATIENCE, || {
        let status = status_of(sidecar, token);
        assert!(status == open() || status == unavailable(), "an outage is no reason for {status:?}");
        (status == *expected).then_some(())
    });
}

/// Asks on four connections while `meanwhile` happens, and counts what was answered.
fn under_load(sidecar: &Sidecar, token: &str, meanwhile: impl FnOnce()) -> Answers {
    let (stop, answers) = (AtomicBool::new(false), Mutex::new(Answers::new()));
    let request = bearer("GET", TARGET, token);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(sidecar.proxy());
                while !stop.load(Ordering::SeqCst) {
                    let answer = client.send(&request).answer().expect("every request is answered");
                    if answer.status != 200 {
                        // A refusal ends its connection.
                        client = Client::connect(sidecar.proxy());
                    }
                    *answers.lock().unwrap().entry((answer.status, answer.code())).or_default() += 1;
                }
            });
        }
        // Seen to be well before and after; in between `meanwhile` itself looks.
        let until_open = || {
            let count = || answers.lock().unwrap().get(&open()).copied().unwrap_or(0);
            let before = count();
            until("the load to be let through", PATIENCE, || (count() > before).then_some(()));
        };
        let all = || {
            until_open();
            meanwhile();
            until_open();
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(all));
        stop.store(true, Ordering::SeqCst);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    answers.into_inner().unwrap()
}

fn assert_only_open_or_unavailable(answers: &Answers) {
    let expected = [open(), unavailable()];
    assert!(answers.keys().all(|answer| expected.contains(answer)), "{answers:?}");
}

#[test]
fn redis_comes_later_than_the_sidecar() {
    let (upstream, mut redis) = (Upstream::start(), Redis::stopped());
    let sidecar = Sidecar::start(&impatient(&upstream, &redis.url()));
    let token = KEYS.token(&reader());
    assert_eq!(status_of(&sidecar, &token), unavailable());
    let answer = get(sidecar.proxy(), TARGET, &format!("Authorization: Bearer {token}\r\n"));
    assert_eq!(answer.json()["retry"]["retryable"], json!(true), "{}", answer.text());
    assert!(answer.head.get("retry-after").is_some());
    assert!(answer.head.get("www-authenticate").is_none(), "nothing is wrong with the token");
    assert_eq!(get(sidecar.proxy(), "/public/x", "").status, 200, "what needs no Redis goes on");
    assert_eq!(get(sidecar.telemetry(), "/readyz", "").status, 200, "and so does the instance");
    assert_eq!(health(&sidecar)["ready"], json!(false));
    assert_eq!(upstream.requests().len(), 1, "only the public one was forwarded");

    redis.run();
    redis.open_session("s-rita", "rita", 1);
    until("Redis to be found", PATIENCE, || (health(&sidecar)["ready"] == json!(true)).then_some(()));
    assert_eq!(status_of(&sidecar, &token), open());
}

#[test]
fn redis_crashes_and_comes_back_under_load() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start());
    let sidecar = Sidecar::start(&impatient(&upstream, &redis.url()));
    let token = KEYS.token(&reader());
    redis.open_session("s-rita", "rita", 1);
    await_status(&sidecar, &token, &open());
    let answers = under_load(&sidecar, &token, || {
        for _ in 0..3 {
            redis.kill();
            await_status(&sidecar, &token, &unavailable());
            redis.run();
            await_status(&sidecar, &token, &open());
        }
    });
    assert_only_open_or_unavailable(&answers);
    redis.delete("sid:s-rita");
    assert_eq!(status_of(&sidecar, &token), (401, "session_revoked".to_owned()), "and what it says counts again");
}

#[test]
fn redis_hangs_and_goes_on_under_load() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let sidecar = Sidecar::start(&impatient(&upstream, &redis.url()));
    let token = KEYS.token(&reader());
    redis.open_session("s-rita", "rita", 1);
    await_status(&sidecar, &token, &open());
    let answers = under_load(&sidecar, &token, || {
        redis.pause();
        await_status(&sidecar, &token, &unavailable());
        until("the hung connection to be given up", PATIENCE, || (health(&sidecar)["ready"] == json!(false)).then_some(()));
        redis.resume();
        await_status(&sidecar, &token, &open());
    });
    assert_only_open_or_unavailable(&answers);
}

#[test]
fn the_wire_to_redis_is_spoilt_under_load() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let relay = Relay::to(redis.address());
    let sidecar = Sidecar::start(&impatient(&upstream, &format!("redis://{}", relay.address())));
    let token = KEYS.token(&reader());
    redis.open_session("s-rita", "rita", 1);
    for wire in [Wire::Cut, Wire::Garbage, Wire::Silent, Wire::Shifted] {
        await_status(&sidecar, &token, &open());
        let connections = relay.accepted();
        let answers = under_load(&sidecar, &token, || {
            relay.set(wire);
            await_status(&sidecar, &token, &unavailable());
            relay.set(Wire::Good);
            await_status(&sidecar, &token, &open());
        });
        assert_only_open_or_unavailable(&answers);
        assert!(relay.accepted() > connections, "{wire:?}: the spoilt connection was replaced");
    }
}

/// Answers that slip by one would make one user's session another's.
#[test]
fn answers_to_other_questions_are_not_believed() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let relay = Relay::to(redis.address());
    let sidecar = Sidecar::start(&impatient(&upstream, &format!("redis://{}", relay.address())));
    let token = KEYS.token(&reader());
    redis.open_session("s-rita", "rita", 1);
    await_status(&sidecar, &token, &open());
    relay.set(Wire::Shifted);
    await_status(&sidecar, &token, &unavailable());
    redis.set("revoked:jti:j-rita", "1");
    for _ in 0..50 {
        let (status, _) = status_of(&sidecar, &token);
        assert!(status == 503 || status == 401, "{status}");
    }
    relay.set(Wire::Good);
    until("the revocation to be read", PATIENCE, || (status_of(&sidecar, &token).0 == 401).then_some(()));
}

/// A server that may evict, or does not know the latest, is none to rely on.
#[test]
fn an_unfit_redis_is_not_used() {
    let (upstream, redis, other) = (Upstream::start(), Redis::start(), Redis::start());
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    redis.open_session("s-rita", "rita", 1);
    let sidecar = Sidecar::start(&impatient(&upstream, &redis.url()));
    let token = KEYS.token(&reader());
    assert_eq!(status_of(&sidecar, &token), unavailable());
    assert!(health(&sidecar)["last_error"].as_str().unwrap().contains("volatile-lru"), "{}", health(&sidecar));
    assert!(sidecar.stderr().contains("noeviction"), "the log says what to do:\n{}", sidecar.stderr());
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    await_status(&sidecar, &token, &open());
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    await_status(&sidecar, &token, &unavailable());
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    await_status(&sidecar, &token, &open());

    other.open_session("s-rita", "rita", 1);
    let address = other.address();
    redis.ask(&["REPLICAOF", &address.ip().to_string(), &address.port().to_string()]);
    await_status(&sidecar, &token, &unavailable());
    assert!(health(&sidecar)["last_error"].as_str().unwrap().contains("no primary"), "{}", health(&sidecar));
    redis.ask(&["REPLICAOF", "NO", "ONE"]);
    redis.open_session("s-rita", "rita", 1);
    await_status(&sidecar, &token, &open());
}

/// A node of a cluster has some of the keys only, and a Sentinel none; neither is asked, and nothing that they say is followed.
#[test]
fn clusters_and_sentinels_are_not_used() {
    let upstream = Upstream::start();
    for (kind, named) in [(Kind::Node, "Redis Cluster"), (Kind::Sentinel, "Sentinel")] {
        let redis = Redis::start_as(kind);
        let sidecar = Sidecar::start(&impatient(&upstream, &redis.url()));
        let token = KEYS.token(&reader());
        assert_eq!(status_of(&sidecar, &token), unavailable(), "{kind:?}");
        assert!(health(&sidecar)["last_error"].as_str().unwrap().contains(named), "{}", health(&sidecar));
        assert!(sidecar.stderr().contains(named), "{}", sidecar.stderr());
        assert_eq!(redis.calls("getrange"), 0, "{kind:?} was asked for a session");
    }
    upstream.assert_untouched();
    for scheme in ["redis-cluster", "redis+sentinel"] {
        let workspace = impatient(&upstream, &format!("{scheme}://127.0.0.1:6379"));
        let output = run(&["serve", "-c", workspace.config_path().to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("redis.url") && said.contains("not supported"), "{said}");
    }
}

#[test]
fn redis_over_tls() {
    let (upstream, redis) = (Upstream::start(), Redis::start_with_tls());
    redis.open_session("s-rita", "rita", 1);
    let token = KEYS.token(&reader());
    let (url, authority) = redis.tls();
    let trusting = Sidecar::start(&impatient(&upstream, &url).set("/redis/ca_file", json!(authority)));
    await_status(&trusting, &token, &open());
    // The system knows nothing of that authority.
    let strict = Sidecar::start(&impatient(&upstream, &url));
    assert_eq!(status_of(&strict, &token), unavailable());
    assert_eq!(health(&strict)["ready"], json!(false));
}

/// A user of Redis with no more rights than `docs/redis-keys.md` asks for, and one with the wrong password.
#[test]
fn redis_with_a_password() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let rights = "-@all +ping +info +getrange +exists +get +set +del +incr +expire +time";
    let mut user = vec!["ACL", "SETUSER", "sidecar", "on", ">hunter2", "~*"];
    user.extend(rights.split(' '));
    redis.ask(&user);
    redis.open_session("s-rita", "rita", 1);
    let token = KEYS.token(&reader());
    let good = Sidecar::start(&impatient(&upstream, &format!("redis://sidecar:hunter2@{}", redis.address())));
    assert_eq!(status_of(&good, &token), open());
    redis.set("revoked:jti:j-rita", "1");
    assert_eq!(status_of(&good, &token).0, 401);

    let wrong = Sidecar::start(&impatient(&upstream, &format!("redis://sidecar:hunter3@{}", redis.address())));
    assert_eq!(status_of(&wrong, &token), unavailable());
    let said = format!("{}{}{}", health(&wrong), wrong.stderr(), wrong.stdout());
    assert!(said.contains("authentication failed"), "{said}");
    assert!(!said.contains("hunter"), "{said}");
}

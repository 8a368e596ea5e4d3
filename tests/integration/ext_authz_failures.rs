//! Dependencies that accept and never answer, behind an Envoy that lets requests pass on errors: a denial each time, and in time.

use crate::ext_authz::{MODES, authz, workspace};
use crate::harness::cognito::{Cognito, Mood};
use crate::harness::envoy::{Envoy, Mode};
use crate::harness::http1::Client;
use crate::harness::redis::Redis;
use crate::harness::relay::{Relay, Wire};
use crate::harness::sidecar::{Sidecar, command};
use crate::harness::table::{Expect, Table, bearer};
use crate::harness::tokens::{KEYS, claims, reader};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

const TARGET: &str = "/v1/documents/report";

/// What Envoy waits, in [`Envoy::start`]. Our own deadline, 150 ms, lies far enough below it for a busy machine.
const ENVOYS_PATIENCE: Duration = Duration::from_secs(1);

/// HTTP mode has no 5xx: Envoy would take it for an error.
fn unavailable(mode: Mode, code: &'static str) -> Expect {
    Expect::Refused(if mode == Mode::Http { 403 } else { 503 }, code)
}

/// Asks through Envoys of every mode that let requests pass on errors, `tokens` one after the other.
fn denied_in_time(sidecar: &Sidecar, upstream: &Upstream, tokens: &[String], code: &'static str) {
    for mode in MODES {
        let envoy = Envoy::start(mode, true, authz(sidecar, mode), upstream.address());
        let mut table = Table::at(envoy.front(), upstream);
        for token in tokens {
            let started = Instant::now();
            table.row(0, "a dependency hangs", &bearer("GET", TARGET, token), unavailable(mode, code));
            let took = started.elapsed();
            assert!(took < ENVOYS_PATIENCE, "{mode:?}: {took:?}");
        }
        table.finish();
    }
}

#[test]
fn a_redis_that_never_answers_is_a_denial_in_time() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    redis.open_session("s-rita", "rita", 1);
    let relay = Relay::to(redis.address());
    let url = format!("redis://{}", relay.address());
    // Its own patience is longer than Envoy's: the deadline of the check is what ends the wait.
    let section = json!({"url": url, "timeout": "5s", "connect_timeout": "5s"});
    let sidecar = Sidecar::start(&workspace(&upstream).set("/redis", section).set("/issuers/0/session", json!("redis")));
    let token = KEYS.token(&reader());
    for mode in MODES {
        let envoy = Envoy::start(mode, true, authz(&sidecar, mode), upstream.address());
        let mut table = Table::at(envoy.front(), &upstream);
        table.row(0, "while it answers", &bearer("GET", TARGET, &token), Expect::Forwarded);
        table.finish();
    }
    relay.set(Wire::Silent);
    denied_in_time(&sidecar, &upstream, &[token.clone(), token], "authz_unavailable");
}

#[test]
fn a_user_pool_that_never_answers_is_a_denial_in_time() {
    let (upstream, cognito) = (Upstream::start(), Cognito::start());
    let sidecar = Sidecar::start(&workspace(&upstream).set("/cognito", cognito.config()).set("/issuers/0/user_status", json!("cognito")));
    cognito.set(Mood::Stalled);
    let tokens = ["una", "dora"].map(|name| KEYS.token(&claims(name, &["reader"])));
    denied_in_time(&sidecar, &upstream, &tokens, "authz_unavailable");
    assert!(cognito.asked() > 0, "it was the pool that hung");
    cognito.set(Mood::Good);
}

/// Many checks at once, so that one that hangs does not hold up the others' answers.
#[test]
fn checks_that_hang_together_are_denied_together() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let relay = Relay::to(redis.address());
    let section = json!({"url": format!("redis://{}", relay.address()), "timeout": "5s", "connect_timeout": "5s"});
    let sidecar = Sidecar::start(&workspace(&upstream).set("/redis", section).set("/issuers/0/session", json!("redis")));
    relay.set(Wire::Silent);
    let envoy = Envoy::start(Mode::Grpc, true, authz(&sidecar, Mode::Grpc), upstream.address());
    let request = bearer("GET", TARGET, &KEYS.token(&reader()));
    thread::scope(|scope| {
        let asked: Vec<_> = (0..64).map(|_| scope.spawn(|| Client::connect(envoy.front()).send(&request).answer().unwrap())).collect();
        for answer in asked {
            let answer = answer.join().unwrap();
            assert_eq!((answer.status, &*answer.code()), (503, "authz_unavailable"));
        }
    });
    upstream.assert_untouched();
}

#[test]
fn policies_too_old_to_decide_deny() {
    let upstream = Upstream::start();
    let workspace: Workspace = workspace(&upstream).set("/policies/max_staleness", json!("1ms"));
    let config = workspace.config_path();
    let mut sidecar = Sidecar::spawn(command(&["serve", "-c", config.to_str().unwrap()]));
    sidecar.await_listening();
    denied_in_time(&sidecar, &upstream, &[KEYS.token(&reader())], "authz_unavailable");
}

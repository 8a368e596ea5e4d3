//! The status of users: in a real user pool, in Redis, over two levels and between instances.

use crate::harness::cognito::{Cognito, Mood};
use crate::harness::http1::get;
use crate::harness::moto::Moto;
use crate::harness::redis::{Redis, Reply};
use crate::harness::relay::{Relay, Wire};
use crate::harness::sidecar::{Sidecar, run};
use crate::harness::table::{Expect, Table, bearer};
use crate::harness::tokens::{KEYS, claims, reader, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, cases, http2, until};
use crate::sessions::status_of;
use Expect::{BadToken, Forwarded, Refused};
use serde_json::{Map, Value, json};
use std::thread;
use std::time::{Duration, Instant};

const DISABLED: Expect = Refused(403, "user_disabled");
const NOT_ACTIVE: Expect = Refused(403, "user_not_active");
const UNAVAILABLE: Expect = Refused(503, "user_status_unavailable");
const UNKNOWN: Expect = BadToken("invalid_token");

/// The depot pack, the users of its first issuer looked up in `cognito`.
pub(crate) fn with_pool(upstream: &Upstream, cognito: &Cognito) -> Workspace {
    Workspace::new(upstream.address()).set("/cognito", cognito.config()).set("/issuers/0/user_status", json!("cognito"))
}

/// The same with a Redis to share what is found.
fn with_pool_and_redis(upstream: &Upstream, cognito: &Cognito, redis: &Redis) -> Workspace {
    with_pool(upstream, cognito).set("/redis", json!({"url": redis.url(), "timeout": "5s"}))
}

fn token_of(user: &str) -> String {
    KEYS.token(&claims(user, &["reader"]))
}

/// A counter of `/metrics` by its name with labels.
pub(crate) fn metric(sidecar: &Sidecar, name: &str) -> u64 {
    let text = get(sidecar.telemetry(), "/metrics", "").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

/// Cases 110 to 113 with the users and tokens of a pool that moto keeps.
#[test]
fn users_of_a_cognito_pool() {
    let (upstream, moto) = (Upstream::start(), Moto::start());
    let issuer = json!({
        "name": "cognito", "kind": "cognito", "issuer": [moto.issuer()], "jwks": {"url": moto.jwks_url()},
        "client_ids": [moto.client], "token_use": ["access", "id"], "max_lifetime": "24h", "user_status": "cognito",
        "principal": {
            "type": "User", "id": "sub", "groups": {"claim": "cognito:groups", "type": "Role"},
            "attributes": {"department": {"directory": "custom:department"}},
        },
    });
    let workspace = Workspace::new(upstream.address())
        .set(
            "/cognito",
            json!({"user_pool_id": moto.pool, "region": "us-east-1", "endpoint": moto.endpoint(), "timeout": "10s", "requests_per_second_alone": 100}),
        )
        .set("/issuers", json!([issuer]));
    // No token says what department somebody is of: the directory does.
    workspace.write(
        "policies/documents.cedar",
        r#"@id("fleet") permit (principal in Depot::Role::"reader", action == Depot::Action::"view", resource)
           when { principal has department && principal.department == "fleet" };"#,
    );
    let names = ["anna", "elsewhere", "disabled", "deleted", "again", "pending", "reset"];
    let users = names.map(|name| moto.user(name, if name == "elsewhere" { "office" } else { "fleet" }));
    moto.about("disabled", "AdminDisableUser", json!({}));
    moto.about("deleted", "AdminDeleteUser", json!({}));
    moto.about("again", "AdminDeleteUser", json!({}));
    moto.user("again", "fleet");
    moto.about("pending", "AdminSetUserPassword", json!({"Password": "An0ther!x", "Permanent": false}));
    moto.about("reset", "AdminResetUserPassword", json!({}));
    let sidecar = Sidecar::start(&workspace);
    let mut table = Table::new(&sidecar, &upstream);
    let [anna, elsewhere, disabled, deleted, again, pending, reset] = users;
    table.token(110, "an enabled user of the department", &anna.access, Forwarded);
    table.token(110, "the same with an id token", &anna.id, Forwarded);
    table.token(92, "an enabled user of another department", &elsewhere.access, Refused(403, "forbidden"));
    table.token(110, "disabled", &disabled.access, DISABLED);
    table.token(111, "deleted", &deleted.access, UNKNOWN);
    table.token(112, "deleted and created again", &again.access, UNKNOWN);
    table.token(113, "has to change the password", &pending.access, NOT_ACTIVE);
    table.token(113, "has to reset the password", &reset.access, NOT_ACTIVE);
    assert_eq!(metric(&sidecar, "portcullis_cognito_requests_total{outcome=\"ok\"}"), 6);
    assert_eq!(metric(&sidecar, "portcullis_cognito_requests_total{outcome=\"not_found\"}"), 1);
    for user in [&anna, &disabled, &deleted] {
        status_of(&sidecar, &user.access);
    }
    assert_eq!(metric(&sidecar, "portcullis_user_lookups_total{source=\"pool\"}"), 7, "bad news is kept as long as good");
    assert_eq!(get(sidecar.telemetry(), "/readyz", "").json()["cognito"], json!({"ready": true, "last_error": null}));
    table.finish();
}

/// Records that an administration writes for systems without Cognito.
#[test]
fn users_in_redis() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let workspace = Workspace::new(upstream.address())
        .set("/redis", json!({"url": redis.url(), "timeout": "5s"}))
        .set("/issuers/0/user_status", json!("redis"))
        .set("/issuers/0/principal/attributes", json!({"department": {"directory": "department"}}));
    workspace.write(
        "policies/departments.cedar",
        r#"@id("office") forbid (principal, action, resource) when { principal has department && principal.department == "office" };"#,
    );
    let sidecar = Sidecar::start(&workspace);
    let mut table = Table::new(&sidecar, &upstream);
    let token = KEYS.token(&reader());
    for (what, record, expected) in [
        ("no record", None, NOT_ACTIVE),
        ("enabled and active", Some(r#"{"enabled":true,"status":"active"}"#), Forwarded),
        ("disabled", Some(r#"{"enabled":false,"status":"active"}"#), DISABLED),
        ("not active", Some(r#"{"enabled":true,"status":"invited"}"#), NOT_ACTIVE),
        ("of another department", Some(r#"{"enabled":true,"status":"active","attributes":{"department":"office"}}"#), Refused(403, "forbidden")),
        ("of a good department", Some(r#"{"enabled":true,"status":"active","attributes":{"department":"fleet"}}"#), Forwarded),
        ("garbage", Some("yes"), UNAVAILABLE),
        ("no status", Some(r#"{"enabled":true}"#), UNAVAILABLE),
        ("enabled in text", Some(r#"{"enabled":"true","status":"active"}"#), UNAVAILABLE),
    ] {
        match record {
            Some(record) => redis.set("user:rita", record),
            None => redis.delete("user:rita"),
        }
        table.token(110, what, &token, expected);
    }
    // What the token says of a department is hearsay: the record's word counts.
    redis.set("user:rita", r#"{"enabled":true,"status":"active","attributes":{"department":"office"}}"#);
    let claiming = KEYS.token(&with(&reader(), json!({"department": "fleet", "custom:department": "fleet"})));
    table.token(92, "of another department than the token claims", &claiming, Refused(403, "forbidden"));
    redis.delete("user:rita");
    redis.ask(&["SADD", "user:rita", "x"]);
    table.token(115, "a set, not text", &token, UNAVAILABLE);
    table.finish();
}

/// Case 121: each issuer's users are looked up where the configuration says, and nowhere else; nobody is taken for active because
/// another directory does not know them.
#[test]
fn every_issuer_has_its_own_directory() {
    let (upstream, cognito, redis) = (Upstream::start(), Cognito::start(), Redis::start());
    let workspace =
        with_pool_and_redis(&upstream, &cognito, &redis).set("/issuers/0/user_status", json!("redis")).set("/issuers/1/user_status", json!("cognito"));
    let sidecar = Sidecar::start(&workspace);
    let mut table = Table::new(&sidecar, &upstream);
    table.token(121, "of the issuer that has Redis, known to the pool alone", &KEYS.token(&reader()), NOT_ACTIVE);
    redis.set("user:rita", r#"{"enabled":true,"status":"active"}"#);
    table.token(121, "of the issuer that has Redis, known there", &KEYS.token(&reader()), Forwarded);
    redis.set("user:rita", r#"{"enabled":false,"status":"active"}"#);
    table.token(121, "of the issuer that has Redis, disabled there", &KEYS.token(&reader()), DISABLED);
    assert_eq!(cognito.asked(), 0, "the pool was asked for another directory's user");
    table.token(121, "of the issuer that has the pool, disabled in Redis", &KEYS.rsa_token(&reader()), Forwarded);
    cognito.disable("rob");
    redis.set("user:rob", r#"{"enabled":true,"status":"active"}"#);
    table.token(121, "of the issuer that has the pool, disabled there", &KEYS.rsa_token(&claims("rob", &["reader"])), DISABLED);
    assert_eq!(cognito.asked(), 2);
    table.finish();
}

/// Cases 114, 115: whatever the pool does, nobody is let in, or shut out for good, without its word.
#[test]
fn a_pool_that_does_not_answer() {
    let (upstream, cognito) = (Upstream::start(), Cognito::start());
    let sidecar = Sidecar::start(&with_pool(&upstream, &cognito).set("/cognito/timeout", json!("2s")).set("/cognito/requests_per_second_alone", json!(1000)));
    let mut table = Table::new(&sidecar, &upstream);
    table.token(114, "known while the pool is well", &token_of("known"), Forwarded);
    let moods = [Mood::Stalled, Mood::Denied, Mood::Broken, Mood::Garbage, Mood::Incomplete, Mood::Cut, Mood::Throttled];
    for (number, mood) in moods.into_iter().enumerate() {
        cognito.set(mood);
        let user = format!("user{number}");
        table.token(115, &format!("{mood:?}"), &token_of(&user), UNAVAILABLE);
        table.token(114, &format!("{mood:?}, and known before"), &token_of("known"), Forwarded);
        let health = get(sidecar.telemetry(), "/readyz", "");
        assert_eq!(health.status, 200, "a pool takes no instance out");
        assert_eq!(health.json()["cognito"]["ready"], json!(false), "{mood:?}");
        cognito.set(Mood::Good);
        // A pool that has had enough is left alone for a second.
        until("the pool to be believed again", PATIENCE, || {
            let (status, code) = status_of(&sidecar, &token_of(&user));
            assert!(status == 200 || code == "user_status_unavailable", "{mood:?}: {status} {code}");
            (status == 200).then_some(())
        });
    }
    assert!(sidecar.stderr().contains("permissions"), "a refusal by IAM is an alarm:\n{}", sidecar.stderr());
    table.finish();
}

/// The same for the way to the pool: refused, silent, garbled, and back again.
#[test]
fn the_wire_to_the_pool_is_spoilt() {
    let (upstream, cognito) = (Upstream::start(), Cognito::start());
    let relay = Relay::to(cognito.address());
    let workspace = with_pool(&upstream, &cognito).set("/cognito/endpoint", json!(format!("http://{}", relay.address())));
    let workspace = workspace.set("/cognito/timeout", json!("1s")).set("/cognito/requests_per_second_alone", json!(1000));
    let sidecar = Sidecar::start(&workspace);
    for (number, wire) in [Wire::Cut, Wire::Silent, Wire::Garbage].into_iter().enumerate() {
        relay.set(wire);
        let sidecar = &sidecar;
        thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|user| scope.spawn(move || (user, status_of(sidecar, &token_of(&format!("user{number}-{user}")))))).collect();
            for one in asking {
                let (user, status) = one.join().unwrap();
                assert_eq!(status, (503, "user_status_unavailable".to_owned()), "{wire:?}, user {user}");
            }
        });
        relay.set(Wire::Good);
        until("the pool to be reached again", PATIENCE, || {
            let (status, code) = status_of(sidecar, &token_of(&format!("user{number}-0")));
            assert!(status == 200 || code == "user_status_unavailable", "{wire:?}: {status} {code}");
            (status == 200).then_some(())
        });
    }
}

/// Cases 198, 199: the pool is asked about nobody whose token proves nothing, so that how long an answer takes tells nothing of
/// who is known; and about nobody where nothing could come of it.
#[test]
fn the_pool_is_asked_last() {
    let (upstream, cognito) = (Upstream::start(), Cognito::start());
    let sidecar = Sidecar::start(&with_pool(&upstream, &cognito));
    let mut table = Table::new(&sidecar, &upstream);
    let changed = |members: Value| KEYS.token(&with(&reader(), members));
    for (what, token, expected) in [
        ("another's signature", KEYS.stranger.sign_jwt(Map::new(), &reader()), UNKNOWN),
        ("another's signature, and nobody knows the user", KEYS.stranger.sign_jwt(Map::new(), &claims("nobody", &["reader"])), UNKNOWN),
        ("another audience", changed(json!({"aud": "elsewhere"})), UNKNOWN),
        ("expired", changed(json!({"iat": 1_600_000_000, "exp": 1_600_000_100})), BadToken("token_expired")),
        ("no token", "x".to_owned(), UNKNOWN),
    ] {
        table.token(199, what, &token, expected);
    }
    let good = KEYS.token(&reader());
    table.row(199, "a good token and an ambiguous path", &bearer("GET", "/v1/documents/..%2fx", &good), Refused(400, "ambiguous_path"));
    table.row(199, "a good token and no route", &bearer("GET", "/nowhere", &good), Refused(403, "route_not_mapped"));
    table.row(199, "a good token and a public route", &bearer("GET", "/public/x", &good), Forwarded);
    assert_eq!(cognito.asked(), 0, "the pool was asked too early");
    cases::held(198, "nobody asked before the signature is verified");
    table.token(199, "a good token", &good, Forwarded);
    assert_eq!(cognito.asked(), 1);
    table.finish();
}

/// Case 118: a thousand first requests of one user at once, on one instance.
#[test]
fn a_thousand_requests_are_one_question() {
    let (upstream, cognito) = (Upstream::start(), Cognito::start());
    let sidecar = Sidecar::start(&with_pool(&upstream, &cognito).set("/cognito/timeout", json!("10s")));
    cognito.set(Mood::Stalled);
    // Somebody whom the pool knows and no policy lets in, so that nothing but the question is waited for.
    let token = KEYS.token(&claims("rita", &[]));
    let (target, credentials) = ("http://service/v1/documents/report", format!("Bearer {token}"));
    thread::scope(|scope| {
        scope.spawn(|| {
            until("a thousand to wait", PATIENCE, || (metric(&sidecar, "portcullis_proxy_in_flight ") == 1000).then_some(()));
            cognito.set(Mood::Good);
        });
        http2::runtime().block_on(async {
            let mut asked = tokio::task::JoinSet::new();
            for _ in 0..10 {
                let sender = http2::connect(sidecar.proxy()).await;
                for _ in 0..100 {
                    let (mut sender, request) = (sender.clone(), http::Request::get(target).header("authorization", &credentials));
                    let request = request.body(http2::full("")).unwrap();
                    asked.spawn(async move { http2::ask(&mut sender, request).await.status });
                }
            }
            assert!(asked.join_all().await.into_iter().all(|status| status == 403));
        });
    });
    assert_eq!(cognito.asked(), 1);
    upstream.assert_untouched();
    cases::held(118, "one question");
}

/// Case 118 over two instances: a burst of first requests of one user is one question to the pool.
#[test]
fn one_question_from_two_instances() {
    let (upstream, cognito, redis) = (Upstream::start(), Cognito::start(), Redis::start());
    let workspace = with_pool_and_redis(&upstream, &cognito, &redis).set("/cognito/timeout", json!("10s"));
    let instances = [Sidecar::start(&workspace), Sidecar::start(&workspace)];
    cognito.set(Mood::Stalled);
    thread::scope(|scope| {
        let burst: Vec<_> = (0..20)
            .map(|number| {
                let sidecar = &instances[number % 2];
                scope.spawn(move || status_of(sidecar, &token_of("rita")).0)
            })
            .collect();
        until("the pool to be asked", PATIENCE, || (cognito.asked() > 0).then_some(()));
        until("the other instance to wait", PATIENCE, || {
            let looked = instances.iter().all(|sidecar| metric(sidecar, "portcullis_redis_requests_total{outcome=\"ok\"}") >= 3);
            looked.then_some(())
        });
        cognito.set(Mood::Good);
        for one in burst {
            assert_eq!(one.join().unwrap(), 200);
        }
    });
    assert_eq!(cognito.asked(), 1);
    cases::held(118, "one question");
    // A third instance finds it shared.
    let third = Sidecar::start(&workspace);
    assert_eq!(status_of(&third, &token_of("rita")).0, 200);
    assert_eq!(metric(&third, "portcullis_user_lookups_total{source=\"shared\"}"), 1);
    assert_eq!(cognito.asked(), 1);

    // Case 117: what was invalidated is asked for anew, although the old fact is still there to be read.
    cognito.disable("rita");
    redis.ask(&["INCR", "portcullis:user-generation:us-east-1_depot:rita"]);
    assert!(redis.get("portcullis:user:us-east-1_depot:rita").is_some());
    let fourth = Sidecar::start(&workspace);
    assert_eq!(status_of(&fourth, &token_of("rita")), (403, "user_disabled".to_owned()));
    assert_eq!(cognito.asked(), 2);
}

/// Case 117: an answer that was under way when the user was invalidated is not used, shared or kept.
#[test]
fn an_invalidation_beats_the_answer_under_way() {
    let (upstream, cognito, redis) = (Upstream::start(), Cognito::start(), Redis::start());
    let relay = Relay::to(cognito.address());
    let config = with_pool_and_redis(&upstream, &cognito, &redis).set("/cognito/timeout", json!("10s"));
    let workspace = config.set("/cognito/endpoint", json!(format!("http://{}", relay.address())));
    let sidecar = Sidecar::start(&workspace);
    // The answer says enabled, and is held back on its way until after the invalidation.
    relay.set(Wire::Held);
    thread::scope(|scope| {
        let asking = scope.spawn(|| status_of(&sidecar, &token_of("rita")));
        until("the answer to be on its way", PATIENCE, || (relay.held() > 0).then_some(()));
        cognito.disable("rita");
        redis.ask(&["INCR", "portcullis:user-generation:us-east-1_depot:rita"]);
        relay.set(Wire::Good);
        assert_eq!(asking.join().unwrap(), (403, "user_disabled".to_owned()));
    });
    assert_eq!(cognito.asked(), 2);
    assert_eq!(status_of(&sidecar, &token_of("rita")), (403, "user_disabled".to_owned()), "nor is it kept");
    cases::held(117, "403 user_disabled");
}

/// Case 119: however many users come, all instances together keep to the budget.
#[test]
fn the_budget_is_the_fleets() {
    let (upstream, cognito, redis) = (Upstream::start(), Cognito::start(), Redis::start());
    let workspace = with_pool_and_redis(&upstream, &cognito, &redis).set("/cognito/max_requests_per_second", json!(5));
    let instances = [Sidecar::start(&workspace), Sidecar::start(&workspace)];
    let begun = Instant::now();
    let (mut served, mut refused) = (0_usize, 0_usize);
    for user in 0..60 {
        match status_of(&instances[user % 2], &token_of(&format!("user{user}"))) {
            (200, _) => served += 1,
            (503, code) if code == "user_status_unavailable" => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    assert_eq!(served + refused, 60);
    assert_eq!(cognito.asked(), served, "each answer was asked for once");
    assert!(served <= 5 * seconds, "{served} in {seconds} s");
    assert!(refused > 0, "60 users in {seconds} s fit the budget");
    cases::held(119, "503 user_status_unavailable");
}

/// Case 120: without Redis each instance asks for itself, within its share; sessions stay closed.
#[test]
fn redis_down_and_the_pool_up() {
    let (upstream, cognito) = (Upstream::start(), Cognito::start());
    let mut redis = Redis::start();
    let workspace = with_pool_and_redis(&upstream, &cognito, &redis).set("/redis/timeout", json!("1s")).set("/issuers/1/session", json!("redis"));
    let sidecar = Sidecar::start(&workspace);
    redis.kill();
    until("the loss of Redis", PATIENCE, || (get(sidecar.telemetry(), "/readyz", "").json()["redis"]["ready"] == json!(false)).then_some(()));
    assert_eq!(status_of(&sidecar, &token_of("rita")).0, 200);
    assert_eq!(status_of(&sidecar, &KEYS.rsa_token(&reader())), (503, "session_store_unavailable".to_owned()));
    assert_eq!(cognito.asked(), 1);
    let served = (0..20).filter(|user| status_of(&sidecar, &token_of(&format!("user{user}"))).0 == 200).count();
    assert!(served < 20, "a tenth of 60 in a second, not 20");
    cases::held(120, "503 session_store_unavailable");
    cases::held(120, cases::FORWARDED);
}

/// Case 116: thirty seconds in all, though the second instance learns of the user from the first.
#[test]
fn levels_do_not_add_up() {
    let (upstream, cognito, redis) = (Upstream::start(), Cognito::start(), Redis::start());
    let workspace = with_pool_and_redis(&upstream, &cognito, &redis);
    let instances = [Sidecar::start(&workspace), Sidecar::start(&workspace)];
    let token = token_of("rita");
    assert_eq!(status_of(&instances[0], &token).0, 200);
    cognito.disable("rita");
    let disabled = Instant::now();
    // The second reads what the first has shared when that is half its age.
    until("half of the time", Duration::from_secs(20), || (disabled.elapsed() > Duration::from_secs(14)).then_some(()));
    assert_eq!(status_of(&instances[1], &token).0, 200);
    assert_eq!(cognito.asked(), 1, "shared");
    until("the time to be over", Duration::from_secs(20), || (disabled.elapsed() >= Duration::from_secs(30)).then_some(()));
    for sidecar in &instances {
        assert_eq!(status_of(sidecar, &token), (403, "user_disabled".to_owned()));
    }
    cases::held(116, "403 user_disabled");
}

#[test]
fn a_pool_has_to_be_named_and_be_the_issuers() {
    let upstream = Upstream::start();
    let cognito = json!({"user_pool_id": "us-east-1_depot", "region": "us-east-1"});
    let issuer: Value = json!({
        "name": "cognito", "kind": "cognito", "issuer": ["https://cognito-idp.us-east-1.amazonaws.com/us-east-1_other"],
        "jwks": {"file": "jwks.json"}, "client_ids": ["x"], "user_status": "cognito",
    });
    for (pointer, value, key) in [
        ("/issuers/0/user_status", json!("cognito"), "issuers[0].user_status"),
        ("/issuers/0", issuer, "issuers[0].user_status"),
        ("/issuers/0/principal/attributes", json!({"department": {"directory": "x"}}), "issuers[0].principal.attributes.department"),
        ("/cognito/endpoint", json!("http://pool.example"), "cognito.endpoint"),
        ("/cognito/max_requests_per_second", json!(0), "cognito.max_requests_per_second"),
    ] {
        let mut workspace = Workspace::new(upstream.address());
        if pointer != "/issuers/0/user_status" {
            workspace = workspace.set("/cognito", cognito.clone());
        }
        let workspace = workspace.set(pointer, value);
        let output = run(&["serve", "-c", workspace.config_path().to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{pointer}: {said}");
        assert!(said.contains(key), "{pointer}: {said}");
    }
}

/// Users of two pools that go by the same names, each asked of their own.
#[test]
fn every_issuer_has_its_own_pool() {
    let (upstream, mut moto) = (Upstream::start(), Moto::start());
    let entry = |moto: &Moto, name: &str, more: Value| {
        let entry = json!({
            "name": name, "kind": "cognito", "issuer": [moto.issuer()], "jwks": {"url": moto.jwks_url()}, "client_ids": [moto.client],
            "max_lifetime": "24h", "user_status": "cognito",
            "principal": {
                "type": "User", "id": "sub", "groups": {"claim": "cognito:groups", "type": "Role"},
                "attributes": {"department": {"directory": "custom:department"}},
            },
        });
        with(&entry, more)
    };
    let first = moto.pool.clone();
    let mut issuers = vec![entry(&moto, "first", json!({}))];
    let here = ["rita", "dora", "ella"].map(|name| moto.user(name, "archive").access);
    moto.about("ella", "AdminDisableUser", json!({}));
    moto.next_pool();
    let second = moto.pool.clone();
    issuers.push(entry(&moto, "second", json!({"user_pool": second})));
    let there = ["rita", "dora", "ella"].map(|name| moto.user(name, "lending").access);
    moto.about("dora", "AdminDisableUser", json!({}));
    let redis = Redis::start();
    let cognito = json!({"user_pool_id": first, "region": "us-east-1", "endpoint": moto.endpoint(), "timeout": "10s"});
    let build = |issuers: &[Value]| {
        Workspace::new(upstream.address())
            .set("/cognito", cognito.clone())
            .set("/redis", json!({"url": redis.url(), "timeout": "5s"}))
            .set("/issuers", json!(issuers))
    };
    let workspace = build(&issuers);
    workspace.write(
        "policies/archive.cedar",
        r#"@id("archive") forbid (principal, action, resource) unless { principal has department && principal.department == "archive" };"#,
    );
    let sidecar = Sidecar::start(&workspace);
    let mut table = Table::new(&sidecar, &upstream);
    table.token(110, "a user of the first pool", &here[0], Forwarded);
    table.token(110, "their namesake, with another department", &there[0], Refused(403, "forbidden"));
    table.token(110, "enabled in the first pool", &here[1], Forwarded);
    table.token(110, "their namesake, disabled", &there[1], Refused(403, "user_disabled"));
    table.token(110, "disabled in the first pool", &here[2], Refused(403, "user_disabled"));
    table.token(110, "their namesake, enabled", &there[2], Refused(403, "forbidden"));
    table.finish();
    for pool in [&first, &second] {
        assert!(redis.get(&format!("portcullis:user:{pool}:rita")).is_some(), "{pool}");
    }
    let Reply::List(keys) = redis.ask(&["KEYS", "portcullis:cognito:*"]) else { panic!("no keys") };
    let budgets: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
    assert!(!budgets.is_empty() && budgets.iter().all(|key| key.contains(&first)), "one budget for both: {budgets:?}");

    for (more, key, says) in [
        (json!({}), "issuers[1].user_status", "name theirs in `user_pool`"),
        (json!({"user_pool": first}), "issuers[1].user_status", "name theirs in `user_pool`"),
        (json!({"user_pool": "EXAMPLE"}), "issuers[1].user_pool", "must be the id of a pool"),
        (json!({"user_pool": second, "user_status": "none"}), "issuers[1].user_pool", "has no meaning without"),
    ] {
        let workspace = build(&[issuers[0].clone(), entry(&moto, "second", more.clone())]);
        let output = run(&["check", "-c", workspace.config_path().to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(key) && said.contains(says), "{more}: {said}");
    }
}

//! Issuers' keys over the network: outages, garbage, rotation, and kids that nobody knows.

use crate::harness::http1::{exchange, get};
use crate::harness::key_server::{Answer, KeyServer, ok, said};
use crate::harness::redis::Redis;
use crate::harness::sidecar::{Sidecar, command};
use crate::harness::table::{Expect, Table, bearer};
use crate::harness::tokens::{ISSUER, KEYS, b64, reader, signature, signing_input, unb64, with, with_signature};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, cases, http2, until};
use crate::sessions::with_sessions;
use Expect::{BadToken, Forwarded, Refused};
use dev_issuer::{Algorithm, SigningKey, jwks};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const BAD: Expect = BadToken("invalid_token");
const TARGET: &str = "/v1/documents/report";

/// An issuer of this name whose keys are at `url`.
pub(crate) fn entry(name: &str, issuer: &str, url: &str) -> Value {
    json!({
        "name": name, "kind": "first_party", "issuer": [issuer], "jwks": {"url": url}, "audiences": ["cloud-app"],
        "algorithms": ["ES256", "RS256"], "leeway": "30s",
        "principal": {"type": "User", "id": "sub", "groups": {"claim": "roles", "type": "Role"}},
    })
}

fn signed(key: &SigningKey, issuer: &str) -> Vec<u8> {
    let claims = with(&reader(), json!({"iss": issuer}));
    bearer("GET", TARGET, &key.sign_jwt(Map::new(), &claims))
}

/// Status and code of one request.
fn outcome(sidecar: &Sidecar, request: &[u8]) -> (u16, String) {
    let answer = exchange(sidecar.proxy(), request).unwrap();
    (answer.status, answer.code())
}

#[test]
fn keys_that_cannot_be_had_are_no_verdict_and_need_no_restart() {
    let server = KeyServer::start();
    let good = jwks(&[&KEYS.es]).to_string();
    let private: Value = serde_json::from_str(&KEYS.es.to_jwk_json().unwrap()).unwrap();
    let many: Vec<Value> = (0..65).map(|n| json!({"kid": n.to_string(), "kty": "EC"})).collect();
    let twins = json!({"keys": [KEYS.es.public_jwk(), KEYS.stranger.public_jwk()]}).to_string();
    let elsewhere = format!("Location: {}\r\n", server.url("/elsewhere"));
    server.publish("/elsewhere", &[&KEYS.es]);
    let faults: Vec<(u16, &str, Option<Answer>)> = vec![
        (68, "closed at once", None),
        (64, "status 500", Some(said("500 Oops", "", &good))),
        (64, "status 404", Some(said("404 Not Found", "", &good))),
        (64, "a redirect", Some(said("302 Found", &elsewhere, &good))),
        (64, "a permanent redirect", Some(said("308 Permanent Redirect", &elsewhere, &good))),
        (65, "HTML", Some(ok("<html>It works!</html>"))),
        (65, "an empty body", Some(ok(""))),
        (65, "an empty set", Some(ok(r#"{"keys":[]}"#))),
        (65, "null", Some(ok("null"))),
        (65, "cut short", Some(ok(&good.replace("]}", "")))),
        (65, "a body shorter than its length", Some(Answer::Whole(format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{good}")))),
        (65, "a bomb", Some(said("200 OK", "Content-Encoding: gzip\r\n", "\u{1f}\u{8}bomb"))),
        (66, "too large", Some(ok(&format!("{}{good}", " ".repeat(256 * 1024))))),
        (66, "too many", Some(ok(&json!({"keys": many}).to_string()))),
        (67, "drop by drop", Some(Answer::Drip)),
        (67, "half open", Some(Answer::Silence)),
        (67, "not HTTP", Some(Answer::Whole("\u{15}\u{3}\u{1}".to_owned()))),
        (58, "two keys with one id", Some(ok(&twins))),
        (63, "a private key", Some(ok(&json!({"keys": [private]}).to_string()))),
    ];
    let issuer = |index: usize| format!("https://issuer-{index}.test");
    let path = |index: usize| format!("/{index}");
    let mut entries = Vec::new();
    for (index, (_, _, answer)) in faults.iter().enumerate() {
        if let Some(answer) = answer {
            server.set(&path(index), answer.clone());
        }
        entries.push(entry(&format!("issuer-{index}"), &issuer(index), &server.url(&path(index))));
    }
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/issuers", json!(entries));
    let config = workspace.config_path();
    let mut sidecar = Sidecar::spawn(command(&["serve", "-c", config.to_str().unwrap()]));
    until("the last listener", PATIENCE, || sidecar.stdout().contains("telemetry listening on ").then_some(()));
    sidecar.await_listening();
    for index in 0..faults.len() {
        until("a first attempt", PATIENCE, || (server.hits(&path(index)) > 0).then_some(()));
    }
    assert_eq!(get(sidecar.telemetry(), "/readyz", "").status, 503);
    let mut table = Table::new(&sidecar, &upstream);
    let unavailable = Refused(503, "keys_unavailable");
    for (index, (case, what, _)) in faults.iter().enumerate() {
        table.row(*case, what, &signed(&KEYS.es, &issuer(index)), unavailable);
        table.row(*case, &format!("{what}, forged"), &signed(&KEYS.stranger, &issuer(index)), unavailable);
    }
    assert_eq!(server.hits("/elsewhere"), 0, "a redirect was followed");

    // Everything is well again, and the same process finds out.
    for index in 0..faults.len() {
        server.publish(&path(index), &[&KEYS.es]);
    }
    for (index, (case, what, _)) in faults.iter().enumerate() {
        let request = signed(&KEYS.es, &issuer(index));
        until(what, 3 * PATIENCE, || (outcome(&sidecar, &request).0 == 200).then_some(()));
        table.row(*case, what, &request, Forwarded);
        table.row(44, &format!("{what}, forged"), &signed(&KEYS.stranger, &issuer(index)), BAD);
    }
    until("readiness", PATIENCE, || (get(sidecar.telemetry(), "/readyz", "").status == 200).then_some(()));

    // What goes bad behind a good set changes nothing.
    for (index, (_, _, answer)) in faults.iter().enumerate() {
        server.set(&path(index), answer.clone().unwrap_or(Answer::Silence));
    }
    let unknown = SigningKey::generate(Algorithm::Es256, "unknown").unwrap();
    for (index, (case, what, _)) in faults.iter().enumerate() {
        let hits = server.hits(&path(index));
        let refreshing = Refused(503, "keys_refreshing");
        table.row(*case, &format!("{what}, asked for a new key"), &signed(&unknown, &issuer(index)), refreshing);
        assert_eq!(server.hits(&path(index)), hits + 1, "{what}");
        table.row(*case, &format!("{what}, later"), &signed(&KEYS.es, &issuer(index)), Forwarded);
    }
    table.finish();
    let metrics = get(sidecar.telemetry(), "/metrics", "").text();
    for name in [
        r#"portcullis_jwks_fetches_total{issuer="issuer-1",outcome="failed"}"#,
        r#"portcullis_jwks_fetches_total{issuer="issuer-7",outcome="refused"}"#,
        r#"portcullis_jwks_fetches_total{issuer="issuer-7",outcome="ok"} 1"#,
        r#"portcullis_jwks_keys{issuer="issuer-7"} 1"#,
        r#"portcullis_jwks_last_success_timestamp_seconds{issuer="issuer-7"}"#,
        r#"portcullis_tokens_total{issuer="issuer-7",outcome="keys_unavailable"} 2"#,
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
}

#[test]
fn rotation_and_kids_that_nobody_knows() {
    let key = |kid: &str| SigningKey::generate(Algorithm::Es256, kid).unwrap();
    let (old, new, replaced) = (key("old"), key("new"), key("new"));
    let server = KeyServer::start();
    server.publish("/jwks", &[&old]);
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/issuers", json!([entry("local", ISSUER, &server.url("/jwks"))]));
    let sidecar = Sidecar::start(&workspace);
    let mut table = Table::new(&sidecar, &upstream);
    table.row(0, "the known key", &signed(&old, ISSUER), Forwarded);
    assert_eq!(server.hits("/jwks"), 1);
    for _ in 0..5 {
        table.row(51, "a kid that a later fetch lacks", &signed(&key("stranger"), ISSUER), BAD);
    }
    assert_eq!(server.hits("/jwks"), 2, "repeats of one kid cost nothing");

    // 53: as fast as they can be sent.
    let mut seen = HashMap::new();
    let claims = with(&reader(), json!({}));
    let started = Instant::now();
    for number in 0..500 {
        let header = Map::from_iter([("kid".to_owned(), json!(format!("junk-{number}")))]);
        let request = bearer("GET", TARGET, &old.sign_jwt(header, &claims));
        *seen.entry(outcome(&sidecar, &request)).or_insert(0) += 1;
    }
    let intervals = usize::try_from(started.elapsed().as_secs() / 10).unwrap();
    assert!(server.hits("/jwks") <= 4 + intervals, "{} fetches: {seen:?}", server.hits("/jwks"));
    let expected = [(401, "invalid_token".to_owned()), (503, "keys_refreshing".to_owned())];
    assert!(seen.keys().all(|outcome| expected.contains(outcome)), "{seen:?}");
    cases::held(53, "503 keys_refreshing");
    table.row(53, "the known key, meanwhile", &signed(&old, ISSUER), Forwarded);
    if intervals == 0 {
        table.row(52, "an unknown kid while fetches are spent", &signed(&key("late"), ISSUER), Refused(503, "keys_refreshing"));
    }

    // 54, 55: the new key is never said to be wrong, and accepted within an interval.
    server.publish("/jwks", &[&old, &new]);
    let request = signed(&new, ISSUER);
    until("the new key", PATIENCE, || match outcome(&sidecar, &request) {
        (200, _) => Some(()),
        other => {
            assert_eq!(other, (503, "keys_refreshing".to_owned()));
            None
        }
    });
    cases::held(54, cases::FORWARDED);
    table.row(55, "the new key", &request, Forwarded);
    table.row(55, "the old key, in the overlap", &signed(&old, ISSUER), Forwarded);

    // 57: other material under the same id; 56: the old key withdrawn with it.
    server.publish("/jwks", &[&replaced]);
    let request = signed(&replaced, ISSUER);
    until("the replaced key", 2 * PATIENCE, || match outcome(&sidecar, &request) {
        (200, _) => Some(()),
        other => {
            assert_eq!(other, (401, "invalid_token".to_owned()));
            None
        }
    });
    table.row(57, "the material that replaces it", &request, Forwarded);
    table.row(57, "the material that was replaced", &signed(&new, ISSUER), BAD);
    let withdrawn = outcome(&sidecar, &signed(&old, ISSUER));
    assert!(expected.contains(&withdrawn), "{withdrawn:?}");
    until("the verdict on the withdrawn key", PATIENCE, || (outcome(&sidecar, &signed(&old, ISSUER)) == expected[0]).then_some(()));
    table.row(56, "a key that was withdrawn", &signed(&old, ISSUER), BAD);
    table.finish();
}

/// Case 53 at a rate: as many new kids as two cores of a debug build take, on many connections at once. The issuer is asked
/// no more than its allowance, a rotation in the middle of it is picked up within one interval, and the known key never fails.
#[test]
fn a_flood_of_kids_neither_hammers_the_issuer_nor_delays_a_rotation() {
    let key = |kid: &str| SigningKey::generate(Algorithm::Es256, kid).unwrap();
    let (old, new) = (key("old"), key("new"));
    let server = KeyServer::start();
    server.publish("/jwks", &[&old]);
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/issuers", json!([entry("local", ISSUER, &server.url("/jwks"))]));
    let sidecar = Sidecar::start(&workspace);
    let claims = reader();
    let any = old.sign_jwt(Map::new(), &claims);
    let target = format!("http://service{TARGET}");
    let request = |token: &str| http::Request::get(&target).header("authorization", format!("Bearer {token}")).body(http2::full("")).unwrap();

    let started = Instant::now();
    let (mut flooded, mut rotated) = (HashMap::new(), None);
    http2::runtime().block_on(async {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut junk = tokio::task::JoinSet::new();
        for connection in 0..4 {
            let sender = http2::connect(sidecar.proxy()).await;
            for stream in 0..16 {
                let (mut sender, stopped, any, claims, target) = (sender.clone(), stopped.clone(), any.clone(), claims.clone(), target.clone());
                junk.spawn(async move {
                    let mut seen: HashMap<u16, usize> = HashMap::new();
                    for number in 0.. {
                        if *stopped.borrow() {
                            break;
                        }
                        // Nobody gets as far as the signature.
                        let header = json!({"alg": "ES256", "typ": "JWT", "kid": format!("junk-{connection}-{stream}-{number}")});
                        let token = with_signature(&format!("{}.x", signing_input(&header, &claims)), &signature(&any));
                        let request = http::Request::get(&target).header("authorization", format!("Bearer {token}"));
                        let response = sender.send_request(request.body(http2::full("")).unwrap()).await.unwrap();
                        *seen.entry(response.status().as_u16()).or_default() += 1;
                    }
                    seen
                });
            }
        }
        let mut sender = http2::connect(sidecar.proxy()).await;
        let (known, fresh) = (old.sign_jwt(Map::new(), &claims), new.sign_jwt(Map::new(), &claims));
        let mut published = None;
        while rotated.is_none() {
            assert!(started.elapsed() < 3 * PATIENCE, "the new key was never accepted: {} fetches", server.hits("/jwks"));
            assert_eq!(http2::ask(&mut sender, request(&known)).await.status, 200, "the known key");
            // When the flood has spent the allowance.
            if published.is_none() && started.elapsed() > Duration::from_secs(2) {
                server.publish("/jwks", &[&old, &new]);
                published = Some(Instant::now());
            }
            match http2::ask(&mut sender, request(&fresh)).await.status {
                200 => rotated = published.map(|at| at.elapsed()),
                503 => {}
                // Before it is published, a fetch may have refuted it.
                status => assert!(status == 401 && published.is_none(), "{status} for the new key"),
            }
        }
        stop.send_replace(true);
        while let Some(seen) = junk.join_next().await {
            for (status, count) in seen.unwrap() {
                *flooded.entry(status).or_insert(0) += count;
            }
        }
    });
    let (took, rotated) = (started.elapsed(), rotated.unwrap());
    assert!(flooded.keys().all(|status| [401, 503].contains(status)), "{flooded:?}");
    let kids: usize = flooded.values().sum();
    assert!(kids > 1000, "no flood: {kids} in {took:?}");
    assert!(rotated < Duration::from_secs(12), "picked up after {rotated:?}");
    cases::held(54, cases::FORWARDED);
    // The first, a burst of three, one for each ten seconds, and the background's own.
    let allowed = 5 + usize::try_from(took.as_secs() / 10).unwrap();
    assert!(server.hits("/jwks") <= allowed, "{} fetches for {kids} kids in {took:?}", server.hits("/jwks"));
}

/// `jwk` with `members` laid over it; null leaves one out.
fn altered(jwk: &Value, kid: &str, members: Value) -> Value {
    with(&with(jwk, json!({"kid": kid})), members)
}

/// Case 62: as the flawed generator of CVE-2017-15361 makes them: a power of 65537 modulo each small prime, here the zeroth.
fn roca() -> Vec<u8> {
    let mut number = vec![0; 256];
    number[255] = 1;
    let mut multiply = |by: u32| {
        let mut carry = 0;
        for digit in number.iter_mut().rev() {
            carry += u32::from(*digit) * by;
            *digit = u8::try_from(carry % 256).unwrap();
            carry /= 256;
        }
        number[0] >= 0x80
    };
    for prime in (3..=167).step_by(2).filter(|n| (3..*n).step_by(2).all(|d| n % d != 0)) {
        multiply(prime);
    }
    while !multiply(2) {}
    number[255] += 1;
    number
}

/// Keys of a published set that are not for verifying, or not sound: each left out, and the one beside it used. Every set is
/// an issuer's own, so that each may be asked for anew.
#[test]
fn keys_that_verify_nothing() {
    let ec = |kid: &str| SigningKey::generate(Algorithm::Es256, kid).unwrap();
    let (odd, beside) = (ec("odd"), ec("beside"));
    let (jwk, rsa) = (odd.public_jwk(), KEYS.rs.public_jwk());
    let bytes = |jwk: &Value, name: &str| unb64(jwk[name].as_str().unwrap());
    let last = |bytes: Vec<u8>, change: fn(u8) -> u8| {
        let mut bytes = bytes;
        let end = bytes.len() - 1;
        bytes[end] = change(bytes[end]);
        json!(b64(&bytes))
    };
    let narrow = [&[0xc0][..], &[7; 127]].concat();
    let ec_with = |members: Value| altered(&jwk, "odd", members);
    let rsa_with = |members: Value| altered(&rsa, "odd", members);
    let rows: Vec<(u16, &str, Value, Expect)> = vec![
        (59, "use enc", ec_with(json!({"use": "enc"})), BAD),
        (59, "use a list", ec_with(json!({"use": ["sig"]})), BAD),
        (59, "key_ops sign", ec_with(json!({"use": null, "key_ops": ["sign"]})), BAD),
        (59, "key_ops encrypt", ec_with(json!({"use": null, "key_ops": ["encrypt"]})), BAD),
        (59, "key_ops a text", ec_with(json!({"use": null, "key_ops": "verify"})), BAD),
        (59, "key_ops verify", ec_with(json!({"use": null, "key_ops": ["verify"]})), Forwarded),
        (60, "EC without alg", ec_with(json!({"alg": null})), Forwarded),
        (60, "RSA without alg", rsa_with(json!({"alg": null})), Forwarded),
        (60, "neither use nor alg", ec_with(json!({"alg": null, "use": null})), Forwarded),
        (61, "an unknown type", json!({"kty": "LATTICE", "kid": "odd", "pub": "AAAA"}), BAD),
        (61, "a type of another use", json!({"kty": "OKP", "crv": "Ed25519", "kid": "odd", "x": b64(&[7; 32])}), BAD),
        (61, "an unknown alg", ec_with(json!({"alg": "ES999"})), BAD),
        (61, "another key's alg", ec_with(json!({"alg": "RS256"})), BAD),
        (61, "an alg in the singular", ec_with(json!({"alg": ["ES256"]})), BAD),
        (62, "RSA of 1024 bits", rsa_with(json!({"n": b64(&narrow)})), BAD),
        (62, "an exponent of 1", rsa_with(json!({"e": "AQ"})), BAD),
        (62, "an even exponent", rsa_with(json!({"e": "AQAC"})), BAD),
        (62, "an even modulus", rsa_with(json!({"n": last(bytes(&rsa, "n"), |byte| byte & 0xfe)})), BAD),
        (62, "a modulus of the flawed generator", rsa_with(json!({"n": b64(&roca())})), BAD),
        (62, "a point off the curve", ec_with(json!({"y": last(bytes(&jwk, "y"), |byte| byte ^ 1)})), BAD),
        (62, "the point at zero", ec_with(json!({"x": b64(&[0; 32]), "y": b64(&[0; 32])})), BAD),
        (62, "another curve's name", ec_with(json!({"crv": "P-384"})), BAD),
        (62, "no curve", ec_with(json!({"crv": null})), BAD),
        (62, "a short x", ec_with(json!({"x": b64(&bytes(&jwk, "x")[1..])})), BAD),
        (62, "a long x", ec_with(json!({"x": b64(&[&[0][..], &bytes(&jwk, "x")].concat())})), BAD),
    ];
    let upstream = Upstream::start();
    let mut issuers = Vec::new();
    let workspace = Workspace::new(upstream.address());
    for (index, (_, _, jwk, _)) in rows.iter().enumerate() {
        let file = format!("set-{index}.json");
        workspace.write(&file, &json!({"keys": [jwk, beside.public_jwk()]}).to_string());
        issuers.push(with(&entry(&format!("issuer-{index}"), &format!("https://issuer-{index}.test"), "-"), json!({"jwks": {"file": file}})));
    }
    let sidecar = Sidecar::start(&workspace.set("/issuers", json!(issuers)));
    let mut table = Table::new(&sidecar, &upstream);
    for (index, (case, what, jwk, expect)) in rows.iter().enumerate() {
        let issuer = format!("https://issuer-{index}.test");
        let claims = with(&reader(), json!({"iss": issuer}));
        let named = Map::from_iter([("kid".to_owned(), json!("odd"))]);
        let key = if jwk["kty"] == "RSA" { &KEYS.rs } else { &odd };
        table.row(*case, what, &bearer("GET", TARGET, &key.sign_jwt(named, &claims)), *expect);
        table.row(*case, &format!("{what}: the key beside it"), &signed(&beside, &issuer), Forwarded);
        // Left out, not merely of no use for this signature.
        let used = if matches!(expect, Forwarded) { 2 } else { 1 };
        let metric = format!("portcullis_jwks_keys{{issuer=\"issuer-{index}\"}} {used}\n");
        if !get(sidecar.telemetry(), "/metrics", "").text().contains(&metric) {
            table.fault(*case, what, "another number of keys is used");
        }
    }
    table.finish();
}

/// Case 71: keys come from their issuer alone. What somebody writes into Redis about them is never asked for.
#[test]
fn no_key_comes_from_redis() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let attacker = SigningKey::generate(Algorithm::Es256, "theirs").unwrap();
    let poison = jwks(&[&attacker]).to_string();
    for key in ["jwks", "jwks:local", "portcullis:jwks", "portcullis:jwks:local", &format!("jwks:{ISSUER}"), &format!("portcullis:jwks:{ISSUER}")] {
        redis.set(key, &poison);
    }
    let sidecar = Sidecar::start(&with_sessions(&upstream, &redis.url()));
    let mut table = Table::new(&sidecar, &upstream);
    table.row(71, "signed by a key that stands in Redis", &signed(&attacker, ISSUER), BAD);
    let ours = Map::from_iter([("kid".to_owned(), json!("es-1"))]);
    table.token(71, "the same under our id", &attacker.sign_jwt(ours, &reader()), BAD);
    redis.open_session("s-rita", "rita", 1);
    table.token(71, "signed by the issuer", &KEYS.token(&reader()), Forwarded);
    table.finish();
    assert_eq!(redis.calls("get"), 0, "something was read that is no session");
}

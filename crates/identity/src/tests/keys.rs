//! Keys from a URL or a file: rotation, outages, and requests that ask for unknown keys.

use std::time::Duration;

use serde_json::{Map, json};
use tokio::sync::Notify;

use super::server::{Answer, Server};
use super::*;

/// Issuers whose keys come from a server.
struct Remote {
    server: Server,
    clock: Clock,
    issuers: Arc<Issuers>,
}

impl Remote {
    async fn start(answer: Answer) -> Self {
        let server = Server::start(answer).await;
        let clock = Clock::manual(NOW);
        let config = config(Jwks::Url(server.url.clone()));
        let issuers = issuers(&[config], Path::new("/"), &clock).unwrap();
        let remote = Self {
            server,
            clock,
            issuers,
        };
        remote.refresh().await;
        remote
    }

    async fn publishing(keys: &[&SigningKey]) -> Self {
        Self::start(Answer::Body(jwks(keys).to_string())).await
    }

    /// What the background task does when it wakes up.
    async fn refresh(&self) {
        self.issuers.refresh().await;
    }

    fn publish(&self, keys: &[&SigningKey]) {
        self.server.answer(Answer::Body(jwks(keys).to_string()));
    }

    async fn judge(&self, key: &SigningKey) -> &'static str {
        let claims = claims_at(&self.clock);
        outcome(
            &self
                .issuers
                .verify(&key.sign_jwt(Map::new(), &claims))
                .await,
        )
    }
}

/// Good claims by a clock that has moved on.
fn claims_at(clock: &Clock) -> Value {
    let mut claims = claims();
    claims["iat"] = json!(clock.unix());
    claims["exp"] = json!(clock.unix() + 300);
    claims
}

fn key(kid: &str) -> SigningKey {
    SigningKey::generate(Alg::Es256, kid).unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test]
async fn an_outage_at_the_start_is_no_verdict_and_passes_without_a_restart() {
    let remote = Remote::start(Answer::Close).await;
    assert_eq!(remote.judge(&ES256).await, "keys_unavailable");
    let status = &remote.issuers.keys()[0];
    assert!(!status.ready && status.age.is_none() && status.last_error.is_some());
    remote.publish(&[&ES256]);
    assert_eq!(remote.judge(&ES256).await, "keys_unavailable");
    remote.clock.advance(Duration::from_secs(2));
    remote.refresh().await;
    assert_eq!(remote.judge(&ES256).await, "ok");
    let status = &remote.issuers.keys()[0];
    assert!(status.ready && status.last_error.is_none());
    assert_eq!(status.keys, 1);
}

#[tokio::test]
async fn what_cannot_be_read_replaces_nothing() {
    let good = jwks(&[&ES256]).to_string();
    let twins = json!({"keys": [ES256.public_jwk(), FORGER.public_jwk()]}).to_string();
    let private: Value = serde_json::from_str(&ES256.to_jwk_json().unwrap()).unwrap();
    let many: Vec<Value> = (0..65)
        .map(|n| json!({"kid": n.to_string(), "kty": "EC"}))
        .collect();
    let huge = format!("{}{good}", " ".repeat(256 * 1024));
    let evil = Server::start(Answer::Body(jwks(&[&FORGER]).to_string())).await;
    let location = format!("Location: {}\r\n", evil.url);
    let answers = [
        ("refused", Answer::Close),
        ("500", Answer::Status(500, String::new(), good.clone())),
        ("404", Answer::Status(404, String::new(), good.clone())),
        ("204", Answer::Status(204, String::new(), String::new())),
        ("302", Answer::Status(302, location.clone(), good.clone())),
        ("307", Answer::Status(307, location, good.clone())),
        ("HTML", Answer::Body("<html>It works!</html>".into())),
        ("empty", Answer::Body(String::new())),
        ("null", Answer::Body("null".into())),
        ("no keys", Answer::Body("{}".into())),
        ("empty set", Answer::Body(r#"{"keys":[]}"#.into())),
        ("keys is an object", Answer::Body(r#"{"keys":{}}"#.into())),
        (
            "keys twice",
            Answer::Body(format!(r#"{{"keys":[],{}"#, good.replacen('{', "", 1))),
        ),
        (
            "a key that is none",
            Answer::Body(r#"{"keys":["x"]}"#.into()),
        ),
        ("truncated JSON", Answer::Body(good.replace("]}", ""))),
        ("truncated body", Answer::Truncated(good.clone())),
        ("gzip", Answer::Body("\u{1f}\u{8b}\u{8}".into())),
        ("too large", Answer::Body(huge)),
        (
            "too many",
            Answer::Body(json!({ "keys": many }).to_string()),
        ),
        ("drip", Answer::Drip),
        ("duplicate kid", Answer::Body(twins)),
        (
            "private key",
            Answer::Body(json!({ "keys": [private] }).to_string()),
        ),
    ];
    let remote = Remote::publishing(&[&ES256]).await;
    for (name, answer) in answers {
        remote.clock.advance(11 * MINUTE);
        remote.server.answer(answer.clone());
        let before = remote.server.hits();
        remote.refresh().await;
        assert_eq!(remote.server.hits(), before + 1, "{name}");
        assert!(remote.issuers.keys()[0].last_error.is_some(), "{name}");
        assert_eq!(remote.judge(&ES256).await, "ok", "{name}");

        let fresh = Remote::start(answer).await;
        assert_eq!(fresh.judge(&ES256).await, "keys_unavailable", "{name}");
        assert_eq!(fresh.judge(&FORGER).await, "keys_unavailable", "{name}");
    }
    assert_eq!(evil.hits(), 0);
}

#[tokio::test]
async fn keys_are_used_for_a_day_and_no_longer() {
    let remote = Remote::publishing(&[&ES256]).await;
    let mut claims = claims();
    claims["exp"] = json!(NOW + 900);
    remote.server.answer(Answer::Close);
    remote.clock.advance(24 * HOUR - Duration::from_secs(1));
    assert_eq!(remote.judge(&ES256).await, "ok");
    // Remembered tokens age with the keys that vouched for them.
    let remembered = token(&claims_at(&remote.clock));
    assert_eq!(outcome(&remote.issuers.verify(&remembered).await), "ok");
    remote.clock.advance(Duration::from_secs(1));
    remote.refresh().await;
    assert_eq!(
        outcome(&remote.issuers.verify(&remembered).await),
        "keys_unavailable"
    );
    assert_eq!(remote.judge(&ES256).await, "keys_unavailable");
    assert!(!remote.issuers.keys()[0].ready);
    remote.publish(&[&ES256]);
    remote.clock.advance(2 * MINUTE);
    remote.refresh().await;
    assert_eq!(remote.judge(&ES256).await, "ok");
}

#[tokio::test]
async fn a_step_of_the_wall_clock_does_not_age_keys() {
    let remote = Remote::publishing(&[&ES256]).await;
    remote.clock.set_unix(NOW + 48 * 60 * 60);
    assert_eq!(remote.judge(&ES256).await, "ok");
    remote.clock.set_unix(NOW - 48 * 60 * 60);
    assert_eq!(remote.judge(&ES256).await, "ok");
}

#[tokio::test]
async fn keys_overlap_and_are_withdrawn() {
    let (old, new) = (key("old"), key("new"));
    let remote = Remote::publishing(&[&old]).await;
    let remembered = old.sign_jwt(Map::new(), &claims_with("exp", json!(NOW + 900)));
    assert_eq!(outcome(&remote.issuers.verify(&remembered).await), "ok");
    remote.publish(&[&old, &new]);
    remote.clock.advance(10 * MINUTE);
    remote.refresh().await;
    assert_eq!(remote.judge(&old).await, "ok");
    assert_eq!(remote.judge(&new).await, "ok");
    assert_eq!(outcome(&remote.issuers.verify(&remembered).await), "ok");
    remote.publish(&[&new]);
    remote.clock.advance(4 * MINUTE);
    remote.refresh().await;
    assert_eq!(outcome(&remote.issuers.verify(&remembered).await), "ok");
    remote.clock.advance(6 * MINUTE);
    remote.refresh().await;
    // The token is past its time by now; what it would say first is that its key is gone.
    assert_eq!(remote.judge(&old).await, "invalid");
    assert_eq!(
        outcome(&remote.issuers.verify(&remembered).await),
        "invalid"
    );
    assert_eq!(remote.judge(&new).await, "ok");
}

#[tokio::test]
async fn a_new_key_is_fetched_at_once() {
    let (old, new) = (key("old"), key("new"));
    let remote = Remote::publishing(&[&old]).await;
    remote.publish(&[&old, &new]);
    assert_eq!(remote.judge(&new).await, "ok");
    assert_eq!(remote.judge(&old).await, "ok");
    assert_eq!(remote.server.hits(), 2);
}

#[tokio::test]
async fn an_unknown_kid_is_refuted_once_and_then_costs_nothing() {
    let remote = Remote::publishing(&[&ES256]).await;
    let stranger = key("stranger");
    for _ in 0..20 {
        assert_eq!(remote.judge(&stranger).await, "invalid");
    }
    assert_eq!(remote.server.hits(), 2);
    // After a minute it is asked again: perhaps it has come.
    remote.publish(&[&ES256, &stranger]);
    remote.clock.advance(MINUTE);
    assert_eq!(remote.judge(&stranger).await, "ok");
    assert_eq!(remote.server.hits(), 3);
}

#[tokio::test]
async fn junk_kids_neither_hammer_the_issuer_nor_hold_a_rotation_up() {
    let remote = Remote::publishing(&[&ES256]).await;
    let new = key("new");
    let junk = |number: usize| {
        let header = json!({"kid": format!("junk-{number}")});
        FORGER.sign_jwt(
            header.as_object().unwrap().clone(),
            &claims_at(&remote.clock),
        )
    };
    let mut outcomes = std::collections::HashMap::new();
    for number in 0..2000 {
        let result = remote.issuers.verify(&junk(number)).await;
        *outcomes.entry(outcome(&result)).or_insert(0) += 1;
    }
    assert_eq!(remote.server.hits(), 1 + 3, "{outcomes:?}");
    assert_eq!(
        (outcomes["invalid"], outcomes["keys_refreshing"]),
        (3, 1997)
    );
    // The issuer rotates while the allowance is spent: no verdict, then the new key.
    remote.publish(&[&ES256, &new]);
    assert_eq!(remote.judge(&new).await, "keys_refreshing");
    assert_eq!(remote.judge(&ES256).await, "ok");
    remote.clock.advance(Duration::from_secs(10));
    assert_eq!(
        outcome(&remote.issuers.verify(&junk(9999)).await),
        "invalid"
    );
    assert_eq!(remote.judge(&new).await, "ok");
    assert_eq!(remote.server.hits(), 1 + 4);
}

#[tokio::test]
async fn the_background_has_an_allowance_of_its_own() {
    let remote = Remote::publishing(&[&ES256]).await;
    for number in 0..5 {
        remote.judge(&key(&format!("junk-{number}"))).await;
    }
    assert_eq!(remote.server.hits(), 4);
    let new = key("new");
    assert_eq!(remote.judge(&new).await, "keys_refreshing");
    remote.publish(&[&new]);
    remote.clock.advance(10 * MINUTE);
    remote.refresh().await;
    assert_eq!(remote.server.hits(), 5);
    assert_eq!(remote.judge(&new).await, "ok");
}

#[tokio::test]
async fn a_failed_fetch_refutes_nothing() {
    let remote = Remote::publishing(&[&ES256]).await;
    remote.server.answer(Answer::Close);
    let new = key("new");
    assert_eq!(remote.judge(&new).await, "keys_refreshing");
    assert_eq!(remote.judge(&ES256).await, "ok");
    remote.publish(&[&ES256, &new]);
    assert_eq!(remote.judge(&new).await, "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_share_one_fetch_and_few_wait() {
    let remote = Arc::new(Remote::publishing(&[&ES256]).await);
    let new = Arc::new(key("new"));
    let gate = Arc::new(Notify::new());
    let body = jwks(&[&ES256, &new]).to_string();
    remote.server.answer(Answer::Held(body, Arc::clone(&gate)));
    let asking: Vec<_> = (0..200)
        .map(|_| {
            let (remote, new) = (Arc::clone(&remote), Arc::clone(&new));
            tokio::spawn(async move { remote.judge(&new).await })
        })
        .collect();
    // Those who may not wait have all been told so.
    while asking.iter().filter(|task| task.is_finished()).count() < 200 - 64 {
        tokio::task::yield_now().await;
    }
    assert_eq!(remote.judge(&ES256).await, "ok");
    gate.notify_one();
    let mut good = 0;
    for task in asking {
        match task.await.unwrap() {
            "ok" => good += 1,
            other => assert_eq!(other, "keys_refreshing"),
        }
    }
    assert_eq!((good, remote.server.hits()), (64, 2));
}

#[tokio::test]
async fn who_hangs_up_does_not_waste_the_fetch() {
    let remote = Remote::publishing(&[&ES256]).await;
    let new = key("new");
    let gate = Arc::new(Notify::new());
    let body = jwks(&[&ES256, &new]).to_string();
    remote.server.answer(Answer::Held(body, Arc::clone(&gate)));
    {
        let token = new.sign_jwt(Map::new(), &claims());
        let mut asking = std::pin::pin!(remote.issuers.verify(&token));
        tokio::select! {
            biased;
            _ = &mut asking => panic!("the keys are held back"),
            () = std::future::ready(()) => {}
        }
    }
    gate.notify_one();
    while remote.issuers.keys()[0].keys < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(remote.judge(&new).await, "ok");
    assert_eq!(remote.server.hits(), 2);
}

#[tokio::test]
async fn a_key_replaced_under_its_id_is_found_after_a_failure() {
    let (old, new) = (key("same"), key("same"));
    let remote = Remote::publishing(&[&old]).await;
    remote.publish(&[&new]);
    // Right after a fetch a bad signature is just that.
    assert_eq!(remote.judge(&new).await, "invalid");
    assert_eq!(remote.server.hits(), 1);
    remote.clock.advance(Duration::from_secs(10));
    assert_eq!(remote.judge(&new).await, "invalid");
    while remote.judge(&new).await != "ok" {
        tokio::task::yield_now().await;
    }
    assert_eq!(remote.judge(&old).await, "invalid");
    assert_eq!(remote.server.hits(), 2);
}

#[tokio::test]
async fn max_age_may_shorten_the_interval_but_not_below_five_minutes() {
    for (control, early, late) in [
        ("max-age=0", 4, 5),
        ("public, max-age=360", 5, 6),
        ("max-age=315360000", 8, 10),
        ("no-store", 8, 10),
    ] {
        let body = jwks(&[&ES256]).to_string();
        let remote = Remote::start(Answer::Cached(body, control)).await;
        remote.clock.advance(early * MINUTE);
        remote.refresh().await;
        assert_eq!(remote.server.hits(), 1, "{control}");
        remote.clock.advance((late - early) * MINUTE);
        remote.refresh().await;
        assert_eq!(remote.server.hits(), 2, "{control}");
    }
}

#[tokio::test]
async fn failures_are_retried_with_growing_pauses() {
    let remote = Remote::start(Answer::Close).await;
    for _ in 0..3600 {
        remote.clock.advance(Duration::from_secs(1));
        remote.refresh().await;
    }
    let hits = remote.server.hits();
    assert!((55..80).contains(&hits), "{hits}");
}

#[tokio::test]
async fn two_issuers_with_one_url_share_its_fetches() {
    let server = Server::start(Answer::Body(jwks(&[&ES256]).to_string())).await;
    let clock = Clock::manual(NOW);
    let entry = |name: &str, audience: &str| IssuerConfig {
        name: name.to_owned(),
        audiences: vec![audience.to_owned()],
        ..config(Jwks::Url(server.url.clone()))
    };
    let configs = [entry("a", "cloud-app"), entry("b", "other")];
    let issuers = issuers(&configs, Path::new("/"), &clock).unwrap();
    issuers.refresh().await;
    assert_eq!(server.hits(), 1);
    assert_eq!(
        issuers
            .verify(&token(&claims()))
            .await
            .unwrap()
            .issuer
            .as_ref(),
        "a"
    );
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let (old, new) = (key("old"), key("longer-new"));
    std::fs::write(&path, jwks(&[&old]).to_string()).unwrap();
    let clock = Clock::manual(NOW);
    let issuers = issuers(&[config(Jwks::File(path.clone()))], Path::new("/"), &clock).unwrap();
    let judge =
        |key: &SigningKey| outcome(&issuers.verify_now(&key.sign_jwt(Map::new(), &claims())));
    assert_eq!(judge(&old), "ok");
    std::fs::write(&path, jwks(&[&new]).to_string()).unwrap();
    issuers.refresh().await;
    assert_eq!(judge(&new), "ok");
    assert_eq!(judge(&old), "keys_refreshing");
    std::fs::write(&path, "half a file").unwrap();
    issuers.refresh().await;
    assert_eq!(judge(&new), "ok");
    assert!(issuers.keys()[0].last_error.is_some());
    std::fs::remove_file(&path).unwrap();
    issuers.refresh().await;
    assert_eq!(judge(&new), "ok");
}

#[tokio::test]
async fn the_background_task_fetches_and_stops() {
    let server = Server::start(Answer::Body(jwks(&[&ES256]).to_string())).await;
    let clock = Clock::manual(NOW);
    let issuers = issuers(
        &[config(Jwks::Url(server.url.clone()))],
        Path::new("/"),
        &clock,
    )
    .unwrap();
    let stop = Arc::new(Notify::new());
    let task = tokio::spawn({
        let (issuers, stop) = (Arc::clone(&issuers), Arc::clone(&stop));
        async move { issuers.run(stop.notified()).await }
    });
    while !issuers.keys()[0].ready {
        tokio::task::yield_now().await;
    }
    assert_eq!(outcome(&issuers.verify(&token(&claims())).await), "ok");
    stop.notify_one();
    task.await.unwrap();
}

#[tokio::test]
async fn outcomes_are_counted_by_issuer() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("k"), jwks(&[&ES256]).to_string()).unwrap();
    let registry = Registry::new();
    let options = Options {
        clock: Clock::manual(NOW),
        ..Options::default()
    };
    let configs = [config(Jwks::File("k".into()))];
    let issuers = Issuers::with_options(&configs, folder.path(), &registry, options).unwrap();
    let good = token(&claims());
    issuers.verify(&good).await.unwrap();
    issuers.verify(&good).await.unwrap();
    issuers.verify("junk").await.unwrap_err();
    issuers
        .verify(&FORGER.sign_jwt(Map::new(), &claims()))
        .await
        .unwrap_err();
    let families = registry.gather();
    let tokens = families
        .iter()
        .find(|family| family.name() == "portcullis_tokens_total")
        .unwrap();
    let mut counted: Vec<_> = tokens
        .get_metric()
        .iter()
        .map(|metric| {
            let labels: Vec<_> = metric
                .get_label()
                .iter()
                .map(|label| label.value())
                .collect();
            (labels.join("/"), metric.get_counter().get_value() as u64)
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    counted.sort();
    let expected = [
        ("main/cached", 1),
        ("main/invalid", 1),
        ("main/verified", 1),
        ("none/invalid", 1),
    ];
    assert_eq!(
        counted,
        expected.map(|(labels, count)| (labels.to_owned(), count))
    );
}

//! What is remembered of tokens, and how much memory that takes.

use super::*;
use crate::config::{AttributeSource, Kind, PrincipalConfig, TokensConfig};

/// One issuer that remembers tokens of at most so many bytes.
fn remembering(cache_bytes: u64, change: impl FnOnce(&mut IssuerConfig)) -> World {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("k"), jwks(&[&ES256]).to_string()).unwrap();
    let clock = Clock::manual(NOW);
    let options = Options {
        clock: clock.clone(),
        cache_bytes,
        ..Options::default()
    };
    let mut config = config(Jwks::File("k".into()));
    change(&mut config);
    let issuers =
        Issuers::with_options(&[config], folder.path(), &Registry::new(), options).unwrap();
    World {
        clock,
        issuers,
        _folder: folder,
    }
}

/// The bytes that this one token takes.
fn weight(claims: &Value, change: impl FnOnce(&mut IssuerConfig)) -> u64 {
    let world = remembering(1 << 20, change);
    world.verify(&token(claims)).unwrap();
    let (entries, bytes) = world.issuers.cached();
    assert_eq!(entries, 1);
    bytes
}

/// Has the principal get an attribute from the claim `x`.
fn mail(config: &mut IssuerConfig) {
    let claim = AttributeSource::Claim("x".to_owned());
    let attributes = &mut config.principal.attributes;
    attributes.insert("email".to_owned(), claim);
}

fn numbered(number: usize) -> String {
    token(&claims_with("jti", json!(format!("t{number}"))))
}

#[test]
fn a_repeated_token_is_remembered_and_never_beyond_its_end() {
    let world = World::new();
    let token = token(&claims());
    let first = world.verify(&token).unwrap();
    assert!(Arc::ptr_eq(&first, &world.verify(&token).unwrap()));
    // Within the leeway it is still good, and no longer from memory.
    world.clock.set_unix(NOW + 300);
    assert!(!Arc::ptr_eq(&first, &world.verify(&token).unwrap()));
    world.clock.set_unix(NOW + 305);
    assert_eq!(world.verify(&token), Err(TokenError::Expired));
    // The wall clock may also be set back.
    world.clock.set_unix(NOW - 6);
    assert_eq!(outcome(&world.verify(&token)), "invalid");
}

#[test]
fn memory_is_bounded_in_bytes() {
    let one = weight(&claims(), |_| {});
    let world = remembering(4 * one, |_| {});
    for number in 0..1000 {
        let claims = claims_with("jti", json!(format!("t{number}")));
        world.verify(&token(&claims)).unwrap();
        let forged = FORGER.sign_jwt(Map::new(), &claims);
        assert_eq!(outcome(&world.verify(&forged)), "invalid");
    }
    let (entries, bytes) = world.issuers.cached();
    assert!((1..=4).contains(&entries), "{entries}");
    assert!((one..=4 * one).contains(&bytes), "{bytes}");
}

#[test]
fn a_token_that_was_pushed_out_is_verified_again() {
    let world = remembering(4 * weight(&claims(), |_| {}), |_| {});
    let tokens: Vec<String> = (0..100).map(numbered).collect();
    let first: Vec<_> = tokens.iter().map(|it| world.verify(it).unwrap()).collect();
    world.issuers.cached();
    // The last is among those that were used last.
    let again = world.verify(&tokens[99]).unwrap();
    assert!(Arc::ptr_eq(&first[99], &again));
    let again = world.verify(&tokens[0]).unwrap();
    assert!(!Arc::ptr_eq(&first[0], &again));
    assert_eq!(first[0], again);
}

#[test]
fn a_cache_of_no_bytes_keeps_none() {
    let world = remembering(0, |_| {});
    let token = token(&claims());
    let first = world.verify(&token).unwrap();
    assert!(!Arc::ptr_eq(&first, &world.verify(&token).unwrap()));
    assert_eq!(world.issuers.cached(), (0, 0));
}

#[test]
fn a_token_larger_than_the_cache_is_not_kept_and_pushes_nothing_out() {
    let world = remembering(4 * weight(&claims(), |_| {}), |_| {});
    let small = token(&claims());
    let kept = world.verify(&small).unwrap();
    let large = token(&claims_with("roles", json!(vec!["r".repeat(100); 50])));
    for _ in 0..10 {
        world.verify(&large).unwrap();
        assert_eq!(world.issuers.cached().0, 1);
    }
    assert!(Arc::ptr_eq(&kept, &world.verify(&small).unwrap()));
}

#[test]
fn what_a_token_says_has_its_weight() {
    let session = |config: &mut IssuerConfig| config.session = crate::config::SessionSource::Redis;
    let ordinary = weight(&claims(), |_| {});
    let long = "x".repeat(128);
    let with_session = |id: &str| {
        let mut claims = claims_with("sid", json!(id));
        claims["sidv"] = json!(1);
        weight(&claims, session)
    };
    assert_eq!(with_session(&long), with_session("x") + 112);
    for (name, value, more) in [
        // What nobody reads is not kept.
        ("ignored", json!(long), 0),
        // The subject is the principal's id as well.
        ("sub", json!(long), 2 * 112),
        ("jti", json!(long), 112),
        // For the two of `claims`, of 16 bytes each in a list of 48.
        ("roles", json!(null), -80),
        ("roles", json!([long]), 80),
        ("roles", json!(vec![long.as_str(); 30]), 768 + 30 * 128 - 80),
        ("scope", json!(""), -80),
        (
            "scope",
            json!(vec!["s"; 256].join(" ")),
            256 * (24 + 16) - 80,
        ),
    ] {
        let found = weight(&claims_with(name, value), |_| {});
        assert_eq!(found.cast_signed() - ordinary.cast_signed(), more, "{name}");
    }
    for (value, more) in [
        (json!(null), 48),
        (json!(1), 48),
        (json!(long), 48 + 128),
        (json!(vec![long.as_str(); 3]), 48 + 80 + 3 * 128),
    ] {
        let found = weight(&claims_with("x", value.clone()), mail);
        assert_eq!(found - ordinary, more, "{value}");
    }
}

#[test]
fn whom_a_service_acts_for_has_a_weight() {
    let service = |config: &mut IssuerConfig| {
        config.kind = Kind::Service;
        config.audiences = vec!["internal".to_owned()];
        config.on_behalf_of = Some(PrincipalConfig {
            groups: config.principal.groups.clone(),
            ..PrincipalConfig::default()
        });
    };
    let of = |act: Value| {
        let mut claims = json!({
            "iss": URL, "aud": "internal", "token_use": "svc", "sub": "spn:bff", "iat": NOW, "exp": NOW + 300,
        });
        if !act.is_null() {
            claims["act"] = act;
        }
        weight(&claims, service)
    };
    let alone = of(json!(null));
    let acting = of(json!({"sub": "alice"}));
    assert!(
        (alone + 150..alone + 300).contains(&acting),
        "{alone} {acting}"
    );
    let roles = vec!["r".repeat(128); 40];
    assert_eq!(
        of(json!({"sub": "alice", "roles": roles})),
        acting + 1024 + 40 * 128
    );
}

/// As much of everything as a token of 8 KiB can hold: lists of many short names are dearest.
#[test]
fn no_token_weighs_much_more_than_is_said_of_it() {
    let names: Vec<String> = (0..256).map(|number| format!("{number:x}")).collect();
    let claims = |attribute: Value| {
        let mut claims = claims_with("roles", json!(names));
        claims["scope"] = json!(names.join(" "));
        claims["x"] = attribute;
        claims
    };
    let weight = weight(&claims(json!(names)), mail);
    let lists = 3 * 256 * (24 + 16);
    assert!((lists..lists + 2048).contains(&weight), "{weight}");
    // So the smallest cache that may be configured holds it.
    assert!(weight < 64 << 10);
}

#[test]
fn the_default_holds_a_hundred_thousand_ordinary_tokens() {
    let uuid = "0b5c1a52-7d0e-4f4b-9a53-2f1f4a1c7e11";
    let mut claims = claims_with("sub", json!(uuid));
    claims["jti"] = json!(uuid);
    claims["sid"] = json!(uuid);
    claims["sidv"] = json!(1);
    claims["roles"] = json!(["editor"]);
    let weight = weight(&claims, |config| {
        config.session = crate::config::SessionSource::Redis;
    });
    assert!(weight < 1000, "{weight}");
    let kept = TokensConfig::default().cache_bytes.0 / weight;
    assert!(kept > 100_000, "{weight}: {kept}");
}

#[test]
fn what_is_kept_can_be_read_as_metrics() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("k"), jwks(&[&ES256]).to_string()).unwrap();
    let registry = Registry::new();
    let options = Options {
        clock: Clock::manual(NOW),
        ..Options::default()
    };
    let configs = [config(Jwks::File("k".into()))];
    let issuers = Issuers::with_options(&configs, folder.path(), &registry, options).unwrap();
    for number in 0..3 {
        issuers.verify_now(&numbered(number)).unwrap();
    }
    let gauge = |name: &str| {
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap();
        family.get_metric()[0].get_gauge().get_value()
    };
    assert_eq!(gauge("portcullis_token_cache_entries"), 3.0);
    let bytes = issuers.cached().1;
    assert_eq!(gauge("portcullis_token_cache_bytes"), bytes as f64);
    assert_eq!(bytes % 3, 0);
}

/// The time of this clock stands still, that of the cache does not.
#[tokio::test]
async fn an_entry_goes_with_its_token() {
    let world = remembering(1 << 20, |_| {});
    let brief = claims_with("exp", json!(NOW + 1));
    world.verify(&token(&brief)).unwrap();
    world.verify(&token(&claims())).unwrap();
    assert_eq!(world.issuers.cached().0, 2);
    let one_is_left = async {
        while world.issuers.cached().0 > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), one_is_left)
        .await
        .unwrap();
    assert_eq!(world.issuers.cached().0, 1);
}

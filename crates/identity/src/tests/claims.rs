//! Claims: required, typed, and what they become.

use serde_json::json;

use super::*;
use crate::Claim;
use crate::config::AttributeSource;

fn check_claims(world: &World, cases: &[(&str, Value, &str)]) {
    let cases: Vec<_> = cases
        .iter()
        .map(|(name, value, expected)| (*name, token(&claims_with(name, value.clone())), *expected))
        .collect();
    check(world, &cases);
}

/// One claim of the payload as raw text, for what no JSON value can hold.
fn raw(name: &str, text: &str) -> String {
    let mut claims = claims_with(name, Value::Null).to_string();
    claims.truncate(claims.len() - 1);
    let payload = format!(r#"{claims},"{name}":{text}}}"#);
    ES256.sign_segments(br#"{"alg":"ES256","kid":"ec"}"#, payload.as_bytes())
}

#[test]
fn times() {
    let at = |iat: u64, exp: u64| {
        let mut claims = claims();
        claims["iat"] = json!(iat);
        claims["exp"] = json!(exp);
        token(&claims)
    };
    let world = World::new();
    check(
        &world,
        &[
            ("expires in a second", at(NOW - 10, NOW + 1), "ok"),
            ("expired now, within leeway", at(NOW - 10, NOW), "ok"),
            ("last second of the leeway", at(NOW - 10, NOW - 4), "ok"),
            ("leeway is over", at(NOW - 10, NOW - 5), "expired"),
            ("long expired", at(NOW - 600, NOW - 300), "expired"),
            ("longest life", at(NOW, NOW + 900), "ok"),
            ("longest life and leeway", at(NOW, NOW + 905), "ok"),
            ("too long a life", at(NOW, NOW + 906), "invalid"),
            ("expires when issued", at(NOW, NOW), "invalid"),
            ("expires before it is issued", at(NOW, NOW - 1), "invalid"),
            ("issued ahead, within leeway", at(NOW + 5, NOW + 60), "ok"),
            ("issued in the future", at(NOW + 6, NOW + 60), "invalid"),
        ],
    );
    check_claims(
        &world,
        &[
            ("exp", json!(null), "invalid"),
            ("iat", json!(null), "invalid"),
            ("nbf", json!(NOW + 5), "ok"),
            ("nbf", json!(NOW + 6), "not_yet_valid"),
            ("nbf", json!(NOW - 100), "ok"),
            ("nbf", json!(NOW.to_string()), "invalid"),
            ("nbf", json!(1.5), "invalid"),
        ],
    );
    let mut cases = Vec::new();
    for name in ["exp", "iat", "nbf"] {
        for text in [
            "\"1800000100\"",
            "1800000100.5",
            "1800000100.0",
            "1.8e9",
            "-1",
            "null",
            "true",
            "[]",
            "[1800000100]",
            "{}",
            "9223372036854775808",
            "18446744073709551616",
            "1e308",
            "253402300800",
        ] {
            cases.push((text, raw(name, text), "invalid"));
        }
    }
    check(&world, &cases);
}

#[test]
fn issuer_audience_and_use() {
    let mut cases = vec![
        ("iss", json!(null), "invalid"),
        ("iss", json!(""), "invalid"),
        ("iss", json!([URL]), "invalid"),
        ("iss", json!({"url": URL}), "invalid"),
        ("iss", json!(1), "invalid"),
    ];
    for url in [
        "https://auth.example.com/",
        "https://AUTH.example.com",
        "http://auth.example.com",
        "https://auth.example.com_evil",
        "https://auth.example.co",
        "auth.example.com",
        " https://auth.example.com",
        "https://auth.example.com\u{0}",
    ] {
        cases.push(("iss", json!(url), "invalid"));
    }
    cases.extend([
        ("aud", json!(null), "invalid"),
        ("aud", json!(""), "invalid"),
        ("aud", json!([]), "invalid"),
        ("aud", json!("other"), "invalid"),
        ("aud", json!("cloud-app-2"), "invalid"),
        ("aud", json!("cloud"), "invalid"),
        ("aud", json!("Cloud-App"), "invalid"),
        ("aud", json!(["cloud-app"]), "ok"),
        ("aud", json!(["other", "cloud-app"]), "ok"),
        ("aud", json!(["other"]), "invalid"),
        ("aud", json!(["cloud-app", 1]), "invalid"),
        ("aud", json!(["cloud-app", ""]), "invalid"),
        ("aud", json!([["cloud-app"]]), "invalid"),
        ("aud", json!({"cloud-app": true}), "invalid"),
        ("aud", json!(vec!["cloud-app"; 257]), "invalid"),
        ("token_use", json!("access"), "ok"),
        ("token_use", json!("svc"), "invalid"),
        ("token_use", json!("id"), "invalid"),
        ("token_use", json!("ACCESS"), "invalid"),
        ("token_use", json!(["access"]), "invalid"),
        ("token_use", json!(true), "invalid"),
        ("cnf", json!({"jkt": "x"}), "invalid"),
        ("cnf", json!({"x5t#S256": "x"}), "invalid"),
        ("cnf", json!(1), "invalid"),
        ("act", json!({"sub": "bob"}), "invalid"),
        ("act", json!("bob"), "invalid"),
        ("unknown", json!({"claims": ["are", "ignored"]}), "ok"),
    ]);
    check_claims(&World::new(), &cases);

    let listed = World::with(|config| config.token_use = vec!["api".to_owned()]);
    check_claims(
        &listed,
        &[
            ("token_use", json!("api"), "ok"),
            ("token_use", json!("access"), "invalid"),
            ("token_use", json!(null), "invalid"),
        ],
    );
}

#[test]
fn ids() {
    let mut cases = vec![
        ("sub", json!(null), "invalid"),
        ("sub", json!(1), "invalid"),
        ("sub", json!(["alice"]), "invalid"),
        ("sub", json!("a".repeat(256)), "ok"),
        ("sub", json!("a".repeat(257)), "invalid"),
        ("sub", json!("0b7b9c9e-0d3f-4a0c-9d55-a8a1d6d1c111"), "ok"),
        ("sub", json!("auth0|a.b_c+d@example.com="), "ok"),
        ("jti", json!(null), "invalid"),
        ("jti", json!(""), "invalid"),
        ("jti", json!(7), "invalid"),
        ("jti", json!("a".repeat(257)), "invalid"),
        ("jti", json!("a\u{0}"), "invalid"),
    ];
    for sub in [
        "",
        "a:b",
        "spn:bff",
        "*",
        "a*",
        "a\r\nb",
        "a\nb",
        "a\u{0}",
        "a b",
        "a/b",
        "a\"b",
        "a\\b",
        "аlice",
        "a\u{200b}b",
        "a,b",
        "a;b",
        "?",
    ] {
        cases.push(("sub", json!(sub), "invalid"));
    }
    check_claims(&World::new(), &cases);

    let by_name = World::with(|config| config.principal.id = "username".to_owned());
    let identity = by_name
        .verify(&token(&claims_with("username", json!("al"))))
        .unwrap();
    assert_eq!(
        (&*identity.subject, &*identity.principal_id),
        ("alice", "al")
    );
    check_claims(
        &by_name,
        &[
            ("username", json!(null), "invalid"),
            ("username", json!("a*"), "invalid"),
        ],
    );
}

#[test]
fn groups_and_scopes() {
    let mut cases = vec![
        ("roles", json!(null), "ok"),
        ("roles", json!([]), "ok"),
        ("roles", json!("admin"), "invalid"),
        ("roles", json!({"admin": true}), "invalid"),
        ("roles", json!(["admin", 1]), "invalid"),
        ("roles", json!(["admin", null]), "invalid"),
        ("roles", json!(vec!["r"; 256]), "ok"),
        ("roles", json!(vec!["r"; 257]), "invalid"),
        ("roles", json!(["a".repeat(128)]), "ok"),
        ("roles", json!(["a".repeat(129)]), "invalid"),
        ("scope", json!(null), "ok"),
        ("scope", json!(""), "ok"),
        ("scope", json!(["user.read"]), "ok"),
        ("scope", json!("a\nb"), "invalid"),
        ("scope", json!("a\"b"), "invalid"),
        ("scope", json!("a,b"), "invalid"),
        ("scope", json!("é"), "invalid"),
        ("scope", json!("s ".repeat(257)), "invalid"),
    ];
    for role in [
        "",
        " admin",
        "admin ",
        "a,b",
        "admin\u{0}",
        "a\r\nb",
        "аdmin",
        "\u{7f}",
    ] {
        cases.push(("roles", json!([role]), "invalid"));
    }
    let world = World::new();
    check_claims(&world, &cases);

    let scopes = |scope: Value| {
        world
            .verify(&token(&claims_with("scope", scope)))
            .unwrap()
            .scopes
            .clone()
    };
    assert_eq!(scopes(json!("read readwrite")), ["read", "readwrite"]);
    assert_eq!(scopes(json!(" a  b ")), ["a", "b"]);
    // An array grants nothing, so that a route with scopes says which it lacks.
    assert_eq!(scopes(json!(["read"])), [""; 0]);
}

#[test]
fn attributes() {
    let world = World::with(|config| {
        let claim = |name: &str| AttributeSource::Claim(name.to_owned());
        let attributes = &mut config.principal.attributes;
        attributes.insert("email".to_owned(), claim("mail"));
        attributes.insert("level".to_owned(), claim("lvl"));
        attributes.insert(
            "user_type".to_owned(),
            AttributeSource::Store { store: true },
        );
    });
    let attributes = |name: &str, value: Value| {
        let identity = world.verify(&token(&claims_with(name, value))).unwrap();
        identity
            .attributes
            .iter()
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect()
    };
    let one = |name: &str, value: Claim| vec![(name.to_owned(), value)];
    let none: Vec<(String, Claim)> = attributes("x", json!(1));
    assert_eq!(none, []);
    assert_eq!(
        attributes("mail", json!("ä@b")),
        one("email", Claim::String("ä@b".to_owned()))
    );
    assert_eq!(attributes("lvl", json!(-3)), one("level", Claim::Long(-3)));
    assert_eq!(attributes("lvl", json!(7)), one("level", Claim::Long(7)));
    assert_eq!(
        attributes("lvl", json!(true)),
        one("level", Claim::Bool(true))
    );
    let strings = Claim::Strings(vec!["a".to_owned(), "b".to_owned()]);
    assert_eq!(attributes("lvl", json!(["a", "b"])), one("level", strings));
    check_claims(
        &world,
        &[
            ("lvl", json!(1.5), "invalid"),
            ("lvl", json!({}), "invalid"),
            ("lvl", json!([1]), "invalid"),
            ("lvl", json!(u64::MAX), "invalid"),
            ("mail", json!("a\u{0}"), "invalid"),
            ("mail", json!("a\u{85}b"), "invalid"),
        ],
    );
    check(&world, &[("null", raw("mail", "null"), "invalid")]);
}

#[test]
fn entries_of_one_issuer_are_told_apart_by_audience() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ours"), jwks(&[&ES256]).to_string()).unwrap();
    std::fs::write(folder.path().join("theirs"), jwks(&[&FORGER]).to_string()).unwrap();
    let entry = |name: &str, file: &str, audience: &str| IssuerConfig {
        name: name.to_owned(),
        audiences: vec![audience.to_owned()],
        ..config(Jwks::File(file.into()))
    };
    let clock = Clock::manual(NOW);
    let configs = [
        entry("one", "ours", "app-1"),
        entry("two", "theirs", "app-2"),
    ];
    let issuers = issuers(&configs, folder.path(), &clock).unwrap();
    let judge = |key: &SigningKey, aud: Value| {
        let result = issuers.verify_now(&key.sign_jwt(Map::new(), &claims_with("aud", aud)));
        result.map(|identity| identity.issuer.to_string())
    };
    assert_eq!(judge(&ES256, json!("app-1")).as_deref(), Ok("one"));
    assert_eq!(judge(&FORGER, json!("app-2")).as_deref(), Ok("two"));
    // Keys are bound to their entry, and a token for both or neither belongs nowhere.
    assert!(judge(&ES256, json!("app-2")).is_err());
    assert!(judge(&FORGER, json!("app-1")).is_err());
    assert!(judge(&ES256, json!(["app-1", "app-2"])).is_err());
    assert!(judge(&ES256, json!("app-3")).is_err());
}

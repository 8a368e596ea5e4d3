use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dev_issuer::{Algorithm, SigningKey};
use serde_json::{Value, json};

use super::allowance::Allowance;
use super::unknown::UnknownKids;
use super::{KeyStore, SetError, Source, parse_set};
use crate::metrics::Metrics;
use crate::{Clock, TokenError};

/// The key ids that can be used, or why the set is refused.
fn check(keys: &[Value], expected: Result<&[&str], SetError>) {
    let found = parse_set(json!({ "keys": keys }).to_string().as_bytes());
    let found = found.map(|keys| {
        let mut kids: Vec<_> = keys.into_keys().collect();
        kids.sort();
        kids
    });
    let expected = expected.map(|kids| kids.iter().map(|kid| (*kid).to_owned()).collect());
    assert_eq!(found, expected, "{}", json!(keys));
}

fn with(jwk: &Value, name: &str, value: Value) -> Value {
    let mut jwk = jwk.clone();
    if value.is_null() {
        jwk.as_object_mut().unwrap().remove(name);
    } else {
        jwk[name] = value;
    }
    jwk
}

fn ec() -> Value {
    SigningKey::generate(Algorithm::Es256, "ec")
        .unwrap()
        .public_jwk()
}

fn rsa() -> Value {
    SigningKey::generate(Algorithm::Rs256, "rsa")
        .unwrap()
        .public_jwk()
}

#[test]
fn members_that_say_what_a_key_is_for() {
    let (ec, rsa) = (ec(), rsa());
    check(&[ec.clone(), rsa.clone()], Ok(&["ec", "rsa"]));
    for (name, value) in [
        ("alg", json!(null)),
        ("use", json!(null)),
        ("key_ops", json!(["verify"])),
        ("key_ops", json!(["sign", "verify"])),
        ("x5t", json!("AAAA")),
        ("unknown", json!({"x": 1})),
    ] {
        check(
            &[with(&ec, name, value.clone()), rsa.clone()],
            Ok(&["ec", "rsa"]),
        );
    }
    for (name, value) in [
        ("use", json!("enc")),
        ("use", json!("SIG")),
        ("use", json!(["sig"])),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!(["encrypt"])),
        ("key_ops", json!([])),
        ("key_ops", json!("verify")),
        ("alg", json!("ES384")),
        ("alg", json!("RS256")),
        ("alg", json!("none")),
        ("alg", json!(1)),
        ("kid", json!(null)),
        ("kid", json!(1)),
        ("kid", json!("")),
        ("kid", json!("a*")),
        ("kty", json!("OKP")),
        ("kty", json!("RSA")),
        ("kty", json!("ec")),
        ("kty", json!(null)),
        ("crv", json!("P-384")),
        ("crv", json!("secp256k1")),
        ("crv", json!(null)),
    ] {
        // The key is passed over, the other stays.
        check(&[with(&ec, name, value), rsa.clone()], Ok(&["rsa"]));
    }
    check(
        &[with(&rsa, "alg", json!("RS512")), ec.clone()],
        Ok(&["ec"]),
    );
    check(&[with(&rsa, "alg", json!("PS256")), ec], Ok(&["ec"]));
}

#[test]
fn points_must_lie_on_the_curve_and_be_written_in_full() {
    let (ec, rsa) = (ec(), rsa());
    let x = URL_SAFE_NO_PAD.decode(ec["x"].as_str().unwrap()).unwrap();
    let bytes = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
    let mut off = x.clone();
    off[31] ^= 1;
    for value in [
        bytes(&off),
        bytes(&x[..31]),
        bytes(&[&[0], x.as_slice()].concat()),
        bytes(&[0; 32]),
        bytes(&[0xff; 32]),
        json!(""),
        json!("*"),
        json!(format!("{}=", ec["x"].as_str().unwrap())),
        json!(1),
        json!(null),
    ] {
        check(&[with(&ec, "x", value), rsa.clone()], Ok(&["rsa"]));
    }
    check(&[with(&ec, "y", json!(null)), rsa.clone()], Ok(&["rsa"]));
    check(&[with(&ec, "y", ec["x"].clone()), rsa], Ok(&["rsa"]));
}

#[test]
fn rsa_keys_must_be_sound() {
    let (ec, rsa) = (ec(), rsa());
    let n = URL_SAFE_NO_PAD.decode(rsa["n"].as_str().unwrap()).unwrap();
    let bytes = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
    let mut even = n.clone();
    even[255] &= 0xfe;
    for (member, value) in [
        ("n", bytes(&n[128..])),
        ("n", bytes(&n[1..])),
        ("n", bytes(&even)),
        ("n", bytes(&[&[0], n.as_slice()].concat())),
        ("n", bytes(&[n.as_slice(), n.as_slice(), &[1]].concat())),
        ("n", bytes(&roca())),
        ("n", json!("")),
        ("n", json!(null)),
        ("e", bytes(&[1])),
        ("e", bytes(&[1, 0, 0])),
        ("e", bytes(&[0])),
        ("e", bytes(&[0, 1, 0, 1])),
        ("e", bytes(&[1, 0, 0, 0, 0, 0, 0, 1])),
        ("e", json!(65537)),
        ("e", json!(null)),
    ] {
        check(&[with(&rsa, member, value), ec.clone()], Ok(&["ec"]));
    }
    check(&[with(&rsa, "e", bytes(&[3])), ec], Ok(&["ec", "rsa"]));
}

/// A modulus with the fingerprint of CVE-2017-15361: 1 modulo each of its small primes.
fn roca() -> Vec<u8> {
    let mut number = vec![0; 256];
    number[255] = 1;
    let primes = (3..=167u32)
        .step_by(2)
        .filter(|n| (3..*n).step_by(2).all(|d| n % d != 0));
    for prime in primes {
        multiply(&mut number, prime);
    }
    // Doubled until it has 2048 bits, and odd again by the 1.
    while number[0] < 0x80 {
        multiply(&mut number, 2);
    }
    number[255] |= 1;
    number
}

fn multiply(number: &mut [u8], by: u32) {
    let mut carry = 0;
    for byte in number.iter_mut().rev() {
        let product = u32::from(*byte) * by + carry;
        *byte = product as u8;
        carry = product >> 8;
    }
    assert_eq!(carry, 0);
}

#[test]
fn what_refuses_the_whole_set() {
    let (ec, rsa) = (ec(), rsa());
    check(&[], Err(SetError::Empty));
    check(&[json!({"kty": "OKP", "kid": "x"})], Err(SetError::Empty));
    check(&[ec.clone(), json!(1)], Err(SetError::NotASet));
    check(
        &[ec.clone(), with(&rsa, "kid", json!("ec"))],
        Err(SetError::DuplicateKid),
    );
    // Also where only one of the two could be used.
    let unusable = with(&with(&rsa, "kid", json!("ec")), "use", json!("enc"));
    check(&[ec.clone(), unusable], Err(SetError::DuplicateKid));
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        check(
            &[ec.clone(), with(&rsa, member, json!("AQAB"))],
            Err(SetError::Private),
        );
    }
    check(
        &[ec.clone(), json!({"kty": "oct", "kid": "x"})],
        Err(SetError::Private),
    );
    let many: Vec<_> = (0..65)
        .map(|n| with(&ec, "kid", json!(n.to_string())))
        .collect();
    check(&many, Err(SetError::TooMany));
    assert_eq!(parse_set(&many_keys(64)).unwrap().len(), 64);
    for text in [
        "",
        "[]",
        "null",
        "{\"keys\":null}",
        "{\"keys\":[]} x",
        "{\"keys\":[],\"keys\":[]}",
    ] {
        assert!(parse_set(text.as_bytes()).is_err(), "{text}");
    }
}

fn many_keys(count: usize) -> Vec<u8> {
    let ec = ec();
    let keys: Vec<_> = (0..count)
        .map(|n| with(&ec, "kid", json!(n.to_string())))
        .collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

#[test]
fn unknown_kids_are_remembered_within_bounds() {
    let mut unknown = UnknownKids::default();
    let at = Duration::from_secs;
    assert!(!unknown.refuted("a", 1, 1, at(0)));
    // Only a set that was asked for after the first sight refutes.
    assert!(!unknown.refuted("a", 1, 2, at(1)));
    assert!(unknown.refuted("a", 2, 2, at(2)));
    assert!(unknown.refuted("a", 2, 2, at(61)));
    assert!(!unknown.refuted("a", 2, 2, at(62)));
    for number in 0..5000 {
        unknown.refuted(&number.to_string(), 1, 1, at(0));
    }
    assert_eq!(unknown.len(), 1024);
}

#[test]
fn the_allowance_is_three_and_then_one_each_ten_seconds() {
    let at = Duration::from_secs;
    let mut allowance = Allowance::full(at(5));
    let granted = |allowance: &mut Allowance, now| (0..10).filter(|_| allowance.take(now)).count();
    assert_eq!(granted(&mut allowance, at(5)), 3);
    assert_eq!(granted(&mut allowance, at(14)), 0);
    assert_eq!(granted(&mut allowance, at(15)), 1);
    assert_eq!(granted(&mut allowance, at(34)), 1);
    assert_eq!(granted(&mut allowance, at(35)), 1);
    assert_eq!(granted(&mut allowance, at(10_000)), 3);
}

/// A store of the keys in a file, which has been read.
fn file_store(path: &Path) -> Arc<KeyStore> {
    let metrics = Metrics::register(&prometheus::Registry::new())
        .unwrap()
        .fetches("main");
    let source = Source::File(path.to_owned());
    let store = KeyStore::new("main".into(), source, Clock::manual(0), metrics);
    store.read_now().unwrap();
    store
}

#[tokio::test]
async fn a_file_that_is_replaced_with_its_times_kept_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let other = folder.path().join("other.json");
    std::fs::write(&path, many_keys(1)).unwrap();
    std::fs::write(&other, many_keys(1)).unwrap();
    let before = path.metadata().unwrap();
    let file = std::fs::File::options().write(true).open(&other).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    assert_eq!(file.metadata().unwrap().len(), before.len());
    let store = file_store(&path);
    let first = store.generation();
    store.refresh_if_due().await;
    assert_eq!(store.generation(), first);
    std::fs::rename(&other, &path).unwrap();
    store.refresh_if_due().await;
    assert_ne!(store.generation(), first);
}

#[tokio::test]
async fn a_file_that_is_gone_or_is_none_is_told_and_its_keys_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, many_keys(1)).unwrap();
    let store = file_store(&path);
    let error = || store.last_error().unwrap_or_default();
    std::fs::remove_file(&path).unwrap();
    store.refresh_if_due().await;
    assert!(error().starts_with("cannot read the file: "), "{}", error());

    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    store.refresh_if_due().await;
    assert_eq!(error(), "the file is not a regular file");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    store.refresh_if_due().await;
    assert_eq!(error(), "the file is not a regular file");
    assert_eq!(store.count(), 1);

    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, many_keys(2)).unwrap();
    store.refresh_if_due().await;
    assert_eq!((store.count(), store.last_error()), (2, None));
}

/// A key that arrives between the look-up that missed it and the verdict on its id.
#[tokio::test]
async fn a_key_that_has_just_come_is_not_refuted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, many_keys(1)).unwrap();
    let store = file_store(&path);
    for junk in ["a", "b", "c"] {
        assert!(matches!(
            store.await_kid(junk).await,
            Err(TokenError::Invalid(_))
        ));
    }
    assert_eq!(store.await_kid("1").await, Err(TokenError::KeysRefreshing));
    std::fs::write(&path, many_keys(2)).unwrap();
    store.refresh_if_due().await;
    assert_eq!(store.await_kid("1").await, Ok(()));
    assert!(matches!(
        store.await_kid("2").await,
        Err(TokenError::KeysRefreshing)
    ));
}

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::{Algorithm, Error, SigningKey, jwks};

/// Whether aws-lc accepts the token under the public JWK alone.
fn verifies(jwk: &Value, token: &str) -> bool {
    let bytes = |member: &str| {
        URL_SAFE_NO_PAD
            .decode(jwk[member].as_str().unwrap())
            .unwrap()
    };
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    match jwk["kty"].as_str().unwrap() {
        "EC" => {
            let point = [vec![4], bytes("x"), bytes("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(input.as_bytes(), &signature)
                .is_ok()
        }
        _ => RsaPublicKeyComponents {
            n: bytes("n"),
            e: bytes("e"),
        }
        .verify(&RSA_PKCS1_2048_8192_SHA256, input.as_bytes(), &signature)
        .is_ok(),
    }
}

fn header(token: &str) -> Value {
    let part = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_token_verifies_under_the_published_key_and_no_other() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
        let key = SigningKey::generate(algorithm, "one").unwrap();
        let other = SigningKey::generate(algorithm, "one").unwrap();
        let token = key.sign_jwt(Map::new(), &json!({"sub": "alice"}));
        assert!(verifies(&key.public_jwk(), &token), "{algorithm}");
        assert!(!verifies(&other.public_jwk(), &token), "{algorithm}");
        assert_eq!(
            header(&token),
            json!({"alg": algorithm.name(), "typ": "JWT", "kid": "one"})
        );
    }
}

#[test]
fn a_key_survives_its_private_jwk() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
        let key = SigningKey::generate(algorithm, "kept").unwrap();
        let read = SigningKey::from_jwk_json(&key.to_jwk_json().unwrap()).unwrap();
        assert_eq!(read.public_jwk(), key.public_jwk());
        assert_eq!(read.thumbprint(), key.thumbprint());
        assert!(verifies(
            &key.public_jwk(),
            &read.sign_jwt(Map::new(), &json!({}))
        ));
    }
}

#[test]
fn header_overrides_set_replace_and_remove() {
    let key = SigningKey::generate(Algorithm::Es256, "one").unwrap();
    let overrides = json!({"alg": "none", "kid": null, "crit": ["b64"]});
    let token = key.sign_jwt(overrides.as_object().unwrap().clone(), &json!({}));
    assert_eq!(
        header(&token),
        json!({"alg": "none", "typ": "JWT", "crit": ["b64"]})
    );
    assert!(verifies(&key.public_jwk(), &token));
}

#[test]
fn the_set_publishes_no_private_member() {
    let ec = SigningKey::generate(Algorithm::Es256, "a").unwrap();
    let rsa = SigningKey::generate(Algorithm::Rs256, "b").unwrap();
    let set = jwks(&[&ec, &rsa]);
    assert_eq!(set["keys"].as_array().unwrap().len(), 2);
    for key in set["keys"].as_array().unwrap() {
        for member in ["d", "p", "q", "dp", "dq", "qi"] {
            assert!(key.get(member).is_none());
        }
    }
}

#[test]
fn what_is_no_private_key_is_refused_without_quoting_it() {
    let key = SigningKey::generate(Algorithm::Es256, "a").unwrap();
    let other = SigningKey::generate(Algorithm::Es256, "a").unwrap();
    let mut mixed: Value = serde_json::from_str(&key.to_jwk_json().unwrap()).unwrap();
    mixed["x"] = other.public_jwk()["x"].clone();
    mixed["y"] = other.public_jwk()["y"].clone();
    assert!(matches!(
        SigningKey::from_jwk_json(&mixed.to_string()),
        Err(Error::Inconsistent)
    ));
    for text in [
        "",
        "[]",
        "{}",
        r#"{"kid":"a","kty":"oct","k":"c2VjcmV0"}"#,
        "secret",
    ] {
        let error = SigningKey::from_jwk_json(text).unwrap_err().to_string();
        assert!(
            !error.contains("secret") && !error.contains("c2VjcmV0"),
            "{error}"
        );
    }
    let public = key.public_jwk().to_string();
    assert!(matches!(
        SigningKey::from_jwk_json(&public),
        Err(Error::NotAJwk(_))
    ));
}

#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    // Any key's thumbprint is 32 bytes; the member order is what the RFC fixes.
    let key = SigningKey::generate(Algorithm::Rs256, "a").unwrap();
    let jwk = key.public_jwk();
    let text = format!(r#"{{"e":{},"kty":"RSA","n":{}}}"#, jwk["e"], jwk["n"]);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    assert_eq!(key.thumbprint(), URL_SAFE_NO_PAD.encode(digest));
}

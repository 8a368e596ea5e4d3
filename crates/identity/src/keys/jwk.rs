//! Which keys of a published set (RFC 7517) may verify tokens.
//!
//! A key that is not for us (another type, curve, algorithm or use) or too weak is left out and the
//! rest stays usable. What cannot be an honest mistake about one key (two with one id, a private
//! key, no JSON) refuses the whole set.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Key;
use crate::config::Algorithm;
use crate::jose::well_formed_kid;
use crate::json::{Json, Object};

/// The most keys of one set.
const MAX_KEYS: usize = 64;
/// RSA moduli in bits: shorter is too weak, longer costs too much to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Members that only a private or a shared key has (RFC 7518, 6.2.2, 6.3.2, 6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The usable keys of a set, by key id.
pub(crate) type Keys = HashMap<String, Arc<Key>>;

/// Why a whole set is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    #[error("not a JWK set")]
    NotASet,
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
    #[error("two keys share one key id")]
    DuplicateKid,
    #[error("the set publishes a private or a shared key: consider it compromised")]
    Private,
    #[error("no key of the set can be used")]
    Empty,
}

/// Reads the JSON of a set.
pub(crate) fn parse_set(bytes: &[u8]) -> Result<Keys, SetError> {
    let set = Object::parse(bytes).ok_or(SetError::NotASet)?;
    let Some(Json::Array(listed)) = set.get("keys") else {
        return Err(SetError::NotASet);
    };
    if listed.len() > MAX_KEYS {
        return Err(SetError::TooMany);
    }
    let mut kids = HashSet::new();
    let mut keys = Keys::new();
    for jwk in listed {
        let Json::Object(jwk) = jwk else {
            return Err(SetError::NotASet);
        };
        let shared = jwk.string("kty") == Some("oct");
        if shared || PRIVATE_MEMBERS.iter().any(|member| jwk.has(member)) {
            return Err(SetError::Private);
        }
        // Tokens must name their key, so a key without an id can verify none.
        let Some(kid) = jwk.string("kid") else {
            continue;
        };
        if !kids.insert(kid) {
            return Err(SetError::DuplicateKid);
        }
        if let Some(key) = well_formed_kid(kid).then(|| read_key(jwk)).flatten() {
            keys.insert(kid.to_owned(), Arc::new(key));
        }
    }
    if keys.is_empty() {
        Err(SetError::Empty)
    } else {
        Ok(keys)
    }
}

/// One key, if it is for verifying and sound.
fn read_key(jwk: &Object<'_>) -> Option<Key> {
    let for_signatures = match jwk.get("use") {
        None => true,
        Some(usage) => usage.as_str() == Some("sig"),
    };
    let for_verifying = match jwk.get("key_ops") {
        None => true,
        Some(Json::Array(ops)) => ops.iter().any(|op| op.as_str() == Some("verify")),
        Some(_) => false,
    };
    if !for_signatures || !for_verifying {
        return None;
    }
    let (name, key) = match jwk.string("kty")? {
        "EC" => ("ES256", p256(jwk)?),
        "RSA" => ("RS256", rsa(jwk)?),
        _ => return None,
    };
    match jwk.get("alg") {
        Some(alg) if alg.as_str() != Some(name) => None,
        _ => Some(key),
    }
}

/// A point on P-256; that it lies on the curve is for aws-lc to check.
fn p256(jwk: &Object<'_>) -> Option<Key> {
    if jwk.string("crv") != Some("P-256") {
        return None;
    }
    let (x, y) = (number(jwk, "x")?, number(jwk, "y")?);
    if x.len() != 32 || y.len() != 32 {
        return None;
    }
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    Some(Key {
        algorithm: Algorithm::Es256,
        public: ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).ok()?,
    })
}

fn rsa(jwk: &Object<'_>) -> Option<Key> {
    let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last & 1 == 1);
    // An exponent of more than 33 bits makes verification slow and has no use.
    let sound_exponent = odd(&e) && e != [1] && e.len() <= 4;
    if !RSA_BITS.contains(&bits) || !odd(&n) || !sound_exponent || has_roca_fingerprint(&n) {
        return None;
    }
    let key = RsaPublicKeyComponents { n, e };
    Some(Key {
        algorithm: Algorithm::Rs256,
        public: key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?,
    })
}

/// A number as RFC 7518 writes it. A leading zero is wrong in a `Base64urlUInt` and right in a
/// coordinate, so the callers judge the length.
fn number(jwk: &Object<'_>, member: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(jwk.string(member)?).ok()
}

/// Whether an RSA modulus was made by the flawed generator of CVE-2017-15361 (ROCA). Its primes
/// are powers of 65537 modulo many small primes, and so is their product; a sound modulus has that
/// by chance about once in 2^27.
fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    const SMALL_PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89,
        97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    SMALL_PRIMES.iter().all(|&prime| {
        let remainder = modulus
            .iter()
            .fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % prime);
        let mut power = 1;
        for _ in 0..prime {
            if power == remainder {
                return true;
            }
            power = power * 65537 % prime;
        }
        false
    })
}

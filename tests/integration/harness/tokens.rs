//! Keys, honest claims, and whatever a forger would make of them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPairComponents;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dev_issuer::{Algorithm, SigningKey};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The issuer whose tokens are ES256.
pub(crate) const ISSUER: &str = "https://auth.depot.test";
/// The issuer whose tokens are RS256.
pub(crate) const RSA_ISSUER: &str = "https://rsa.depot.test";
pub(crate) const AUDIENCE: &str = "cloud-app";

/// One set of keys for all tests: RSA keys are slow to make.
pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(Keys::generate);

pub(crate) struct Keys {
    /// `es-1` of `ISSUER`.
    pub(crate) es: SigningKey,
    /// `rs-1` of `RSA_ISSUER`.
    pub(crate) rs: SigningKey,
    /// Published nowhere, though it calls itself `es-1`.
    pub(crate) stranger: SigningKey,
    /// `es384-1` and `ed-1` stand in the set of `ISSUER`, whose algorithms do not name theirs.
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

// === impl Keys ===

impl Keys {
    fn generate() -> Keys {
        Keys {
            es: SigningKey::generate(Algorithm::Es256, "es-1").unwrap(),
            rs: SigningKey::generate(Algorithm::Rs256, "rs-1").unwrap(),
            stranger: SigningKey::generate(Algorithm::Es256, "es-1").unwrap(),
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            ed25519: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// The set that `ISSUER` publishes.
    pub(crate) fn jwks(&self) -> Value {
        let p384 = self.p384.public_key().as_ref();
        json!({"keys": [
            self.es.public_jwk(),
            {"kty": "EC", "crv": "P-384", "kid": "es384-1", "alg": "ES384", "use": "sig",
             "x": b64(&p384[1..49]), "y": b64(&p384[49..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "alg": "EdDSA", "use": "sig",
             "x": b64(self.ed25519.public_key().as_ref())},
        ]})
    }

    /// The set that `RSA_ISSUER` publishes.
    pub(crate) fn rsa_jwks(&self) -> Value {
        dev_issuer::jwks(&[&self.rs])
    }

    /// An honest token of `ISSUER`.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.es.sign_jwt(Map::new(), claims)
    }

    /// An honest token of `RSA_ISSUER`.
    pub(crate) fn rsa_token(&self, claims: &Value) -> String {
        self.rs.sign_jwt(Map::new(), &with(claims, json!({"iss": RSA_ISSUER})))
    }

    /// A token with other header members; null leaves one out.
    pub(crate) fn with_header(&self, header: Value, claims: &Value) -> String {
        let Value::Object(header) = header else { panic!("a header is an object") };
        self.es.sign_jwt(header, claims)
    }

    /// A well-signed token over exactly these bytes.
    pub(crate) fn with_parts(&self, header: &[u8], payload: &[u8]) -> String {
        self.es.sign_segments(header, payload)
    }

    /// Signed by the RSA key with a scheme other than RS256.
    pub(crate) fn rsa_scheme(&self, alg: &str, scheme: &'static dyn RsaEncoding, claims: &Value) -> String {
        let input = signing_input(&json!({"alg": alg, "typ": "JWT", "kid": "rs-1"}), &with(claims, json!({"iss": RSA_ISSUER})));
        let pair = self.rsa_pair();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(scheme, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
        format!("{input}.{}", b64(&signature))
    }

    pub(crate) fn es384_token(&self, claims: &Value) -> String {
        let input = signing_input(&json!({"alg": "ES384", "typ": "JWT", "kid": "es384-1"}), claims);
        let signature = self.p384.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", b64(signature.as_ref()))
    }

    pub(crate) fn eddsa_token(&self, claims: &Value) -> String {
        let input = signing_input(&json!({"alg": "EdDSA", "typ": "JWT", "kid": "ed-1"}), claims);
        format!("{input}.{}", b64(self.ed25519.sign(input.as_bytes()).as_ref()))
    }

    fn rsa_pair(&self) -> RsaKeyPair {
        let jwk: Value = serde_json::from_str(&self.rs.to_jwk_json().unwrap()).unwrap();
        let number = |name: &str| unb64(jwk[name].as_str().unwrap());
        RsaKeyPair::from_components(&KeyPairComponents {
            public_key: aws_lc_rs::rsa::PublicKeyComponents { n: number("n"), e: number("e") },
            d: number("d"),
            p: number("p"),
            q: number("q"),
            dP: number("dp"),
            dQ: number("dq"),
            qInv: number("qi"),
        })
        .unwrap()
    }
}

// === claims ===

/// What an honest user's token says.
pub(crate) fn claims(subject: &str, roles: &[&str]) -> Value {
    let now = now();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now - 5, "exp": now + 300,
        "jti": format!("j-{subject}"), "sid": format!("s-{subject}"), "sidv": 1,
        "roles": roles, "scope": "documents.read documents.write",
    })
}

/// A reader of documents.
pub(crate) fn reader() -> Value {
    claims("rita", &["reader"])
}

/// `claims` with `members` laid over them; null leaves one out.
pub(crate) fn with(claims: &Value, members: Value) -> Value {
    let mut claims = claims.clone();
    let (Value::Object(into), Value::Object(members)) = (&mut claims, members) else { panic!("claims are objects") };
    for (name, value) in members {
        if value.is_null() {
            into.shift_remove(&name);
        } else {
            into.insert(name, value);
        }
    }
    claims
}

/// `claims` where `name` is JSON null, which `with` cannot say.
pub(crate) fn with_null(claims: &Value, name: &str) -> Value {
    let mut claims = claims.clone();
    claims[name] = Value::Null;
    claims
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

// === forging ===

pub(crate) fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn unb64(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The first two parts of a compact JWS.
pub(crate) fn signing_input(header: &Value, claims: &Value) -> String {
    format!("{}.{}", b64(header.to_string().as_bytes()), b64(claims.to_string().as_bytes()))
}

/// The three parts of a token.
pub(crate) fn parts(token: &str) -> [&str; 3] {
    let mut parts = token.split('.');
    [parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap()]
}

/// The token with `signature` in place of its own.
pub(crate) fn with_signature(token: &str, signature: &[u8]) -> String {
    let [header, payload, _] = parts(token);
    format!("{header}.{payload}.{}", b64(signature))
}

/// The token's signature.
pub(crate) fn signature(token: &str) -> Vec<u8> {
    unb64(parts(token)[2])
}

/// The order of P-256 (FIPS 186-4, D.1.2.3).
pub(crate) const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9,
    0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// `n - s`: the other `s` that verifies.
pub(crate) fn order_minus(s: &[u8]) -> [u8; 32] {
    let mut difference = [0; 32];
    let mut borrow = 0;
    for index in (0..32).rev() {
        let digit = i16::from(P256_ORDER[index]) - i16::from(s[index]) - borrow;
        borrow = i16::from(digit < 0);
        difference[index] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    difference
}

/// The DER form of an ECDSA signature.
pub(crate) fn ecdsa_der(raw: &[u8]) -> Vec<u8> {
    sequence(&[integer(&raw[..32]), integer(&raw[32..])].concat())
}

/// `SubjectPublicKeyInfo` of an RSA key, which algorithm confusion uses as an HMAC secret.
pub(crate) fn rsa_spki(jwk: &Value) -> Vec<u8> {
    let number = |name: &str| integer(&unb64(jwk[name].as_str().unwrap()));
    let key = sequence(&[number("n"), number("e")].concat());
    let rsa_encryption = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let bits = [&[0][..], &key].concat();
    sequence(&[sequence(&rsa_encryption), element(0x03, &bits)].concat())
}

/// PEM with the usual line length.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A token signed by HMAC-SHA-256 with `secret`.
pub(crate) fn hs256(kid: &str, secret: &[u8], claims: &Value) -> String {
    let input = signing_input(&json!({"alg": "HS256", "typ": "JWT", "kid": kid}), claims);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    format!("{input}.{}", b64(aws_lc_rs::hmac::sign(&key, input.as_bytes()).as_ref()))
}

fn sequence(content: &[u8]) -> Vec<u8> {
    element(0x30, content)
}

fn integer(magnitude: &[u8]) -> Vec<u8> {
    let first = magnitude.iter().position(|byte| *byte != 0).unwrap_or(magnitude.len() - 1);
    let mut content = magnitude[first..].to_vec();
    if content[0] >= 0x80 {
        content.insert(0, 0);
    }
    element(0x02, &content)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        short @ 0..0x80 => der.push(u8::try_from(short).unwrap()),
        long => {
            der.push(0x82);
            der.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    der.extend(content);
    der
}

//! Algorithm confusion and forged, damaged or borrowed signatures.

use crate::harness::sidecar::Sidecar;
use crate::harness::table::{Expect, Table};
use crate::harness::tokens::{
    ISSUER, KEYS, P256_ORDER, RSA_ISSUER, b64, ecdsa_der, hs256, order_minus, parts, pem, reader, rsa_spki, signature, signing_input, unb64, with,
    with_signature,
};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use Expect::{BadToken, Forwarded};
use aws_lc_rs::signature::{RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use serde_json::{Map, Value, json};
use std::net::TcpListener;

const BAD: Expect = BadToken("invalid_token");

#[test]
fn algorithm_and_signature() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let honest = KEYS.token(&reader());
    let rsa_honest = KEYS.rsa_token(&reader());
    table.token(0, "honest ES256", &honest, Forwarded);
    table.token(0, "honest RS256", &rsa_honest, Forwarded);

    for alg in [json!("none"), json!("None"), json!("nOnE"), json!("none "), json!(""), json!(256), json!(["ES256"]), json!({}), json!(true)] {
        let input = signing_input(&json!({"alg": alg, "typ": "JWT", "kid": "es-1"}), &reader());
        table.token(31, &format!("alg {alg}, no signature"), &format!("{input}."), BAD);
        table.token(32, &format!("alg {alg}, some signature"), &format!("{input}.{}", b64(&[1; 64])), BAD);
        table.token(32, &format!("alg {alg}, our signature"), &KEYS.with_header(json!({"alg": alg}), &reader()), BAD);
    }
    table.token(31, "alg missing", &KEYS.with_header(json!({"alg": null}), &reader()), BAD);
    let null_alg = br#"{"alg":null,"typ":"JWT","kid":"es-1"}"#;
    table.token(31, "alg null", &KEYS.with_parts(null_alg, reader().to_string().as_bytes()), BAD);
    table.token(31, "alg in lower case", &KEYS.with_header(json!({"alg": "es256"}), &reader()), BAD);

    let rsa_claims = with(&reader(), json!({"iss": RSA_ISSUER}));
    let rsa_jwk = KEYS.rs.public_jwk();
    let spki = rsa_spki(&rsa_jwk);
    let public_pem = pem("PUBLIC KEY", &spki);
    for (what, secret) in [
        ("PEM", public_pem.clone().into_bytes()),
        ("PEM without its last newline", public_pem.trim_end().as_bytes().to_vec()),
        ("DER", spki),
        ("the JWK's text", rsa_jwk.to_string().into_bytes()),
        ("n, decoded", unb64(rsa_jwk["n"].as_str().unwrap())),
        ("n, as it stands", rsa_jwk["n"].as_str().unwrap().as_bytes().to_vec()),
        ("nothing", Vec::new()),
    ] {
        table.token(33, &format!("HS256 with the RSA key: {what}"), &hs256("rs-1", &secret, &rsa_claims), BAD);
    }
    let es_jwk = KEYS.es.public_jwk();
    let (x, y) = (unb64(es_jwk["x"].as_str().unwrap()), unb64(es_jwk["y"].as_str().unwrap()));
    for (what, secret) in
        [("the point", [&[4][..], &x, &y].concat()), ("x and y", [&x[..], &y].concat()), ("x", x.clone()), ("the JWK's text", es_jwk.to_string().into_bytes())]
    {
        table.token(34, &format!("HS256 with the EC key: {what}"), &hs256("es-1", &secret, &reader()), BAD);
    }

    table.token(35, "RS256 under the EC key's id", &rsa_with(json!({"kid": "es-1"}), &reader()), BAD);
    table.token(35, "RS256, iss and kid of the EC issuer's", &rsa_with(json!({"kid": "es-1", "alg": "ES256"}), &reader()), BAD);
    table.token(35, "ES256 under the RSA key's id", &KEYS.with_header(json!({"kid": "rs-1"}), &rsa_claims), BAD);
    table.token(35, "ES256 labelled RS256", &KEYS.with_header(json!({"kid": "rs-1", "alg": "RS256"}), &rsa_claims), BAD);

    table.token(36, "RS384", &KEYS.rsa_scheme("RS384", &RSA_PKCS1_SHA384, &reader()), BAD);
    table.token(36, "RS512", &KEYS.rsa_scheme("RS512", &RSA_PKCS1_SHA512, &reader()), BAD);
    table.token(36, "PS256", &KEYS.rsa_scheme("PS256", &RSA_PSS_SHA256, &reader()), BAD);
    table.token(36, "ES384 with a published key", &KEYS.es384_token(&reader()), BAD);
    table.token(36, "EdDSA with a published key", &KEYS.eddsa_token(&reader()), BAD);
    table.token(36, "ES256K", &KEYS.with_header(json!({"alg": "ES256K"}), &reader()), BAD);
    table.token(37, "alg RS256 on an ES256 key", &KEYS.with_header(json!({"alg": "RS256"}), &reader()), BAD);
    table.token(37, "alg ES384 on an ES256 key", &KEYS.with_header(json!({"alg": "ES384"}), &reader()), BAD);
    table.token(37, "alg RS512 on an RS256 key", &rsa_with(json!({"alg": "RS512"}), &rsa_claims), BAD);

    let good = signature(&honest);
    let (r, s) = good.split_at(32);
    let one = number(1);
    let mut order_less_one = P256_ORDER;
    order_less_one[31] -= 1;
    let psychic: [(&str, &[u8], &[u8]); 9] = [
        ("r = s = 0", &[0; 32], &[0; 32]),
        ("r = 0", &[0; 32], s),
        ("s = 0", r, &[0; 32]),
        ("r = s = n", &P256_ORDER, &P256_ORDER),
        ("r = n", &P256_ORDER, s),
        ("s = n", r, &P256_ORDER),
        ("r = s = 1", &one, &one),
        ("r = s = n - 1", &order_less_one, &order_less_one),
        ("all ones", &[0xff; 32], &[0xff; 32]),
    ];
    for (what, r, s) in psychic {
        table.token(38, what, &with_signature(&honest, &[r, s].concat()), BAD);
    }

    table.token(39, "DER", &with_signature(&honest, &ecdsa_der(&good)), BAD);
    table.token(39, "one byte short", &with_signature(&honest, &good[..63]), BAD);
    table.token(39, "half", &with_signature(&honest, &good[..32]), BAD);
    table.token(39, "one byte more", &with_signature(&honest, &[&good[..], &[0]].concat()), BAD);
    table.token(39, "a zero byte in front", &with_signature(&honest, &[&[0][..], &good].concat()), BAD);
    table.token(39, "zero-padded halves", &with_signature(&honest, &[&[0][..], r, &[0], s].concat()), BAD);
    let (short, stripped) = with_leading_zero_stripped();
    table.token(39, "r begins with zero", &short, Forwarded);
    table.token(39, "that zero stripped", &stripped, BAD);

    // ECDSA has two signatures for everything; what is denied must be denied by its `jti`.
    let malleated = [r, &order_minus(s)].concat();
    table.token(40, "the other s", &with_signature(&honest, &malleated), Forwarded);

    let rsa_input = rsa_honest.rsplit_once('.').unwrap().0;
    let rsa_signature = signature(&rsa_honest);
    let relabelled = |token: &str| format!("{rsa_input}.{}", parts(token)[2]);
    let other_hash = KEYS.rsa_scheme("RS512", &RSA_PKCS1_SHA512, &reader());
    let other_padding = KEYS.rsa_scheme("PS256", &RSA_PSS_SHA256, &reader());
    table.token(41, "another hash's signature", &relabelled(&other_hash), BAD);
    table.token(41, "PSS labelled RS256", &relabelled(&other_padding), BAD);
    let claims = with(&reader(), json!({"iss": RSA_ISSUER}));
    let pss_as_rs256 = KEYS.rsa_scheme("RS256", &RSA_PSS_SHA256, &claims);
    table.token(41, "PSS over an RS256 header", &pss_as_rs256, BAD);
    let sha512_as_rs256 = KEYS.rsa_scheme("RS256", &RSA_PKCS1_SHA512, &claims);
    table.token(41, "SHA-512 over an RS256 header", &sha512_as_rs256, BAD);
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("zeros", vec![0; 256]),
        ("one", number_of(256, 1)),
        ("all ones, more than n", vec![0xff; 256]),
        ("n itself", unb64(rsa_jwk["n"].as_str().unwrap())),
        ("one byte short", rsa_signature[..255].to_vec()),
        ("one byte more", [&rsa_signature[..], &[0]].concat()),
        ("a zero byte in front", [&[0][..], &rsa_signature].concat()),
        ("an EC signature", good.clone()),
    ] {
        table.token(42, what, &with_signature(&rsa_honest, &bytes), BAD);
    }

    for (what, token) in [("ES256", &honest), ("RS256", &rsa_honest)] {
        for (name, part) in [("header", 0), ("payload", 1), ("signature", 2)] {
            for (place, bit) in [("first", 0.0), ("middle", 0.5), ("last", 1.0)] {
                table.token(43, &format!("{what}: {place} byte of the {name}"), &flipped(token, part, bit), BAD);
            }
        }
    }
    let [header, _, signature] = parts(&honest);
    let elevated = b64(with(&reader(), json!({"roles": ["admin"]})).to_string().as_bytes());
    table.token(43, "other claims under an honest signature", &format!("{header}.{elevated}.{signature}"), BAD);

    table.token(44, "a stranger's key under our id", &KEYS.stranger.sign_jwt(Map::new(), &reader()), BAD);
    let embedded = json!({"kid": null, "jwk": KEYS.stranger.public_jwk()});
    table.token(46, "an embedded key", &KEYS.stranger.sign_jwt(object(embedded), &reader()), BAD);
    let embedded = json!({"jwk": KEYS.stranger.public_jwk()});
    table.token(46, "an embedded key beside our id", &KEYS.stranger.sign_jwt(object(embedded), &reader()), BAD);
    // Nobody may be asked for a key that a token names.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("http://{}/keys.json", elsewhere.local_addr().unwrap());
    for (what, header) in
        [("jku", json!({"jku": place})), ("x5u", json!({"x5u": place})), ("both, and no key id", json!({"kid": null, "jku": place, "x5u": place}))]
    {
        table.token(47, &format!("{what}, the key at that place"), &KEYS.stranger.sign_jwt(object(header.clone()), &reader()), BAD);
        table.token(47, &format!("{what} beside an honest signature"), &KEYS.with_header(header, &reader()), BAD);
    }
    elsewhere.set_nonblocking(true).unwrap();
    if elsewhere.accept().is_ok() {
        table.fault(47, "jku or x5u", "somebody went there");
    }
    let thumbprint = b64(&[7; 32]);
    for (what, header) in
        [("x5c", json!({"x5c": ["MIIB"]})), ("x5t", json!({"x5t": "AAAA"})), ("x5t#S256", json!({"x5t#S256": thumbprint})), ("x5c, no list", json!({"x5c": 1}))]
    {
        table.token(48, &format!("{what}, our signature"), &KEYS.with_header(header.clone(), &reader()), Forwarded);
        table.token(48, &format!("{what}, another's signature"), &KEYS.stranger.sign_jwt(object(header), &reader()), BAD);
    }
    table.token(49, "no key id", &KEYS.with_header(json!({"kid": null}), &reader()), BAD);
    for kid in [json!(1), json!(""), json!("../../dev/null"), json!("es-1\u{0}"), json!("*"), json!("x".repeat(4096))] {
        table.token(50, "a hostile key id", &KEYS.with_header(json!({"kid": kid}), &reader()), BAD);
    }
    table.token(45, "the RSA issuer's key, the other's iss", &rsa_with(json!({}), &reader()), BAD);
    table.token(45, "the EC issuer's key, the other's iss", &KEYS.token(&rsa_claims), BAD);
    let both = with(&reader(), json!({"iss": [ISSUER, RSA_ISSUER]}));
    table.token(45, "both issuers at once", &KEYS.token(&both), BAD);
    table.finish();
}

/// Signed by the RSA key with other header members, the claims as they are.
fn rsa_with(header: Value, claims: &Value) -> String {
    KEYS.rs.sign_jwt(object(header), claims)
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else { panic!("a header is an object") };
    members
}

fn number(value: u8) -> Vec<u8> {
    number_of(32, value)
}

fn number_of(width: usize, value: u8) -> Vec<u8> {
    let mut bytes = vec![0; width];
    bytes[width - 1] = value;
    bytes
}

/// A token whose `r` begins with a zero byte, and the same with that byte left out.
fn with_leading_zero_stripped() -> (String, String) {
    let claims = reader();
    let token = (0..100_000)
        .map(|attempt| KEYS.token(&with(&claims, json!({"jti": format!("zero-{attempt}")}))))
        .find(|token| signature(token)[0] == 0)
        .expect("one signature in 256 begins with zero");
    let stripped = with_signature(&token, &signature(&token)[1..]);
    (token, stripped)
}

/// The token with one bit of one part flipped, at a place between 0 (first byte) and 1 (last).
fn flipped(token: &str, part: usize, place: f64) -> String {
    let mut decoded = parts(token).map(unb64);
    let last = decoded[part].len() - 1;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small and positive")]
    let at = (last as f64 * place) as usize;
    decoded[part][at] ^= 1;
    decoded.map(|bytes| b64(&bytes)).join(".")
}

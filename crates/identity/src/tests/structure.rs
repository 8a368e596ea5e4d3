//! Structure, encoding, header, algorithm and signature.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, json};

use super::*;

/// The three parts of a good token.
fn parts() -> [String; 3] {
    let token = token(&claims());
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

fn header() -> String {
    json!({"alg": "ES256", "typ": "JWT", "kid": "ec"}).to_string()
}

/// Signed as it stands, whatever it says.
fn segments(header: &str, payload: &str) -> String {
    ES256.sign_segments(header.as_bytes(), payload.as_bytes())
}

fn with_signature(signature: &[u8]) -> String {
    let [header, payload, _] = parts();
    format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn signature() -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(parts()[2].as_str()).unwrap()
}

#[test]
fn the_parts() {
    let [h, p, s] = parts();
    let world = World::new();
    check(
        &world,
        &[
            ("good", format!("{h}.{p}.{s}"), "ok"),
            ("empty", String::new(), "invalid"),
            ("opaque", "b3BhcXVl".into(), "invalid"),
            ("no dot", format!("{h}{p}{s}"), "invalid"),
            ("one dot", format!("{h}.{p}"), "invalid"),
            ("three dots", format!("{h}.{p}.{s}."), "invalid"),
            ("leading dot", format!(".{h}.{p}.{s}"), "invalid"),
            (
                "five parts, as of a JWE",
                format!("{h}.{p}.{s}.{s}.{s}"),
                "invalid",
            ),
            ("1000 dots", ".".repeat(1000), "invalid"),
            ("no header", format!(".{p}.{s}"), "invalid"),
            ("detached payload", format!("{h}..{s}"), "invalid"),
            ("no signature", format!("{h}.{p}."), "invalid"),
            (
                "too large",
                format!("{h}.{p}.{}", s.repeat(200)),
                "too_large",
            ),
            ("too large and no token", "a".repeat(8193), "too_large"),
            ("at the limit", "a".repeat(8192), "invalid"),
            (
                "general JSON",
                json!({"payload": p, "signatures": []}).to_string(),
                "invalid",
            ),
            (
                "flattened JSON",
                json!({"payload": p, "protected": h, "signature": s}).to_string(),
                "invalid",
            ),
            ("scheme in front", format!("Bearer {h}.{p}.{s}"), "invalid"),
        ],
    );
}

#[test]
fn base64url_has_one_form() {
    let [h, p, s] = parts();
    let sign = |h: &str, p: &str| {
        let input = format!("{h}.{p}");
        let signature = URL_SAFE_NO_PAD.encode(ES256.sign_raw(input.as_bytes()));
        format!("{input}.{signature}")
    };
    // A payload whose encodings differ between the alphabets and which leaves bits over.
    let mut odd = claims();
    odd["name"] = json!("\u{fb}\u{ff}\u{be}?>~~");
    let mut payload = odd.to_string();
    while payload.len() % 3 != 1 {
        payload.push(' ');
    }
    let strict = URL_SAFE_NO_PAD.encode(&payload);
    let standard = STANDARD.encode(&payload);
    // The last character carries two bits of data and four that must be zero.
    let last = strict.chars().last().unwrap();
    let stray = {
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = alphabet
            .chars()
            .nth(alphabet.find(last).unwrap() + 1)
            .unwrap();
        format!("{}{next}", strict.strip_suffix(last).unwrap())
    };
    let (front, back) = p.split_at(10);
    let world = World::new();
    check(
        &world,
        &[
            ("strict", sign(&h, &strict), "ok"),
            ("padding", sign(&h, &URL_SAFE.encode(&payload)), "invalid"),
            (
                "padding of the signature",
                format!("{h}.{p}.{s}="),
                "invalid",
            ),
            (
                "standard alphabet",
                sign(&h, standard.trim_end_matches('=')),
                "invalid",
            ),
            ("stray bits", sign(&h, &stray), "invalid"),
            ("space", sign(&h, &format!("{front} {back}")), "invalid"),
            ("newline", sign(&h, &format!("{front}\n{back}")), "invalid"),
            (
                "question mark",
                sign(&h, &format!("{front}?{back}")),
                "invalid",
            ),
            ("newline after", format!("{h}.{p}.{s}\n"), "invalid"),
            ("space before", format!(" {h}.{p}.{s}"), "invalid"),
            ("not ASCII", sign(&h, &format!("{front}é{back}")), "invalid"),
        ],
    );
    assert_ne!(strict, standard.trim_end_matches('='));
}

#[test]
fn json_has_one_meaning() {
    let header = header();
    let payload = claims().to_string();
    let inside = payload.strip_prefix('{').unwrap();
    let member = |member: &str| segments(&header, &format!("{{{member},{inside}"));
    let deep = |depth: usize| {
        member(&format!(
            r#""x":{}{}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        ))
    };
    let many = (0..1025).map(|_| "0").collect::<Vec<_>>().join(",");
    let members: Vec<String> = (0..200).map(|number| format!(r#""m{number}":0"#)).collect();
    let mut invalid_utf8 = format!(r#"{{"x":"~",{inside}"#).into_bytes();
    let place = invalid_utf8.iter().position(|&byte| byte == b'~').unwrap();
    invalid_utf8[place] = 0xff;
    let kid = r#""kid":"ec""#;
    let world = World::new();
    check(
        &world,
        &[
            ("good", segments(&header, &payload), "ok"),
            (
                "spaces",
                segments(&format!(" {header} "), &format!("\n{payload}\t")),
                "ok",
            ),
            (
                "unknown members",
                member(r#""x":{"y":[1,2.5,-3,null,true]}"#),
                "ok",
            ),
            (
                "header is no JSON",
                segments("alg=ES256", &payload),
                "invalid",
            ),
            (
                "header is an array",
                segments(&format!("[{header}]"), &payload),
                "invalid",
            ),
            (
                "header is a string",
                segments(r#""ES256""#, &payload),
                "invalid",
            ),
            ("header is null", segments("null", &payload), "invalid"),
            (
                "header with a BOM",
                segments(&format!("\u{feff}{header}"), &payload),
                "invalid",
            ),
            (
                "more after the header",
                segments(&format!("{header}{{}}"), &payload),
                "invalid",
            ),
            (
                "alg twice",
                segments(
                    &format!(r#"{{"alg":"ES256","alg":"ES256",{kid}}}"#),
                    &payload,
                ),
                "invalid",
            ),
            (
                "kid twice, one escaped",
                segments(
                    &format!(r#"{{"alg":"ES256","\u006bid":"ec",{kid}}}"#),
                    &payload,
                ),
                "invalid",
            ),
            (
                "payload is no JSON",
                segments(&header, "sub=alice"),
                "invalid",
            ),
            (
                "payload is an array",
                segments(&header, &format!("[{payload}]")),
                "invalid",
            ),
            (
                "nested token",
                segments(&header, &token(&claims())),
                "invalid",
            ),
            (
                "payload with a BOM",
                segments(&header, &format!("\u{feff}{payload}")),
                "invalid",
            ),
            (
                "more after the payload",
                segments(&header, &format!("{payload}0")),
                "invalid",
            ),
            ("sub twice", member(r#""sub":"root""#), "invalid"),
            (
                "sub twice, escaped",
                member(r#""s\u0075b":"root""#),
                "invalid",
            ),
            ("exp twice", member(r#""exp":1"#), "invalid"),
            ("aud twice", member(r#""aud":"x""#), "invalid"),
            ("unknown member twice", member(r#""x":1,"x":1"#), "invalid"),
            (
                "nested member twice",
                member(r#""x":{"y":1,"y":2}"#),
                "invalid",
            ),
            ("lone surrogate", member(r#""x":"\ud800""#), "invalid"),
            ("surrogate pair", member(r#""x":"\ud83d\ude00""#), "ok"),
            ("depth 31 below the payload", deep(31), "ok"),
            ("depth 40", deep(40), "invalid"),
            ("depth 1000", deep(1000), "invalid"),
            (
                "1025 elements",
                member(&format!(r#""x":[{many}]"#)),
                "invalid",
            ),
            ("200 members", member(&members.join(",")), "invalid"),
            ("number out of range", member(r#""x":1e400"#), "invalid"),
            ("leading zero", member(r#""x":01"#), "invalid"),
            ("NaN", member(r#""x":NaN"#), "invalid"),
            ("comment", member(r#"/**/"x":1"#), "invalid"),
            (
                "trailing comma",
                segments(&header, &payload.replace('}', ",}")),
                "invalid",
            ),
            (
                "raw control character",
                member("\"x\":\"\u{1}\""),
                "invalid",
            ),
        ],
    );
    let token = ES256.sign_segments(header.as_bytes(), &invalid_utf8);
    assert_eq!(outcome(&world.verify(&token)), "invalid");
}

#[test]
fn the_header_chooses_nothing() {
    let jwk = FORGER.public_jwk();
    let own_key = FORGER.sign_jwt(
        json!({"jwk": jwk, "kid": null})
            .as_object()
            .unwrap()
            .clone(),
        &claims(),
    );
    let cases = [
        ("typ JWT", json!({"typ": "JWT"}), "ok"),
        ("typ jwt", json!({"typ": "jwt"}), "ok"),
        ("typ at+jwt", json!({"typ": "at+jwt"}), "ok"),
        (
            "typ application/at+jwt",
            json!({"typ": "application/at+jwt"}),
            "ok",
        ),
        ("typ absent", json!({"typ": null}), "ok"),
        ("typ dpop+jwt", json!({"typ": "dpop+jwt"}), "invalid"),
        ("typ logout+jwt", json!({"typ": "logout+jwt"}), "invalid"),
        (
            "typ secevent+jwt",
            json!({"typ": "secevent+jwt"}),
            "invalid",
        ),
        ("typ JOSE+JSON", json!({"typ": "JOSE+JSON"}), "invalid"),
        ("typ JOSE", json!({"typ": "JOSE"}), "invalid"),
        ("typ empty", json!({"typ": ""}), "invalid"),
        ("typ number", json!({"typ": 1}), "invalid"),
        ("typ array", json!({"typ": ["JWT"]}), "invalid"),
        ("cty JWT", json!({"cty": "JWT"}), "invalid"),
        ("zip", json!({"zip": "DEF"}), "invalid"),
        (
            "b64 false",
            json!({"b64": false, "crit": ["b64"]}),
            "invalid",
        ),
        ("b64 true", json!({"b64": true}), "invalid"),
        ("crit unknown", json!({"crit": ["x"], "x": 1}), "invalid"),
        ("crit known", json!({"crit": ["exp"]}), "invalid"),
        ("crit empty", json!({"crit": []}), "invalid"),
        ("crit string", json!({"crit": "b64"}), "invalid"),
        ("jku", json!({"jku": "http://127.0.0.1:1/jwks"}), "invalid"),
        ("x5u", json!({"x5u": "http://127.0.0.1:1/cert"}), "invalid"),
        ("jwk", json!({"jwk": jwk}), "invalid"),
        ("x5c is a hint", json!({"x5c": ["MIIB"]}), "ok"),
        ("x5t is a hint", json!({"x5t": "AAAA"}), "ok"),
        ("unknown member", json!({"x": 1}), "ok"),
        ("kid missing", json!({"kid": null}), "invalid"),
        ("kid empty", json!({"kid": ""}), "invalid"),
        ("kid number", json!({"kid": 1}), "invalid"),
        ("kid object", json!({"kid": {}}), "invalid"),
        (
            "kid of 257 bytes",
            json!({"kid": "k".repeat(257)}),
            "invalid",
        ),
        ("kid of 6 KiB", json!({"kid": "k".repeat(5000)}), "invalid"),
        (
            "kid with control characters",
            json!({"kid": "a\r\nb"}),
            "invalid",
        ),
        ("kid with NUL", json!({"kid": "ec\u{0}"}), "invalid"),
        ("kid as a path", json!({"kid": "../../dev/null"}), "invalid"),
        ("kid as SQL", json!({"kid": "x' OR '1'='1"}), "invalid"),
        ("kid as a pattern", json!({"kid": "*"}), "invalid"),
        ("kid not ASCII", json!({"kid": "é"}), "invalid"),
        ("kid unknown", json!({"kid": "other"}), "keys_refreshing"),
    ];
    let mut cases: Vec<_> = cases
        .into_iter()
        .map(|(name, header, expected)| (name, token_with_header(header), expected))
        .collect();
    cases.push(("the sender's own key", own_key, "invalid"));
    check(&World::new(), &cases);
}

#[test]
fn the_algorithm_is_the_keys() {
    let mut cases = Vec::new();
    for alg in [
        "none", "None", "nOnE", "none ", "NONE", "HS256", "HS512", "RS384", "RS512", "PS256",
        "ES384", "ES512", "ES256K", "EdDSA", "es256", "",
    ] {
        let unsigned = token_with_header(json!({"alg": alg}));
        let stripped = unsigned.rsplit_once('.').unwrap().0.to_owned();
        cases.push((alg, unsigned, "invalid"));
        cases.push((alg, format!("{stripped}."), "invalid"));
    }
    for (name, alg) in [
        ("missing", json!(null)),
        ("number", json!(1)),
        ("list", json!(["ES256"])),
    ] {
        cases.push((name, token_with_header(json!({"alg": alg})), "invalid"));
    }
    let hmac = |secret: &[u8]| {
        use aws_lc_rs::hmac;
        let [_, payload, _] = parts();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"rsa"}"#);
        let input = format!("{header}.{payload}");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let jwk = RS256.public_jwk();
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let point = ES256.public_jwk()["x"]
        .as_str()
        .unwrap()
        .as_bytes()
        .to_vec();
    let rsa =
        |header: serde_json::Value| RS256.sign_jwt(header.as_object().unwrap().clone(), &claims());
    cases.extend([
        (
            "HMAC with the public JWK",
            hmac(jwk.to_string().as_bytes()),
            "invalid",
        ),
        ("HMAC with the modulus", hmac(&modulus), "invalid"),
        ("HMAC with the EC point", hmac(&point), "invalid"),
        (
            "RS256 under the EC key's id",
            rsa(json!({"kid": "ec"})),
            "invalid",
        ),
        (
            "RS256 called ES256",
            rsa(json!({"alg": "ES256"})),
            "invalid",
        ),
        (
            "ES256 under the RSA key's id",
            token_with_header(json!({"kid": "rsa"})),
            "invalid",
        ),
        (
            "ES256 called RS256",
            token_with_header(json!({"alg": "RS256"})),
            "invalid",
        ),
        (
            "RS512 by the right key",
            rsa(json!({"alg": "RS512"})),
            "invalid",
        ),
    ]);
    check(&World::new(), &cases);

    let only_es256 = World::with(|config| config.algorithms = vec![Algorithm::Es256]);
    check(
        &only_es256,
        &[(
            "RS256 where only ES256 is listed",
            rsa(json!({})),
            "invalid",
        )],
    );
}

#[test]
fn the_signature() {
    let good = signature();
    let der = {
        // An ASN.1 form: right numbers, wrong dress.
        let mut der = vec![0x30, 68, 0x02, 32];
        der.extend(&good[..32]);
        der.extend([0x02, 32]);
        der.extend(&good[32..]);
        der
    };
    let rsa = RS256.sign_jwt(Map::new(), &claims());
    let (rsa_input, rsa_signature) = rsa.rsplit_once('.').unwrap();
    let rsa_signature = URL_SAFE_NO_PAD.decode(rsa_signature).unwrap();
    let rsa_with = |signature: &[u8]| format!("{rsa_input}.{}", URL_SAFE_NO_PAD.encode(signature));
    let [header, payload, encoded] = parts();
    let mallory = URL_SAFE_NO_PAD.encode(claims_with("sub", json!("mallory")).to_string());
    let other_header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"ec"}"#);
    let one = |last: u8| [vec![0; 31], vec![last]].concat();
    check(
        &World::new(),
        &[
            ("good", with_signature(&good), "ok"),
            (
                "someone else's key",
                FORGER.sign_jwt(Map::new(), &claims()),
                "invalid",
            ),
            (
                "another payload",
                format!("{header}.{mallory}.{encoded}"),
                "invalid",
            ),
            (
                "another header",
                format!("{other_header}.{payload}.{encoded}"),
                "invalid",
            ),
            ("r = s = 0", with_signature(&[0; 64]), "invalid"),
            (
                "r = s = 1",
                with_signature(&[one(1), one(1)].concat()),
                "invalid",
            ),
            ("all ones", with_signature(&[0xff; 64]), "invalid"),
            ("DER", with_signature(&der), "invalid"),
            ("truncated", with_signature(&good[..63]), "invalid"),
            ("only r", with_signature(&good[..32]), "invalid"),
            (
                "too long",
                with_signature(&[good.as_slice(), &[0]].concat()),
                "invalid",
            ),
            (
                "leading zero",
                with_signature(&[&[0], good.as_slice()].concat()),
                "invalid",
            ),
            ("one byte", with_signature(&[1]), "invalid"),
            ("RSA good", rsa_with(&rsa_signature), "ok"),
            ("RSA truncated", rsa_with(&rsa_signature[..255]), "invalid"),
            (
                "RSA too long",
                rsa_with(&[rsa_signature.as_slice(), &[0]].concat()),
                "invalid",
            ),
            ("RSA s >= n", rsa_with(&[0xff; 256]), "invalid"),
            ("RSA s = 0", rsa_with(&[0; 256]), "invalid"),
            (
                "RSA s = 1",
                rsa_with(&[vec![0; 255], vec![1]].concat()),
                "invalid",
            ),
        ],
    );
}

//! Tokens that are no JWS in compact form, or whose parts are not what they must be. All are signed by the right key.

use crate::harness::sidecar::Sidecar;
use crate::harness::table::{Expect, Table};
use crate::harness::tokens::{KEYS, b64, parts, reader, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use Expect::{BadToken, Forwarded, Refused};
use serde_json::{Value, json};

const BAD: Expect = BadToken("invalid_token");

#[test]
fn structure_and_encoding() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let honest = KEYS.token(&reader());
    let [header, payload, signature] = parts(&honest);

    table.token(15, "no dot", "abcdef", BAD);
    table.token(15, "one dot", &format!("{header}.{payload}"), BAD);
    table.token(15, "three dots", &format!("{honest}."), BAD);
    table.token(15, "a dot in front", &format!(".{honest}"), BAD);
    table.token(15, "four dots", &format!("{honest}.{payload}.{signature}"), BAD);
    table.token(15, "a thousand dots", &".".repeat(1000), BAD);
    table.token(16, "empty header", &format!(".{payload}.{signature}"), BAD);
    table.token(16, "empty payload", &format!("{header}..{signature}"), BAD);
    table.token(16, "empty signature", &format!("{header}.{payload}."), BAD);
    table.token(16, "all empty", "..", BAD);

    for (what, token) in [
        ("header padded", format!("{header}=.{payload}.{signature}")),
        ("payload padded", format!("{header}.{payload}==.{signature}")),
        ("signature padded", format!("{header}.{payload}.{signature}==")),
    ] {
        table.token(17, what, &token, BAD);
    }
    for (what, token) in [
        ("a plus sign", honest.replacen(signature, &signature.replacen(&signature[..1], "+", 1), 1)),
        ("a slash", honest.replacen(signature, &signature.replacen(&signature[..1], "/", 1), 1)),
        ("a question mark", format!("{header}?.{payload}.{signature}")),
        ("percent-encoding", format!("{header}%2E.{payload}.{signature}")),
    ] {
        table.token(18, what, &token, BAD);
    }
    // Blanks cannot be part of the token68 syntax, so the request itself is malformed.
    table.token(18, "a space inside", &format!("{header} .{payload}.{signature}"), Refused(400, "invalid_request"));
    for (part, at) in [("header", 0), ("payload", 1), ("signature", 2)] {
        if let Some(token) = with_trailing_bits(&honest, at) {
            table.token(19, &format!("trailing bits in the {part}"), &token, BAD);
        }
    }

    let good_header = r#"{"alg":"ES256","typ":"JWT","kid":"es-1"}"#;
    let claims = reader().to_string();
    let headers: [(u16, &str, &[u8]); 16] = [
        (20, "not JSON", b"alg=ES256"),
        (20, "an array", br#"["ES256","es-1"]"#),
        (20, "a string", br#""ES256""#),
        (20, "null", b"null"),
        (20, "a byte order mark", b"\xef\xbb\xbf{\"alg\":\"ES256\",\"kid\":\"es-1\"}"),
        (20, "bytes behind the object", br#"{"alg":"ES256","kid":"es-1"}x"#),
        (20, "a second object", br#"{"alg":"ES256","kid":"es-1"}{}"#),
        (20, "cut short", br#"{"alg":"ES256","kid":"es-1""#),
        (20, "a comment", br#"{"alg":"ES256",/* */"kid":"es-1"}"#),
        (21, "alg twice", br#"{"alg":"ES256","alg":"ES256","kid":"es-1"}"#),
        (21, "alg twice, one escaped", br#"{"alg":"ES256","\u0061lg":"none","kid":"es-1"}"#),
        (21, "kid twice", br#"{"alg":"ES256","kid":"es-1","kid":"es-1"}"#),
        (21, "an unknown member twice", br#"{"alg":"ES256","kid":"es-1","x":1,"x":2}"#),
        (23, "invalid UTF-8", b"{\"alg\":\"ES256\",\"kid\":\"es-1\",\"x\":\"\xc3\x28\"}"),
        (23, "a lone surrogate", br#"{"alg":"ES256","kid":"es-1","x":"\ud800"}"#),
        (20, "members in capitals", br#"{"ALG":"ES256","KID":"es-1"}"#),
    ];
    for (case, what, header) in headers {
        table.token(case, &format!("header: {what}"), &KEYS.with_parts(header, claims.as_bytes()), BAD);
    }
    table.token(20, "header: blanks around", &KEYS.with_parts(b" {\"alg\":\"ES256\", \"kid\":\"es-1\"} ", claims.as_bytes()), Forwarded);

    let twice = |member: &str| format!("{{{member},{}", &claims[1..]);
    let payloads: Vec<(u16, &str, Vec<u8>)> = vec![
        (20, "not JSON", b"sub=root".to_vec()),
        (20, "an array", format!("[{claims}]").into_bytes()),
        (20, "bytes behind the object", format!("{claims} x").into_bytes()),
        (20, "a byte order mark", format!("\u{feff}{claims}").into_bytes()),
        (22, "sub twice", twice(r#""sub":"root""#).into_bytes()),
        (22, "exp twice", twice(r#""exp":99999999999"#).into_bytes()),
        (22, "aud twice", twice(r#""aud":"cloud-app""#).into_bytes()),
        (22, "iss twice", twice(r#""iss":"https://evil.test""#).into_bytes()),
        (22, "roles twice", twice(r#""roles":["admin"]"#).into_bytes()),
        (22, "sub twice, one escaped", twice(r#""s\u0075b":"root""#).into_bytes()),
        (23, "invalid UTF-8", [b"{\"x\":\"\xff\",", &claims.as_bytes()[1..]].concat()),
        (23, "a lone surrogate", twice(r#""x":"\ud800""#).into_bytes()),
        (23, "a lone surrogate in sub", with(&reader(), json!({"sub": "%"})).to_string().replace('%', r"\ud800").into_bytes()),
        (23, "NUL in sub", with(&reader(), json!({"sub": "rita\u{0}"})).to_string().into_bytes()),
        (24, "an array forty deep", twice(&format!("\"x\":{}1{}", "[".repeat(40), "]".repeat(40))).into_bytes()),
        (24, "an object 200 deep", twice(&format!("\"x\":{}1{}", r#"{"y":"#.repeat(200), "}".repeat(200))).into_bytes()),
        (24, "deep and never closed", twice(&format!("\"x\":{}", "[".repeat(3000))).into_bytes()),
        (24, "1e400 as exp", with(&reader(), json!({"exp": "%"})).to_string().replace("\"%\"", "1e400").into_bytes()),
        (24, "1e400 elsewhere", twice(r#""x":1e400"#).into_bytes()),
    ];
    for (case, what, payload) in payloads {
        table.token(case, &format!("payload: {what}"), &KEYS.with_parts(good_header.as_bytes(), &payload), BAD);
    }
    let many = KEYS.token(&with(&reader(), json!({"x": vec![1; 100_000]})));
    // The whole request head is over the listener's limit before anyone looks at the token.
    table.token(24, "a hundred thousand elements", &many, Refused(431, "headers_too_large"));
    let fewer = KEYS.token(&with(&reader(), json!({"x": vec![1; 10_000]})));
    table.token(24, "ten thousand elements", &fewer, BadToken("token_too_large"));

    let general = json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]});
    let flattened = json!({"payload": payload, "protected": header, "signature": signature});
    for (what, token) in [("general", general), ("flattened", flattened)] {
        table.token(25, what, &token.to_string(), BAD);
        table.token(25, &format!("{what}, encoded"), &b64(token.to_string().as_bytes()), BAD);
    }

    let with_header = |members: Value| KEYS.with_header(members, &reader());
    table.token(26, "cty JWT", &with_header(json!({"cty": "JWT"})), BAD);
    table.token(26, "a JWT inside", &KEYS.with_parts(br#"{"alg":"ES256","kid":"es-1","cty":"JWT"}"#, honest.as_bytes()), BAD);
    table.token(26, "a JWE header", &with_header(json!({"alg": "dir", "enc": "A128GCM"})), BAD);
    table.token(26, "enc beside a good alg", &with_header(json!({"enc": "A128GCM"})), BAD);
    table.token(27, "zip", &with_header(json!({"zip": "DEF"})), BAD);
    table.token(28, "detached payload", &format!("{header}..{signature}"), BAD);
    table.token(28, "b64 false", &with_header(json!({"b64": false, "crit": ["b64"]})), BAD);
    table.token(28, "b64 false, not critical", &with_header(json!({"b64": false})), BAD);
    for (what, crit) in [
        ("unknown", json!(["x-unknown"])),
        ("known elsewhere", json!(["exp"])),
        ("b64", json!(["b64"])),
        ("empty", json!([])),
        ("a string", json!("exp")),
        ("an object", json!({})),
        ("false", json!(false)),
    ] {
        table.token(29, &format!("crit: {what}"), &with_header(json!({"crit": crit})), BAD);
    }
    let null_crit = br#"{"alg":"ES256","typ":"JWT","kid":"es-1","crit":null}"#;
    table.token(29, "crit: null", &KEYS.with_parts(null_crit, claims.as_bytes()), BAD);
    for typ in ["dpop+jwt", "logout+jwt", "secevent+jwt", "JOSE+JSON", "JOSE", "text/plain", ""] {
        table.token(30, &format!("typ `{typ}`"), &with_header(json!({"typ": typ})), BAD);
    }
    table.token(30, "typ a number", &with_header(json!({"typ": 1})), BAD);
    for (what, typ) in [("JWT", json!("JWT")), ("jwt", json!("jwt")), ("at+jwt", json!("at+jwt")), ("absent", Value::Null)] {
        table.token(30, &format!("typ {what}"), &with_header(json!({"typ": typ})), Forwarded);
    }
    table.finish();
}

/// The same token with an unused bit of part `at` set; `None` where that part has no unused bits.
fn with_trailing_bits(token: &str, at: usize) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut parts = parts(token).map(str::to_owned);
    let part = &mut parts[at];
    if part.len().is_multiple_of(4) {
        return None;
    }
    let last = part.pop()?;
    let digit = ALPHABET.iter().position(|byte| char::from(*byte) == last)?;
    part.push(char::from(ALPHABET[digit ^ 1]));
    Some(parts.join("."))
}

//! How credentials are carried in a request, and how not.

use crate::harness::sidecar::Sidecar;
use crate::harness::table::{Expect, Table, with_lines};
use crate::harness::tokens::{KEYS, b64, reader, with};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use Expect::{BadToken, Closed, Forwarded, NoCredentials, Refused};
use serde_json::json;

const TARGET: &str = "/v1/documents/report";

fn ask(lines: &str) -> Vec<u8> {
    with_lines("GET", TARGET, lines)
}

#[test]
fn credentials_in_the_request() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let token = KEYS.token(&reader());
    let other = KEYS.token(&with(&reader(), json!({"jti": "other"})));

    let rows = [
        (1, "no Authorization", String::new(), NoCredentials),
        (2, "Basic only", "Authorization: Basic dTpw\r\n".into(), NoCredentials),
        (3, "empty token", "Authorization: Bearer\r\n".into(), BadToken("invalid_token")),
        (3, "empty token, one space", "Authorization: Bearer \r\n".into(), BadToken("invalid_token")),
        (3, "only spaces", "Authorization: Bearer     \r\n".into(), BadToken("invalid_token")),
        (4, "Bearer", format!("Authorization: Bearer {token}\r\n"), Forwarded),
        (4, "lower-case scheme", format!("Authorization: bearer {token}\r\n"), Forwarded),
        (4, "upper-case scheme", format!("AUTHORIZATION: BEARER {token}\r\n"), Forwarded),
        (5, "the same line twice", format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"), Refused(400, "invalid_request")),
        (5, "two tokens", format!("Authorization: Bearer {token}\r\nauthorization: Bearer {other}\r\n"), Refused(400, "invalid_request")),
        (5, "Basic, then Bearer", format!("Authorization: Basic dTpw\r\nAuthorization: Bearer {token}\r\n"), Refused(400, "invalid_request")),
        (6, "a list", format!("Authorization: Bearer {token}, Bearer {other}\r\n"), Refused(400, "invalid_request")),
        (6, "two words", format!("Authorization: Bearer {token} {other}\r\n"), Refused(400, "invalid_request")),
        (6, "parameters behind", format!("Authorization: Bearer {token},realm=x\r\n"), Refused(400, "invalid_request")),
        (7, "several spaces", format!("Authorization: Bearer   {token}\r\n"), Forwarded),
        (7, "a tab", format!("Authorization: Bearer\t{token}\r\n"), Refused(400, "invalid_request")),
        (7, "a tab after a space", format!("Authorization: Bearer \t{token}\r\n"), Refused(400, "invalid_request")),
        (9, "in a cookie", format!("Cookie: access_token={token}; token={token}\r\n"), NoCredentials),
        (10, "DPoP scheme", format!("Authorization: DPoP {token}\r\n"), NoCredentials),
        (11, "Proxy-Authorization", format!("Proxy-Authorization: Bearer {token}\r\n"), NoCredentials),
        (14, "opaque", "Authorization: Bearer 2YotnFZFEjr1zCsicMWpAA\r\n".into(), BadToken("invalid_token")),
        (14, "base64 with slashes", "Authorization: Bearer a+b/c==\r\n".into(), BadToken("invalid_token")),
    ];
    for (case, what, lines, expect) in rows {
        table.row(case, what, &ask(&lines), expect);
    }

    let in_query = with_lines("GET", &format!("{TARGET}?access_token={token}"), "");
    table.row(8, "in the query", &in_query, NoCredentials);

    for (what, confirmation) in [
        ("bound to a DPoP key", json!({"jkt": b64(&[7; 32])})),
        ("bound to a certificate", json!({"x5t#S256": b64(&[7; 32])})),
        ("bound to an embedded key", json!({"jwk": {"kty": "EC"}})),
    ] {
        table.token(10, what, &KEYS.token(&with(&reader(), json!({"cnf": confirmation}))), BadToken("invalid_token"));
    }

    let not_ascii: [(&str, &[u8], Expect); 6] = [
        ("UTF-8", "Bearer tökén".as_bytes(), Refused(400, "invalid_request")),
        ("Latin-1", b"Bearer \xff\xfe", Refused(400, "invalid_request")),
        ("UTF-8 in the scheme", "Bearér x".as_bytes(), Refused(400, "invalid_request")),
        ("a control byte", b"Bearer a\x01b", Closed(400, "invalid_request")),
        ("NUL", b"Bearer a\x00b", Closed(400, "invalid_request")),
        ("DEL", b"Bearer a\x7fb", Closed(400, "invalid_request")),
    ];
    for (what, value, expect) in not_ascii {
        let request = [b"GET /v1/documents/report HTTP/1.1\r\nHost: service\r\nAuthorization: ", value, b"\r\n\r\n"].concat();
        table.row(12, what, &request, expect);
    }

    let long = KEYS.token(&with(&reader(), json!({"padding": "x".repeat(6200)})));
    assert!(long.len() > 8192, "{}", long.len());
    table.token(13, "longer than 8 KiB", &long, BadToken("token_too_large"));
    let full = KEYS.token(&with(&reader(), json!({"padding": "x".repeat(5400)})));
    assert!((7500..8192).contains(&full.len()), "{}", full.len());
    table.token(13, "not quite 8 KiB", &full, Forwarded);

    let header = json!({"alg": "RSA-OAEP", "enc": "A256GCM", "cty": "JWT"}).to_string();
    let refresh = [&header, "key", "iv", "ciphertext", "tag"].map(|part| b64(part.as_bytes())).join(".");
    table.token(14, "an encrypted refresh token", &refresh, BadToken("invalid_token"));
    table.finish();
}

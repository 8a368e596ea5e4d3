//! HTTP/1 messages that two parsers could read differently.

use crate::harness::cases;
use crate::harness::http1::Client;
use crate::harness::sidecar::Sidecar;
use crate::harness::table::{Expect, Table, bearer, with_lines};
use crate::harness::tokens::{KEYS, reader};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use Expect::{Aborted, Closed, ClosedWith, Forwarded, Refused};
use serde_json::json;
use std::time::Duration;

const BAD: Expect = Closed(400, "invalid_request");
const UNKNOWN_CODING: Expect = Closed(501, "not_implemented");
const TOO_MANY: Expect = Closed(431, "headers_too_large");

/// A POST to an open route with these header lines and this body.
fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /public/x HTTP/1.1\r\nHost: service\r\n{lines}\r\n{body}").into_bytes()
}

#[test]
fn message_framing() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let chunked = "0\r\n\r\n";

    for (what, lines) in [
        ("length, then chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ("chunked, then length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        ("a length of zero and chunked", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
    ] {
        table.row(145, what, &post(lines, chunked), BAD);
    }
    for length in ["+5", "0x5", "-1", "5, 5", "5,6", "5 5", "", "five", "18446744073709551616", "99999999999999999999999", "5;", "5\u{b}", "٥"] {
        table.row(146, &format!("Content-Length `{length}`"), &post(&format!("Content-Length: {length}\r\n"), "hello"), BAD);
    }
    table.row(146, "two lengths", &post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), BAD);
    table.row(146, "the same length twice", &post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), BAD);
    table.row(146, "blanks around a length", &post("Content-Length:  5 \r\n", "hello"), Forwarded);
    for (coding, expect) in [
        ("xchunked", UNKNOWN_CODING),
        ("gzip, chunked", UNKNOWN_CODING),
        ("chunked, identity", BAD),
        ("identity", BAD),
        ("chunked,chunked", BAD),
        ("\u{b}chunked", BAD),
        ("chunked;q=1", BAD),
        ("\"chunked\"", BAD),
        ("", BAD),
        (",chunked", BAD),
        ("chunked\r\nTransfer-Encoding: chunked", BAD),
        ("chunked\r\nTransfer-Encoding: identity", BAD),
        ("chunked\r\n chunked", BAD),
    ] {
        table.row(147, &format!("Transfer-Encoding `{coding}`"), &post(&format!("Transfer-Encoding: {coding}\r\n"), chunked), expect);
    }
    for (what, name) in [("a space before the colon", "Transfer-Encoding : chunked"), ("a tab before the colon", "Transfer-Encoding\t: chunked")] {
        table.row(151, what, &post(&format!("{name}\r\n"), chunked), BAD);
    }
    table.row(148, "chunked in HTTP/1.0", b"POST /public/x HTTP/1.0\r\nHost: service\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD);

    let good = "Transfer-Encoding: chunked\r\n";
    for (what, body) in [
        ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        ("a hexadecimal prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("an underscore", "5_0\r\nhello\r\n0\r\n\r\n"),
        ("seventeen digits", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a space in front", " 5\r\nhello\r\n0\r\n\r\n"),
        ("a space behind", "5 \r\nhello\r\n0\r\n\r\n"),
        ("line feeds alone", "5\nhello\n0\n\n"),
        ("a carriage return alone", "5\rhello\r\n0\r\n\r\n"),
        ("data longer than said", "4\r\nhello\r\n0\r\n\r\n"),
        ("a line feed in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a bad trailer", "5\r\nhello\r\n0\r\nbad trailer: 1\r\n\r\n"),
        ("a folded trailer", "5\r\nhello\r\n0\r\na: 1\r\n b\r\n\r\n"),
    ] {
        table.row(149, what, &post(good, body), Aborted);
    }
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(17_000));
    table.row(149, "a huge extension", &post(good, &extension), Aborted);
    table.row(149, "chunked with a small extension", &post(good, "5;a=b\r\nhello\r\n0\r\n\r\n"), Forwarded);

    for method in ["GET", "DELETE", "POST", "OPTIONS"] {
        let request = format!("{method} /public/x HTTP/1.1\r\nHost: service\r\nContent-Length: 5\r\n\r\nhello");
        if let Some(seen) = table.row(150, &format!("{method} with a body"), request.as_bytes(), Forwarded)
            && seen.body.bytes != b"hello"
        {
            table.fault(150, method, "the body was lost");
        }
    }
    table.row(150, "GET with a length of zero", &with_lines("GET", "/public/x", "Content-Length: 0\r\n"), Forwarded);

    let heads: [(u16, &str, &[u8], Expect); 44] = [
        (151, "line feeds alone", b"GET /public/x HTTP/1.1\nHost: service\n\n", BAD),
        (151, "one line feed alone", b"GET /public/x HTTP/1.1\r\nHost: service\nX-A: b\r\n\r\n", BAD),
        (151, "a bare carriage return in a value", b"GET /public/x HTTP/1.1\r\nHost: service\r\nX-A: b\rX-C: d\r\n\r\n", BAD),
        (151, "a folded line", b"GET /public/x HTTP/1.1\r\nHost: service\r\nX-A: b\r\n c\r\n\r\n", BAD),
        (151, "a line folded by a tab", b"GET /public/x HTTP/1.1\r\nHost: service\r\nX-A: b\r\n\tc\r\n\r\n", BAD),
        (151, "NUL in a value", b"GET /public/x HTTP/1.1\r\nHost: service\r\nX-A: b\x00c\r\n\r\n", BAD),
        (151, "NUL in a name", b"GET /public/x HTTP/1.1\r\nHost: service\r\nX\x00A: b\r\n\r\n", BAD),
        (151, "a space before the colon", b"GET /public/x HTTP/1.1\r\nHost: service\r\nX-A : b\r\n\r\n", BAD),
        (151, "a space before the first header", b"GET /public/x HTTP/1.1\r\n Host: service\r\n\r\n", BAD),
        (151, "no colon", b"GET /public/x HTTP/1.1\r\nHost: service\r\nX-A\r\n\r\n", BAD),
        (151, "an empty name", b"GET /public/x HTTP/1.1\r\nHost: service\r\n: b\r\n\r\n", BAD),
        (151, "a name in Latin-1", b"GET /public/x HTTP/1.1\r\nHost: service\r\nX-\xe9: b\r\n\r\n", BAD),
        (151, "an empty line first", b"\r\nGET /public/x HTTP/1.1\r\nHost: service\r\n\r\n", BAD),
        (151, "two spaces in the request line", b"GET  /public/x HTTP/1.1\r\nHost: service\r\n\r\n", BAD),
        (151, "a tab in the request line", b"GET\t/public/x\tHTTP/1.1\r\nHost: service\r\n\r\n", BAD),
        (151, "a space behind the version", b"GET /public/x HTTP/1.1 \r\nHost: service\r\n\r\n", BAD),
        (151, "a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BAD),
        (152, "no version", b"GET /public/x\r\nHost: service\r\n\r\n", BAD),
        (152, "HTTP/0.9", b"GET /public/x HTTP/0.9\r\nHost: service\r\n\r\n", ClosedWith(&[400, 505])),
        (152, "HTTP/1.2", b"GET /public/x HTTP/1.2\r\nHost: service\r\n\r\n", ClosedWith(&[400, 505])),
        (152, "HTTP/2.0", b"GET /public/x HTTP/2.0\r\nHost: service\r\n\r\n", ClosedWith(&[400, 505])),
        (152, "http/1.1", b"GET /public/x http/1.1\r\nHost: service\r\n\r\n", BAD),
        (152, "HTTP/1.10", b"GET /public/x HTTP/1.10\r\nHost: service\r\n\r\n", BAD),
        (153, "no Host", b"GET /public/x HTTP/1.1\r\n\r\n", BAD),
        (153, "an empty Host", b"GET /public/x HTTP/1.1\r\nHost:\r\n\r\n", BAD),
        (153, "two Hosts", b"GET /public/x HTTP/1.1\r\nHost: service\r\nHost: other\r\n\r\n", BAD),
        (153, "the same Host twice", b"GET /public/x HTTP/1.1\r\nHost: service\r\nHost: service\r\n\r\n", BAD),
        (153, "a list of Hosts", b"GET /public/x HTTP/1.1\r\nHost: service,other\r\n\r\n", BAD),
        (153, "user information", b"GET /public/x HTTP/1.1\r\nHost: root@service\r\n\r\n", BAD),
        (153, "a port too high", b"GET /public/x HTTP/1.1\r\nHost: service:65536\r\n\r\n", BAD),
        (153, "a port that is none", b"GET /public/x HTTP/1.1\r\nHost: service:http\r\n\r\n", BAD),
        (153, "a path in Host", b"GET /public/x HTTP/1.1\r\nHost: service/public\r\n\r\n", BAD),
        (154, "another authority in the target", b"GET http://other/public/x HTTP/1.1\r\nHost: service\r\n\r\n", BAD),
        (154, "another scheme in the target", b"GET ftp://service/public/x HTTP/1.1\r\nHost: service\r\n\r\n", BAD),
        (154, "the same authority in the target", b"GET http://service/public/x HTTP/1.1\r\nHost: service\r\n\r\n", Forwarded),
        (155, "authority form", b"GET service:80 HTTP/1.1\r\nHost: service:80\r\n\r\n", BAD),
        (155, "CONNECT", b"CONNECT service:80 HTTP/1.1\r\nHost: service:80\r\n\r\n", Closed(405, "method_not_allowed")),
        (
            155,
            "CONNECT and early data",
            b"CONNECT service:80 HTTP/1.1\r\nHost: service:80\r\n\r\nGET /public/x HTTP/1.1\r\nHost: service\r\n\r\n",
            Closed(405, "method_not_allowed"),
        ),
        (156, "OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: service\r\n\r\n", Refused(400, "invalid_request")),
        (156, "GET *", b"GET * HTTP/1.1\r\nHost: service\r\n\r\n", BAD),
        (157, "TRACE", b"TRACE /public/x HTTP/1.1\r\nHost: service\r\n\r\n", Refused(405, "method_not_allowed")),
        (157, "an unknown method", b"FETCH /public/x HTTP/1.1\r\nHost: service\r\n\r\n", Refused(501, "not_implemented")),
        (157, "a method in lower case", b"get /public/x HTTP/1.1\r\nHost: service\r\n\r\n", Refused(400, "invalid_request")),
        (157, "a method with a slash", b"GE/T /public/x HTTP/1.1\r\nHost: service\r\n\r\n", BAD),
    ];
    for (case, what, head, expect) in heads {
        table.row(case, what, head, expect);
    }
    table.row(157, "a method of a kilobyte", &with_lines(&"M".repeat(1024), "/public/x", ""), Closed(501, "not_implemented"));
    table.row(0, "HTTP/1.0 without Host", b"GET /public/x HTTP/1.0\r\n\r\n", Forwarded);

    table.row(162, "another expectation", &post("Expect: 200-maybe\r\nContent-Length: 5\r\n", "hello"), Closed(417, "expectation_failed"));
    let many: String = (0..101).map(|number| format!("X-{number}: a\r\n")).collect();
    table.row(167, "101 headers", &with_lines("GET", "/public/x", &many), TOO_MANY);
    let large = format!("X-Large: {}\r\n", "a".repeat(65_536));
    table.row(167, "a header of 64 KiB", &with_lines("GET", "/public/x", &large), TOO_MANY);
    let target = format!("/public/{}", "a".repeat(8 * 1024));
    table.row(167, "a target over 8 KiB", &with_lines("GET", &target, ""), Closed(414, "uri_too_long"));
    let target = format!("/public/{}", "a".repeat(70_000));
    table.row(167, "a target over 64 KiB", &with_lines("GET", &target, ""), Closed(414, "uri_too_long"));
    table.finish();
}

/// A protocol switch is a tunnel that no later decision reaches: only a route that says so has one.
#[test]
fn upgrades_are_refused() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let token = KEYS.token(&reader());
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let refused = Refused(501, "not_implemented");
    for (what, target, lines) in [
        ("on an open route", "/public/x", websocket.to_owned()),
        ("with a good token", "/v1/documents/report", format!("Authorization: Bearer {token}\r\n{websocket}")),
    ] {
        table.row(159, what, &with_lines("GET", target, &lines), refused);
        let early = [with_lines("GET", target, &lines), b"\x81\x05hello".to_vec()].concat();
        table.row(159, &format!("{what}, bytes behind it"), &early, refused);
    }
    table.finish();
}

/// Case 170 and its like: what follows a refused message on the same connection.
#[test]
fn nothing_behind_a_refusal_is_executed() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let token = KEYS.token(&reader());
    let smuggled = b"GET /public/smuggled HTTP/1.1\r\nHost: service\r\n\r\n".as_slice();
    for (what, first) in [
        ("both framings", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        ("a bad length", post("Content-Length: +0\r\n", "")),
        ("a bad header", b"GET /public/x HTTP/1.1\r\nHost: service\r\nX-A : b\r\n\r\n".to_vec()),
        ("two hosts", b"GET /public/x HTTP/1.1\r\nHost: service\r\nHost: service\r\n\r\n".to_vec()),
        ("a bad chunk", post("Transfer-Encoding: chunked\r\n", "x\r\n\r\n")),
    ] {
        let mut client = Client::connect(sidecar.proxy());
        client.send(&[&first, smuggled].concat());
        let said = String::from_utf8_lossy(&client.rest()).into_owned();
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{what}: {said}");
        assert!(!said.starts_with("HTTP/1.1 2"), "{what}: {said}");
        cases::held(170, "connection ended");
    }
    let smuggled_through = upstream.heads().into_iter().any(|head| head.target().contains("smuggled"));
    assert!(!smuggled_through);

    // A refusal by the gate ends the connection too, however clear the framing.
    let mut client = Client::connect(sidecar.proxy());
    let body = format!("PUT /v1/documents/report HTTP/1.1\r\nHost: service\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n", smuggled.len());
    client.send(&[body.as_bytes(), smuggled].concat());
    assert_eq!(client.answer().unwrap().status, 403);
    let after = client.send(&bearer("GET", "/v1/documents/report", &token)).answer();
    assert!(after.is_err(), "answered behind a refusal");
    assert!(!upstream.heads().into_iter().any(|head| head.target().contains("smuggled")));
}

#[test]
fn bodies_over_the_limit() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/limits", json!({"body_bytes": "64KiB"}));
    let sidecar = Sidecar::start(&workspace);
    let mut table = Table::new(&sidecar, &upstream);
    table.row(168, "announced", &post("Content-Length: 65537\r\n", ""), Closed(413, "body_too_large"));
    table.row(168, "announced, huge", &post("Content-Length: 9223372036854775807\r\n", ""), Closed(413, "body_too_large"));
    let mut body = String::new();
    for _ in 0..20 {
        body.push_str("1000\r\n");
        body.push_str(&"a".repeat(4096));
        body.push_str("\r\n");
    }
    body.push_str("0\r\n\r\n");
    table.row(168, "in chunks", &post("Transfer-Encoding: chunked\r\n", &body), Aborted);
    let full = "a".repeat(65_536);
    table.row(168, "exactly the limit", &post("Content-Length: 65536\r\n", &full), Forwarded);
    table.finish();
}

/// Slow peers are cut off; each on its own connection, all at the same time.
#[test]
fn slow_peers() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/timeouts", json!({"header": "400ms", "idle": "600ms", "body": "400ms", "write": "1s"}));
    let sidecar = Sidecar::start(&workspace);
    let connect = |bytes: &[u8]| {
        let mut client = Client::connect(sidecar.proxy());
        client.send(bytes);
        client
    };
    let mut silent = connect(b"");
    let mut head = connect(b"GET /public/x HTTP/1.1\r\nHost: ser");
    let mut idle = connect(b"GET /public/x HTTP/1.1\r\nHost: service\r\n\r\n");
    let mut body = connect(&post("Content-Length: 10\r\n", "abc"));
    let mut preface = connect(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let soon = Duration::from_secs(5);

    assert!(silent.is_closed(soon), "165: a silent connection");
    let late = head.answer().unwrap();
    assert_eq!((late.status, late.code().as_str()), (408, "request_timeout"), "165: a slow head");
    cases::held(165, "408 request_timeout");
    assert!(head.is_closed(soon));
    assert_eq!(idle.answer().unwrap().status, 200);
    assert!(idle.is_closed(soon), "165: an idle connection");
    let late = body.answer().unwrap();
    assert_eq!((late.status, late.code().as_str()), (408, "request_timeout"), "166: a slow body");
    cases::held(166, "408 request_timeout");
    assert!(body.is_closed(soon));
    let _ = preface.rest();
    assert!(upstream.requests().iter().all(|request| request.head.method() == "GET"), "no half body arrived whole");
}

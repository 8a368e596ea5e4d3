//! HTTP/2 by prior knowledge, towards clients and towards the upstream.

use crate::harness::cases;
use crate::harness::http1::{exchange, get};
use crate::harness::http2::{self, END_HEADERS, END_STREAM, Frames, Outcome};
use crate::harness::sidecar::Sidecar;
use crate::harness::table::bearer;
use crate::harness::tokens::{KEYS, claims, reader};
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ENDED: u8 = END_HEADERS | END_STREAM;
const SOON: Duration = Duration::from_secs(5);

type Fields<'a> = Vec<(&'a [u8], &'a [u8])>;

/// An honest request to an open route.
fn honest<'a>() -> Fields<'a> {
    vec![(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"service"), (b":path", b"/public/x")]
}

/// That request with one pseudo-header changed.
fn changed<'a>(name: &[u8], value: &'a [u8]) -> Fields<'a> {
    let change = |(field, honest): (&'a [u8], &'a [u8])| (field, if field == name { value } else { honest });
    honest().into_iter().map(change).collect()
}

/// That request with more fields.
fn with<'a>(more: &[(&'a [u8], &'a [u8])]) -> Fields<'a> {
    [&honest()[..], more].concat()
}

/// Case 163: what HTTP/2 can say and HTTP/1 to the upstream must not hear.
#[test]
fn malformed_http2_requests() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let without = |name: &[u8]| honest().into_iter().filter(|(field, _)| *field != name).collect::<Fields>();
    let rows: Vec<(&str, Fields)> = vec![
        ("a space in the path", changed(b":path", b"/public/x y")),
        ("an empty path", changed(b":path", b"")),
        ("the path *", changed(b":path", b"*")),
        ("a path without a slash", changed(b":path", b"public/x")),
        ("an absolute path", changed(b":path", b"http://other/public/x")),
        ("a line break in the path", changed(b":path", b"/public/x HTTP/1.1\r\nX-A: b")),
        ("dots", changed(b":path", b"/public/../admin")),
        ("an encoded slash", changed(b":path", b"/public/a%2fb")),
        ("a method with a space", changed(b":method", b"GET /admin")),
        ("a method with a line break", changed(b":method", b"GET\r\n")),
        ("CONNECT", changed(b":method", b"CONNECT")),
        ("TRACE", changed(b":method", b"TRACE")),
        ("an unknown method", changed(b":method", b"FETCH")),
        ("an empty authority", changed(b":authority", b"")),
        ("two authorities", changed(b":authority", b"service,other")),
        ("user information", changed(b":authority", b"root@service")),
        ("no path", without(b":path")),
        ("no method", without(b":method")),
        ("no scheme", without(b":scheme")),
        ("no authority and no host", without(b":authority")),
        ("two paths", with(&[(b":path", b"/admin")])),
        ("two methods", with(&[(b":method", b"POST")])),
        ("an unknown pseudo-header", with(&[(b":user", b"root")])),
        ("a pseudo-header behind a header", with(&[(b"x-a", b"b"), (b":path", b"/admin")])),
        ("a response's pseudo-header", with(&[(b":status", b"200")])),
        ("a name in capitals", with(&[(b"X-A", b"b")])),
        ("a name with a colon", with(&[(b"x:a", b"b")])),
        ("a name with a space", with(&[(b"x a", b"b")])),
        ("an empty name", with(&[(b"", b"b")])),
        ("a line break in a value", with(&[(b"x-a", b"b\r\nx-portcullis-user: root")])),
        ("a line feed in a value", with(&[(b"x-a", b"b\nx-c: d")])),
        ("NUL in a value", with(&[(b"x-a", b"b\0c")])),
        ("connection", with(&[(b"connection", b"close")])),
        ("transfer-encoding", with(&[(b"transfer-encoding", b"chunked")])),
        ("upgrade", with(&[(b"upgrade", b"websocket")])),
        ("keep-alive", with(&[(b"keep-alive", b"timeout=5")])),
        ("proxy-connection", with(&[(b"proxy-connection", b"close")])),
        ("TE other than trailers", with(&[(b"te", b"gzip")])),
        ("another host", with(&[(b"host", b"other")])),
        ("two hosts", with(&[(b"host", b"service"), (b"host", b"other")])),
        ("a length that no data follows", with(&[(b"content-length", b"5")])),
        ("a length that is none", with(&[(b"content-length", b"+0")])),
        ("two lengths", with(&[(b"content-length", b"0"), (b"content-length", b"1")])),
    ];
    let mut failures = Vec::new();
    for (what, fields) in rows {
        let mut frames = Frames::connect(sidecar.proxy());
        frames.headers(1, &fields, ENDED);
        let outcome = frames.outcome(1, SOON);
        let refused = match outcome {
            Outcome::Status(status) => (400..500).contains(&status) || status == 501,
            Outcome::Reset(_) | Outcome::GoAway(_) | Outcome::Closed => true,
            Outcome::Silent => false,
        };
        if !refused || upstream.bytes() != 0 {
            failures.push(format!("163 {what}: {outcome:?}, upstream saw {:?}", upstream.heads()));
            if upstream.bytes() != 0 {
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    upstream.assert_untouched();
    cases::held(163, "refused");

    let mut frames = Frames::connect(sidecar.proxy());
    frames.headers(1, &honest(), ENDED);
    assert_eq!(frames.outcome(1, SOON), Outcome::Status(200), "the honest one");
}

/// Case 185 over HTTP/2: `http` cuts a fragment off `:path` as it is parsed, below h2's public face, so nobody can see
/// that there was one and refuse it as HTTP/1 is refused. What can be held to: the path without it is what is
/// decided and what is forwarded, and nothing of the fragment goes anywhere.
#[test]
fn an_http2_fragment_changes_nothing() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let token = format!("Bearer {}", KEYS.token(&reader()));
    let rows: [(&[u8], u16, &str); 9] = [
        (b"/public/x#/admin", 200, "/public/x"),
        (b"/public/x#", 200, "/public/x"),
        (b"/public/x?a=b#c?d=e", 200, "/public/x?a=b"),
        (b"/v1/documents/report#/../secret", 200, "/v1/documents/report"),
        (b"/v1/documents/report#?/public", 200, "/v1/documents/report"),
        // Allowed or not by what stands before the fragment alone.
        (b"/v1/documents/secret#report", 403, ""),
        (b"/v1/documents/secret#/../report", 403, ""),
        (b"/nowhere#/public/x", 403, ""),
        (b"#/public/x", 403, ""),
    ];
    for (path, status, target) in rows {
        let what = String::from_utf8_lossy(path);
        let seen = upstream.heads().len();
        let mut frames = Frames::connect(sidecar.proxy());
        let mut fields = changed(b":path", path);
        fields.push((b"authorization", token.as_bytes()));
        frames.headers(1, &fields, ENDED);
        assert_eq!(frames.outcome(1, SOON), Outcome::Status(status), "185 {what}");
        match status {
            200 => assert_eq!(upstream.last().head.target(), target, "185 {what}"),
            _ => assert_eq!(upstream.heads().len(), seen, "185 {what}"),
        }
    }
    assert!(upstream.heads().iter().all(|head| !head.line.contains('#')));
}

#[test]
fn http2_bodies_that_lie_about_their_length() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    for (what, body) in [("shorter", b"abc".as_slice()), ("longer", b"abcdefgh")] {
        let mut frames = Frames::connect(sidecar.proxy());
        let mut fields = changed(b":method", b"POST");
        fields.push((b"content-length", b"5"));
        frames.headers(1, &fields, END_HEADERS);
        frames.data(1, body, END_STREAM);
        let outcome = frames.outcome(1, SOON);
        let refused = !matches!(outcome, Outcome::Status(200..400) | Outcome::Silent);
        assert!(refused, "163 {what}: {outcome:?}");
    }
    assert_eq!(upstream.requests().len(), 0, "no such request arrived whole");
}

/// Case 164: floods end the connection, and the next client is served.
#[test]
fn http2_floods() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let before = sidecar.resident_kib();

    let mut frames = Frames::connect(sidecar.proxy());
    for number in 0..20_000_u32 {
        frames.headers(number * 2 + 1, &honest(), ENDED);
        frames.reset(number * 2 + 1);
    }
    let rapid_reset = frames.outcome(40_001, SOON);
    assert!(matches!(rapid_reset, Outcome::GoAway(_) | Outcome::Closed), "rapid reset: {rapid_reset:?}");

    let mut frames = Frames::connect(sidecar.proxy());
    frames.headers(1, &honest(), 0);
    for _ in 0..2_000 {
        frames.continuation(1, &[(b"x-a", &[b'a'; 1000])], 0);
    }
    let continuation = frames.outcome(1, SOON);
    assert!(!matches!(continuation, Outcome::Silent | Outcome::Status(200)), "CONTINUATION flood: {continuation:?}");

    let mut frames = Frames::connect(sidecar.proxy());
    let large = vec![b'a'; 4000];
    let fields: Fields = with(&(0..20).map(|_| (b"x-large".as_slice(), large.as_slice())).collect::<Vec<_>>());
    let (first, rest) = fields.split_at(6);
    frames.headers(1, first, END_STREAM);
    let (middle, last) = rest.split_at(rest.len() - 2);
    for pair in middle.chunks(2) {
        frames.continuation(1, pair, 0);
    }
    frames.continuation(1, last, END_HEADERS);
    let headers = frames.outcome(1, SOON);
    assert!(!matches!(headers, Outcome::Silent | Outcome::Status(200)), "80 KiB of headers: {headers:?}");

    assert_eq!(get(sidecar.proxy(), "/public/x", "").status, 200);
    let grown = sidecar.resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "grew by {grown} KiB");
    cases::held(164, "connection ended");
}

/// Sends `useless` a hundred at a time, each hundred with a ping, until a ping is no longer answered: how many frames
/// were taken, and the error code that ended it.
fn exhaust(frames: &mut Frames, useless: &[u8]) -> (usize, Option<u32>) {
    for hundreds in 0..1000 {
        frames.flood(useless, 100);
        if let Err(said) = frames.pong(SOON) {
            return (hundreds * 101, said);
        }
    }
    (usize::MAX, None)
}

/// Case 164: floods of frames that are cheap to send. What bounds the work is a count, so a count is what is looked at:
/// no clock decides here, but for what time gives back. Of empty DATA, h2 itself takes fewer than we would.
#[test]
fn http2_frames_of_no_use() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    const PER_SECOND: usize = 100;
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/listen/ext_authz_grpc", json!("127.0.0.1:0"));
    let sidecar = Sidecar::start(&workspace);
    let before = sidecar.resident_kib();
    let ping = http2::frame(6, 0, 0, &[0; 8]);
    let rows: [(&str, Vec<u8>); 10] = [
        ("PING", ping.clone()),
        ("an answer to no PING", http2::frame(6, 1, 0, &[0; 8])),
        ("SETTINGS", http2::frame(4, 0, 0, b"")),
        ("SETTINGS with something in it", http2::frame(4, 0, 0, &[0, 4, 0, 0, 255, 255])),
        ("PRIORITY", http2::frame(2, 0, 1, &[0, 0, 0, 0, 9])),
        ("WINDOW_UPDATE", http2::frame(8, 0, 0, &[0, 0, 0, 1])),
        ("WINDOW_UPDATE of a stream", http2::frame(8, 0, 1, &[0, 0, 0, 1])),
        ("empty DATA", http2::frame(0, 0, 1, b"")),
        ("DATA all padding", http2::frame(0, 8, 1, &[3, 0, 0, 0])),
        ("a frame of no known kind", http2::frame(0xee, 0, 0, b"x")),
    ];
    let mut failures = Vec::new();
    let mut post = changed(b":method", b"POST");
    post.push((b"content-length", b"5"));
    for (what, useless) in &rows {
        let mut frames = Frames::connect(sidecar.proxy());
        frames.headers(1, &post, END_HEADERS);
        let began = Instant::now();
        let (taken, said) = exhaust(&mut frames, useless);
        let regained = usize::try_from(began.elapsed().as_millis()).unwrap() * PER_SECOND / 1000;
        if said != Some(ENHANCE_YOUR_CALM) || !(100..=1010 + regained).contains(&taken) {
            failures.push(format!("164 {what}: {said:?} after {taken}"));
        }
    }
    // RST_STREAM needs a stream to reset.
    let mut frames = Frames::connect(sidecar.proxy());
    frames.headers(1, &post, END_HEADERS);
    let (taken, said) = exhaust(&mut frames, &http2::frame(3, 0, 1, &8_u32.to_be_bytes()));
    if said.is_none() || taken > 2000 {
        failures.push(format!("164 RST_STREAM: {said:?} after {taken}"));
    }
    // A block of headers that never ends lets nothing come between.
    let mut frames = Frames::connect(sidecar.proxy());
    frames.headers(1, &honest(), 0);
    frames.flood(&http2::frame(9, 0, 1, b""), 30_000);
    let said = frames.pong(SOON);
    if said != Err(Some(ENHANCE_YOUR_CALM)) {
        failures.push(format!("164 empty CONTINUATION: {said:?}"));
    }
    // All at once, without reading, and on every listener.
    for listener in ["proxy", "decisions", "telemetry", "ext_authz_grpc"] {
        let address = sidecar.address(listener);
        let mut frames = Frames::connect(address);
        frames.flood(&ping, 30_000);
        let answered = std::iter::repeat_with(|| frames.pong(SOON)).find_map(Result::err);
        if answered != Some(Some(ENHANCE_YOUR_CALM)) {
            failures.push(format!("164 {listener}: {answered:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));

    let metrics = get(sidecar.telemetry(), "/metrics", "").text();
    let counted = "portcullis_connections_aborted_total{cause=\"http2_frame_flood\",listener=\"proxy\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(counted)).and_then(|count| count.parse::<usize>().ok());
    assert!(count >= Some(rows.len() - 2), "{count:?}");
    let grown = sidecar.resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "grew by {grown} KiB");
    assert_eq!(get(sidecar.proxy(), "/public/x", "").status, 200);
    let lines = sidecar.stderr().lines().count();
    assert!(lines < 50, "{lines} lines were logged");
    cases::held(164, "connection ended");
}

/// A length-delimited field of a protocol buffer, shorter than 128 bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

/// The answers of checks are gathered and written together. One check is not kept waiting for others, nor behind a
/// client that asks without end and reads nothing, and what such a client is owed is bounded.
#[test]
fn http2_checks_whose_answers_nobody_reads() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/listen/ext_authz_grpc", json!("127.0.0.1:0"));
    let sidecar = Sidecar::start(&workspace);
    let before = sidecar.resident_kib();
    let address = sidecar.address("ext_authz_grpc");
    let http = [field(2, b"GET"), field(4, b"/public/x"), field(5, b"service")].concat();
    let check = field(1, &field(4, &field(2, &http)));
    let call = [&[0, 0, 0, 0, u8::try_from(check.len()).unwrap()], &check[..]].concat();
    let mut fields = changed(b":path", b"/envoy.service.auth.v3.Authorization/Check");
    fields = fields.into_iter().map(|(name, value)| (name, if name == b":method" { b"POST" } else { value })).collect();
    fields.push((b"content-type", b"application/grpc"));
    fields.push((b"te", b"trailers"));
    let ask = |frames: &mut Frames, stream: u32| {
        frames.headers(stream, &fields, END_HEADERS);
        frames.data(stream, &call, END_STREAM);
    };
    let greedy: Vec<Frames> = (0..16)
        .map(|_| {
            let mut frames = Frames::connect(address);
            (0..600).for_each(|number| ask(&mut frames, number * 2 + 1));
            frames
        })
        .collect();
    let mut modest = Frames::connect(address);
    for number in 0..20 {
        ask(&mut modest, number * 2 + 1);
        assert_eq!(modest.outcome(number * 2 + 1, SOON), Outcome::Status(200));
    }
    let grown = sidecar.resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "grew by {grown} KiB");
    drop(greedy);
}

/// Frames that come byte by byte, the preface too, are frames all the same.
#[test]
fn http2_in_single_bytes() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut frames = Frames::silent(sidecar.proxy());
    let mut bytes = http2::PREFACE.to_vec();
    bytes.extend(http2::frame(4, 0, 0, b""));
    bytes.extend(http2::frame(2, 0, 1, &[0, 0, 0, 0, 9]));
    bytes.extend(http2::frame(6, 0, 0, &[7; 8]));
    for byte in bytes {
        frames.flood(&[byte], 1);
    }
    frames.headers(1, &honest(), ENDED);
    assert_eq!(frames.outcome(1, SOON), Outcome::Status(200));
}

#[test]
fn silent_http2_connections_are_closed() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/timeouts", json!({"header": "300ms", "idle": "500ms"}));
    let sidecar = Sidecar::start(&workspace);
    let mut preface = Frames::silent(sidecar.proxy());
    preface.preface();
    let mut idle = Frames::connect(sidecar.proxy());
    let mut half = Frames::connect(sidecar.proxy());
    half.headers(1, &honest(), 0);
    for (what, frames) in [("preface and silence", &mut preface), ("no request", &mut idle), ("half a head", &mut half)] {
        let outcome = frames.outcome(1, SOON);
        assert!(!matches!(outcome, Outcome::Silent | Outcome::Status(200)), "{what}: {outcome:?}");
    }
    upstream.assert_untouched();
}

#[test]
fn http2_clients_are_served_and_refused() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let token = KEYS.token(&reader());
    let editor = KEYS.token(&claims("ed", &["editor"]));
    http2::runtime().block_on(async {
        let mut client = http2::connect(sidecar.proxy()).await;
        let uri = |path: &str| format!("http://service{path}");
        let ask = |path: &str, token: &str| Request::get(uri(path)).header("authorization", format!("Bearer {token}")).body(http2::full("")).unwrap();
        let refused = http2::ask(&mut client, Request::get(uri("/v1/documents/report")).body(http2::full("")).unwrap()).await;
        assert_eq!(refused.status, 401);
        assert!(refused.headers.contains_key("www-authenticate"));
        let body: Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!(body["error"]["code"], "missing_token");
        assert_eq!(http2::ask(&mut client, ask("/v1/documents/secret", &token)).await.status, 403);
        assert_eq!(http2::ask(&mut client, ask("/v1/documents/report", "x.y.z")).await.status, 401);
        assert_eq!(http2::ask(&mut client, ask("/nowhere", &token)).await.status, 403);
        upstream.assert_untouched();

        let answer = http2::ask(&mut client, ask("/v1/documents/report", &token)).await;
        assert_eq!((answer.status, answer.body.as_ref()), (200, b"ok".as_slice()));
        let seen = upstream.last().head;
        assert_eq!(seen.line, "GET /v1/documents/report HTTP/1.1");
        assert_eq!(seen.all("x-portcullis-user"), ["rita"]);
        assert_eq!(seen.all("x-forwarded-host"), ["service"]);
        assert!(seen.get("via").unwrap().starts_with("2"), "{:?}", seen.get("via"));

        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "abc".parse().unwrap());
        trailers.insert("x-portcullis-user", "forged".parse().unwrap());
        let upload = Request::put(uri("/v1/documents/report"))
            .header("authorization", format!("Bearer {editor}"))
            .header("trailer", "x-checksum")
            .header("x_portcullis_user", "forged")
            .body(http2::with_trailers("hello", trailers))
            .unwrap();
        assert_eq!(http2::ask(&mut client, upload).await.status, 200);
        let seen = upstream.last();
        assert_eq!(seen.body.bytes, b"hello");
        let forged = seen.head.fields.iter().chain(&seen.body.trailers).find(|(_, value)| value == "forged");
        assert_eq!(forged, None);
        assert!(seen.body.trailers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-checksum")), "{:?}", seen.body.trailers);

        // Many at once on one connection.
        let mut answers = tokio::task::JoinSet::new();
        for number in 0..50 {
            let mut client = client.clone();
            let request = ask(&format!("/v1/documents/{number}"), &token);
            answers.spawn(async move { http2::ask(&mut client, request).await.status });
        }
        assert!(answers.join_all().await.into_iter().all(|status| status == 200));
    });
}

#[test]
fn an_http2_upstream() {
    let upstream = http2::Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/upstream/protocol", json!("http2"));
    let sidecar = Sidecar::start(&workspace);
    let editor = KEYS.token(&claims("ed", &["editor"]));
    let auth = format!("Authorization: Bearer {editor}\r\n");
    assert_eq!(get(sidecar.proxy(), "/v1/documents/secret", &auth).status, 403);
    assert_eq!(get(sidecar.proxy(), "/v1/documents/report", "").status, 401);
    assert!(upstream.seen().is_empty());

    let request = format!(
        "PUT /v1/documents/report?x=1 HTTP/1.1\r\nHost: service\r\n{auth}X_Portcullis_User: forged\r\nConnection: te, x-hop\r\nTE: trailers\r\n\
         x-hop: 1\r\nTransfer-Encoding: chunked\r\nTrailer: x-checksum\r\n\r\n5\r\nhello\r\n0\r\nx-checksum: abc\r\nx-portcullis-user: forged\r\n\r\n"
    );
    let answer = exchange(sidecar.proxy(), request.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok over h2"));
    assert_eq!(answer.head.get("x-from"), Some("h2"));
    assert!(answer.body.trailers.iter().any(|(name, value)| name == "x-checksum" && value == "of-the-answer"), "{:?}", answer.body);
    let seen = upstream.seen().pop().unwrap();
    assert!(seen.head.starts_with("PUT http://") && seen.head.ends_with("/v1/documents/report?x=1 HTTP/2.0"), "{}", seen.head);
    assert_eq!(seen.body.as_ref(), b"hello");
    assert_eq!(seen.trailers.unwrap().get("x-checksum").unwrap(), "abc");
    assert_eq!(seen.headers.get("x-portcullis-user").unwrap(), "ed");
    for gone in ["authorization", "connection", "transfer-encoding", "x-hop", "x_portcullis_user"] {
        assert!(!seen.headers.contains_key(gone), "{gone}");
    }

    http2::runtime().block_on(async {
        let mut client = http2::connect(sidecar.proxy()).await;
        let request = Request::get("http://service/v1/documents/report").header("authorization", format!("Bearer {editor}"));
        let answer = http2::ask(&mut client, request.body(http2::full("")).unwrap()).await;
        assert_eq!((answer.status, answer.body.as_ref()), (200, b"ok over h2".as_slice()));
        assert_eq!(answer.trailers.unwrap().get("x-checksum").unwrap(), "of-the-answer");
    });
}

/// A client that speaks both on one port changes nothing about who may pass.
#[test]
fn both_versions_on_one_port() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let token = KEYS.token(&reader());
    assert_eq!(exchange(sidecar.proxy(), &bearer("GET", "/v1/documents/report", &token)).unwrap().status, 200);
    let mut frames = Frames::connect(sidecar.proxy());
    let authorization = format!("Bearer {token}");
    let mut fields = changed(b":path", b"/v1/documents/report");
    fields.push((b"authorization", authorization.as_bytes()));
    frames.headers(1, &fields, ENDED);
    assert_eq!(frames.outcome(1, SOON), Outcome::Status(200));
    let mut frames = Frames::connect(sidecar.proxy());
    fields.push((b"authorization", authorization.as_bytes()));
    frames.headers(1, &fields, ENDED);
    assert_eq!(frames.outcome(1, SOON), Outcome::Status(400), "two credentials");
    assert_eq!(upstream.heads().len(), 2);
}

use tokio::io::AsyncWriteExt as _;

use super::support::{Running, read_to_end, run, statuses};

/// What a client sends, the statuses of all answers, and how often the service was called. After the last answer
/// the connection is closed in every case.
struct Case(&'static str, &'static str, &'static [u16], usize);

const GOOD: &str = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

static CASES: &[Case] = &[
    Case("one request", "{good}", &[200], 1),
    Case("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", &[200], 1),
    Case(
        "pipelined",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n{good}",
        &[200, 200],
        2,
    ),
    Case(
        "a length",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc{good}",
        &[200, 200],
        2,
    ),
    Case(
        "chunks",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n{good}",
        &[200, 200],
        2,
    ),
    Case(
        "trailers",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nx: y\r\n\r\n{good}",
        &[200, 200],
        2,
    ),
    Case(
        "GET with a body",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc{good}",
        &[200, 200],
        2,
    ),
    Case(
        "a length of 0",
        "DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n{good}",
        &[200, 200],
        2,
    ),
    Case(
        "an upgrade that is not granted: nothing behind it is a request",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n{good}",
        &[200],
        1,
    ),
    Case(
        "an upgrade behind another request",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        &[200, 200],
        2,
    ),
    Case(
        "an upgrade with a body",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\nNever: x\r\n\r\nabc{good}",
        &[400],
        0,
    ),
    Case(
        "an offer of h2c",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n{good}",
        &[200, 200],
        2,
    ),
    Case(
        "length then coding",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nNever: x\r\n\r\n0\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "coding then length",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\nNever: x\r\n\r\n0\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\nNever: x\r\n\r\nabcd{good}",
        &[400],
        0,
    ),
    Case(
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\nNever: x\r\n\r\nabc{good}",
        &[400],
        0,
    ),
    Case(
        "a signed length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\nNever: x\r\n\r\nabc{good}",
        &[400],
        0,
    ),
    Case(
        "an unknown coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nNever: x\r\n\r\n{good}",
        &[501],
        0,
    ),
    Case(
        "a coding before chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\nNever: x\r\n\r\n0\r\n\r\n{good}",
        &[501],
        0,
    ),
    Case(
        "two codings",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nNever: x\r\n\r\n0\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "chunks in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nNever: x\r\n\r\n0\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "bare LF",
        "GET / HTTP/1.1\nHost: a\nNever: x\n\n{good}",
        &[400],
        0,
    ),
    Case(
        "one bare LF",
        "GET / HTTP/1.1\r\nHost: a\nNever: x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "bare CR",
        "GET / HTTP/1.1\r\nHost: a\rNever: x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "a folded line",
        "GET / HTTP/1.1\r\nHost: a\r\nNever: x\r\n y\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "NUL",
        "GET / HTTP/1.1\r\nHost: a\r\nNever: \0\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "a space before the colon",
        "GET / HTTP/1.1\r\nHost: a\r\nNever : x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "a space before the first header",
        "GET / HTTP/1.1\r\n Never: a\r\nHost: a\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "a blank line first",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\nNever: x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case("a TLS handshake", "\u{16}\u{3}\u{1}\u{2}", &[400], 0),
    Case(
        "no Host",
        "GET / HTTP/1.1\r\nNever: x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "two Hosts",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nNever: x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "an empty Host",
        "GET / HTTP/1.1\r\nHost: \r\nNever: x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "another host",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\nNever: x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "the same host",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n{good}",
        &[200, 200],
        2,
    ),
    Case(
        "authority-form",
        "GET a:80 HTTP/1.1\r\nHost: a:80\r\nNever: x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "HTTP/1.2",
        "GET / HTTP/1.2\r\nHost: a\r\nNever: x\r\n\r\n{good}",
        &[505],
        0,
    ),
    Case("half a preface", "PRI * HTTP/2.0\r\n\r\n{good}", &[505], 0),
    Case(
        "lower-case version",
        "GET / http/1.1\r\nHost: a\r\nNever: x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "a fragment",
        "GET /#a HTTP/1.1\r\nHost: a\r\nNever: x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "UTF-8 in the target",
        "GET /\u{e9} HTTP/1.1\r\nHost: a\r\nNever: x\r\n\r\n{good}",
        &[400],
        0,
    ),
    Case(
        "an expectation",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-maybe\r\nContent-Length: 3\r\nNever: x\r\n\r\nabc{good}",
        &[417],
        0,
    ),
    Case(
        "bad behind good",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nNever: x\r\n\r\n{good}",
        &[200, 200, 400],
        2,
    ),
    Case(
        "a refused request's twin",
        "GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n",
        &[200],
        1,
    ),
    Case(
        "a body left unread",
        "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 54\r\n\r\n{good}{good}",
        &[401],
        1,
    ),
    Case(
        "chunks left unread",
        "POST /ignore HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n{good}",
        &[401],
        1,
    ),
    Case(
        "continue left unread",
        "POST /ignore HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n{good}",
        &[401],
        1,
    ),
    Case(
        "a body too large",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\nNever: x\r\n\r\n{good}",
        &[413],
        0,
    ),
    Case(
        "a chunk without a size",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n{good}",
        &[400],
        1,
    ),
    Case(
        "a chunk size in C",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n{good}",
        &[400],
        1,
    ),
    Case(
        "a chunk size too long",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000003\r\nabc\r\n0\r\n\r\n{good}",
        &[400],
        1,
    ),
    Case(
        "a space after the chunk size",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n{good}",
        &[400],
        1,
    ),
    Case(
        "LF in chunks",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n{good}",
        &[400],
        1,
    ),
    Case(
        "a chunk too long",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n{good}",
        &[400],
        1,
    ),
];

async fn check(running: &Running, case: &Case, at_once: bool) {
    let Case(name, bytes, expected, expected_calls) = case;
    let bytes = bytes.replace("{good}", GOOD);
    let calls_before = running.handler.calls();
    let read = if at_once {
        running.talk(&bytes).await
    } else {
        let mut stream = running.connect().await;
        for byte in bytes.as_bytes() {
            // The listener may have answered and closed by now.
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        read_to_end(&mut stream).await
    };
    assert_eq!(statuses(&read), *expected, "{name}: {read}");
    assert_eq!(
        running.handler.calls() - calls_before,
        *expected_calls,
        "calls for {name}"
    );
}

#[tokio::test]
async fn in_one_piece() {
    let running = run().await;
    for case in CASES {
        check(&running, case, true).await;
    }
    assert!(running.metric("portcullis_requests_refused_total") > 20.0);
}

#[tokio::test]
async fn byte_by_byte() {
    let running = run().await;
    for case in CASES {
        check(&running, case, false).await;
    }
}

#[tokio::test]
async fn sizes() {
    let running = run().await;
    let long_uri = format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\nNever: x\r\n\r\n",
        "a".repeat(1024)
    );
    assert_eq!(statuses(&running.talk(long_uri).await), [414]);
    let endless_uri = format!("GET /{}", "a".repeat(100_000));
    assert_eq!(statuses(&running.talk(endless_uri).await), [414]);
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nNever: {}\r\n\r\n",
        "x".repeat(17_000)
    );
    assert_eq!(statuses(&running.talk(long).await), [431]);
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "Never: x\r\n".repeat(100)
    );
    assert_eq!(statuses(&running.talk(many).await), [431]);
    assert_eq!(running.handler.calls(), 0);
    let just = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}Connection: close\r\n\r\n",
        "x: y\r\n".repeat(98)
    );
    assert_eq!(statuses(&running.talk(just).await), [200]);
    let chunks = "3e9\r\n".to_owned() + &"x".repeat(1001) + "\r\n0\r\n\r\n";
    let streamed =
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    assert_eq!(statuses(&running.talk(streamed).await), [413]);
}

use proptest::prelude::*;

use super::{Framing, Head, HeadLimits, scan};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 2048,
    headers: 20,
    uri_bytes: 256,
};

#[track_caller]
fn status(head: &str) -> u16 {
    match scan(head.as_bytes(), &LIMITS) {
        Ok(Some(_)) => 200,
        Ok(None) => 0,
        Err(fault) => fault.status.as_u16(),
    }
}

/// The status of `GET / HTTP/1.1` with these header lines after a good `Host`.
#[track_caller]
fn with(lines: &str) -> u16 {
    status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

#[test]
fn framing() {
    let framing = |lines: &str| {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
        let Head { bytes, framing } = scan(head.as_bytes(), &LIMITS).unwrap().unwrap();
        assert_eq!(bytes, head.len());
        framing
    };
    assert_eq!(framing(""), Framing::Empty);
    assert_eq!(framing("content-length: 0\r\n"), Framing::Empty);
    assert_eq!(framing("content-length: 5\r\n"), Framing::Length(5));
    assert_eq!(framing("Content-Length:\t0005 \r\n"), Framing::Length(5));
    assert_eq!(framing("transfer-encoding: CHUNKED\r\n"), Framing::Chunked);
}

#[test]
fn upgrades() {
    let framing = |version: &str, lines: &str| {
        let head = format!("GET / HTTP/{version}\r\nhost: a\r\n{lines}\r\n");
        scan(head.as_bytes(), &LIMITS)
            .map(|head| head.unwrap().framing)
            .map_err(|fault| fault.status.as_u16())
    };
    for (lines, expected) in [
        (
            "connection: upgrade\r\nupgrade: websocket\r\n",
            Ok(Framing::Upgrade),
        ),
        (
            "upgrade: h2c,\t websocket\r\nCONNECTION: close , Upgrade\r\n",
            Ok(Framing::Upgrade),
        ),
        (
            "connection: a\r\nconnection: upgrade\r\nupgrade: h2c\r\nupgrade: x/1\r\ncontent-length: 0\r\n",
            Ok(Framing::Upgrade),
        ),
        (
            "connection: upgrade\r\nupgrade: é\r\n",
            Ok(Framing::Upgrade),
        ),
        (
            "connection: upgrade\r\nupgrade: H2C\r\n",
            Ok(Framing::Empty),
        ),
        ("connection: upgrade\r\nupgrade: ,\r\n", Ok(Framing::Empty)),
        (
            "connection: upgraded\r\nupgrade: websocket\r\n",
            Ok(Framing::Empty),
        ),
        ("connection: upgrade\r\n", Ok(Framing::Empty)),
        ("upgrade: websocket\r\n", Ok(Framing::Empty)),
        (
            "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 1\r\n",
            Err(400),
        ),
        (
            "connection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n",
            Err(400),
        ),
    ] {
        assert_eq!(framing("1.1", lines), expected, "{lines}");
    }
    let asked = "connection: upgrade\r\nupgrade: websocket\r\n";
    assert_eq!(framing("1.0", asked), Ok(Framing::Empty));
}

#[test]
fn content_length() {
    for value in [
        "5, 5",
        "5,6",
        "+5",
        "-1",
        "0x5",
        "5_0",
        "",
        "5 5",
        "5;",
        "18446744073709551616",
        "18446744073709551614",
        "000000000000000000005",
    ] {
        assert_eq!(
            with(&format!("Content-Length: {value}\r\n")),
            400,
            "{value}"
        );
    }
    assert_eq!(with("Content-Length: 5\r\nContent-Length: 6\r\n"), 400);
    assert_eq!(with("Content-Length: 5\r\nContent-Length: 5\r\n"), 400);
    assert_eq!(with("Content-Length: 18446744073709551613\r\n"), 200);
}

#[test]
fn transfer_encoding() {
    for (value, expected) in [
        ("chunked", 200),
        ("Chunked", 200),
        ("chunked, identity", 400),
        ("identity", 400),
        ("chunked,chunked", 400),
        ("chunked,", 400),
        ("", 400),
        ("\"chunked\"", 400),
        ("\u{b}chunked", 400),
        ("xchunked", 501),
        ("gzip, chunked", 501),
        ("chunked, gzip", 501),
        ("gzip", 501),
    ] {
        assert_eq!(
            with(&format!("Transfer-Encoding: {value}\r\n")),
            expected,
            "{value:?}"
        );
    }
    assert_eq!(
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        400
    );
    assert_eq!(
        with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        400
    );
    assert_eq!(
        with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        400
    );
    assert_eq!(
        status("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        400
    );
}

#[test]
fn lines() {
    for (head, expected) in [
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: a\0b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: a\u{7f}b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nx y: b\r\n\r\n", 400),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n", 0),
        ("", 0),
    ] {
        assert_eq!(status(head), expected, "{head:?}");
    }
}

#[test]
fn versions_and_methods() {
    for (line, expected) in [
        ("GET / HTTP/1.1", 200),
        ("GET / HTTP/1.0", 200),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/2.0", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1", 400),
        ("GET / HTTP/11.1", 400),
        ("GET / FTP/1.1", 400),
        ("get / HTTP/1.1", 200),
        ("TRACE / HTTP/1.1", 200),
        ("G@T / HTTP/1.1", 400),
    ] {
        assert_eq!(
            status(&format!("{line}\r\nHost: a\r\n\r\n")),
            expected,
            "{line}"
        );
    }
    let long = "A".repeat(1024);
    assert_eq!(
        status(&format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n")),
        501
    );
}

#[test]
fn hosts() {
    for (lines, expected) in [
        ("Host: a\r\n", 200),
        ("hOsT:a:80\r\n", 200),
        ("", 400),
        ("Host:\r\n", 400),
        ("Host: a\r\nHost: a\r\n", 400),
        ("Host: a,b\r\n", 400),
        ("Host: u@a\r\n", 400),
        ("Host: a:x\r\n", 400),
        ("Host: a:\r\n", 400),
        ("Host: a:99999\r\n", 400),
    ] {
        assert_eq!(
            status(&format!("GET / HTTP/1.1\r\n{lines}\r\n")),
            expected,
            "{lines:?}"
        );
    }
    assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), 200);
}

#[test]
fn targets() {
    for (line, expected) in [
        ("GET http://a/x HTTP/1.1", 200),
        ("GET HTTP://A HTTP/1.1", 200),
        ("GET https://a/?q HTTP/1.1", 200),
        ("GET http://a:80/ HTTP/1.1", 400),
        ("GET http://b/ HTTP/1.1", 400),
        ("GET http://u@a/ HTTP/1.1", 400),
        ("GET http:///x HTTP/1.1", 400),
        ("GET http://a#x HTTP/1.1", 400),
        ("GET ftp://a/ HTTP/1.1", 400),
        ("GET a:80 HTTP/1.1", 400),
        ("GET a HTTP/1.1", 400),
        ("GET ?q HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("OPTIONS * HTTP/1.1", 200),
        ("CONNECT a HTTP/1.1", 400),
        ("CONNECT a:80 HTTP/1.1", 400),
        ("CONNECT /a HTTP/1.1", 400),
        ("GET /#x HTTP/1.1", 400),
        ("GET /?a#x HTTP/1.1", 400),
        ("GET /\u{e9} HTTP/1.1", 400),
        ("GET /<> HTTP/1.1", 400),
        ("GET /%zz\\ HTTP/1.1", 200),
        ("GET /a?b=[1]&c={d}|e?f HTTP/1.1", 200),
    ] {
        assert_eq!(
            status(&format!("{line}\r\nHost: a\r\n\r\n")),
            expected,
            "{line}"
        );
    }
    assert_eq!(status("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"), 200);
}

#[test]
fn expectations() {
    assert_eq!(with("Expect: 100-Continue\r\n"), 200);
    assert_eq!(with("Expect: 200-maybe\r\n"), 417);
    assert_eq!(with("Expect: 100-continue\r\nExpect: x\r\n"), 417);
}

#[test]
fn sizes() {
    let uri = |length: usize| {
        status(&format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "a".repeat(length - 1)
        ))
    };
    assert_eq!(uri(256), 200);
    assert_eq!(uri(257), 414);
    assert_eq!(uri(5000), 414);
    assert_eq!(status(&format!("GET /{}", "a".repeat(5000))), 414);
    assert_eq!(with(&"x: y\r\n".repeat(19)), 200);
    assert_eq!(with(&"x: y\r\n".repeat(20)), 431);
    let filled = |length: usize| {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nx: ";
        status(&format!(
            "{head}{}\r\n\r\n",
            "y".repeat(length - head.len() - 4)
        ))
    };
    assert_eq!(filled(2048), 200);
    assert_eq!(filled(2049), 431);
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(2048))),
        431
    );
    let many = HeadLimits {
        headers: 300,
        bytes: 65_536,
        uri_bytes: 100,
    };
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "x: y\r\n".repeat(299)
    );
    assert!(scan(head.as_bytes(), &many).unwrap().is_some());
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        _ = scan(&bytes, &LIMITS);
    }

    /// What is let through as a target is what `http::Uri` reads back.
    #[test]
    fn targets_are_read_back_unchanged(target in "[/?*h]?[ -~]{0,20}|http://[a-z:@0-9]{0,5}[ -~]{0,9}") {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        if scan(head.as_bytes(), &LIMITS).is_ok() {
            let uri: http::Uri = target.parse().unwrap();
            let absolute = uri.scheme().is_some();
            prop_assert!(absolute || uri.to_string() == target);
        }
    }
}

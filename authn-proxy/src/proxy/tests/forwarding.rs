//! What an admitted request and its response look like on the other side

use super::stage::{Stage, Upstream, header, status};

const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn the_upstream_learns_who_calls_from_us_only() {
    let upstream = Upstream::answering(FINE).await;
    let stage = Stage::new(upstream.address).await;
    let token = &stage.token;
    let response = stage
        .get(
            "/users/%61lice?a=%2e&b=c",
            &format!(
                "Authorization: Bearer {token}\r\nX-Portcullis-User: root\r\nx_portcullis_roles: admin\r\n\
                 X.User.Id: root\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-User: root\r\nX-Real-IP: 1.2.3.4\r\n\
                 X-Original-URL: /admin\r\nX-HTTP-Method-Override: DELETE\r\nKeep-Alive: 5\r\nCookie: a=b\r\n"
            ),
        )
        .await;
    assert_eq!(status(&response), "200", "{response}");
    let seen = upstream.only();
    assert!(
        seen.starts_with("GET /users/alice?a=%2e&b=c HTTP/1.1\r\n"),
        "{seen}"
    );
    for (name, value) in [
        ("host", &*upstream.address.to_string()),
        ("x-portcullis-user", "alice"),
        ("x-portcullis-principal", "Fortress::User::\"alice\""),
        ("x-portcullis-roles", "dev,100%25"),
        ("x-portcullis-scopes", "read write"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "asked.example"),
        ("cookie", "a=b"),
    ] {
        assert_eq!(header(&seen, name), [value], "{seen}");
    }
    assert_eq!(
        header(&seen, "x-portcullis-request-id"),
        header(&response, "x-portcullis-request-id")
    );
    assert!(
        header(&seen, "via")[0].starts_with("1.1 portcullis-"),
        "{seen}"
    );
    assert!(
        header(&response, "via")[0].starts_with("1.1 portcullis-"),
        "{response}"
    );
    for absent in [
        "authorization",
        "x-user-id",
        "x.user.id",
        "x_portcullis_roles",
        "x-forwarded-user",
        "x-real-ip",
        "x-original-url",
        "x-http-method-override",
        "keep-alive",
        "connection",
        "transfer-encoding",
        "content-length",
    ] {
        assert!(header(&seen, absent).is_empty(), "{absent}: {seen}");
    }
}

#[tokio::test]
async fn nobody_is_named_on_a_public_route() {
    let upstream = Upstream::answering(FINE).await;
    let stage = Stage::new(upstream.address).await;
    let token = &stage.token;
    let response = stage
        .get(
            "/open/x",
            &format!(
                "Authorization: Bearer {token}\r\nX-User-Id: root\r\nX-Portcullis-User: root\r\n"
            ),
        )
        .await;
    assert_eq!(status(&response), "200");
    let seen = upstream.only();
    assert!(
        !seen.contains("root") && !seen.contains("alice") && !seen.contains(token.as_str()),
        "{seen}"
    );
    assert!(!seen.contains("x-portcullis-user"), "{seen}");
}

#[tokio::test]
async fn the_token_and_the_host_pass_when_configured() {
    let upstream = Upstream::answering(FINE).await;
    let stage = Stage::with(upstream.address, |setup| {
        setup.upstream.forward_token = true;
        setup.upstream.preserve_host = true;
    })
    .await;
    let token = &stage.token;
    stage
        .get(
            "/users/alice",
            &format!("Authorization: Bearer {token}\r\n"),
        )
        .await;
    let seen = upstream.only();
    assert_eq!(header(&seen, "authorization"), [format!("Bearer {token}")]);
    assert_eq!(header(&seen, "host"), ["asked.example"]);
}

#[tokio::test]
async fn trusted_peers_are_believed() {
    let upstream = Upstream::answering(FINE).await;
    let stage = Stage::with(upstream.address, |setup| {
        setup.forwarded.trusted_peers = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    stage
        .get(
            "/open/x",
            "X-Forwarded-For: 6.6.6.6, 198.51.100.7\r\nX-Forwarded-Proto: https\r\n",
        )
        .await;
    let seen = upstream.only();
    assert_eq!(
        header(&seen, "x-forwarded-for"),
        ["198.51.100.7, 127.0.0.1"]
    );
    assert_eq!(header(&seen, "x-forwarded-proto"), ["https"]);
}

#[tokio::test]
async fn responses_come_back_without_what_is_ours() {
    let upstream = Upstream::answering(
        "HTTP/1.1 203 Made Up\r\nContent-Length: 2\r\nX-Portcullis-User: root\r\nX-User-Id: root\r\n\
         X-Portcullis-Request-Id: forged\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nSet-Cookie: a=b\r\n\
         Server: app\r\nAlt-Svc: h2=\":1\"\r\n\r\nok",
    )
    .await;
    let stage = Stage::new(upstream.address).await;
    let response = stage.get("/open/x", "").await;
    assert_eq!(status(&response), "203");
    assert!(response.ends_with("\r\n\r\nok"), "{response}");
    assert_eq!(header(&response, "set-cookie"), ["a=b"]);
    assert_eq!(header(&response, "server"), ["app"]);
    assert_eq!(header(&response, "x-portcullis-request-id").len(), 1);
    for absent in [
        "root",
        "forged",
        "x-hop",
        "keep-alive",
        "alt-svc",
        "Made Up",
    ] {
        assert!(!response.contains(absent), "{absent}: {response}");
    }
}

#[tokio::test]
async fn an_upgrade_to_http2_is_taken_for_a_plain_request() {
    let upstream = Upstream::answering(FINE).await;
    let stage = Stage::new(upstream.address).await;
    let mut wire = stage.connect().await;
    wire.send(
        "GET /open/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
    )
    .await;
    let head = wire.head().await.unwrap();
    assert_eq!(status(&head), "200");
    let seen = upstream.only().to_lowercase();
    assert!(
        !seen.contains("upgrade") && !seen.contains("http2-settings"),
        "{seen}"
    );
}

#[tokio::test]
async fn connections_to_the_upstream_are_kept() {
    let upstream = Upstream::answering(FINE).await;
    let stage = Stage::new(upstream.address).await;
    for _ in 0..5 {
        assert_eq!(status(&stage.get("/open/x", "").await), "200");
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(
        stage.metric("portcullis_proxy_requests_total", Some("ok")),
        5.0
    );
    assert_eq!(
        stage.metric("portcullis_proxy_response_body_bytes_total", None),
        10.0
    );
    assert_eq!(stage.metric("portcullis_proxy_in_flight", None), 0.0);
}

#[tokio::test]
async fn a_head_request_keeps_its_length_and_gets_no_body() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 512\r\n\r\n").await;
    let stage = Stage::new(upstream.address).await;
    let response = stage
        .ask("HEAD /open/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(header(&response, "content-length"), ["512"]);
    assert!(response.ends_with("\r\n\r\n"));
    assert_eq!(
        stage.metric("portcullis_proxy_requests_total", Some("ok")),
        1.0
    );
}

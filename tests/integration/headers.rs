//! What a client says in headers and what the upstream hears.

use crate::harness::cases;
use crate::harness::http1::{Client, exchange, get};
use crate::harness::sidecar::Sidecar;
use crate::harness::table::{Expect, Table, bearer, with_lines};
use crate::harness::tokens::{KEYS, claims, reader, with};
use crate::harness::upstream::{Request, Upstream};
use crate::harness::workspace::Workspace;
use Expect::{BadToken, Closed, Forwarded, Refused};
use serde_json::json;

const GATED: &str = "/v1/documents/report";
const OPEN: &str = "/public/page";

/// Names that an upstream, or a gateway language below it, could read as `name`.
fn spellings(name: &str) -> Vec<String> {
    vec![name.to_owned(), name.to_ascii_uppercase(), name.replace('-', "_"), name.replace('-', "."), name.replacen('-', "_", 1), name.replacen('-', ".", 1)]
}

fn canonical(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// Whether any header of the request, in whatever spelling, says `forged`.
fn carries_forgery(request: &Request) -> Option<String> {
    let mut fields = request.head.fields.iter().chain(&request.body.trailers);
    fields.find(|(_, value)| value.contains("forged")).map(|(name, value)| format!("{name}: {value}"))
}

#[test]
fn identity_headers_are_ours_alone() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let token = KEYS.token(&reader());
    let auth = format!("Authorization: Bearer {token}\r\n");

    let own = ["user", "principal", "roles", "scopes", "on-behalf-of", "request-id", "assertion", "anything"];
    let own = own.map(|name| format!("x-portcullis-{name}"));
    let reserved = ["x-forwarded-user", "x-auth-request-user", "remote-user", "x-user-id", "x-remote-user"].map(str::to_owned);
    for name in own.iter().chain(&reserved) {
        for spelling in spellings(name) {
            for (target, auth) in [(GATED, auth.as_str()), (OPEN, "")] {
                let lines = format!("{auth}{spelling}: forged\r\n{spelling}: forged, forged\r\n");
                let what = format!("{spelling} on {target}");
                let case = if target == OPEN { 144 } else { 132 };
                if let Some(seen) = table.row(case, &what, &with_lines("GET", target, &lines), Forwarded)
                    && let Some(field) = carries_forgery(&seen)
                {
                    table.fault(case, &what, &format!("the upstream heard `{field}`"));
                }
            }
        }
    }

    let lines = format!("{auth}X-Portcullis-User: forged\r\nx-portcullis-user: forged\r\n");
    let seen = table.row(131, "our value replaces theirs", &with_lines("GET", GATED, &lines), Forwarded);
    if let Some(seen) = seen {
        for (name, value) in [("x-portcullis-user", "rita"), ("x-portcullis-roles", "reader"), ("x-portcullis-scopes", "documents.read documents.write")] {
            let heard: Vec<_> = seen.head.fields.iter().filter(|(other, _)| canonical(other) == name).collect();
            if heard.len() != 1 || heard[0].1 != value {
                table.fault(131, name, &format!("expected once `{value}`, heard {heard:?}"));
            }
        }
        let principal = seen.head.all("x-portcullis-principal");
        if principal.len() != 1 || !principal[0].contains("Depot::User") || !principal[0].contains("rita") {
            table.fault(131, "x-portcullis-principal", &format!("heard {principal:?}"));
        }
        if seen.head.all("x-portcullis-request-id").len() != 1 {
            table.fault(131, "x-portcullis-request-id", "not there once");
        }
    }

    for (what, lines) in [
        ("twice", "x-portcullis-user: forged\r\nx-portcullis-user: rita\r\n"),
        ("in a list", "x-portcullis-user: rita, forged\r\n"),
        ("twice, each in its spelling", "X-Portcullis-User: forged\r\nx_portcullis_user: rita\r\nX.Portcullis.User: rita\r\n"),
    ] {
        if let Some(seen) = table.row(133, what, &with_lines("GET", GATED, &format!("{auth}{lines}")), Forwarded) {
            let heard: Vec<_> = seen.head.fields.iter().filter(|(name, _)| canonical(name) == "x-portcullis-user").collect();
            if heard.len() != 1 || heard[0].1 != "rita" {
                table.fault(133, what, &format!("expected once `rita`, heard {heard:?}"));
            }
        }
    }

    let bare = KEYS.token(&with(&claims("ed", &["editor"]), json!({"scope": null})));
    let lines = format!("Authorization: Bearer {bare}\r\nx-portcullis-scopes: forged\r\nx-portcullis-on-behalf-of: forged\r\n");
    if let Some(seen) = table.row(134, "claims that the token lacks", &with_lines("PUT", GATED, &lines), Forwarded) {
        for name in ["x-portcullis-scopes", "x-portcullis-on-behalf-of"] {
            if seen.head.all(name).iter().any(|value| !value.is_empty()) {
                table.fault(134, name, &format!("heard {:?}", seen.head.all(name)));
            }
        }
    }
    if let Some(seen) = table.row(144, "an open route has no identity", &with_lines("GET", OPEN, &auth), Forwarded) {
        for name in ["x-portcullis-user", "x-portcullis-principal", "x-portcullis-roles", "authorization"] {
            if !seen.head.all(name).is_empty() {
                table.fault(144, name, "should not be there");
            }
        }
    }
    table.row(132, "a space behind the name", &with_lines("GET", OPEN, "x-portcullis-user : forged\r\n"), Closed(400, "invalid_request"));

    // Case 135: a trailer is a header that comes late.
    let chunked = format!(
        "POST {GATED} HTTP/1.1\r\nHost: service\r\n{}Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: x-portcullis-user, x-checksum, authorization\r\n\r\n\
         3\r\nabc\r\n0\r\nx-portcullis-user: forged\r\nX_Portcullis_Roles: forged\r\nauthorization: forged\r\nx-checksum: 900150983cd24fb0\r\n\r\n",
        format_args!("Authorization: Bearer {}\r\n", KEYS.token(&claims("ed", &["editor"])))
    );
    if let Some(seen) = table.row(135, "in trailers", chunked.as_bytes(), Forwarded) {
        if let Some(field) = carries_forgery(&seen) {
            table.fault(135, "in trailers", &format!("the upstream heard `{field}`"));
        }
        if !seen.body.trailers.iter().any(|(name, value)| name.eq_ignore_ascii_case("x-checksum") && value == "900150983cd24fb0") {
            table.fault(135, "an innocent trailer", &format!("was lost: {:?}", seen.body.trailers));
        }
    }

    let role = KEYS.token(&with(&reader(), json!({"roles": ["reader", "rôle"]})));
    table.row(140, "a role beyond ASCII", &bearer("GET", GATED, &role), BadToken("invalid_token"));
    table.row(
        140,
        "a subject with a line break",
        &bearer("GET", GATED, &KEYS.token(&with(&reader(), json!({"sub": "r\nx-portcullis-roles: admin"})))),
        BadToken("invalid_token"),
    );
    table.finish();
}

#[test]
fn connection_and_hop_by_hop_headers() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let mut table = Table::new(&sidecar, &upstream);
    let auth = format!("Authorization: Bearer {}\r\n", KEYS.token(&reader()));
    let gated = |lines: &str| with_lines("GET", GATED, &format!("{auth}{lines}"));
    let refused = Refused(400, "invalid_request");

    for nominated in [
        "x-portcullis-user",
        "X_Portcullis_User",
        "close, authorization",
        "close, authorization, x-forwarded-for",
        "x-forwarded-for",
        "host",
        "content-length",
        "transfer-encoding",
        "cookie",
        "via",
        "close, Host",
        "x-portcullis-request-id",
    ] {
        let case = if nominated.contains('-') { 136 } else { 137 };
        table.row(case, nominated, &gated(&format!("Connection: {nominated}\r\n")), refused);
    }
    table.row(136, "a second Connection line", &gated("Connection: keep-alive\r\nConnection: x-portcullis-user\r\n"), refused);
    table.row(136, "not a token", &gated("Connection: a b\r\n"), refused);

    let lines = "Connection: keep-alive, x-custom\r\nx-custom: hop\r\nKeep-Alive: timeout=5\r\nTE: gzip\r\nProxy-Connection: keep-alive\r\n\
                 Proxy-Authenticate: Basic\r\nProxy-Authorization: Basic dTpw\r\nx-end-to-end: kept\r\n";
    if let Some(seen) = table.row(138, "hop-by-hop headers", &gated(lines), Forwarded) {
        for name in ["x-custom", "keep-alive", "te", "proxy-connection", "proxy-authenticate", "proxy-authorization", "upgrade", "authorization"] {
            if !seen.head.all(name).is_empty() {
                table.fault(138, name, &format!("reached the upstream: {:?}", seen.head.all(name)));
            }
        }
        if seen.head.get("x-end-to-end") != Some("kept") {
            table.fault(138, "x-end-to-end", "was lost");
        }
        if seen.head.get("via").is_none_or(|via| !via.starts_with("1.1 ")) {
            table.fault(138, "via", &format!("{:?}", seen.head.all("via")));
        }
    }
    if let Some(seen) = table.row(138, "TE: trailers", &gated("Connection: te\r\nTE: gzip, trailers\r\n"), Forwarded)
        && seen.head.get("te").is_some_and(|te| te != "trailers")
    {
        table.fault(138, "TE: trailers", &format!("heard {:?}", seen.head.get("te")));
    }
    if let Some(seen) =
        table.row(158, "an offer of h2c", &gated("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), Forwarded)
    {
        for name in ["upgrade", "http2-settings", "connection"] {
            if seen
                .head
                .all(name)
                .iter()
                .any(|value| value.to_ascii_lowercase().contains("h2c") || value.to_ascii_lowercase().contains("upgrade") || value.starts_with("AAM"))
            {
                table.fault(158, name, "reached the upstream");
            }
        }
    }

    let lines = "X-Forwarded-For: 6.6.6.6 forged\r\nX-Forwarded-Host: forged.test\r\nX-Forwarded-Proto: https-forged\r\nX-Forwarded-Port: forged\r\n\
                 X-Forwarded-Prefix: /forged\r\nX-Forwarded-Uri: /forged\r\nX-Forwarded-Method: forged\r\nX-Original-URL: /forged\r\n\
                 X-Rewrite-URL: /forged\r\nForwarded: for=forged\r\nX-Real-IP: forged\r\nX_Forwarded_For: forged\r\nX.Forwarded.For: forged\r\n\
                 X-HTTP-Method-Override: forged\r\nX-Method-Override: forged\r\nX-HTTP-Method: forged\r\nProxy: http://forged\r\n";
    for (case, target, auth) in [(139, GATED, auth.as_str()), (144, OPEN, "")] {
        if let Some(seen) = table.row(case, "hearsay", &with_lines("GET", target, &format!("{auth}{lines}")), Forwarded) {
            if let Some(field) = carries_forgery(&seen) {
                table.fault(case, target, &format!("the upstream heard `{field}`"));
            }
            for (name, value) in [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-host", "service"), ("x-forwarded-proto", "http")] {
                if seen.head.all(name) != [value] {
                    table.fault(case, name, &format!("heard {:?}", seen.head.all(name)));
                }
            }
        }
    }
    // Case 141: no other method than the one that was decided about.
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_Http_Method_Override", "X.Method.Override"] {
        let what = format!("{name} in a request");
        if let Some(seen) = table.row(141, &what, &gated(&format!("{name}: DELETE\r\n")), Forwarded)
            && (seen.head.method() != "GET" || seen.head.fields.iter().any(|(_, value)| value == "DELETE"))
        {
            table.fault(141, &what, &format!("the upstream heard {:?}", seen.head));
        }
    }
    if let Some(seen) = table.row(141, "_method in the query", &with_lines("GET", &format!("{GATED}?_method=DELETE"), &auth), Forwarded)
        && seen.head.line != format!("GET {GATED}?_method=DELETE HTTP/1.1")
    {
        table.fault(141, "_method in the query", "the query is not ours to change");
    }
    table.row(
        141,
        "a method that may, named by one that may not",
        &with_lines("DELETE", GATED, &format!("{auth}X-HTTP-Method-Override: GET\r\n")),
        Refused(403, "forbidden"),
    );
    // Case 143: the token is for us alone.
    for (target, what) in [(GATED, "a decided route"), (OPEN, "a public route")] {
        if let Some(seen) = table.row(143, what, &with_lines("GET", target, &auth), Forwarded)
            && seen.head.fields.iter().any(|(_, value)| value.contains("eyJ"))
        {
            table.fault(143, what, "the upstream was told the token");
        }
    }
    table.row(174, "many hops in Via", &gated(&format!("Via: {}\r\n", ["1.1 a"; 33].join(", "))), Refused(508, "loop_detected"));
    table.finish();
}

#[test]
fn headers_of_trusted_peers() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/forwarded", json!({"trusted_peers": ["127.0.0.0/8", "10.0.0.0/8"]}));
    let sidecar = Sidecar::start(&workspace);
    let lines = "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.1.2.3\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\n";
    assert_eq!(get(sidecar.proxy(), OPEN, lines).status, 200);
    let seen = upstream.last().head;
    assert_eq!(seen.all("x-forwarded-for"), ["192.0.2.7, 10.1.2.3, 127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.all("x-forwarded-host"), ["shop.test"]);
}

#[test]
fn headers_of_the_response() {
    let upstream = Upstream::with(|exchange| {
        if exchange.read_request().is_some() {
            exchange.write(
                b"HTTP/1.1 200 OK\r\nServer: leaky/1.0\r\nX-Powered-By: leaky\r\nx-portcullis-user: forged\r\nX_Portcullis_Roles: forged\r\n\
                  X-Forwarded-User: forged\r\nConnection: keep-alive, x-hop\r\nx-hop: forged\r\nKeep-Alive: timeout=forged\r\n\
                  Proxy-Authenticate: forged\r\nAlt-Svc: forged\r\nUpgrade: forged\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                  WWW-Authenticate: Bearer realm=\"theirs\"\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 2\r\n\r\nok",
            );
        }
    });
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let answer = get(sidecar.proxy(), OPEN, "");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let leaked: Vec<_> = answer.head.fields.iter().filter(|(_, value)| value.contains("forged")).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"]);
    for once in ["strict-transport-security", "via", "content-length"] {
        assert_eq!(answer.head.all(once).len(), 1, "{once}");
    }
    cases::held(142, "the service's own headers, without ours");
}

#[test]
fn the_token_is_passed_on_only_if_told_so() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address())
        .set("/upstream/forward_token", json!(true))
        .set("/upstream/preserve_host", json!(true))
        .set("/upstream/strip_headers", json!(["x-tenant"]));
    let sidecar = Sidecar::start(&workspace);
    let token = KEYS.token(&reader());
    let lines = format!("Authorization: Bearer {token}\r\nX_Tenant: forged\r\n");
    assert_eq!(get(sidecar.proxy(), GATED, &lines).status, 200);
    let seen = upstream.last();
    assert_eq!(seen.head.all("authorization"), [format!("Bearer {token}")]);
    assert_eq!(seen.head.all("host"), ["service"]);
    assert_eq!(carries_forgery(&seen), None);
    cases::held(143, cases::FORWARDED);
}

/// Two proxies, each the other's upstream.
#[test]
fn loops_end() {
    let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let second = Sidecar::start(&Workspace::new(first));
    let first = Sidecar::start(&Workspace::new(second.proxy()).set("/listen/proxy", json!(first.to_string())));
    let answer = get(first.proxy(), OPEN, "");
    assert_eq!((answer.status, answer.code().as_str()), (508, "loop_detected"));
    cases::held(174, "508 loop_detected");
}

/// What one response leaves on a connection must not be read as the start of the next, and a refusal ends it.
#[test]
fn requests_in_a_row_on_one_connection() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let token = KEYS.token(&reader());
    let mut client = Client::connect(sidecar.proxy());
    for round in 0..10 {
        let answer = client.send(&bearer("GET", GATED, &token)).answer().unwrap();
        assert_eq!(answer.status, 200, "round {round}");
    }
    let refused = client.send(&bearer("GET", "/v1/documents/secret", &token)).answer().unwrap();
    assert_eq!((refused.status, refused.head.get("connection")), (403, Some("close")));
    assert_eq!(upstream.heads().len(), 10);
    assert_eq!(upstream.accepted(), 1, "the connection to the upstream is used again");
    let head = exchange(sidecar.proxy(), &bearer("HEAD", GATED, &token)).unwrap();
    assert_eq!((head.status, head.head.get("content-length")), (200, Some("2")));
}

/// Case 197: a browser asks without credentials whether it may. Only a service whose routes say so is asked, and never with any.
#[test]
fn preflights_are_the_services_where_a_route_says_so() {
    let upstream = Upstream::start();
    let workspace = Workspace::new(upstream.address()).set("/routes/9", json!({"match": "OPTIONS /v1/documents/{id}", "public": true}));
    let sidecar = Sidecar::start(&workspace);
    let mut table = Table::new(&sidecar, &upstream);
    let asks = "Origin: https://shop.test\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: authorization\r\n";
    let with_token = format!("{asks}Authorization: Bearer {}\r\nx-portcullis-user: forged\r\n", KEYS.token(&reader()));
    for (what, lines) in [("without a token", asks), ("with a token", with_token.as_str())] {
        if let Some(seen) = table.row(197, what, &with_lines("OPTIONS", GATED, lines), Forwarded) {
            for name in ["authorization", "x-portcullis-user"] {
                if !seen.head.all(name).is_empty() {
                    table.fault(197, what, &format!("{name} reached the upstream"));
                }
            }
            if seen.head.get("origin") != Some("https://shop.test") {
                table.fault(197, what, "the origin was lost");
            }
        }
        table.row(197, &format!("{what}, where no route says so"), &with_lines("OPTIONS", "/v1/scoped/x", lines), Refused(403, "route_not_mapped"));
    }
    table.row(1, "the request that it asks about", &with_lines("PUT", GATED, "Origin: https://shop.test\r\n"), Expect::NoCredentials);
    table.finish();
}

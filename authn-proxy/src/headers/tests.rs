use http::header::{AUTHORIZATION, CONNECTION, TE, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue};
use identity::Identity;
use proptest::prelude::*;

use super::*;

const ALL: &[&[&str]] = &[
    reserved::IDENTITY,
    reserved::PROVENANCE,
    reserved::OVERRIDES,
    reserved::CONNECTION,
];

fn rules(edit: impl FnOnce(&mut UpstreamConfig)) -> HeaderRules {
    let mut config = UpstreamConfig::new("http://127.0.0.1:1");
    edit(&mut config);
    HeaderRules::new(&config).unwrap()
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

/// What is left of a request's headers.
fn passed(rules: &HeaderRules, lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = headers(lines);
    let options = rules.connection(&headers).unwrap();
    rules.strip_request(&mut headers, &options);
    headers
}

#[test]
fn identity_headers_do_not_pass_in_any_spelling() {
    let rules = rules(|config| config.strip_headers = vec!["x-tenant".into(), "x-shop-*".into()]);
    for name in [
        "X-User-Id",
        "x_user_id",
        "X.User.Id",
        "x-user.ID",
        "X_User-Id",
        "x~user~id",
        "X-Portcullis-User",
        "x_portcullis.roles",
        "x-portcullis-",
        "X-Portcullis-Anything-At-All",
        "X-Auth-Request-Email",
        "x-forwarded-user",
        "X-Forwarded-Access-Token",
        "x-amzn-oidc-data",
        "Remote-User",
        "remote_user",
        "X-Tenant",
        "x_tenant",
        "X.Shop.Id",
    ] {
        assert!(passed(&rules, &[(name, "admin")]).is_empty(), "{name}");
        let mut response = headers(&[(name, "admin")]);
        rules.strip_response(&mut response);
        assert!(response.is_empty(), "{name} came back");
    }
}

#[test]
fn provenance_overrides_and_hop_by_hop_headers_do_not_pass() {
    let rules = rules(|_| ());
    for name in [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "Forwarded",
        "X-Real-IP",
        "X-Original-URL",
        "X_Rewrite_URL",
        "True-Client-IP",
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "x.http.method",
        "Proxy",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Transfer-Encoding",
        "transfer_encoding",
        "Content-Length",
        "content.length",
        "Host",
        "Upgrade",
        "HTTP2-Settings",
        "Expect",
        "Authorization",
    ] {
        assert!(passed(&rules, &[(name, "1")]).is_empty(), "{name}");
    }
}

#[test]
fn what_services_need_passes() {
    let rules = rules(|_| ());
    for name in [
        "Accept",
        "Accept-Encoding",
        "Cookie",
        "Content-Type",
        "Content-Encoding",
        "If-None-Match",
        "Origin",
        "Range",
        "Referer",
        "User-Agent",
        "X-User-Agent",
        "X-Request-Id",
        "X-Requested-With",
        "X-Tenant-Id",
        "X-Portcullisuser",
        "Traceparent",
        "X-Users",
        "Via",
    ] {
        assert_eq!(passed(&rules, &[(name, "1")]).len(), 1, "{name}");
    }
}

#[test]
fn the_token_passes_only_when_asked_for() {
    let line = [("Authorization", "Bearer t")];
    assert!(!passed(&rules(|_| ()), &line).contains_key(AUTHORIZATION));
    let forwarding = rules(|config| config.forward_token = true);
    assert!(passed(&forwarding, &line).contains_key(AUTHORIZATION));
}

#[test]
fn every_line_of_a_header_goes() {
    let rules = rules(|_| ());
    let left = passed(
        &rules,
        &[
            ("X-User-Id", "a"),
            ("x-user-id", "b"),
            ("Accept", "c"),
            ("Accept", "d"),
        ],
    );
    assert_eq!(left.get_all("accept").iter().count(), 2);
    assert_eq!(left.len(), 2);
}

#[test]
fn nominated_headers_end_here() {
    let rules = rules(|_| ());
    let left = passed(
        &rules,
        &[
            ("Connection", "keep-alive, X-Hop"),
            ("Connection", "close"),
            ("X-Hop", "1"),
            ("X-Stay", "1"),
        ],
    );
    assert_eq!(left, headers(&[("X-Stay", "1")]));
}

#[test]
fn protected_headers_cannot_be_nominated() {
    let rules = rules(|config| config.strip_headers = vec!["x-tenant".into()]);
    for value in [
        "x-user-id",
        "close, authorization, x-forwarded-for",
        "X-Portcullis-User",
        "x_portcullis_user",
        "host",
        "content-length",
        "Transfer-Encoding",
        "cookie",
        "via",
        "x-tenant",
        "connection",
        "content-type",
    ] {
        let fault = rules.connection(&headers(&[("Connection", value)]));
        assert_eq!(fault, Err(ConnectionFault::Protected), "{value}");
        let second = rules.connection(&headers(&[("Connection", "close"), ("Connection", value)]));
        assert_eq!(second, Err(ConnectionFault::Protected), "{value}");
    }
    for value in ["a b", "x-hop;q=1", "\"close\""] {
        let fault = rules.connection(&headers(&[("Connection", value)]));
        assert_eq!(fault, Err(ConnectionFault::NotAToken), "{value}");
    }
    let many = vec!["x-hop"; 40].join(",");
    let fault = rules.connection(&headers(&[("Connection", &many)]));
    assert_eq!(fault, Err(ConnectionFault::TooMany));
}

#[test]
fn te_says_trailers_or_nothing() {
    let http1 = rules(|_| ());
    let left = passed(&http1, &[("TE", "gzip, trailers")]);
    assert_eq!(left, headers(&[("TE", "trailers"), ("Connection", "te")]));
    assert!(passed(&http1, &[("TE", "gzip")]).is_empty());
    let http2 = rules(|config| config.protocol = Protocol::Http2);
    let left = passed(&http2, &[("TE", "trailers")]);
    assert!(left.contains_key(TE) && !left.contains_key(CONNECTION));
}

#[test]
fn crumbs_of_a_cookie_become_one_line() {
    let crumbs = [("Cookie", "a=b"), ("Cookie", "c=d"), ("Cookie", "e=f; g=h")];
    let left = passed(&rules(|_| ()), &crumbs);
    assert_eq!(left, headers(&[("Cookie", "a=b; c=d; e=f; g=h")]));
    let http2 = rules(|config| config.protocol = Protocol::Http2);
    assert_eq!(passed(&http2, &crumbs).len(), 3);
}

#[test]
fn only_harmless_trailers_are_announced_and_passed() {
    let rules = rules(|_| ());
    let left = passed(
        &rules,
        &[
            ("Trailer", "X-Sum, X-User-Id, Content-Length"),
            ("Trailer", "grpc-status, a b"),
        ],
    );
    assert_eq!(left[TRAILER], "x-sum, grpc-status");
    assert!(passed(&rules, &[("Trailer", "x-user-id")]).is_empty());

    let sent = [
        ("X-Sum", "1"),
        ("X_User_Id", "admin"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "5"),
        ("Host", "other"),
        ("Set-Cookie", "a=b"),
        ("Authorization", "Bearer t"),
        ("If-Match", "x"),
        ("grpc-status", "0"),
    ];
    let kept = headers(&[("X-Sum", "1"), ("grpc-status", "0")]);
    let mut trailers = headers(&sent);
    rules.strip_request_trailers(&mut trailers);
    assert_eq!(trailers, kept);
    let mut trailers = headers(&sent[..4]);
    trailers.extend(headers(&sent[5..]));
    rules.strip_response_trailers(&mut trailers);
    assert_eq!(trailers, kept);
}

#[test]
fn responses_keep_what_is_the_clients() {
    let rules = rules(|_| ());
    let mut response = headers(&[
        ("Content-Length", "3"),
        ("Set-Cookie", "a=b"),
        ("Set-Cookie", "c=d"),
        ("WWW-Authenticate", "Basic"),
        ("Server", "app"),
        ("Connection", "x-hop, set-cookie, close"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Alt-Svc", "h2=\":444\""),
        ("Upgrade", "h2c"),
    ]);
    rules.strip_response(&mut response);
    assert_eq!(
        response,
        headers(&[
            ("Content-Length", "3"),
            ("Set-Cookie", "a=b"),
            ("Set-Cookie", "c=d"),
            ("WWW-Authenticate", "Basic"),
            ("Server", "app"),
        ])
    );
}

#[test]
fn the_fixed_lists_are_well_formed() {
    for pattern in ALL.iter().copied().flatten() {
        let patterns = [(*pattern).to_owned()];
        assert!(
            ReservedNames::fixed(&[]).with(&patterns).is_ok(),
            "{pattern}"
        );
        assert_eq!(*pattern, pattern.to_lowercase());
    }
}

#[test]
fn patterns_that_name_nothing_are_refused() {
    for (pattern, error) in [
        ("", PatternError::NotAName),
        ("*", PatternError::NotAName),
        ("x-*-id", PatternError::NotAName),
        ("a b", PatternError::NotAName),
        ("x:", PatternError::NotAName),
        ("é", PatternError::NotAName),
        (&"x".repeat(129), PatternError::TooLong),
    ] {
        let patterns = ["x-fine".to_owned(), pattern.to_owned()];
        let fault = ReservedNames::fixed(&[]).with(&patterns).unwrap_err();
        assert_eq!(fault, (1, error), "{pattern}");
    }
}

#[test]
fn long_names_are_compared_too() {
    let longest = "x".repeat(128);
    let names = ReservedNames::fixed(&[])
        .with(&[longest.clone(), "x-long-*".to_owned()])
        .unwrap();
    assert!(names.contains(&longest));
    assert!(!names.contains(&"x".repeat(129)));
    assert!(!names.contains(&"x".repeat(127)));
    assert!(names.contains(&format!("X_Long.{longest}{longest}")));
}

fn identity(id: &str, groups: &[&str], scopes: &[&str]) -> Identity {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    Identity {
        principal_id: id.into(),
        groups: owned(groups),
        scopes: owned(scopes),
        ..crate::fixture::identity()
    }
}

#[test]
fn identity_values_are_encoded_and_single() {
    for (id, written) in [
        ("alice", "alice"),
        ("a,b", "a%2Cb"),
        ("100%", "100%25"),
        ("zoë", "zo%C3%AB"),
        ("a\r\nX-Admin: 1", "a%0D%0AX-Admin: 1"),
        ("tab\there", "tab%09here"),
        ("nul\0", "nul%00"),
    ] {
        let mut headers = HeaderMap::new();
        let principal = format!("User::{id:?}");
        set_identity(
            &mut headers,
            &identity(id, &["r,1", "r 2"], &["a", "b%"]),
            &principal,
        );
        assert_eq!(headers["x-portcullis-user"], written);
        assert_eq!(headers["x-portcullis-roles"], "r%2C1,r 2");
        assert_eq!(headers["x-portcullis-scopes"], "a b%25");
        assert_eq!(headers.len(), 4);
    }
}

#[test]
fn what_the_caller_lacks_is_absent() {
    let mut headers = HeaderMap::new();
    set_identity(
        &mut headers,
        &identity("alice", &[], &[]),
        &"User::\"alice\"",
    );
    assert_eq!(headers["x-portcullis-principal"], "User::\"alice\"");
    assert_eq!(headers.len(), 2);
}

/// The canonical form, said once more in the plainest way.
fn canonical(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect()
}

fn is_reserved(name: &str) -> bool {
    let form = canonical(name);
    ALL.iter()
        .copied()
        .flatten()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => form.starts_with(prefix),
            None => form == *pattern,
        })
}

/// Names near the reserved ones, in spellings a client may choose.
fn names() -> impl Strategy<Value = String> {
    let known: Vec<&'static str> = ALL.iter().copied().flatten().copied().collect();
    let near = (proptest::sample::select(known), "[a-z]{0,3}", any::<u64>()).prop_map(
        |(pattern, tail, spelling)| {
            let name = format!("{}{tail}", pattern.trim_end_matches('*'));
            name.chars()
                .enumerate()
                .map(|(at, c)| match (c, spelling >> (at % 61) & 7) {
                    ('-', 1) => '_',
                    ('-', 2) => '.',
                    ('-', 3) => '~',
                    (c, 4 | 5) => c.to_ascii_uppercase(),
                    (c, _) => c,
                })
                .collect()
        },
    );
    prop_oneof![near, "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,24}"]
}

proptest! {
    #[test]
    fn no_reserved_name_is_left(names in proptest::collection::vec(names(), 0..24)) {
        let rules = rules(|_| ());
        let mut headers = HeaderMap::new();
        for name in &names {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("v"));
        }
        let sent = headers.clone();
        headers.remove(CONNECTION);
        rules.strip_request(&mut headers, &ConnectionOptions::default());
        for name in headers.keys() {
            prop_assert!(!is_reserved(name.as_str()), "{name} is left");
        }
        for name in sent.keys() {
            let passes = !is_reserved(name.as_str()) && *name != AUTHORIZATION;
            prop_assert_eq!(passes, headers.contains_key(name), "{}", name);
        }
        let mut trailers = sent;
        rules.strip_request_trailers(&mut trailers);
        for name in trailers.keys() {
            prop_assert!(!is_reserved(name.as_str()), "{name} is left in trailers");
        }
    }
}

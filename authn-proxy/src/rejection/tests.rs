use http_body_util::BodyExt as _;
use serde_json::Value;

use super::*;
use crate::config::RealmConfig;

/// A response as its caller sees it: status, the headers that matter, the body.
fn seen(response: Response<Full<Bytes>>) -> (u16, Vec<(&'static str, String)>, Value) {
    let headers = [
        ("www-authenticate", WWW_AUTHENTICATE),
        ("retry-after", RETRY_AFTER),
        ("allow", ALLOW),
    ]
    .into_iter()
    .filter_map(|(name, header)| {
        Some((
            name,
            response.headers().get(header)?.to_str().unwrap().to_owned(),
        ))
    })
    .collect();
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let status = response.status().as_u16();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let body = runtime
        .block_on(response.into_body().collect())
        .unwrap()
        .to_bytes();
    (status, headers, serde_json::from_slice(&body).unwrap())
}

fn check(reason: Reason, status: u16, code: &str, headers: &[(&'static str, &str)]) {
    let realm = Realm::new(&RealmConfig::default()).unwrap();
    let rejection = Rejection::new(reason).because("the inner cause");
    assert_eq!(
        (rejection.status().as_u16(), rejection.code()),
        (status, code)
    );
    let (seen_status, seen_headers, body) = seen(rejection.into_response(&realm, "r-1"));
    assert_eq!(seen_status, status);
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    assert_eq!(seen_headers, headers, "{code}");
    assert_eq!(body["error"]["code"], code);
    assert!(body["error"]["message"].is_string() && body["error"]["details"].is_object());
    assert_eq!(body["request_id"], "r-1");
    let again = status == 503 || status == 429;
    assert_eq!(body["retry"]["retryable"], again);
    assert_eq!(body["retry"]["retry_after"].is_u64(), again);
    assert!(!body.to_string().contains("inner cause"));
}

#[test]
fn each_reason_has_one_face() {
    const PLAIN: &str = r#"Bearer realm="portcullis""#;
    const INVALID: &str = r#"Bearer realm="portcullis", error="invalid_token""#;
    const SCOPE: &str = r#"Bearer realm="portcullis", error="insufficient_scope", scope="a b""#;
    let ambiguous = AmbiguousPath {
        reason: "a dot segment",
    };
    let scopes = vec!["a".to_owned(), "b".to_owned()];

    check(
        Reason::MissingToken,
        401,
        "missing_token",
        &[("www-authenticate", PLAIN)],
    );
    for (reason, code) in [
        (Reason::InvalidToken, "invalid_token"),
        (Reason::TokenExpired, "token_expired"),
        (Reason::TokenNotYetValid, "token_not_yet_valid"),
        (Reason::TokenTooLarge, "token_too_large"),
    ] {
        check(reason, 401, code, &[("www-authenticate", INVALID)]);
    }
    check(Reason::InvalidRequest, 400, "invalid_request", &[]);
    check(Reason::AmbiguousPath(ambiguous), 400, "ambiguous_path", &[]);
    check(
        Reason::MethodNotAllowed,
        405,
        "method_not_allowed",
        &[("allow", ALLOWED_METHODS)],
    );
    check(Reason::NotImplemented, 501, "not_implemented", &[]);
    check(Reason::Forbidden, 403, "forbidden", &[]);
    check(
        Reason::InsufficientScope(scopes),
        403,
        "insufficient_scope",
        &[("www-authenticate", SCOPE)],
    );
    check(Reason::RouteNotMapped, 403, "route_not_mapped", &[]);
    for (reason, code, seconds) in [
        (Reason::Overloaded, "overloaded", "1"),
        (Reason::KeysUnavailable, "keys_unavailable", "5"),
        (Reason::KeysRefreshing, "keys_refreshing", "5"),
        (
            Reason::SessionStoreUnavailable,
            "session_store_unavailable",
            "5",
        ),
        (Reason::AuthzUnavailable, "authz_unavailable", "5"),
    ] {
        check(reason, 503, code, &[("retry-after", seconds)]);
    }
    check(
        Reason::RateLimited(12),
        429,
        "rate_limited",
        &[("retry-after", "12")],
    );
    check(
        Reason::UpstreamUnavailable,
        502,
        "upstream_unavailable",
        &[],
    );
    check(Reason::UpstreamTimeout, 504, "upstream_timeout", &[]);
    check(Reason::LoopDetected, 508, "loop_detected", &[]);
    check(Reason::BodyTooLarge, 413, "body_too_large", &[]);
    check(Reason::RequestTimeout, 408, "request_timeout", &[]);
}

#[test]
fn faults_of_tokens_become_their_reasons() {
    for (error, reason) in [
        (TokenError::TooLarge, Reason::TokenTooLarge),
        (TokenError::Invalid("signature"), Reason::InvalidToken),
        (TokenError::Expired, Reason::TokenExpired),
        (TokenError::NotYetValid, Reason::TokenNotYetValid),
        (TokenError::KeysUnavailable, Reason::KeysUnavailable),
        (TokenError::KeysRefreshing, Reason::KeysRefreshing),
    ] {
        assert_eq!(Rejection::from(error).reason(), &reason);
    }
    for (fault, reason) in [
        (CredentialFault::Missing, Reason::MissingToken),
        (CredentialFault::Malformed("two"), Reason::InvalidRequest),
        (CredentialFault::NotAToken("empty"), Reason::InvalidToken),
    ] {
        assert_eq!(Rejection::from(fault).reason(), &reason);
    }
    assert_eq!(
        Rejection::from(TokenError::Invalid("signature")).cause(),
        Some("signature")
    );
}

#[test]
fn listener_faults_use_the_same_envelope() {
    for (status, seconds) in [
        (StatusCode::BAD_REQUEST, None),
        (StatusCode::SERVICE_UNAVAILABLE, Some(1)),
    ] {
        let fault = listener::Fault {
            status,
            code: "some_code",
            message: "some message",
        };
        let (seen_status, _, body) = seen(render_fault(&fault, "r-2").map(Full::new));
        assert_eq!(seen_status, status.as_u16());
        assert_eq!(body["error"]["code"], "some_code");
        assert_eq!(body["error"]["message"], "some message");
        assert_eq!(body["retry"]["retry_after"].as_u64(), seconds);
        assert_eq!(body["request_id"], "r-2");
    }
}

#[test]
fn a_realm_has_to_fit_between_quotes() {
    assert!(Realm::new(&RealmConfig("orders api".to_owned())).is_ok());
    for realm in ["a\"b", "a\\b", "a\r\nb", "é"] {
        assert!(
            Realm::new(&RealmConfig(realm.to_owned())).is_err(),
            "{realm:?}"
        );
    }
}

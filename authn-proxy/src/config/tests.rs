use std::time::Duration;

use super::*;

fn upstream(text: &str) -> Result<UpstreamConfig, Vec<String>> {
    read(&format!("upstream: {text}")).map(|whole: Whole| whole.upstream.unwrap())
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Whole {
    upstream: Option<UpstreamConfig>,
    forwarded: ForwardedConfig,
    realm: RealmConfig,
    routes: Option<RoutesConfig>,
}

/// The sections of a file, or its problems as `key: message`.
fn read(text: &str) -> Result<Whole, Vec<String>> {
    let loaded = settings::parse::<Whole>(text, "portcullis.yaml".as_ref(), &|_| None);
    if loaded.problems.is_empty() {
        return Ok(loaded.document.unwrap().value);
    }
    Err(loaded
        .problems
        .iter()
        .map(|problem| format!("{}: {}", problem.key, problem.message))
        .collect())
}

#[test]
fn every_key_but_the_url_has_a_default() {
    let config = upstream("{ url: http://127.0.0.1:3000 }").unwrap();
    assert_eq!(config.authority().unwrap(), "127.0.0.1:3000");
    assert_eq!(config.protocol, Protocol::Http1);
    assert_eq!(config.connect_timeout.0, Duration::from_millis(500));
    assert_eq!(config.response_timeout.0, Duration::from_secs(30));
    assert!(!config.forward_token && !config.preserve_host && config.strip_headers.is_empty());
    assert_eq!(config.problems(), []);

    let problems = upstream("{ protocol: http2 }").err().unwrap();
    assert!(problems[0].contains("url"), "{problems:?}");

    let whole = read("{}").unwrap();
    assert_eq!(whole.realm.0, "portcullis");
    assert!(whole.forwarded.trusted_peers.is_empty() && whole.routes.is_none());
}

#[test]
fn mistakes_name_their_key() {
    for (text, key) in [
        ("upstream: { url: 'http://a', timeout: 1s }", "upstream"),
        (
            "upstream: { url: 'http://a', protocol: http3 }",
            "upstream.protocol",
        ),
        (
            "forwarded: { trusted_peers: [10.0.0.0/33] }",
            "forwarded.trusted_peers[0]",
        ),
        (
            "routes: [{ match: GET /, public: maybe }]",
            "routes[0].public",
        ),
        (
            "routes: [{ match: GET /, resource: { type: User } }]",
            "routes[0].resource",
        ),
        ("routes: [{ matches: GET / }]", "routes[0]"),
        ("routes: { path: x }", "routes"),
        ("routes: 7", "routes"),
    ] {
        let problems = read(text).err().unwrap();
        assert!(problems[0].starts_with(key), "{text}: {problems:?}");
    }
}

#[test]
fn a_rate_limit_is_known_and_has_a_form() {
    let rate = |requests, window| {
        let requests = std::num::NonZeroU32::new(requests).unwrap();
        Some(Rate { requests, window })
    };
    for (text, address, principal, is_common) in [
        ("10/s", rate(10, 1), rate(10, 1), true),
        ("5/min", rate(5, 60), rate(5, 60), true),
        ("100/h", rate(100, 3600), rate(100, 3600), true),
        (
            "999999999/s",
            rate(999_999_999, 1),
            rate(999_999_999, 1),
            true,
        ),
        ("{ address: 5/min }", rate(5, 60), None, false),
        (
            "{ address: 5/min, principal: 10/s }",
            rate(5, 60),
            rate(10, 1),
            false,
        ),
        ("{}", None, None, false),
    ] {
        let text = format!("routes: [{{ match: GET /, rate_limit: {text} }}]");
        let Some(RoutesConfig::List(routes)) = read(&text).unwrap().routes else {
            panic!("{text}: no list");
        };
        let expected = RateLimitConfig {
            address,
            principal,
            is_common,
        };
        assert_eq!(routes[0].rate_limit, Some(expected), "{text}");
    }
    for (text, problem) in [
        (
            "{ address: 5/day }",
            "routes[0].rate_limit.address: expected a rate such as `10/s`",
        ),
        ("{ adress: 5/min }", "routes[0].rate_limit.adress: "),
    ] {
        let problems = read(&format!("routes: [{{ match: GET /, rate_limit: {text} }}]"));
        let found = problems.err().unwrap().remove(0);
        assert!(found.starts_with(problem), "{text}: {found}");
    }
    for rate in ["0/min", "5", "5/day", "-1/s", "/s", "many", "' 5/s'"] {
        let problems = read(&format!("routes: [{{ match: GET /, rate_limit: {rate} }}]"));
        let problem = problems.err().unwrap().remove(0);
        assert!(
            problem.starts_with("routes[0].rate_limit: expected a rate such as `10/s`"),
            "{rate}: {problem}"
        );
    }
}

#[test]
fn an_upstream_is_an_authority_and_nothing_more() {
    for (url, authority) in [
        ("http://localhost:3000", "localhost:3000"),
        ("http://[::1]:80/", "[::1]:80"),
        ("http://svc.local", "svc.local"),
    ] {
        assert_eq!(UpstreamConfig::new(url).authority().unwrap(), authority);
    }
    for url in [
        "",
        "localhost:3000",
        "/path",
        "https://a",
        "unix:/run/x.sock",
        "http://",
        "http://a/base",
        "http://a/?q",
        "http://a/#f",
        "http://user:pw@a",
        "http://a b",
    ] {
        assert!(UpstreamConfig::new(url).authority().is_err(), "{url}");
    }
}

#[test]
fn an_upstream_section_tells_all_its_mistakes() {
    let config = upstream("{ url: 'https://a', connect_timeout: 0s, response_timeout: 0s, strip_headers: [x-ok, 'x y'] }").unwrap();
    let keys: Vec<String> = config.problems().into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "url",
            "connect_timeout",
            "response_timeout",
            "strip_headers[1]"
        ]
    );
}

use std::path::Path;

use settings::ByteSize;

use super::*;

const POLICIES: &str = "policies: { source: { dir: policies }, schema: s.cedarschema }\n";
const ISSUER: &str = "issuers: [{ name: a, issuer: https://a.example, jwks: { url: https://a.example/jwks }, algorithms: [ES256], audiences: [app] }]\n";

fn read(text: &str) -> Read {
    let path = Path::new("/etc/portcullis/portcullis.yaml");
    validate::validate(settings::parse(text, path, &|_| None), &|_| None)
}

fn ok(text: &str) -> Config {
    let Read { config, problems } = read(text);
    assert!(problems.is_empty(), "{problems:#?}");
    config.expect("a configuration")
}

/// Keys and messages of all problems.
fn problems(text: &str) -> Vec<(String, String)> {
    read(text)
        .problems
        .into_iter()
        .map(|problem| (problem.key, problem.message))
        .collect()
}

#[track_caller]
fn refused(text: &str, key: &str, message: &str) {
    let problems = problems(text);
    assert_eq!(problems.len(), 1, "{text}: {problems:#?}");
    assert_eq!(problems[0].0, key, "{problems:#?}");
    assert!(problems[0].1.contains(message), "{problems:#?}");
}

#[test]
fn little_has_to_be_said() {
    let config = ok(POLICIES);
    assert_eq!(
        config.listen,
        Listen {
            proxy: None,
            decisions: Some("127.0.0.1:8180".parse().expect("an address")),
            telemetry: Some("127.0.0.1:9180".parse().expect("an address")),
            ..Listen::default()
        }
    );
    assert_eq!(config.decision_log.to, DecisionLogSink::Stdout);
    assert_eq!(config.decision_log.format, DecisionLogFormat::Json);
    assert_eq!(config.decision_api.batch_items, 1000);
    assert_eq!(config.limits.in_flight, 1024);
    assert_eq!(config.realm.0, "portcullis");

    let config = ok(&format!(
        "{POLICIES}upstream: {{ url: http://127.0.0.1:3000 }}"
    ));
    assert_eq!(
        config.listen.proxy.map(|at| at.to_string()).as_deref(),
        Some("0.0.0.0:8000")
    );
    let named = ok(&format!("{POLICIES}listen: {{ telemetry: 0.0.0.0:1 }}"));
    assert_eq!(named.listen.decisions, None);
}

#[test]
fn paths_are_relative_to_the_file() {
    let config = ok(concat!(
        "policies: { source: { dir: p }, schema: s.cedarschema, entities: /e.json }\n",
        "listen: { decisions: 'unix:x.sock' }\n",
        "decision_log: { to: { file: log/d.jsonl }, format: text }\n",
    ));
    assert_eq!(
        config.policies.schema.as_deref(),
        Some(Path::new("/etc/portcullis/s.cedarschema"))
    );
    assert_eq!(
        config.policies.entities.as_deref(),
        Some(Path::new("/e.json"))
    );
    assert_eq!(
        config.listen.decisions,
        Some(Address::Unix("/etc/portcullis/x.sock".into()))
    );
    assert_eq!(
        config.decision_log.to,
        DecisionLogSink::File("/etc/portcullis/log/d.jsonl".into())
    );
    assert_eq!(config.base(), Path::new("/etc/portcullis"));
    let placed = config.place(Problem {
        key: "policies.schema".into(),
        ..Problem::of_file(Path::new(""), "x")
    });
    assert_eq!(
        placed.to_string(),
        "/etc/portcullis/portcullis.yaml:1:33: policies.schema: x"
    );
}

#[test]
fn tokens_are_remembered_within_bounds() {
    assert_eq!(ok(POLICIES).tokens.cache_bytes, ByteSize::from_mib(96));
    for (text, bytes) in [("0", 0), ("64KiB", 65_536), ("16GiB", 16 << 30)] {
        let config = ok(&format!("{POLICIES}tokens: {{ cache_bytes: {text} }}"));
        assert_eq!(config.tokens.cache_bytes, ByteSize(bytes));
    }
}

#[test]
fn what_is_missing_is_told() {
    refused("", "policies", "is missing");
    refused(
        "policies: { source: { dir: p } }",
        "policies.schema",
        "allow_no_schema",
    );
    ok("policies: { source: { dir: p }, allow_no_schema: true }");
    refused(
        &format!("{POLICIES}listen: {{ proxy: 0.0.0.0:8000 }}"),
        "upstream",
        "is missing",
    );
    refused(
        &format!("{POLICIES}listen: {{}}"),
        "listen",
        "names nothing to serve",
    );
    refused(
        &format!("{POLICIES}listen: {{ decisions: 0.0.0.0:8180 }}"),
        "listen.decisions",
        "`callers` is missing",
    );
    let known = format!(
        "callers: [{{ name: ci, token_sha256: {} }}]\n",
        "0a".repeat(32)
    );
    ok(&format!(
        "{POLICIES}{known}listen: {{ decisions: 0.0.0.0:8180 }}"
    ));
    let route = "routes: [{ match: GET /, action: a, resource: { type: T, id: x } }]\n";
    refused(&format!("{POLICIES}{route}"), "issuers", "is missing");
    ok(&format!("{POLICIES}{route}{ISSUER}"));
    ok(&format!(
        "{POLICIES}routes: [{{ match: GET /, public: true }}]"
    ));
}

#[test]
fn what_was_refused_is_not_missing() {
    for text in [
        "policies: 5\n".to_owned(),
        format!("{POLICIES}listen: {{ proxy: 0.0.0.0:1 }}\nupstream: 5\n"),
        format!("{POLICIES}listen: {{ decisions: 0.0.0.0:1 }}\ncallers: [5]\n"),
        format!("{POLICIES}listen: {{ decisions: nowhere }}\n"),
        "policies: { source: { dir: p }, schema: 5 }\n".to_owned(),
        format!(
            "{POLICIES}routes: [{{ match: GET /, action: a, resource: {{ type: T, id: x }} }}]\nissuers: 5\n"
        ),
        format!("{POLICIES}{}", ISSUER.replace("[app]", "[5]")),
    ] {
        let problems = problems(&text);
        assert_eq!(problems.len(), 1, "{text}: {problems:#?}");
    }
}

#[test]
fn what_is_not_served_is_refused() {
    let unavailable = "is not available in this version";
    for (key, text) in [
        (
            "fallback",
            "fallback: { avp: { policy_store_id: p, region: r, deadline: 300ms } }",
        ),
        (
            "listen.admin",
            "listen: { decisions: 127.0.0.1:1, admin: 127.0.0.1:2 }",
        ),
    ] {
        refused(&format!("{POLICIES}{text}"), key, unavailable);
    }
    refused(
        "policies: { source: { avp: { policy_store_id: p, region: r } }, schema: s }",
        "policies.source.avp",
        unavailable,
    );
    refused(
        "policies: { source: { bundle: { url: u, public_key: k } }, schema: s }",
        "policies.source.bundle",
        unavailable,
    );
    // A typo in them is a typo all the same.
    assert!(
        problems(&format!("{POLICIES}redis: {{ ulr: x }}"))
            .iter()
            .any(|(key, message)| key == "redis.ulr" && message.contains("did you mean `url`?"))
    );
    for (key, text) in [
        ("session", "session: redis"),
        ("user_status", "user_status: cognito"),
        ("user_status", "user_status: redis"),
    ] {
        let text = format!(
            "{POLICIES}{}",
            ISSUER.replace("name: a,", &format!("name: a, {text},"))
        );
        let problems = problems(&text);
        assert!(
            problems
                .iter()
                .any(|(found, _)| *found == format!("issuers[0].{key}")),
            "{problems:#?}"
        );
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let upstream = "upstream: { url: http://127.0.0.1:8000 }\n";
    for at in ["0.0.0.0:8000", "127.0.0.1:8000", "localhost:8000"] {
        refused(
            &format!("{POLICIES}{upstream}listen: {{ proxy: {at} }}"),
            "upstream.url",
            "round in circles",
        );
    }
    ok(&format!(
        "{POLICIES}{upstream}listen: {{ proxy: 0.0.0.0:8001 }}"
    ));
    refused(
        &format!("{POLICIES}listen: {{ decisions: 127.0.0.1:1, telemetry: 0.0.0.0:1 }}"),
        "listen.telemetry",
        "`listen.decisions`",
    );
    refused(
        &format!("{POLICIES}listen: {{ decisions: 'unix:/x', telemetry: 'unix:/x' }}"),
        "listen.telemetry",
        "`listen.decisions`",
    );
    ok(&format!(
        "{POLICIES}listen: {{ decisions: 127.0.0.1:0, telemetry: 127.0.0.1:0 }}"
    ));
    refused(
        &format!("{POLICIES}upstream: {{ url: 'https://x/path' }}"),
        "upstream.url",
        "",
    );
    refused(&format!("{POLICIES}realm: 'a\"b'"), "realm", "printable");
    refused(
        "policies: { source: { dir: p }, schema: s, namespace: 'a b' }",
        "policies.namespace",
        "namespace",
    );
    refused(
        &format!("{POLICIES}limits: {{ in_flight: 0 }}"),
        "limits.in_flight",
        "more than zero",
    );
    refused(
        &format!("{POLICIES}limits: {{ uri_bytes: 1MiB }}"),
        "limits.uri_bytes",
        "at most 65534",
    );
    refused(
        &format!("{POLICIES}timeouts: {{ header: 0s }}"),
        "timeouts.header",
        "more than zero",
    );
    refused(
        &format!("{POLICIES}engine: {{ verify_sample: 1.5 }}"),
        "engine.verify_sample",
        "at most 1.0",
    );
    for (ttl, why) in [("0s", "more than zero"), ("25h", "at most 24h")] {
        refused(
            &format!("{POLICIES}cache: {{ ttl: {ttl} }}"),
            "cache.ttl",
            why,
        );
    }
    for (bytes, why) in [
        ("1", "from 64KiB to 16GiB, or 0"),
        ("65535", "from 64KiB to 16GiB, or 0"),
        ("17GiB", "from 64KiB to 16GiB, or 0"),
        ("-1", "expected a size"),
        ("lots", "expected a size"),
    ] {
        refused(
            &format!("{POLICIES}tokens: {{ cache_bytes: {bytes} }}"),
            "tokens.cache_bytes",
            why,
        );
    }
    refused(
        &format!("{POLICIES}tokens: {{ cached_bytes: 1MiB }}"),
        "tokens.cached_bytes",
        "did you mean `cache_bytes`?",
    );
    refused(
        &format!("{POLICIES}decision_api: {{ batch_items: 0 }}"),
        "decision_api.batch_items",
        "more than zero",
    );
    refused(
        &format!("{POLICIES}forwarded: {{ trusted_peers: [10.0.0.0/33] }}"),
        "forwarded.trusted_peers[0]",
        "",
    );
    refused(
        &format!("{POLICIES}decision_log: {{ to: syslog }}"),
        "decision_log.to",
        "`stdout`",
    );
}

#[test]
fn issuers_are_held_to_their_rules() {
    for (from, to, key) in [
        (
            "algorithms: [ES256]",
            "algorithms: []",
            "issuers[0].algorithms",
        ),
        ("audiences: [app]", "audiences: []", "issuers[0].audiences"),
        (
            "issuer: https://a.example",
            "issuer: []",
            "issuers[0].issuer",
        ),
        ("name: a", "name: a, leeway: 301s", "issuers[0].leeway"),
        (
            "name: a",
            "name: a, max_lifetime: 2d",
            "issuers[0].max_lifetime",
        ),
        ("name: a", "name: a, token_use: []", "issuers[0].token_use"),
        (
            "url: https://a.example/jwks",
            "url: http://a.example/jwks",
            "issuers[0].jwks.url",
        ),
        (
            "name: a",
            "name: a, principal: { type: 'a b' }",
            "issuers[0].principal.type",
        ),
    ] {
        let text = ISSUER.replace(from, to);
        assert_ne!(text, ISSUER, "{from}");
        refused(&format!("{POLICIES}{text}"), key, "");
    }
    ok(&format!(
        "{POLICIES}{}",
        ISSUER.replace("https://a.example/jwks", "http://127.0.0.1:9280/jwks")
    ));
    let twice = ISSUER.replace("}]\n", "}, { name: a, issuer: https://a.example, jwks: { url: https://a.example/jwks }, algorithms: [ES256], audiences: [app] }]\n");
    let keys: Vec<String> = problems(&format!("{POLICIES}{twice}"))
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["issuers[1].name", "issuers[1].audiences"]);
}

#[test]
fn policy_store_ids_are_what_an_sdk_can_send() {
    let config = ok(&format!(
        "{POLICIES}avp_api: {{ policy_store_ids: [PSEXAMPLE, policy-store-alias/a_b] }}"
    ));
    assert_eq!(config.avp_api.policy_store_ids.len(), 2);
    for id in ["''".to_owned(), "a b".to_owned(), "a".repeat(201)] {
        refused(
            &format!("{POLICIES}avp_api: {{ policy_store_ids: [ok, {id}] }}"),
            "avp_api.policy_store_ids[1]",
            "1 to 200",
        );
    }
}

#[test]
fn all_mistakes_are_found_at_once() {
    let keys: Vec<String> = problems(concat!(
        "lissten: {}\n",
        "upstream: { url: 'ftp://x' }\n",
        "policies: { source: { dir: p } }\n",
        "routes: [{ match: GET /, action: a }]\n",
        "realm: \"\\t\"\n",
        "cache: { ttl: 5 }\n",
        "callers: [{ name: '', token_sha256: secret-token }]\n",
    ))
    .into_iter()
    .map(|(key, message)| {
        assert!(!message.contains("secret-token"));
        key
    })
    .collect();
    for key in [
        "lissten",
        "upstream.url",
        "policies.schema",
        "routes[0].resource",
        "realm",
        "cache.ttl",
        "callers[0].token_sha256",
        "issuers",
    ] {
        assert!(keys.iter().any(|found| found == key), "{key}: {keys:?}");
    }
}

#[test]
fn the_schema_documents_every_key() {
    let schema = settings::schema::<ConfigFile>();
    let definitions = schema["$defs"].as_object().expect("definitions");
    for (name, definition) in std::iter::once(("the file", &schema)).chain(
        definitions
            .iter()
            .map(|(name, value)| (name.as_str(), value)),
    ) {
        for (key, value) in definition["properties"].as_object().into_iter().flatten() {
            assert!(
                value.get("description").is_some() || value.get("const").is_some(),
                "{name}.{key}: {value}"
            );
        }
    }
    let known = schema["properties"].as_object().expect("properties");
    for key in [
        "listen",
        "upstream",
        "policies",
        "routes",
        "issuers",
        "cognito",
        "redis",
        "cache",
        "tokens",
        "fallback",
        "decision_log",
    ] {
        assert!(known.contains_key(key), "{key}");
    }
}

#[test]
fn envoys_word_counts_where_nobody_else_can_give_it() {
    let mesh = "{ name: mesh, kind: spiffe, trust_domains: [cluster.local], principal: { type: Workload } }";
    let both = ISSUER.replace(" }]", &format!(" }}, {mesh}]"));
    let jwt = "ext_authz: { jwt_authn: { issuer: a } }\n";
    let at = |address: &str| format!("listen: {{ ext_authz_grpc: '{address}' }}\n");
    for local in ["127.0.0.1:9191", "[::1]:9191", "unix:/run/authz.sock"] {
        let config = ok(&format!("{POLICIES}{both}{jwt}{}", at(local)));
        let filter = config.ext_authz.jwt_authn.unwrap();
        let expected = ("envoy.filters.http.jwt_authn", "payload");
        assert_eq!((&*filter.namespace, &*filter.payload_key), expected);
    }
    for open in ["0.0.0.0:9191", "10.0.0.1:9191", "[::]:9191"] {
        refused(
            &format!("{POLICIES}{ISSUER}{jwt}{}", at(open)),
            "ext_authz.jwt_authn",
            "would believe everyone",
        );
        refused(
            &format!("{POLICIES}{both}{}", at(open)),
            "issuers[1].kind",
            "would believe everyone",
        );
    }
    refused(
        &format!("{POLICIES}{ISSUER}{jwt}"),
        "ext_authz.jwt_authn",
        "needs `listen.ext_authz_grpc`",
    );
    refused(
        &format!("{POLICIES}{both}"),
        "issuers[1].kind",
        "needs `listen.ext_authz_grpc`",
    );
    for name in ["nobody", "mesh"] {
        refused(
            &format!(
                "{POLICIES}{both}ext_authz: {{ jwt_authn: {{ issuer: {name} }} }}\n{}",
                at("127.0.0.1:1")
            ),
            "ext_authz.jwt_authn.issuer",
            "no issuer of tokens is named",
        );
    }
    // What stands in the header of a token cannot be held to any rule.
    let typed = ISSUER.replace("name: a,", "name: a, typ: [at+jwt],");
    refused(
        &format!("{POLICIES}{typed}{jwt}{}", at("127.0.0.1:1")),
        "ext_authz.jwt_authn.issuer",
        "a `typ` of its own",
    );
}

#[test]
fn mistakes_in_sets_of_routes_have_their_place() {
    let good = "ext_authz: { route_sets: { admin: [{ match: GET /x, public: true }] } }\n";
    assert_eq!(
        ok(&format!("{POLICIES}{good}")).route_sets["admin"]
            .list
            .len(),
        1
    );
    refused(
        &format!(
            "{POLICIES}ext_authz: {{ route_sets: {{ admin: [{{ match: x, public: true }}] }} }}\n"
        ),
        "ext_authz.route_sets.admin[0].match",
        "",
    );
    refused(
        &format!("{POLICIES}ext_authz: {{ route_sets: {{ 'a b': [] }} }}\n"),
        "ext_authz.route_sets.a b",
        "must be named",
    );
    refused(
        &format!(
            "{POLICIES}ext_authz: {{ route_sets: {{ admin: [{{ match: GET /x, action: a, resource: {{ type: X, id: x }} }}] }} }}\n"
        ),
        "issuers",
        "is missing",
    );
}

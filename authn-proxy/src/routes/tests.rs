use std::path::Path;

use http::Method;
use proptest::prelude::*;

use super::pattern::Pattern;
use super::*;
use crate::config::{KeyedProblem, RateLimitConfig, ResourceConfig, RouteConfig};
use pdp::Namespace;

fn route(matches: &str) -> RouteConfig {
    RouteConfig {
        matches: matches.to_owned(),
        action: Some("act".to_owned()),
        resource: Some(ResourceConfig {
            entity_type: "Thing".to_owned(),
            id: "thing".to_owned(),
        }),
        ..RouteConfig::default()
    }
}

fn compile(routes: &[RouteConfig]) -> Result<RouteTable, Vec<KeyedProblem>> {
    RouteTable::compile(routes, &Namespace::new(Some("Fortress")).unwrap())
}

fn table(templates: &[&str]) -> RouteTable {
    compile(
        &templates
            .iter()
            .map(|template| route(template))
            .collect::<Vec<_>>(),
    )
    .unwrap()
}

/// The route that a request finds, by name.
fn found(table: &RouteTable, request: &str) -> Result<String, NoRoute> {
    let (method, path) = request.split_once(' ').unwrap();
    let path = CanonicalPath::parse(path).unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    table
        .find(&method, &path)
        .map(|matched| matched.route().name().to_owned())
}

#[test]
fn the_most_specific_template_wins_in_any_order() {
    let mut templates = [
        "GET /v1/users",
        "GET /v1/users/{id}",
        "GET /v1/users/me",
        "GET /v1/users/{id}/disable",
        "GET /v1/{*rest}",
        "GET /{tenant}/users/me",
        "GET /{*rest}",
        "* /v1/users/{id}",
        "* /v1/users/{id}/keys/{key}",
        "GET /v1/files/{name}",
        "GET /v1/files/{name}.json",
        "GET /v1/{kind}/{*rest}",
        "POST /v1/users/{id}:disable",
    ];
    let cases = [
        ("GET /v1/users", "GET /v1/users"),
        ("GET /v1/users/", "GET /v1/{*rest}"),
        ("GET /v1/users/alice", "GET /v1/users/{id}"),
        ("GET /v1/users/me", "GET /v1/users/me"),
        ("GET /v1/users/a/disable", "GET /v1/users/{id}/disable"),
        ("GET /v1/users/a/enable", "GET /v1/{kind}/{*rest}"),
        ("GET /v1/users/a/keys/b", "* /v1/users/{id}/keys/{key}"),
        ("GET /v1/other", "GET /v1/{*rest}"),
        ("GET /v2/users/me", "GET /{tenant}/users/me"),
        ("GET /v2", "GET /{*rest}"),
        ("GET /v1/files/a", "GET /v1/files/{name}"),
        ("GET /v1/files/a.json", "GET /v1/files/{name}.json"),
        ("DELETE /v1/users/alice", "* /v1/users/{id}"),
        ("POST /v1/users/alice", "* /v1/users/{id}"),
        (
            "POST /v1/users/alice:disable",
            "POST /v1/users/{id}:disable",
        ),
    ];
    for _ in 0..templates.len() {
        templates.rotate_left(1);
        let table = table(&templates);
        for (request, name) in cases {
            assert_eq!(found(&table, request).as_deref(), Ok(name), "{request}");
        }
        for request in ["DELETE /v1/users", "POST /v1/users/me/x", "PUT /", "GET /"] {
            assert_eq!(found(&table, request), Err(NoRoute::NotMapped), "{request}");
        }
    }
}

#[test]
fn lookalike_paths_are_not_mapped() {
    let table = table(&["GET /admin", "POST /v1/auth/{*rest}"]);
    for request in [
        "GET /ADMIN",
        "GET /admin/",
        "GET /admin.json",
        "GET /admin%20",
        "GET /x?/admin",
        "HEAD /admin",
        "POST /v1/auth",
        "POST /v1/auth/",
    ] {
        assert_eq!(found(&table, request), Err(NoRoute::NotMapped), "{request}");
    }
    assert_eq!(found(&table, "GET /%61dmin").as_deref(), Ok("GET /admin"));
    assert_eq!(
        found(&table, "POST /v1/auth/a/b").as_deref(),
        Ok("POST /v1/auth/{*rest}")
    );
}

#[test]
fn an_escape_cannot_choose_another_route() {
    let table = table(&[
        "POST /users/{id}",
        "POST /users/{id}:disable",
        "GET /@me",
        "GET /mail/{address}",
    ]);
    assert!(matches!(
        found(&table, "POST /users/5%3Adisable"),
        Err(NoRoute::Ambiguous(_))
    ));
    assert!(matches!(
        found(&table, "GET /%40me"),
        Err(NoRoute::Ambiguous(_))
    ));
    // Where both spellings mean the same, both may be used.
    assert_eq!(
        found(&table, "POST /users/5%3Aenable").as_deref(),
        Ok("POST /users/{id}")
    );
    assert_eq!(
        found(&table, "GET /mail/a%40b.example").as_deref(),
        Ok("GET /mail/{address}")
    );
}

#[test]
fn parameters_are_decoded_once_into_ids() {
    let table = compile(&[RouteConfig {
        resource: Some(ResourceConfig {
            entity_type: "Key".to_owned(),
            id: "{principal.id}/{user}#{key}!".to_owned(),
        }),
        attributes: [("owner".to_owned(), "{user}".to_owned())].into(),
        ..route("GET /users/{user}/keys/{*key}")
    }])
    .unwrap();
    for (path, id, owner) in [
        ("/users/alice/keys/a", "root/alice#a!", "alice"),
        ("/users/a%40b/keys/x/y%20z", "root/a@b#x/y z!", "a@b"),
        ("/users/caf%C3%A9/keys/%22", "root/café#\"!", "café"),
    ] {
        let path = CanonicalPath::parse(path).unwrap();
        let matched = table.find(&Method::GET, &path).unwrap();
        let Access::Decided(rule) = matched.route().access() else {
            panic!("not public");
        };
        let resource = rule.resource(&matched, "root").unwrap();
        assert_eq!(resource.type_name().to_string(), "Fortress::Key");
        assert_eq!(resource.id().unescaped(), id);
        assert_eq!(
            rule.attributes(&matched, "root").unwrap(),
            [("owner".to_owned(), owner.to_owned())]
        );
        assert_eq!(rule.action().to_string(), r#"Fortress::Action::"act""#);
    }
}

fn check_problems(routes: &[RouteConfig], expected: &[(&str, &str)]) {
    let problems = compile(routes).unwrap_err();
    let actual: Vec<(&str, &str)> = problems
        .iter()
        .map(|(key, text)| (key.as_str(), text.as_str()))
        .collect();
    assert_eq!(actual, expected);
}

#[test]
fn every_mistake_is_told_at_once() {
    check_problems(
        &[
            route("GET /ok"),
            route("/v1/users"),
            RouteConfig {
                action: None,
                resource: Some(ResourceConfig {
                    entity_type: "No Type".to_owned(),
                    id: "{user}".to_owned(),
                }),
                attributes: [("owner".to_owned(), "{id".to_owned())].into(),
                callers: Some(Vec::new()),
                scopes: vec!["user.read".to_owned(), "two words".to_owned()],
                service_scopes: vec!["svc".to_owned()],
                ..route("GET /users/{id}")
            },
            RouteConfig {
                public: true,
                scopes: vec!["a".to_owned()],
                rate_limit: Some(RateLimitConfig {
                    principal: Some("5/min".parse().unwrap()),
                    ..RateLimitConfig::default()
                }),
                ..route("POST /login")
            },
            RouteConfig {
                resource: None,
                rate_limit: Some(RateLimitConfig::default()),
                ..route("get /x")
            },
        ],
        &[
            (
                "routes[1].match",
                "`/v1/users` is not a method (or `*`), one space and a path, as in `GET /v1/users/{id}`",
            ),
            (
                "routes[2].action",
                "is missing: name the Cedar action, or declare the route `public: true`",
            ),
            (
                "routes[2].resource.type",
                "`No Type` is not a valid entity type",
            ),
            (
                "routes[2].resource.id",
                "unknown placeholder `{user}`, this route has `{id}`, `{principal.id}`",
            ),
            (
                "routes[2].attributes.owner",
                "`{id` has a `{` without its `}`",
            ),
            ("routes[2].callers", "is empty, so nobody could ever pass"),
            ("routes[2].scopes[1]", "`two words` is not a scope"),
            (
                "routes[2].service_scopes",
                "has no meaning where `callers` does not hold `service`",
            ),
            (
                "routes[3].action",
                "has no meaning on a public route, where nothing is decided",
            ),
            (
                "routes[3].resource",
                "has no meaning on a public route, where nothing is decided",
            ),
            (
                "routes[3].scopes",
                "has no meaning on a public route, where nothing is decided",
            ),
            (
                "routes[3].rate_limit.principal",
                "has no meaning on a public route, where nobody knows who is calling",
            ),
            (
                "routes[4].match",
                "`get` is not a method: they are written in upper case",
            ),
            (
                "routes[4].resource",
                "is missing: name the Cedar resource, or declare the route `public: true`",
            ),
            (
                "routes[4].rate_limit",
                "limits nothing: name `address`, `principal` or both",
            ),
        ],
    );
}

#[test]
fn templates_that_cannot_be_meant_are_refused() {
    for (matches, message) in [
        ("GET  /a", "is not a method"),
        ("TRACE /a", "`TRACE` is never forwarded"),
        ("CONNECT /a", "`CONNECT` is never forwarded"),
        ("GET /a/../b", "can never arrive: a dot segment"),
        ("GET /a//b", "can never arrive: an empty segment"),
        ("GET /a%2fb", "can never arrive: an escaped slash"),
        ("GET /a;b", "can never arrive: a semicolon"),
        (
            "GET /a b",
            "can never arrive: a character that has to be escaped",
        ),
        ("GET /%61", "is not in canonical form"),
        ("GET /caf%c3%a9", "is not in canonical form"),
        ("GET /a?b=c", "a query takes no part in routing"),
        ("GET /{a}-{b}", "has more than one parameter"),
        ("GET /{a}/{a}", "parameter `a` appears twice"),
        ("GET /{}", "is not a name for a parameter"),
        ("GET /{a b}", "is not a name for a parameter"),
        ("GET /{a", "without its `}`"),
        ("GET /a}", "without its `{`"),
        ("GET /{*rest}/x", "has to be the whole of the last segment"),
        ("GET /x{*rest}", "has to be the whole of the last segment"),
    ] {
        let problem = Pattern::parse(matches).unwrap_err();
        assert!(problem.contains(message), "{matches}: {problem}");
    }
}

#[test]
fn conflicts_name_both_routes() {
    for (first, second) in [
        ("GET /users/{id}", "GET /users/{name}"),
        ("* /users/{id}", "* /users/{name}"),
        ("GET /users", "GET /users"),
        ("GET /a/{*rest}", "GET /a/{*tail}"),
        ("GET /{a}.json", "GET /file-{b}"),
        ("GET /{a}.json", "GET /{b}.json"),
        ("GET /{a}.json", "* /file-{b}"),
    ] {
        let message = format!("`{second}` conflicts with `{first}` of routes[0]");
        check_problems(
            &[route(first), route(second)],
            &[("routes[1].match", &message)],
        );
    }
}

#[test]
fn routes_come_from_a_list_or_a_file() {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Whole {
        routes: crate::config::RoutesConfig,
    }
    let folder = tempfile::tempdir().unwrap();
    let good = "routes: [{match: GET /a, public: true}]";
    std::fs::write(folder.path().join("good.yaml"), good).unwrap();
    std::fs::write(
        folder.path().join("bad.yaml"),
        "routes:\n  - match: GET /a\n    action: x\n",
    )
    .unwrap();
    let load = |text: &str| {
        let loaded =
            settings::parse::<Whole>(text, &folder.path().join("portcullis.yaml"), &|_| None);
        let document = loaded.document.expect("readable");
        super::load(
            &document.value.routes,
            &document,
            &Namespace::default(),
            &|_| None,
        )
    };
    assert_eq!(load(good).unwrap().routes().count(), 1);
    assert_eq!(
        load("routes: {file: good.yaml}").unwrap().routes().count(),
        1
    );
    let problems = load("routes: {file: bad.yaml}").unwrap_err();
    let [problem] = problems.as_slice() else {
        panic!("{problems:?}");
    };
    assert_eq!(problem.file, Path::new(&folder.path().join("bad.yaml")));
    assert_eq!(
        (problem.line, problem.key.as_str()),
        (2, "routes[0].resource")
    );
    assert!(load("routes: {file: missing.yaml}").is_err());
}

// === against a plain reading of the rules ===

/// The template that should win, found by trying all.
fn expected<'a>(patterns: &'a [Pattern], method: &Method, path: &str) -> Option<&'a Pattern> {
    let names_it = patterns
        .iter()
        .any(|pattern| pattern.method.as_ref() == Some(method));
    patterns
        .iter()
        .filter(|pattern| {
            pattern.method.is_none() || (names_it && pattern.method.as_ref() == Some(method))
        })
        .filter(|pattern| covers(&pattern.template, path))
        .min_by_key(|pattern| (pattern.rank.clone(), pattern.method.is_none()))
}

fn covers(template: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for part in template.split('/') {
        if part.starts_with("{*") {
            return !segments.collect::<Vec<_>>().join("/").is_empty();
        }
        let Some(segment) = segments.next() else {
            return false;
        };
        let fits = match (part.split_once('{'), part.split_once('}')) {
            (Some((before, _)), Some((_, after))) => {
                segment.starts_with(before)
                    && segment.ends_with(after)
                    && segment.len() > before.len() + after.len()
            }
            _ => part == segment,
        };
        if !fits {
            return false;
        }
    }
    segments.next().is_none()
}

fn template() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => "[ab]{1,2}",
        3 => Just("{P}".to_owned()),
        1 => Just("{P}.x".to_owned()),
        1 => Just("a-{P}".to_owned()),
        1 => Just("a-{P}.x".to_owned()),
    ];
    let rest = prop_oneof![3 => Just(""), 1 => Just("/"), 2 => Just("/{*rest}")];
    (
        prop_oneof!["GET", "PUT", "\\*"],
        prop::collection::vec(segment, 1..4),
        rest,
    )
        .prop_map(|(method, segments, rest)| {
            let mut template = String::new();
            for (index, segment) in segments.iter().enumerate() {
                template.push('/');
                template.push_str(&segment.replace('P', &format!("p{index}")));
            }
            format!("{method} {template}{rest}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn look_up_agrees_with_the_rules(
        candidates in prop::collection::vec(template(), 1..10),
        path in "(/(a|b|ab|a\\.x|\\.x|x|a-|a-b|a-\\.x|a-b\\.x)){1,4}/?",
    ) {
        let mut routes = Vec::new();
        for candidate in &candidates {
            routes.push(route(candidate));
            // Conflicts are another test's matter.
            if compile(&routes).is_err() {
                routes.pop();
            }
        }
        let table = compile(&routes).unwrap();
        let patterns: Vec<_> = routes.iter().map(|route| Pattern::parse(&route.matches).unwrap()).collect();
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let canonical = CanonicalPath::parse(&path).unwrap();
            let actual = table.find(&method, &canonical).ok().map(|found| found.route().name().to_owned());
            let wanted = expected(&patterns, &method, &path).map(|pattern| {
                format!("{} {}", pattern.method.as_ref().map_or("*", Method::as_str), pattern.template)
            });
            prop_assert_eq!(actual, wanted, "{} {} among {:?}", method, path, patterns);
        }
    }
}

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Address, ByteSize, Document, Loaded, Secret, Span, parse};

/// A service that listens.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    listen: Option<Address>,
    timeout: Span,
    body: ByteSize,
    retries: u32,
    ratio: Option<f64>,
    quiet: bool,
    mode: Mode,
    password: Option<Secret>,
    source: Option<Source>,
    routes: Routes,
    issuers: Vec<Issuer>,
    labels: BTreeMap<String, String>,
    upstream: Option<Upstream>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: None,
            timeout: Span::from_secs(30),
            body: ByteSize::from_mib(10),
            retries: 3,
            ratio: None,
            quiet: false,
            mode: Mode::Fast,
            password: None,
            source: None,
            routes: Routes::List(Vec::new()),
            issuers: Vec::new(),
            labels: BTreeMap::new(),
            upstream: None,
        }
    }
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Fast,
    /// Takes its time.
    Thorough,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Source {
    Url(String),
    File(String),
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Routes {
    File(RoutesFile),
    List(Vec<Route>),
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RoutesFile {
    file: String,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Route {
    name: String,
    #[serde(default)]
    public: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Issuer {
    name: String,
    #[serde(default)]
    leeway: Option<Span>,
    #[serde(default)]
    jwks: Option<Source>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Upstream {
    url: String,
    #[serde(default)]
    timeout: Option<Span>,
}

fn read(text: &str) -> Loaded<Settings> {
    parse(text, Path::new("dir/p.yaml"), &|name| match name {
        "PORT" => Some("8080".to_owned()),
        "QUIET" => Some("true".to_owned()),
        "WORD" => Some("sesame".to_owned()),
        "NESTED" => Some("${WORD}".to_owned()),
        "HUGE" => Some("x".repeat(100_000)),
        _ => None,
    })
}

fn ok(text: &str) -> Document<Settings> {
    let loaded = read(text);
    assert_eq!(problems(&loaded), Vec::<String>::new());
    loaded.document.expect("a document")
}

fn problems<T>(loaded: &Loaded<T>) -> Vec<String> {
    loaded.problems.iter().map(ToString::to_string).collect()
}

/// The only problem of the text, without the file.
fn only(text: &str) -> String {
    let problems = problems(&read(text));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0]
        .strip_prefix("dir/p.yaml")
        .expect("the file")
        .to_owned()
}

#[test]
fn an_empty_file_is_all_defaults() {
    for text in ["", "# nothing\n", "---\n", "{}", "\u{feff}"] {
        let document = ok(text);
        assert_eq!(document.value.retries, 3);
        assert_eq!(document.value.mode, Mode::Fast);
    }
}

#[test]
fn values_are_read() {
    let document = ok(concat!(
        "listen: unix:/run/x.sock\ntimeout: 500ms\nbody: 64KiB\nretries: 0x10\nquiet: true\nratio: 0.5\n",
        "mode: thorough\nsource: { file: keys.json }\nroutes: [{ name: a }, { name: b, public: true }]\n",
        "upstream: { url: 'http://x' }\nlabels: { a.b: c }\n",
    ));
    let settings = document.value;
    assert_eq!(
        settings.listen.expect("listen").to_string(),
        "unix:/run/x.sock"
    );
    assert_eq!(settings.timeout, Span::from_millis(500));
    assert_eq!(settings.body, ByteSize(65536));
    assert_eq!(settings.retries, 16);
    assert_eq!(settings.mode, Mode::Thorough);
    assert_eq!(settings.source, Some(Source::File("keys.json".into())));
    assert!(
        matches!(settings.routes, Routes::List(ref routes) if routes.len() == 2 && routes[1].public)
    );
}

#[test]
fn every_mistake_is_reported_in_one_run() {
    let loaded = read(concat!(
        "lisen: 0.0.0.0:80\n",         // 1
        "timeout: 5\n",                // 2
        "body: lots\n",                // 3
        "retries: -1\n",               // 4
        "quiet: maybe\n",              // 5
        "mode: thorogh\n",             // 6
        "issuers:\n",                  // 7
        "  - nme: a\n",                // 8
        "  - name: b\n",               // 9
        "    leeway: 5 minutes\n",     // 10
        "upstream: { timeout: 1s }\n", // 11
        "listen: example.com:80\n",    // 12
        "password: ${MISSING}\n",      // 13
    ));
    let expected = [
        "1:1: lisen: unknown key; did you mean `listen`?",
        "2:1: timeout: expected a duration such as `500ms`, `30s` or `1h30m`, not `5`",
        "3:1: body: expected a size such as `65536`, `64KiB` or `10MiB`, not `lots`",
        "4:1: retries: must be at least 0, not `-1`",
        "5:1: quiet: expected true or false, not text",
        "6:1: mode: expected one of `fast`, `thorough`, not `thorogh`; did you mean `thorough`?",
        "8:5: issuers[0].nme: unknown key; did you mean `name`?",
        "8:5: issuers[0]: `name` is missing",
        "10:5: issuers[1].leeway: expected a duration such as `500ms`, `30s` or `1h30m`, not `5 minutes`",
        "11:1: upstream: `url` is missing",
        "12:1: listen: expected an address such as `127.0.0.1:8000`, `localhost:8000` or `unix:/run/portcullis.sock`, not `example.com:80`",
        "13:11: password: the environment variable `MISSING` is not set",
    ];
    let mut found = problems(&loaded);
    found.sort();
    let mut expected: Vec<String> = expected
        .iter()
        .map(|line| format!("dir/p.yaml:{line}"))
        .collect();
    expected.sort();
    assert_eq!(found, expected);
    // What is left is there for the checks that follow, and their positions are those of the file.
    let document = loaded.document.expect("a document");
    assert_eq!(document.value.issuers.len(), 1);
    let problem = document.problem("issuers[0].name", "is taken");
    assert_eq!(
        problem.to_string(),
        "dir/p.yaml:9:5: issuers[1].name: is taken"
    );
    assert!(document.refused("upstream") && document.refused("issuers"));
    assert!(!document.refused("labels") && !document.refused("issuers[0].name"));
}

#[test]
fn a_choice_is_explained_by_the_form_that_was_meant() {
    for (text, expected) in [
        (
            "source: { fil: x }",
            ":1:11: source.fil: unknown key; did you mean `file`?",
        ),
        (
            "source: { url: x, file: y }",
            ":1:1: source: give exactly one of `url`, `file`",
        ),
        (
            "source: { path: x }",
            ":1:1: source: give exactly one of `url`, `file`",
        ),
        (
            "source: {}",
            ":1:1: source: give exactly one of `url`, `file`",
        ),
        (
            "source: { url: 1 }",
            ":1:11: source.url: expected text, not a number; put it in quotes",
        ),
        (
            "source: keys.json",
            ":1:1: source: expected a mapping, not text",
        ),
        (
            "source: [keys.json]",
            ":1:1: source: expected a mapping, not a list",
        ),
        (
            "routes: routes.yaml",
            ":1:1: routes: expected a mapping or a list, not text",
        ),
        (
            "routes:",
            ":1:1: routes: expected a mapping or a list, not nothing",
        ),
        (
            "routes: { fil: x }",
            ":1:11: routes.fil: unknown key; did you mean `file`?",
        ),
        (
            "routes: { file: 3 }",
            ":1:11: routes.file: expected text, not a number; put it in quotes",
        ),
        (
            "routes: [{ name: a, publik: true }]",
            ":1:21: routes[0].publik: unknown key; did you mean `public`?",
        ),
        (
            "routes: [{ name: a }, { public: true }]",
            ":1:23: routes[1]: `name` is missing",
        ),
        (
            "mode: slow",
            ":1:1: mode: expected one of `fast`, `thorough`, not `slow`",
        ),
        ("mode: [fast]", ":1:1: mode: expected text, not a list"),
        (
            "mode: Fast",
            ":1:1: mode: expected one of `fast`, `thorough`, not `Fast`; did you mean `fast`?",
        ),
        (
            "password: 5",
            ":1:1: password: expected a secret: text such as `${VAR}`, or `{file: path}`, not a number",
        ),
        (
            "password: { fil: x }",
            ":1:13: password.fil: unknown key; did you mean `file`?",
        ),
        (
            "issuers: [{ name: a, jwks: { uri: x } }]",
            ":1:30: issuers[0].jwks.uri: unknown key; did you mean `url`?",
        ),
        (
            "issuers: { name: a }",
            ":1:1: issuers: expected a list, not a mapping",
        ),
        (
            "labels: { a: 1 }",
            ":1:11: labels.a: expected text, not a number; put it in quotes",
        ),
        (
            "retries: 1.5",
            ":1:1: retries: expected a whole number, not a number",
        ),
        (
            "retries: 99999999999",
            ":1:1: retries: invalid value: integer `99999999999`, expected u32",
        ),
        ("[]", ":1:1: expected a mapping, not a list"),
        ("text", ":1:1: expected a mapping, not text"),
        (
            "timeout: 9999d",
            ":1:1: timeout: a duration of more than 3650 days",
        ),
        (
            "zzz: 1",
            ":1:1: zzz: unknown key; known are `listen`, `timeout`, `body`, `retries`, `ratio`, `quiet`, `mode`, `password`, `source`, `routes`, `issuers`, `labels`, `upstream`",
        ),
    ] {
        let problems = problems(&read(text));
        let first = problems
            .first()
            .map(|line| line.trim_start_matches("dir/p.yaml"));
        assert!(
            problems
                .iter()
                .any(|line| line.strip_prefix("dir/p.yaml") == Some(expected)),
            "{text}: {first:?} {problems:?}"
        );
    }
}

#[test]
fn what_yaml_could_hide_is_refused() {
    let deep = "[".repeat(65);
    let deep_block: String = (0..70)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    let wide = format!("labels: [{}]", "1,".repeat(100_001));
    for (text, expected) in [
        (
            "retries: 1\nretries: 2",
            ":2:1: retries: the key is given twice",
        ),
        (
            "labels:\n  a: x\n  \"a\": y",
            ":3:3: labels.a: the key is given twice",
        ),
        (
            "labels: &x { a: b }",
            ":1:9: labels: anchors and aliases are not supported",
        ),
        (
            "a: &a [x]\nb: [*a, *a]",
            ":1:4: a: anchors and aliases are not supported",
        ),
        ("labels: *x", ":1:9: labels: not valid YAML"),
        (
            "labels: { a: !!str 1 }",
            ":1:14: labels.a: tags are not supported",
        ),
        ("labels: !secret { a: b }", "tags are not supported"),
        (
            "retries: 1\n---\nretries: 2",
            "a second document; a settings file is one document",
        ),
        ("? [a]\n: 1", "a key must be text"),
        ("{ [a]: 1 }", "a key must be text"),
        ("labels: { a: b", "not valid YAML"),
        ("labels:\n\t- a", "not valid YAML"),
        ("labels: {a: ${WORD}}", "text with `${` needs quotes"),
        (deep.as_str(), "nested deeper than 64 levels"),
        (deep_block.as_str(), "nested deeper than 64 levels"),
        (wide.as_str(), "more than 100000 values"),
        ("<<: { retries: 1 }", ":1:1: <<: unknown key"),
    ] {
        let problems = problems(&read(text));
        assert!(
            problems.iter().any(|line| line.contains(expected)),
            "{}: {problems:?}",
            text.chars().take(40).collect::<String>()
        );
    }
}

#[test]
fn a_billion_laughs_stay_small() {
    let mut text = "a0: &a0 [lol, lol]\n".to_owned();
    for level in 1..60 {
        let below = level - 1;
        text.push_str(&format!(
            "a{level}: &a{level} [*a{below}, *a{below}, *a{below}]\n"
        ));
    }
    assert!(read(&text).problems.len() <= 101);
}

#[test]
fn variables_are_filled_in() {
    let document = ok(concat!(
        "retries: ${PORT}\nquiet: ${QUIET}\nlisten: \"127.0.0.1:${PORT}\"\nbody: ${PORT}\n",
        "labels: { word: \"<${WORD}>\", twice: '${WORD}${PORT}', escaped: \"$${WORD} $5 $\", nested: \"${NESTED}\" }\n",
    ));
    let settings = document.value;
    assert_eq!(settings.retries, 8080);
    assert!(settings.quiet);
    assert_eq!(settings.body, ByteSize(8080));
    assert_eq!(
        settings.listen.expect("listen").to_string(),
        "127.0.0.1:8080"
    );
    assert_eq!(settings.labels["word"], "<sesame>");
    assert_eq!(settings.labels["twice"], "sesame8080");
    assert_eq!(settings.labels["escaped"], "${WORD} $5 $");
    assert_eq!(settings.labels["nested"], "${WORD}");
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    assert_eq!(
        only("labels: { a: \"${NO_SUCH}\" }"),
        ":1:14: labels.a: the environment variable `NO_SUCH` is not set"
    );
    assert_eq!(
        only("labels: { a: \"${WORD\" }"),
        ":1:14: labels.a: a `${` without its `}`; write `$${` for the characters themselves"
    );
    assert!(only("labels: { a: \"${A-B}\" }").contains("`A-B` is not the name of a variable"));
    assert!(only("labels: { a: \"${}\" }").contains("is not the name of a variable"));
    let bomb = format!("labels: {{ a: \"{}\" }}", "${HUGE}".repeat(50));
    assert!(problems(&read(&bomb))[0].contains("the variables bring more than 1024 KiB"));
    // A quoted text stays text, whatever the variable holds.
    assert_eq!(
        only("retries: \"${PORT}\""),
        ":1:1: retries: expected a whole number, not text"
    );
}

#[test]
fn what_a_variable_holds_is_never_shown() {
    for text in [
        "timeout: ${WORD}",
        "mode: ${WORD}",
        "listen: ${WORD}",
        "retries: ${WORD}",
        "quiet: ${WORD}",
        "routes: ${WORD}",
        "source: ${WORD}",
        "body: \"${WORD}\"",
        "issuers: [{ name: a, leeway: \"${WORD}\" }]",
        "source: { url: [\"${WORD}\"] }",
        "password: [\"${WORD}\"]",
        "upstream: ${WORD}",
    ] {
        let problem = only(text);
        assert!(!problem.contains("sesame"), "{problem}");
    }
}

#[test]
fn secrets_are_read_and_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("password"), "open sesame\n").expect("written");
    std::fs::write(folder.path().join("empty"), "\n").expect("written");
    std::fs::write(folder.path().join("large"), "x".repeat(70_000)).expect("written");
    let reveal = |text: &str| {
        let document = ok(text);
        let secret = document.value.password.clone().expect("a secret");
        assert_eq!(format!("{secret:?}"), "<secret>");
        assert!(!format!("{document:?}").contains("sesame"));
        secret.reveal(folder.path())
    };
    assert_eq!(reveal("password: ${WORD}").expect("a secret"), "sesame");
    assert_eq!(
        reveal("password: { file: password }").expect("a secret"),
        "open sesame"
    );
    for text in [
        "password: { file: empty }",
        "password: { file: large }",
        "password: { file: none }",
        "password: ''",
    ] {
        assert!(reveal(text).is_err(), "{text}");
    }
}

#[test]
fn positions_count_characters_and_survive_odd_keys() {
    let document = ok(
        "# é\nlabels: { é: x, a.b: y, 'a': z, 'x[0]': w }\nissuers:\n- name: a\n-   name: b\n    leeway: 1s\n",
    );
    for (key, line, column) in [
        ("labels.é", 2, 11),
        ("labels.a.b", 2, 17),
        ("labels.a", 2, 25),
        ("labels.x[0]", 2, 33),
        ("labels.none", 2, 1),
        ("issuers[0]", 4, 3),
        ("issuers[1].leeway", 6, 5),
        ("issuers[1].jwks.url", 5, 5),
        ("issuers[7].leeway", 3, 1),
        ("upstream.url", 2, 1),
        ("", 2, 1),
    ] {
        let problem = document.problem(key, "x");
        assert_eq!((problem.line, problem.column), (line, column), "{key}");
        assert_eq!(problem.key, key);
    }
}

#[test]
fn problems_are_on_one_line_and_bounded() {
    let problem = only("\"bad\\nkey\\u001b[31m\": 1");
    assert!(!problem.contains(['\n', '\u{1b}']), "{problem}");
    let long = only(&format!("mode: {}", "x".repeat(5000)));
    assert!(long.len() < 300, "{long}");
    let many: String = (0..5000).map(|n| format!("key{n}: 1\n")).collect();
    let problems = problems(&read(&many));
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[100], "dir/p.yaml: 4900 more problems");
}

#[test]
fn paths_are_relative_to_the_file() {
    let document = ok("");
    assert_eq!(document.resolve(Path::new("a/b")), Path::new("dir/a/b"));
    assert_eq!(document.resolve(Path::new("/a/b")), Path::new("/a/b"));
    assert_eq!(document.path(), Path::new("dir/p.yaml"));
}

#[test]
fn places_outlive_the_settings() {
    let (settings, places) = ok("issuers: [{ name: a }]").split();
    assert_eq!(settings.issuers.len(), 1);
    assert!(places.given("issuers[0].name") && places.given("issuers") && places.given(""));
    assert!(
        !places.given("issuers[0].leeway")
            && !places.given("issuers[1]")
            && !places.given("routes")
    );
    assert_eq!(
        places.problem("issuers[0].name", "x").to_string(),
        "dir/p.yaml:1:13: issuers[0].name: x"
    );
}

#[test]
fn files_that_are_none_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let load = |name: &str| {
        let loaded = crate::load::<Settings>(&folder.path().join(name), &|_| None);
        assert!(loaded.document.is_none());
        problems(&loaded).join("\n")
    };
    std::fs::write(
        folder.path().join("large"),
        " ".repeat(crate::MAX_FILE_BYTES + 1),
    )
    .expect("written");
    std::fs::write(folder.path().join("binary"), [0xff, 0xfe, 0x00]).expect("written");
    assert!(load("none").contains("none: cannot be read: "));
    assert!(load(".").contains("cannot be read: "));
    assert!(load("large").ends_with("large: is larger than 1024 KiB"));
    assert!(load("binary").ends_with("binary: is not text in UTF-8"));
    assert!(
        read(&" ".repeat(crate::MAX_FILE_BYTES + 1))
            .document
            .is_none()
    );
}

#[test]
fn all_that_was_read_is_used() {
    let settings = ok(
        "issuers: [{ name: a, leeway: 1s, jwks: { url: u } }]\nupstream: { url: u, timeout: 1s }",
    )
    .value;
    assert_eq!(settings.issuers[0].name, "a");
    assert_eq!(settings.issuers[0].leeway, Some(Span::from_secs(1)));
    assert_eq!(settings.issuers[0].jwks, Some(Source::Url("u".into())));
    let upstream = settings.upstream.expect("upstream");
    assert_eq!(
        (upstream.url.as_str(), upstream.timeout),
        ("u", Some(Span::from_secs(1)))
    );
}

/// Pieces from which both settings and nonsense come.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("retries"),
        Just("issuers"),
        Just("source"),
        Just("url"),
        Just("name"),
        Just("labels"),
        Just(": "),
        Just(":"),
        Just("\n"),
        Just("\n  "),
        Just("\n- "),
        Just("- "),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just(","),
        Just("${"),
        Just("${WORD}"),
        Just("$"),
        Just("&a "),
        Just("*a"),
        Just("!!int "),
        Just("|\n"),
        Just(">-\n"),
        Just("'"),
        Just("\""),
        Just("\\"),
        Just("#"),
        Just("? "),
        Just("---"),
        Just("..."),
        Just("%"),
        Just("\t"),
        Just("0x"),
        Just("1e9"),
        Just("-.inf"),
        Just("é"),
        Just("\u{feff}"),
        Just("\u{0}"),
        Just("~"),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_text_makes_the_reader_fail(text in prop_oneof![pieces(), any::<String>()]) {
        let loaded = read(&text);
        prop_assert!(loaded.document.is_some() || !loaded.problems.is_empty());
        let lines = text.lines().count() + 1;
        for problem in &loaded.problems {
            prop_assert!(problem.line <= lines.max(1), "{problem} {lines}");
            prop_assert!(!problem.to_string().contains(['\n', '\r']), "{problem:?}");
        }
    }

    /// A mistake is found at the line and column where it was put, whatever stands before it.
    #[test]
    fn mistakes_are_found_where_they_stand(comments in 0_usize..20, issuers in 0_usize..20, indent in 1_usize..8) {
        let mut text = "# nothing\n".repeat(comments);
        text.push_str("issuers:\n");
        for number in 0..issuers {
            text.push_str(&format!("{}- name: issuer{number}\n", " ".repeat(indent)));
        }
        text.push_str(&format!("{}- name: last\n{}  leway: 1s\n", " ".repeat(indent), " ".repeat(indent)));
        prop_assert_eq!(
            only(&text),
            format!(":{}:{}: issuers[{issuers}].leway: unknown key; did you mean `leeway`?", comments + issuers + 3, indent + 3)
        );
    }

    /// Whatever is wrong in one issuer, the others are read.
    #[test]
    fn the_rest_is_read(broken in 0_usize..5) {
        let items: Vec<String> = (0..5)
            .map(|number| if number == broken { "{ name: [] }".to_owned() } else { format!("{{ name: i{number} }}") })
            .collect();
        let loaded = read(&format!("issuers: [{}]", items.join(", ")));
        prop_assert_eq!(loaded.problems.len(), 1);
        let names: Vec<String> = loaded.document.expect("a document").value.issuers.into_iter().map(|i| i.name).collect();
        let expected: Vec<String> = (0..5).filter(|number| *number != broken).map(|number| format!("i{number}")).collect();
        prop_assert_eq!(names, expected);
    }
}

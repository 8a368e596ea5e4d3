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

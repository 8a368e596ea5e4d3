use http::HeaderValue;

use super::*;
use crate::fixture::{World, head, identity};

/// The context of an action, attribute by attribute, as Cedar prints it.
fn check(action: &str, client: Client<'_>, agent: Option<&[u8]>, expected: &[(&str, &str)]) {
    let world = World::new("routes: []", "");
    let snapshot = world.pdp.snapshot();
    let action = world.pdp.namespace().action(action).unwrap();
    let shape = snapshot.context_shape(&action).unwrap();
    with_facts(client, agent, |facts| {
        assert_eq!(written(&facts.declared(shape).unwrap()), sorted(expected));
    });
}

fn with_facts(client: Client<'_>, agent: Option<&[u8]>, then: impl FnOnce(Facts<'_>)) {
    let mut head = head("PUT /%61/b?c=d", None);
    if let Some(agent) = agent {
        head.headers
            .insert(USER_AGENT, HeaderValue::from_bytes(agent).unwrap());
    }
    let path = CanonicalPath::of(head.uri.path_and_query().unwrap()).unwrap();
    let mut identity = identity();
    identity.scopes = vec!["b".to_owned(), "a".to_owned()];
    then(Facts {
        request: Some(RequestFacts {
            head: &head,
            path: &path,
            client: &client,
            now: UNIX_EPOCH + Duration::from_millis(1_700_000_001_234),
        }),
        token: Some(&identity),
        on_behalf_of: None,
        workload: None,
    });
}

fn written(context: &Context) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = context
        .clone()
        .into_iter()
        .filter_map(|(name, _)| Some((name.clone(), context.get(&name)?.to_string())))
        .collect();
    pairs.sort();
    pairs
}

fn sorted(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    pairs.sort();
    pairs
}

const TOKEN: &str = r#"{"expires_at": datetime("2023-11-14T22:18:20.000Z"), "issued_at": 1700000000, "issuer": "https://issuer.test", "scopes": ["a", "b"]}"#;
const NOW: &str = r#"datetime("2023-11-14T22:13:21.234Z")"#;

#[test]
fn only_declared_attributes_are_given_in_their_declared_types() {
    let client = Client {
        address: Some("::ffff:192.0.2.7".parse().unwrap()),
        host: Some("api.example"),
        ..Client::default()
    };
    let http = r#"{"client_ip": ip("192.0.2.7"), "host": "api.example", "method": "PUT", "path": "/a/b", "user_agent": "curl/8"}"#;
    check(
        "seen",
        client,
        Some(b"curl/8"),
        &[("http", http), ("token", TOKEN), ("now", NOW)],
    );
    check("view", client, Some(b"curl/8"), &[]);
}

#[test]
fn what_is_not_known_is_left_out() {
    let http = r#"{"method": "PUT", "path": "/a/b"}"#;
    check(
        "seen",
        Client::default(),
        None,
        &[("http", http), ("token", TOKEN), ("now", NOW)],
    );
    check("beyond", Client::default(), None, &[]);
}

#[test]
fn an_odd_user_agent_is_not_taken_for_none() {
    let http = "{\"method\": \"PUT\", \"path\": \"/a/b\", \"user_agent\": \"x\u{FFFD}\"}";
    check(
        "seen",
        Client::default(),
        Some(b"x\xff"),
        &[("http", http), ("token", TOKEN), ("now", NOW)],
    );
}

#[test]
fn without_a_schema_every_fact_is_given() {
    with_facts(Client::default(), None, |facts| {
        let names: Vec<_> = written(&facts.all().unwrap())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["http", "now", "token"]);
    });
}

#[test]
fn a_fact_of_another_type_is_no_fact() {
    let kinds = [
        ContextKind::Bool,
        ContextKind::Decimal,
        ContextKind::Duration,
        ContextKind::Long,
    ];
    for kind in kinds {
        assert!(
            express(Fact::Text("1".to_owned()), &kind).is_none(),
            "{kind:?}"
        );
    }
    assert!(
        express(
            Fact::Texts(&[]),
            &ContextKind::Set(Box::new(ContextKind::Long))
        )
        .is_none()
    );
    assert!(
        express(
            Fact::Instant(Duration::from_secs(u64::MAX)),
            &ContextKind::Datetime
        )
        .is_none()
    );
    assert!(
        express(
            Fact::Instant(Duration::from_secs(u64::MAX)),
            &ContextKind::Long
        )
        .is_none()
    );
}

//! The configuration: what is read, and what is refused.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::config::{AttributeSource, Kind, SessionSource};

fn read(text: &str) -> Result<Vec<IssuerConfig>, String> {
    let loaded = settings::parse::<Vec<IssuerConfig>>(text, Path::new("t.yaml"), &|_| None);
    match loaded.document {
        Some(document) if loaded.problems.is_empty() => Ok(document.value),
        _ => Err(loaded.problems.iter().map(ToString::to_string).collect()),
    }
}

fn problems(change: impl FnOnce(&mut IssuerConfig)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("jwks.json"), jwks(&[&ES256]).to_string()).unwrap();
    let mut config = config(Jwks::File("jwks.json".into()));
    change(&mut config);
    match issuers(&[config], folder.path(), &Clock::manual(NOW)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.into_iter().map(|(key, _)| key).collect(),
    }
}

#[test]
fn the_section_is_read_as_it_is_documented() {
    let configs = read(
        "
- name: first-party
  kind: first_party
  issuer: [https://auth.example.com, https://old.example.com]
  jwks: { url: https://auth.example.com/.well-known/jwks.json }
  audiences: [cloud-app]
  algorithms: [ES256]
  leeway: 10s
  principal:
    type: User
    id: sub
    groups: { claim: roles, type: Role }
    attributes: { email: email, user_type: { store: true }, level: { directory: 'custom:level' } }
- name: one
  issuer: https://one.example.com
  jwks: { file: jwks.json }
",
    )
    .unwrap();
    assert_eq!(configs[0].issuer.len(), 2);
    assert_eq!(configs[0].leeway.0.as_secs(), 10);
    assert_eq!(configs[0].max_lifetime, None);
    let attributes = &configs[0].principal.attributes;
    assert_eq!(
        attributes["email"],
        AttributeSource::Claim("email".to_owned())
    );
    assert_eq!(
        attributes["user_type"],
        AttributeSource::Store { store: true }
    );
    assert_eq!(configs[1].issuer, ["https://one.example.com"]);
    assert_eq!(configs[1].kind, Kind::FirstParty);
    assert_eq!(configs[1].jwks, Some(Jwks::File("jwks.json".into())));

    for unknown in [
        "- nmae: x",
        "- jwks: { uri: x }",
        "- principal: { groups: { claim: x } }",
    ] {
        assert!(read(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn each_mistake_has_its_key() {
    let list = |values: &[&str]| {
        values
            .iter()
            .map(|&value| value.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(problems(|_| {}), [""; 0]);
    assert_eq!(
        problems(|config| config.name = "a b".to_owned()),
        ["[0].name"]
    );
    assert_eq!(problems(|config| config.kind = Kind::Service), [""; 0]);
    assert_eq!(
        problems(|config| config.session = SessionSource::Redis),
        [""; 0]
    );
    assert_eq!(
        problems(|config| config.client_ids = list(&["x"])),
        ["[0].client_ids"]
    );
    assert_eq!(problems(|config| config.issuer.clear()), ["[0].issuer"]);
    assert_eq!(
        problems(|config| config.issuer = list(&["https://*.x"])),
        ["[0].issuer"]
    );
    assert_eq!(
        problems(|config| config.algorithms.clear()),
        ["[0].algorithms"]
    );
    assert_eq!(
        problems(|config| config.audiences.clear()),
        ["[0].audiences"]
    );
    assert_eq!(
        problems(|config| config.audiences = list(&["*"])),
        ["[0].audiences"]
    );
    assert_eq!(problems(|config| config.typ.clear()), ["[0].typ"]);
    assert_eq!(
        problems(|config| config.token_use = list(&["svc"])),
        ["[0].token_use"]
    );
    assert_eq!(problems(|config| config.leeway.0 *= 61), ["[0].leeway"]);
    assert_eq!(
        problems(|config| config.max_lifetime = Some(settings::Span::from_secs(87_300))),
        ["[0].max_lifetime"]
    );
    assert_eq!(problems(|config| config.jwks = None), ["[0].jwks"]);
    assert_eq!(
        problems(|config| config.jwks = Some(Jwks::File("none".into()))),
        ["[0].jwks.file"]
    );
    for url in [
        "http://auth.example.com/jwks",
        "ftp://127.0.0.1/jwks",
        "https://user:pass@auth.example.com/jwks",
        "http://127.0.0.1.example.com/",
        "jwks.json",
    ] {
        let keys = problems(|config| config.jwks = Some(Jwks::Url(url.to_owned())));
        assert_eq!(keys, ["[0].jwks.url"], "{url}");
    }
    let type_of = |name: &str| problems(|config| config.principal.entity_type = name.to_owned());
    assert_eq!(type_of("Fortress::User"), [""; 0]);
    assert_eq!(type_of("a-b"), ["[0].principal.type"]);
    assert_eq!(type_of(""), ["[0].principal.type"]);
    let source = |source: AttributeSource| {
        problems(|config| {
            config.principal.attributes.insert("x".to_owned(), source);
        })
    };
    let directory = AttributeSource::Directory {
        directory: "custom:x".to_owned(),
    };
    assert_eq!(source(directory), ["[0].principal.attributes.x"]);
    assert_eq!(
        source(AttributeSource::Store { store: false }),
        ["[0].principal.attributes.x"]
    );
    assert_eq!(source(AttributeSource::Store { store: true }), [""; 0]);
}

#[test]
fn mistakes_are_told_together() {
    let found = problems(|config| {
        config.name.clear();
        config.audiences.clear();
        config.algorithms.clear();
        config.jwks = None;
    });
    assert_eq!(
        found,
        ["[0].name", "[0].algorithms", "[0].audiences", "[0].jwks"]
    );
}

#[test]
fn no_token_may_fit_two_entries() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("k"), jwks(&[&ES256]).to_string()).unwrap();
    let entry = config(Jwks::File("k".into()));
    let clock = Clock::manual(NOW);
    let found = issuers(&[entry.clone(), entry], folder.path(), &clock).unwrap_err();
    let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["[1].name", "[1].audiences"]);
}

#[test]
fn the_schema_names_every_key() {
    let schema = settings::schema::<Vec<IssuerConfig>>().to_string();
    for key in [
        "max_lifetime",
        "client_ids",
        "token_use",
        "user_status",
        "principal",
    ] {
        assert!(schema.contains(&json!(key).to_string()), "{key}");
    }
}

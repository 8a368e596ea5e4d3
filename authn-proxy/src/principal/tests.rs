use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::fixture::{ISSUERS, World, identity};

/// The principal as Cedar JSON, parents sorted.
fn principal(principals: &Principals, world: &World, identity: &Identity) -> Value {
    let mapping = principals.of(identity).unwrap();
    let uid = mapping.uid(identity);
    let entity = mapping.entity(uid, identity, None, &world.pdp.snapshot());
    let mut parents: Vec<String> = entity
        .as_ref()
        .parents()
        .map(|parent| EntityUid::from(parent.clone()).to_string())
        .collect();
    parents.sort();
    let json = entity.to_json_value().unwrap();
    json!({ "uid": entity.uid().to_string(), "attrs": json["attrs"], "tags": json["tags"], "parents": parents })
}

fn check(identity: &Identity, expected: Value) {
    let world = World::new("routes: []", "");
    let issuers: Vec<IssuerConfig> = serde_json::from_str(ISSUERS).unwrap();
    let principals = Principals::new(&issuers, world.pdp.namespace()).unwrap();
    assert_eq!(principal(&principals, &world, identity), expected);
}

#[test]
fn each_fact_has_the_one_source_that_is_configured() {
    let mut identity = identity();
    identity.groups = vec!["auditor".to_owned()];
    identity.attributes = vec![("user_type".into(), Claim::String("admin".to_owned()))];
    check(
        &identity,
        json!({
            "uid": r#"Fortress::User::"alice""#,
            // The stored `user_type` gives way to the claim, `region` is taken from the store, `owner` has no source.
            "attrs": { "user_type": "admin", "region": "eu" },
            "tags": { "badge": "gold" },
            // The stored role is not added to the token's; a parent that no claim can name is kept.
            "parents": [r#"Fortress::Role::"auditor""#, r#"Fortress::Team::"blue""#],
        }),
    );
}

#[test]
fn a_role_removed_at_its_source_is_gone_with_all_above_it() {
    check(
        &identity(),
        json!({
            "uid": r#"Fortress::User::"alice""#,
            "attrs": { "region": "eu" },
            "tags": { "badge": "gold" },
            "parents": [r#"Fortress::Team::"blue""#],
        }),
    );
}

#[test]
fn someone_who_is_not_stored_is_what_the_token_says() {
    let mut identity = identity();
    identity.principal_id = "mallory\"::\u{1F}".into();
    identity.groups = vec!["admin".to_owned()];
    identity.attributes = vec![
        ("a".into(), Claim::Long(-1)),
        ("b".into(), Claim::Bool(true)),
        (
            "c".into(),
            Claim::Strings(vec!["x".to_owned(), "y".to_owned()]),
        ),
    ];
    let world = World::new("routes: []", "");
    let issuers: Vec<IssuerConfig> = serde_json::from_str(ISSUERS).unwrap();
    let principals = Principals::new(&issuers, world.pdp.namespace()).unwrap();
    let mapping = principals.of(&identity).unwrap();
    let uid = mapping.uid(&identity);
    let entity = mapping.entity(uid, &identity, None, &world.pdp.snapshot());
    assert_eq!(entity.uid().id().unescaped(), &*identity.principal_id);
    assert_eq!(
        entity.to_json_value().unwrap()["attrs"],
        json!({ "a": -1, "b": true, "c": ["x", "y"] })
    );
}

#[test]
fn without_a_groups_claim_the_store_names_all_parents() {
    let world = World::new("routes: []", "");
    let mut issuers: Vec<IssuerConfig> = serde_json::from_str(ISSUERS).unwrap();
    issuers[0].principal.groups = None;
    issuers[0].principal.attributes = BTreeMap::new();
    let principals = Principals::new(&issuers, world.pdp.namespace()).unwrap();
    let mut identity = identity();
    identity.group_type = None;
    let entity = principal(&principals, &world, &identity);
    assert_eq!(
        entity["parents"],
        json!([r#"Fortress::Role::"admin""#, r#"Fortress::Team::"blue""#])
    );
    assert_eq!(entity["attrs"], json!({}));
}

#[test]
fn the_directory_is_the_one_source_of_what_is_its_own() {
    let world = World::new("routes: []", "");
    let mut issuers: Vec<IssuerConfig> = serde_json::from_str(ISSUERS).unwrap();
    let directory = |name: &str| AttributeSource::Directory {
        directory: name.to_owned(),
    };
    let attributes = &mut issuers[0].principal.attributes;
    attributes.insert("user_type".to_owned(), directory("custom:user_type"));
    attributes.insert("owner".to_owned(), directory("email"));
    let principals = Principals::new(&issuers, world.pdp.namespace()).unwrap();
    let identity = identity();
    let mapping = principals.of(&identity).unwrap();
    let record = UserRecord {
        subject: "alice".to_owned(),
        enabled: true,
        active: true,
        attributes: vec![("custom:user_type".to_owned(), "admin".to_owned())],
    };
    for (record, expected) in [
        // The stored `user_type` and `owner` never stand in for what the directory does not say.
        (
            Some(&record),
            json!({ "user_type": "admin", "region": "eu" }),
        ),
        (None, json!({ "region": "eu" })),
    ] {
        let uid = mapping.uid(&identity);
        let entity = mapping.entity(uid, &identity, record, &world.pdp.snapshot());
        assert_eq!(entity.to_json_value().unwrap()["attrs"], expected);
    }
}

#[test]
fn unknown_issuers_and_bad_type_names_are_refused() {
    let mut identity = identity();
    identity.issuer = "another".into();
    let world = World::new("routes: []", "");
    let mut issuers: Vec<IssuerConfig> = serde_json::from_str(ISSUERS).unwrap();
    let principals = Principals::new(&issuers, world.pdp.namespace()).unwrap();
    assert!(principals.of(&identity).is_none());

    issuers[0].principal.entity_type = "No Type".to_owned();
    issuers[0].principal.groups.as_mut().unwrap().entity_type = "9".to_owned();
    let problems = Principals::new(&issuers, world.pdp.namespace()).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "issuers[0].principal.type",
            "issuers[0].principal.groups.type"
        ]
    );
}

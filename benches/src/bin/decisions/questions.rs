//! The policies, entities and questions, in the words of each server. cedar-agent speaks the Cedar of 2023, which had no `is`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use benches::load::Error;
use serde_json::{Value, json};

/// Questions, each different.
const QUESTIONS: usize = 10_000;

const SCHEMA: &str = "\
entity Group;
entity User in [Group];
entity Document { owner: User, public: Bool };
action view appliesTo { principal: User, resource: Document, context: {} };
";

/// Where everything is written, and who asks for what.
pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) policies: usize,
    /// A user and a document of each question, and whether it is to be allowed.
    pub(crate) questions: Vec<(usize, usize, bool)>,
}

/// Writes everything that the servers read into `folder`.
pub(crate) fn write(folder: &Path, policies: usize) -> Result<World, Error> {
    // As many documents as users. With two policies every user asks about every document.
    let users = if policies == 2 { 100 } else { policies };
    fs::create_dir_all(folder.join("policies"))?;
    fs::create_dir_all(folder.join("cerbos"))?;
    let texts: Vec<(String, String)> = if policies == 2 {
        vec![
            (
                "public".to_owned(),
                "permit (principal in Group::\"staff\", action == Action::\"view\", resource) when { resource.public };".to_owned(),
            ),
            (
                "owner".to_owned(),
                "permit (principal, action == Action::\"view\", resource) when { resource.owner == principal };".to_owned(),
            ),
        ]
    } else {
        (0..policies)
            .map(|number| {
                let (user, document) = scoped(number, users);
                (
                    format!("scoped{number}"),
                    format!("permit (principal == User::\"u{user}\", action == Action::\"view\", resource == Document::\"d{document}\");"),
                )
            })
            .collect()
    };
    let mut cedar = String::new();
    for (id, text) in &texts {
        writeln!(cedar, "@id(\"{id}\")\n{text}")?;
    }
    fs::write(folder.join("policies/all.cedar"), cedar)?;
    let agent: Vec<Value> = texts
        .iter()
        .map(|(id, text)| json!({ "id": id, "content": text }))
        .collect();
    fs::write(folder.join("policies.json"), Value::from(agent).to_string())?;
    write_entities(folder, users)?;
    fs::write(
        folder.join("cerbos/document.yaml"),
        include_str!("document.yaml"),
    )?;

    let allowed = |user: usize, document: usize| {
        if policies == 2 {
            user == document || (staff(user) && public(document))
        } else {
            scoped(user, users) == (user, document)
        }
    };
    let questions = (0..QUESTIONS)
        // Neighbours ask for different things: 37 has no factor in common with the number of users.
        .map(|number| (number * 37 % users, number / users))
        .map(|(user, place)| (user, (user * 7 + place) % users))
        .map(|(user, document)| (user, document, allowed(user, document)))
        .collect();
    Ok(World {
        folder: folder.to_owned(),
        policies,
        questions,
    })
}

/// Writes the schema, and so many users and documents.
pub(crate) fn write_entities(folder: &Path, users: usize) -> Result<(), Error> {
    fs::write(folder.join("schema.cedarschema"), SCHEMA)?;
    fs::write(folder.join("entities.json"), entities(users).to_string())?;
    Ok(())
}

/// Whom and what policy `number` of the thousand is about.
fn scoped(number: usize, users: usize) -> (usize, usize) {
    (number, number * 7 % users)
}

/// Whether the user is in `Group::"staff"`.
fn staff(user: usize) -> bool {
    user.is_multiple_of(2)
}

/// Whether everyone on the staff may read the document.
fn public(document: usize) -> bool {
    document.is_multiple_of(5)
}

fn entities(users: usize) -> Value {
    let group = json!({ "uid": { "type": "Group", "id": "staff" }, "attrs": {}, "parents": [] });
    let people = (0..users).map(|user| {
        let parents = if staff(user) {
            json!([{ "type": "Group", "id": "staff" }])
        } else {
            json!([])
        };
        json!({ "uid": { "type": "User", "id": format!("u{user}") }, "attrs": {}, "parents": parents })
    });
    let documents = (0..users).map(|document| {
        json!({
            "uid": { "type": "Document", "id": format!("d{document}") },
            "attrs": {
                "owner": { "__entity": { "type": "User", "id": format!("u{document}") } },
                "public": public(document),
            },
            "parents": [],
        })
    });
    std::iter::once(group)
        .chain(people)
        .chain(documents)
        .collect()
}

/// `POST` requests of `body` for every question.
pub(crate) fn requests(
    world: &World,
    path: &str,
    body: impl Fn(usize, usize) -> Value,
) -> Vec<Vec<u8>> {
    world
        .questions
        .iter()
        .map(|&(user, document, _)| {
            let body = body(user, document).to_string();
            format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        })
        .collect()
}

/// The question in portcullis' words.
pub(crate) fn native(user: usize, document: usize) -> Value {
    json!({
        "principal": { "type": "User", "id": format!("u{user}") },
        "action": "view",
        "resource": { "type": "Document", "id": format!("d{document}") },
    })
}

/// The question in cedar-agent's words.
pub(crate) fn cedar_agent(user: usize, document: usize) -> Value {
    json!({
        "principal": format!("User::\"u{user}\""),
        "action": "Action::\"view\"",
        "resource": format!("Document::\"d{document}\""),
        "context": {},
    })
}

/// The question in Cerbos' words. It stores no entities, so the question brings them.
pub(crate) fn cerbos(user: usize, document: usize) -> Value {
    let roles: &[&str] = if staff(user) {
        &["user", "staff"]
    } else {
        &["user"]
    };
    json!({
        "principal": { "id": format!("u{user}"), "roles": roles },
        "resources": [{
            "actions": ["view"],
            "resource": {
                "kind": "document",
                "id": format!("d{document}"),
                "attr": { "owner": format!("u{document}"), "public": public(document) },
            },
        }],
    })
}

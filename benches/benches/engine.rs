//! The engine beside Cedar's own authorizer, over few policies and over many.
//!
//! The authorizer gets its entities ready made; the engine is asked as the product asks it, with
//! the slice, the checks of the question and the answer.

use std::cell::LazyCell;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::time::Duration;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, Request,
};
use criterion::Criterion;
use pdp::load::{Ids, Rules, Text, Texts, build};
use pdp::{OnError, Question, Snapshot};
use serde_json::{Value, json};

use crate::{decision, fixture};

/// How many scoped policies. Without optimisation the larger sets would only be waited for.
const POLICIES: &[usize] = if cfg!(debug_assertions) {
    &[100, 1_000]
} else {
    &[100, 10_000, 100_000]
};
/// Users, and as many documents.
const USERS: usize = 10_000;
/// Groups, and as many folders.
const GROUPS: usize = 1_000;
/// Distinct questions, asked in turn.
const QUESTIONS: usize = 10_000;

/// Policies, entities and what is asked of them.
struct Scene {
    snapshot: Snapshot,
    entities: Entities,
    /// Evenly about the policies, each permitted by at least one.
    questions: Vec<Question>,
    /// Evenly about users and documents: the same, of the same entities, whatever the policies.
    elsewhere: Vec<Question>,
}

pub(crate) fn bench(criterion: &mut Criterion) {
    fortress(criterion);
    for policies in POLICIES {
        let scene = LazyCell::new(|| scoped(*policies));
        versus(criterion, &format!("{policies} policies"), &scene);
    }
}

fn fortress(criterion: &mut Criterion) {
    let pdp = fixture::pdp();
    let snapshot = pdp.snapshot();
    let question = decision::question(pdp.namespace(), "user-1");
    let stored = fs::read_to_string(fixture::root().join("policies/fortress/entities.json"))
        .expect("the pack's entities");
    let entities = Entities::from_json_str(&stored, snapshot.schema())
        .expect("entities")
        .add_entities(question.entities.clone(), snapshot.schema())
        .expect("entities");
    assert!(snapshot.decide(&question).is_allow());
    let mut group = criterion.benchmark_group("engine/fortress");
    group.bench_function("engine", |bencher| {
        bencher.iter(|| snapshot.decide(black_box(&question)))
    });
    group.bench_function("authorizer", |bencher| {
        bencher.iter(|| authorizer(&snapshot, &entities, black_box(&question)))
    });
    group.finish();
}

fn versus(criterion: &mut Criterion, name: &str, scene: &LazyCell<Scene, impl FnOnce() -> Scene>) {
    let mut group = criterion.benchmark_group(format!("engine/{name}"));
    for (name, about_policies) in [("engine", true), ("engine, any user and document", false)] {
        group.bench_function(name, |bencher| {
            let (questions, elsewhere) = (&scene.questions, &scene.elsewhere);
            let asked = if about_policies { questions } else { elsewhere };
            let mut turn = asked.iter().cycle();
            bencher.iter(|| {
                let question = turn.next().expect("a question");
                scene.snapshot.decide(black_box(question))
            });
        });
    }
    // One answer can take a tenth of a second.
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(2));
    group.bench_function("authorizer", |bencher| {
        let mut turn = scene.questions.iter().cycle();
        bencher.iter(|| {
            let question = turn.next().expect("a question");
            authorizer(&scene.snapshot, &scene.entities, black_box(question))
        });
    });
    group.finish();
}

fn authorizer(snapshot: &Snapshot, entities: &Entities, question: &Question) -> Decision {
    let request = Request::new(
        question.principal.clone(),
        question.action.clone(),
        question.resource.clone(),
        question.context.clone(),
        snapshot.schema(),
    )
    .expect("a request");
    let response = Authorizer::new().is_authorized(&request, snapshot.policies(), entities);
    response.decision()
}

/// So many policies over users, groups, documents and folders.
fn scoped(policies: usize) -> Scene {
    let names = Names::new();
    let mut text = String::new();
    for number in 0..policies {
        let written = match number % 3 {
            0 => writeln!(
                text,
                r#"permit(principal == User::"{}", action == Action::"view", resource == Doc::"{}");"#,
                user(number),
                document(number),
            ),
            1 => writeln!(
                text,
                r#"permit(principal in Group::"{}", action in [Action::"view", Action::"edit"], resource in Folder::"{}");"#,
                user(number) % GROUPS,
                document(number) % GROUPS,
            ),
            _ => writeln!(
                text,
                r#"permit(principal is User in Group::"{}", action in Action::"all", resource is Doc in Folder::"{}") when {{ resource.open }};"#,
                user(number) % GROUPS,
                document(number) % GROUPS,
            ),
        };
        written.expect("text");
    }
    let question = |user, document, action| Question {
        principal: names.entity(&names.user, user),
        action: EntityUid::from_type_name_and_id(names.action.clone(), EntityId::new(action)),
        resource: names.entity(&names.document, document),
        context: Context::empty(),
        entities: Vec::new(),
    };
    let questions = (0..QUESTIONS)
        .map(|number| number * 7919 % policies)
        .map(|policy| {
            let action = if policy % 3 == 0 { "view" } else { "edit" };
            question(user(policy), document(policy), action)
        })
        .collect();
    let elsewhere = (0..QUESTIONS)
        .map(|number| question(number * 7919 % USERS, number * 4657 % USERS, "edit"))
        .collect();
    let entities = entities().to_string();
    let snapshot = build(
        Texts {
            policies: vec![Text {
                path: "scoped.cedar".into(),
                content: text,
            }],
            schema: None,
            entities: Some(Text {
                path: "entities.json".into(),
                content: entities.clone(),
            }),
        },
        Rules {
            ids: Ids::Positional,
            validate: false,
            on_error: OnError::Deny,
        },
    )
    .expect("good policies");
    let scene = Scene {
        snapshot,
        entities: Entities::from_json_str(&entities, None).expect("entities"),
        questions,
        elsewhere,
    };
    for question in scene.questions.iter().step_by(QUESTIONS / 10) {
        let answer = scene.snapshot.decide(question);
        assert!(answer.is_allow(), "{question:?}: {answer:?}");
        let expected = authorizer(&scene.snapshot, &scene.entities, question);
        assert_eq!(answer.decision, expected);
    }
    scene
}

/// The user of a policy.
fn user(policy: usize) -> usize {
    policy * 31 % USERS
}

/// The document of a policy: another with every round through users or groups, so that more policies
/// are about more, and do not say the same again.
fn document(policy: usize) -> usize {
    (policy * 977 + policy / GROUPS * 331) % USERS
}

/// Users in groups and documents in folders, two each, and those in ten larger ones.
fn entities() -> Value {
    let entity = |kind: &str, id: String, attributes: Value, parents: Vec<(&str, String)>| {
        let parents: Vec<Value> = parents
            .into_iter()
            .map(|(kind, id)| json!({ "type": kind, "id": id }))
            .collect();
        json!({ "uid": { "type": kind, "id": id }, "attrs": attributes, "parents": parents })
    };
    let mut all = Vec::new();
    for (kind, member, attributes) in [
        ("Group", "User", json!({})),
        ("Folder", "Doc", json!({ "open": true })),
    ] {
        for id in 0..USERS {
            let parents = [id % GROUPS, (id / GROUPS * 97 + id * 13) % GROUPS];
            let parents = parents.map(|parent| (kind, parent.to_string()));
            all.push(entity(
                member,
                id.to_string(),
                attributes.clone(),
                parents.into(),
            ));
        }
        for id in 0..GROUPS {
            let parents = vec![(kind, format!("large-{}", id % 10))];
            all.push(entity(kind, id.to_string(), json!({}), parents));
        }
    }
    for action in ["view", "edit"] {
        let parents = vec![("Action", "all".to_owned())];
        all.push(entity("Action", action.to_owned(), json!({}), parents));
    }
    Value::Array(all)
}

/// The types, read once.
struct Names {
    user: EntityTypeName,
    document: EntityTypeName,
    action: EntityTypeName,
}

impl Names {
    fn new() -> Self {
        let name = |name: &str| name.parse().expect("a type");
        Self {
            user: name("User"),
            document: name("Doc"),
            action: name("Action"),
        }
    }

    fn entity(&self, kind: &EntityTypeName, id: usize) -> EntityUid {
        EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id.to_string()))
    }
}

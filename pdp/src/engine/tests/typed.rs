//! Worlds that a schema describes, as the product loads them.

use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
use serde_json::Value as Json;

use super::dice::Dice;
use super::world::{ACTIONS, IDS, PRINCIPAL_TYPES, RESOURCE_TYPES, uid};
use super::*;
use crate::load::{Ids, Rules, Text, Texts, build};

/// Worlds, and questions in each.
const WORLDS: u64 = 8;
const QUESTIONS: usize = 60;

/// What entities of every type are.
const SHAPE: &str = "{
    level: Long, manager: User, owner: User, public: Bool, ip: ipaddr, roles: Set<String>, labels: Set<String>,
    price: decimal, at: datetime, span: duration, name: String, peers: Set<User>, lines: Set<{ n: Long }>,
    info: { n: Long, deep: { x?: Long, ip?: ipaddr } }
} tags String;";

const CONTEXT: &str = "{
    mfa: Bool, ip: ipaddr, now: datetime, n: Long, who: User, span: duration, text: String, list: Set<String>,
    lines: Set<{ n: Long }>, info: { n: Long, deep: { x?: Long, ip?: ipaddr } }
}";

fn schema() -> String {
    let mut schema = format!(
        "entity Group in [Group] {SHAPE} entity User in [Group] {SHAPE}
         entity Folder in [Folder] {SHAPE} entity Doc in [Folder] {SHAPE}
         action any; action read in [any]; action write in [any];"
    );
    for (action, groups) in [
        ("view", "read"),
        ("edit", "write, read"),
        ("share", "write"),
        ("drop", "any"),
    ] {
        schema += &format!(
            "action {action} in [{groups}] appliesTo {{
                principal: [User, Group], resource: [Doc, Folder], context: {CONTEXT}
             }};"
        );
    }
    schema
}

/// So many policies that the schema has nothing against.
fn policies(dice: &mut Dice, schema: &Schema) -> String {
    let validator = Validator::new(schema.clone());
    let mut good = String::new();
    for _ in 0..60 {
        let policy = dice.policy();
        let set: PolicySet = policy.parse().unwrap();
        let result = validator.validate(&set, ValidationMode::Strict);
        if result.validation_passed() {
            good += &policy;
        }
    }
    good
}

#[test]
fn the_engine_answers_as_cedar_does_where_there_is_a_schema() {
    let worlds = std::env::var("ENGINE_WORLDS").map_or(WORLDS, |worlds| worlds.parse().unwrap());
    let (mut questions, mut allowed, mut refused) = (0, 0, 0);
    with_stack(|| {
        for seed in 0..worlds {
            let mut dice = Dice::new(seed, true);
            let (schema, _) = Schema::from_cedarschema_str(&self::schema()).unwrap();
            let kinds = ["User", "Group", "Doc", "Folder"];
            let mut entities = Vec::new();
            for (kind, id) in kinds.iter().flat_map(|kind| IDS.map(|id| (kind, id))) {
                if dice.percent(90) {
                    entities.push(dice.entity(kind, id).to_json_value().unwrap());
                }
            }
            let text = |path: &str, content: String| Text {
                path: path.into(),
                content,
            };
            let policies = policies(&mut dice, &schema);
            let snapshot = build(
                Texts {
                    policies: vec![text("p.cedar", policies.clone())],
                    schema: Some(text("s.cedarschema", self::schema())),
                    entities: Some(text("e.json", Json::Array(entities).to_string())),
                },
                Rules {
                    ids: Ids::Positional,
                    validate: true,
                    on_error: OnError::Cedar,
                },
            )
            .unwrap();
            for _ in 0..QUESTIONS {
                // Some types that the actions are not for.
                let question = Question {
                    principal: dice.one_of(&PRINCIPAL_TYPES),
                    action: uid("Action", dice.pick(&ACTIONS)),
                    resource: dice.one_of(&RESOURCE_TYPES),
                    context: dice.context(),
                    entities: Vec::new(),
                    consistency: Consistency::default(),
                    expires_at: None,
                };
                let answer = snapshot.decide(&question);
                let expected = snapshot.by_authorizer(&question).unwrap();
                assert_eq!(answer, expected, "seed {seed}, {question:?}\n{policies}");
                questions += 1;
                allowed += usize::from(answer.is_allow());
                let of_question = |error: &crate::answer::PolicyError| error.policy.is_none();
                refused += usize::from(answer.errors.iter().any(of_question));
            }
        }
    });
    assert!(allowed * 5 > questions, "{allowed} of {questions}");
    assert!(refused * 20 > questions, "{refused} of {questions}");
}

use cedar_policy::{Context, Entity, EntityUid, RestrictedExpression};
use prometheus::Registry;

use super::*;
use crate::config::OnError;
use crate::load::{Ids, Rules, Text, Texts, build};
use crate::question::Consistency;

const POLICIES: &str = r#"
    @id("staff") permit(principal in Group::"staff", action, resource) when { context.name == "ann" };
    @id("young") forbid(principal, action, resource) when { principal.age < 18 };
"#;

fn snapshot() -> Snapshot {
    let text = |path: &str, content: &str| Text {
        path: path.into(),
        content: content.to_owned(),
    };
    build(
        Texts {
            policies: vec![text("p.cedar", POLICIES)],
            schema: None,
            entities: Some(text(
                "e.json",
                r#"[{"uid":{"type":"User","id":"ann"},"attrs":{"age":40,"friend":{"__entity":{"type":"User","id":"ben"}}},
                     "parents":[{"type":"Group","id":"staff"}]}]"#,
            )),
        },
        Rules {
            ids: Ids::Annotated,
            validate: false,
            on_error: OnError::Cedar,
        },
    )
    .unwrap()
}

fn question(name: &str) -> Question {
    let uid = |uid: &str| uid.parse::<EntityUid>().unwrap();
    let name = RestrictedExpression::new_string(name.to_owned());
    let age = [("age".to_owned(), RestrictedExpression::new_long(3))];
    let given = Entity::new(uid(r#"User::"zoe""#), age.into(), Default::default()).unwrap();
    Question {
        principal: uid(r#"User::"ann""#),
        action: uid(r#"Action::"view""#),
        resource: uid(r#"Doc::"plan""#),
        context: Context::from_pairs([("name".to_owned(), name)]).unwrap(),
        entities: vec![given],
        consistency: Consistency::default(),
        expires_at: None,
    }
}

fn count(verifier: &Verifier, result: &str) -> u64 {
    verifier.results.with_label_values(&[result]).get()
}

#[test]
fn what_cedar_agrees_with_is_answered() {
    let verifier = Verifier::register(&Registry::new()).unwrap();
    verifier.set_share(1.0);
    let snapshot = snapshot();
    for (name, allowed) in [("ann", true), ("ben", false)] {
        let answer = snapshot.decide(&question(name));
        assert_eq!(answer.is_allow(), allowed);
        let verified = verifier.verify(&snapshot, &question(name), answer.clone());
        assert_eq!(verified, Ok(answer));
    }
    assert_eq!(
        (count(&verifier, "equal"), count(&verifier, "different")),
        (2, 0)
    );
}

#[test]
fn what_cedar_disagrees_with_is_denied() {
    let verifier = Verifier::register(&Registry::new()).unwrap();
    verifier.set_share(1.0);
    let mut snapshot = snapshot();
    snapshot.break_engine();
    let question = question("ann");
    let answer = snapshot.decide(&question);
    let denied = verifier.verify(&snapshot, &question, answer).unwrap_err();
    assert!(!denied.is_allow());
    assert_eq!(denied.source, Source::FailClosed);
    assert_eq!(count(&verifier, "different"), 1);
}

#[test]
fn as_many_are_verified_as_are_asked_for() {
    let verifier = Verifier::register(&Registry::new()).unwrap();
    for (share, expected) in [
        (0.0, 0..=0),
        (0.01, 90..=110),
        (0.5, 4900..=5100),
        (1.0, 10_000..=10_000),
    ] {
        verifier.set_share(share);
        let taken = (0..10_000).filter(|_| verifier.is_next()).count();
        assert!(expected.contains(&taken), "{share}: {taken}");
    }
}

#[test]
fn a_difference_can_be_reproduced_and_tells_no_texts() {
    let told = reproduction(&question("a secret")).to_string();
    assert!(!told.contains("secret"), "{told}");
    for part in [
        r#""principal":{"type":"User","id":"ann"}"#,
        r#""context":{"name":"(left out)"}"#,
        r#""age":3"#,
    ] {
        assert!(told.contains(part), "{told}");
    }
    let namespace = crate::namespace::Namespace::default();
    let asked = crate::api::ask(told.as_bytes(), 64, &snapshot(), &namespace);
    assert!(matches!(asked, Ok(crate::api::Asked::One(Ok(_)))));
}

/// Every question about stored entities and unknown ones, with no context and with all that there
/// can be, and with a principal as a token would make it.
#[test]
fn cedar_agrees_about_the_packs() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut questions = 0;
    for pack in std::fs::read_dir(root.join("policies")).unwrap() {
        let pack = pack.unwrap().path();
        let name = pack.file_name().unwrap().to_str().unwrap();
        let entities = pack.join("entities.json");
        let snapshot = crate::load::load(
            &crate::load::Sources {
                policies: pack.clone(),
                schema: Some(root.join(format!("schemas/{name}.cedarschema"))),
                entities: entities.exists().then_some(entities),
            },
            Rules {
                ids: Ids::Annotated,
                validate: true,
                on_error: OnError::Deny,
            },
        )
        .unwrap();
        let schema = snapshot.schema().unwrap().clone();
        let mut uids: Vec<EntityUid> = snapshot
            .entities()
            .iter()
            .map(|entity| entity.uid.to_cedar().into())
            .collect();
        for kind in schema.entity_types() {
            let id = cedar_policy::EntityId::new("nobody");
            uids.push(EntityUid::from_type_name_and_id(kind.clone(), id));
        }
        uids.sort_unstable();
        for action in schema.actions() {
            let shape = snapshot.context_shape(action).unwrap();
            for context in [Context::empty(), context_of(shape)] {
                for (principal, resource) in pairs(&uids) {
                    let question = Question {
                        principal: principal.clone(),
                        action: action.clone(),
                        resource: resource.clone(),
                        context: context.clone(),
                        entities: Vec::new(),
                        consistency: Consistency::default(),
                        expires_at: None,
                    };
                    let answer = snapshot.decide(&question);
                    assert_eq!(
                        Some(answer),
                        snapshot.by_authorizer(&question),
                        "{question:?}"
                    );
                    questions += 1;
                }
            }
        }
    }
    assert!(questions > 100, "{questions}");
}

fn pairs(uids: &[EntityUid]) -> impl Iterator<Item = (&EntityUid, &EntityUid)> {
    let some = |uids: &[EntityUid]| uids.len().div_ceil(25);
    let (step, uids) = (some(uids), uids);
    uids.iter()
        .step_by(step)
        .flat_map(move |one| uids.iter().step_by(step).map(move |other| (one, other)))
}

/// Every member that is declared.
fn context_of(shape: &crate::ContextShape) -> Context {
    let members = shape
        .iter()
        .map(|(name, member)| (name.to_owned(), value_of(&member.kind)));
    Context::from_pairs(members).unwrap()
}

fn value_of(kind: &crate::ContextKind) -> RestrictedExpression {
    use crate::ContextKind;
    match kind {
        ContextKind::Bool => RestrictedExpression::new_bool(true),
        ContextKind::Long => RestrictedExpression::new_long(1),
        ContextKind::String => RestrictedExpression::new_string("text".to_owned()),
        ContextKind::Ip => RestrictedExpression::new_ip("127.0.0.1"),
        ContextKind::Decimal => RestrictedExpression::new_decimal("1.5"),
        ContextKind::Datetime => RestrictedExpression::new_datetime("2026-01-01"),
        ContextKind::Duration => RestrictedExpression::new_duration("1h"),
        ContextKind::Entity(kind) => RestrictedExpression::new_entity_uid(
            EntityUid::from_type_name_and_id(kind.clone(), cedar_policy::EntityId::new("nobody")),
        ),
        ContextKind::Set(kind) => RestrictedExpression::new_set([value_of(kind)]),
        ContextKind::Record(shape) => {
            let members = shape
                .iter()
                .map(|(name, member)| (name.to_owned(), value_of(&member.kind)));
            RestrictedExpression::new_record(members).unwrap()
        }
    }
}

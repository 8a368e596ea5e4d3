//! The slice is right when nobody can tell it from the whole store.

use std::collections::{BTreeMap, HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema,
};
use proptest::prelude::*;

use crate::config::OnError;
use crate::load::{Ids, Rules, Text, Texts, build};
use crate::question::{Consistency, Question};

const SCHEMA: &str = r#"
    entity U in [U] { friend?: U, n?: Long, friends?: Set<U> };
    action group;
    action a in [group] appliesTo { principal: U, resource: U, context: { who?: U, deep?: { who: U } } };
    action b appliesTo { principal: U, resource: U, context: { who?: U, deep?: { who: U } } };
"#;

/// Every way of reaching an entity: scope, attribute, set, context, literal, chains of them.
const POLICIES: &str = r#"
    permit(principal in U::"6", action, resource);
    permit(principal in U::"5", action, resource);
    permit(principal, action, resource in U::"4");
    permit(principal, action, resource in U::"6");
    permit(principal, action in Action::"group", resource in U::"5");
    permit(principal, action, resource) when { principal has friend && principal.friend in U::"6" };
    permit(principal, action, resource) when { principal has friend && principal.friend has n };
    permit(principal, action, resource) when { context has who && context.who in U::"6" };
    permit(principal, action, resource) when { context has who && context.who has n };
    permit(principal, action, resource) when { context has deep && context.deep.who has friend && context.deep.who.friend has n };
    permit(principal, action, resource) when { U::"3" in U::"5" };
    permit(principal, action, resource) when { resource has friend && resource.friend has friend && resource.friend.friend in principal };
    permit(principal, action, resource) when { principal has friends && principal.friends.contains(resource) };
    permit(principal, action == Action::"b", resource) when { principal in [U::"4", resource] };
    forbid(principal, action, resource) when { U::"5" has n && U::"5".n > 2 };
    forbid(principal, action, resource) when { principal has n && principal.n * 9223372036854775807 > 0 };
    forbid(principal, action, resource) when { resource has friend && resource.friend has n && resource.friend.n == 3 };
"#;

/// An entity as it is generated.
#[derive(Debug, Clone)]
struct Node {
    parents: Vec<u8>,
    friend: Option<u8>,
    friends: Vec<u8>,
    n: Option<i64>,
}

fn uid(id: u8) -> EntityUid {
    format!("U::\"{id}\"").parse().unwrap()
}

fn entity(id: u8, node: &Node) -> Entity {
    let mut attributes = HashMap::new();
    let reference = |id: u8| RestrictedExpression::new_entity_uid(uid(id));
    if let Some(friend) = node.friend {
        attributes.insert("friend".to_owned(), reference(friend));
    }
    if let Some(n) = node.n {
        attributes.insert("n".to_owned(), RestrictedExpression::new_long(n));
    }
    if !node.friends.is_empty() {
        let friends = node.friends.iter().map(|id| reference(*id));
        attributes.insert("friends".to_owned(), RestrictedExpression::new_set(friends));
    }
    let parents: HashSet<EntityUid> = node.parents.iter().map(|id| uid(*id)).collect();
    Entity::new(uid(id), attributes, parents).unwrap()
}

fn node() -> impl Strategy<Value = Node> {
    let ids = || prop::collection::vec(0..7_u8, 0..3);
    (
        ids(),
        prop::option::of(0..7_u8),
        ids(),
        prop::option::weighted(0.3, 0..4_i64),
    )
        .prop_map(|(parents, friend, friends, n)| Node {
            parents,
            friend,
            friends,
            n,
        })
}

/// Up to seven entities; `upwards` keeps the hierarchy free of cycles.
fn nodes(upwards: bool, most: usize) -> impl Strategy<Value = BTreeMap<u8, Node>> {
    prop::collection::btree_map(0..7_u8, node(), 0..most).prop_map(move |mut nodes| {
        if upwards {
            for (id, node) in &mut nodes {
                node.parents.retain(|parent| parent > id);
            }
        }
        nodes
    })
}

/// What Cedar itself says over the whole store with the given entities in place of the stored.
fn reference(
    stored: &BTreeMap<u8, Node>,
    given: &BTreeMap<u8, Node>,
    question: &Question,
    schema: Option<&Schema>,
) -> Option<(Decision, Vec<String>, Vec<String>)> {
    let mut all = stored.clone();
    all.extend(given.clone());
    let entities =
        Entities::from_entities(all.iter().map(|(id, node)| entity(*id, node)), schema).ok()?;
    let request = Request::new(
        question.principal.clone(),
        question.action.clone(),
        question.resource.clone(),
        question.context.clone(),
        schema,
    )
    .unwrap();
    let policies: PolicySet = POLICIES.parse().unwrap();
    let response = Authorizer::new().is_authorized(&request, &policies, &entities);
    let mut reasons: Vec<String> = response
        .diagnostics()
        .reason()
        .map(ToString::to_string)
        .collect();
    let mut errors: Vec<String> = response
        .diagnostics()
        .errors()
        .map(ToString::to_string)
        .collect();
    reasons.sort();
    errors.sort();
    Some((response.decision(), reasons, errors))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_slice_answers_as_the_whole_store(
        stored in nodes(true, 7),
        given in nodes(false, 4),
        upwards in any::<bool>(),
        (principal, resource, who, deep) in (0..7_u8, 0..7_u8, prop::option::of(0..7_u8), prop::option::of(0..7_u8)),
        group in any::<bool>(),
        typed in any::<bool>(),
    ) {
        let mut given = given;
        if upwards {
            given.iter_mut().for_each(|(id, node)| node.parents.retain(|parent| parent > id));
        }
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
        let json: Vec<_> = stored.iter().map(|(id, node)| entity(*id, node).to_json_value().unwrap()).collect();
        let text = |path: &str, content: String| Text { path: path.into(), content };
        let snapshot = build(
            Texts {
                policies: vec![text("p.cedar", POLICIES.to_owned())],
                schema: typed.then(|| text("s.cedarschema", SCHEMA.to_owned())),
                entities: Some(text("e.json", serde_json::to_string(&json).unwrap())),
            },
            Rules { ids: Ids::Positional, validate: true, on_error: OnError::Cedar },
        )
        .unwrap();
        let reference_to = |id: u8| RestrictedExpression::new_entity_uid(uid(id));
        let context = [
            who.map(|id| ("who".to_owned(), reference_to(id))),
            deep.map(|id| {
                let record = RestrictedExpression::new_record([("who".to_owned(), reference_to(id))]);
                ("deep".to_owned(), record.unwrap())
            }),
        ];
        let question = Question {
            principal: uid(principal),
            action: format!("Action::\"{}\"", if group { "a" } else { "b" }).parse().unwrap(),
            resource: uid(resource),
            context: Context::from_pairs(context.into_iter().flatten()).unwrap(),
            entities: given.iter().map(|(id, node)| entity(*id, node)).collect(),
            consistency: Consistency::default(),
            expires_at: None,
        };
        let answer = snapshot.decide(&question);
        match reference(&stored, &given, &question, typed.then_some(&schema)) {
            Some((decision, reasons, errors)) => {
                let got: Vec<String> = answer.determining_policies.iter().map(ToString::to_string).collect();
                let mut got_errors: Vec<String> = answer
                    .errors
                    .iter()
                    .map(|error| {
                        let policy = error.policy.as_deref().unwrap();
                        format!("error while evaluating policy `{policy}`: {}", error.message)
                    })
                    .collect();
                got_errors.sort();
                prop_assert_eq!(answer.decision, decision);
                prop_assert_eq!(got, reasons);
                prop_assert_eq!(got_errors, errors);
            }
            None => {
                prop_assert_eq!(answer.decision, Decision::Deny);
                prop_assert!(answer.errors[0].message.contains("ancestor"), "{:?}", answer);
            }
        }
    }
}

#[test]
fn a_long_chain_of_given_entities_ends_in_time() {
    let snapshot = build(
        Texts::default(),
        Rules {
            ids: Ids::Positional,
            validate: true,
            on_error: OnError::Deny,
        },
    )
    .unwrap();
    let named = |n: usize| format!("U::\"{n}\"").parse::<EntityUid>().unwrap();
    let chain = |length: usize| {
        let entities =
            (0..length).map(|n| Entity::new_no_attrs(named(n), HashSet::from([named(n + 1)])));
        let answer = snapshot.decide(&Question {
            principal: named(0),
            action: "Action::\"a\"".parse().unwrap(),
            resource: named(1),
            context: Context::empty(),
            entities: entities.collect(),
            consistency: Consistency::default(),
            expires_at: None,
        });
        answer.errors
    };
    assert_eq!(chain(300), []);
    assert!(
        chain(10_000)[0]
            .message
            .contains("more than 100000 ancestors")
    );
}

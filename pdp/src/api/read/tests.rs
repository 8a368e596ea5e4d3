use serde_json::json;

use super::*;
use crate::api::tests::serve;
use crate::config::ApiLimits;

fn fields(value: &Value) -> QuestionBody {
    serde_json::from_value(value.clone()).unwrap()
}

/// A thousand items with one context in common cost one reading of it, not a thousand.
#[test]
fn what_is_in_common_is_read_once() {
    let served = serve(ApiLimits::default());
    let snapshot = served.pdp.snapshot();
    let shared = json!({
        "principal": "User::\"ann\"", "resource": "User::\"ann\"", "context": { "mfa": true },
        "entities": [{ "uid": { "type": "Shop::User", "id": "ann" }, "attrs": {}, "parents": [] }],
    });
    let mut common = Common::new(fields(&shared), &snapshot);
    for index in 0..1000 {
        let action = if index % 2 == 0 { "view" } else { "fail" };
        let item = fields(&json!({ "action": action }));
        let reading = question(item, &mut common, &snapshot, served.pdp.namespace()).unwrap();
        // `fail` declares no context, so that the one in common does not fit it.
        match reading {
            Reading::Question(question) => {
                assert_eq!((action, question.entities.len()), ("view", 1));
                assert_eq!(
                    question.context.get("mfa"),
                    Some(cedar_policy::EvalResult::Bool(true))
                );
                // Whoever borrows them gives them back.
                *common.entities().unwrap() = question.entities;
            }
            Reading::OutsideSchema(..) => assert_eq!(action, "fail"),
        }
    }
    assert_eq!(common.contexts.len(), 2);
    let own = fields(&json!({ "action": "view", "context": {} }));
    let reading = question(own, &mut common, &snapshot, served.pdp.namespace()).unwrap();
    let Reading::Question(question) = reading else {
        panic!("outside the schema");
    };
    assert!(question.context.get("mfa").is_none());
}

#[test]
fn a_misspelt_member_of_an_entity_is_found() {
    let served = serve(ApiLimits::default());
    let entity = json!({ "uid": { "type": "Shop::User", "id": "ann" }, "attrs": {}, "parents": [], "tag": {} });
    let body = json!({
        "principal": "User::\"ann\"", "action": "view", "resource": "User::\"ann\"", "entities": [entity],
    });
    let snapshot = served.pdp.snapshot();
    let read = read_bytes(
        body.to_string().as_bytes(),
        32,
        &snapshot,
        served.pdp.namespace(),
    );
    let refusal = read.unwrap_err();
    assert_eq!(refusal.code, "invalid_request");
    assert!(refusal.message.contains("`tag`"), "{}", refusal.message);
}

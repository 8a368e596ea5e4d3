use axum::body::Body;
use http::{Request, StatusCode};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::value;
use crate::api::tests::{Served, serve_policies};
use crate::config::ApiLimits;

const SCHEMA: &str = r#"namespace Shop {
    entity Group;
    entity User in [Group] = { age?: Long, home?: ipaddr, boss?: User } tags String;
    action view, edit appliesTo {
        principal: User,
        resource: User,
        context: {
            b?: Bool, n?: Long, s?: String, ip?: ipaddr, d?: decimal, t?: datetime, span?: duration,
            who?: User, set?: Set<Long>, rec?: { a?: Bool, s?: String },
        },
    };
}"#;

const POLICIES: &str = r#"
    @id("own") permit(principal, action, resource) when { principal == resource };
    @id("group") permit(principal in Shop::Group::"g", action == Shop::Action::"view", resource);
    @id("no") forbid(principal, action, resource) when { context has b && !context.b };
    @id("sum") permit(principal, action, resource)
        when { context has n && context.n + 9223372036854775807 > 0 };
    @id("ip") permit(principal, action, resource)
        when { context has ip && context.ip.isInRange(ip("10.0.0.0/8")) };
    @id("decimal") permit(principal, action, resource)
        when { context has d && context.d.greaterThan(decimal("1.5")) };
    @id("time") forbid(principal, action, resource)
        when { context has t && context.t > datetime("2030-01-01") };
    @id("span") permit(principal, action, resource)
        when { context has span && context.span > duration("1h") };
    @id("who") permit(principal, action, resource)
        when { context has who && context.who has age && context.who.age > 17 };
    @id("set") permit(principal, action, resource)
        when { context has set && context.set.contains(7) };
    @id("rec") forbid(principal, action, resource)
        when { context has rec && context.rec has a && context.rec.a };
    @id("tag") permit(principal, action, resource)
        when { principal.hasTag("vip") && principal.getTag("vip") == "yes" };
    @id("boss") permit(principal, action, resource)
        when { resource has boss && resource.boss == principal };
"#;

/// A value, to be written in the JSON of AWS and in that of Cedar.
#[derive(Debug, Clone)]
enum Typed {
    Boolean(bool),
    Long(i64),
    String(&'static str),
    Call(&'static str, &'static str),
    Entity(&'static str),
    Set(Vec<Typed>),
    Record(Vec<(&'static str, Typed)>),
}

/// An entity, to be written in both.
#[derive(Debug, Clone)]
struct Known {
    id: &'static str,
    attributes: Vec<(&'static str, Typed)>,
    group: bool,
    vip: Option<&'static str>,
}

const IDS: [&str; 3] = ["ann", "ben", "eve\n\"*\\"];

// === impl Typed ===

impl Typed {
    fn aws(&self) -> Value {
        match self {
            Self::Boolean(value) => json!({ "boolean": value }),
            Self::Long(value) => json!({ "long": value }),
            Self::String(value) => json!({ "string": value }),
            Self::Call("ip", argument) => json!({ "ipaddr": argument }),
            Self::Call(function, argument) => json!({ (*function): argument }),
            Self::Entity(id) => {
                json!({ "entityIdentifier": { "entityType": "Shop::User", "entityId": id } })
            }
            Self::Set(values) => json!({ "set": values.iter().map(Self::aws).collect::<Vec<_>>() }),
            Self::Record(members) => json!({ "record": object(members, Self::aws) }),
        }
    }

    fn cedar(&self) -> Value {
        match self {
            Self::Boolean(value) => json!(value),
            Self::Long(value) => json!(value),
            Self::String(value) => json!(value),
            Self::Call(function, argument) => {
                json!({ "__extn": { "fn": function, "arg": argument } })
            }
            Self::Entity(id) => json!({ "__entity": { "type": "Shop::User", "id": id } }),
            Self::Set(values) => values.iter().map(Self::cedar).collect(),
            Self::Record(members) => object(members, Self::cedar),
        }
    }
}

// === impl Known ===

impl Known {
    fn aws(&self) -> Value {
        let mut item = json!({
            "identifier": { "entityType": "Shop::User", "entityId": self.id },
            "attributes": object(&self.attributes, Typed::aws),
        });
        if self.group {
            item["parents"] = json!([{ "entityType": "Shop::Group", "entityId": "g" }]);
        }
        if let Some(vip) = self.vip {
            item["tags"] = json!({ "vip": { "string": vip } });
        }
        item
    }

    fn cedar(&self) -> Value {
        let mut entity = json!({
            "uid": { "type": "Shop::User", "id": self.id },
            "attrs": object(&self.attributes, Typed::cedar),
            "parents": [],
        });
        if self.group {
            entity["parents"] = json!([{ "type": "Shop::Group", "id": "g" }]);
        }
        if let Some(vip) = self.vip {
            entity["tags"] = json!({ "vip": vip });
        }
        entity
    }
}

fn object(members: &[(&'static str, Typed)], write: fn(&Typed) -> Value) -> Value {
    let members = members
        .iter()
        .map(|(name, value)| ((*name).to_owned(), write(value)));
    Value::Object(members.collect::<Map<_, _>>())
}

fn id() -> impl Strategy<Value = &'static str> {
    prop::sample::select(IDS.to_vec())
}

/// A value that `name` may have; now and then one that it may not, or that is none.
fn typed(name: &'static str) -> BoxedStrategy<(&'static str, Typed)> {
    let right = match name {
        "b" | "a" => any::<bool>().prop_map(Typed::Boolean).boxed(),
        "n" | "age" => prop::sample::select(vec![0, 1, 18, -5, i64::MAX, i64::MIN])
            .prop_map(Typed::Long)
            .boxed(),
        "ip" | "home" => {
            prop::sample::select(vec!["10.1.2.3", "192.168.0.0/16", "::1", "999.1.1.1"])
                .prop_map(|argument| Typed::Call("ip", argument))
                .boxed()
        }
        "d" => prop::sample::select(vec!["1.5", "2.25", "-0.0001"])
            .prop_map(|argument| Typed::Call("decimal", argument))
            .boxed(),
        "t" => prop::sample::select(vec!["2024-10-15T11:35:00Z", "2031-01-01", "2024-13-01"])
            .prop_map(|argument| Typed::Call("datetime", argument))
            .boxed(),
        "span" => prop::sample::select(vec!["1h30m", "-5ms", "59m"])
            .prop_map(|argument| Typed::Call("duration", argument))
            .boxed(),
        "who" | "boss" => id().prop_map(Typed::Entity).boxed(),
        "set" => prop::collection::vec(0_i64..9, 0..4)
            .prop_map(|values| Typed::Set(values.into_iter().map(Typed::Long).collect()))
            .boxed(),
        "rec" => prop::collection::vec(prop_oneof![typed("a"), typed("s")], 0..2)
            .prop_map(|mut members| {
                members.sort_by_key(|(name, _)| *name);
                members.dedup_by_key(|(name, _)| *name);
                Typed::Record(members)
            })
            .boxed(),
        _ => prop::sample::select(vec!["", "x", "10.0.0.1", "__extn", "\u{1F512}"])
            .prop_map(Typed::String)
            .boxed(),
    };
    let wrong = prop_oneof![
        Just(Typed::String("10.0.0.1")),
        Just(Typed::Boolean(true)),
        Just(Typed::Set(vec![Typed::Boolean(true), Typed::Long(1)])),
        Just(Typed::Record(vec![("zz", Typed::Long(1))])),
    ];
    prop_oneof![20 => right, 1 => wrong]
        .prop_map(move |value| (name, value))
        .boxed()
}

fn members(names: &'static [&'static str]) -> impl Strategy<Value = Vec<(&'static str, Typed)>> {
    prop::sample::subsequence(names, 0..=names.len().min(3))
        .prop_flat_map(|names| names.into_iter().map(typed).collect::<Vec<_>>())
}

fn known() -> impl Strategy<Value = Known> {
    let vip = prop::option::of(prop::sample::select(vec!["yes", "no"]));
    (id(), members(&["age", "home", "boss"]), any::<bool>(), vip).prop_map(
        |(id, attributes, group, vip)| Known {
            id,
            attributes,
            group,
            vip,
        },
    )
}

fn identifier(id: &str) -> Value {
    json!({ "entityType": "Shop::User", "entityId": id })
}

async fn call(served: &Served, operation: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::post("/")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", format!("VerifiedPermissions.{operation}"))
        .body(Body::from(body.to_string()))
        .unwrap();
    let (status, headers, value) = served.send(request).await;
    assert_eq!(headers["content-type"], "application/x-amz-json-1.0");
    assert_eq!(headers["x-amzn-requestid"], headers["x-request-id"]);
    (status, value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_native_api_says_the_same(
        questions in prop::collection::vec((id(), id(), prop::sample::select(vec!["view", "edit", "fly"]),
            members(&["b", "n", "s", "ip", "d", "t", "span", "who", "set", "rec", "zz"]), any::<bool>()), 1..4),
        known in prop::collection::vec(known(), 0..4),
        as_text in any::<bool>(),
    ) {
        thread_local! {
            static SERVED: Served = serve_policies(SCHEMA, POLICIES, ApiLimits::default());
        }
        // Of two with the same identifier the last counts, where AWS lists them; Cedar takes none.
        let mut last: Vec<&Known> = Vec::new();
        for known in &known {
            match last.iter_mut().find(|earlier| earlier.id == known.id) {
                Some(earlier) => *earlier = known,
                None => last.push(known),
            }
        }
        let cedar: Vec<Value> = last.iter().map(|known| known.cedar()).collect();
        let entities = if as_text {
            json!({ "cedarJson": json!(cedar).to_string() })
        } else {
            json!({ "entityList": known.iter().map(Known::aws).collect::<Vec<_>>() })
        };
        let principal = questions[0].0;
        let asked: Vec<(Value, Value)> = questions.iter().map(|(_, resource, action, context, as_text)| {
            let native = json!({
                "principal": { "type": "Shop::User", "id": principal },
                "action": { "type": "Shop::Action", "id": action },
                "resource": { "type": "Shop::User", "id": resource },
                "context": object(context, Typed::cedar),
                "entities": cedar,
            });
            let context = if *as_text {
                json!({ "cedarJson": object(context, Typed::cedar).to_string() })
            } else {
                json!({ "contextMap": object(context, Typed::aws) })
            };
            let aws = json!({
                "principal": identifier(principal),
                "action": { "actionType": "Shop::Action", "actionId": action },
                "resource": identifier(resource),
                "context": context,
            });
            (native, aws)
        }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        SERVED.with(|served| runtime.block_on(async {
            // What a batch lends from question to question is what Cedar's own authorizer gets too.
            served.pdp.verify(1.0);
            let together: Vec<Value> = asked.iter().map(|(native, _)| {
                let mut item = native.clone();
                item.as_object_mut().unwrap().remove("entities");
                item
            }).collect();
            let together = json!({ "requests": together, "entities": cedar });
            let (_, together) = served.post("/v1/authorize/batch", together.to_string()).await;
            let requests: Vec<&Value> = asked.iter().map(|(_, aws)| aws).collect();
            let batch = json!({ "policyStoreId": "PSEXAMPLE", "requests": requests, "entities": entities });
            let (batch_status, batch) = call(served, "BatchIsAuthorized", &batch).await;
            let mut refused = false;
            for (index, (native, aws)) in asked.iter().enumerate() {
                let (native_status, native) = served.post("/v1/authorize", native.to_string()).await;
                let item = &together["results"][index];
                assert_eq!(item.get("error").is_some(), native_status != StatusCode::OK);
                if native_status == StatusCode::OK {
                    for member in ["decision", "determining_policies", "errors", "source"] {
                        assert_eq!(item[member], native[member], "{member}");
                    }
                }
                let mut single = aws.clone();
                single["policyStoreId"] = json!("default");
                single["entities"] = entities.clone();
                let (status, single) = call(served, "IsAuthorized", &single).await;
                assert_eq!(status, native_status, "{native} {single}");
                if status != StatusCode::OK {
                    assert_eq!(single["__type"], "ValidationException", "{single}");
                    refused = true;
                    continue;
                }
                let policies: Vec<&Value> = single["determiningPolicies"].as_array().unwrap()
                    .iter().map(|policy| &policy["policyId"]).collect();
                assert_eq!(single["decision"], native["decision"], "{native} {single}");
                assert_eq!(json!(policies), native["determining_policies"]);
                let (errors, native_errors) = (single["errors"].as_array().unwrap(), native["errors"].as_array().unwrap());
                assert_eq!(errors.len(), native_errors.len());
                for (error, native) in errors.iter().zip(native_errors) {
                    let description = error["errorDescription"].as_str().unwrap();
                    assert!(description.ends_with(native["message"].as_str().unwrap()), "{error} {native}");
                }
                if batch_status == StatusCode::OK {
                    let item = &batch["results"][index];
                    assert_eq!(item["request"], *aws);
                    for member in ["decision", "determiningPolicies", "errors"] {
                        assert_eq!(item[member], single[member]);
                    }
                }
            }
            assert_eq!(batch_status == StatusCode::OK, !refused, "{batch}");
        }));
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..300), batch in any::<bool>()) {
        thread_local! {
            static SERVED: Served = serve_policies(SCHEMA, POLICIES, ApiLimits::default());
        }
        let operation = if batch { "BatchIsAuthorized" } else { "IsAuthorized" };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        SERVED.with(|served| runtime.block_on(async {
            let request = Request::post("/")
                .header("content-type", "application/x-amz-json-1.0")
                .header("x-amz-target", format!("VerifiedPermissions.{operation}"))
                .body(Body::from(body))
                .unwrap();
            let (status, _, value) = served.send(request).await;
            assert_eq!((status, &value["__type"]), (StatusCode::BAD_REQUEST, &json!("ValidationException")));
        }));
    }
}

#[test]
fn texts_are_held_to_the_model() {
    for (text, good, bad) in [
        (&value::POLICY_STORE_ID, "policy-store-alias/a_1", "a b"),
        (&value::ENTITY_TYPE, "Shop::User", ""),
        (&value::ENTITY_ID, "a\nb", ""),
        (&value::ACTION_TYPE, "Shop::Action", "Shop::Actions"),
        (&value::ACTION_TYPE, "Action", "MyAction"),
        (&value::ACTION_ID, "view", ""),
        (&value::IP_ADDR, "2001:db8::/32", "localhost"),
        (&value::DECIMAL, "-12.3456", "1.23456"),
        (&value::DECIMAL, "0.1", "\u{0661}.\u{0661}"),
        (
            &value::DATETIME,
            "2024-10-15T11:35:00.000+0200",
            "2024-10-15T11:35",
        ),
        (&value::DURATION, "-1d2h3m4s5ms", "5ms1d"),
    ] {
        assert!(text.check(good, "member").is_ok(), "{good}");
        assert!(text.check(bad, "member").is_err(), "{bad}");
    }
    for (text, max) in [(&value::ENTITY_TYPE, 200), (&value::ENTITY_ID, 612)] {
        // Characters, not bytes.
        assert!(text.check(&"\u{e4}".repeat(max), "member").is_ok());
        assert!(text.check(&"\u{e4}".repeat(max + 1), "member").is_err());
        assert!(text.check(&"\u{e4}".repeat(max * 4), "member").is_err());
    }
}

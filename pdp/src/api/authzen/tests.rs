use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use callers::Callers;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use settings::Span;
use tempfile::TempDir;

use super::super::DecisionApi;
use super::*;
use crate::config::{ApiLimits, AvpApiConfig, OnError, PoliciesConfig, PolicySource};
use crate::pdp::Pdp;

const SCHEMA: &str = r#"namespace Lab {
    entity Group in [Group];
    entity User in [Group] { level?: Long, boss?: User, seen?: datetime };
    entity Folder;
    entity Doc in [Folder] { owner?: User, public?: Bool };
    action "read" ;
    action view, edit in ["read"] appliesTo {
        principal: User, resource: [Doc, User], context: { mfa?: Bool, action?: { soft?: Bool } }
    };
    action audit appliesTo { principal: Group, resource: Doc };
}"#;

/// What random policies are made of.
const SCOPES: [&str; 5] = [
    "principal, action, resource",
    "principal in Lab::Group::\"g1\", action in Lab::Action::\"read\", resource",
    "principal == Lab::User::\"u1\", action == Lab::Action::\"edit\", resource is Lab::Doc",
    "principal is Lab::User, action in [Lab::Action::\"view\", Lab::Action::\"edit\"], resource in Lab::Folder::\"f0\"",
    "principal is Lab::Group, action == Lab::Action::\"audit\", resource",
];
const CONDITIONS: [&str; 7] = [
    "true",
    "principal is Lab::User && principal has level && principal.level > 2",
    "resource is Lab::Doc && resource has public && resource.public",
    "resource is Lab::Doc && resource has owner && resource.owner == principal",
    "resource is Lab::Doc && resource has owner && resource.owner has level && resource.owner.level + 9223372036854775806 > 0",
    "context has mfa && context.mfa",
    "context has action && context.action has soft && context.action.soft",
];

/// Policies, entities, and the APIs over them.
struct Lab {
    folder: TempDir,
    pdp: Arc<Pdp>,
    api: DecisionApi,
    entities: Vec<Value>,
}

// === impl Lab ===

impl Lab {
    fn new(policies: &str, entities: Vec<Value>, search: SearchLimits) -> Self {
        Self::fresh_for(Span::from_secs(3600), policies, entities, search)
    }

    fn fresh_for(
        max_staleness: Span,
        policies: &str,
        entities: Vec<Value>,
        search: SearchLimits,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("p.cedar"), policies).unwrap();
        fs::write(path("s.cedarschema"), SCHEMA).unwrap();
        fs::write(path("e.json"), Value::from(entities.clone()).to_string()).unwrap();
        let config = PoliciesConfig {
            source: PolicySource::Dir(path("p.cedar")),
            schema: Some(path("s.cedarschema")),
            allow_no_schema: false,
            entities: Some(path("e.json")),
            namespace: Some("Lab".to_owned()),
            on_error: OnError::Deny,
            max_staleness,
        };
        let pdp = Pdp::open(&config, &prometheus::Registry::new()).unwrap();
        let config = AuthzenConfig {
            types: BTreeMap::from([("person".to_owned(), "User".to_owned())]),
            search,
            ..AuthzenConfig::default()
        };
        let snapshot = pdp.snapshot();
        let authzen = Authzen::new(&config, pdp.namespace(), snapshot.schema()).unwrap();
        let callers = Callers::new(&[], &"127.0.0.1:0".parse().unwrap());
        let (limits, avp) = (ApiLimits::default(), AvpApiConfig::default());
        let api = DecisionApi::new(
            Arc::clone(&pdp),
            callers,
            limits,
            avp,
            crate::bearer::Bearers::default(),
            authzen,
        );
        Self {
            folder,
            pdp,
            api,
            entities,
        }
    }

    /// Replaces the stored entities.
    fn store(&mut self, entities: Vec<Value>) {
        let text = Value::from(entities.clone()).to_string();
        fs::write(self.folder.path().join("e.json"), text).unwrap();
        self.pdp.refresh();
        self.entities = entities;
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.api.call(request).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    async fn ask(&self, body: &Value) -> bool {
        let (status, answer) = self.post("/access/v1/evaluation", body).await;
        assert_eq!(status, 200, "{body}: {answer}");
        answer["decision"].as_bool().unwrap()
    }

    /// The same question to the native API, which takes whole entities.
    async fn ask_native(&self, body: &Value) -> bool {
        let uid = |party: &Value| {
            let name = party["type"].as_str().unwrap().replace("person", "User");
            json!({"type": name, "id": party["id"]})
        };
        let mut context = body["context"].as_object().cloned().unwrap_or_default();
        if let Some(about) = body["action"].get("properties") {
            context.insert("action".into(), about.clone());
        }
        let given = |party: &Value| {
            let properties = party.get("properties")?.as_object()?;
            let mut uid = uid(party);
            uid["type"] = format!("Lab::{}", uid["type"].as_str().unwrap()).into();
            let mut entity = json!({"uid": uid, "attrs": {}, "parents": []});
            if let Some(stored) = self.entities.iter().find(|stored| stored["uid"] == uid) {
                entity = stored.clone();
            }
            let attributes = entity["attrs"].as_object_mut().unwrap();
            attributes.extend(properties.clone());
            Some(entity)
        };
        let entities = [&body["subject"], &body["resource"]];
        let mut entities: Vec<Value> = entities.into_iter().filter_map(given).collect();
        entities.dedup();
        let question = json!({
            "principal": uid(&body["subject"]), "action": body["action"]["name"],
            "resource": uid(&body["resource"]), "context": context, "entities": entities,
        });
        let (status, answer) = self.post("/v1/authorize", &question).await;
        assert_eq!(status, 200, "{question}: {answer}");
        answer["decision"] == "ALLOW"
    }

    /// All results of a search, page by page. After each page `between` may change the world.
    async fn search(
        &mut self,
        path: &str,
        body: &Value,
        limit: Option<u64>,
        mut between: impl FnMut(&mut Self, usize),
    ) -> Vec<String> {
        let (mut all, mut token, mut pages) = (Vec::new(), Value::Null, 0);
        loop {
            let mut body = body.clone();
            body["page"] = json!({"token": token});
            if let Some(limit) = limit {
                body["page"]["limit"] = limit.into();
            }
            let (status, found) = self.post(&format!("/access/v1/search/{path}"), &body).await;
            assert_eq!(status, 200, "{body}: {found}");
            let results = found["results"].as_array().unwrap();
            assert_eq!(found["page"]["count"], results.len());
            assert!(limit.is_none_or(|limit| results.len() as u64 <= limit));
            all.extend(results.iter().map(|result| {
                let name = result.get("name").unwrap_or(&result["id"]);
                name.as_str().unwrap().to_owned()
            }));
            token = found["page"]["next_token"].clone();
            pages += 1;
            if token == "" {
                return all;
            }
            assert!(pages < 1000, "the end is reached");
            between(self, pages);
        }
    }
}

fn user(n: usize) -> Value {
    json!({"uid": {"type": "Lab::User", "id": format!("u{n}")}, "attrs": {"level": n % 5},
        "parents": if n.is_multiple_of(3) { json!([{"type": "Lab::Group", "id": format!("g{}", n % 2)}]) } else { json!([]) }})
}

fn doc(n: usize) -> Value {
    json!({"uid": {"type": "Lab::Doc", "id": format!("d{n}")},
        "attrs": {"public": n.is_multiple_of(4), "owner": {"__entity": {"type": "Lab::User", "id": format!("u{}", n % 7)}}},
        "parents": [{"type": "Lab::Folder", "id": format!("f{}", n % 3)}]})
}

fn world(users: usize, docs: usize) -> Vec<Value> {
    let groups = (0..2).map(|n| json!({"uid": {"type": "Lab::Group", "id": format!("g{n}")}, "attrs": {}, "parents": []}));
    groups
        .chain((0..users).map(user))
        .chain((0..docs).map(doc))
        .collect()
}

fn policies() -> impl Strategy<Value = String> {
    let policy = (
        prop::bool::weighted(0.75),
        0..SCOPES.len(),
        0..CONDITIONS.len(),
    );
    prop::collection::vec(policy, 1..8).prop_map(|policies| {
        let texts = policies.into_iter().map(|(permits, scope, condition)| {
            let effect = if permits { "permit" } else { "forbid" };
            format!(
                "{effect}({}) when {{ {} }};\n",
                SCOPES[scope], CONDITIONS[condition]
            )
        });
        texts.collect()
    })
}

fn party(types: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let letter = |name: &str| match name {
        "Doc" => "d",
        "Group" => "g",
        _ => "u",
    };
    let level = prop::option::of(0..6);
    (prop::sample::select(types), 0..9, level).prop_map(move |(name, n, level)| {
        let mut party = json!({"type": name, "id": format!("{}{n}", letter(name))});
        if let (Some(level), "person" | "User") = (level, name) {
            party["properties"] = json!({"level": level});
        }
        party
    })
}

fn question() -> impl Strategy<Value = Value> {
    let subject = party(&["person", "person", "User", "Group"]);
    let resource = party(&["Doc", "Doc", "Doc", "User", "Group"]);
    let action = prop::sample::select(&["view", "edit", "audit", "fly"][..]);
    let (mfa, soft) = (
        prop::option::of(any::<bool>()),
        prop::option::of(any::<bool>()),
    );
    (subject, action, resource, mfa, soft).prop_map(|(subject, action, resource, mfa, soft)| {
        let mut question = json!({"subject": subject, "action": {"name": action}, "resource": resource, "context": {}});
        // These two declare no context, and to the native API that matters.
        if !matches!(action, "audit" | "fly") {
            if let Some(mfa) = mfa {
                question["context"]["mfa"] = mfa.into();
            }
            if let Some(soft) = soft {
                question["action"]["properties"] = json!({"soft": soft});
            }
        }
        question
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_question_is_answered_as_the_native_api_does(
        policies in policies(),
        questions in prop::collection::vec(question(), 40),
    ) {
        let lab = Lab::new(&policies, world(8, 8), SearchLimits::default());
        block_on(async {
            for question in &questions {
                assert_eq!(lab.ask(question).await, lab.ask_native(question).await, "{question}\n{policies}");
            }
            let (status, many) = lab.post("/access/v1/evaluations", &json!({"evaluations": questions})).await;
            assert_eq!(status, 200);
            for (question, one) in questions.iter().zip(many["evaluations"].as_array().unwrap()) {
                assert_eq!(one, &json!({"decision": lab.ask(question).await}), "{question}");
            }
        });
    }

    #[test]
    fn a_search_finds_what_single_questions_allow(
        policies in policies(),
        questions in prop::collection::vec(question(), 6),
        limit in prop::option::of(1..12_u64),
        max_candidates in 1..30_usize,
        page_size in 1..12_usize,
    ) {
        let search = SearchLimits { page_size, max_candidates, ..SearchLimits::default() };
        let mut lab = Lab::new(&policies, world(25, 25), search);
        block_on(async {
            for question in &questions {
                // Ids in the order of their bytes.
                for (side, path) in [("subject", "subject"), ("resource", "resource")] {
                    let kind = format!("Lab::{}", question[side]["type"].as_str().unwrap().replace("person", "User"));
                    let ids: Vec<Value> = lab.entities.iter().filter(|entity| entity["uid"]["type"] == kind)
                        .map(|entity| entity["uid"]["id"].clone()).collect();
                    let mut allowed = Vec::new();
                    for id in ids {
                        let mut question = question.clone();
                        question[side]["id"] = id.clone();
                        if lab.ask_native(&question).await {
                            allowed.push(id.as_str().unwrap().to_owned());
                        }
                    }
                    allowed.sort_unstable();
                    let found = lab.search(path, question, limit, |_, _| {}).await;
                    assert_eq!(found, allowed, "{path} {question}\n{policies}");
                }
                let mut allowed = Vec::new();
                for name in ["audit", "edit", "view"] {
                    let mut question = question.clone();
                    question["action"] = json!({"name": name});
                    if name == "audit" {
                        question["context"] = json!({});
                    }
                    if lab.ask_native(&question).await {
                        allowed.push(name.to_owned());
                    }
                }
                let found = lab.search("action", question, limit, |_, _| {}).await;
                assert_eq!(found, allowed, "action {question}\n{policies}");
            }
        });
    }
}

const LEVELLED: &str = "permit(principal, action == Lab::Action::\"view\", resource) when { principal is Lab::User && principal has level && principal.level > 0 };";

/// What stays as it is comes once, whatever else comes and goes between the pages.
#[tokio::test]
async fn pages_hold_while_the_store_changes() {
    let question = json!({"subject": {"type": "person"}, "action": {"name": "view"}, "resource": {"type": "Doc", "id": "d1"}});
    for limit in [1, 6] {
        let mut lab = Lab::new(LEVELLED, world(40, 2), SearchLimits::default());
        let found = lab
            .search("subject", &question, Some(limit), |lab, page| {
                let mut entities = world(40, 2);
                // Those of the last page and those to come go, others come before and behind.
                entities.retain(|entity| entity["uid"]["id"] != format!("u{}", page * 3));
                let mut newcomer = user(page + 1);
                newcomer["uid"]["id"] = format!("u{}x", (page * 5) % 40).into();
                entities.push(newcomer);
                lab.store(entities);
            })
            .await;
        let mut once = found.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once, found, "nothing is repeated, and the order holds");
        // Untouched by all that happened.
        for n in (0..40).filter(|n| n % 5 > 0 && n % 3 > 0) {
            assert!(
                found.contains(&format!("u{n}")),
                "u{n} is lost at {limit}: {found:?}"
            );
        }
    }
}

#[tokio::test]
async fn stale_policies_permit_nothing() {
    let question = json!({"subject": {"type": "person", "id": "u1"}, "action": {"name": "view"}, "resource": {"type": "Doc", "id": "d1"}});
    for (max_staleness, permitted) in [(Span::from_secs(3600), true), (Span::from_millis(0), false)]
    {
        let policies = "permit(principal, action, resource);";
        let mut lab = Lab::fresh_for(
            max_staleness,
            policies,
            world(3, 3),
            SearchLimits::default(),
        );
        let (status, answer) = lab
            .post("/access/v1/evaluation", &explained(&question))
            .await;
        assert_eq!((status, &answer["decision"]), (200, &json!(permitted)));
        assert_eq!(answer["context"]["reason"] == "cannot_decide", !permitted);
        for path in ["subject", "resource", "action"] {
            let found = lab.search(path, &question, None, |_, _| {}).await;
            assert_eq!(found.is_empty(), !permitted, "{path}");
        }
    }
}

fn explained(question: &Value) -> Value {
    let mut question = question.clone();
    question["options"] = json!({"explain": true});
    question
}

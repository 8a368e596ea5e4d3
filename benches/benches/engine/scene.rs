//! Policies, entities and questions, for the engine and for the authorizer.

use std::collections::HashMap;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, Request,
};
use pdp::load::{Ids, Rules, Text, Texts, build};
use pdp::{OnError, Question, Snapshot};
use serde_json::{Value, json};

/// The same throws for the same seed (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

/// What is asked, and of what.
pub(crate) struct Scene {
    pub(crate) snapshot: Snapshot,
    pub(crate) questions: Vec<Question>,
    entities: Entities,
    requests: Vec<Request>,
}

/// Types and actions, read once.
#[derive(Default)]
pub(crate) struct Names(HashMap<String, EntityTypeName>);

// === impl Dice ===

impl Dice {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit.max(1) as u64).unwrap_or_default()
    }

    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// A number below `limit`, the first ones far more often than the last (Zipf's law, with an
    /// exponent of about 1).
    pub(crate) fn skewed(&mut self, limit: usize) -> usize {
        let chance = self.below(1 << 30) as f64 / f64::from(1 << 30);
        let place = ((limit as f64).powf(chance) - 1.0) as usize;
        place.min(limit.saturating_sub(1))
    }
}

// === impl Scene ===

impl Scene {
    /// `policies` by file name. Every question must be one that the schema allows.
    pub(crate) fn new(
        policies: &[(&str, String)],
        schema: Option<&str>,
        entities: &Value,
        questions: Vec<Question>,
    ) -> Self {
        let text = |path: &str, content: String| Text {
            path: path.into(),
            content,
        };
        let snapshot = build(
            Texts {
                policies: policies
                    .iter()
                    .map(|(path, content)| text(path, content.clone()))
                    .collect(),
                schema: schema.map(|schema| text("schema.cedarschema", schema.to_owned())),
                entities: Some(text("entities.json", entities.to_string())),
            },
            Rules {
                ids: Ids::Annotated,
                validate: schema.is_some(),
                on_error: OnError::Cedar,
            },
        )
        .unwrap_or_else(|problems| panic_of(&problems));
        let entities = Entities::from_json_value(entities.clone(), snapshot.schema());
        let requests = questions.iter().map(request).collect();
        let scene = Self {
            snapshot,
            questions,
            entities: entities.expect("entities"),
            requests,
        };
        scene.agree();
        scene
    }

    /// Both must give the same answers, or there is nothing to compare.
    fn agree(&self) {
        for at in (0..self.questions.len()).step_by(self.questions.len().div_ceil(20)) {
            let (Some(question), Some(request)) = (self.questions.get(at), self.requests.get(at))
            else {
                continue;
            };
            let answer = self.snapshot.decide(question);
            assert_eq!(
                answer.decision,
                self.authorize(request),
                "{question:?}: {answer:?}"
            );
        }
    }

    /// The share of the questions that are allowed, in percent.
    pub(crate) fn allowed(&self) -> usize {
        let allowed = self.questions.iter();
        let allowed = allowed.filter(|question| self.snapshot.decide(question).is_allow());
        allowed.count() * 100 / self.questions.len().max(1)
    }

    /// At most so many of the authorizer's requests.
    pub(crate) fn requests(&self, limit: usize) -> &[Request] {
        self.requests.get(..limit).unwrap_or(&self.requests)
    }

    pub(crate) fn authorize(&self, request: &Request) -> Decision {
        let policies = self.snapshot.policies();
        let response = Authorizer::new().is_authorized(request, policies, &self.entities);
        response.decision()
    }
}

// === impl Names ===

impl Names {
    pub(crate) fn uid(&mut self, kind: &str, id: &str) -> EntityUid {
        let kind = self
            .0
            .entry(kind.to_owned())
            .or_insert_with(|| kind.parse().expect("a type"));
        EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
    }

    pub(crate) fn question(
        &mut self,
        principal: (&str, &str),
        action: &str,
        resource: (&str, &str),
    ) -> Question {
        Question {
            principal: self.uid(principal.0, principal.1),
            action: self.uid("Action", action),
            resource: self.uid(resource.0, resource.1),
            context: Context::empty(),
            entities: Vec::new(),
            consistency: pdp::Consistency::default(),
            expires_at: None,
        }
    }
}

/// An entity in Cedar's JSON.
pub(crate) fn entity(kind: &str, id: &str, attributes: Value, parents: Vec<Value>) -> Value {
    json!({ "uid": uid(kind, id), "attrs": attributes, "parents": parents })
}

pub(crate) fn uid(kind: &str, id: &str) -> Value {
    json!({ "type": kind, "id": id })
}

/// An entity as the value of an attribute.
pub(crate) fn reference(kind: &str, id: &str) -> Value {
    json!({ "__entity": uid(kind, id) })
}

fn request(question: &Question) -> Request {
    Request::new(
        question.principal.clone(),
        question.action.clone(),
        question.resource.clone(),
        question.context.clone(),
        None,
    )
    .expect("a request")
}

#[expect(
    clippy::panic,
    reason = "without its scene a bench has nothing to measure"
)]
fn panic_of(problems: &[settings::Problem]) -> Snapshot {
    let first: Vec<_> = problems.iter().take(5).map(ToString::to_string).collect();
    panic!("{}", first.join("\n"))
}

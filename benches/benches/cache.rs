//! The decision cache: what an answer that is given again costs beside one that is found, for few
//! policies without a scope and for many.
//!
//! Every question is asked again after 1,000 others. Up to some number of policies evaluating costs
//! less than a look, and questions go past the cache: there both figures have to be the same.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::sync::Arc;

use cedar_policy::{Context, Entity, EntityUid, RestrictedExpression};
use criterion::Criterion;
use pdp::{CacheConfig, Consistency, OnError, Pdp, PoliciesConfig, PolicySource, Question};
use prometheus::Registry;
use settings::Span;

/// Users, and as many documents; a question is about one of each.
const USERS: usize = 1000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cache");
    for policies in [1, 3, 10, 30, 100, 300, 1000] {
        for (name, caching) in [("evaluated", false), ("given again", true)] {
            let pdp = pdp(policies);
            if caching {
                pdp.keep_answers(CacheConfig::default());
            }
            let questions: Vec<Question> = (0..USERS).map(question).collect();
            let snapshot = pdp.snapshot();
            for question in &questions {
                black_box(pdp.decide(&snapshot, question));
            }
            let mut questions = questions.iter().cycle();
            group.bench_function(format!("{name}/{policies}"), |bencher| {
                bencher.iter(|| {
                    let question = questions.next();
                    question.map(|question| pdp.decide(&snapshot, black_box(question)))
                });
            });
        }
    }
    group.finish();
}

/// So many policies that nothing but their condition tells from the question.
fn pdp(policies: usize) -> Arc<Pdp> {
    let folder = tempfile::tempdir().expect("there is room");
    let mut text = String::new();
    for number in 0..policies {
        writeln!(
            text,
            r#"permit(principal, action, resource) when {{
                resource.department == "d{}" && principal.clearance >= {} && resource.labels.contains("l{}") &&
                (context.mfa || principal.manager == resource.owner)
            }};"#,
            number % 10,
            number % 5,
            number % 3,
        )
        .expect("text");
    }
    let path = folder.path().join("p.cedar");
    fs::write(&path, text).expect("there is room");
    let config = PoliciesConfig {
        source: PolicySource::Dir(path),
        schema: None,
        allow_no_schema: true,
        entities: None,
        namespace: None,
        on_error: OnError::Deny,
        max_staleness: Span::from_secs(3600),
    };
    let pdp = Pdp::open(&config, &Registry::new()).expect("the policies are good");
    let people = (0..USERS).flat_map(|number| {
        let manager = reference("User", number * 7 % USERS);
        let person = [
            (
                "clearance",
                RestrictedExpression::new_long((number % 6) as i64),
            ),
            ("manager", manager),
        ];
        let labels = (0..number % 4).map(|label| text_of(&format!("l{label}")));
        let document = [
            ("department", text_of(&format!("d{}", number % 10))),
            ("labels", RestrictedExpression::new_set(labels)),
            ("owner", reference("User", number * 3 % USERS)),
        ];
        [
            entity("User", number, person),
            entity("Doc", number, document),
        ]
    });
    pdp.upsert_entities(people.collect()).expect("they fit");
    pdp
}

fn question(number: usize) -> Question {
    let mfa = RestrictedExpression::new_bool(number.is_multiple_of(2));
    Question {
        principal: uid("User", number),
        action: uid("Action", 0),
        resource: uid("Doc", number * 31 % USERS),
        context: Context::from_pairs([("mfa".to_owned(), mfa)]).expect("a context"),
        entities: Vec::new(),
        consistency: Consistency::MinimizeLatency,
        expires_at: None,
    }
}

fn entity<const N: usize>(
    kind: &str,
    id: usize,
    values: [(&str, RestrictedExpression); N],
) -> Entity {
    let values = values.map(|(name, value)| (name.to_owned(), value));
    Entity::new(
        uid(kind, id),
        values.into_iter().collect(),
        Default::default(),
    )
    .expect("an entity")
}

fn reference(kind: &str, id: usize) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(uid(kind, id))
}

fn text_of(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn uid(kind: &str, id: usize) -> EntityUid {
    format!("{kind}::\"{id}\"").parse().expect("a name")
}

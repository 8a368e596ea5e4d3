//! Answers that are given again.

use cedar_policy::{Entity, RestrictedExpression};

use super::*;

/// So many that the cache is worth asking.
fn dear(title: &str) -> String {
    (0..300)
        .map(|n| {
            format!(
                "@id(\"p{n}\") permit(principal, action, resource) when {{
                     resource.owner == principal && resource.title like \"{title}*\" && resource.level > {}
                 }};\n",
                n - 3
            )
        })
        .collect()
}

fn document(owner: &str, title: &str) -> Entity {
    let owner = RestrictedExpression::new_entity_uid(owner.parse().unwrap());
    let values = [
        ("owner".to_owned(), owner),
        (
            "title".to_owned(),
            RestrictedExpression::new_string(title.to_owned()),
        ),
        ("level".to_owned(), RestrictedExpression::new_long(0)),
    ];
    let name = question().resource;
    Entity::new(name, values.into(), Default::default()).unwrap()
}

/// A decision point that keeps answers, and allows the one question.
fn keeping(max_staleness: Span) -> (TempDir, PathBuf, Arc<Pdp>, Registry) {
    let (folder, policies) = folder();
    fs::write(policies.join("a.cedar"), dear("a")).unwrap();
    let registry = Registry::new();
    let config = PoliciesConfig {
        max_staleness,
        ..config(&folder)
    };
    let pdp = Pdp::open(&config, &registry).unwrap();
    pdp.keep_answers(CacheConfig::default());
    pdp.upsert_entities(vec![document("User::\"a\"", "abc")])
        .unwrap();
    (folder, policies, pdp, registry)
}

fn hour() -> Span {
    Span::from_secs(3600)
}

fn told(pdp: &Pdp) -> (bool, Source) {
    let answer = decide(pdp);
    (answer.is_allow(), answer.source)
}

#[test]
fn an_answer_is_given_again_until_something_that_it_saw_changes() {
    let (_folder, policies, pdp, registry) = keeping(hour());
    assert_eq!(told(&pdp), (true, Source::Engine));
    assert_eq!(told(&pdp), (true, Source::Cache));
    let consistent = Question {
        consistency: Consistency::FullyConsistent,
        ..question()
    };
    let again = pdp.decide(&pdp.snapshot(), &consistent);
    assert_eq!((again.is_allow(), again.source), (true, Source::Engine));

    pdp.upsert_entities(vec![document("User::\"z\"", "abc")])
        .unwrap();
    assert_eq!(told(&pdp), (false, Source::Engine));
    // Back as it was.
    pdp.upsert_entities(vec![document("User::\"a\"", "abc")])
        .unwrap();
    assert_eq!(told(&pdp), (true, Source::Cache));

    fs::write(policies.join("a.cedar"), dear("b")).unwrap();
    pdp.refresh();
    assert_eq!(told(&pdp), (false, Source::Engine));
    assert_eq!(told(&pdp), (false, Source::Cache));

    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for line in [
        "portcullis_decisions_total{decision=\"ALLOW\",source=\"cache\"} 2",
        "portcullis_decisions_total{decision=\"DENY\",source=\"cache\"} 1",
        "portcullis_decision_cache_total{result=\"hit\"} 3",
        "portcullis_decision_cache_total{result=\"miss\"} 3",
        "portcullis_decision_cache_total{result=\"fully_consistent\"} 1",
        "portcullis_decision_cache_total{result=\"cheap\"} 0",
        "portcullis_decision_cache_entries 3",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn stale_policies_do_not_decide_through_what_was_kept() {
    let (_folder, _, pdp, _) = keeping(Span::from_millis(1500));
    assert_eq!(told(&pdp), (true, Source::Engine));
    while pdp.health().fresh {
        thread::yield_now();
    }
    assert_eq!(told(&pdp), (false, Source::FailClosed));
    pdp.refresh();
    assert_eq!(told(&pdp), (true, Source::Cache));
}

#[test]
fn what_was_kept_is_verified_too_and_forgotten_when_it_is_wrong() {
    let (_folder, _, pdp, _) = keeping(hour());
    pdp.verify(1.0);
    assert_eq!(told(&pdp), (true, Source::Engine));
    assert_eq!(told(&pdp), (true, Source::Cache));
    pdp.cache.get().unwrap().spoil();
    assert_eq!(told(&pdp), (false, Source::FailClosed));
    assert_eq!(told(&pdp), (true, Source::Engine));
}

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use cedar_policy::{Context, Entity, EntityUid, RestrictedExpression};
use prometheus::Registry;

use super::*;
use crate::config::OnError;
use crate::engine::Undigested;
use crate::engine::tests::dice::Dice;
use crate::engine::tests::world::{IDS, World};
use crate::engine::tests::{snapshot as of_world, with_stack};
use crate::entities::{Change, Draft};
use crate::load::{Ids, Rules, Text, Texts, build};
use crate::uid::Uid;

/// Worlds, and steps taken in each.
const WORLDS: u64 = 25;
const STEPS: usize = 160;
/// Questions that are asked again and again.
const QUESTIONS: usize = 10;

const POLICIES: &str = r#"
    @id("own") permit(principal, action == Action::"view", resource) when {
        resource.owner == principal && principal in Group::"staff" && context.mfa
    };
    @id("boss") permit(principal, action == Action::"audit", resource) when {
        resource.owner.boss == principal && Settings::"all".audits
    };
    @id("hours") permit(principal, action == Action::"open", resource) when {
        context.now < datetime("2030-01-01")
    };
    @id("tag") permit(principal, action == Action::"tag", resource) when {
        resource.getTag("team").open
    };
    @id("broken") permit(principal, action == Action::"break", resource) when {
        resource.size + 1 > 0
    };
"#;

const ENTITIES: &str = r#"[
    {"uid":{"type":"User","id":"ann"},"attrs":{"age":40,"boss":{"__entity":{"type":"User","id":"zoe"}}},"parents":[{"type":"Group","id":"staff"}]},
    {"uid":{"type":"Settings","id":"all"},"attrs":{"audits":true},"parents":[]},
    {"uid":{"type":"Doc","id":"plan"},"attrs":{"owner":{"__entity":{"type":"User","id":"ann"}},"title":"a"},"parents":[],
     "tags":{"team":{"__entity":{"type":"Team","id":"red"}}}},
    {"uid":{"type":"Team","id":"red"},"attrs":{"open":true},"parents":[]}
]"#;

fn loaded() -> Snapshot {
    let text = |path: &str, content: &str| Text {
        path: path.into(),
        content: content.to_owned(),
    };
    let texts = Texts {
        policies: vec![text("p.cedar", POLICIES)],
        schema: None,
        entities: Some(text("e.json", ENTITIES)),
    };
    let rules = Rules {
        ids: Ids::Annotated,
        validate: false,
        on_error: OnError::Deny,
    };
    build(texts, rules).unwrap()
}

/// One for which everything is dear.
fn cache(config: CacheConfig) -> Cache {
    let metrics = CacheMetrics::register(&Registry::new()).unwrap();
    Cache::of(config, metrics, 0).unwrap()
}

fn uid(text: &str) -> EntityUid {
    text.parse().unwrap()
}

fn question(principal: &str, action: &str) -> Question {
    let context = [
        ("mfa", RestrictedExpression::new_bool(true)),
        ("agent", RestrictedExpression::new_string("x".to_owned())),
        ("now", RestrictedExpression::new_datetime("2026-01-01")),
    ];
    let context = context.map(|(name, value)| (name.to_owned(), value));
    Question {
        principal: uid(principal),
        action: uid(&format!("Action::\"{action}\"")),
        resource: uid("Doc::\"plan\""),
        context: Context::from_pairs(context).unwrap(),
        entities: Vec::new(),
        consistency: Consistency::MinimizeLatency,
        expires_at: None,
    }
}

fn ask(cache: &Cache, snapshot: &Snapshot, question: &Question) -> Answer {
    let answer = cache.decide(snapshot, question, &mut snapshot.see(&question.entities));
    let fresh = snapshot.decide(question);
    assert!(answer.repeats(&fresh), "{answer:?}, not {fresh:?}");
    answer
}

/// With an entity in place of the stored one.
fn with(snapshot: &Snapshot, entity: &str) -> Snapshot {
    let entity = Entity::from_json_str(entity, None).unwrap();
    let draft = Draft::named(entity.as_ref(), &mut Uid::of).unwrap();
    snapshot.over(snapshot.entities().with(vec![Change::Put(draft)]).unwrap())
}

#[test]
fn only_what_is_read_has_to_be_the_same() {
    let cache = cache(CacheConfig::default());
    let first = loaded();
    let view = question("User::\"ann\"", "view");
    assert_eq!(ask(&cache, &first, &view).source, Source::Engine);
    assert!(ask(&cache, &first, &view).is_allow());
    let hit = |snapshot: &Snapshot, question: &Question| {
        let again = ask(&cache, snapshot, question);
        again.source == Source::Cache
    };
    assert!(hit(&first, &view));

    // Not read: another attribute, another user agent, other entities.
    let owner = r#""owner":{"__entity":{"type":"User","id":"ann"}}"#;
    let doc = |attributes: &str| {
        format!(
            r#"{{"uid":{{"type":"Doc","id":"plan"}},"attrs":{{{attributes}}},"parents":[],"tags":{{}}}}"#
        )
    };
    let retitled = with(&first, &doc(&format!(r#"{owner},"title":"b""#)));
    assert!(hit(&retitled, &view));
    let mut agent = view.clone();
    agent.context = Context::from_pairs([
        ("mfa".to_owned(), RestrictedExpression::new_bool(true)),
        (
            "agent".to_owned(),
            RestrictedExpression::new_string("y".to_owned()),
        ),
    ])
    .unwrap();
    assert!(hit(&first, &agent));
    let mut given = view.clone();
    given.entities = vec![Entity::with_uid(uid("User::\"zoe\""))];
    assert!(hit(&first, &given));

    // Read: an attribute, a parent, the context, an entity of the question's own, the names.
    let theirs = r#""owner":{"__entity":{"type":"User","id":"zoe"}}"#;
    let miss = |snapshot: &Snapshot, question: &Question| {
        assert!(!hit(snapshot, question));
        assert!(hit(snapshot, question));
    };
    miss(&with(&first, &doc(theirs)), &view);
    let ann = r#"{"uid":{"type":"User","id":"ann"},"attrs":{"age":40},"parents":[]}"#;
    miss(&with(&first, ann), &view);
    let mut unsure = view.clone();
    unsure.context = Context::empty();
    miss(&first, &unsure);
    let mut alone = view.clone();
    let guests = [uid("Group::\"guests\"")].into();
    alone.entities = vec![Entity::new_no_attrs(view.principal.clone(), guests)];
    miss(&first, &alone);
    miss(&first, &question("User::\"zoe\"", "view"));
    miss(&first, &question("User::\"ann\"", "audit"));
    // And through an entity, and of one that the policy names.
    let zoe = r#"{"uid":{"type":"User","id":"ann"},"attrs":{"boss":{"__entity":{"type":"User","id":"eve"}}},"parents":[]}"#;
    miss(&with(&first, zoe), &question("User::\"zoe\"", "audit"));
    let off = r#"{"uid":{"type":"Settings","id":"all"},"attrs":{"audits":false},"parents":[]}"#;
    miss(&with(&first, off), &question("User::\"zoe\"", "audit"));
}

#[test]
fn what_cannot_be_kept_goes_past() {
    let cache = cache(CacheConfig::default());
    let snapshot = loaded();
    let mut consistent = question("User::\"ann\"", "view");
    consistent.consistency = Consistency::FullyConsistent;
    let ended = Question {
        expires_at: Some(UNIX_EPOCH),
        ..question("User::\"ann\"", "view")
    };
    let metrics = cache.metrics.clone();
    for (question, count, times) in [
        (
            question("User::\"ann\"", "open"),
            metrics.undigested(Undigested::Now),
            2,
        ),
        (
            question("User::\"ann\"", "tag"),
            metrics.undigested(Undigested::Elsewhere),
            2,
        ),
        (consistent, &metrics.fully_consistent, 2),
        (ended, &metrics.misses, 2),
    ] {
        for _ in 0..2 {
            assert_eq!(ask(&cache, &snapshot, &question).source, Source::Engine);
        }
        assert_eq!(count.get(), times);
    }
    let usual = Cache::new(CacheConfig::default(), metrics.clone()).unwrap();
    ask(&usual, &snapshot, &question("User::\"ann\"", "view"));
    assert_eq!(metrics.undigested(Undigested::Cheap).get(), 1);
    let none = CacheConfig {
        max_entries: 0,
        ..CacheConfig::default()
    };
    assert!(Cache::new(none, metrics).is_none());
}

#[test]
fn errors_belong_to_the_answer() {
    let cache = cache(CacheConfig::default());
    let snapshot = loaded();
    let broken = question("User::\"ann\"", "break");
    let first = ask(&cache, &snapshot, &broken);
    let again = ask(&cache, &snapshot, &broken);
    assert_eq!(first.errors.len(), 1);
    assert_eq!(
        (again.source, &again.errors),
        (Source::Cache, &first.errors)
    );
}

#[test]
fn no_answer_outlasts_what_it_was_made_of() {
    let ttl = settings::Span::from_millis(40);
    let short = CacheConfig {
        ttl,
        ..CacheConfig::default()
    };
    let view = question("User::\"ann\"", "view");
    let snapshot = loaded();
    for (config, lasts) in [
        (short, None),
        (CacheConfig::default(), Some(Duration::from_millis(40))),
    ] {
        let cache = cache(config);
        let question = Question {
            expires_at: lasts.map(|lasts| SystemTime::now() + lasts),
            ..view.clone()
        };
        let began = Instant::now();
        ask(&cache, &snapshot, &question);
        // Asked by somebody whose own token lasts.
        while ask(&cache, &snapshot, &view).source == Source::Cache {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
        assert!(began.elapsed() >= Duration::from_millis(39));
    }
}

#[test]
fn there_are_no_more_entries_than_allowed() {
    let cache = cache(CacheConfig {
        max_entries: 10,
        ..CacheConfig::default()
    });
    let snapshot = loaded();
    for id in 0..200 {
        ask(
            &cache,
            &snapshot,
            &question(&format!("User::\"{id}\""), "view"),
        );
    }
    cache.kept.run_pending_tasks();
    assert!(cache.kept.entry_count() <= 10);
    cache.clear();
    cache.kept.run_pending_tasks();
    assert_eq!(cache.kept.entry_count(), 0);
    let large = Kept {
        answer: Answer {
            determining_policies: vec!["p".into(); 1000],
            ..snapshot.refused("")
        },
        lasts: Duration::ZERO,
    };
    assert!(large.weight() > 30);
}

/// Names that would be one where they were only written side by side.
#[test]
fn names_do_not_run_into_each_other() {
    let cache = cache(CacheConfig::default());
    let snapshot = loaded();
    let ids = [
        "", "a", "\0", "a\0", "\0a", "i", "it", "\"", "\\", "::", "User::", "a\u{1}", "\u{e4}",
        "a\u{308}", "\n", "0", "00",
    ];
    let mut asked = 0;
    for kind in ["User", "Us", "A::User", "A"] {
        for one in ids {
            for other in ids {
                let name = |id: &str| {
                    EntityUid::from_type_name_and_id(
                        kind.parse().unwrap(),
                        cedar_policy::EntityId::new(id),
                    )
                };
                let question = Question {
                    principal: name(one),
                    resource: name(other),
                    ..question("User::\"ann\"", "view")
                };
                assert_eq!(ask(&cache, &snapshot, &question).source, Source::Engine);
                asked += 1;
            }
        }
    }
    cache.kept.run_pending_tasks();
    assert_eq!(cache.kept.entry_count(), asked);
}

/// Whatever is asked, and changed in between, the answers are those of a decision point that keeps
/// none.
#[test]
fn nobody_can_tell_that_answers_are_kept() {
    let (hits, steps) = with_stack(|| {
        let mut tally = (0, 0);
        for seed in 0..WORLDS {
            let mut dice = Dice::new(!seed, false);
            let worlds = [seed, seed + 1000].map(|seed| World::new(seed, QUESTIONS));
            let snapshots = [of_world(&worlds[0], "0"), of_world(&worlds[1], "1")];
            let mut snapshot = snapshots[0].clone();
            let cache = cache(CacheConfig::default());
            let mut told = HashMap::new();
            for step in 0..STEPS {
                match dice.below(100) {
                    0..4 => {
                        let next = &snapshots[dice.below(2)];
                        snapshot = next.over(snapshot.entities().clone());
                    }
                    4..20 => snapshot = changed(&snapshot, &mut dice),
                    _ => {
                        let world = &worlds[dice.below(2)];
                        let mut question = world.questions[dice.below(QUESTIONS)].clone();
                        if dice.percent(20) {
                            question.context = dice.context();
                        }
                        let answer = ask(&cache, &snapshot, &question);
                        *told.entry(answer.source).or_insert(0) += 1;
                    }
                }
                tally.1 += usize::from(step > 0);
            }
            tally.0 += told.get(&Source::Cache).copied().unwrap_or_default();
        }
        tally
    });
    assert!(hits * 100 >= steps * 15, "{hits} hits in {steps} steps");
}

/// With one entity new, different or gone.
fn changed(snapshot: &Snapshot, dice: &mut Dice) -> Snapshot {
    let kind = dice.pick(&["User", "Group", "Doc", "Folder", "Org::User"]);
    let entity = dice.pick(&IDS);
    let entity = dice.entity(kind, entity);
    let draft = Draft::named(entity.as_ref(), &mut Uid::of).unwrap();
    let change = match dice.percent(85) {
        true => Change::Put(draft),
        false => Change::Remove(draft.uid),
    };
    snapshot.over(snapshot.entities().with(vec![change]).unwrap())
}

//! The engine is right when nobody can tell it from Cedar's own authorizer.

mod bent;
mod conditions;
pub(crate) mod dice;
mod digests;
mod mutants;
mod typed;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::fmt;

use cedar_policy::{Authorizer, EntityUid};

use self::bent::{BENT, Bent};
use self::mutants::{MUTANTS, Mutant};
use self::world::World;
use super::*;
use crate::config::OnError;
use crate::entities::Draft;
use crate::load::Digests;
use crate::question::{Consistency, Question};
use crate::snapshot::{Parts, Rulebook, Snapshot};

/// Worlds of a usual run. `ENGINE_WORLDS` asks for more.
const WORLDS: u64 = 100;
/// Height that Cedar is given the stack for.
const HEIGHT: usize = 100;
/// Questions asked in each.
const QUESTIONS: usize = 40;

/// What was found out, so that answers can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    decision: Decision,
    /// Sorted.
    determining: Vec<String>,
    /// Policies and messages, sorted.
    errors: Vec<(String, String)>,
}

/// One question and what Cedar says to it.
struct Case<'a> {
    question: &'a Question,
    /// The stored entities with those of the question in their place.
    entities: crate::entities::Entities,
    expected: Finding,
}

/// How questions were answered.
#[derive(Default)]
struct Tally {
    questions: usize,
    allowed: usize,
    forbidden: usize,
    with_errors: usize,
    with_given_entities: usize,
    by_links: usize,
}

#[test]
#[expect(clippy::print_stdout, reason = "what was asked belongs to the result")]
fn the_engine_answers_as_cedar_does() {
    let worlds = std::env::var("ENGINE_WORLDS").map_or(WORLDS, |worlds| worlds.parse().unwrap());
    let tally = with_stack(move || {
        let mut tally = Tally::default();
        for seed in 0..worlds {
            ask_all(
                &World::new(seed, QUESTIONS),
                &format!("seed {seed}"),
                &mut tally,
            );
        }
        tally
    });
    println!("{tally}");
    // Questions to which the answer is always No would prove little.
    assert!(tally.allowed * 100 >= tally.questions * 30, "{tally}");
    assert!(tally.forbidden * 100 >= tally.questions * 15, "{tally}");
    assert!(tally.with_errors * 100 >= tally.questions * 10, "{tally}");
    assert!(
        tally.with_given_entities * 100 >= tally.questions * 15,
        "{tally}"
    );
    assert!(tally.by_links * 100 >= tally.questions * 10, "{tally}");
}

/// Asks every question of a world of every kind of engine.
fn ask_all(world: &World, name: &str, tally: &mut Tally) {
    let policies = &Policies::of(&world.policies);
    let usual = Engine::new(policies, HEIGHT, &mut Uid::of);
    // As where every principal and resource has many policies.
    let looking_up = Engine::with_short(policies, HEIGHT, &mut Uid::of, 0);
    let snapshot = snapshot(world, "");
    for case in cases(world) {
        let (question, expected) = (case.question, &case.expected);
        let told = || format!("{name}, {question:?}\n{}", world.policies);
        let (asked, view) = (asked(question), View::of(&case.entities));
        for engine in [&usual, &looking_up] {
            let verdict = engine.candidates(&asked, &view).judge(&asked, &view);
            assert_eq!(Finding::of(verdict.unwrap()), *expected, "{}", told());
        }
        let answer = snapshot.decide(question);
        assert_eq!(
            Finding::of_answer(&answer),
            expected.on_one_line(),
            "{}",
            told()
        );
        tally.count(&case);
    }
}

/// What the test above would not notice, it would not protect from.
#[test]
fn a_broken_index_is_noticed() {
    let unnoticed = with_stack(|| {
        let mut unnoticed: Vec<&Mutant> = MUTANTS.iter().collect();
        for seed in 0..WORLDS {
            let world = World::new(seed, QUESTIONS);
            let cases = cases(&world);
            let policies = Policies::of(&world.policies);
            let stored = stored(world.entities.values().cloned());
            let stored = View::of(&stored);
            for short in [index::SHORT, 0] {
                unnoticed.retain(|mutant| {
                    let mut engine = Engine::with_short(&policies, HEIGHT, &mut Uid::of, short);
                    mutant.bend(&mut engine);
                    cases.iter().all(|case| {
                        let (asked, view) = (asked(case.question), View::of(&case.entities));
                        let met = mutant.met(&engine, &asked, &view, &stored);
                        let verdict = engine.matching(met).judge(&asked, &view);
                        Finding::of(verdict.unwrap()) == case.expected
                    })
                });
            }
            if unnoticed.is_empty() {
                break;
            }
        }
        unnoticed
            .iter()
            .map(|mutant| mutant.name)
            .collect::<Vec<_>>()
    });
    assert!(unnoticed.is_empty(), "unnoticed: {unnoticed:?}");
}

#[test]
fn a_broken_evaluator_is_noticed() {
    let unnoticed = with_stack(|| {
        let mut unnoticed: Vec<&Bent> = BENT.iter().collect();
        for seed in 0..WORLDS {
            let world = World::new(seed, QUESTIONS);
            let cases = cases(&world);
            let policies = Policies::of(&world.policies);
            unnoticed.retain(|bent| {
                let mut engine = Engine::new(&policies, HEIGHT, &mut Uid::of);
                bent.bend(&mut engine);
                cases.iter().all(|case| {
                    let (asked, view) = (asked(case.question), View::of(&case.entities));
                    let verdict = engine.candidates(&asked, &view).judge(&asked, &view);
                    Finding::of(verdict.unwrap()) == case.expected
                })
            });
            if unnoticed.is_empty() {
                break;
            }
        }
        unnoticed.iter().map(|bent| bent.name).collect::<Vec<_>>()
    });
    assert!(unnoticed.is_empty(), "unnoticed: {unnoticed:?}");
}

/// Cedar's authorizer needs much stack for tall conditions, and skips them without.
pub(crate) fn with_stack<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(256 << 20);
        let thread = thread.spawn_scoped(scope, run).unwrap();
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn the_tallest_programs_take_less_stack_than_is_set_aside() {
    use cedar_policy::Expression;
    for (name, condition) in [
        ("operators", format!("{} == 0", vec!["1"; 900].join(" + "))),
        ("members", format!("context{} == 1", ".a".repeat(900))),
        (
            "ways",
            "if false then true else ".repeat(300) + "context == 1",
        ),
        (
            "signs",
            format!("{}(context == 1){}", "!(".repeat(90), ")".repeat(90)),
        ),
        (
            "sets",
            format!("{}context{} == 1", "[".repeat(90), "]".repeat(90)),
        ),
        (
            "records",
            format!("{}context{} == 1", "{a: ".repeat(90), "}".repeat(90)),
        ),
        (
            "calls",
            format!("{}context{} == 1", "ip(".repeat(90), ")".repeat(90)),
        ),
    ] {
        with_stack(|| {
            let condition: Expression = condition.parse().unwrap();
            let program = Program::new(condition.as_ref());
            // A quarter is kept as a margin.
            let stack = evaluate::stack_needed(program.height) / 4 * 3;
            std::thread::scope(|scope| {
                let thread = std::thread::Builder::new().name(name.to_owned());
                let evaluate = || {
                    let uid = Uid::of(&r#"User::"a""#.parse().unwrap());
                    let context = Context::empty();
                    let asked = Asked {
                        principal: Cow::Borrowed(&uid),
                        action: Cow::Borrowed(&uid),
                        resource: Cow::Borrowed(&uid),
                        principal_kind: uid.kind(),
                        resource_kind: uid.kind(),
                        principal_stored: None,
                        resource_stored: None,
                        context: &context,
                    };
                    let entities = crate::entities::Entities::default();
                    let view = View::of(&entities);
                    let _ = Sight::new(&asked, &view).holds(&program.root);
                };
                let thread = thread.stack_size(stack).spawn_scoped(scope, evaluate);
                thread.unwrap().join().unwrap();
            });
        });
    }
}

fn cases(world: &World) -> Vec<Case<'_>> {
    let of_cedar = |given: &[cedar_policy::Entity]| {
        let mut all: BTreeMap<EntityUid, _> = world.entities.clone();
        all.extend(given.iter().map(|given| (given.uid(), given.clone())));
        cedar_policy::Entities::from_entities(all.into_values(), None).unwrap()
    };
    // For the questions that bring nothing, made once.
    let plain = of_cedar(&[]);
    let plain_stored = stored(plain.clone());
    let mut cases = Vec::new();
    for question in &world.questions {
        let given = &question.entities;
        let overlaid = (!given.is_empty()).then(|| of_cedar(given));
        let response = Authorizer::new().is_authorized(
            &cedar_policy::Request::new(
                question.principal.clone(),
                question.action.clone(),
                question.resource.clone(),
                question.context.clone(),
                None,
            )
            .unwrap(),
            &world.policies,
            overlaid.as_ref().unwrap_or(&plain),
        );
        let expected = Finding::of_response(&response);
        cases.push(Case {
            question,
            entities: overlaid.map_or_else(|| plain_stored.clone(), stored),
            expected,
        });
    }
    cases
}

pub(crate) fn snapshot(world: &World, revision: &str) -> Snapshot {
    let parts = Parts {
        revision: revision.into(),
        sources: Digests::default(),
        types: None,
        warnings: Vec::new(),
        height: HEIGHT,
        on_error: OnError::Cedar,
        check_requests: false,
    };
    let rulebook = Rulebook::new(Policies::of(&world.policies), None, parts, &mut Uid::of);
    let entities = stored(world.entities.values().cloned());
    Snapshot::new(Arc::new(rulebook), entities, Vec::new())
}

pub(crate) fn stored(
    entities: impl IntoIterator<Item = cedar_policy::Entity>,
) -> crate::entities::Entities {
    let drafts = entities.into_iter();
    let drafts = drafts.map(|entity| Draft::named(entity.as_ref(), &mut Uid::of).unwrap());
    crate::entities::Entities::new(drafts.collect(), None).unwrap()
}

fn asked(question: &Question) -> Asked<'_> {
    Asked {
        principal: Cow::Owned(Uid::of(question.principal.as_ref())),
        action: Cow::Owned(Uid::of(question.action.as_ref())),
        resource: Cow::Owned(Uid::of(question.resource.as_ref())),
        principal_kind: question.principal.as_ref().entity_type(),
        resource_kind: question.resource.as_ref().entity_type(),
        principal_stored: None,
        resource_stored: None,
        context: question.context.as_ref(),
    }
}

// === impl Finding ===

impl Finding {
    /// In the order in which the engine gives it, which must be sorted.
    fn of(verdict: Verdict) -> Self {
        let determining = verdict.determining.iter().map(ToString::to_string);
        let errors = verdict.errors.iter();
        Self {
            decision: verdict.decision,
            determining: determining.collect(),
            errors: errors
                .map(|(id, error)| (id.to_string(), error.to_string()))
                .collect(),
        }
    }

    fn of_answer(answer: &crate::answer::Answer) -> Self {
        let policy =
            |error: &crate::answer::PolicyError| error.policy.as_deref().map(str::to_owned);
        let determining = answer.determining_policies.iter().map(ToString::to_string);
        let errors = answer.errors.iter();
        Self {
            decision: answer.decision,
            determining: determining.collect(),
            errors: errors
                .map(|error| (policy(error).unwrap_or_default(), error.message.clone()))
                .collect(),
        }
    }

    /// With messages as answers give them.
    fn on_one_line(&self) -> Self {
        let errors = self.errors.iter();
        Self {
            decision: self.decision,
            determining: self.determining.clone(),
            errors: errors
                .map(|(id, message)| (id.clone(), crate::one_line::one_line(message)))
                .collect(),
        }
    }

    fn of_response(response: &cedar_policy::Response) -> Self {
        let diagnostics = response.diagnostics();
        let mut determining: Vec<String> = diagnostics.reason().map(ToString::to_string).collect();
        let mut errors: Vec<(String, String)> = diagnostics
            .errors()
            .map(|error| match error {
                cedar_policy::AuthorizationError::PolicyEvaluationError(error) => {
                    (error.policy_id().to_string(), error.inner().to_string())
                }
            })
            .collect();
        determining.sort_unstable();
        errors.sort_unstable();
        Self {
            decision: response.decision(),
            determining,
            errors,
        }
    }
}

// === impl Tally ===

impl Tally {
    fn count(&mut self, case: &Case<'_>) {
        let expected = &case.expected;
        let determined = !expected.determining.is_empty();
        let link = |id: &String| id.starts_with("link");
        self.questions += 1;
        self.allowed += usize::from(expected.decision == Decision::Allow);
        self.forbidden += usize::from(expected.decision == Decision::Deny && determined);
        self.with_errors += usize::from(!expected.errors.is_empty());
        self.with_given_entities += usize::from(!case.question.entities.is_empty());
        self.by_links += usize::from(expected.determining.iter().any(link));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: usize| part * 100 / self.questions.max(1);
        write!(
            f,
            "{} questions: {} % allowed, {} % forbidden, {} % with errors, {} % with entities of their own, \
             {} % determined by links",
            self.questions,
            percent(self.allowed),
            percent(self.forbidden),
            percent(self.with_errors),
            percent(self.with_given_entities),
            percent(self.by_links),
        )
    }
}

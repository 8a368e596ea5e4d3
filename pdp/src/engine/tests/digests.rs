//! Whatever has the same digest has the same answer.

use std::collections::HashMap;

use cedar_policy_core::ast;
use smol_str::SmolStr;

use super::dice::Dice;
use super::reads::{Path, Root};
use super::*;
use crate::entities::{Change, Entities};
use crate::value::Record;

/// Worlds, questions in each, and how often each question is put with one thing different.
const WORLDS: u64 = 32;
const ASKED: usize = 8;
const VARIATIONS: usize = 24;

const REVISION: &str = "r";

/// Policies that tell by one thing alone.
const PLAIN: [&str; 4] = [
    r#"permit(principal, action, resource) when { principal has level };
       forbid(principal, action, resource) when { action == Action::"view" };"#,
    r#"permit(principal, action, resource) when { principal in Group::"3" };
       forbid(principal, action, resource) when { resource in Folder::"4" };"#,
    r#"permit(principal, action, resource) when { User::"0".level < User::"1".level };
       forbid(principal, action, resource) when { User::"2".level < User::"3".level };"#,
    r#"permit(principal, action, resource) when { resource.owner.level < 3 };
       forbid(principal, action, resource) when { resource.hasTag("kind") && resource.getTag("kind") == "salt" };"#,
];

/// A question, and all that it is asked about.
#[derive(Clone)]
struct Scene {
    entities: Entities,
    question: Question,
    context: Context,
}

/// A way of making digests that leaves something out.
struct Mutant {
    name: &'static str,
    wrong: Wrong,
}

enum Wrong {
    /// Other facts are written down than are read.
    Facts(fn(Fact) -> Fact),
    /// The question is taken for another.
    Asked(fn(&mut Asked<'_>)),
    /// The constraints that are met are left out.
    Met,
    /// The question's own entities are left out.
    Given,
}

#[derive(Default)]
struct Tally {
    questions: usize,
    digested: usize,
    again: usize,
    otherwise: usize,
}

const MUTANTS: [Mutant; 13] = [
    Mutant {
        name: "whether something is there",
        wrong: Wrong::Facts(|fact| match fact {
            Fact::Has(_) => nothing(),
            other => other,
        }),
    },
    Mutant {
        name: "what is above an entity",
        wrong: Wrong::Facts(|fact| match fact {
            Fact::Ancestors(_) => nothing(),
            other => other,
        }),
    },
    Mutant {
        name: "tags",
        wrong: Wrong::Facts(|fact| match fact {
            Fact::Tags(_) => nothing(),
            other => other,
        }),
    },
    Mutant {
        name: "attributes of the principal",
        wrong: Wrong::Facts(|fact| without(fact, &Root::Principal)),
    },
    Mutant {
        name: "attributes of the resource",
        wrong: Wrong::Facts(|fact| without(fact, &Root::Resource)),
    },
    Mutant {
        name: "the context",
        wrong: Wrong::Facts(|fact| without(fact, &Root::Context)),
    },
    Mutant {
        name: "entities that a policy names",
        wrong: Wrong::Facts(|fact| match path(&fact).root {
            Root::Named(_) => nothing(),
            _ => fact,
        }),
    },
    Mutant {
        name: "entities that a path leads through",
        wrong: Wrong::Facts(|fact| match fact {
            Fact::Value(mut path) => {
                path.names.truncate(1);
                Fact::Value(path)
            }
            other => other,
        }),
    },
    Mutant {
        name: "the principal",
        wrong: Wrong::Asked(|asked| asked.principal = asked.action.clone()),
    },
    Mutant {
        name: "the action",
        wrong: Wrong::Asked(|asked| asked.action = asked.principal.clone()),
    },
    Mutant {
        name: "the resource",
        wrong: Wrong::Asked(|asked| asked.resource = asked.principal.clone()),
    },
    Mutant {
        name: "the constraints that are met",
        wrong: Wrong::Met,
    },
    Mutant {
        name: "entities of the question",
        wrong: Wrong::Given,
    },
];

#[test]
fn equal_digests_mean_equal_answers() {
    let tally = with_stack(|| {
        let mut tally = Tally::default();
        for seed in 0..WORLDS {
            let world = world(seed);
            let engine = Engine::new(&Policies::of(&world.policies), HEIGHT, &mut Uid::of);
            let mut known = HashMap::new();
            each_variation(&world, seed, |scene, first| {
                tally.questions += 1;
                let Some(digest) = scene.digest(&engine, None) else {
                    return;
                };
                tally.digested += 1;
                let finding = scene.finding(&engine);
                tally.otherwise += usize::from(*first != finding);
                let before = known.entry(digest).or_insert_with(|| finding.clone());
                assert_eq!(*before, finding, "seed {seed}, {:?}", scene.question);
                tally.again += usize::from(*first == finding);
            });
        }
        tally
    });
    let Tally {
        questions,
        digested,
        again,
        otherwise,
    } = tally;
    let told = format!("{questions} questions, {digested} digests, {again} again, {otherwise} not");
    assert!(digested * 100 >= questions * 40, "{told}");
    assert!(again * 100 >= digested * 20, "{told}");
    assert!(otherwise * 100 >= digested * 5, "{told}");
}

/// What the test above would not notice, it would not protect from.
#[test]
fn a_digest_that_leaves_something_out_is_noticed() {
    let unnoticed = with_stack(|| {
        let mut unnoticed: Vec<&Mutant> = MUTANTS.iter().collect();
        for seed in 0..WORLDS {
            let world = world(seed);
            let engine = Engine::new(&Policies::of(&world.policies), HEIGHT, &mut Uid::of);
            let mut known: Vec<HashMap<Digest, Finding>> = Vec::new();
            known.resize_with(MUTANTS.len(), HashMap::new);
            each_variation(&world, seed, |scene, _| {
                let finding = scene.finding(&engine);
                unnoticed.retain(|mutant| {
                    let Some(digest) = scene.digest(&engine, Some(&mutant.wrong)) else {
                        return true;
                    };
                    let place = MUTANTS.iter().position(|other| other.name == mutant.name);
                    let known = &mut known[place.unwrap()];
                    *known.entry(digest).or_insert_with(|| finding.clone()) == finding
                });
            });
            if unnoticed.is_empty() {
                break;
            }
        }
        let names = unnoticed.iter().map(|mutant| mutant.name);
        names.collect::<Vec<_>>()
    });
    assert!(unnoticed.is_empty(), "unnoticed: {unnoticed:?}");
}

#[test]
fn another_revision_has_other_digests() {
    let world = World::new(1, 40);
    let engine = Engine::new(&Policies::of(&world.policies), HEIGHT, &mut Uid::of);
    let entities = stored(world.entities.values().cloned());
    let view = View::of(&entities);
    let mut digested = 0;
    for question in &world.questions {
        let asked = asked(question);
        let candidates = engine.candidates(&asked, &view);
        let of = |revision: &str| candidates.digest(&asked, &view, revision, 0);
        assert_eq!(of("r"), of("r"));
        digested += usize::from(of("r").is_ok());
        assert!(of("r").is_err() || of("r") != of("s"));
    }
    assert!(digested > 0);
}

/// Every other one has plain policies.
fn world(seed: u64) -> World {
    let mut world = World::new(seed, ASKED);
    let round = usize::try_from(seed / 2).unwrap();
    if seed % 2 == 1 {
        world.policies = PLAIN[round % PLAIN.len()].parse().unwrap();
    }
    world
}

/// Tells `tell` of every question, as it is and with one thing different each time, and of the answer
/// to it as it is.
fn each_variation(world: &World, seed: u64, mut tell: impl FnMut(&Scene, &Finding)) {
    let engine = Engine::new(&Policies::of(&world.policies), HEIGHT, &mut Uid::of);
    let mut dice = Dice::new(!seed, false);
    let entities = stored(world.entities.values().cloned());
    for question in &world.questions {
        let scene = Scene {
            entities: entities.clone(),
            context: question.context.as_ref().clone(),
            question: question.clone(),
        };
        let first = scene.finding(&engine);
        tell(&scene, &first);
        for _ in 0..VARIATIONS {
            tell(&scene.varied(&mut dice), &first);
        }
    }
}

// === impl Scene ===

impl Scene {
    fn finding(&self, engine: &Engine) -> Finding {
        let (asked, view) = (self.asked(), self.view());
        let verdict = engine.candidates(&asked, &view).judge(&asked, &view);
        Finding::of(verdict.unwrap())
    }

    /// `None` when there is none. Only what is dear has one usually; here everything is.
    fn digest(&self, engine: &Engine, wrong: Option<&Wrong>) -> Option<Digest> {
        let (asked, view) = (self.asked(), self.view());
        let mut candidates = engine.candidates(&asked, &view);
        let (mut taken_for, mut seen) = (self.asked(), self.view());
        let mut bent = None;
        match wrong {
            None => {}
            Some(Wrong::Facts(change)) => {
                let facts = engine.facts.iter().cloned().map(change);
                bent = Some(Engine {
                    facts: facts.collect(),
                    ..Engine::new(
                        &Policies::of(&cedar_policy::PolicySet::new()),
                        0,
                        &mut Uid::of,
                    )
                });
            }
            Some(Wrong::Asked(change)) => change(&mut taken_for),
            Some(Wrong::Met) => {
                candidates.met = Met {
                    principal: Default::default(),
                    action: Default::default(),
                    resource: Default::default(),
                }
            }
            Some(Wrong::Given) => seen = View::of(&self.entities),
        }
        let facts = bent.as_ref().unwrap_or(engine);
        candidates
            .digest_of(&facts.facts, &taken_for, &seen, REVISION, 0)
            .ok()
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            context: &self.context,
            ..asked(&self.question)
        }
    }

    fn view(&self) -> View<'_> {
        let given = self.question.entities.iter().map(AsRef::as_ref);
        View::with(&self.entities, given).unwrap()
    }

    /// The same with one thing different.
    fn varied(&self, dice: &mut Dice) -> Self {
        let mut scene = self.clone();
        let question = &mut scene.question;
        let names = [&question.principal, &question.resource];
        let names = names.map(|uid| (uid.type_name().to_string(), uid.id().unescaped().to_owned()));
        match dice.below(100) {
            0..50 => scene.entities = varied_entities(&self.entities, dice, &names),
            50..68 => scene.context = varied_context(&self.context, dice),
            68..82 => {
                let (kind, id) = names[dice.below(2)].clone();
                question.entities.retain(|entity| {
                    let uid = entity.uid();
                    uid.type_name().to_string() != kind || uid.id().unescaped() != id
                });
                if kind != "Action" && dice.percent(70) {
                    question.entities.push(dice.entity(&kind, &id));
                }
            }
            82..86 => question.principal = dice.one_of(&world::PRINCIPAL_TYPES),
            86..90 => question.resource = dice.one_of(&world::RESOURCE_TYPES),
            _ => question.action = world::uid("Action", dice.pick(&world::ACTIONS)),
        }
        scene
    }
}

/// One of the named entities, or any other, with one attribute, the tags or the parents different.
fn varied_entities(entities: &Entities, dice: &mut Dice, named: &[(String, String)]) -> Entities {
    let (kind, id) = match dice.percent(65) {
        true => named[dice.below(named.len())].clone(),
        false => {
            let kind = dice.pick(&["User", "Group", "Doc", "Folder"]);
            (kind.to_owned(), dice.pick(&world::IDS).to_owned())
        }
    };
    if kind == "Action" {
        return entities.clone();
    }
    let fresh = Draft::named(dice.entity(&kind, &id).as_ref(), &mut Uid::of).unwrap();
    let Some(old) = entities.get(&fresh.uid) else {
        return entities.with(vec![Change::Put(fresh)]).unwrap();
    };
    let mut draft = Draft::of(old);
    match dice.below(10) {
        0..6 => {
            let mut values: HashMap<SmolStr, _> = pairs(&draft.attributes);
            let names = pairs(&fresh.attributes);
            let mut changed: Vec<&SmolStr> = names.keys().chain(values.keys()).collect();
            changed.sort_unstable();
            let name = changed[dice.below(changed.len().max(1)).min(changed.len() - 1)].clone();
            match names.get(&name) {
                Some(value) => values.insert(name, value.clone()),
                None => values.remove(&name),
            };
            draft.attributes = Record::new(values);
        }
        6..8 => draft.parents = fresh.parents,
        8 => draft.tags = fresh.tags,
        _ => return entities.with(vec![Change::Remove(draft.uid)]).unwrap(),
    }
    entities.with(vec![Change::Put(draft)]).unwrap()
}

fn varied_context(context: &Context, dice: &mut Dice) -> Context {
    let (Context::Value(old), Context::Value(fresh)) = (context, dice.context().as_ref().clone())
    else {
        panic!("a context without unknowns");
    };
    let mut members: std::collections::BTreeMap<SmolStr, ast::Value> = (**old).clone();
    let names: Vec<SmolStr> = members.keys().chain(fresh.keys()).cloned().collect();
    if let Some(name) = names.get(dice.below(names.len().max(1))) {
        match fresh.get(name) {
            Some(value) => members.insert(name.clone(), value.clone()),
            None => members.remove(name),
        };
    }
    Context::Value(Arc::new(members))
}

fn pairs(record: &Record) -> HashMap<SmolStr, crate::value::Value> {
    let pairs = record.iter();
    pairs
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn path(fact: &Fact) -> &Path {
    match fact {
        Fact::Value(path) | Fact::Has(path) | Fact::Ancestors(path) | Fact::Tags(path) => path,
    }
}

fn without(fact: Fact, root: &Root) -> Fact {
    match &fact {
        Fact::Value(path) if path.root == *root => nothing(),
        _ => fact,
    }
}

/// What every question says anyway.
fn nothing() -> Fact {
    Fact::Value(Path {
        root: Root::Action,
        names: Vec::new(),
    })
}

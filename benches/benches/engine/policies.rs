//! Few policies and many, with scopes and without, on one thread and on two.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cedar_policy::{Context, RestrictedExpression};
use pdp::load::{Ids, Rules, Text, Texts, build};
use pdp::{OnError, Snapshot};
use serde_json::{Map, Value, json};

use crate::measure::{Measure, PASSES, each, in_turn, memory, once, tell};
use crate::scene::{Dice, Names, Scene, entity, reference, uid};

/// How many scoped policies. Without optimisation the larger sets would only be waited for.
const POLICIES: &[usize] = if cfg!(debug_assertions) {
    &[100, 1_000]
} else {
    &[100, 10_000, 100_000]
};
/// Users, and as many documents.
const USERS: usize = 10_000;
/// Groups, and as many folders.
const GROUPS: usize = 1_000;
/// Distinct questions.
const QUESTIONS: usize = 10_000;
/// How long threads are watched.
const WATCHED: Duration = Duration::from_secs(1);

/// How policies are written.
#[derive(Clone, Copy)]
enum Form {
    /// Each in full.
    Text,
    /// As links of three templates.
    Links,
}

/// The time does not grow with the policies. Compared are the same questions, about the same
/// entities; those that are about the policies are about few entities where there are few policies.
pub(crate) fn by_number() {
    for (name, form) in [("policies", Form::Text), ("links", Form::Links)] {
        let scenes: Vec<Scene> = POLICIES
            .iter()
            .map(|number| scoped(*number, form))
            .collect();
        flatness(name, &scenes);
        for (number, scene) in POLICIES.iter().zip(&scenes) {
            let about = each(&scene.questions, |question| scene.snapshot.decide(question));
            let requests = scene.requests((200_000 / number).clamp(10, QUESTIONS));
            let authorizer = once(requests, |request| scene.authorize(request));
            tell(&format!(
                "  about {number} {name}: {}; authorizer {}; {:.0}x; {} % allowed",
                about.text(),
                authorizer.text(),
                about.ratio(&authorizer),
                scene.allowed()
            ));
        }
    }
}

/// The same without the authorizer, which takes by far most of the time.
pub(crate) fn flat() {
    for (name, form) in [("policies", Form::Text), ("links", Form::Links)] {
        let scenes = POLICIES.iter().map(|number| scoped(*number, form));
        flatness(name, &scenes.collect::<Vec<_>>());
    }
}

fn flatness(name: &str, scenes: &[Scene]) {
    tell(&format!("{name}, asked about any user and document"));
    for (how, skewed) in [("uniform", false), ("Zipf   ", true)] {
        let questions = anywhere(skewed);
        let measures = scenes.iter().map(|scene| {
            let questions = &questions;
            Box::new(move || each(questions, |question| scene.snapshot.decide(question)))
                as Measure<'_>
        });
        let times = in_turn(measures);
        for (number, time) in POLICIES.iter().zip(&times) {
            let beside = times.first().map(|few| time.beside(few));
            let beside = beside.unwrap_or_default();
            tell(&format!("  {how} {number:>7}: {}; {beside}", time.text()));
        }
    }
}

/// What a policy costs that nothing but its condition tells from the question.
pub(crate) fn by_conditions() {
    for number in [10, 100, 1000] {
        let scene = unscoped(number);
        let engine = each(&scene.questions, |question| scene.snapshot.decide(question));
        let requests = scene.requests((2_000_000 / number).min(QUESTIONS));
        let authorizer = each(requests, |request| scene.authorize(request));
        let each_policy = engine.median().as_secs_f64() * 1e9 / number as f64;
        tell(&format!(
            "{number} policies without a scope: engine {} ({each_policy:.0} ns each); authorizer {}; {:.1}x",
            engine.text(),
            authorizer.text(),
            engine.ratio(&authorizer)
        ));
    }
}

/// What a link takes of memory.
pub(crate) fn by_memory() {
    let number = POLICIES.last().copied().unwrap_or_default();
    let texts = || Texts {
        policies: vec![
            Text {
                path: "scoped.cedar".into(),
                content: templates(),
            },
            Text {
                path: "links.cedar.json".into(),
                content: links(number),
            },
        ],
        ..Texts::default()
    };
    let rules = Rules {
        ids: Ids::Annotated,
        validate: false,
        on_error: OnError::Cedar,
    };
    let one = texts();
    let began = Instant::now();
    let first = build(one, rules).expect("what is generated fits");
    let (took, after) = (began.elapsed(), memory("VmRSS"));
    // What the first left behind is used by the others, so that they tell what is kept.
    let more: Vec<Snapshot> = (0..4).filter_map(|_| build(texts(), rules).ok()).collect();
    let kept = memory("VmRSS").saturating_sub(after) / more.len().max(1) as u64;
    tell(&format!(
        "{number} links: loaded in {took:.1?}; {} bytes are kept for each",
        kept / number as u64,
    ));
    drop(first);
}

/// Two threads against one.
pub(crate) fn by_threads() {
    for (name, scene) in [
        ("100 scoped policies", scoped(100, Form::Text)),
        ("100 policies without a scope", unscoped(100)),
    ] {
        // In turn, and of each when it was quietest, as everywhere.
        let (mut one, mut two) = (0.0_f64, 0.0_f64);
        for _ in 0..PASSES {
            one = one.max(per_second(&scene, 1));
            two = two.max(per_second(&scene, 2));
        }
        tell(&format!(
            "{name}: {one:.0} decisions/s with one thread, {two:.0} with two; {:.2}x",
            two / one
        ));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this thread only waits for the others"
)]
fn per_second(scene: &Scene, threads: usize) -> f64 {
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let began = Instant::now();
    thread::scope(|scope| {
        for first in 0..threads {
            let (done, stop) = (&done, &stop);
            scope.spawn(move || {
                let mut answered = 0;
                // The same questions for all, from different ones on.
                let from = first * scene.questions.len() / threads;
                for question in scene.questions.iter().cycle().skip(from) {
                    std::hint::black_box(scene.snapshot.decide(question));
                    answered += 1;
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                done.fetch_add(answered, Ordering::Relaxed);
            });
        }
        thread::sleep(WATCHED);
        stop.store(true, Ordering::Relaxed);
    });
    let done = done.into_inner() as f64;
    done / began.elapsed().as_secs_f64()
}

/// So many policies over users, groups, documents and folders.
fn scoped(policies: usize, form: Form) -> Scene {
    let mut names = Names::default();
    let mut dice = Dice(policies as u64);
    let questions = (0..QUESTIONS).map(|_| about(&mut names, dice.below(policies)));
    let questions = questions.collect();
    let texts = match form {
        Form::Text => vec![("scoped.cedar", text(policies))],
        Form::Links => vec![
            ("scoped.cedar", templates()),
            ("links.cedar.json", links(policies)),
        ],
    };
    Scene::new(&texts, None, &entities(), questions)
}

/// Questions about any user and document, or about some of them far more often than about others.
pub(crate) fn anywhere(skewed: bool) -> Vec<pdp::Question> {
    let mut names = Names::default();
    let mut dice = Dice(7);
    let questions = (0..QUESTIONS).map(|_| {
        let mut one = || match skewed {
            // The hot ones lie anywhere among all.
            true => dice.skewed(USERS) * 7919 % USERS,
            false => dice.below(USERS),
        };
        let (user, document) = (one().to_string(), one().to_string());
        names.question(("User", &user), "edit", ("Doc", &document))
    });
    questions.collect()
}

/// A question that a policy permits.
fn about(names: &mut Names, policy: usize) -> pdp::Question {
    let action = if policy.is_multiple_of(3) {
        "view"
    } else {
        "edit"
    };
    let (user, document) = (user(policy).to_string(), document(policy).to_string());
    names.question(("User", &user), action, ("Doc", &document))
}

pub(crate) fn text(policies: usize) -> String {
    let mut text = String::new();
    for number in 0..policies {
        let (user, document) = (user(number), document(number));
        let (group, folder) = (user % GROUPS, document % GROUPS);
        let written = match number % 3 {
            0 => writeln!(
                text,
                r#"permit(principal == User::"{user}", action == Action::"view", resource == Doc::"{document}");"#,
            ),
            1 => writeln!(
                text,
                r#"permit(principal in Group::"{group}", action in [Action::"view", Action::"edit"], resource in Folder::"{folder}");"#,
            ),
            _ => writeln!(
                text,
                r#"permit(principal is User in Group::"{group}", action in Action::"all", resource is Doc in Folder::"{folder}") when {{ resource.open }};"#,
            ),
        };
        written.expect("text");
    }
    text
}

pub(crate) fn templates() -> String {
    r#"
    @id("t0") permit(principal == ?principal, action == Action::"view", resource == ?resource);
    @id("t1") permit(principal in ?principal, action in [Action::"view", Action::"edit"], resource in ?resource);
    @id("t2") permit(principal is User in ?principal, action in Action::"all", resource is Doc in ?resource)
        when { resource.open };
    "#
    .to_owned()
}

pub(crate) fn links(policies: usize) -> String {
    let links: Vec<Value> = (0..policies)
        .map(|number| {
            let (user, document) = (user(number), document(number));
            let (principal, resource) = match number % 3 {
                0 => (uid("User", &user.to_string()), uid("Doc", &document.to_string())),
                _ => (
                    uid("Group", &(user % GROUPS).to_string()),
                    uid("Folder", &(document % GROUPS).to_string()),
                ),
            };
            json!({
                "templateId": format!("t{}", number % 3),
                "newId": format!("link {number}"),
                "values": { "?principal": { "__entity": principal }, "?resource": { "__entity": resource } },
            })
        })
        .collect();
    json!({ "staticPolicies": {}, "templates": {}, "templateLinks": links }).to_string()
}

/// The user of a policy.
fn user(policy: usize) -> usize {
    policy * 31 % USERS
}

/// The document of a policy: another with every round through users or groups, so that more policies
/// are about more, and do not say the same again.
fn document(policy: usize) -> usize {
    (policy * 977 + policy / GROUPS * 331) % USERS
}

/// Users in groups and documents in folders, two each, and those in ten larger ones.
pub(crate) fn entities() -> Value {
    let mut all = Vec::new();
    for (kind, member, attributes) in [
        ("Group", "User", json!({})),
        ("Folder", "Doc", json!({ "open": true })),
    ] {
        for id in 0..USERS {
            let parents = [id % GROUPS, (id / GROUPS * 97 + id * 13) % GROUPS];
            let parents = parents
                .map(|parent| uid(kind, &parent.to_string()))
                .to_vec();
            all.push(entity(member, &id.to_string(), attributes.clone(), parents));
        }
        for id in 0..GROUPS {
            let parents = vec![uid(kind, &format!("large-{}", id % 10))];
            all.push(entity(kind, &id.to_string(), json!({}), parents));
        }
    }
    for action in ["view", "edit"] {
        all.push(entity(
            "Action",
            action,
            json!({}),
            vec![uid("Action", "all")],
        ));
    }
    Value::Array(all)
}

/// So many policies that ask for attributes alone. One in ten lets a question pass.
fn unscoped(policies: usize) -> Scene {
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
    let mut dice = Dice(policies as u64);
    let mut all = Vec::new();
    for id in 0..1000 {
        let manager = reference("User", &dice.below(1000).to_string());
        let person = json!({ "clearance": dice.below(6), "manager": manager });
        all.push(entity("User", &id.to_string(), person, Vec::new()));
        let labels: Vec<String> = (0..3)
            .filter(|_| dice.percent(60))
            .map(|n| format!("l{n}"))
            .collect();
        let document = json!({
            "department": format!("d{}", dice.below(10)),
            "labels": labels,
            "owner": reference("User", &dice.below(1000).to_string()),
        });
        all.push(entity("Doc", &id.to_string(), document, Vec::new()));
    }
    all.push(entity(
        "Action",
        "view",
        Value::Object(Map::new()),
        Vec::new(),
    ));
    let mut names = Names::default();
    let questions = (0..QUESTIONS).map(|_| {
        let (who, what) = (dice.below(1000).to_string(), dice.below(1000).to_string());
        let mut question = names.question(("User", &who), "view", ("Doc", &what));
        let mfa = RestrictedExpression::new_bool(dice.percent(50));
        question.context = Context::from_pairs([("mfa".to_owned(), mfa)]).expect("a context");
        question
    });
    let questions = questions.collect();
    Scene::new(
        &[("conditions.cedar", text)],
        None,
        &Value::Array(all),
        questions,
    )
}

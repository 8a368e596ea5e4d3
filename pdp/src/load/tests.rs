use cedar_policy::{Context, Decision, EntityUid};
use cedar_policy_core::ast::{Context as CoreContext, EntityUID, Request, RequestSchemaAllPass};
use cedar_policy_core::authorizer::Authorizer;
use cedar_policy_core::entities::Entities;
use cedar_policy_core::extensions::Extensions;

use super::depth::tests::{deepest, policy, shapes};
use super::*;
use crate::question::{Consistency, Question};

const RULES: Rules = Rules {
    ids: Ids::Annotated,
    validate: true,
    on_error: OnError::Deny,
};

const SCHEMA: &str = r#"
    type Nested = { a?: Long };
    entity User in [User] { age?: Long };
    action view, edit appliesTo { principal: User, resource: User, context: { a?: Long } };
"#;

fn text(path: &str, content: impl Into<String>) -> Text {
    Text {
        path: path.into(),
        content: content.into(),
    }
}

fn policies(files: &[(&str, &str)]) -> Texts {
    Texts {
        policies: files
            .iter()
            .map(|(path, content)| text(path, *content))
            .collect(),
        schema: Some(text("s.cedarschema", SCHEMA)),
        entities: None,
    }
}

/// Builds, and returns the problems as they are printed.
fn problems(texts: Texts) -> Vec<String> {
    build(texts, RULES)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn ids(texts: Texts, ids: Ids) -> Vec<String> {
    let snapshot = build(texts, Rules { ids, ..RULES }).unwrap();
    let set = snapshot.policies();
    let mut found: Vec<String> = set
        .policies()
        .map(|policy| policy.id().to_string())
        .chain(set.templates().map(|template| template.id().to_string()))
        .collect();
    found.sort();
    found
}

#[test]
fn ids_come_from_annotations_else_from_file_and_place() {
    let all = "permit(principal, action, resource);";
    let template = "permit(principal == ?principal, action, resource);";
    let texts = policies(&[
        (
            "b/a.cedar",
            &format!("{all} @id(\"x y\") {all} {template} {all}"),
        ),
        ("b/c.cedar", &format!("// none\n{all}")),
    ]);
    assert_eq!(
        ids(texts.clone(), Ids::Annotated),
        ["a#0", "a#2", "a#3", "c#0", "x y"]
    );
    assert_eq!(
        ids(texts, Ids::Positional),
        ["policy0", "policy1", "policy2", "policy3", "policy4"]
    );
}

#[test]
fn two_policies_with_one_id_are_named_both() {
    let one = "@id(\"x\")\npermit(principal, action, resource);";
    assert_eq!(
        problems(policies(&[
            ("a.cedar", one),
            ("b.cedar", &format!("\n  {one}"))
        ])),
        ["b.cedar:2:3: the policy id `x` is already taken at a.cedar:1:1"]
    );
    assert_eq!(
        problems(policies(&[
            ("a.cedar", one),
            ("b/a.cedar", "@id permit(principal, action, resource);")
        ])),
        ["b/a.cedar:1:1: the policy's `@id` is empty"]
    );
    // The same stem in two folders makes the same id; the annotation is the way out.
    let plain = "permit(principal, action, resource);";
    assert_eq!(
        problems(policies(&[("a.cedar", plain), ("b/a.cedar", plain)])),
        ["b/a.cedar:1:1: the policy id `a#0` is already taken at a.cedar:1:1"]
    );
}

#[test]
fn every_mistake_of_every_file_is_told_with_its_place() {
    let texts = Texts {
        policies: vec![
            text(
                "syntax.cedar",
                "permit(principal, action, resource);\n\npermit(principal action, resource);\n",
            ),
            text(
                "types.cedar",
                "permit(principal, action == Action::\"view\", resource)\n  when { context.b };\n\n\
                 forbid(principal, action == Action::\"vieww\", resource);",
            ),
            text("deep.cedar", policy(&shapes(2000)[1].1)),
        ],
        schema: Some(text("s.cedarschema", SCHEMA)),
        entities: Some(text(
            "e.json",
            "[\n  {\"uid\":{\"type\":\"User\",\"id\":\"a\"},\"attrs\":{\"age\":\"x\"},\"parents\":[]},\n  \
             {\"uid\":{\"type\":\"Robot\",\"id\":\"a\"},\"attrs\":{},\"parents\":[]}\n]",
        )),
    };
    let problems = problems(texts);
    let begins = |start: &str| {
        problems
            .iter()
            .filter(|problem| problem.starts_with(start))
            .count()
    };
    assert_eq!(
        begins("syntax.cedar:3:18: unexpected token `action`"),
        1,
        "{problems:#?}"
    );
    assert_eq!(begins("types.cedar:2:10: "), 1, "{problems:#?}");
    assert_eq!(begins("types.cedar:4:29: "), 1, "{problems:#?}");
    assert_eq!(begins("deep.cedar:1:"), 1, "{problems:#?}");
    assert_eq!(begins("e.json:2:3: "), 1, "{problems:#?}");
    assert_eq!(begins("e.json:3:3: "), 1, "{problems:#?}");
    assert_eq!(problems.len(), 6, "{problems:#?}");
    assert!(problems.iter().all(|problem| !problem.contains('\n')));
}

#[test]
fn a_broken_schema_is_told_beside_broken_policies() {
    let mut texts = policies(&[("p.cedar", "permit(")]);
    texts.schema = Some(text(
        "s.cedarschema",
        "entity User;\naction view appliesTo { principal: Usr, resource: User };",
    ));
    let found = problems(texts);
    assert!(
        found
            .iter()
            .any(|problem| problem.starts_with("s.cedarschema:2:36: ")),
        "{found:#?}"
    );
    assert!(
        found
            .iter()
            .any(|problem| problem.starts_with("p.cedar:1:8: ")),
        "{found:#?}"
    );

    let mut texts = policies(&[]);
    texts.schema = Some(text("s.json", "{\n  \"a\": }"));
    assert!(problems(texts)[0].starts_with("s.json:2:8: is not valid JSON"));
    let mut texts = policies(&[]);
    texts.schema = Some(text(
        "s.cedarschema",
        format!(
            "entity A {{ a: {}Long{} }};",
            "Set<".repeat(5000),
            ">".repeat(5000)
        ),
    ));
    assert!(problems(texts)[0].contains("nest more than"));
}

#[test]
fn entities_that_do_not_fit_are_told() {
    let with = |entities: &str| {
        let mut texts = policies(&[]);
        texts.entities = Some(text("e.json", entities));
        problems(texts)
    };
    let user = |id: &str, parent: &str| {
        let parents = if parent.is_empty() {
            String::new()
        } else {
            format!(r#"{{"type":"User","id":"{parent}"}}"#)
        };
        format!(r#"{{"uid":{{"type":"User","id":"{id}"}},"attrs":{{}},"parents":[{parents}]}}"#)
    };
    assert_eq!(with("[]"), [""; 0]);
    assert!(
        with("{}")[0].starts_with("e.json:1:1: is not a JSON array of entities"),
        "{:?}",
        with("{}")
    );
    assert!(
        with(&format!("[\n{},\n\n {}]", user("a", ""), user("a", "")))[0]
            .starts_with("e.json:4:2: entity `User::\"a\"` is already given in line 2")
    );
    assert!(with(&format!("[{},{}]", user("a", "b"), user("b", "a")))[0].contains("cycle"));
    assert!(
        with(&format!("{}{}", "[".repeat(5000), "]".repeat(5000)))[0].contains("nests more than")
    );
    assert!(
        with(r#"[{"uid":{"type":"User","id":"a"},"attrs":{"age":1,"age":2},"parents":[]}]"#)[0]
            .starts_with("e.json:1:2")
    );
}

#[test]
fn hostile_entities_are_told_by_name() {
    let build_of = |entities: &str| {
        let mut texts = policies(&[]);
        texts.entities = Some(text("e.json", entities));
        build(texts, RULES)
    };
    let told = |entities: &str, expected: &str| {
        let problems = build_of(entities).unwrap_err();
        let problem = problems[0].to_string();
        assert!(problem.contains(expected), "{entities}: {problem}");
    };
    let user = |uid: &str, attributes: &str, parents: &str| {
        format!(r#"[{{"uid":{uid},"attrs":{attributes},"parents":[{parents}]}}]"#)
    };
    let a = r#"{"type":"User","id":"a"}"#;
    for number in ["1.5", "9223372036854775808", "1e400", "null"] {
        told(
            &user(a, &format!(r#"{{"age":{number}}}"#), ""),
            "e.json:1:2: ",
        );
    }
    told(&user(a, r#"{"age":1.5}"#, ""), "Cedar does not have");
    for uid in [
        r#"{"type":"User"}"#,
        r#"{"type":"","id":"a"}"#,
        r#"{"type":"User::","id":"a"}"#,
        r#"{"type":"__cedar::User","id":"a"}"#,
        r#""User::\"a\"""#,
        "7",
    ] {
        told(&user(uid, "{}", ""), "e.json:1:2: ");
        told(&user(a, "{}", uid), "e.json:1:2: ");
    }
    told(&user(a, r#"{"age":1,"age":1}"#, ""), "e.json:1:2: ");
    told(
        &user(a, "{}", a),
        r#"e.json:1:2: entity `User::"a"` is its own parent"#,
    );
    // Whatever characters an id holds, it is one name, and errors keep to their line.
    let odd = r#"{"type":"User","id":"\u0000\n\u202e\"::User::\"b"}"#;
    assert_eq!(
        build_of(&user(odd, "{}", "")).unwrap().entity_count(),
        1 + 2
    );
    let one = user(odd, "{}", "");
    let one = one.trim_matches(['[', ']']);
    let twice = format!("[{one},{one}]");
    let problems = build_of(&twice).unwrap_err();
    assert!(!problems[0].to_string().contains('\n'), "{problems:?}");
}

#[test]
fn a_chain_of_entities_is_refused_in_time() {
    let chain = |length: usize| {
        let link = |n: usize| {
            let above = n + 1;
            format!(
                r#"{{"uid":{{"type":"User","id":"{n}"}},"attrs":{{}},"parents":[{{"type":"User","id":"{above}"}}]}}"#
            )
        };
        let links: Vec<String> = (0..length).map(link).collect();
        let texts = Texts {
            entities: Some(text("e.json", format!("[{}]", links.join(",\n")))),
            ..Texts::default()
        };
        build(texts, RULES)
    };
    assert_eq!(chain(1000).unwrap().entity_count(), 1000);
    let problems = chain(8000).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        r#"e.json:7000:1: entity `User::"6999"` has more than 1000 ancestors"#
    );
}

#[test]
fn parents_that_are_not_stored_are_warned_of() {
    let member = |n: usize| {
        format!(
            r#"{{"uid":{{"type":"User","id":"{n}"}},"attrs":{{}},"parents":[{{"type":"Group","id":"{n}"}},{{"type":"Group","id":"{n}"}}]}}"#
        )
    };
    let members: Vec<String> = (0..25).map(member).collect();
    let texts = Texts {
        entities: Some(text("e.json", format!("[{}]", members.join(",\n")))),
        ..Texts::default()
    };
    let snapshot = build(texts, RULES).unwrap();
    let warnings: Vec<String> = snapshot.warnings().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 21);
    assert_eq!(
        warnings[0],
        r#"e.json:1:1: entity `User::"0"` is in `Group::"0"`, which is not stored"#
            .replace("1:1", "1:2")
    );
    assert_eq!(warnings[20], "e.json: 5 more parents are not stored");
}

#[test]
fn policies_without_a_schema_or_without_validation_load() {
    let mut texts = policies(&[(
        "p.cedar",
        "permit(principal, action, resource) when { context.nope.nope };",
    )]);
    assert!(!problems(texts.clone()).is_empty());
    assert!(
        build(
            texts.clone(),
            Rules {
                validate: false,
                ..RULES
            }
        )
        .is_ok()
    );
    texts.schema = None;
    assert!(build(texts, RULES).is_ok());
}

#[test]
fn warnings_are_no_mistakes() {
    let texts = policies(&[(
        "p.cedar",
        "\npermit(principal, action, resource) when { 1 == 2 };",
    )]);
    let snapshot = build(texts, RULES).unwrap();
    assert!(
        snapshot
            .warnings()
            .next()
            .unwrap()
            .to_string()
            .starts_with("p.cedar:2:1"),
        "{:?}",
        snapshot.warnings().collect::<Vec<_>>()
    );
}

#[test]
fn the_revision_is_of_the_content() {
    let one = "@id(\"one\") permit(principal, action, resource);";
    let two = "@id(\"two\") forbid(principal, action == Action::\"view\", resource);";
    let revision = |texts: Texts| build(texts, RULES).unwrap().revision().to_string();
    let base = revision(policies(&[("a.cedar", &format!("{one}{two}"))]));
    assert_eq!(base.len(), 64);
    assert!(base.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(
        base,
        revision(policies(&[
            ("z.cedar", two),
            ("zz/y.cedar", &format!("// note\n{one}"))
        ]))
    );
    assert_ne!(base, revision(policies(&[("a.cedar", one)])));
    assert_ne!(
        base,
        revision(policies(&[(
            "a.cedar",
            &format!("{one}{}", two.replace("view", "edit"))
        )]))
    );
    let mut other = policies(&[("a.cedar", &format!("{one}{two}"))]);
    other.entities = Some(text(
        "e.json",
        r#"[{"uid":{"type":"User","id":"a"},"attrs":{},"parents":[]}]"#,
    ));
    // Entities have a revision of their own.
    assert_eq!(base, revision(other.clone()));
    let of_entities = |texts| build(texts, RULES).unwrap().entities_revision().to_string();
    assert_ne!(of_entities(policies(&[])), of_entities(other.clone()));
    // What it says counts, not how.
    other.entities.as_mut().unwrap().content =
        r#"[{"parents":[],"attrs":{},"uid":{"id":"a","type":"User"},"tags":{}} ]"#.to_owned();
    assert_eq!(of_entities(other.clone()), {
        let mut again = policies(&[]);
        again.entities = Some(text(
            "f.json",
            r#"[{"uid":{"type":"User","id":"a"},"attrs":{},"parents":[]}]"#,
        ));
        of_entities(again)
    });
    let mut schema = policies(&[("a.cedar", &format!("{one}{two}"))]);
    schema
        .schema
        .as_mut()
        .unwrap()
        .content
        .push_str("entity Other;");
    assert_ne!(base, revision(schema));
}

fn uid<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

#[test]
fn the_deepest_policies_are_decided_on_any_thread() {
    for (name, policy) in deepest() {
        let texts = Texts {
            policies: vec![text("p.cedar", policy)],
            ..Texts::default()
        };
        let snapshot = build(
            texts,
            Rules {
                validate: false,
                ..RULES
            },
        )
        .unwrap();
        let question = Question {
            principal: uid::<EntityUid>("User::\"a\""),
            action: uid("Action::\"view\""),
            resource: uid("User::\"b\""),
            context: Context::from_json_str(r#"{"a":1}"#, None).unwrap(),
            entities: Vec::new(),
            consistency: Consistency::default(),
            expires_at: None,
        };
        for stack in [512 << 10, 2 << 20, crate::EVALUATION_STACK] {
            std::thread::scope(|scope| {
                let thread = std::thread::Builder::new().stack_size(stack);
                thread
                    .spawn_scoped(scope, || {
                        let answer = snapshot.decide(&question);
                        assert_eq!(answer.source, crate::Source::Engine, "{name}: {answer:?}");
                    })
                    .unwrap();
            });
        }
    }
}

#[test]
fn the_deepest_policies_take_less_stack_than_is_set_aside() {
    for (name, policy) in deepest() {
        let texts = Texts {
            policies: vec![text("p.cedar", policy)],
            ..Texts::default()
        };
        let snapshot = build(
            texts,
            Rules {
                validate: false,
                ..RULES
            },
        )
        .unwrap();
        let request = Request::new(
            (uid::<EntityUID>("User::\"a\""), None),
            (uid("Action::\"view\""), None),
            (uid("User::\"b\""), None),
            CoreContext::from_json_str(r#"{"a":1}"#).unwrap(),
            None::<&RequestSchemaAllPass>,
            Extensions::all_available(),
        )
        .unwrap();
        // A quarter is kept as a margin.
        let stack = snapshot.stack_needed() / 4 * 3;
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(stack);
            thread
                .spawn_scoped(scope, || {
                    let set = snapshot.policies().as_ref();
                    let response = Authorizer::new().is_authorized(request, set, &Entities::new());
                    let errors = format!("{:?}", response.diagnostics.errors);
                    assert!(
                        !errors.contains("RecursionLimit"),
                        "{name}: {stack} bytes are too few"
                    );
                })
                .unwrap();
        });
    }
}

#[test]
fn the_deepest_policies_can_be_validated() {
    for (name, policy) in deepest() {
        let mut texts = policies(&[("p.cedar", &policy)]);
        let _ = build(texts.clone(), RULES);
        texts.schema = None;
        assert!(build(texts, RULES).is_ok(), "{name}");
    }
}

#[test]
fn deeper_policies_are_refused_not_skipped() {
    for (name, condition) in shapes(5000) {
        let texts = Texts {
            policies: vec![text("p.cedar", policy(&condition))],
            ..Texts::default()
        };
        let problems = build(texts, RULES).unwrap_err();
        let start = "policy `p#0` is too deep: ";
        assert!(
            problems[0].message.starts_with(start),
            "{name}: {problems:?}"
        );
        assert!(
            problems[0].message.contains("deep") || problems[0].message.contains("high"),
            "{name}: {problems:?}"
        );
    }
}

#[test]
fn no_policies_deny() {
    let snapshot = build(policies(&[]), RULES).unwrap();
    let question = Question {
        principal: uid("User::\"a\""),
        action: uid("Action::\"view\""),
        resource: uid("User::\"a\""),
        context: Context::empty(),
        entities: Vec::new(),
        consistency: Consistency::default(),
        expires_at: None,
    };
    let answer = snapshot.decide(&question);
    assert_eq!(answer.decision, Decision::Deny);
    assert!(answer.determining_policies.is_empty() && answer.errors.is_empty());
}

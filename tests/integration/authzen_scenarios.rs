//! The scenarios of the AuthZEN working group: the certification fixture, the Todo application, and the search
//! demonstration, each as a pack of policies of our own and the answers that the group has published.

use crate::harness::http1::post;
use crate::harness::sidecar::Sidecar;
use crate::harness::workspace::Workspace;
use serde_json::{Value, json};

/// A sidecar with nothing but this pack; `types` are AuthZEN's names of the Cedar types.
fn start(namespace: &str, schema: &str, policies: &str, entities: &Value, types: Value) -> Sidecar {
    let workspace = Workspace::empty()
        .set("/listen", json!({"decisions": "127.0.0.1:0", "telemetry": "127.0.0.1:0"}))
        .set("/policies", json!({"source": {"dir": "policies"}, "schema": "pack.cedarschema", "entities": "entities.json", "namespace": namespace}))
        .set("/authzen", json!({"types": types}));
    workspace.write("pack.cedarschema", schema);
    workspace.write("policies/pack.cedar", policies);
    workspace.write("entities.json", &entities.to_string());
    Sidecar::start(&workspace)
}

fn ask(sidecar: &Sidecar, call: &str, body: &Value) -> Value {
    let answer = post(sidecar.decisions(), &format!("/access/v1/{call}"), "", &body.to_string());
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    answer.json()
}

/// The ids or names that a search finds, all on one page.
fn found(sidecar: &Sidecar, side: &str, body: &Value) -> Vec<String> {
    let answer = ask(sidecar, &format!("search/{side}"), body);
    assert_eq!(answer.get("page"), None, "{body}");
    let names = answer["results"].as_array().unwrap().iter().map(|result| result.get("name").unwrap_or(&result["id"]).as_str().unwrap().to_owned());
    names.collect()
}

fn entity(kind: &str, id: &str, attributes: Value, parents: Value) -> Value {
    json!({"uid": {"type": kind, "id": id}, "attrs": attributes, "parents": parents})
}

const CERTIFICATION_SCHEMA: &str = r#"namespace Certification {
    entity Staff;
    entity User in [Staff] { role?: String };
    entity Record { status?: String };
    action read, write, delete appliesTo { principal: User, resource: Record, context: { action?: { soft?: Bool } } };
}"#;

const CERTIFICATION: &str = r#"
@id("read") permit (principal in Certification::Staff::"all", action == Certification::Action::"read", resource);
@id("write") permit (principal == Certification::User::"alice", action == Certification::Action::"write", resource)
    unless { resource has status && resource.status == "archived" };
@id("archive") permit (principal, action == Certification::Action::"write", resource)
    when { principal has role && principal.role == "admin" && resource has status && resource.status == "archived" };
@id("soft_delete") permit (principal in Certification::Staff::"all", action == Certification::Action::"delete", resource)
    when { context has action && context.action has soft && context.action.soft };
"#;

#[test]
fn certification() {
    let staff = json!([{"type": "Certification::Staff", "id": "all"}]);
    let entities = json!([
        entity("Certification::Staff", "all", json!({}), json!([])),
        entity("Certification::User", "alice", json!({}), staff.clone()),
        entity("Certification::User", "bob", json!({"role": "admin"}), staff),
        entity("Certification::Record", "record-1", json!({"status": "active"}), json!([])),
        entity("Certification::Record", "record-2", json!({"status": "archived"}), json!([])),
    ]);
    let types = json!({"user": "User", "record": "Record"});
    let sidecar = start("Certification", CERTIFICATION_SCHEMA, CERTIFICATION, &entities, types);

    let user = |id: &str| json!({"type": "user", "id": id});
    let record = |id: &str| json!({"type": "record", "id": id});
    let described = |mut party: Value, properties: Value| {
        party["properties"] = properties;
        party
    };
    let archived = described(record("record-2"), json!({"status": "archived"}));
    let admin = described(user("bob"), json!({"role": "admin"}));
    let named = |name: &str| json!({"name": name});
    let delete = |soft: bool| json!({"name": "delete", "properties": {"soft": soft}});
    let question = |subject: &Value, action: &Value, resource: &Value| json!({"subject": subject, "action": action, "resource": resource});
    let (alice, bob, first) = (user("alice"), user("bob"), record("record-1"));
    let context = json!({"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"});
    let decisions = [
        (question(&alice, &named("read"), &first), true),
        (question(&alice, &named("write"), &first), true),
        (question(&bob, &named("read"), &first), true),
        (question(&bob, &named("write"), &first), false),
        (question(&alice, &named("write"), &archived), false),
        (question(&admin, &named("write"), &archived), true),
        (question(&alice, &delete(true), &first), true),
        (question(&alice, &delete(false), &first), false),
        (
            question(
                &described(alice.clone(), json!({"department": "Sales", "role": "manager"})),
                &json!({"name": "read", "properties": {"method": "GET"}}),
                &described(first.clone(), json!({"status": "active", "owner": "bob"})),
            ),
            true,
        ),
    ];
    for (question, decision) in decisions {
        for _ in 0..3 {
            assert_eq!(ask(&sidecar, "evaluation", &question), json!({"decision": decision}), "{question}");
        }
        // Neither a context nor what nobody knows changes it.
        let mut more = question.clone();
        more["context"] = context.clone();
        more["futureField"] = json!({"nested": true});
        assert_eq!(ask(&sidecar, "evaluation", &more), json!({"decision": decision}), "{more}");
        assert_eq!(ask(&sidecar, "evaluations", &more), json!({"decision": decision}), "{more}");
    }

    let list = |decisions: &[bool]| json!({"evaluations": decisions.iter().map(|decision| json!({"decision": decision})).collect::<Vec<_>>()});
    for (request, decisions) in [
        (json!({"subject": bob, "resource": first, "evaluations": [{"action": named("read")}, {"action": named("write")}]}), vec![true, false]),
        (
            json!({"subject": alice, "action": named("write"), "evaluations": [
                {"resource": described(first.clone(), json!({"status": "active"}))}, {"resource": archived}]}),
            vec![true, false],
        ),
        (json!({"action": named("write"), "resource": archived, "evaluations": [{"subject": alice}, {"subject": admin}]}), vec![false, true]),
        (json!({"evaluations": [question(&alice, &named("read"), &first), question(&bob, &named("write"), &first)]}), vec![true, false]),
        (
            json!({"subject": alice, "action": named("write"), "resource": described(first.clone(), json!({"status": "active"})),
                "evaluations": [{}, {"resource": archived}]}),
            vec![true, false],
        ),
        (
            json!({"subject": alice, "action": named("read"), "context": {"time": "2025-06-27T18:03-07:00"}, "evaluations": [
                {"resource": first}, {"resource": record("record-2"), "context": {"time": "2025-06-27T19:00-07:00", "source": "batch-override"}}]}),
            vec![true, true],
        ),
    ] {
        assert_eq!(ask(&sidecar, "evaluations", &request), list(&decisions), "{request}");
    }
    let broken =
        json!({"subject": alice, "action": named("read"), "options": {"evaluations_semantic": "execute_all"}, "evaluations": [{"resource": first}, {}]});
    let answer = ask(&sidecar, "evaluations", &broken);
    assert_eq!((&answer["evaluations"][0], &answer["evaluations"][1]["decision"]), (&json!({"decision": true}), &json!(false)));

    let kind = |kind: &str| json!({"type": kind});
    let searches = [
        ("subject", question(&kind("user"), &named("read"), &first), vec!["alice", "bob"]),
        ("subject", question(&alice, &named("read"), &first), vec!["alice", "bob"]),
        ("resource", question(&alice, &named("read"), &kind("record")), vec!["record-1", "record-2"]),
        ("resource", question(&alice, &named("read"), &first), vec!["record-1", "record-2"]),
        ("action", json!({"subject": alice, "resource": first}), vec!["read", "write"]),
        ("subject", question(&kind("user"), &named("write"), &archived), vec!["bob"]),
        ("resource", question(&admin, &named("write"), &kind("record")), vec!["record-2"]),
        ("action", json!({"subject": admin, "resource": archived}), vec!["read", "write"]),
        ("action", json!({"subject": user("nonexistent-user"), "resource": first}), vec![]),
        ("subject", question(&kind("spaceship"), &named("read"), &first), vec![]),
    ];
    for (side, request, expected) in searches {
        assert_eq!(found(&sidecar, side, &request), expected, "{request}");
        let mut more = request.clone();
        more["context"] = context.clone();
        assert_eq!(found(&sidecar, side, &more), expected, "{more}");
    }
}

const TODO_SCHEMA: &str = r#"namespace Todo {
    entity User { roles?: Set<String>, email?: String };
    entity Item { ownerID?: String };
    action can_read_user appliesTo { principal: User, resource: User };
    action can_read_todos, can_create_todo, can_update_todo, can_delete_todo appliesTo { principal: User, resource: Item };
}"#;

const TODO: &str = r#"
@id("everyone_reads") permit (principal, action in [Todo::Action::"can_read_user", Todo::Action::"can_read_todos"], resource);
@id("editors_create") permit (principal, action == Todo::Action::"can_create_todo", resource)
    when { principal has roles && principal.roles.containsAny(["admin", "editor"]) };
@id("editors_change_their_own") permit (principal, action in [Todo::Action::"can_update_todo", Todo::Action::"can_delete_todo"], resource)
    when { principal has roles && principal has email && resource has ownerID && principal.roles.contains("editor") && resource.ownerID == principal.email };
@id("evil_geniuses_update") permit (principal, action == Todo::Action::"can_update_todo", resource)
    when { principal has roles && principal.roles.contains("evil_genius") };
@id("admins_delete") permit (principal, action == Todo::Action::"can_delete_todo", resource)
    when { principal has roles && principal.roles.contains("admin") };
"#;

/// Who is who: the subject of their tokens, their address, their roles.
const CITIZENS: [(&str, &str, &[&str]); 5] = [
    ("CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "rick@the-citadel.com", &["admin", "evil_genius"]),
    ("CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "morty@the-citadel.com", &["editor"]),
    ("CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "summer@the-smiths.com", &["editor"]),
    ("CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "beth@the-smiths.com", &["viewer"]),
    ("CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "jerry@the-smiths.com", &["viewer"]),
];

#[test]
fn todo_application() {
    let users = CITIZENS.map(|(id, email, roles)| entity("Todo::User", id, json!({"email": email, "roles": roles}), json!([])));
    let types = json!({"user": "User", "todo": "Item"});
    let sidecar = start("Todo", TODO_SCHEMA, TODO, &users.to_vec().into(), types);
    let todo = |owner: &str| json!({"type": "todo", "id": "7240d0db-8ff0-41ec-98b2-34a096273b9f", "properties": {"ownerID": owner}});
    for (id, email, roles) in CITIZENS {
        let subject = json!({"type": "user", "id": id});
        let (is_admin, is_editor, is_genius) = (roles.contains(&"admin"), roles.contains(&"editor"), roles.contains(&"evil_genius"));
        let mut rows = vec![
            ("can_read_user", json!({"type": "user", "id": "beth@the-smiths.com"}), true),
            ("can_read_user", subject.clone(), true),
            ("can_read_todos", json!({"type": "todo", "id": "todo-1"}), true),
            ("can_create_todo", json!({"type": "todo", "id": "todo-1"}), is_admin || is_editor),
        ];
        for (_, owner, _) in CITIZENS {
            let is_own = is_editor && owner == email;
            rows.push(("can_update_todo", todo(owner), is_genius || is_own));
            rows.push(("can_delete_todo", todo(owner), is_admin || is_own));
        }
        for (action, resource, decision) in rows {
            let question = json!({"subject": subject, "action": {"name": action}, "resource": resource, "context": {}});
            assert_eq!(ask(&sidecar, "evaluation", &question), json!({"decision": decision}), "{email}: {question}");
        }
        // Which of the list may be completed: the empty default of version 1.1 is replaced by every item.
        let many = json!({"subject": subject, "action": {"name": "can_update_todo"}, "resource": {}, "context": {},
            "evaluations": CITIZENS.map(|(_, owner, _)| json!({"resource": todo(owner)}))});
        let expected = CITIZENS.map(|(_, owner, _)| json!({"decision": is_genius || (is_editor && owner == email)}));
        assert_eq!(ask(&sidecar, "evaluations", &many), json!({"evaluations": expected}), "{email}");
    }
}

const SEARCH_SCHEMA: &str = r#"namespace Demo {
    entity User { role: String, department: String };
    entity Record { title: String, department: String, owner: User };
    action view, edit, delete appliesTo { principal: User, resource: Record };
}"#;

const SEARCH: &str = r#"
@id("owners") permit (principal, action, resource) when { resource.owner == principal };
@id("departments_view") permit (principal, action == Demo::Action::"view", resource) when { principal.department == resource.department };
@id("managers_view") permit (principal, action == Demo::Action::"view", resource) when { principal.role == "manager" };
@id("managers_edit") permit (principal, action == Demo::Action::"edit", resource)
    when { principal.role == "manager" && principal.department == resource.department };
"#;

const SEARCH_USERS: [(&str, &str, &str); 6] = [
    ("alice", "manager", "Sales"),
    ("bob", "employee", "Legal"),
    ("carol", "contractor", "Legal"),
    ("dan", "manager", "Finance"),
    ("erin", "employee", "Finance"),
    ("felix", "contractor", "Accounting"),
];

/// The departments of records 101 to 120; their owners are the six in turn, but for the 19th and 20th, who begin anew.
const SEARCH_RECORDS: [&str; 20] = [
    "Legal",
    "Legal",
    "Legal",
    "Accounting",
    "Legal",
    "Accounting",
    "Sales",
    "Legal",
    "Accounting",
    "Sales",
    "Accounting",
    "Legal",
    "Sales",
    "Accounting",
    "Finance",
    "Legal",
    "Legal",
    "Accounting",
    "Legal",
    "Accounting",
];

/// The published answers: the records that each may view, edit and delete.
const SEARCH_ANSWERS: [(&str, [&[u32]; 3]); 6] = [
    (
        "alice",
        [
            &[101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, 120],
            &[101, 107, 110, 113, 119],
            &[101, 107, 113, 119],
        ],
    ),
    ("bob", [&[101, 102, 103, 105, 108, 112, 114, 116, 117, 119, 120], &[102, 108, 114, 120], &[102, 108, 114, 120]]),
    ("carol", [&[101, 102, 103, 105, 108, 109, 112, 115, 116, 117, 119], &[103, 109, 115], &[103, 109, 115]]),
    ("dan", [&[101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, 120], &[104, 110, 115, 116], &[104, 110, 116]]),
    ("erin", [&[105, 111, 115, 117], &[105, 111, 117], &[105, 111, 117]]),
    ("felix", [&[104, 106, 109, 111, 112, 114, 118, 120], &[106, 112, 118], &[106, 112, 118]]),
];

#[test]
fn search_demonstration() {
    let mut entities: Vec<Value> =
        SEARCH_USERS.iter().map(|(id, role, department)| entity("Demo::User", id, json!({"role": role, "department": department}), json!([]))).collect();
    entities.extend(SEARCH_RECORDS.iter().zip(0..).map(|(department, n)| {
        let owner = json!({"__entity": {"type": "Demo::User", "id": SEARCH_USERS[n % 6].0}});
        entity("Demo::Record", &(101 + n).to_string(), json!({"title": "Hamlet", "department": department, "owner": owner}), json!([]))
    }));
    let types = json!({"user": "User", "record": "Record"});
    let sidecar = start("Demo", SEARCH_SCHEMA, SEARCH, &entities.into(), types);
    let actions = ["view", "edit", "delete"];
    let may = |user: &str, action: usize, record: u32| {
        let (_, records) = SEARCH_ANSWERS.iter().find(|(name, _)| *name == user).unwrap();
        records[action].contains(&record)
    };
    for (at, action) in actions.into_iter().enumerate() {
        for (user, records) in SEARCH_ANSWERS {
            let question = json!({"subject": {"type": "user", "id": user}, "action": {"name": action}, "resource": {"type": "record"}});
            let expected: Vec<String> = records[at].iter().map(u32::to_string).collect();
            assert_eq!(found(&sidecar, "resource", &question), expected, "{question}");
        }
        for record in 101..=120 {
            let question = json!({"subject": {"type": "user"}, "action": {"name": action}, "resource": {"type": "record", "id": record.to_string()}});
            let expected: Vec<&str> = SEARCH_USERS.iter().map(|(user, ..)| *user).filter(|user| may(user, at, record)).collect();
            assert_eq!(found(&sidecar, "subject", &question), expected, "{question}");
        }
    }
    for (user, _) in SEARCH_ANSWERS {
        for record in 101..=120 {
            let question = json!({"subject": {"type": "user", "id": user}, "resource": {"type": "record", "id": record.to_string()}});
            let mut expected: Vec<&str> = actions.into_iter().enumerate().filter(|(at, _)| may(user, *at, record)).map(|(_, name)| name).collect();
            expected.sort_unstable();
            assert_eq!(found(&sidecar, "action", &question), expected, "{question}");
        }
    }
}

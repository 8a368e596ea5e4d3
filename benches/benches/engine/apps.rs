//! Three applications, after those that Cedar's authors measured with in their paper (OOPSLA 2024):
//! sharing of documents, code hosting and lists of tasks. The entities are made by chance, in many
//! small worlds.

use serde_json::{Value, json};

use crate::measure::{each, tell};
use crate::scene::{Dice, Names, Scene, entity, reference, uid};

/// Worlds of each application.
const WORLDS: usize = 10;
/// Questions in each world.
const QUESTIONS: usize = 1000;
/// Entities of each type in a world.
const SIZE: usize = 30;
/// Chance that two entities have to do with each other, in percent.
const CHANCE: usize = 5;

/// Entities and questions of one world.
type World = (Vec<Value>, Vec<pdp::Question>);

pub(crate) fn measure() {
    tell("applications (engine with check and slice; authorizer deciding alone)");
    app("gdrive", GDRIVE, GDRIVE_SCHEMA, gdrive);
    app("github", GITHUB, GITHUB_SCHEMA, github);
    app("tinytodo", TINYTODO, TINYTODO_SCHEMA, tinytodo);
}

fn app(name: &str, policies: &str, schema: &str, world: fn(&mut Dice, &mut Names) -> World) {
    let mut names = Names::default();
    let scenes: Vec<Scene> = (0..WORLDS)
        .map(|seed| {
            let (entities, questions) = world(&mut Dice(seed as u64), &mut names);
            Scene::new(
                &[("app.cedar", policies.to_owned())],
                Some(schema),
                &Value::Array(entities),
                questions,
            )
        })
        .collect();
    let questions: Vec<_> = scenes
        .iter()
        .flat_map(|scene| {
            scene
                .questions
                .iter()
                .map(move |question| (scene, question))
        })
        .collect();
    let requests: Vec<_> = scenes
        .iter()
        .flat_map(|scene| {
            scene
                .requests(QUESTIONS)
                .iter()
                .map(move |request| (scene, request))
        })
        .collect();
    let authorizer = each(&requests, |(scene, request)| scene.authorize(request));
    let engine = each(&questions, |(scene, question)| {
        scene.snapshot.decide(question)
    });
    let allowed = scenes.iter().map(Scene::allowed).sum::<usize>() / scenes.len().max(1);
    tell(&format!(
        "  {name:<9} engine {}; authorizer {}; {:.1}x; {allowed} % allowed",
        engine.text(),
        authorizer.text(),
        engine.ratio(&authorizer)
    ));
}

fn some(dice: &mut Dice, kind: &str, limit: usize) -> Vec<Value> {
    let all = (0..limit).filter(|_| dice.percent(CHANCE));
    all.map(|id| uid(kind, &id.to_string())).collect()
}

fn references(dice: &mut Dice, kind: &str) -> Vec<Value> {
    let all = (0..SIZE).filter(|_| dice.percent(CHANCE));
    all.map(|id| reference(kind, &id.to_string())).collect()
}

const GDRIVE_SCHEMA: &str = "
    entity Circle;
    entity Access in [Access];
    entity Person in [Circle] { sees: Access, documents: Set<Document>, folders: Set<Folder> };
    entity Folder in [Folder, Access];
    entity Document in [Folder, Access] { open: Bool };
    action read, write, share, give appliesTo { principal: Person, resource: Document };
    action create appliesTo { principal: Person, resource: Folder };
";

const GDRIVE: &str = r#"
    @id("seen") permit(principal, action == Action::"read", resource)
        when { resource in principal.sees };
    @id("open") permit(principal, action == Action::"read", resource) when { resource.open };
    @id("owned") permit(principal, action in [Action::"read", Action::"write", Action::"share"], resource)
        when { resource in principal.documents || resource in principal.folders };
    @id("given") permit(principal, action == Action::"give", resource)
        when { principal.documents.contains(resource) };
    @id("created") permit(principal, action == Action::"create", resource)
        when { principal.folders.contains(resource) };
"#;

fn gdrive(dice: &mut Dice, names: &mut Names) -> World {
    let mut all = Vec::new();
    let mut members = vec![Vec::new(); SIZE];
    for id in 0..SIZE {
        let person = id.to_string();
        let circles = some(dice, "Circle", SIZE);
        for circle in &circles {
            let circle = circle.get("id").and_then(Value::as_str);
            let circle = circle.and_then(|id| id.parse::<usize>().ok());
            if let Some(members) = circle.and_then(|circle| members.get_mut(circle)) {
                members.push(uid("Access", &format!("person {person}")));
            }
        }
        let attributes = json!({
            "sees": reference("Access", &format!("person {person}")),
            "documents": references(dice, "Document"),
            "folders": references(dice, "Folder"),
        });
        all.push(entity("Person", &person, attributes, circles));
        let access = format!("person {person}");
        all.push(entity("Access", &access, json!({}), Vec::new()));
    }
    for (id, members) in members.into_iter().enumerate() {
        all.push(entity("Circle", &id.to_string(), json!({}), Vec::new()));
        all.push(entity(
            "Access",
            &format!("circle {id}"),
            json!({}),
            members,
        ));
    }
    let seen_by = |dice: &mut Dice| {
        let mut seen = Vec::new();
        for who in ["person", "circle"] {
            let some = (0..SIZE).filter(|_| dice.percent(CHANCE));
            seen.extend(some.map(|id| uid("Access", &format!("{who} {id}"))));
        }
        seen
    };
    for id in 0..SIZE {
        let mut parents = some(dice, "Folder", id);
        parents.extend(seen_by(dice));
        all.push(entity("Folder", &id.to_string(), json!({}), parents));
        let mut parents = some(dice, "Folder", SIZE);
        parents.extend(seen_by(dice));
        let attributes = json!({ "open": dice.percent(50) });
        all.push(entity("Document", &id.to_string(), attributes, parents));
    }
    let questions = (0..QUESTIONS).map(|_| {
        let actions = ["read", "write", "share", "give", "create"];
        let action = actions.get(dice.below(5)).copied().unwrap_or("read");
        let kind = if action == "create" {
            "Folder"
        } else {
            "Document"
        };
        let (who, what) = (dice.below(SIZE).to_string(), dice.below(SIZE).to_string());
        names.question(("Person", &who), action, (kind, &what))
    });
    let questions = questions.collect();
    (all, questions)
}

const GITHUB_SCHEMA: &str = "
    entity OrgRole;
    entity RepoRole;
    entity Org in [OrgRole] { readers: OrgRole, writers: OrgRole, admins: OrgRole };
    entity Team in [Team, RepoRole];
    entity Person in [Org, Team, OrgRole, RepoRole];
    entity Repo { org: Org, readers: RepoRole, triagers: RepoRole, writers: RepoRole,
                  maintainers: RepoRole, admins: RepoRole };
    action pull in [triage] appliesTo { principal: Person, resource: Repo };
    action triage in [push] appliesTo { principal: Person, resource: Repo };
    action push in [maintain] appliesTo { principal: Person, resource: Repo };
    action maintain in [admin] appliesTo { principal: Person, resource: Repo };
    action admin appliesTo { principal: Person, resource: Repo };
";

const GITHUB: &str = r#"
    @id("readers") permit(principal, action == Action::"pull", resource)
        when { principal in resource.readers };
    @id("triagers") permit(principal, action in Action::"triage", resource)
        when { principal in resource.triagers };
    @id("writers") permit(principal, action in Action::"push", resource)
        when { principal in resource.writers };
    @id("maintainers") permit(principal, action in Action::"maintain", resource)
        when { principal in resource.maintainers };
    @id("admins") permit(principal, action in Action::"admin", resource)
        when { principal in resource.admins };
    @id("org_readers") permit(principal, action == Action::"pull", resource)
        when { principal in resource.org.readers };
    @id("org_writers") permit(principal, action in Action::"push", resource)
        when { principal in resource.org.writers };
    @id("org_admins") permit(principal, action in Action::"admin", resource)
        when { principal in resource.org.admins };
"#;

fn github(dice: &mut Dice, names: &mut Names) -> World {
    let org_roles = ["readers", "writers", "admins"];
    let repo_roles = ["readers", "triagers", "writers", "maintainers", "admins"];
    let roles = |dice: &mut Dice, kind: &str, roles: &[&str]| {
        let some: Vec<usize> = (0..SIZE).filter(|_| dice.percent(CHANCE)).collect();
        let some = some.into_iter().filter_map(|id| {
            let role = roles.get(dice.below(roles.len()))?;
            Some(uid(kind, &format!("{id} {role}")))
        });
        some.collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for id in 0..SIZE {
        let attributes = |kind: &str, roles: &[&str]| {
            let roles = roles
                .iter()
                .map(|role| ((*role).to_owned(), reference(kind, &format!("{id} {role}"))));
            roles.collect::<serde_json::Map<_, _>>()
        };
        let parents = roles(dice, "OrgRole", &org_roles);
        let org = attributes("OrgRole", &org_roles);
        all.push(entity("Org", &id.to_string(), Value::Object(org), parents));
        let mut repo = attributes("RepoRole", &repo_roles);
        let org = dice.below(SIZE).to_string();
        repo.insert("org".to_owned(), reference("Org", &org));
        all.push(entity(
            "Repo",
            &id.to_string(),
            Value::Object(repo),
            Vec::new(),
        ));
        for role in org_roles {
            all.push(entity(
                "OrgRole",
                &format!("{id} {role}"),
                json!({}),
                Vec::new(),
            ));
        }
        for role in repo_roles {
            all.push(entity(
                "RepoRole",
                &format!("{id} {role}"),
                json!({}),
                Vec::new(),
            ));
        }
        let mut parents = some(dice, "Team", id);
        parents.extend(roles(dice, "RepoRole", &repo_roles));
        all.push(entity("Team", &id.to_string(), json!({}), parents));
        let mut parents = some(dice, "Team", SIZE);
        parents.extend(some(dice, "Org", SIZE));
        parents.extend(roles(dice, "OrgRole", &org_roles));
        parents.extend(roles(dice, "RepoRole", &repo_roles));
        all.push(entity("Person", &id.to_string(), json!({}), parents));
    }
    let questions = (0..QUESTIONS).map(|_| {
        let actions = ["pull", "triage", "push", "maintain", "admin"];
        let action = actions.get(dice.below(5)).copied().unwrap_or("pull");
        let (who, what) = (dice.below(SIZE).to_string(), dice.below(SIZE).to_string());
        names.question(("Person", &who), action, ("Repo", &what))
    });
    let questions = questions.collect();
    (all, questions)
}

const TINYTODO_SCHEMA: &str = "
    entity App;
    entity Team in [Team, App];
    entity Person in [Team, App];
    entity List in [App] { owner: Person, name: String, readers: Team, editors: Team,
                           tasks: Set<{ name: String, id: Long, done: Bool }> };
    action CreateList, ShowLists appliesTo { principal: Person, resource: App };
    action ShowList, ChangeList, DropList, AddTask, ChangeTask, DropTask, ShareList
        appliesTo { principal: Person, resource: List };
";

const TINYTODO: &str = r#"
    @id("anyone") permit(principal, action in [Action::"CreateList", Action::"ShowLists"], resource == App::"todo");
    @id("owner") permit(principal, action, resource)
        when { resource has owner && resource.owner == principal };
    @id("readers") permit(principal, action == Action::"ShowList", resource)
        when { principal in resource.readers || principal in resource.editors };
    @id("editors") permit(principal,
        action in [Action::"ChangeList", Action::"AddTask", Action::"ChangeTask", Action::"DropTask"], resource)
        when { principal in resource.editors };
"#;

fn tinytodo(dice: &mut Dice, names: &mut Names) -> World {
    let app = || uid("App", "todo");
    let mut all = vec![entity("App", "todo", json!({}), Vec::new())];
    for id in 0..SIZE {
        let mut parents = some(dice, "Team", SIZE);
        parents.push(app());
        all.push(entity("Person", &id.to_string(), json!({}), parents));
        let mut parents = some(dice, "Team", id);
        parents.push(app());
        all.push(entity("Team", &id.to_string(), json!({}), parents));
        let tasks: Vec<Value> = (0..dice.below(50))
            .map(|id| json!({ "name": format!("task {id}"), "id": id, "done": dice.percent(50) }))
            .collect();
        let mut one = |kind: &str| reference(kind, &dice.below(SIZE).to_string());
        let attributes = json!({
            "owner": one("Person"),
            "name": format!("list {id}"),
            "readers": one("Team"),
            "editors": one("Team"),
            "tasks": tasks,
        });
        all.push(entity("List", &id.to_string(), attributes, vec![app()]));
    }
    let questions = (0..QUESTIONS).map(|_| {
        let actions = [
            "CreateList",
            "ShowLists",
            "ShowList",
            "ChangeList",
            "DropList",
            "AddTask",
            "ChangeTask",
            "DropTask",
            "ShareList",
        ];
        let at = dice.below(actions.len());
        let action = actions.get(at).copied().unwrap_or("ShowList");
        let (who, list) = (dice.below(SIZE).to_string(), dice.below(SIZE).to_string());
        let resource = if at < 2 {
            ("App", "todo")
        } else {
            ("List", &*list)
        };
        names.question(("Person", &who), action, resource)
    });
    let questions = questions.collect();
    (all, questions)
}

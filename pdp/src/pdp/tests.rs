mod kept;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use cedar_policy::{Context, Decision, Entity, EntityUid};
use settings::Span;
use tempfile::TempDir;

use super::*;
use crate::config::OnError;
use crate::question::Consistency;

const ALL: &str = "@id(\"all\") permit(principal, action, resource);";

fn config(folder: &TempDir) -> PoliciesConfig {
    PoliciesConfig {
        source: PolicySource::Dir(folder.path().join("policies")),
        schema: None,
        allow_no_schema: true,
        entities: None,
        namespace: None,
        on_error: OnError::Deny,
        max_staleness: Span::from_secs(3600),
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    fs::create_dir(&policies).unwrap();
    fs::write(policies.join("a.cedar"), ALL).unwrap();
    (folder, policies)
}

fn question() -> Question {
    Question {
        principal: "User::\"a\"".parse().unwrap(),
        action: "Action::\"view\"".parse().unwrap(),
        resource: "User::\"b\"".parse().unwrap(),
        context: Context::empty(),
        entities: Vec::new(),
        consistency: Consistency::default(),
        expires_at: None,
    }
}

fn decide(pdp: &Pdp) -> Answer {
    pdp.decide(&pdp.snapshot(), &question())
}

async fn until(pdp: &Pdp, done: impl Fn(&Pdp) -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !done(pdp) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

#[test]
fn a_bad_update_leaves_what_decides() {
    let (folder, policies) = folder();
    let pdp = Pdp::open(&config(&folder), &Registry::new()).unwrap();
    let mut reloads = pdp.reloads();
    let first = decide(&pdp);
    assert!(first.is_allow());

    fs::write(
        policies.join("a.cedar"),
        "permit(principal, action resource);",
    )
    .unwrap();
    pdp.refresh();
    assert_eq!(decide(&pdp), first);
    let health = pdp.health();
    assert!(health.fresh);
    assert!(
        health.problems[0].to_string().contains("a.cedar:1:26: "),
        "{:?}",
        health.problems
    );
    assert!(
        matches!(&*reloads.borrow_and_update(), Reload::Failed(problems) if problems.len() == 1)
    );
    // Said once.
    pdp.refresh();
    assert!(!reloads.has_changed().unwrap());

    fs::write(policies.join("a.cedar"), ALL).unwrap();
    pdp.refresh();
    assert!(pdp.health().problems.is_empty());
    assert!(matches!(&*reloads.borrow_and_update(), Reload::Recovered));

    fs::write(
        policies.join("b.cedar"),
        "@id(\"none\") forbid(principal, action, resource);",
    )
    .unwrap();
    pdp.refresh();
    let answer = decide(&pdp);
    assert_eq!(answer.decision, Decision::Deny);
    assert_eq!(answer.determining_policies, ["none"]);
    assert_ne!(answer.revision, first.revision);
    assert!(matches!(
        &*reloads.borrow_and_update(),
        Reload::Loaded { policies: 2, .. }
    ));
}

#[test]
fn policies_that_cannot_be_read_grow_stale_and_then_deny() {
    let (folder, policies) = folder();
    let registry = Registry::new();
    let pdp = Pdp::open(
        &PoliciesConfig {
            max_staleness: Span::from_millis(1500),
            ..config(&folder)
        },
        &registry,
    )
    .unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&policies, &elsewhere).unwrap();
    pdp.refresh();
    assert!(decide(&pdp).is_allow());
    assert!(!pdp.health().problems.is_empty());
    while pdp.health().fresh {
        std::thread::yield_now();
    }
    pdp.refresh();
    let answer = decide(&pdp);
    assert_eq!(
        (answer.decision, answer.source),
        (Decision::Deny, Source::FailClosed)
    );
    assert_eq!(pdp.refuse(&pdp.snapshot(), "").source, Source::FailClosed);

    fs::rename(&elsewhere, &policies).unwrap();
    pdp.refresh();
    assert!(decide(&pdp).is_allow());
    assert!(pdp.health().fresh && pdp.health().problems.is_empty());

    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for line in [
        "portcullis_decisions_total{decision=\"ALLOW\",source=\"engine\"} 2",
        "portcullis_decisions_total{decision=\"DENY\",source=\"fail_closed\"} 2",
        "portcullis_policies 1",
        "portcullis_policy_reloads_total{result=\"failed\"} 1",
        "portcullis_decision_seconds_count 4",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

/// Files that are links into the version that `..data` leads to, as a mounted ConfigMap has them.
/// Each version forbids everything, the one in its first file, the other in its last.
fn config_map(policies: &Path) {
    const NONE: &str = "@id(\"none\") forbid(principal, action, resource);";
    let last = format!("z{:03}.cedar", 60);
    for (version, forbids) in [("..1", last.as_str()), ("..2", "a.cedar")] {
        fs::create_dir(policies.join(version)).unwrap();
        for name in ["a.cedar".to_owned(), "m.cedar".to_owned()]
            .into_iter()
            .chain((0..=60).map(|n| format!("z{n:03}.cedar")))
        {
            let text = match &*name {
                name if name == forbids => NONE,
                "m.cedar" => ALL,
                _ => "// none",
            };
            fs::write(policies.join(version).join(name), text).unwrap();
        }
    }
    fs::remove_file(policies.join("a.cedar")).unwrap();
    for entry in fs::read_dir(policies.join("..1")).unwrap() {
        let name = entry.unwrap().file_name();
        symlink(Path::new("..data").join(&name), policies.join(name)).unwrap();
    }
    lead_to(policies, "..1");
}

fn lead_to(policies: &Path, version: &str) {
    symlink(version, policies.join("..next")).unwrap();
    fs::rename(policies.join("..next"), policies.join("..data")).unwrap();
}

#[test]
fn two_versions_are_never_mixed() {
    let (folder, policies) = folder();
    config_map(&policies);
    let pdp = Pdp::open(&config(&folder), &Registry::new()).unwrap();
    assert!(!decide(&pdp).is_allow());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                lead_to(&policies, "..2");
                lead_to(&policies, "..1");
            }
        });
        for _ in 0..3 {
            pdp.refresh();
            assert!(!decide(&pdp).is_allow());
            // Nor does a start take one.
            if let Ok(pdp) = Pdp::open(&config(&folder), &Registry::new()) {
                assert!(!decide(&pdp).is_allow());
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    lead_to(&policies, "..2");
    pdp.refresh();
    assert!(!decide(&pdp).is_allow());
    assert!(pdp.health().problems.is_empty());
}

#[test]
fn a_source_that_never_holds_still_is_a_problem() {
    let (folder, policies) = folder();
    let pdp = Pdp::open(&config(&folder), &Registry::new()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::write(policies.join("a.cedar"), ALL).unwrap();
            }
        });
        fs::write(policies.join("a.cedar"), "").unwrap();
        pdp.refresh();
        done.store(true, Ordering::Relaxed);
    });
    let health = pdp.health();
    assert!(
        health.problems[0]
            .to_string()
            .ends_with("policies: keeps changing while it is read"),
        "{:?}",
        health.problems
    );
    assert!(health.age > Duration::from_millis(500));
    pdp.refresh();
    assert!(pdp.health().problems.is_empty());
}

#[test]
fn a_link_to_forbids_that_breaks_leaves_what_decides() {
    let (folder, policies) = folder();
    let forbids = folder.path().join("forbids");
    fs::create_dir(&forbids).unwrap();
    fs::write(
        forbids.join("f.cedar"),
        "forbid(principal, action, resource);",
    )
    .unwrap();
    symlink("../forbids", policies.join("forbids")).unwrap();
    let pdp = Pdp::open(&config(&folder), &Registry::new()).unwrap();
    fs::rename(&forbids, folder.path().join("elsewhere")).unwrap();
    pdp.refresh();
    assert!(!decide(&pdp).is_allow());
    assert_eq!(pdp.health().problems[0].file, policies.join("forbids"));
    assert!(Pdp::open(&config(&folder), &Registry::new()).is_err());
}

#[test]
fn a_pipe_is_refused_and_not_opened() {
    let (folder, policies) = folder();
    let pdp = Pdp::open(&config(&folder), &Registry::new()).unwrap();
    let pipe = policies.join("p.cedar");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    pdp.refresh();
    assert!(decide(&pdp).is_allow());
    assert_eq!(pdp.health().problems[0].file, pipe);
    assert!(Pdp::open(&config(&folder), &Registry::new()).is_err());
    fs::remove_file(pipe).unwrap();
    pdp.refresh();
    assert!(pdp.health().problems.is_empty());
}

#[test]
fn an_empty_folder_denies() {
    let (folder, policies) = folder();
    fs::remove_file(policies.join("a.cedar")).unwrap();
    let pdp = Pdp::open(&config(&folder), &Registry::new()).unwrap();
    assert_eq!(decide(&pdp).decision, Decision::Deny);
}

#[test]
fn mistakes_of_the_configuration_name_their_key() {
    let (folder, _) = folder();
    let open = |change: fn(&mut PoliciesConfig)| {
        let mut config = config(&folder);
        change(&mut config);
        let problems = Pdp::open(&config, &Registry::new()).unwrap_err();
        problems
            .into_iter()
            .map(|problem| problem.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        open(|config| config.allow_no_schema = false),
        ["policies.schema"]
    );
    assert_eq!(
        open(|config| {
            config.namespace = Some("not a name".to_owned());
            config.allow_no_schema = false;
        }),
        ["policies.namespace", "policies.schema"]
    );
    let avp = crate::config::AvpSource {
        policy_store_id: String::new(),
        region: String::new(),
    };
    let mut unserved = config(&folder);
    unserved.source = PolicySource::Avp(avp);
    assert_eq!(
        Pdp::open(&unserved, &Registry::new()).unwrap_err()[0].key,
        "policies.source.avp"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_folder_is_followed_until_told_to_stop() {
    let (folder, policies) = folder();
    let mut config = config(&folder);
    config.entities = Some(folder.path().join("entities.json"));
    fs::write(folder.path().join("entities.json"), "[]").unwrap();
    let pdp = Pdp::open(&config, &Registry::new()).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let watching = tokio::spawn(Arc::clone(&pdp).watch(async {
        let _ = stopped.await;
    }));
    let first = pdp.snapshot().revision().clone();

    fs::create_dir(policies.join("new")).unwrap();
    fs::write(
        policies.join("new/b.cedar"),
        "@id(\"none\") forbid(principal, action, resource);",
    )
    .unwrap();
    until(&pdp, |pdp| !decide(pdp).is_allow()).await;

    // An editor that writes beside and renames over.
    fs::write(policies.join("new/b.tmp"), "// nothing").unwrap();
    fs::rename(policies.join("new/b.tmp"), policies.join("new/b.cedar")).unwrap();
    until(&pdp, |pdp| decide(pdp).is_allow()).await;
    assert_eq!(*pdp.snapshot().revision(), first);

    fs::write(folder.path().join("entities.json"), "[{]").unwrap();
    until(&pdp, |pdp| !pdp.health().problems.is_empty()).await;
    fs::write(
        folder.path().join("entities.json"),
        r#"[{"uid":{"type":"A","id":"a"},"attrs":{},"parents":[]}]"#,
    )
    .unwrap();
    until(&pdp, |pdp| pdp.snapshot().entity_count() == 1).await;
    assert!(pdp.health().problems.is_empty());

    // Emptied and filled again, as some editors and copies do: a `forbid` is there all the time.
    let forbid = "forbid(principal, action, resource);";
    fs::write(policies.join("z.cedar"), forbid).unwrap();
    until(&pdp, |pdp| !decide(pdp).is_allow()).await;
    fs::write(policies.join("z.cedar"), "").unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!decide(&pdp).is_allow());
    }
    fs::write(policies.join("z.cedar"), forbid).unwrap();
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!decide(&pdp).is_allow());
    }

    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), watching)
        .await
        .unwrap()
        .unwrap();
}

const SCHEMA: &str = "entity Group in [Group]; entity User in [Group] { age?: Long };
    action view appliesTo { principal: User, resource: User };";

fn member(id: &str, parent: &str) -> String {
    let parent = format!(r#"{{"type":"Group","id":"{parent}"}}"#);
    format!(r#"{{"uid":{{"type":"User","id":"{id}"}},"attrs":{{}},"parents":[{parent}]}}"#)
}

fn entity(json: &str) -> Entity {
    Entity::from_json_str(json, None).unwrap()
}

/// A decision point with a schema and a file of entities, and where those are.
fn with_entities(entities: &str) -> (TempDir, Arc<Pdp>) {
    let (folder, policies) = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(
        policies.join("a.cedar"),
        "@id(\"staff\") permit(principal in Group::\"staff\", action, resource);",
    )
    .unwrap();
    fs::write(path("s.cedarschema"), SCHEMA).unwrap();
    fs::write(path("e.json"), entities).unwrap();
    let config = PoliciesConfig {
        schema: Some(path("s.cedarschema")),
        entities: Some(path("e.json")),
        ..config(&folder)
    };
    let pdp = Pdp::open(&config, &Registry::new()).unwrap();
    (folder, pdp)
}

#[test]
fn entities_change_one_by_one() {
    let (_folder, pdp) = with_entities("[]");
    let before = pdp.snapshot();
    let revision = |pdp: &Pdp| pdp.health().entities_revision;
    let empty = revision(&pdp);
    assert!(!decide(&pdp).is_allow());

    pdp.upsert_entities(vec![entity(&member("a", "staff"))])
        .unwrap();
    assert!(decide(&pdp).is_allow());
    assert_ne!(revision(&pdp), empty);
    // What decides is the same, and whoever holds the older snapshot is not disturbed.
    assert!(Arc::ptr_eq(before.rulebook(), pdp.snapshot().rulebook()));
    assert!(!pdp.decide(&before, &question()).is_allow());

    pdp.upsert_entities(vec![entity(&member("a", "guests"))])
        .unwrap();
    assert!(!decide(&pdp).is_allow());
    // A group that moves takes its members along.
    let group = r#"{"uid":{"type":"Group","id":"guests"},"attrs":{},"parents":[{"type":"Group","id":"staff"}]}"#;
    pdp.upsert_entities(vec![entity(group)]).unwrap();
    assert!(decide(&pdp).is_allow());
    let guests: EntityUid = r#"Group::"guests""#.parse().unwrap();
    pdp.remove_entities(std::slice::from_ref(&guests)).unwrap();
    assert!(!decide(&pdp).is_allow());
    pdp.remove_entities(&[guests, question().principal])
        .unwrap();
    assert_eq!(revision(&pdp), empty);
}

#[test]
fn entities_that_do_not_fit_are_refused_by_name_and_change_nothing() {
    let (_folder, pdp) = with_entities(&format!("[{}]", member("a", "staff")));
    let before = pdp.health().entities_revision;
    let group = |id: &str, parent: &str| member(id, parent).replace("\"User\"", "\"Group\"");
    for (entities, expected) in [
        (
            vec![
                member("b", "staff"),
                member("c", "x").replace("User", "Robot"),
            ],
            r#"entity `Robot::"c"`: "#,
        ),
        (
            vec![member("b", "x").replace("{}", r#"{"age":"old"}"#)],
            r#"entity `User::"b"`: "#,
        ),
        (
            vec![group("x", "y"), group("y", "x")],
            r#"entity `Group::"x"` is its own ancestor: there is a cycle through its parent `Group::"y"`"#,
        ),
        (
            vec![member("b", "x"), member("b", "y")],
            r#"entity `User::"b"` is given twice"#,
        ),
    ] {
        let entities = entities.iter().map(|json| entity(json)).collect();
        let error = pdp.upsert_entities(entities).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(pdp.health().entities_revision, before);
    }
    let action = r#"Action::"view""#.parse().unwrap();
    let error = pdp.remove_entities(&[action]).unwrap_err();
    assert!(error.message.contains("is an action"), "{error}");
}

#[test]
fn only_what_changed_is_made_again() {
    let (folder, pdp) = with_entities(&format!("[{}]", member("a", "staff")));
    let path = |name: &str| folder.path().join(name);
    let first = pdp.snapshot();
    assert!(decide(&pdp).is_allow());

    fs::write(path("e.json"), format!("[{}]", member("b", "staff"))).unwrap();
    pdp.refresh();
    let second = pdp.snapshot();
    assert!(!decide(&pdp).is_allow());
    assert!(Arc::ptr_eq(first.rulebook(), second.rulebook()));
    assert_eq!(first.revision(), second.revision());
    assert_ne!(first.entities_revision(), second.entities_revision());

    // Stored beside the file, it stays until the file changes.
    pdp.upsert_entities(vec![entity(&member("a", "staff"))])
        .unwrap();
    fs::write(path("policies/b.cedar"), ALL).unwrap();
    pdp.refresh();
    let third = pdp.snapshot();
    assert!(!Arc::ptr_eq(second.rulebook(), third.rulebook()));
    assert_ne!(third.revision(), second.revision());
    assert_eq!(third.entity_count(), 1 + 2);

    // Another schema: the same file means something else.
    fs::write(path("s.cedarschema"), format!("{SCHEMA} entity Other;")).unwrap();
    pdp.refresh();
    assert_eq!(pdp.snapshot().entity_count(), 1 + 1);
    let kept = pdp.health().entities_revision;
    assert_eq!(kept, *second.entities_revision());

    // Mistakes leave everything as it is, and are told with their place.
    fs::write(
        path("e.json"),
        "[\n{\"uid\":{\"type\":\"Robot\",\"id\":\"a\"},\"attrs\":{},\"parents\":[]}]",
    )
    .unwrap();
    pdp.refresh();
    assert_eq!(pdp.health().entities_revision, kept);
    let problem = pdp.health().problems[0].to_string();
    assert!(problem.contains("e.json:2:1: "), "{problem}");
}

#[test]
fn cedar_has_its_links_before_a_decision_is_verified() {
    let link = |id: &str| {
        format!(
            r#"{{"templates":{{}},"staticPolicies":{{}},"templateLinks":[{{"templateId":"t","newId":"{id}",
                "values":{{"?principal":{{"__entity":{{"type":"User","id":"a"}}}}}}}}]}}"#
        )
    };
    let (folder, policies) = folder();
    fs::write(
        policies.join("a.cedar"),
        "@id(\"t\") permit(principal == ?principal, action, resource);",
    )
    .unwrap();
    fs::write(policies.join("l.cedar.json"), link("one")).unwrap();
    let pdp = Pdp::open(&config(&folder), &Registry::new()).unwrap();
    let made = || pdp.snapshot().rulebook().policies.is_whole();
    pdp.verify(0.0);
    assert!(!made());
    pdp.verify(1.0);
    assert!(made());
    fs::write(policies.join("l.cedar.json"), link("two")).unwrap();
    pdp.refresh();
    assert!(made());
    assert_eq!(decide(&pdp).determining_policies, ["two"]);
}

#[test]
fn whoever_reads_last_need_not_free_what_decided_before() {
    let (folder, pdp) = with_entities(&format!("[{}]", member("a", "staff")));
    let retired = || pdp.looked.lock().unwrap().retired.len();
    let read = pdp.snapshot();
    fs::write(folder.path().join("policies/b.cedar"), ALL).unwrap();
    pdp.refresh();
    // A version with other entities shares its policies.
    let next = pdp.snapshot();
    pdp.upsert_entities(vec![entity(&member("b", "staff"))])
        .unwrap();
    pdp.refresh();
    assert_eq!(retired(), 1);
    assert_eq!(Arc::strong_count(read.rulebook()), 1);
    drop((read, next));
    pdp.refresh();
    assert_eq!(retired(), 0);
}

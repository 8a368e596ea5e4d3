//! The entity store: what a change, a look and a decision cost among a thousand entities and among
//! a million, and what an entity takes of memory.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cedar_policy::{Context, Entity, EntityUid};
use criterion::Criterion;
use pdp::{OnError, Pdp, PoliciesConfig, PolicySource, Question};
use prometheus::Registry;
use settings::Span;
use tempfile::TempDir;

const SCHEMA: &str = "
    entity Team in [Team];
    entity Role;
    entity Folder in [Folder];
    entity Label;
    entity User in [Team, Role] { name: String, level: Long, active: Bool };
    entity Document in [Folder, Label] { title: String, owner: User, public: Bool };
    action view appliesTo { principal: User, resource: Document };
";

const POLICIES: &str = r#"
    @id("owner") permit(principal, action == Action::"view", resource) when { resource.owner == principal };
    @id("team") permit(principal in Team::"0", action == Action::"view", resource in Folder::"0")
        when { principal.active && principal.level >= 2 };
    @id("public") permit(principal, action, resource) when { resource.public };
    @id("inactive") forbid(principal, action, resource) unless { principal.active };
"#;

/// A decision point over generated entities.
struct Store {
    pdp: Arc<Pdp>,
    /// How many users there are, and documents.
    half: u64,
    _folder: TempDir,
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    // A million take half a minute to load: only for whoever asks for this group.
    let asked = std::env::args().any(|argument| argument.contains("store"));
    let sizes = [("1,000", 1_000), ("1,000,000", 1_000_000)];
    for (name, entities) in sizes.into_iter().take(if asked { 2 } else { 1 }) {
        let store = Store::new(entities);
        let mut dice = 1;
        group.bench_function(format!("look/{name}"), |bencher| {
            let snapshot = store.pdp.snapshot();
            let names: Vec<EntityUid> = (0..10_000).map(|_| store.user(roll(&mut dice))).collect();
            let mut names = names.iter().cycle();
            bencher.iter(|| {
                names
                    .next()
                    .map(|uid| black_box(snapshot.stored(uid)).is_some())
            });
        });
        group.bench_function(format!("decide/{name}"), |bencher| {
            let snapshot = store.pdp.snapshot();
            let mut question = || {
                let (who, what) = (roll(&mut dice), roll(&mut dice));
                Question {
                    principal: store.user(who),
                    action: uid("Action", "view"),
                    resource: uid("Document", &(what % store.half).to_string()),
                    context: Context::empty(),
                    entities: Vec::new(),
                    consistency: pdp::Consistency::default(),
                    expires_at: None,
                }
            };
            let questions: Vec<Question> = (0..10_000).map(|_| question()).collect();
            let mut questions = questions.iter().cycle();
            bencher.iter(|| questions.next().map(|question| snapshot.decide(question)));
        });
        for (what, moved) in [("attributes of a leaf", 0), ("parents of a leaf", 1)] {
            group.bench_function(format!("change of {what}/{name}"), |bencher| {
                let changes: Vec<Entity> = (0..1_000)
                    .map(|at| {
                        let n = roll(&mut dice) % store.half;
                        entity(&user(n, n + moved * (at + 1), at, store.teams()))
                    })
                    .collect();
                let mut changes = changes.iter().cycle();
                bencher.iter(|| {
                    let change = changes.next().into_iter().cloned().collect();
                    store.pdp.upsert_entities(change).expect("it fits");
                });
            });
        }
        group.bench_function(format!("a leaf comes and goes/{name}"), |bencher| {
            let new = [entity(&user(u64::MAX, 1, 1, store.teams()))];
            let name = [new[0].uid()];
            bencher.iter(|| {
                store.pdp.upsert_entities(new.to_vec()).expect("it fits");
                store.pdp.remove_entities(&name).expect("it is there");
            });
        });
        group.bench_function(
            format!("move of a team of {}/{name}", store.members()),
            |bencher| {
                let team = store.teams() - 1;
                let parents = ["0", "1"].map(|parent| entity(&group_of("Team", team, parent)));
                let mut parents = parents.iter().cycle();
                bencher.iter(|| {
                    let change = parents.next().into_iter().cloned().collect();
                    store.pdp.upsert_entities(change).expect("it fits");
                });
            },
        );
    }
    group.finish();
}

// === impl Store ===

impl Store {
    #[expect(
        clippy::print_stderr,
        reason = "a figure beside those that criterion prints"
    )]
    fn new(entities: u64) -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("p.cedar"), POLICIES).expect("there is room");
        fs::write(at("s.cedarschema"), SCHEMA).expect("there is room");
        let half = entities / 2;
        let store = |path: &Path| -> std::io::Result<u64> {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(b"[")?;
            let groups = groups(half);
            for n in 0..groups {
                let above = (n / 8).to_string();
                for kind in ["Team", "Folder"] {
                    let group = if n == 0 {
                        alone(kind, n)
                    } else {
                        group_of(kind, n, &above)
                    };
                    writeln!(file, "{group},")?;
                }
            }
            for n in 0..10 {
                writeln!(file, "{},{},", alone("Role", n), alone("Label", n))?;
            }
            for n in 0..half {
                let end = if n + 1 == half { "]" } else { "," };
                writeln!(file, "{},{}{end}", user(n, n, n, groups), document(n, half))?;
            }
            file.flush()?;
            Ok(2 * groups + 20 + 2 * half)
        };
        let count = store(&at("e.json")).expect("there is room");
        let bytes = fs::metadata(at("e.json")).map_or(0, |file| file.len());
        let config = PoliciesConfig {
            source: PolicySource::Dir(at("p.cedar")),
            schema: Some(at("s.cedarschema")),
            allow_no_schema: false,
            entities: Some(at("e.json")),
            namespace: None,
            on_error: OnError::Deny,
            max_staleness: Span::from_secs(1 << 30),
        };
        let (began, before) = (Instant::now(), resident());
        let pdp = Pdp::open(&config, &Registry::new()).expect("what is generated fits");
        eprintln!(
            "store: {count} entities, {bytes} bytes of JSON, loaded in {:.1?}; {} bytes of memory for each",
            began.elapsed(),
            resident().saturating_sub(before) / count,
        );
        Self {
            pdp,
            half,
            _folder: folder,
        }
    }

    fn user(&self, n: u64) -> EntityUid {
        uid("User", &(n % self.half).to_string())
    }

    fn teams(&self) -> u64 {
        groups(self.half)
    }

    /// How many users are in a team that has no other below it.
    fn members(&self) -> u64 {
        self.half / self.teams()
    }
}

fn groups(half: u64) -> u64 {
    (half / 500).max(10)
}

/// A user in the team and the role that `place` makes, and `level` more or less senior.
fn user(n: u64, place: u64, level: u64, teams: u64) -> String {
    let (team, role, level) = (place % teams, place % 10, level % 5);
    format!(
        r#"{{"uid":{{"type":"User","id":"{n}"}},"attrs":{{"name":"User number {n}","level":{level},"active":true}},"parents":[{{"type":"Team","id":"{team}"}},{{"type":"Role","id":"{role}"}}]}}"#
    )
}

fn document(n: u64, half: u64) -> String {
    let (owner, folder, label) = ((n * 7) % half, n % groups(half), n % 10);
    let public = n.is_multiple_of(3);
    format!(
        r#"{{"uid":{{"type":"Document","id":"{n}"}},"attrs":{{"title":"Document {n}","owner":{{"__entity":{{"type":"User","id":"{owner}"}}}},"public":{public}}},"parents":[{{"type":"Folder","id":"{folder}"}},{{"type":"Label","id":"{label}"}}]}}"#
    )
}

fn group_of(kind: &str, n: u64, above: &str) -> String {
    format!(
        r#"{{"uid":{{"type":"{kind}","id":"{n}"}},"attrs":{{}},"parents":[{{"type":"{kind}","id":"{above}"}}]}}"#
    )
}

fn alone(kind: &str, n: u64) -> String {
    format!(r#"{{"uid":{{"type":"{kind}","id":"{n}"}},"attrs":{{}},"parents":[]}}"#)
}

fn entity(json: &str) -> Entity {
    Entity::from_json_str(json, None).expect("what is generated can be read")
}

fn uid(kind: &str, id: &str) -> EntityUid {
    let kind = kind.parse().expect("a type");
    EntityUid::from_type_name_and_id(kind, cedar_policy::EntityId::new(id))
}

/// The next of many numbers that are spread evenly (a linear congruential generator).
fn roll(dice: &mut u64) -> u64 {
    *dice = dice
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *dice >> 33
}

/// Bytes of memory that the process has.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

//! Generated users, documents and what they are in: as many as are wanted, stored in a decision point.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cedar_policy::{Entity, EntityUid};
use pdp::{OnError, Pdp, PoliciesConfig, PolicySource};
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
pub(crate) struct Store {
    pub(crate) pdp: Arc<Pdp>,
    /// How many users there are, and documents.
    pub(crate) half: u64,
    _folder: TempDir,
}

// === impl Store ===

impl Store {
    #[expect(
        clippy::print_stderr,
        reason = "a figure beside those that criterion prints"
    )]
    pub(crate) fn new(entities: u64) -> Self {
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

    pub(crate) fn user(&self, n: u64) -> EntityUid {
        uid("User", &(n % self.half).to_string())
    }

    pub(crate) fn teams(&self) -> u64 {
        groups(self.half)
    }
}

fn groups(half: u64) -> u64 {
    (half / 500).max(10)
}

/// A user in the team and the role that `place` makes, and `level` more or less senior.
pub(crate) fn user(n: u64, place: u64, level: u64, teams: u64) -> String {
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

pub(crate) fn group_of(kind: &str, n: u64, above: &str) -> String {
    format!(
        r#"{{"uid":{{"type":"{kind}","id":"{n}"}},"attrs":{{}},"parents":[{{"type":"{kind}","id":"{above}"}}]}}"#
    )
}

fn alone(kind: &str, n: u64) -> String {
    format!(r#"{{"uid":{{"type":"{kind}","id":"{n}"}},"attrs":{{}},"parents":[]}}"#)
}

pub(crate) fn entity(json: &str) -> Entity {
    Entity::from_json_str(json, None).expect("what is generated can be read")
}

pub(crate) fn uid(kind: &str, id: &str) -> EntityUid {
    let kind = kind.parse().expect("a type");
    EntityUid::from_type_name_and_id(kind, cedar_policy::EntityId::new(id))
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

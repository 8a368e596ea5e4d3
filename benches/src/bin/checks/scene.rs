//! The servers that are measured, each a process of its own on the loopback, and the tokens that portcullis accepts.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use benches::harness::{beside, existing};
use benches::load::Error;
use benches::process::Process;
use dev_issuer::{Algorithm, SigningKey};
use serde_json::{Map, json};
use tempfile::TempDir;

/// Where portcullis runs when it is measured by itself, and the harness then: names of processors for `taskset`.
pub(crate) const FIRST_CORE: &str = "0";
pub(crate) const SECOND_CORE: &str = "1";

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "checks";
/// How long a token lives, in seconds: longer than any run.
const LIFETIME: u64 = 3600;

/// What all servers are started with.
pub(crate) struct Scene {
    root: PathBuf,
    key: SigningKey,
    // Removed with its files at the end.
    folder: TempDir,
}

/// A server that decides, or the one that is decided about.
pub(crate) struct Authorizer {
    pub(crate) process: Process,
    pub(crate) at: SocketAddr,
}

impl Scene {
    pub(crate) fn new(root: &Path) -> Result<Self, Error> {
        let root = fs::canonicalize(root)
            .map_err(|error| format!("cannot find `{}`: {error}", root.display()))?;
        let key = SigningKey::generate(Algorithm::Es256, "checks")?;
        let folder = tempfile::Builder::new()
            .prefix("portcullis-checks-")
            .tempdir()?;
        let keys = dev_issuer::jwks(&[&key]).to_string();
        fs::write(folder.path().join("jwks.json"), keys)?;
        let scene = Self { root, key, folder };
        fs::write(scene.configuration(), scene.text()?)?;
        Ok(scene)
    }

    /// The upstream that always answers the same.
    pub(crate) fn upstream(&self) -> Result<Authorizer, Error> {
        peer("upstream")
    }

    /// The authorizer that allows everything.
    pub(crate) fn always(&self) -> Result<Authorizer, Error> {
        peer("always")
    }

    /// Portcullis, on one core where `core` names one.
    pub(crate) fn portcullis(
        &self,
        binary: &Path,
        core: Option<&str>,
    ) -> Result<Authorizer, Error> {
        let binary = existing(binary)?;
        let mut command = match core.filter(|_| cores() > 1) {
            Some(core) => {
                let mut taskset = Command::new("taskset");
                taskset.args(["--cpu-list", core]).arg(binary);
                taskset
            }
            None => Command::new(binary),
        };
        command.arg("serve").arg("-c").arg(self.configuration());
        let process = Process::start(command, "portcullis: ready")?;
        let at = process.address("portcullis: ext_authz_grpc listening on ")?;
        Ok(Authorizer { process, at })
    }

    /// So many users, each with a token.
    pub(crate) fn tokens(&self, count: u32) -> Vec<(String, String)> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let token = |number| {
            let user = format!("user-{number}");
            let claims = json!({
                "iss": ISSUER,
                "aud": AUDIENCE,
                "sub": user,
                "jti": user,
                "iat": now,
                "exp": now + LIFETIME,
                "user_type": "end_user",
                "roles": [],
                "scope": "",
            });
            let token = self.key.sign_jwt(Map::new(), &claims);
            (user, token)
        };
        (0..count).map(token).collect()
    }

    /// The heads of so many requests, each of another user who reads their own profile.
    pub(crate) fn heads(&self, count: u32) -> Vec<Vec<u8>> {
        let head = |(user, token): (String, String)| {
            format!(
                "GET /v1/users/{user} HTTP/1.1\r\nhost: users.example\r\naccept: application/json\r\n\
                 user-agent: load\r\nauthorization: Bearer {token}\r\n\r\n"
            )
            .into_bytes()
        };
        self.tokens(count).into_iter().map(head).collect()
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("portcullis.yaml")
    }

    fn text(&self) -> Result<String, Error> {
        // A JSON string is a YAML string.
        let quoted = |path: &str| serde_json::to_string(&self.root.join(path).to_string_lossy());
        Ok(format!(
            "\
listen: {{ ext_authz_grpc: 127.0.0.1:0, telemetry: 127.0.0.1:0 }}
policies:
  source: {{ dir: {policies} }}
  schema: {schema}
  entities: {entities}
  namespace: Fortress
routes: {{ file: {routes} }}
issuers:
  - name: checks
    kind: first_party
    issuer: [{ISSUER}]
    jwks: {{ file: jwks.json }}
    audiences: [{AUDIENCE}]
    algorithms: [ES256]
    max_lifetime: {LIFETIME}s
    principal:
      type: User
      id: sub
      groups: {{ claim: roles, type: Role }}
      attributes: {{ user_type: user_type }}
",
            policies = quoted("policies/fortress")?,
            schema = quoted("schemas/fortress.cedarschema")?,
            entities = quoted("policies/fortress/entities.json")?,
            routes = quoted("policies/fortress/routes.yaml")?,
        ))
    }
}

/// Moves the harness to a core of its own, where there is one.
pub(crate) fn move_to(core: &str) -> Result<(), Error> {
    if cores() < 2 {
        return Ok(());
    }
    let own = std::process::id().to_string();
    let moved = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", core, &own])
        .output()
        .map_err(|error| format!("cannot start `taskset`: {error}"))?;
    if !moved.status.success() {
        let said = String::from_utf8_lossy(&moved.stderr).into_owned();
        return Err(format!("`taskset` failed: {said}").into());
    }
    Ok(())
}

/// A binary of this package, which Cargo puts beside the harness.
fn peer(name: &str) -> Result<Authorizer, Error> {
    let ready = format!("{name}: listening on ");
    let process = Process::start(beside(name)?, &ready)?;
    let at = process.address(&ready)?;
    Ok(Authorizer { process, at })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

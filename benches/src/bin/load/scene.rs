//! What is measured: an upstream, the bare proxy and the gate in front of it, and the tokens that
//! the gate accepts.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use benches::harness::{beside, existing};
use benches::load::{self, Error, Requests};
use benches::process::{Process, Resident};
use dev_issuer::{Algorithm, SigningKey};
use serde_json::{Map, json};
use tempfile::TempDir;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "load";
/// How long a token lives, in seconds: longer than any run.
const LIFETIME: u64 = 3600;
/// Requests that `portcullis dev` answers before its memory is read.
const DEV_REQUESTS: usize = 2000;

/// The running processes. All of them end when this is dropped.
pub(crate) struct Scene {
    pub(crate) upstream: Process,
    pub(crate) upstream_at: SocketAddr,
    pub(crate) bare: Process,
    pub(crate) bare_at: SocketAddr,
    pub(crate) gate: Process,
    pub(crate) gate_at: SocketAddr,
    key: SigningKey,
    // Removed with its files at the end.
    _folder: TempDir,
}

impl Scene {
    /// Starts everything on free ports of the loopback.
    pub(crate) fn start(gate: &Path, root: &Path) -> Result<Self, Error> {
        let gate = existing(gate)?;
        let root = fs::canonicalize(root)
            .map_err(|error| format!("cannot find `{}`: {error}", root.display()))?;
        let upstream = Process::start(beside("upstream")?, "upstream: listening on ")?;
        let upstream_at = upstream.address("upstream: listening on ")?;

        let mut command = beside("passthrough")?;
        command.args(["--upstream", &upstream_at.to_string()]);
        let bare = Process::start(command, "passthrough: listening on ")?;
        let bare_at = bare.address("passthrough: listening on ")?;

        let key = SigningKey::generate(Algorithm::Es256, "load")?;
        let folder = tempfile::Builder::new()
            .prefix("portcullis-load-")
            .tempdir()?;
        fs::write(
            folder.path().join("jwks.json"),
            dev_issuer::jwks(&[&key]).to_string(),
        )?;
        let configuration = folder.path().join("portcullis.yaml");
        fs::write(&configuration, configuration_text(&root, upstream_at)?)?;
        let mut command = Command::new(gate);
        command.arg("serve").arg("-c").arg(&configuration);
        let gate = Process::start(command, "portcullis: ready")?;
        let gate_at = gate.address("portcullis: proxy listening on ")?;
        Ok(Self {
            upstream,
            upstream_at,
            bare,
            bare_at,
            gate,
            gate_at,
            key,
            _folder: folder,
        })
    }

    /// The heads of `count` requests, each of another user who reads their own profile with a token
    /// of their own. `series` tells the users of one call from those of another.
    pub(crate) fn requests(&self, series: &str, count: u32) -> Vec<Vec<u8>> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let request = |number| {
            let user = format!("{series}-{number}");
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
            format!(
                "GET /v1/users/{user} HTTP/1.1\r\nhost: users.example\r\naccept: application/json\r\n\
                 user-agent: load\r\nauthorization: Bearer {token}\r\n\r\n"
            )
            .into_bytes()
        };
        (0..count).map(request).collect()
    }
}

/// Starts `portcullis dev`, lets it answer some requests, and reads its memory.
pub(crate) async fn memory_of_dev(gate: &Path, root: &Path) -> Result<Resident, Error> {
    let mut command = Command::new(existing(gate)?);
    command.arg("dev").arg(root);
    for listener in ["proxy", "decisions", "telemetry", "upstream", "issuer"] {
        command.args([&format!("--{listener}"), "127.0.0.1:0"]);
    }
    let dev = Process::start(command, "portcullis: ready")?;
    let (at, request) = dev
        .lines()
        .iter()
        .find_map(|line| pasteable(line))
        .ok_or("`portcullis dev` printed no `curl` line with a token")?;
    let requests = Arc::new(Requests::once(vec![request; DEV_REQUESTS]));
    load::closed(at, &requests, 8, Duration::from_secs(30)).await?;
    dev.resident()
}

/// The request of a line `curl -i http://<address><path> -H 'Authorization: Bearer <token>'`.
fn pasteable(line: &str) -> Option<(SocketAddr, Vec<u8>)> {
    let (_, url) = line.strip_prefix("curl ")?.split_once("http://")?;
    let (url, rest) = url.split_once(' ')?;
    let (address, path) = url.split_at_checked(url.find('/')?)?;
    let (_, token) = rest.split_once("Bearer ")?;
    let token = token.trim_end_matches('\'');
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n");
    Some((address.parse().ok()?, head.into_bytes()))
}

fn configuration_text(root: &Path, upstream: SocketAddr) -> Result<String, Error> {
    // A JSON string is a YAML string.
    let quoted = |path: &str| serde_json::to_string(&root.join(path).to_string_lossy());
    Ok(format!(
        "\
listen: {{ proxy: 127.0.0.1:0, decisions: 127.0.0.1:0, telemetry: 127.0.0.1:0 }}
upstream: {{ url: http://{upstream} }}
policies:
  source: {{ dir: {policies} }}
  schema: {schema}
  entities: {entities}
  namespace: Fortress
routes: {{ file: {routes} }}
issuers:
  - name: load
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

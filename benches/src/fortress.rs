//! What the harnesses serve: the `fortress` pack, one issuer, and tokens that it accepts.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use dev_issuer::{Algorithm, SigningKey};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::load::Error;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "benches";
/// How long a token lives, in seconds: longer than any run.
const LIFETIME: u64 = 3600;

/// The pack, a fresh key, and a folder for configurations, which goes with this.
pub struct Fortress {
    root: PathBuf,
    key: SigningKey,
    folder: TempDir,
}

impl Fortress {
    /// Of the checkout at `root`.
    ///
    /// # Errors
    /// When there is nothing at `root`, or no temporary folder can be written.
    pub fn new(root: &Path) -> Result<Self, Error> {
        let root = fs::canonicalize(root)
            .map_err(|error| format!("cannot find `{}`: {error}", root.display()))?;
        let key = SigningKey::generate(Algorithm::Es256, "benches")?;
        let folder = tempfile::Builder::new()
            .prefix("portcullis-benches-")
            .tempdir()?;
        let keys = dev_issuer::jwks(&[&key]).to_string();
        fs::write(folder.path().join("jwks.json"), keys)?;
        Ok(Self { root, key, folder })
    }

    /// The set of keys that the issuer publishes, with some more.
    #[must_use]
    pub fn keys(&self, more: &[&SigningKey]) -> String {
        let all: Vec<&SigningKey> = std::iter::once(&self.key)
            .chain(more.iter().copied())
            .collect();
        dev_issuer::jwks(&all).to_string()
    }

    /// Where configurations are written.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A configuration that serves these keys of `listen:`, each on a free port of the loopback. The proxy stands before
    /// `upstream`.
    #[must_use]
    pub fn configuration(&self, listeners: &[&str], upstream: Option<SocketAddr>) -> Value {
        let listen: Map<String, Value> = listeners
            .iter()
            .map(|&listener| (listener.to_owned(), json!("127.0.0.1:0")))
            .collect();
        let at = |path: &str| self.root.join(path);
        json!({
            "listen": listen,
            "upstream": upstream.map(|upstream| json!({ "url": format!("http://{upstream}") })),
            "policies": {
                "source": { "dir": at("policies/fortress") },
                "schema": at("schemas/fortress.cedarschema"),
                "entities": at("policies/fortress/entities.json"),
                "namespace": "Fortress",
            },
            "routes": { "file": at("policies/fortress/routes.yaml") },
            "issuers": [{
                "name": "benches", "kind": "first_party", "issuer": [ISSUER], "jwks": { "file": "jwks.json" },
                "audiences": [AUDIENCE], "algorithms": ["ES256"], "max_lifetime": format!("{LIFETIME}s"),
                "principal": {
                    "type": "User", "id": "sub", "groups": { "claim": "roles", "type": "Role" },
                    "attributes": { "user_type": "user_type" },
                },
            }],
        })
    }

    /// Writes a configuration under this name, and says where.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, configuration: &Value) -> Result<PathBuf, Error> {
        // JSON is YAML.
        let path = self.folder().join(format!("{name}.yaml"));
        fs::write(&path, configuration.to_string())?;
        Ok(path)
    }

    /// A token of this user, with these claims besides.
    #[must_use]
    pub fn token(&self, user: &str, more: &[(&str, Value)]) -> String {
        self.token_by(&self.key, user, more)
    }

    /// The same, signed by another key.
    #[must_use]
    pub fn token_by(&self, key: &SigningKey, user: &str, more: &[(&str, Value)]) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": user, "jti": user, "iat": now, "exp": now + LIFETIME,
            "user_type": "end_user", "roles": [], "scope": "",
        });
        if let Some(claims) = claims.as_object_mut() {
            let more = more
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()));
            claims.extend(more);
        }
        key.sign_jwt(Map::new(), &claims)
    }
}

/// The head of a request in which the user reads their own profile.
#[must_use]
pub fn own_profile(user: &str, token: &str) -> Vec<u8> {
    format!(
        "GET /v1/users/{user} HTTP/1.1\r\nhost: users.example\r\naccept: application/json\r\n\
         user-agent: load\r\nauthorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

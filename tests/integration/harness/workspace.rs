//! A folder with a whole configuration: keys, policies, schema, routes; every part can be changed by a test.

use super::tokens::{AUDIENCE, ISSUER, KEYS, RSA_ISSUER};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// The folder, and the configuration that `save` writes there.
pub(crate) struct Workspace {
    folder: Arc<TempDir>,
    config: Value,
}

const SCHEMA: &str = include_str!("../pack/depot.cedarschema");
const POLICIES: &str = include_str!("../pack/documents.cedar");
const ENTITIES: &str = include_str!("../pack/entities.json");
const ROUTES: &str = include_str!("../pack/routes.json");

// === impl Workspace ===

impl Workspace {
    /// The depot pack in front of `upstream`, everything on port 0 of the loopback.
    pub(crate) fn new(upstream: SocketAddr) -> Workspace {
        let folder = Arc::new(TempDir::new().unwrap());
        let routes: Value = serde_json::from_str(ROUTES).unwrap();
        let principal = json!({
            "type": "User", "id": "sub",
            "groups": {"claim": "roles", "type": "Role"},
        });
        let issuer = |name: &str, issuer: &str, jwks: &str, algorithm: &str| {
            json!({
                "name": name, "kind": "first_party", "issuer": [issuer], "jwks": {"file": jwks},
                "audiences": [AUDIENCE], "algorithms": [algorithm], "leeway": "30s", "principal": principal,
            })
        };
        let config = json!({
            "listen": {"proxy": "127.0.0.1:0", "decisions": "127.0.0.1:0", "telemetry": "127.0.0.1:0"},
            "upstream": {"url": format!("http://{upstream}"), "connect_timeout": "500ms", "response_timeout": "5s"},
            "policies": {
                "source": {"dir": "policies"}, "schema": "depot.cedarschema", "entities": "entities.json",
                "namespace": "Depot",
            },
            "routes": routes,
            "issuers": [
                issuer("local", ISSUER, "jwks.json", "ES256"),
                issuer("rsa", RSA_ISSUER, "rsa-jwks.json", "RS256"),
            ],
        });
        let workspace = Workspace { folder, config };
        workspace.write("jwks.json", &KEYS.jwks().to_string());
        workspace.write("rsa-jwks.json", &KEYS.rsa_jwks().to_string());
        workspace.write("depot.cedarschema", SCHEMA);
        workspace.write("entities.json", ENTITIES);
        workspace.write("policies/documents.cedar", POLICIES);
        workspace.save();
        workspace
    }

    /// An empty folder for tests that write everything themselves.
    pub(crate) fn empty() -> Workspace {
        Workspace { folder: Arc::new(TempDir::new().unwrap()), config: json!({}) }
    }

    /// Sets the value at a JSON pointer of the configuration, making the sections and elements on the way.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Workspace {
        let mut at = &mut self.config;
        for key in pointer.split('/').skip(1) {
            at = match at {
                Value::Array(list) => {
                    let place: usize = key.parse().unwrap();
                    list.resize(list.len().max(place + 1), Value::Null);
                    &mut list[place]
                }
                other => &mut other[key],
            };
        }
        *at = value;
        self.save();
        self
    }

    /// The folder, which stays while anyone holds it.
    pub(crate) fn hold(&self) -> Arc<TempDir> {
        self.folder.clone()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.path("portcullis.yaml")
    }

    /// Replaces a file as an editor does: written beside, then renamed over.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &path).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    // JSON is YAML.
    fn save(&self) {
        self.write("portcullis.yaml", &serde_json::to_string_pretty(&self.config).unwrap());
    }
}

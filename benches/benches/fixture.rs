//! The `fortress` pack with an issuer of its own, put together as the product does it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use authn_proxy::config::RouteFile;
use authn_proxy::principal::Principals;
use authn_proxy::{Gate, RouteTable};
use dev_issuer::{Algorithm, SigningKey};
use identity::Issuers;
use identity::config::IssuerConfig;
use pdp::{Pdp, PoliciesConfig};
use prometheus::Registry;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "bench";
/// How long a token lives, in seconds: longer than any bench.
const LIFETIME: u64 = 3600;

/// Keys, and the configuration that believes them.
pub(crate) struct Fixture {
    pub(crate) es256: SigningKey,
    pub(crate) rs256: SigningKey,
    issuers: Vec<IssuerConfig>,
    // Holds the JWKS; removed at the end.
    folder: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let es256 = SigningKey::generate(Algorithm::Es256, "bench-es256").expect("an ES256 key");
        let rs256 = SigningKey::generate(Algorithm::Rs256, "bench-rs256").expect("an RS256 key");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let jwks = dev_issuer::jwks(&[&es256, &rs256]).to_string();
        fs::write(folder.path().join("jwks.json"), jwks).expect("a JWKS file");
        let issuer = json!({
            "name": "bench",
            "kind": "first_party",
            "issuer": [ISSUER],
            "jwks": { "file": "jwks.json" },
            "audiences": [AUDIENCE],
            "algorithms": ["ES256", "RS256"],
            "max_lifetime": format!("{LIFETIME}s"),
            "principal": {
                "type": "User",
                "id": "sub",
                "groups": { "claim": "roles", "type": "Role" },
                "attributes": { "user_type": "user_type" },
            },
        });
        let issuers = vec![read(issuer)];
        Self {
            es256,
            rs256,
            issuers,
            folder,
        }
    }

    /// The verifier, with nothing cached yet.
    pub(crate) fn issuers(&self) -> Arc<Issuers> {
        Issuers::new(&self.issuers, self.folder.path(), &Registry::new()).expect("issuers")
    }

    /// The whole gate, with nothing cached yet.
    pub(crate) fn gate(&self) -> Gate {
        let pdp = pdp();
        let principals =
            Principals::new(&self.issuers, pdp.namespace()).expect("a principal mapping");
        Gate::new(routes(&pdp), self.issuers(), principals, pdp)
    }

    /// Tokens of `count` users, `user-0` and so on.
    pub(crate) fn tokens(&self, key: &SigningKey, count: usize) -> Vec<String> {
        (0..count)
            .map(|number| key.sign_jwt(Map::new(), &claims(&user(number))))
            .collect()
    }
}

/// The name of a user.
pub(crate) fn user(number: usize) -> String {
    format!("user-{number}")
}

/// The decision point with the `fortress` pack.
pub(crate) fn pdp() -> Arc<Pdp> {
    let config: PoliciesConfig = read(json!({
        "source": { "dir": root().join("policies/fortress") },
        "schema": root().join("schemas/fortress.cedarschema"),
        "entities": root().join("policies/fortress/entities.json"),
        "namespace": "Fortress",
    }));
    Pdp::open(&config, &Registry::new()).expect("the fortress pack")
}

/// The routes of the `fortress` pack.
pub(crate) fn routes(pdp: &Pdp) -> RouteTable {
    let file = root().join("policies/fortress/routes.yaml");
    let routes = settings::load::<RouteFile>(&file, &|_| None)
        .document
        .expect("routes")
        .value
        .routes;
    RouteTable::compile(&routes, pdp.namespace()).expect("good routes")
}

fn claims(user: &str) -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user,
        "jti": user,
        "iat": now,
        "exp": now + LIFETIME,
        "user_type": "end_user",
        "roles": [],
        "scope": "",
    })
}

/// A section of the configuration.
fn read<T: serde::de::DeserializeOwned>(section: Value) -> T {
    serde_json::from_value(section).expect("a good configuration")
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

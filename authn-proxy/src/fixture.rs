//! A gate of real parts for tests: an issuer with a fresh key, policies and entities on disk, routes in memory.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use dev_issuer::{Algorithm, SigningKey};
use http::Request;
use http::request::Parts;
use identity::config::IssuerConfig;
use identity::config::{Kind, SessionSource, UserStatusSource};
use identity::{Identity, Issuers};
use pdp::{Namespace, Pdp, PoliciesConfig};
use prometheus::Registry;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::config::RouteFile;
use crate::gate::{Client, Gate};
use crate::principal::Principals;
use crate::{Permit, Rejection, RouteTable};

pub(crate) const ISSUER: &str = "https://issuer.test";

pub(crate) const ISSUERS: &str = r#"
[{
  "name": "first-party", "kind": "first_party", "issuer": ["https://issuer.test"], "jwks": { "file": "jwks.json" },
  "algorithms": ["ES256"], "audiences": ["cloud-app"],
  "principal": {
    "type": "User", "id": "sub", "groups": { "claim": "roles", "type": "Role" },
    "attributes": { "user_type": "user_type", "region": { "store": true } }
  }
}, {
  "name": "mesh", "kind": "spiffe", "trust_domains": ["cluster.local"],
  "principal": { "type": "Workload", "id": "spiffe_id", "attributes": { "account": "service_account" } }
}]"#;

pub(crate) const SCHEMA: &str = r#"
namespace Fortress {
  entity Role in [Org];
  entity Org, Team;
  entity User in [Role, Team] { user_type?: String, region?: String, owner?: String } tags String;
  entity Note { owner: String };
  action view, change, list appliesTo { principal: User, resource: [User, Note], context: {} };
  action seen appliesTo { principal: User, resource: User, context: {
    http: { method: String, path: String, host?: String, client_ip?: ipaddr, user_agent?: String },
    token: { issuer: String, scopes: Set<String>, issued_at: Long, expires_at: datetime },
    now: datetime
  } };
  entity Workload { account?: String };
  action relay appliesTo { principal: [User, Workload], resource: [User, Workload], context: { workload?: Workload } };
  action relayed appliesTo { principal: [User, Workload], resource: User, context: { workload: String } };
  action told appliesTo { principal: Workload, resource: User, context: { token?: { scopes: Set<String> } } };
  action beyond appliesTo { principal: User, resource: User, context: { weather: String } };
}"#;

pub(crate) const ENTITIES: &str = r#"[
  { "uid": { "type": "Fortress::Role", "id": "admin" }, "attrs": {}, "parents": [{ "type": "Fortress::Org", "id": "acme" }] },
  { "uid": { "type": "Fortress::Org", "id": "acme" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "Fortress::Team", "id": "blue" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "Fortress::User", "id": "alice" },
    "attrs": { "user_type": "stored", "region": "eu", "owner": "stored" },
    "tags": { "badge": "gold" },
    "parents": [{ "type": "Fortress::Role", "id": "admin" }, { "type": "Fortress::Team", "id": "blue" }] },
  { "uid": { "type": "Fortress::Note", "id": "n1" }, "attrs": { "owner": "alice" }, "parents": [] }
]"#;

/// A further set of routes, named `other`.
const OTHER_ROUTES: &str = r#"
routes:
  - { match: "GET /other", public: true }
"#;

/// A gate and the means to come to it.
pub(crate) struct World {
    pub(crate) gate: Gate,
    pub(crate) pdp: Arc<Pdp>,
    pub(crate) key: SigningKey,
    registry: Registry,
    folder: TempDir,
}

impl World {
    pub(crate) fn new(routes: &str, policies: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let key = SigningKey::generate(Algorithm::Es256, "key-1").unwrap();
        std::fs::write(path("jwks.json"), dev_issuer::jwks(&[&key]).to_string()).unwrap();
        std::fs::write(path("schema.cedarschema"), SCHEMA).unwrap();
        std::fs::write(path("entities.json"), ENTITIES).unwrap();
        std::fs::create_dir(path("policies")).unwrap();
        std::fs::write(path("policies/all.cedar"), policies).unwrap();

        let registry = Registry::new();
        let policies: PoliciesConfig = serde_json::from_value(json!({
            "source": { "dir": path("policies") },
            "schema": path("schema.cedarschema"),
            "entities": path("entities.json"),
            "namespace": "Fortress",
        }))
        .unwrap();
        let pdp = Pdp::open(&policies, &registry).unwrap();
        let issuers: Vec<IssuerConfig> = serde_json::from_str(ISSUERS).unwrap();
        let sets = [("other".to_owned(), compile(OTHER_ROUTES))].into();
        let gate = Gate::new(
            compile(routes),
            Issuers::new(&issuers, folder.path(), &registry).unwrap(),
            Principals::new(&issuers, pdp.namespace()).unwrap(),
            Arc::clone(&pdp),
        )
        .with_route_sets(sets);
        Self {
            gate,
            pdp,
            key,
            registry,
            folder,
        }
    }

    /// A good token for this subject.
    pub(crate) fn token(&self, subject: &str, more: Value) -> String {
        let now = unix_now();
        let mut claims = json!({
            "iss": ISSUER, "aud": "cloud-app", "sub": subject, "jti": format!("jti-{subject}-{now}"),
            "iat": now, "exp": now + 300,
        });
        if let (Value::Object(claims), Value::Object(more)) = (&mut claims, more) {
            claims.extend(more);
        }
        self.key.sign_jwt(Map::new(), &claims)
    }

    /// Puts a request to the gate.
    pub(crate) async fn admit(
        &self,
        request: &str,
        token: Option<&str>,
    ) -> Result<Permit, Rejection> {
        self.admit_from(request, token, &Client::default()).await
    }

    /// The same of somebody of whom more is known.
    pub(crate) async fn admit_from(
        &self,
        request: &str,
        token: Option<&str>,
        client: &Client<'_>,
    ) -> Result<Permit, Rejection> {
        self.gate.admit(&head(request, token), client).await
    }

    /// Replaces the policies and has the decision point read them.
    pub(crate) fn rewrite_policies(&self, policies: &str) {
        std::fs::write(self.folder.path().join("policies/all.cedar"), policies).unwrap();
        self.pdp.refresh();
    }

    /// How many tokens were judged and how many questions decided so far.
    pub(crate) fn calls(&self) -> (u64, u64) {
        let sum = |family: &str| -> u64 {
            let families = self.registry.gather();
            let metrics = families
                .iter()
                .filter(|known| known.name() == family)
                .flat_map(|known| known.get_metric());
            metrics
                .map(|metric| metric.get_counter().get_value() as u64)
                .sum()
        };
        (
            sum("portcullis_tokens_total"),
            sum("portcullis_decisions_total"),
        )
    }
}

pub(crate) fn compile(routes: &str) -> RouteTable {
    let loaded = settings::parse::<RouteFile>(routes, "routes.yaml".as_ref(), &|_| None);
    assert_eq!(loaded.problems, [], "{routes}");
    let namespace = Namespace::new(Some("Fortress")).unwrap();
    RouteTable::compile(&loaded.document.unwrap().value.routes, &namespace).unwrap()
}

pub(crate) fn head(request: &str, token: Option<&str>) -> Parts {
    let (method, target) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(target);
    if let Some(token) = token {
        builder = builder.header("authorization", format!("Bearer {token}"));
    }
    builder.body(()).unwrap().into_parts().0
}

/// What a token of alice's proves.
pub(crate) fn identity() -> Identity {
    Identity {
        issuer: "first-party".into(),
        issuer_url: ISSUER.into(),
        kind: Kind::FirstParty,
        is_id_token: false,
        subject: "alice".into(),
        principal_type: "User".into(),
        principal_id: "alice".into(),
        group_type: Some("Role".into()),
        groups: Vec::new(),
        attributes: Vec::new(),
        scopes: Vec::new(),
        username: None,
        client_id: None,
        token_id: Some("jti-1".into()),
        origin_token_id: None,
        authenticated_at: None,
        issued_at: 1_700_000_000,
        expires_at: 1_700_000_300,
        session: None,
        session_source: SessionSource::None,
        status_source: UserStatusSource::None,
        on_behalf_of: None,
    }
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

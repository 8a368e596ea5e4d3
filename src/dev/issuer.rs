//! The local issuer: fresh keys at each start, a JWKS endpoint, and tokens for the demo's people.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use dev_issuer::{Algorithm, SigningKey};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Who the demo's tokens are for (`aud`).
pub(super) const AUDIENCE: &str = "demo";
/// How long a token of the demo lives, in seconds: long enough not to end a first look.
pub(super) const LIFETIME: u64 = 12 * 60 * 60;

/// Two keys and the name they sign under.
pub(super) struct LocalIssuer {
    url: String,
    es256: SigningKey,
    rs256: SigningKey,
}

/// What `GET /token` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    sub: String,
    #[serde(default = "end_user")]
    user_type: String,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    expired: bool,
}

/// The routes of the local issuer.
pub(super) fn router(issuer: Arc<LocalIssuer>) -> Router {
    Router::new()
        .route("/.well-known/jwks.json", get(jwks))
        .route("/token", get(token))
        .with_state(issuer)
}

// === impl LocalIssuer ===

impl LocalIssuer {
    /// Makes the keys.
    ///
    /// # Errors
    /// When the system cannot make them.
    pub(super) fn new(url: String) -> Result<Self, dev_issuer::Error> {
        Ok(Self {
            url,
            es256: SigningKey::generate(Algorithm::Es256, "dev-es256")?,
            rs256: SigningKey::generate(Algorithm::Rs256, "dev-rs256")?,
        })
    }

    /// The issuer's identifier, and the root of its endpoints.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// A token that the sidecar accepts.
    pub(super) fn token(&self, sub: &str, user_type: &str) -> String {
        self.es256
            .sign_jwt(Map::new(), &self.claims(sub, user_type, false))
    }

    /// A token whose time is over.
    pub(super) fn expired_token(&self, sub: &str, user_type: &str) -> String {
        self.es256
            .sign_jwt(Map::new(), &self.claims(sub, user_type, true))
    }

    /// A token that names the issuer's key but is signed by another.
    ///
    /// # Errors
    /// When the system cannot make that other key.
    pub(super) fn forged_token(&self, sub: &str) -> Result<String, dev_issuer::Error> {
        let stranger = SigningKey::generate(Algorithm::Es256, "dev-es256")?;
        Ok(stranger.sign_jwt(Map::new(), &self.claims(sub, "admin", false)))
    }

    fn claims(&self, sub: &str, user_type: &str, expired: bool) -> Value {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let issued = if expired {
            now.saturating_sub(2 * LIFETIME)
        } else {
            now
        };
        json!({
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": sub,
            "jti": format!("{sub}-{issued}"),
            "iat": issued,
            "exp": issued + LIFETIME,
            "user_type": user_type,
            "roles": [],
            "scope": "",
        })
    }
}

async fn jwks(State(issuer): State<Arc<LocalIssuer>>) -> Json<Value> {
    Json(dev_issuer::jwks(&[&issuer.es256, &issuer.rs256]))
}

async fn token(
    State(issuer): State<Arc<LocalIssuer>>,
    Query(ask): Query<TokenRequest>,
) -> Response {
    let key = match ask.alg.as_deref() {
        None | Some("ES256") => &issuer.es256,
        Some("RS256") => &issuer.rs256,
        Some(_) => return (StatusCode::BAD_REQUEST, "alg is ES256 or RS256\n").into_response(),
    };
    let claims = issuer.claims(&ask.sub, &ask.user_type, ask.expired);
    key.sign_jwt(Map::new(), &claims).into_response()
}

fn end_user() -> String {
    "end_user".to_owned()
}

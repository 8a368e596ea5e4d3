//! The `telemetry` listener: liveness, readiness, metrics, version. Never on the data path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};

/// What the telemetry endpoints report on.
pub(crate) struct Telemetry {
    pub(crate) registry: Registry,
    pub(crate) pdp: Arc<pdp::Pdp>,
    pub(crate) issuers: Arc<identity::Issuers>,
    pub(crate) standing: Arc<identity::Standing>,
    /// Set when the shutdown begins, so that no new traffic is sent here.
    pub(crate) draining: AtomicBool,
}

/// The routes of the listener.
pub(crate) fn router(telemetry: Arc<Telemetry>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .with_state(telemetry)
}

// === impl Telemetry ===

impl Telemetry {
    /// Whether traffic may be sent here: policies decide, every issuer's keys have been good, and Redis has been tried.
    /// That it answers is not asked: a blip there must not take every instance out.
    pub(crate) fn ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
            && self.pdp.health().fresh
            && self.issuers.keys().iter().all(|keys| keys.age.is_some())
            && self.standing.settled()
    }

    fn details(&self) -> Value {
        let policies = self.pdp.health();
        let problems: Vec<String> = policies.problems.iter().map(ToString::to_string).collect();
        let keys: Vec<Value> = self
            .issuers
            .keys()
            .iter()
            .map(|keys| {
                json!({
                    "issuer": &*keys.issuer,
                    "ready": keys.ready,
                    "age_seconds": keys.age.map(|age| age.as_secs()),
                    "last_error": keys.last_error,
                })
            })
            .collect();
        let standing = self.standing.health();
        let redis = standing
            .redis
            .map(|redis| source(redis.ready, redis.last_error));
        let cognito = standing
            .cognito
            .map(|pool| source(pool.ready, pool.last_error));
        json!({
            "ready": self.ready(),
            "draining": self.draining.load(Ordering::Relaxed),
            "policies": {
                "ready": policies.fresh,
                "revision": &*policies.revision,
                "entities_revision": &*policies.entities_revision,
                "count": policies.policies,
                "entities": policies.entities,
                "verified_seconds_ago": policies.age.as_secs(),
                "problems": problems,
            },
            "keys": keys,
            "redis": redis,
            "cognito": cognito,
        })
    }
}

/// How a source of facts is, of which readiness does not depend.
fn source(ready: bool, last_error: Option<String>) -> Value {
    json!({ "ready": ready, "last_error": last_error })
}

async fn readyz(State(telemetry): State<Arc<Telemetry>>) -> Response {
    let status = if telemetry.ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(telemetry.details())).into_response()
}

async fn metrics(State(telemetry): State<Arc<Telemetry>>) -> Response {
    match TextEncoder::new().encode_to_string(&telemetry.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn version() -> Json<Value> {
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cedar": cedar_policy::get_sdk_version().to_string(),
        "cedar_language": cedar_policy::get_lang_version().to_string(),
    }))
}

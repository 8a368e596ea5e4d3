//! The `redis:` section: the server that sessions, revocations and shared facts live on.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use settings::{Secret, Span};

/// The Redis server that holds sessions and revocations, and what instances share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://[user:password@]host[:port][/db]`, `rediss://…` for TLS, or `redis+unix:///path`. It has to be one
    /// primary, no node of a Redis Cluster and no Sentinel, whose `maxmemory-policy` is `noeviction`, or revocations could
    /// be forgotten.
    pub url: Secret,
    /// The certificates (PEM) that may vouch for the server over `rediss`. Default: those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The longest wait for a connection, its handshake included. Default 1s.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Span,
    /// The longest wait for an answer; after it a request gets 503. Default 100ms.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

fn connect_timeout() -> Span {
    Span::from_secs(1)
}

fn timeout() -> Span {
    Span::from_millis(100)
}

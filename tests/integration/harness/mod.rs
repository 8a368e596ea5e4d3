//! What the tables share: the real binary, an upstream that records every byte, raw clients and hostile tokens.

pub(crate) mod cases;
pub(crate) mod cognito;
pub(crate) mod envoy;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod key_server;
pub(crate) mod moto;
pub(crate) mod peers;
pub(crate) mod redis;
pub(crate) mod relay;
pub(crate) mod sidecar;
pub(crate) mod table;
pub(crate) mod tokens;
pub(crate) mod upstream;
pub(crate) mod workspace;

use std::thread;
use std::time::{Duration, Instant};

/// Asks `probe` until it answers; fails the test when `limit` passes first.
pub(crate) fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Long enough for a busy two-core machine; a healthy run never comes near it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

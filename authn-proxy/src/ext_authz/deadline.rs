//! How long a check may take.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName};

use crate::decide::Permit;
use crate::rejection::{Reason, Rejection};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What of Envoy's patience is left for the way back, as a divisor.
const WAY_BACK: u32 = 10;

/// The smaller of our own deadline and what the client of the RPC says it will wait (`grpc-timeout`), less the way back.
pub(super) fn of(headers: &HeaderMap, own: Duration) -> Duration {
    let Some(theirs) = headers
        .get(GRPC_TIMEOUT)
        .and_then(|value| timeout(value.as_bytes()))
    else {
        return own;
    };
    own.min(theirs - theirs / WAY_BACK)
}

/// A `grpc-timeout`: at most eight digits and a unit.
fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count.saturating_mul(3600)),
        b'M' => Duration::from_secs(count.saturating_mul(60)),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The outcome of `work`, or a refusal when it takes longer than `limit` or panics.
pub(super) async fn answered(
    limit: Duration,
    work: impl Future<Output = Result<Permit, Rejection>>,
) -> Result<Permit, Rejection> {
    // A panic leaves nothing behind that another check could see half done: what checks share is swapped whole.
    let caught = AssertUnwindSafe(work).catch_unwind();
    let unavailable = |cause| Err(Rejection::new(Reason::AuthzUnavailable).because(cause));
    match tokio::time::timeout(limit, caught).await {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(_)) => unavailable("the check panicked"),
        Err(_) => unavailable("the check ran out of time"),
    }
}

/// What `work` answers, or what is answered in its place when it panics: the check has been decided about then, or refused, and
/// something went wrong on the way back. Without an answer Envoy would take it for an error.
pub(super) async fn outright<T>(work: impl Future<Output = T>, otherwise: impl FnOnce() -> T) -> T {
    let caught = AssertUnwindSafe(work).catch_unwind().await;
    caught.unwrap_or_else(|_| otherwise())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_deadline_counts() {
        let own = Duration::from_millis(150);
        for (given, expected) in [
            ("200m", own),
            ("100m", Duration::from_millis(90)),
            ("20000u", Duration::from_millis(18)),
            ("0n", Duration::ZERO),
            ("1H", own),
            // Not a timeout: our own holds.
            ("", own),
            ("m", own),
            ("100", own),
            ("123456789m", own),
            ("-1m", own),
            ("1x", own),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, given.parse().unwrap());
            assert_eq!(of(&headers, own), expected, "{given:?}");
        }
        assert_eq!(of(&HeaderMap::new(), own), own);
    }

    #[tokio::test]
    async fn there_is_always_an_answer() {
        assert_eq!(outright(async { 1 }, || 2).await, 1);
        assert_eq!(outright(async { panic!("a defect") }, || 2).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_or_panics_is_refused() {
        let hanging = answered(Duration::from_millis(150), std::future::pending()).await;
        let panicking = answered(Duration::from_millis(150), async { panic!("a defect") }).await;
        for (outcome, cause) in [
            (hanging, "the check ran out of time"),
            (panicking, "the check panicked"),
        ] {
            let rejection = outcome.unwrap_err();
            assert_eq!(rejection.reason(), &Reason::AuthzUnavailable);
            assert_eq!(rejection.cause(), Some(cause));
        }
    }
}

//! One event for each check, of the same shape as the proxy's.

use std::time::Duration;

use http::request::Parts;

use super::Check;
use crate::decide::Permit;
use crate::rejection::Rejection;
use crate::request_log::TARGET;

/// Longest path in an event, in bytes.
const MAX_PATH: usize = 256;

pub(super) fn log(
    check: &Check<'_>,
    head: Option<&Parts>,
    admitted: &Result<Permit, Rejection>,
    took: Duration,
) {
    if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return;
    }
    let (asked, route, rejection) = match admitted {
        Ok(permit) => (permit.decision(), Some(permit.route()), None),
        Err(rejection) => (rejection.decision(), rejection.route(), Some(rejection)),
    };
    let decision = match (admitted, asked) {
        (Ok(_), Some(_)) => "ALLOW",
        (Ok(_), None) => "PUBLIC",
        (Err(_), Some(_)) => "DENY",
        (Err(_), None) => "REFUSED",
    };
    let answer = asked.map(|asked| &asked.answer);
    let policies = answer.map(|answer| answer.determining_policies.join(","));
    let path = head.map(|head| head.uri.path());
    let path = path.and_then(|path| path.get(..path.floor_char_boundary(MAX_PATH)));
    tracing::info!(
        target: TARGET,
        request_id = check.id.as_str(),
        surface = check.surface,
        client = check.client.address.map(display),
        method = head.map(|head| head.method.as_str()),
        path,
        route = route.map(|route| route.name()),
        principal = asked.map(|asked| display(&asked.principal)),
        on_behalf_of = asked
            .and_then(|asked| asked.on_behalf_of.as_ref())
            .map(display),
        action = asked.map(|asked| display(&asked.action)),
        resource = asked.map(|asked| display(&asked.resource)),
        decision,
        status = rejection.map(|rejection| rejection.status().as_u16()),
        code = rejection.map_or("ok", Rejection::code),
        cause = rejection.and_then(Rejection::cause),
        policies,
        source = answer.map(|answer| answer.source.name()),
        revision = answer.map(|answer| answer.revision.as_ref()),
        latency_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    );
}

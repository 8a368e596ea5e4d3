//! Rate limits of routes: by client address before a token is looked at, by principal once it is known who is calling.
//!
//! Each route counts for itself, in memory, on this instance. A limit of five a minute is a bucket of five that is
//! filled with one every twelve seconds, so what has been let through once is never taken for more than its rate twice
//! over. What is refused is not counted.
//!
//! An IPv6 network of 64 bits is one address: it is what a subscriber gets, and whoever has one could otherwise begin
//! anew 2^64 times. Whoever has no address, because a Unix socket stands between, shares one count with their like.

mod limiter;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderName, HeaderValue};
use prometheus::{IntCounterVec, Opts, Registry};

use crate::config::RateLimitConfig;
use crate::rejection::{Reason, Rejection};
use limiter::Limiter;

/// The limits of one route.
#[derive(Debug)]
pub struct RateLimit {
    address: Option<Limiter>,
    principal: Option<Limiter>,
}

/// Who is counted. Two keys are equal only when they are of the same caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// Nobody knows the address.
    Nowhere,
    V4([u8; 4]),
    /// The first 64 bits.
    V6([u8; 8]),
    /// The first half of a SHA-256: a principal's name may be long, and its owner chose it.
    Principal([u8; 16]),
}

/// What is left to a caller after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Requests that are let through at once.
    pub(crate) requests: u32,
    /// In how many seconds that many are let through again.
    pub(crate) window: u16,
    /// How many of them are left.
    pub(crate) remaining: u32,
    /// In how many seconds there will be more.
    pub(crate) reset: u16,
}

/// What is left to a caller of each limit that was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quotas {
    pub(crate) address: Option<Quota>,
    pub(crate) principal: Option<Quota>,
}

/// What is counted of limits. The default counts nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Option<IntCounterVec>);

/// Most keys of each sort in one table of routes, in equal shares for the routes that have a limit: some 40 bytes each.
const KEYS: usize = 500_000;

/// A route has no fewer keys than if there were this many.
const ROUTES: usize = 500;

/// The names of the policies in the fields below.
const ADDRESS: &str = "address";
const PRINCIPAL: &str = "principal";

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

// === impl RateLimit ===

impl RateLimit {
    /// The limits that are configured for one of `routes` routes.
    pub(crate) fn new(config: &RateLimitConfig, routes: usize) -> Self {
        let keys = KEYS / routes.clamp(1, ROUTES);
        let limiter = |rate| Limiter::new(rate, keys);
        Self {
            address: config.address.map(limiter),
            principal: config.principal.map(limiter),
        }
    }

    /// Counts a request from this address.
    pub(crate) fn by_address(
        &self,
        address: Option<IpAddr>,
        quotas: &mut Quotas,
        metrics: &Metrics,
    ) -> Result<(), Rejection> {
        let Some(limiter) = &self.address else {
            return Ok(());
        };
        let outcome = limiter.count(&Key::of_address(address));
        quotas.address = Some(outcome.unwrap_or_else(|spent| spent));
        metrics.judged(ADDRESS, outcome.map(drop))
    }

    /// Counts a request of this principal.
    pub(crate) fn by_principal(
        &self,
        entity_type: &str,
        id: &str,
        quotas: &mut Quotas,
        metrics: &Metrics,
    ) -> Result<(), Rejection> {
        let Some(limiter) = &self.principal else {
            return Ok(());
        };
        let outcome = limiter.count(&Key::of_principal(entity_type, id));
        quotas.principal = Some(outcome.unwrap_or_else(|spent| spent));
        metrics.judged(PRINCIPAL, outcome.map(drop))
    }
}

// === impl Key ===

impl Key {
    pub(crate) fn of_address(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Nowhere,
            Some(IpAddr::V4(address)) => Self::V4(address.octets()),
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }

    pub(crate) fn of_principal(entity_type: &str, id: &str) -> Self {
        let mut name = Vec::with_capacity(entity_type.len() + id.len() + 8);
        // With its length first no name can be read as another's.
        name.extend_from_slice(
            &u64::try_from(entity_type.len())
                .unwrap_or(u64::MAX)
                .to_be_bytes(),
        );
        name.extend_from_slice(entity_type.as_bytes());
        name.extend_from_slice(id.as_bytes());
        let digest = digest(&SHA256, &name);
        let half = digest.as_ref().first_chunk::<16>();
        Self::Principal(half.copied().unwrap_or_default())
    }
}

// === impl Quotas ===

impl Quotas {
    /// Adds the fields of `draft-ietf-httpapi-ratelimit-headers`: what the limits are, and what is left of them. Lines of
    /// the upstream's own stay beside them, because a list may stand on several.
    pub(crate) fn describe(&self, headers: &mut HeaderMap) {
        let mut policies = String::new();
        let mut left = String::new();
        for (name, quota) in [(ADDRESS, self.address), (PRINCIPAL, self.principal)] {
            let Some(quota) = quota else { continue };
            let comma = if left.is_empty() { "" } else { ", " };
            // Writing to a string does not fail.
            let _ = write!(
                policies,
                "{comma}\"{name}\";q={};w={}",
                quota.requests, quota.window
            );
            let _ = write!(
                left,
                "{comma}\"{name}\";r={};t={}",
                quota.remaining, quota.reset
            );
        }
        for (name, value) in [(RATE_LIMIT_POLICY, policies), (RATE_LIMIT, left)] {
            if !value.is_empty()
                && let Ok(value) = HeaderValue::try_from(value)
            {
                headers.append(name, value);
            }
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Makes the metrics known to `registry`; fails when they are there already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counted = IntCounterVec::new(
            Opts::new(
                "portcullis_rate_limit_total",
                "Requests on routes with a limit, by what was counted (address, principal) and whether it was within.",
            ),
            &["by", "outcome"],
        )?;
        registry.register(Box::new(counted.clone()))?;
        Ok(Self(Some(counted)))
    }

    /// Counts one outcome, and makes a refusal of it where it is one.
    fn judged(&self, by: &'static str, outcome: Result<(), Quota>) -> Result<(), Rejection> {
        if let Some(counted) = &self.0 {
            let name = if outcome.is_ok() { "within" } else { "over" };
            counted.with_label_values(&[by, name]).inc();
        }
        outcome.map_err(|spent| {
            Rejection::new(Reason::RateLimited(spent.reset))
                .because(format!("over the limit by {by}"))
        })
    }
}

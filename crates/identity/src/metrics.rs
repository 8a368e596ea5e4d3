//! What is counted. Labels are issuer names of the configuration and fixed words.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::cache::TokenCache;
use crate::error::TokenError;

/// The issuer label of tokens that could not be laid at any issuer's door.
const NO_ISSUER: &str = "none";

/// All metric families of this crate.
#[derive(Clone)]
pub(crate) struct Metrics {
    tokens: IntCounterVec,
    fetches: IntCounterVec,
    fetched_at: IntGaugeVec,
    keys: IntGaugeVec,
}

/// One issuer's token counters. The hot ones are looked up once.
#[derive(Clone)]
pub(crate) struct TokenMetrics {
    cached: IntCounter,
    verified: IntCounter,
    tokens: IntCounterVec,
    issuer: String,
}

/// One key source's counters.
#[derive(Clone, Debug)]
pub(crate) struct FetchMetrics {
    succeeded: IntCounter,
    failed: IntCounter,
    refused: IntCounter,
    fetched_at: IntGauge,
    keys: IntGauge,
}

/// How many tokens are remembered and what they take, counted when it is asked for.
pub(crate) struct CacheSize {
    cache: TokenCache,
    entries: IntGauge,
    bytes: IntGauge,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let tokens = IntCounterVec::new(
            Opts::new(
                "portcullis_tokens_total",
                "Tokens judged, by issuer and outcome.",
            ),
            &["issuer", "outcome"],
        )?;
        let fetches = IntCounterVec::new(
            Opts::new(
                "portcullis_jwks_fetches_total",
                "Fetches of key sets, by outcome.",
            ),
            &["issuer", "outcome"],
        )?;
        let fetched_at = IntGaugeVec::new(
            Opts::new(
                "portcullis_jwks_last_success_timestamp_seconds",
                "When the key set was last fetched and good, in seconds since 1970.",
            ),
            &["issuer"],
        )?;
        let keys = IntGaugeVec::new(
            Opts::new("portcullis_jwks_keys", "Usable keys of the current set."),
            &["issuer"],
        )?;
        registry.register(Box::new(tokens.clone()))?;
        registry.register(Box::new(fetches.clone()))?;
        registry.register(Box::new(fetched_at.clone()))?;
        registry.register(Box::new(keys.clone()))?;
        Ok(Self {
            tokens,
            fetches,
            fetched_at,
            keys,
        })
    }

    pub(crate) fn tokens(&self, issuer: &str) -> TokenMetrics {
        TokenMetrics {
            cached: self.tokens.with_label_values(&[issuer, "cached"]),
            verified: self.tokens.with_label_values(&[issuer, "verified"]),
            tokens: self.tokens.clone(),
            issuer: issuer.to_owned(),
        }
    }

    /// The counters of tokens without a known issuer.
    pub(crate) fn strangers(&self) -> TokenMetrics {
        self.tokens(NO_ISSUER)
    }

    pub(crate) fn fetches(&self, issuer: &str) -> FetchMetrics {
        FetchMetrics {
            succeeded: self.fetches.with_label_values(&[issuer, "ok"]),
            failed: self.fetches.with_label_values(&[issuer, "failed"]),
            refused: self.fetches.with_label_values(&[issuer, "refused"]),
            fetched_at: self.fetched_at.with_label_values(&[issuer]),
            keys: self.keys.with_label_values(&[issuer]),
        }
    }
}

// === impl TokenMetrics ===

impl TokenMetrics {
    pub(crate) fn cached(&self) {
        self.cached.inc();
    }

    pub(crate) fn verified(&self) {
        self.verified.inc();
    }

    /// Somebody else has verified it.
    pub(crate) fn vouched(&self) {
        self.tokens
            .with_label_values(&[self.issuer.as_str(), "vouched"])
            .inc();
    }

    pub(crate) fn refused(&self, error: TokenError) {
        self.tokens
            .with_label_values(&[self.issuer.as_str(), error.name()])
            .inc();
    }
}

// === impl CacheSize ===

impl CacheSize {
    /// From now on the tokens of this cache are counted.
    pub(crate) fn register(
        registry: &Registry,
        cache: TokenCache,
    ) -> Result<(), prometheus::Error> {
        registry.register(Box::new(Self {
            cache,
            entries: IntGauge::new(
                "portcullis_token_cache_entries",
                "Verified tokens that are remembered.",
            )?,
            bytes: IntGauge::new(
                "portcullis_token_cache_bytes",
                "Memory that remembered tokens take, which tokens.cache_bytes bounds.",
            )?,
        }))
    }
}

impl Collector for CacheSize {
    fn desc(&self) -> Vec<&Desc> {
        [self.entries.desc(), self.bytes.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (entries, bytes) = self.cache.size();
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        [self.entries.collect(), self.bytes.collect()].concat()
    }
}

// === impl FetchMetrics ===

impl FetchMetrics {
    pub(crate) fn succeeded(&self, unix: u64, keys: usize) {
        self.succeeded.inc();
        self.fetched_at.set(i64::try_from(unix).unwrap_or(i64::MAX));
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// Nothing could be read.
    pub(crate) fn failed(&self) {
        self.failed.inc();
    }

    /// Something was read that is not believed.
    pub(crate) fn refused(&self) {
        self.refused.inc();
    }
}

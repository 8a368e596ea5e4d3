//! The configured issuers, and the one way from a token to an identity.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::task::JoinSet;

use crate::cache::{self, CachedToken, TokenCache, TokenDigest};
use crate::clock::Clock;
use crate::config::{IssuerConfig, Jwks, Kind, TokensConfig};
use crate::error::TokenError;
use crate::identity::Identity;
use crate::jose::{Parts, Unverified};
use crate::json::Json;
use crate::keys::{KeyStore, Lookup, Source};
use crate::metrics::{CacheSize, Metrics, TokenMetrics};
use crate::profile::{Problems, Profile, check_distinct};
use crate::spiffe::Workloads;
use crate::vouched::VouchedClaims;

/// All issuers whose tokens are believed.
pub struct Issuers {
    issuers: Vec<Issuer>,
    /// Who needs no token.
    workloads: Vec<Workloads>,
    /// The entries of each exact `iss`.
    by_url: HashMap<Arc<str>, Vec<usize>>,
    /// Each key source once, however many issuers use it.
    stores: Vec<Arc<KeyStore>>,
    cache: TokenCache,
    clock: Clock,
    token_bytes: usize,
    strangers: TokenMetrics,
}

/// Limits, and what tests replace.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest token, in bytes. Default 8 KiB.
    pub token_bytes: usize,
    /// The most memory that verified tokens may take, in bytes; 0 keeps none. Default as of [`TokensConfig`].
    pub cache_bytes: u64,
    /// How long one fetch of keys may take in all. Default 3 s.
    pub fetch_deadline: Duration,
    /// Where the time comes from.
    pub clock: Clock,
}

/// The state of one issuer's keys.
#[derive(Clone, Debug)]
pub struct KeyStatus {
    /// The issuer's configured name.
    pub issuer: Arc<str>,
    /// Whether its tokens can be verified now.
    pub ready: bool,
    /// How long ago the keys were asked for; none before the first good set.
    pub age: Option<Duration>,
    /// How many keys can be used.
    pub keys: usize,
    /// Why the last fetch failed. For operators: it may name files and addresses.
    pub last_error: Option<String>,
}

/// One entry: its rules and its keys. Keys are bound to the entry, so that no issuer can sign for
/// another.
pub(crate) struct Issuer {
    index: usize,
    pub(crate) profile: Profile,
    pub(crate) keys: Arc<KeyStore>,
    metrics: TokenMetrics,
}

/// A token that has been laid to one entry.
struct Addressed<'a> {
    token: Unverified<'a>,
    digest: TokenDigest,
    issuer: &'a Issuer,
    url: &'a Arc<str>,
}

// === impl Issuers ===

impl Issuers {
    /// Takes over the `issuers:` section. Relative key files are found from `base`. Each problem
    /// comes with its key below `issuers`, such as `[0].leeway`; all are found in one run.
    pub fn new(
        configs: &[IssuerConfig],
        base: &Path,
        registry: &Registry,
    ) -> Result<Arc<Self>, Vec<(String, String)>> {
        Self::with_options(configs, base, registry, Options::default())
    }

    /// The same with other limits or another clock.
    pub fn with_options(
        configs: &[IssuerConfig],
        base: &Path,
        registry: &Registry,
        options: Options,
    ) -> Result<Arc<Self>, Vec<(String, String)>> {
        let mut problems = Vec::new();
        check_distinct(configs, &mut problems);
        let metrics = match Metrics::register(registry) {
            Ok(metrics) => metrics,
            Err(error) => return Err(vec![(String::new(), format!("no metrics: {error}"))]),
        };
        let mut stores: HashMap<String, Arc<KeyStore>> = HashMap::new();
        let mut issuers = Vec::new();
        let mut workloads = Vec::new();
        for (index, config) in configs.iter().enumerate() {
            let mut problems = Problems::of_issuer(index, &mut problems);
            if config.kind == Kind::Spiffe {
                workloads.push(Workloads::new(config, &mut problems));
                continue;
            }
            let profile = Profile::new(config, &mut problems);
            match key_source(config, base, &options) {
                Err((key, message)) => problems.add(key, message),
                Ok(source) => {
                    let keys = stores.entry(source.id()).or_insert_with(|| {
                        let metrics = metrics.fetches(&config.name);
                        let name = Arc::clone(&profile.name);
                        KeyStore::new(name, source, options.clock.clone(), metrics)
                    });
                    if let Err(message) = keys.read_now() {
                        problems.add("jwks.file", message);
                    }
                    let keys = Arc::clone(keys);
                    let metrics = metrics.tokens(&config.name);
                    issuers.push(Issuer {
                        index: issuers.len(),
                        profile,
                        keys,
                        metrics,
                    });
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut by_url: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for issuer in &issuers {
            for url in &issuer.profile.urls {
                by_url
                    .entry(Arc::clone(url))
                    .or_default()
                    .push(issuer.index);
            }
        }
        let cache = TokenCache::new(options.cache_bytes, options.clock.clone());
        if let Err(error) = CacheSize::register(registry, cache.clone()) {
            return Err(vec![(String::new(), format!("no metrics: {error}"))]);
        }
        Ok(Arc::new(Self {
            issuers,
            workloads,
            by_url,
            stores: stores.into_values().collect(),
            cache,
            clock: options.clock,
            token_bytes: options.token_bytes,
            strangers: metrics.strangers(),
        }))
    }

    /// Finds out who presents this token. A token seen before is answered from memory, and only one
    /// with an unknown key id ever waits, for at most one fetch of keys.
    pub async fn verify(&self, token: &str) -> Result<Arc<Identity>, TokenError> {
        let digest = self.admit(token)?;
        if let Some(identity) = self.recall(&digest) {
            return Ok(identity);
        }
        // In memory of its own: nearly all tokens are remembered, and would else carry the room for this around.
        Box::pin(self.verify_anew(token, digest)).await
    }

    /// The token is not remembered.
    async fn verify_anew(
        &self,
        token: &str,
        digest: TokenDigest,
    ) -> Result<Arc<Identity>, TokenError> {
        let parts = self.take_apart(token)?;
        let addressed = self.address(&parts, digest)?;
        let mut key = addressed.find_key();
        if let Ok(Lookup::Unknown) = key {
            let kid = &addressed.token.kid;
            key = match addressed.issuer.keys.await_kid(kid).await {
                Ok(()) => addressed.find_key(),
                Err(error) => Err(error),
            };
        }
        self.conclude(addressed, key)
    }

    /// The same without ever waiting: an unknown key id is answered with
    /// [`TokenError::KeysRefreshing`] and causes no fetch.
    pub fn verify_now(&self, token: &str) -> Result<Arc<Identity>, TokenError> {
        let digest = self.admit(token)?;
        if let Some(identity) = self.recall(&digest) {
            return Ok(identity);
        }
        let parts = self.take_apart(token)?;
        let addressed = self.address(&parts, digest)?;
        let key = addressed.find_key();
        self.conclude(addressed, key)
    }

    /// Finds out whom claims are about whose signature a proxy in front of us has verified. They are held to every rule
    /// that a token's claims are held to.
    ///
    /// # Errors
    /// Like [`Issuers::verify`]; nothing is ever waited for.
    pub fn vouched(&self, claims: &VouchedClaims) -> Result<Arc<Identity>, TokenError> {
        let named = |issuer: &&Issuer| *issuer.profile.name == *claims.issuer();
        let issuer = self.issuers.iter().find(named);
        let issuer = issuer.ok_or(TokenError::Invalid("unknown issuer"))?;
        let outcome = claims.read(self.token_bytes).and_then(|claims| {
            let url = claims.string("iss");
            let mut urls = issuer.profile.urls.iter();
            let url = urls
                .find(|known| Some(&***known) == url)
                .ok_or(TokenError::Invalid("issuer"))?;
            let now = self.clock.unix();
            issuer.profile.accept_vouched(&claims, url, now)
        });
        match &outcome {
            Ok(_) => issuer.metrics.vouched(),
            Err(error) => issuer.metrics.refused(*error),
        }
        outcome.map(Arc::new)
    }

    /// The workload of this name, which a proxy in front of us has read in a certificate and verified; none when it is no
    /// SPIFFE ID of a domain that is trusted.
    #[must_use]
    pub fn workload(&self, name: &str) -> Option<Arc<Identity>> {
        let now = self.clock.unix();
        let mut entries = self.workloads.iter();
        entries
            .find_map(|entry| entry.identify(name, now))
            .map(Arc::new)
    }

    /// Keeps all keys fresh until `stop`. Without it, keys from a URL never arrive.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut tasks = JoinSet::new();
        for store in &self.stores {
            tasks.spawn(Arc::clone(store).keep_fresh());
        }
        stop.await;
        tasks.shutdown().await;
    }

    /// The state of each issuer's keys, in configured order.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyStatus> {
        let status = |issuer: &Issuer| KeyStatus {
            issuer: Arc::clone(&issuer.profile.name),
            ready: issuer.keys.generation().is_some(),
            age: issuer.keys.age(),
            keys: issuer.keys.count(),
            last_error: issuer.keys.last_error(),
        };
        self.issuers.iter().map(status).collect()
    }

    /// What [`Issuers::run`] does each time it wakes up: fetches the keys whose time has come. For
    /// commands that ask once and end.
    pub async fn refresh(&self) {
        for store in &self.stores {
            store.refresh_if_due().await;
        }
    }

    /// How many tokens are remembered, and their bytes.
    #[cfg(test)]
    pub(crate) fn cached(&self) -> (u64, u64) {
        self.cache.size()
    }

    /// The size limit comes first: nothing longer is hashed or decoded.
    fn admit(&self, token: &str) -> Result<TokenDigest, TokenError> {
        if token.len() > self.token_bytes {
            self.strangers.refused(TokenError::TooLarge);
            return Err(TokenError::TooLarge);
        }
        Ok(cache::digest(token))
    }

    /// A token verified before, if it holds still and under the same keys.
    fn recall(&self, digest: &TokenDigest) -> Option<Arc<Identity>> {
        let cached = self.cache.get(digest)?;
        let issuer = self.issuers.get(cached.issuer)?;
        let same_keys = issuer.keys.generation() == Some(cached.generation);
        if !same_keys || !cached.holds(self.clock.unix()) {
            return None;
        }
        issuer.metrics.cached();
        Some(cached.identity)
    }

    fn take_apart<'a>(&self, token: &'a str) -> Result<Parts<'a>, TokenError> {
        Parts::decode(token).inspect_err(|&error| self.strangers.refused(error))
    }

    /// Reads the token and finds the one entry that it can belong to.
    fn address<'a>(
        &'a self,
        parts: &'a Parts<'_>,
        digest: TokenDigest,
    ) -> Result<Addressed<'a>, TokenError> {
        let addressed = Unverified::parse(parts).and_then(|token| {
            let (issuer, url) = self.choose(&token)?;
            Ok(Addressed {
                token,
                digest,
                issuer,
                url,
            })
        });
        addressed.inspect_err(|&error| self.strangers.refused(error))
    }

    /// The one entry that a token can belong to.
    pub(crate) fn choose(
        &self,
        token: &Unverified<'_>,
    ) -> Result<(&Issuer, &Arc<str>), TokenError> {
        let (url, mut entries) = self
            .candidates(token)
            .ok_or(TokenError::Invalid("unknown issuer"))?;
        if entries.len() > 1 {
            entries.retain(|issuer| issuer.profile.is_addressed(token));
        }
        match entries.as_slice() {
            [issuer] => Ok((issuer, url)),
            [] => Err(TokenError::Invalid("it fits no entry of its issuer")),
            _ => Err(TokenError::Invalid("it fits two entries of its issuer")),
        }
    }

    /// The entries of the issuer that a token names.
    pub(crate) fn candidates(&self, token: &Unverified<'_>) -> Option<(&Arc<str>, Vec<&Issuer>)> {
        let url = token.unverified_claim("iss").and_then(Json::as_str)?;
        let (url, entries) = self.by_url.get_key_value(url)?;
        let entries = entries.iter().filter_map(|&index| self.issuers.get(index));
        Some((url, entries.collect()))
    }

    pub(crate) fn token_bytes(&self) -> usize {
        self.token_bytes
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Judges the token with the key that was found, and counts the outcome.
    fn conclude(
        &self,
        addressed: Addressed<'_>,
        key: Result<Lookup, TokenError>,
    ) -> Result<Arc<Identity>, TokenError> {
        let metrics = &addressed.issuer.metrics;
        let outcome = key.and_then(|key| self.judge(addressed, key));
        match &outcome {
            Ok(_) => metrics.verified(),
            Err(error) => metrics.refused(*error),
        }
        outcome
    }

    /// Signature, claims, identity.
    fn judge(&self, addressed: Addressed<'_>, key: Lookup) -> Result<Arc<Identity>, TokenError> {
        let Addressed {
            token,
            digest,
            issuer,
            url,
        } = addressed;
        let (key, generation) = match key {
            Lookup::Found(key, generation) => (key, generation),
            Lookup::Unknown => return Err(TokenError::KeysRefreshing),
            Lookup::Unavailable => return Err(TokenError::KeysUnavailable),
        };
        let verified = token.verify(&key).inspect_err(|_| issuer.keys.suspect())?;
        let accepted = issuer.profile.accept(&verified, url, self.clock.unix())?;
        let identity = Arc::new(accepted.identity);
        let cached = CachedToken {
            identity: Arc::clone(&identity),
            issuer: issuer.index,
            generation,
            valid_from: accepted.valid_from,
        };
        self.cache.insert(digest, cached);
        Ok(identity)
    }
}

impl fmt::Debug for Issuers {
    /// Names alone: what is behind them includes people's claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.issuers.iter().map(|issuer| &issuer.profile.name))
            .finish()
    }
}

// === impl Addressed ===

impl Addressed<'_> {
    /// Looks the key up, once the header is known to be one that its issuer writes.
    fn find_key(&self) -> Result<Lookup, TokenError> {
        self.issuer.profile.check_header(&self.token)?;
        Ok(self.issuer.keys.find(&self.token.kid))
    }
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            token_bytes: 8 * 1024,
            cache_bytes: TokensConfig::default().cache_bytes.0,
            fetch_deadline: Duration::from_secs(3),
            clock: Clock::system(),
        }
    }
}

fn key_source(
    config: &IssuerConfig,
    base: &Path,
    options: &Options,
) -> Result<Source, (&'static str, String)> {
    match &config.jwks {
        None => Err((
            "jwks",
            "say where the issuer's keys are: `url` or `file`".into(),
        )),
        Some(Jwks::File(path)) => Ok(Source::File(base.join(path))),
        Some(Jwks::Url(url)) => {
            Source::url(url, options.fetch_deadline).map_err(|message| ("jwks.url", message))
        }
    }
}

//! Tokens already verified, so that a repeated one costs a hash and a look-up.

use std::sync::Arc;

use aws_lc_rs::digest;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::identity::Identity;

/// A bounded cache of verified tokens. The key is a hash of the whole token, signature included: a
/// token that differs in one bit is another token. Refusals are not kept.
pub(crate) struct TokenCache(Cache<TokenDigest, Arc<CachedToken>>);

/// The SHA-256 of a token.
pub(crate) type TokenDigest = [u8; 32];

/// What verification found, with all that must still hold when it is used again.
pub(crate) struct CachedToken {
    pub(crate) identity: Arc<Identity>,
    /// The issuer's place in the configuration.
    pub(crate) issuer: usize,
    /// The generation of that issuer's keys: under any other the token is verified anew.
    pub(crate) generation: u64,
    /// When the token begins to hold, should the wall clock be set back.
    pub(crate) valid_from: u64,
}

impl TokenCache {
    pub(crate) fn new(entries: u64) -> Self {
        // Not the default policy, which keeps what was used often: a token that has expired was used
        // often, and would keep out the one that replaces it.
        let policy = EvictionPolicy::lru();
        Self(
            Cache::builder()
                .max_capacity(entries)
                .eviction_policy(policy)
                .build(),
        )
    }

    pub(crate) fn get(&self, digest: &TokenDigest) -> Option<Arc<CachedToken>> {
        self.0.get(digest)
    }

    pub(crate) fn insert(&self, digest: TokenDigest, token: CachedToken) {
        self.0.insert(digest, Arc::new(token));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}

impl CachedToken {
    /// Whether the token still holds by the wall clock. Leeway is not for the cache: between `exp`
    /// and its end the token is verified each time.
    pub(crate) fn holds(&self, now: u64) -> bool {
        self.valid_from <= now && now < self.identity.expires_at
    }
}

pub(crate) fn digest(token: &str) -> TokenDigest {
    let mut bytes = TokenDigest::default();
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    for (byte, found) in bytes.iter_mut().zip(digest.as_ref()) {
        *byte = *found;
    }
    bytes
}

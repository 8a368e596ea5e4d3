//! Tokens already verified, so that a repeated one costs a hash and a look-up.

use std::mem::size_of;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use moka::Expiry;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::clock::Clock;
use crate::identity::Identity;
use crate::weight::block;

/// What an entry takes besides its token, in bytes: the blocks that `moka` makes for its key (48), its place in the table
/// (16, and some 32 of the table itself), in the order of use (32 and 48) and in that of expiry (48), and for what it
/// notes of it (64). Measured: 100,000 tokens that weigh 784 bytes each made the process 78 MB larger (`benches/README.md`,
/// `standing`).
const BOOKKEEPING: usize = 288;

/// What `moka` puts before a value.
const VALUE_HEAD: usize = 24;

/// A cache of verified tokens, bounded in bytes. The key is a hash of the whole token, signature included: a token that
/// differs in one bit is another token. Refusals are not kept.
#[derive(Clone)]
pub(crate) struct TokenCache(Cache<TokenDigest, CachedToken>);

/// The SHA-256 of a token.
pub(crate) type TokenDigest = [u8; 32];

/// What verification found, with all that must still hold when it is used again.
#[derive(Clone)]
pub(crate) struct CachedToken {
    pub(crate) identity: Arc<Identity>,
    /// The issuer's place in the configuration.
    pub(crate) issuer: usize,
    /// The generation of that issuer's keys: under any other the token is verified anew.
    pub(crate) generation: u64,
    /// When the token begins to hold, should the wall clock be set back.
    pub(crate) valid_from: u64,
}

/// An entry goes with its token. That is for the memory's sake alone: whether a token holds is asked each time.
struct Ending(Clock);

// === impl TokenCache ===

impl TokenCache {
    /// Keeps as many tokens as weigh `bytes` together; none where that is 0. For a moment there may be some hundred more,
    /// because `moka` puts things in order after every 64 of them.
    pub(crate) fn new(bytes: u64, clock: Clock) -> Self {
        // Not the default policy, which keeps what was used often: a token that was renewed was used
        // often, and would keep out the one that replaces it.
        let policy = EvictionPolicy::lru();
        Self(
            Cache::builder()
                .max_capacity(bytes)
                .weigher(|_, token: &CachedToken| token.weight())
                .eviction_policy(policy)
                .expire_after(Ending(clock))
                .build(),
        )
    }

    pub(crate) fn get(&self, digest: &TokenDigest) -> Option<CachedToken> {
        self.0.get(digest)
    }

    pub(crate) fn insert(&self, digest: TokenDigest, token: CachedToken) {
        self.0.insert(digest, token);
    }

    /// How many tokens are kept, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        // What has ended or is too much is still counted until then.
        self.0.run_pending_tasks();
        (self.0.entry_count(), self.0.weighted_size())
    }
}

// === impl CachedToken ===

impl CachedToken {
    /// Whether the token still holds by the wall clock. Leeway is not for the cache: between `exp`
    /// and its end the token is verified each time.
    pub(crate) fn holds(&self, now: u64) -> bool {
        self.valid_from <= now && now < self.identity.expires_at
    }

    /// The bytes that it takes. What weighs more than can be said weighs more than any cache holds.
    fn weight(&self) -> u32 {
        let bytes = BOOKKEEPING + block(VALUE_HEAD + size_of::<Self>()) + self.identity.weight();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

// === impl Ending ===

impl Ending {
    fn left(&self, token: &CachedToken) -> Duration {
        let left = token.identity.expires_at.saturating_sub(self.0.unix());
        Duration::from_secs(left)
    }
}

impl Expiry<TokenDigest, CachedToken> for Ending {
    fn expire_after_create(
        &self,
        _: &TokenDigest,
        token: &CachedToken,
        _: Instant,
    ) -> Option<Duration> {
        Some(self.left(token))
    }

    fn expire_after_update(
        &self,
        _: &TokenDigest,
        token: &CachedToken,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.left(token))
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

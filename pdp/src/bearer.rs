//! Who presents a token, in Cedar's terms. Nothing here knows what a token is: whoever does is asked.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use cedar_policy::{Entity, EntityUid};
use serde_json::{Map, Value};

use crate::snapshot::Snapshot;

/// Finds out who presents tokens. Clones ask the same.
#[derive(Clone)]
pub struct Bearers(Arc<dyn Fn(Tokens) -> Finding + Send + Sync>);

/// The tokens of one bearer, at least one of them.
pub struct Tokens {
    /// What says who the bearer is.
    pub identity: Option<String>,
    /// What the bearer may do.
    pub access: Option<String>,
}

/// Somebody whose tokens are good.
pub struct Bearer {
    /// Who that is.
    pub principal: EntityUid,
    /// The bearer, and whoever the bearer acts for, with what is known of them beside these policies.
    pub entities: Describe<Vec<Entity>>,
    /// What the tokens add to the context of a question about an action, in Cedar's JSON.
    ///
    /// # Errors
    /// Why the bearer may do nothing of the kind, whatever the policies say.
    pub context: Describe<Result<Map<String, Value>, String>, EntityUid>,
    /// When the first of the tokens ends.
    pub expires_at: Option<SystemTime>,
}

/// What a snapshot makes of a bearer.
pub type Describe<T, Of = ()> = Box<dyn Fn(&Snapshot, &Of) -> T + Send + Sync>;

/// Why nobody is proved. The texts are for the caller and say nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// The identity token proves nothing.
    Identity(&'static str),
    /// The access token proves nothing.
    Access(&'static str),
    /// It cannot be found out at the moment.
    Unavailable(&'static str),
}

type Finding = Pin<Box<dyn Future<Output = Result<Bearer, Unproven>> + Send>>;

/// The members of a context that come from tokens alone: nobody else may give them beside one.
pub(crate) const OF_TOKENS: [&str; 2] = ["token", "on_behalf_of"];

// === impl Bearers ===

impl Bearers {
    /// Has `find` asked.
    pub fn new(find: impl Fn(Tokens) -> Finding + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    /// Who presents these tokens.
    ///
    /// # Errors
    /// When they prove nobody, and when that cannot be found out.
    pub(crate) async fn find(&self, tokens: Tokens) -> Result<Bearer, Unproven> {
        (self.0)(tokens).await
    }
}

/// Nobody is asked, so nobody is proved.
impl Default for Bearers {
    fn default() -> Self {
        Self::new(|_| {
            let unknown = Unproven::Unavailable("no issuer is configured");
            Box::pin(std::future::ready(Err(unknown)))
        })
    }
}

impl fmt::Debug for Bearers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bearers").finish_non_exhaustive()
    }
}

// === impl Bearer ===

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

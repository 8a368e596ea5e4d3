//! Policy Decision Point: policies and entities in an immutable [`Snapshot`], the one `decide`, and
//! the APIs that ask for it.
//!
//! The decision is synchronous and does no IO; files are read, checked and watched beside it, and a
//! finished snapshot is swapped in whole. Only [`api`] knows wire formats.
//!
//! Policies are found by what a question's principal, action and resource are, through an index over
//! scopes, so that a decision costs what the policies that could match cost, however many there
//! are. The answer is that of Cedar's own authorizer, to the last error.
//!
//! Evaluation recurses with the height of a policy, which is bounded when it is loaded. Where the
//! calling thread has too little stack for the tallest policy, a bigger one is borrowed for the
//! call: correct, but slow. Give the runtime's worker threads 16 MiB ([`EVALUATION_STACK`]) and it
//! never happens.

mod answer;
pub mod api;
mod bearer;
mod cache;
mod canonical;
pub mod config;
mod context_shape;
pub mod decision_log;
mod engine;
mod entities;
mod json;
pub mod load;
mod metrics;
mod namespace;
mod one_line;
mod pace;
mod pdp;
mod policies;
mod question;
mod retired;
mod scan;
mod search;
mod slice;
mod snapshot;
mod stored_entity;
mod types;
mod uid;
mod value;
mod verify;
mod watch;

pub use crate::answer::{Answer, PolicyError, Revision, Source};
pub use crate::api::authzen::{Authzen, AuthzenConfig, SearchLimits};
pub use crate::bearer::{Bearer, Bearers, Describe, Tokens, Unproven};
pub use crate::config::{
    ApiLimits, AvpApiConfig, CacheConfig, EngineConfig, OnError, PoliciesConfig, PolicySource,
};
pub use crate::context_shape::{ContextKind, ContextMember, ContextShape};
pub use crate::engine::EVALUATION_STACK;
pub use crate::namespace::{NameError, Namespace};
pub use crate::pdp::{Health, Pdp, RefusedEntities, Reload};
pub use crate::question::{Consistency, Question};
pub use crate::snapshot::{Seen, Snapshot};
pub use crate::stored_entity::StoredEntity;
pub use cedar_policy::{
    Context, Decision, Effect, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression,
};

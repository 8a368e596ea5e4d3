//! Who is calling: tokens, keys, and the claims that they prove.
//!
//! [`Issuers::verify`] is the one way from a token to an [`Identity`]. It goes: size, structure,
//! issuer, header, key, signature, claims; each step can only end it. What cannot be known, because
//! the issuer's keys are not there, is never answered like what is known to be bad.
//!
//! [`Issuers::vouched`] and [`Issuers::workload`] do the same with what a proxy in front of us has verified: the claims of
//! a token, or the name in a certificate.
//!
//! [`Standing::check`] then asks whether its bearer is still welcome: the session, revocations and the
//! user's status. A [`Vigil`] goes on asking while something stays open.
//!
//! This crate knows neither HTTP routes nor Cedar.

mod cache;
mod claims;
mod clock;
pub mod config;
mod crypto;
mod directory;
mod error;
mod explain;
mod identity;
mod invalidation;
mod issuers;
mod jose;
mod json;
mod keys;
mod metrics;
mod profile;
mod redis;
mod session;
mod spiffe;
mod standing;
mod status;
mod trace;
mod vigil;
mod vouched;
mod weight;

pub use clock::Clock;
pub use crypto::{SelfTestError, install_crypto, self_test};
pub use directory::{CognitoConfig, DirectoryHealth};
pub use error::TokenError;
pub use explain::{Explanation, Finding, Stage, Step};
pub use identity::{ActingFor, Claim, Identity, SessionRef};
pub use issuers::{Issuers, KeyStatus, Options};
pub use redis::{RedisConfig, RedisHealth};
pub use standing::{Lapse, Standing, StandingHealth, UserRecord, Welcome};
pub use vigil::{BOUND, End, Vigil};
pub use vouched::VouchedClaims;

#[cfg(test)]
mod tests;

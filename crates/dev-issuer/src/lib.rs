//! A local issuer: fresh keys, a JWKS and signed tokens for development, tests and benches.
//!
//! It signs whatever it is given, hostile tokens included, and therefore has no place in production.

mod der;
mod draft;
mod jwk;
mod key;

pub use draft::{Draft, Shape};
pub use key::{Algorithm, Error, SigningKey};

use serde_json::{Value, json};

/// The JWK set (RFC 7517) that publishes the public halves of `keys`, in their order.
pub fn jwks(keys: &[&SigningKey]) -> Value {
    let keys: Vec<Value> = keys.iter().map(|key| key.public_jwk()).collect();
    json!({ "keys": keys })
}

#[cfg(test)]
mod tests;

//! Policy Administration Point: do policies, schema, entities, routes and issuers fit each other.
//!
//! Each part is checked by the crate that it belongs to. What is left are the mistakes that only show between two
//! parts: a route that asks about an action that the schema does not know is right by itself and denies every request.

pub mod check;

pub use check::{Findings, Parts, check};

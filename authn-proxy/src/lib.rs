//! Policy Enforcement Points: the gate that every request has to pass, and the reverse proxy behind it.
//!
//! A request becomes a [`Permit`] or a [`Rejection`]. Only [`decide`] makes permits, and forwarding takes one, so the
//! compiler proves that nothing reaches the upstream unasked. [`gate`] shows the order of the steps.

pub mod active;
pub mod body;
pub mod config;
pub mod context;
pub mod credentials;
pub mod decide;
pub mod ext_authz;
pub mod forwarded;
pub mod gate;
pub mod headers;
pub mod metrics;
pub mod path;
pub mod principal;
pub mod proxy;
pub mod rate_limit;
pub mod rejection;
pub mod request_log;
pub mod routes;
mod stay;
mod uid;
pub mod upstream;

#[cfg(test)]
mod fixture;

pub use decide::{Asked, Permit};
pub use gate::{Client, Gate};
pub use path::CanonicalPath;
pub use rejection::{Realm, Rejection};
pub use routes::RouteTable;

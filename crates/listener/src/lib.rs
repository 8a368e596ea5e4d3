//! A hardened HTTP listener: every port of the process uses it.
//!
//! hyper speaks HTTP; what it leaves open is closed here. A guard (`guard.rs`) reads each HTTP/1 head before hyper
//! does and refuses what two parsers could read in two ways; HTTP/2 frames that are of use to no request have a
//! budget (`flood.rs`); the entrance (`entrance.rs`) holds requests of both versions to the [`Limits`]; every wait
//! has one of the [`Timeouts`]; and a [`Drain`] ends it all without losing a request.
//!
//! Invariants: a service never sees a request whose head or framing is in doubt; a connection whose framing is
//! in doubt serves nothing more; nothing waits without a limit.

mod alarm;
mod authority;
mod bind;
mod body;
mod calm;
pub mod chunked;
mod config;
mod connection;
mod descriptors;
mod drain;
mod entrance;
mod fault;
mod flood;
mod frames;
mod guard;
pub mod head;
mod listener;
mod lots;
mod metrics;
pub mod requests;
mod serve;
mod sniff;
mod stall;
mod target;
#[cfg(test)]
mod tests;
mod ticket;
mod transport;
mod upgrade;

pub use body::{BodyError, RequestBody};
pub use config::{Limits, Timeouts};
pub use descriptors::fit_descriptors;
pub use drain::{Drain, DrainTrigger, drain};
pub use fault::Fault;
pub use listener::{Listener, Peer};
pub use metrics::Metrics;
pub use upgrade::{Switched, Upgrade};

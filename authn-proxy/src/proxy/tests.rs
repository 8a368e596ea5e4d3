//! The whole way: a real listener, a real gate, the proxy, and an upstream that speaks and records raw bytes.

mod bad_upstream;
mod bodies;
mod forwarding;
mod http2;
mod log;
mod refusals;
mod stage;
mod upgrades;

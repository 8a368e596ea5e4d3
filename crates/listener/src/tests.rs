//! Whole listeners over real sockets.

mod bodies;
mod framing;
mod http2;
mod lifetime;
mod support;
mod timeouts;

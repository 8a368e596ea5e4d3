//! The bodies that pass through, both ways
//!
//! Neither is ever collected: a piece is taken from one side when the other side asks for it, so a slow reader slows the
//! writer down and memory stays flat. Dropping a body ends the exchange on the other side too.

mod request;
mod response;
#[cfg(test)]
mod tests;

pub use request::{Upload, UpstreamBody};
pub(crate) use response::Relay;
pub use response::{ResponseBody, ResponseBodyError};

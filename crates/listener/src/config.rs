//! The `limits` and `timeouts` sections of the configuration.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use settings::{ByteSize, Span};

/// How much of everything a listener takes before it refuses. Each listener counts for itself.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections. Above it new ones wait in the kernel's queue until one closes. Lowered at the start, with
    /// a warning, where the process may not open that many files (`ulimit -n`; the soft limit is raised to the
    /// hard one).
    pub connections: usize,
    /// Requests being answered at one time. Above it a request is refused at once with 503 `overloaded`.
    pub in_flight: usize,
    /// Connections that have left HTTP for another protocol, such as WebSockets; each is one of `connections`, too. Above
    /// it a request for one more is refused with 503 `overloaded`, and so is one more than a quarter of them for one
    /// principal, or for one address where nobody has to be known. Lowered like `connections`.
    pub tunnels: usize,
    /// A request's head: request line and headers together. Above it 431 `headers_too_large`.
    pub header_bytes: ByteSize,
    /// Header lines in one request, at most 1000. Above it 431 `headers_too_large`.
    pub headers: usize,
    /// The request target, at most 65534 bytes. Above it 414 `uri_too_long`.
    pub uri_bytes: ByteSize,
    /// A request's body. Above it 413 `body_too_large`, or an aborted body when the length was not announced.
    pub body_bytes: ByteSize,
    /// Requests being answered at one time on one HTTP/2 connection; never more than a quarter of `in_flight`.
    pub h2_streams: u32,
}

/// How long each phase of a connection may take.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// From the first byte of a request's head to its last (then 408), and from a connection's opening to its
    /// first byte (then it is closed).
    pub header: Span,
    /// How long a connection may stay open with no request on it.
    pub idle: Span,
    /// Between two reads of a request's body. A body that took longer than this in all must also have arrived
    /// at 256 bytes a second or more; time during which nobody asked for more of it does not count.
    pub body: Span,
    /// How long a response may wait for a peer that takes no bytes of it. Over HTTP/2, a tenth of it while
    /// `limits.in_flight` is reached.
    pub write: Span,
    /// How long requests in flight may take to finish once the process was told to stop.
    pub drain: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            in_flight: 1024,
            tunnels: 1000,
            header_bytes: ByteSize(64 * 1024),
            headers: 100,
            uri_bytes: ByteSize(8 * 1024),
            body_bytes: ByteSize(10 * 1024 * 1024),
            h2_streams: 100,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Span(Duration::from_secs(10)),
            idle: Span(Duration::from_secs(60)),
            body: Span(Duration::from_secs(30)),
            write: Span(Duration::from_secs(30)),
            drain: Span(Duration::from_secs(30)),
        }
    }
}

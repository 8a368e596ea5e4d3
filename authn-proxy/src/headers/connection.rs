//! The `Connection` header and what it asks of this hop

use http::header::{CONNECTION, TE};
use http::{HeaderMap, HeaderName};

use super::ReservedNames;

/// Most connection options read from one message.
const MAX_OPTIONS: usize = 32;

/// Options that name nothing but the connection itself; anything else that names a header we rely on is an attempt to
/// have it removed.
const PLAIN: &[&str] = &[
    "close",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// Headers that a client may not have removed by nominating them, besides the reserved ones. Removing any of them would
/// change what the request means to the upstream compared with what was decided.
const PROTECTED: &[&str] = &[
    "authorization",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "range",
    "set-cookie",
    "sec-fetch-*",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "via",
];

/// What the `Connection` and `TE` lines of a message say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// Headers that the sender says end at this hop.
    pub nominated: Vec<HeaderName>,
    /// Whether the sender takes trailers (`TE: trailers`).
    pub trailers: bool,
}

/// What is wrong with a `Connection` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionFault {
    /// An option is not a token.
    #[error("a connection option is not a token")]
    NotAToken,
    /// More options than any client needs.
    #[error("more than {MAX_OPTIONS} connection options")]
    TooMany,
    /// An option names a header that must reach the upstream, or that is ours to set.
    #[error("a connection option names a protected header")]
    Protected,
}

/// Reads and judges `Connection` headers.
#[derive(Debug)]
pub(super) struct ConnectionRules {
    plain: ReservedNames,
    protected: ReservedNames,
}

// === impl ConnectionRules ===

impl Default for ConnectionRules {
    fn default() -> Self {
        ConnectionRules {
            plain: ReservedNames::fixed(&[PLAIN]),
            protected: ReservedNames::fixed(&[PROTECTED]),
        }
    }
}

impl ConnectionRules {
    /// What a request says of its connection. A nomination of a protected or reserved header is refused rather than
    /// ignored: no honest client sends one.
    pub(super) fn request(
        &self,
        headers: &HeaderMap,
        reserved: &ReservedNames,
    ) -> Result<ConnectionOptions, ConnectionFault> {
        let mut options = ConnectionOptions {
            trailers: accepts_trailers(headers),
            ..ConnectionOptions::default()
        };
        let mut count = 0;
        for line in headers.get_all(CONNECTION) {
            let line = line.to_str().map_err(|_| ConnectionFault::NotAToken)?;
            for option in elements(line) {
                count += 1;
                if count > MAX_OPTIONS {
                    return Err(ConnectionFault::TooMany);
                }
                let name = HeaderName::from_bytes(option.as_bytes())
                    .map_err(|_| ConnectionFault::NotAToken)?;
                if self.plain.contains(name.as_str()) {
                    continue;
                }
                if self.protected.contains(name.as_str()) || reserved.contains(name.as_str()) {
                    return Err(ConnectionFault::Protected);
                }
                options.nominated.push(name);
            }
        }
        Ok(options)
    }

    /// The headers that a response says end at this hop. What is protected is kept, since the upstream is answered for
    /// by its owner and not worth a refusal.
    pub(super) fn response(&self, headers: &HeaderMap) -> Vec<HeaderName> {
        headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(elements)
            .take(MAX_OPTIONS)
            .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
            .filter(|name| {
                !self.plain.contains(name.as_str()) && !self.protected.contains(name.as_str())
            })
            .collect()
    }
}

/// The elements of a comma-separated list; empty ones are no elements.
pub(crate) fn elements(line: &str) -> impl Iterator<Item = &str> {
    line.split(',')
        .map(|element| element.trim_matches([' ', '\t']))
        .filter(|element| !element.is_empty())
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(elements)
        .any(|coding| coding.eq_ignore_ascii_case("trailers"))
}

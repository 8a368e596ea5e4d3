//! Which headers pass in which direction, and which are set here
//!
//! What a client sends is stripped *before* anything is added, so no `Connection` option and no spelling of a name can
//! remove or forge what the upstream is told. Names are compared by canonical form ([`ReservedNames`]); the lists in
//! [`reserved`] say what is never passed on, and `upstream.strip_headers` extends them.

mod caller;
mod connection;
pub mod reserved;
#[cfg(test)]
mod tests;

use http::header::{AUTHORIZATION, CONNECTION, COOKIE, TE, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue};

pub use caller::{REQUEST_ID, set_identity};
use connection::ConnectionRules;
pub(crate) use connection::elements;
pub use connection::{ConnectionFault, ConnectionOptions};
pub use reserved::{PatternError, ReservedNames, check_pattern};

use crate::config::{Protocol, UpstreamConfig};

/// What the headers and trailers of both directions are measured by. Made once, read by every request.
#[derive(Debug)]
pub struct HeaderRules {
    /// Everything a client may not send through.
    request: ReservedNames,
    /// Everything an upstream may not send back.
    response: ReservedNames,
    /// Fields that mean nothing, or too much, after a body.
    trailers: ReservedNames,
    connection: ConnectionRules,
    forward_token: bool,
    protocol: Protocol,
}

/// Response headers that end at this hop. `Alt-Svc` would invite the client to go around the gate.
const RESPONSE_ONLY: &[&str] = &[
    "alt-svc",
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Fields for framing, routing, authentication, request modification, response control and content handling are not
/// allowed in trailers (RFC 9110 section 6.5.1): a recipient that merges trailers into the headers would act on them.
const NO_TRAILERS: &[&str] = &[
    "age",
    "alt-svc",
    "authorization",
    "cache-control",
    "clear-site-data",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "cookie",
    "date",
    "expires",
    "if-*",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "vary",
    "via",
    "warning",
    "www-authenticate",
];

// === impl HeaderRules ===

impl HeaderRules {
    /// The rules for an upstream; fails with the index of the first of `upstream.strip_headers` that is no header name
    /// or beginning of one.
    pub fn new(config: &UpstreamConfig) -> Result<Self, (usize, PatternError)> {
        let passing = ReservedNames::fixed(&[
            reserved::IDENTITY,
            reserved::PROVENANCE,
            reserved::OVERRIDES,
            reserved::CONNECTION,
        ]);
        let returning = ReservedNames::fixed(&[reserved::IDENTITY, RESPONSE_ONLY]);
        Ok(HeaderRules {
            request: passing.with(&config.strip_headers)?,
            response: returning.with(&config.strip_headers)?,
            trailers: ReservedNames::fixed(&[NO_TRAILERS]),
            connection: ConnectionRules::default(),
            forward_token: config.forward_token,
            protocol: config.protocol,
        })
    }

    /// What a request says of its connection, or why it is refused.
    pub fn connection(&self, headers: &HeaderMap) -> Result<ConnectionOptions, ConnectionFault> {
        self.connection.request(headers, &self.request)
    }

    /// Removes from a request everything that may not pass. What the next hop needs of it (host, framing, identity,
    /// provenance) is set afterwards.
    pub fn strip_request(&self, headers: &mut HeaderMap, options: &ConnectionOptions) {
        remove(headers, |name| {
            self.request.contains(name.as_str())
                || (*name == AUTHORIZATION && !self.forward_token)
                || options.nominated.contains(name)
        });
        self.announce_trailers(headers, &self.request);
        if self.protocol == Protocol::Http1 {
            join_cookies(headers);
        }
        if options.trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            // On HTTP/1.1 `TE` is itself hop-by-hop and has to be nominated (RFC 9110 section 10.1.4).
            if self.protocol == Protocol::Http1 {
                headers.insert(CONNECTION, HeaderValue::from_static("te"));
            }
        }
    }

    /// Removes from a response everything that may not come back.
    pub fn strip_response(&self, headers: &mut HeaderMap) {
        let nominated = if headers.contains_key(CONNECTION) {
            self.connection.response(headers)
        } else {
            Vec::new()
        };
        remove(headers, |name| {
            self.response.contains(name.as_str()) || nominated.contains(name)
        });
        self.announce_trailers(headers, &self.response);
    }

    /// Removes from a request's trailers everything that its headers could not have carried either, and more.
    pub fn strip_request_trailers(&self, trailers: &mut HeaderMap) {
        remove(trailers, |name| self.bars_trailer(name, &self.request));
    }

    /// Removes from a response's trailers everything that its headers could not have carried either, and more.
    pub fn strip_response_trailers(&self, trailers: &mut HeaderMap) {
        remove(trailers, |name| self.bars_trailer(name, &self.response));
    }

    fn bars_trailer(&self, name: &HeaderName, reserved: &ReservedNames) -> bool {
        reserved.contains(name.as_str()) || self.trailers.contains(name.as_str())
    }

    /// Leaves in `Trailer` only the fields that will be let through: on HTTP/1.1 it decides which ones are written.
    fn announce_trailers(&self, headers: &mut HeaderMap, reserved: &ReservedNames) {
        if !headers.contains_key(TRAILER) {
            return;
        }
        let mut announced = String::new();
        for line in headers.get_all(TRAILER) {
            for element in connection::elements(line.to_str().unwrap_or_default()) {
                let Ok(name) = HeaderName::from_bytes(element.as_bytes()) else {
                    continue;
                };
                if !self.bars_trailer(&name, reserved) {
                    if !announced.is_empty() {
                        announced.push_str(", ");
                    }
                    announced.push_str(name.as_str());
                }
            }
        }
        headers.remove(TRAILER);
        if let Ok(value) = HeaderValue::try_from(announced)
            && !value.is_empty()
        {
            headers.insert(TRAILER, value);
        }
    }
}

/// HTTP/2 clients may send a cookie in crumbs; HTTP/1.1 knows one line only (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut cookie = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        cookie.extend_from_slice(b"; ");
        cookie.extend_from_slice(crumb.as_bytes());
    }
    // Header values joined by what may stand in one are a header value.
    if let Ok(cookie) = HeaderValue::from_maybe_shared(bytes::Bytes::from(cookie)) {
        headers.insert(COOKIE, cookie);
    }
}

/// Removes every header, with all its lines, that `unwanted` names.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| unwanted(name))
        .cloned()
        .collect();
    for name in &names {
        headers.remove(name);
    }
}

//! `X-Forwarded-*` and `Via`: what is believed, and what is said
//!
//! The client is the peer of the connection, unless the peer is one of `forwarded.trusted_peers`. Then
//! `X-Forwarded-For` is read from the right, past every further trusted hop, and the first address that is not trusted
//! is the client. What stands left of it is that client's own claim and goes no further. `Forwarded` (RFC 7239) is not
//! read and never passed on: two headers that may disagree are one too many.

#[cfg(test)]
mod tests;
mod via;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use listener::Peer;

pub use via::Pseudonym;

use crate::config::ForwardedConfig;

/// Most trusted hops followed in `X-Forwarded-For`. A longer way back is taken for no way at all.
const MAX_HOPS: usize = 32;

/// Longest host believed in `X-Forwarded-Host`, in bytes: a DNS name and a port.
const MAX_HOST: usize = 261;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The networks whose word about the client is believed.
#[derive(Debug, Clone)]
pub struct TrustedPeers(Vec<IpNet>);

/// Where a request came from, as far as it is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address; none when the connection is a Unix socket.
    pub client: Option<IpAddr>,
    /// The way here: the client first, then each hop, the peer of the connection last.
    hops: Vec<IpAddr>,
    /// What a trusted peer says the client spoke.
    scheme: Option<&'static str>,
    /// What a trusted peer says the client asked for.
    host: Option<HeaderValue>,
}

// === impl TrustedPeers ===

impl TrustedPeers {
    /// The networks that the configuration names.
    pub fn new(config: &ForwardedConfig) -> Self {
        TrustedPeers(config.trusted_peers.clone())
    }

    /// Where a request from `peer` with these headers came from.
    pub fn origin(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Origin {
        let Some(peer) = peer.map(|peer| peer.to_canonical()) else {
            return Origin::direct(None);
        };
        if !self.contains(peer) {
            return Origin::direct(Some(peer));
        }
        let Some(mut hops) = self.way_back(headers) else {
            return Origin::direct(Some(peer));
        };
        let client = hops.last().copied().unwrap_or(peer);
        hops.reverse();
        hops.push(peer);
        Origin {
            client: Some(client),
            hops,
            scheme: believed_scheme(headers),
            host: believed_host(headers),
        }
    }

    /// Whether another proxy at `peer` is believed in what it tells of a client outright, rather than in a header: over
    /// a Unix socket, from this machine, and from a network that is trusted.
    pub(crate) fn vouches(&self, peer: &Peer) -> bool {
        peer.address.is_none_or(|peer| {
            let peer = peer.to_canonical();
            peer.is_loopback() || self.contains(peer)
        })
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The addresses of `X-Forwarded-For` from the nearest hop to the client; none when one of them cannot be read. Only
    /// entries that a trusted hop has written are looked at, so what a client wrote before them cannot spoil the rest.
    fn way_back(&self, headers: &HeaderMap) -> Option<Vec<IpAddr>> {
        let mut hops = Vec::new();
        for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
            for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
                let address = address(entry)?;
                if hops.len() == MAX_HOPS {
                    return None;
                }
                hops.push(address);
                if !self.contains(address) {
                    return Some(hops);
                }
            }
        }
        Some(hops)
    }
}

// === impl Origin ===

impl Origin {
    /// A request that no trusted peer speaks for.
    fn direct(peer: Option<IpAddr>) -> Self {
        Origin {
            client: peer,
            hops: peer.into_iter().collect(),
            scheme: None,
            host: None,
        }
    }

    /// The host that the client asked for: what a trusted peer says, else what the request itself does.
    pub fn host(&self, requested: Option<HeaderValue>) -> Option<HeaderValue> {
        self.host.clone().or(requested)
    }

    /// Tells the upstream: `X-Forwarded-For` with the whole known way, `-Proto`, and `-Host` with what the client asked
    /// for (`requested`, unless a trusted peer says otherwise). The client's own copies must be gone.
    pub fn describe(&self, requested: Option<HeaderValue>, headers: &mut HeaderMap) {
        let mut way = String::with_capacity(self.hops.len().saturating_mul(16));
        for hop in &self.hops {
            if !way.is_empty() {
                way.push_str(", ");
            }
            // Writing to a string does not fail.
            let _ = write!(way, "{hop}");
        }
        if !way.is_empty()
            && let Ok(way) = HeaderValue::try_from(way)
        {
            headers.insert(X_FORWARDED_FOR, way);
        }
        headers.insert(
            X_FORWARDED_PROTO,
            HeaderValue::from_static(self.scheme.unwrap_or("http")),
        );
        if let Some(host) = self.host(requested) {
            headers.insert(X_FORWARDED_HOST, host);
        }
    }
}

/// An entry of `X-Forwarded-For`: an address, with a port or without.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let address = match entry.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => match entry.parse::<SocketAddr>() {
            Ok(socket) => socket.ip(),
            Err(_) => entry
                .strip_prefix('[')?
                .strip_suffix(']')?
                .parse::<IpAddr>()
                .ok()?,
        },
    };
    Some(address.to_canonical())
}

fn believed_scheme(headers: &HeaderMap) -> Option<&'static str> {
    match only(headers, &X_FORWARDED_PROTO)?.as_bytes() {
        b"http" => Some("http"),
        b"https" => Some("https"),
        _ => None,
    }
}

fn believed_host(headers: &HeaderMap) -> Option<HeaderValue> {
    let host = only(headers, &X_FORWARDED_HOST)?;
    let text = host.to_str().ok()?;
    (text.len() <= MAX_HOST && !text.contains('@') && text.parse::<Authority>().is_ok())
        .then(|| host.clone())
}

/// The header's value when there is exactly one line of it.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

//! `Via`: the mark of this process on every message, and the proof that a request has not been here before

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};

/// Most proxies a request may have passed before it is taken for a loop.
const MAX_HOPS: usize = 32;

/// The name of this process in `Via` (RFC 9110 section 7.6.3), as the protocol lets a proxy that hides its host choose.
/// It is drawn at random for each process, so that a chain of two instances is not taken for a loop.
#[derive(Debug, Clone)]
pub struct Pseudonym {
    name: String,
    http1: HeaderValue,
    http2: HeaderValue,
    http10: HeaderValue,
}

// === impl Pseudonym ===

impl Pseudonym {
    /// The pseudonym of the process with this random number.
    pub fn new(random: u64) -> Self {
        let name = format!("portcullis-{random:016x}");
        let received = |version: &str| {
            HeaderValue::try_from(format!("{version} {name}"))
                .unwrap_or_else(|_| HeaderValue::from_static("1.1 portcullis"))
        };
        Pseudonym {
            http1: received("1.1"),
            http2: received("2.0"),
            http10: received("1.0"),
            name,
        }
    }

    /// Whether the message has passed this process already, or more proxies than any sensible chain has.
    pub fn has_seen(&self, headers: &HeaderMap) -> bool {
        let mut hops = 0_usize;
        for line in headers.get_all(VIA) {
            for hop in line.as_bytes().split(|byte| *byte == b',') {
                hops += 1;
                let mine = hop
                    .split(|byte| *byte == b' ' || *byte == b'\t')
                    .filter(|word| !word.is_empty())
                    .nth(1)
                    .is_some_and(|by| by.eq_ignore_ascii_case(self.name.as_bytes()));
                if mine || hops > MAX_HOPS {
                    return true;
                }
            }
        }
        false
    }

    /// Adds this process to the way of a message that was received with `version`.
    pub fn sign(&self, version: Version, headers: &mut HeaderMap) {
        let value = match version {
            Version::HTTP_2 => &self.http2,
            Version::HTTP_10 => &self.http10,
            _ => &self.http1,
        };
        headers.append(VIA, value.clone());
    }
}

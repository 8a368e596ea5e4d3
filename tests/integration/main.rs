//! The real binary against a real upstream, mostly in raw bytes. Every refusal asserts that the upstream saw nothing.

#![expect(clippy::string_slice, reason = "the texts are ASCII, and a test may stop at a surprise")]

// `cfg(test)` tells the lints that all of this is test code, which may stop at the first surprise.
#[cfg(test)]
mod harness;

#[cfg(test)]
mod authzen;
#[cfg(test)]
mod authzen_scenarios;
#[cfg(test)]
mod avp;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod callers;
#[cfg(test)]
mod chart;
#[cfg(test)]
mod claims;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod decision_cache;
#[cfg(test)]
mod descriptors;
#[cfg(test)]
mod dev;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod ext_authz;
#[cfg(test)]
mod ext_authz_failures;
#[cfg(test)]
mod ext_authz_trust;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod framing;
#[cfg(test)]
mod fuzz_smoke;
#[cfg(test)]
mod headers;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod key_sets;
#[cfg(test)]
mod native_api;
#[cfg(test)]
mod no_bypass;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod rate_limits;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod signatures;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod token_kinds;
#[cfg(test)]
mod token_structure;
#[cfg(test)]
mod upstream_faults;
#[cfg(test)]
mod user_status;
#[cfg(test)]
mod websockets;

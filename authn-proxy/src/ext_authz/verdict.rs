//! What Envoy is told to do.

use http::HeaderMap;

use crate::decide::Permit;
use crate::headers::{REQUEST_ID, ReservedNames, set_identity};
use crate::request_log::RequestId;

/// A request that passes, and what is to be done to its headers first.
pub(super) struct Passed<'a> {
    pub(super) permit: Permit,
    /// To be set, in place of whatever is there.
    pub(super) set: HeaderMap,
    /// To be removed. None of those that are set, because Envoy removes last.
    pub(super) remove: Vec<&'a str>,
}

/// The headers that say who is calling. Those that are not set are removed, whether or not Envoy told of them.
const OWN: [&str; 6] = [
    "x-portcullis-assertion",
    "x-portcullis-on-behalf-of",
    "x-portcullis-principal",
    "x-portcullis-roles",
    "x-portcullis-scopes",
    "x-portcullis-user",
];

/// Envoy sets it itself, by its own `forward_client_cert_details`.
const ENVOYS: &str = "x-forwarded-client-cert";

impl<'a> Passed<'a> {
    pub(super) fn new(
        permit: Permit,
        received: Option<&'a HeaderMap>,
        reserved: &ReservedNames,
        id: &RequestId,
    ) -> Self {
        let mut set = HeaderMap::new();
        set.insert(REQUEST_ID, id.to_header());
        if let (Some(user), Some(principal)) = (permit.user(), permit.principal()) {
            set_identity(&mut set, user.identity(), principal);
        }
        let own = OWN.into_iter();
        let received = received.into_iter().flat_map(HeaderMap::keys);
        let spelled = received
            .map(http::HeaderName::as_str)
            .filter(|name| reserved.contains(name) && *name != ENVOYS && !OWN.contains(name));
        // What is set is a handful: to look through it is less work than to look a name up.
        let is_set = |name: &str| set.keys().any(|set| set == name);
        let remove = own.chain(spelled).filter(|name| !is_set(name)).collect();
        Self {
            permit,
            set,
            remove,
        }
    }
}

//! What the upstream is told about the caller
//!
//! Each header has exactly one value or is absent. A value that holds anything but printable ASCII, or `%` or `,`, has
//! those bytes percent-encoded (UTF-8, RFC 3986 section 2.1), so lists can be split at commas and every value decoded
//! the same way.

use std::fmt::Display;

use http::{HeaderMap, HeaderName, HeaderValue};
use identity::Identity;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The name of the request, in requests to the upstream and in every response.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-portcullis-request-id");

/// The id of the caller's Cedar entity, as in the configured claim.
const USER: HeaderName = HeaderName::from_static("x-portcullis-user");

/// The caller's Cedar entity, such as `Fortress::User::"alice"`.
const PRINCIPAL: HeaderName = HeaderName::from_static("x-portcullis-principal");

/// The caller's groups or roles, joined by commas. Absent when there are none.
const ROLES: HeaderName = HeaderName::from_static("x-portcullis-roles");

/// The token's scopes, joined by spaces as in OAuth 2.0. Absent when there are none.
const SCOPES: HeaderName = HeaderName::from_static("x-portcullis-scopes");

/// Bytes that are written as `%XX`.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b',');

/// Sets the headers that say who is calling. Whatever a client sent under these names must be gone.
pub fn set_identity(headers: &mut HeaderMap, identity: &Identity, principal: &impl Display) {
    set(headers, USER, encode(&identity.principal_id));
    set(headers, PRINCIPAL, encode(&principal.to_string()));
    set(headers, ROLES, join(&identity.groups, ","));
    set(headers, SCOPES, join(&identity.scopes, " "));
}

/// The values encoded and joined; empty when there are none.
fn join(values: &[String], separator: &str) -> String {
    let encoded: Vec<String> = values.iter().map(|value| encode(value)).collect();
    encoded.join(separator)
}

fn encode(value: &str) -> String {
    utf8_percent_encode(value, ENCODED).to_string()
}

/// An empty value says nothing that an absent header does not.
fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if value.is_empty() {
        return;
    }
    // Nothing but printable ASCII is left, so this cannot fail; if it did, absent would be the safe reading.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

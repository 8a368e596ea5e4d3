//! What the upstream is told about the caller
//!
//! Each header has exactly one value or is absent. A value that holds anything but printable ASCII, or `%` or `,`, has
//! those bytes percent-encoded (UTF-8, RFC 3986 section 2.1), so lists can be split at commas and every value decoded
//! the same way.

use std::fmt::{self, Display, Write as _};

use bytes::BytesMut;
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

/// The id of the user that the caller, a service, acts for. Absent when it acts for nobody.
const ON_BEHALF_OF: HeaderName = HeaderName::from_static("x-portcullis-on-behalf-of");

/// Bytes that are written as `%XX`.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b',');

/// Room for all the values of most callers.
const TYPICAL_BYTES: usize = 256;

/// Writes text into memory, encoded.
struct Encoded<'a>(&'a mut BytesMut);

/// Sets the headers that say who is calling. Whatever a client sent under these names must be gone.
pub fn set_identity(headers: &mut HeaderMap, identity: &Identity, principal: &impl Display) {
    // One allocation, of which every value is a part.
    let memory = &mut BytesMut::with_capacity(TYPICAL_BYTES);
    set(headers, USER, memory, [&identity.principal_id], "");
    set(headers, PRINCIPAL, memory, [principal], "");
    set(headers, ROLES, memory, &identity.groups, ",");
    set(headers, SCOPES, memory, &identity.scopes, " ");
    let user = identity.on_behalf_of.as_ref();
    let user = user.map(|user| &user.principal_id);
    set(headers, ON_BEHALF_OF, memory, user, "");
}

/// Sets a header to these values, encoded and joined in `memory`. An empty one would say nothing that an absent one does
/// not.
fn set<T: Display>(
    headers: &mut HeaderMap,
    name: HeaderName,
    memory: &mut BytesMut,
    values: impl IntoIterator<Item = T>,
    separator: &str,
) {
    let mut written = Ok(());
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            memory.extend_from_slice(separator.as_bytes());
        }
        written = written.and_then(|()| write!(Encoded(memory), "{value}"));
    }
    let text = memory.split().freeze();
    // Memory takes everything, and nothing but printable ASCII is left of it, so neither can fail; if one did, absent
    // would be the safe reading.
    if written.is_ok()
        && !text.is_empty()
        && let Ok(value) = HeaderValue::from_maybe_shared(text)
    {
        headers.insert(name, value);
    }
}

// === impl Encoded ===

impl fmt::Write for Encoded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in utf8_percent_encode(text, ENCODED) {
            self.0.extend_from_slice(part.as_bytes());
        }
        Ok(())
    }
}

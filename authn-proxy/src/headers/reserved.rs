//! Which header names a client may not send through to the upstream

use std::fmt;

use http::HeaderName;

/// Longest name that can be reserved, in bytes.
pub const MAX_NAME: usize = 128;

/// A set of header names compared by canonical form: lower case, with every character that is neither a letter nor a
/// digit read as `-`.
///
/// Gateways that hand headers over as environment variables (CGI, WSGI, Rack and their like) read `X_User.Id` and
/// `x-user-id` as the same name, so a set that compared bytes would let the first one pass for the second.
pub struct ReservedNames {
    /// Sorted canonical names.
    exact: Vec<Box<[u8]>>,
    /// Canonical beginnings of names.
    prefixes: Vec<Box<[u8]>>,
    /// Per first byte the lengths (as bits) that some exact name has: most headers of a request are ruled out by this.
    lengths: Box<[u128; 256]>,
    /// Per first byte whether some prefix begins with it.
    prefixed: Box<[bool; 256]>,
}

/// A pattern that cannot be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a header name, or a `*` anywhere but at the end.
    #[error("must be a header name, or the beginning of one followed by `*`")]
    NotAName,
    /// Longer than [`MAX_NAME`].
    #[error("must be at most {MAX_NAME} bytes long")]
    TooLong,
}

/// Identity headers that Portcullis itself sets; no one else may.
pub const OWN_PREFIX: &str = "x-portcullis-*";

/// Headers by which proxies and applications commonly hand over who the caller is. An upstream may believe any of
/// them, so none passes, in either direction.
pub const IDENTITY: &[&str] = &[
    OWN_PREFIX,
    "cf-access-*",
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-user",
    "ssl-client-*",
    "x-amzn-oidc-*",
    "x-anonymous-consumer",
    "x-auth-email",
    "x-auth-groups",
    "x-auth-request-*",
    "x-auth-roles",
    "x-auth-user",
    "x-auth-user-id",
    "x-auth-username",
    "x-authenticated-*",
    "x-authentik-*",
    "x-client-cert",
    "x-client-dn",
    "x-client-verify",
    "x-consumer-*",
    "x-credential-identifier",
    "x-email",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-user",
    "x-goog-authenticated-user-*",
    "x-goog-iap-jwt-assertion",
    "x-groups",
    "x-id-token",
    "x-jwt-assertion",
    "x-jwt-claim-*",
    "x-jwt-payload",
    "x-login",
    "x-ms-client-principal",
    "x-ms-client-principal-*",
    "x-ms-token-aad-*",
    "x-on-behalf-of",
    "x-pomerium-*",
    "x-principal",
    "x-remote-*",
    "x-role",
    "x-roles",
    "x-scopes",
    "x-ssl-client-*",
    "x-subject",
    "x-user",
    "x-user-email",
    "x-user-groups",
    "x-user-id",
    "x-user-name",
    "x-user-role",
    "x-user-roles",
    "x-user-scopes",
    "x-userid",
    "x-userinfo",
    "x-username",
    "x-vouch-*",
    "x-webauth-*",
];

/// Headers that tell an upstream where a request came from or what it was before a proxy changed it. From a client they
/// are hearsay; what we know is set anew.
pub const PROVENANCE: &[&str] = &[
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "forwarded-for",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-original-path",
    "x-forwarded",
    "x-forwarded-*",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-originating-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-rewrite-url",
];

/// Headers that make some frameworks treat a request as another one than was decided (method overrides), or that reach
/// a program's environment as a proxy setting.
pub const OVERRIDES: &[&str] = &[
    "proxy",
    "x-http-method",
    "x-http-method-override",
    "x-method",
    "x-method-override",
];

/// Headers that belong to one connection or to the framing of one message; what the next hop needs is set anew.
pub const CONNECTION: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

// === impl ReservedNames ===

impl ReservedNames {
    /// The set of the patterns that this crate names: names, or beginnings of names followed by `*`.
    pub fn fixed(lists: &[&[&'static str]]) -> Self {
        let mut names = ReservedNames {
            exact: Vec::new(),
            prefixes: Vec::new(),
            lengths: Box::new([0; 256]),
            prefixed: Box::new([false; 256]),
        };
        for pattern in lists.iter().copied().flatten() {
            names.insert(pattern);
        }
        names.exact.sort_unstable();
        names
    }

    /// The set with the operator's patterns added. Fails with the index of the first one that is no pattern.
    pub fn with(mut self, patterns: &[String]) -> Result<Self, (usize, PatternError)> {
        for (index, pattern) in patterns.iter().enumerate() {
            check_pattern(pattern).map_err(|error| (index, error))?;
            self.insert(pattern);
        }
        self.exact.sort_unstable();
        Ok(self)
    }

    /// Whether the canonical form of `name` is in the set.
    pub fn contains(&self, name: &str) -> bool {
        let Some(first) = name.bytes().next().map(|byte| usize::from(canonical(byte))) else {
            return false;
        };
        let exact = self
            .lengths
            .get(first)
            .is_some_and(|lengths| lengths & length_bit(name.len()) != 0);
        let prefixed = self.prefixed.get(first).is_some_and(|prefixed| *prefixed);
        if !exact && !prefixed {
            return false;
        }
        let mut buffer = [0; MAX_NAME];
        for (to, from) in buffer.iter_mut().zip(name.bytes()) {
            *to = canonical(from);
        }
        // A name longer than the buffer is cut: it can still begin with a prefix but equals no exact name, whose length
        // bit it lacks.
        let form = buffer.get(..name.len()).unwrap_or(&buffer);
        (exact
            && self
                .exact
                .binary_search_by(|entry| entry.as_ref().cmp(form))
                .is_ok())
            || (prefixed
                && self
                    .prefixes
                    .iter()
                    .any(|prefix| form.starts_with(prefix.as_ref())))
    }

    fn insert(&mut self, pattern: &str) {
        let stem = pattern.strip_suffix('*').unwrap_or(pattern);
        let form: Box<[u8]> = stem.bytes().map(canonical).collect();
        let first = form.first().copied().map_or(0, usize::from);
        if stem.len() == pattern.len() {
            if let Some(lengths) = self.lengths.get_mut(first) {
                *lengths |= length_bit(form.len());
            }
            self.exact.push(form);
        } else {
            if let Some(prefixed) = self.prefixed.get_mut(first) {
                *prefixed = true;
            }
            self.prefixes.push(form);
        }
    }
}

impl fmt::Debug for ReservedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReservedNames")
            .field("exact", &self.exact.len())
            .field("prefixes", &self.prefixes.len())
            .finish()
    }
}

/// Whether an operator's pattern can be reserved: a header name, or the beginning of one followed by `*`.
pub fn check_pattern(pattern: &str) -> Result<(), PatternError> {
    let stem = pattern.strip_suffix('*').unwrap_or(pattern);
    if stem.len() > MAX_NAME {
        return Err(PatternError::TooLong);
    }
    if stem.contains('*') || HeaderName::from_bytes(stem.as_bytes()).is_err() {
        return Err(PatternError::NotAName);
    }
    Ok(())
}

/// The byte that stands for `byte` in a canonical name.
fn canonical(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_lowercase()
    } else {
        b'-'
    }
}

/// The bit of a length from 1 to [`MAX_NAME`]; none for any other.
fn length_bit(length: usize) -> u128 {
    match length.checked_sub(1) {
        Some(shift) if shift < MAX_NAME => 1 << shift,
        _ => 0,
    }
}

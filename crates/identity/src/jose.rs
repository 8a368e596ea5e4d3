//! The structure of a compact JWS (RFC 7515) that carries a JWT (RFC 7519), read strictly: one
//! form for each token, and nothing in its header that could choose how it is verified.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::Algorithm;
use crate::error::TokenError;
use crate::json::{Json, Object};
use crate::keys::Key;

/// The longest key id, in bytes.
const MAX_KID: usize = 256;

/// The parts of a token, decoded: what [`Unverified`] borrows from.
pub(crate) struct Parts<'a> {
    signing_input: &'a [u8],
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// A token taken apart and not yet believed. Its claims come out only through
/// [`Unverified::verify`]; before that the only use of them is to find the key.
pub(crate) struct Unverified<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Cow<'a, str>,
    pub(crate) typ: Option<String>,
    signing_input: &'a [u8],
    signature: &'a [u8],
    claims: Object<'a>,
}

/// The claims of a token whose signature has been verified.
pub(crate) struct Verified<'a>(Object<'a>);

// === impl Parts ===

impl<'a> Parts<'a> {
    /// Splits and decodes a token that is already known to be short enough.
    pub(crate) fn decode(token: &'a str) -> Result<Self, TokenError> {
        let (signing_input, signature) = token
            .rsplit_once('.')
            .ok_or(TokenError::Invalid("not three parts"))?;
        let (header, payload) = signing_input
            .split_once('.')
            .ok_or(TokenError::Invalid("not three parts"))?;
        // A dot left in the payload is no base64url, so four parts fail here too.
        Ok(Self {
            signing_input: signing_input.as_bytes(),
            header: part(header)?,
            payload: part(payload)?,
            signature: part(signature)?,
        })
    }
}

// === impl Unverified ===

impl<'a> Unverified<'a> {
    /// Reads header and payload.
    pub(crate) fn parse(parts: &'a Parts<'_>) -> Result<Self, TokenError> {
        let header = Object::parse(&parts.header).ok_or(TokenError::Invalid("header"))?;
        let (algorithm, kid, typ) = read_header(header)?;
        let claims = Object::parse(&parts.payload).ok_or(TokenError::Invalid("payload"))?;
        Ok(Self {
            algorithm,
            kid,
            typ,
            signing_input: parts.signing_input,
            signature: &parts.signature,
            claims,
        })
    }

    /// A claim that nobody vouches for yet: good for choosing whose keys to try, and nothing else.
    pub(crate) fn unverified_claim(&self, name: &str) -> Option<&Json<'a>> {
        self.claims.get(name)
    }

    /// All claims, unvouched for: good for explaining what would be said of them, and nothing else.
    pub(crate) fn unverified_claims(&self) -> &Object<'a> {
        &self.claims
    }

    /// Verifies the signature with a key of the algorithm that the header names.
    pub(crate) fn verify(self, key: &Key) -> Result<Verified<'a>, TokenError> {
        if key.algorithm() != self.algorithm {
            return Err(TokenError::Invalid("the key is for another algorithm"));
        }
        if !key.verify(self.signing_input, self.signature) {
            return Err(TokenError::Invalid("signature"));
        }
        Ok(Verified(self.claims))
    }
}

// === impl Verified ===

impl<'a> Verified<'a> {
    pub(crate) fn claims(&self) -> &Object<'a> {
        &self.0
    }
}

/// Whether a key id may be looked up at all. Wider than any issuer in use needs, and without what
/// could mean something in a path, a query or a pattern.
pub(crate) fn well_formed_kid(kid: &str) -> bool {
    (1..=MAX_KID).contains(&kid.len())
        && !kid.contains("..")
        && kid
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=:@#".contains(&byte))
}

/// Decodes one part: strict base64url, no padding, no stray bits, not empty.
fn part(encoded: &str) -> Result<Vec<u8>, TokenError> {
    match URL_SAFE_NO_PAD.decode(encoded) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(TokenError::Invalid("base64url")),
    }
}

fn read_header(
    mut header: Object<'_>,
) -> Result<(Algorithm, Cow<'_, str>, Option<String>), TokenError> {
    // `crit`, `b64` and `zip` change what is signed or how it is read; `cty` says that the payload
    // is no claims set; `enc` makes it a JWE; `jwk`, `jku` and `x5u` offer the sender's own key. `x5c` and thumbprints
    // are mere hints, which nothing here follows.
    for member in ["crit", "b64", "zip", "cty", "enc", "jwk", "jku", "x5u"] {
        if header.has(member) {
            return Err(TokenError::Invalid("a header member that is not allowed"));
        }
    }
    let algorithm = match header.string("alg") {
        Some("ES256") => Algorithm::Es256,
        Some("RS256") => Algorithm::Rs256,
        _ => return Err(TokenError::Invalid("algorithm")),
    };
    let typ = match header.get("typ") {
        None => None,
        Some(Json::String(typ)) => Some(media_type(typ)),
        Some(_) => return Err(TokenError::Invalid("type")),
    };
    match header.take("kid") {
        Some(Json::String(kid)) if well_formed_kid(&kid) => Ok((algorithm, kid, typ)),
        _ => Err(TokenError::Invalid("key id")),
    }
}

/// A `typ` in the form in which two are compared (RFC 7515, 4.1.9).
pub(crate) fn media_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    match typ.strip_prefix("application/") {
        Some(rest) if !rest.contains('/') => rest.to_owned(),
        _ => typ,
    }
}

//! The bearer token of a request (RFC 6750 section 2.1): in `Authorization`, once, and nowhere else.
//!
//! A token in the query or in a cookie is no credential here, and `Proxy-Authorization` is for somebody else.

use http::HeaderMap;
use http::header::AUTHORIZATION;

#[cfg(test)]
mod tests;

/// Why a request shows no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    /// No `Authorization`, or one of another scheme.
    #[error("no bearer token")]
    Missing,
    /// It cannot be said which credential is meant, or the line is no credential at all.
    #[error("malformed credentials: {0}")]
    Malformed(&'static str),
    /// A bearer credential that no issuer could have issued.
    #[error("not a token: {0}")]
    NotAToken(&'static str),
}

/// The token of `Authorization: Bearer …`. Nothing of it is proved yet.
pub fn bearer(headers: &HeaderMap) -> Result<&str, CredentialFault> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let line = lines.next().ok_or(CredentialFault::Missing)?;
    if lines.next().is_some() {
        return Err(CredentialFault::Malformed(
            "several `authorization` headers",
        ));
    }
    // Tabs and bytes beyond ASCII have no place in any scheme's credentials, whoever reads them downstream.
    let text = std::str::from_utf8(line.as_bytes())
        .ok()
        .filter(|text| every(text, |byte| matches!(byte, b' '..=b'~')))
        .ok_or(CredentialFault::Malformed(
            "a character outside printable ASCII",
        ))?
        .trim_end_matches(' ');

    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(CredentialFault::Missing);
    }
    let token = rest.trim_start_matches(' ');
    if token.is_empty() {
        return Err(CredentialFault::NotAToken("it is empty"));
    }
    if every(token, is_token68) {
        return Ok(token);
    }
    // After a token may come nothing. A space or a comma would begin a second credential, and which of the two counts
    // is what two readers could disagree about.
    match token.bytes().find(|&byte| !is_token68(byte)) {
        Some(b' ' | b',') => Err(CredentialFault::Malformed("more than one credential")),
        _ => Err(CredentialFault::NotAToken(
            "a character outside the alphabet of tokens",
        )),
    }
}

/// Whether `all` bytes are of a kind. Unlike `Iterator::all` it does not stop at the first that is not, so the compiler
/// can look at many bytes at once; tokens are long, and nearly all of them are good.
fn every(text: &str, kind: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & kind(byte))
}

/// The alphabet of `b64token` (RFC 6750 section 2.1), padding included.
fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

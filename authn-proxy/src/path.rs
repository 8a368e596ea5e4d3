//! The canonical path: the one spelling of a path that is routed, decided and forwarded.
//!
//! Two servers that read one path differently are a way around every rule in between. So a path either has exactly one
//! reading, and gets the one spelling of it (RFC 3986 section 6.2.2: escaped unreserved characters decoded, other
//! escapes in upper case), or it is refused. Nothing is merged, resolved or guessed.

use std::borrow::Cow;

use http::uri::PathAndQuery;

#[cfg(test)]
mod tests;

/// A path with exactly one reading, in its one spelling, and the query that came with it.
///
/// Cloning is cheap, and a target that was canonical already is not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath {
    target: PathAndQuery,
}

/// Why a path has no single reading. The text is safe to show to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct AmbiguousPath {
    /// What is wrong with it, in fixed words.
    pub reason: &'static str,
}

// === impl CanonicalPath ===

impl CanonicalPath {
    /// Reads a request target in origin form: a path, and a query after `?`.
    pub fn parse(target: &str) -> Result<Self, AmbiguousPath> {
        let canonical = canonical_target(target)?;
        PathAndQuery::try_from(canonical.as_ref())
            .map(|target| Self { target })
            .map_err(|_| refuse("not a request target"))
    }

    /// Reads the target that an HTTP library has parsed already.
    ///
    /// Such libraries drop a fragment (`#…`) without a word, so a listener has to refuse one before they see it.
    pub fn of(target: &PathAndQuery) -> Result<Self, AmbiguousPath> {
        match canonical_target(target.as_str())? {
            Cow::Borrowed(_) => Ok(Self {
                target: target.clone(),
            }),
            Cow::Owned(canonical) => PathAndQuery::try_from(canonical)
                .map(|target| Self { target })
                .map_err(|_| refuse("not a request target")),
        }
    }

    /// The path, without the query.
    pub fn as_str(&self) -> &str {
        self.target.path()
    }

    /// The query as it came, without `?`. It takes no part in routing or deciding.
    pub fn query(&self) -> Option<&str> {
        self.target.query()
    }

    /// Path and query, as they are forwarded.
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.target
    }

    /// The path with the escapes of those reserved characters decoded that could also stand there bare (`%3A` and `:`).
    ///
    /// RFC 3986 keeps the two apart and many servers do not. Routing compares the answers for both (see
    /// [`crate::routes`]), because whoever chooses the spelling must not choose the route.
    pub(crate) fn lenient(&self) -> Cow<'_, str> {
        let path = self.as_str();
        if !path.contains('%') {
            return Cow::Borrowed(path);
        }
        let mut lenient = String::with_capacity(path.len());
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('%') {
            lenient.push_str(before);
            match escaped_byte(after.as_bytes()) {
                Some(byte) if is_reserved_pchar(byte) => {
                    lenient.push(char::from(byte));
                    rest = after.get(2..).unwrap_or_default();
                }
                _ => {
                    lenient.push('%');
                    rest = after;
                }
            }
        }
        lenient.push_str(rest);
        Cow::Owned(lenient)
    }
}

// === helpers ===

/// The canonical spelling of a target, borrowed when it is canonical already.
fn canonical_target(target: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if let Some(query) = query {
        check_query(query)?;
    }
    let canonical = canonical_path(path)?;
    check_segments(&canonical)?;
    Ok(match (canonical, query) {
        (Cow::Borrowed(_), _) => Cow::Borrowed(target),
        (Cow::Owned(path), Some(query)) => Cow::Owned(format!("{path}?{query}")),
        (Cow::Owned(path), None) => Cow::Owned(path),
    })
}

/// Byte by byte: what may stand bare, and what every escape means.
fn canonical_path(path: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    if let Some(byte) = path
        .bytes()
        .find(|&byte| !is_path_byte(byte) && byte != b'%')
    {
        return Err(refuse(bare_fault(byte)));
    }
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }

    let mut canonical = String::with_capacity(path.len());
    // What the escapes say, for the checks that need whole characters.
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        canonical.push_str(before);
        decoded.extend_from_slice(before.as_bytes());
        let byte = escaped_byte(after.as_bytes()).ok_or(refuse("a malformed percent escape"))?;
        if let Some(fault) = escape_fault(byte) {
            return Err(refuse(fault));
        }
        decoded.push(byte);
        if is_unreserved(byte) {
            canonical.push(char::from(byte));
        } else {
            canonical.push('%');
            canonical.push(hex_digit(byte >> 4));
            canonical.push(hex_digit(byte & 0x0F));
        }
        rest = after.get(2..).unwrap_or_default();
    }
    canonical.push_str(rest);
    decoded.extend_from_slice(rest.as_bytes());

    let text = std::str::from_utf8(&decoded).map_err(|_| refuse("escapes that are not UTF-8"))?;
    // The C1 controls take two bytes, so only the decoded text shows them.
    if text.chars().any(char::is_control) {
        return Err(refuse("an escaped control character"));
    }
    if canonical == path {
        return Ok(Cow::Borrowed(path));
    }
    Ok(Cow::Owned(canonical))
}

/// Segment by segment: a leading slash, nothing empty, no dots. Runs on the canonical spelling, so `%2e` is a dot here.
fn check_segments(path: &str) -> Result<(), AmbiguousPath> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(refuse("a path that does not start with a slash"));
    };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            // The last one may be empty: `/users/` is a path of its own.
            "" if segments.peek().is_some() => return Err(refuse("an empty segment")),
            "." | ".." => return Err(refuse("a dot segment")),
            _ => {}
        }
    }
    Ok(())
}

fn check_query(query: &str) -> Result<(), AmbiguousPath> {
    if query
        .bytes()
        .any(|byte| !byte.is_ascii_graphic() || byte == b'#')
    {
        return Err(refuse("a character that a query may not hold"));
    }
    Ok(())
}

fn refuse(reason: &'static str) -> AmbiguousPath {
    AmbiguousPath { reason }
}

/// What is wrong with a byte that may not stand bare in a path.
fn bare_fault(byte: u8) -> &'static str {
    match byte {
        b'#' => "a fragment",
        b';' => "a semicolon",
        b'\\' => "a backslash",
        0..=0x1F | 0x7F => "a control character",
        _ => "a character that has to be escaped",
    }
}

/// What is wrong with an escape of this byte, if servers disagree about it.
fn escape_fault(byte: u8) -> Option<&'static str> {
    match byte {
        b'/' => Some("an escaped slash"),
        b'\\' => Some("an escaped backslash"),
        b'%' => Some("an escaped percent sign"),
        b'#' | b'?' => Some("an escaped delimiter"),
        b';' => Some("an escaped semicolon"),
        0..=0x1F | 0x7F => Some("an escaped control character"),
        _ => None,
    }
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The reserved characters that RFC 3986 lets stand bare in a segment, without `;`.
fn is_reserved_pchar(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
    )
}

fn is_path_byte(byte: u8) -> bool {
    byte == b'/' || is_unreserved(byte) || is_reserved_pchar(byte)
}

/// The byte that the two hexadecimal digits at the start spell.
fn escaped_byte(digits: &[u8]) -> Option<u8> {
    let &[high, low, ..] = digits else {
        return None;
    };
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}

//! The request target of an HTTP/1 request line (RFC 9112 §3.2).

use http::Uri;

use crate::{Fault, authority};

/// Refuses a target that the method may not have or that would be read back changed, and gives its authority
/// where it has one that `Host` must agree with.
pub(crate) fn check<'a>(method: &str, target: &'a str) -> Result<Option<&'a [u8]>, Fault> {
    if method == "CONNECT" {
        let has_port = target
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.ends_with(']'));
        authority::check(target.as_bytes())?;
        return match has_port {
            true => Ok(Some(target.as_bytes())),
            false => Err(Fault::invalid("the target of `CONNECT` has no port")),
        };
    }
    if target.starts_with('/') {
        check_path_and_query(target.as_bytes())?;
        return Ok(None);
    }
    if target == "*" {
        return match method {
            "OPTIONS" => Ok(None),
            _ => Err(Fault::invalid("only `OPTIONS` may ask for `*`")),
        };
    }
    check_absolute(target).map(Some)
}

/// `http://host[:port]/path`, as a client that takes us for its proxy sends it.
fn check_absolute(target: &str) -> Result<&[u8], Fault> {
    const MALFORMED: Fault = Fault::invalid("the request target is malformed");
    let (scheme, rest) = target.split_once("://").ok_or(MALFORMED)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(MALFORMED);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(MALFORMED)?;
    authority::check(authority.as_bytes())?;
    check_path_and_query(path.as_bytes())?;
    // Rare enough to let the parser that comes next have its say already.
    Uri::try_from(target).map_err(|_| MALFORMED)?;
    Ok(authority.as_bytes())
}

/// Takes what `http::Uri` reads back unchanged. `#` is not among it: a fragment never travels, and `http::Uri`
/// would silently cut the target there.
fn check_path_and_query(bytes: &[u8]) -> Result<(), Fault> {
    let end = bytes.iter().position(|&b| b == b'?').unwrap_or(bytes.len());
    let (path, query) = bytes.split_at_checked(end).unwrap_or((bytes, b""));
    if path.iter().all(is_path_byte) && query.iter().all(is_query_byte) {
        Ok(())
    } else {
        Err(Fault::invalid(
            "the request target holds a character that must be escaped",
        ))
    }
}

fn is_path_byte(byte: &u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>' | b'`')
}

fn is_query_byte(byte: &u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'"')
}

//! `host[:port]`, as `Host`, `:authority` and request targets carry it.

use std::net::Ipv6Addr;
use std::str::FromStr as _;

use crate::Fault;

/// Refuses what is not exactly one host with an optional port. Narrower than RFC 3986: no user information, no
/// percent-encoding, no empty host or port, and no comma, because each of them has been read differently by two
/// parsers in a row.
pub(crate) fn check(authority: &[u8]) -> Result<(), Fault> {
    let (host_is_good, port) = match authority.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(|&b| b == b']').unwrap_or(rest.len());
            let (literal, after) = rest.split_at_checked(end).unwrap_or((rest, b""));
            (is_ipv6(literal), after.strip_prefix(b"]"))
        }
        None => {
            let end = authority
                .iter()
                .position(|&b| b == b':')
                .unwrap_or(authority.len());
            let (host, port) = authority.split_at_checked(end).unwrap_or((authority, b""));
            (
                !host.is_empty() && host.iter().all(is_host_byte),
                Some(port),
            )
        }
    };
    match port {
        Some(port) if host_is_good && is_port(port) => Ok(()),
        _ => Err(Fault::invalid("the host is not a host name with a port")),
    }
}

fn is_host_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~')
}

fn is_ipv6(literal: &[u8]) -> bool {
    std::str::from_utf8(literal).is_ok_and(|text| Ipv6Addr::from_str(text).is_ok())
}

/// Nothing, or a colon and a port number.
fn is_port(text: &[u8]) -> bool {
    match text.split_first() {
        None => true,
        Some((b':', digits)) => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn hosts() {
        for good in [
            "a",
            "example.com",
            "EXAMPLE.com:80",
            "10.0.0.1:65535",
            "my_service:8000",
            "[::1]",
            "[2001:db8::1]:443",
        ] {
            assert!(check(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a:",
            "a:b",
            "a:65536",
            "a:-1",
            "a:+1",
            "a:000080",
            "a,b",
            "a, b",
            "u@a",
            "u:p@a",
            "a/b",
            "a?b",
            "a#b",
            "a b",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[zz]",
            "[]",
            "::1",
            "%61",
            "a\u{e9}",
            "[fe80::1%25eth0]",
            "a:80:80",
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

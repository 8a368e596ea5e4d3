//! The head of an HTTP/1 request: where it ends, and whether it means one thing only (RFC 9112).
//!
//! Pure functions over bytes. What they let through, hyper must let through too, and with the same framing:
//! every request that two parsers could cut differently is refused here.

use std::mem::MaybeUninit;

use httparse::Header;

use crate::{Fault, Limits, authority, target};

/// What a head says of the body after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    Empty,
    /// A body of this many bytes, never 0.
    Length(u64),
    /// A body in chunks.
    Chunked,
    /// There is no body, and the client asks to go on in another protocol than HTTP: it has to wait for the answer.
    Upgrade,
}

/// A whole head that was found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its length in bytes, blank line included.
    pub bytes: usize,
    /// The body after it.
    pub framing: Framing,
}

/// The part of [`Limits`] that a head is held against.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Whole head, in bytes.
    pub bytes: usize,
    /// Header lines.
    pub headers: usize,
    /// Request target, in bytes.
    pub uri_bytes: usize,
}

/// What the headers that frame a request said so far.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    /// `Connection` holds `upgrade`.
    asks_upgrade: bool,
    /// `Upgrade` names a protocol other than `h2c`, which is an offer that a server may ignore, as ours do.
    offers_protocol: bool,
}

/// Longest method that is passed on; the longest registered one (RFC 9110 and friends) has 17 bytes.
const METHOD_BYTES: usize = 32;
/// What `http::Uri` can hold.
const MAX_URI_BYTES: usize = 65_534;
/// What hyper can count down from.
const MAX_LENGTH: u64 = u64::MAX - 2;
/// No configuration makes a parser set aside room for more headers than this.
const MAX_HEADERS: usize = 1000;
/// Heads with up to this many headers are parsed on the stack.
const STACK_HEADERS: usize = 128;

/// Judges the request head at the start of `bytes`: `None` while it is incomplete, else the head or the reason
/// to refuse it.
pub fn scan(bytes: &[u8], limits: &HeadLimits) -> Result<Option<Head>, Fault> {
    match find_end(bytes, 0, limits)? {
        Some(end) => {
            let head = bytes.get(..end).unwrap_or(bytes);
            let framing = check(head, limits)?;
            Ok(Some(Head {
                bytes: end,
                framing,
            }))
        }
        None => Ok(None),
    }
}

/// The length of the head at the start of `bytes`, if it is complete. The first `seen` bytes were looked through
/// before.
pub(crate) fn find_end(
    bytes: &[u8],
    seen: usize,
    limits: &HeadLimits,
) -> Result<Option<usize>, Fault> {
    // Also what a TLS handshake on a plain port or a blank line between requests runs into, at its first byte.
    if bytes.first().is_some_and(|&byte| !is_token(byte)) {
        return Err(Fault::invalid("the request does not start with a method"));
    }
    let fresh = bytes.get(seen..).unwrap_or_default();
    for offset in memchr::memchr_iter(b'\n', fresh) {
        let end = seen + offset + 1;
        let so_far = bytes.get(..end).unwrap_or(bytes);
        if !so_far.ends_with(b"\r\n") {
            return Err(Fault::invalid("a line ends without a carriage return"));
        }
        if so_far.ends_with(b"\r\n\r\n") {
            return match end > limits.bytes {
                true => Err(too_large(so_far, limits)),
                false => Ok(Some(end)),
            };
        }
    }
    match bytes.len() >= limits.bytes {
        true => Err(too_large(bytes, limits)),
        false => Ok(None),
    }
}

/// Judges one complete head.
pub(crate) fn check(head: &[u8], limits: &HeadLimits) -> Result<Framing, Fault> {
    if limits.headers <= STACK_HEADERS {
        let mut slots = [const { MaybeUninit::uninit() }; STACK_HEADERS];
        check_in(
            head,
            slots.get_mut(..limits.headers).unwrap_or_default(),
            limits,
        )
    } else {
        let mut slots: Vec<_> = std::iter::repeat_with(MaybeUninit::uninit)
            .take(limits.headers)
            .collect();
        check_in(head, &mut slots, limits)
    }
}

fn check_in<'h>(
    head: &'h [u8],
    slots: &mut [MaybeUninit<Header<'h>>],
    limits: &HeadLimits,
) -> Result<Framing, Fault> {
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(head, slots);
    if request
        .method
        .is_some_and(|method| method.len() > METHOD_BYTES)
    {
        return Err(Fault::UNKNOWN_METHOD);
    }
    if request
        .path
        .is_some_and(|path| path.len() > limits.uri_bytes.min(MAX_URI_BYTES))
    {
        return Err(Fault::URI_TOO_LONG);
    }
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Fault::invalid("the request line is malformed")),
        Err(error) => return Err(unreadable(error, head)),
    }
    let (Some(method), Some(path), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Fault::invalid("the request line is malformed"));
    };
    let target_authority = target::check(method, path)?;
    let is_1_0 = minor == 0;
    let mut fields = Fields::default();
    for header in request.headers.iter() {
        fields.take(header.name, header.value, is_1_0)?;
    }
    fields.check_host(target_authority, is_1_0)?;
    fields.framing()
}

impl<'a> Fields<'a> {
    /// Every header passes here, so names are told apart by their length first.
    fn take(&mut self, name: &str, value: &'a [u8], is_1_0: bool) -> Result<(), Fault> {
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                authority::check(value)?;
                if self.host.replace(value).is_some() {
                    return Err(Fault::invalid("there is more than one `Host`"));
                }
            }
            6 if name.eq_ignore_ascii_case("expect") => check_expectation(value)?,
            // HTTP/1.0 knows no upgrade, and one asked for there is ignored (RFC 9110 section 7.8).
            7 if !is_1_0 && name.eq_ignore_ascii_case("upgrade") => {
                self.offers_protocol |=
                    elements(value).any(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"));
            }
            10 if !is_1_0 && name.eq_ignore_ascii_case("connection") => {
                self.asks_upgrade |=
                    elements(value).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                let first = self.length.replace(parse_length(value)?).is_none();
                if !first {
                    return Err(Fault::invalid("there is more than one `Content-Length`"));
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                check_coding(value)?;
                if is_1_0 {
                    return Err(Fault::invalid("HTTP/1.0 has no `Transfer-Encoding`"));
                }
                if std::mem::replace(&mut self.chunked, true) {
                    return Err(Fault::invalid("there is more than one `Transfer-Encoding`"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check_host(&self, target: Option<&[u8]>, is_1_0: bool) -> Result<(), Fault> {
        match (self.host, target) {
            (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => Err(
                Fault::invalid("the request target names another host than `Host`"),
            ),
            (None, _) if !is_1_0 => Err(Fault::invalid("there is no `Host`")),
            _ => Ok(()),
        }
    }

    fn framing(&self) -> Result<Framing, Fault> {
        let upgrade = self.asks_upgrade && self.offers_protocol;
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Fault::invalid(
                "`Content-Length` and `Transfer-Encoding` are both there",
            )),
            (false, None | Some(0)) if upgrade => Ok(Framing::Upgrade),
            // Its end would be where the other protocol begins, and two parsers may see that in two places.
            _ if upgrade => Err(Fault::invalid("a request for an upgrade has a body")),
            (true, None) => Ok(Framing::Chunked),
            (false, None | Some(0)) => Ok(Framing::Empty),
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }
}

pub(crate) fn check_expectation(value: &[u8]) -> Result<(), Fault> {
    match value.eq_ignore_ascii_case(b"100-continue") {
        true => Ok(()),
        false => Err(Fault::EXPECTATION),
    }
}

/// Digits and nothing else: no sign, no list, no space.
fn parse_length(value: &[u8]) -> Result<u64, Fault> {
    const MALFORMED: Fault = Fault::invalid("`Content-Length` is not a number of bytes");
    if value.is_empty() || value.len() > 20 {
        return Err(MALFORMED);
    }
    value
        .iter()
        .try_fold(0_u64, |length, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            length.checked_mul(10)?.checked_add(digit)
        })
        .filter(|&length| length <= MAX_LENGTH)
        .ok_or(MALFORMED)
}

/// `chunked`, once and alone, is the only coding there is here.
fn check_coding(value: &[u8]) -> Result<(), Fault> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut known = true;
    for coding in value.split(|&byte| byte == b',') {
        let coding = coding.trim_ascii();
        let is_known = [b"chunked".as_slice(), b"identity", b""]
            .iter()
            .any(|name| coding.eq_ignore_ascii_case(name));
        known &= is_known || !coding.iter().all(|&byte| is_token(byte));
    }
    match known {
        true => Err(Fault::invalid("`Transfer-Encoding` is not `chunked` alone")),
        false => Err(Fault::UNKNOWN_CODING),
    }
}

fn unreadable(error: httparse::Error, head: &[u8]) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::TOO_MANY_HEADERS,
        httparse::Error::HeaderName => Fault::invalid("a header's name is malformed"),
        httparse::Error::HeaderValue => {
            Fault::invalid("a header's value holds a control character")
        }
        httparse::Error::Version if names_a_version(head) => Fault::VERSION,
        _ => Fault::invalid("the request line is malformed"),
    }
}

/// Whether the request line is `<method> <target> HTTP/<digit>.<digit>`.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ').skip(2);
    let version = words.next().unwrap_or_default();
    let is_version = matches!(
        version,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit()
    );
    is_version && words.next().is_none()
}

/// Too long a request line is told apart from too many or too long headers.
fn too_large(head: &[u8], limits: &HeadLimits) -> Fault {
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    match line.len() > limits.uri_bytes {
        true => Fault::URI_TOO_LONG,
        false => Fault::HEAD_TOO_LARGE,
    }
}

/// The elements of a comma-separated list; empty ones are no elements.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl From<&Limits> for HeadLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            bytes: limits.header_bytes.as_usize(),
            headers: limits.headers.min(MAX_HEADERS),
            uri_bytes: limits.uri_bytes.as_usize(),
        }
    }
}

#[cfg(test)]
mod tests;

//! Responses whose framing cannot be trusted

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::headers::elements;

/// Why a response is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingFault {
    /// `101` although no upgrade was asked for.
    #[error("the response switches protocols unasked")]
    Switched,
    /// `101` that does not name the protocol that was asked for, alone, or that announces a body.
    #[error("the response switches to another protocol than was asked for")]
    SwitchedElsewhere,
    /// `Content-Length` beside `Transfer-Encoding`.
    #[error("the response has both a content length and a transfer encoding")]
    BothLengths,
    /// `Content-Length` that is not one plain number.
    #[error("the response's content length is not one number")]
    BadLength,
    /// A transfer coding other than `chunked`, which would have to be undone here.
    #[error("the response has a transfer encoding other than chunked")]
    BadEncoding,
    /// A body where there can be none.
    #[error("the response announces a body that its status rules out")]
    BodyWithoutPlace,
    /// A body that came where there can be none.
    #[error("the response has a body where there can be none")]
    Unannounced,
}

/// Whether a response to such a request ends with its head (RFC 9110 section 6.4.1).
pub(super) fn is_bare(head_only: bool, status: StatusCode) -> bool {
    head_only || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Judges the head of a response, as the upstream sent it (RFC 9112 section 6). hyper has read it by then and would go
/// on; what it goes on with is a guess.
///
/// `asked` is the protocol that the request asked to switch to.
pub(super) fn check(
    status: StatusCode,
    headers: &HeaderMap,
    asked: Option<&HeaderValue>,
) -> Result<(), FramingFault> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return match asked {
            None => Err(FramingFault::Switched),
            Some(protocol) if switches_to(protocol, headers) => Ok(()),
            Some(_) => Err(FramingFault::SwitchedElsewhere),
        };
    }
    let encoded = headers.contains_key(TRANSFER_ENCODING);
    let length = content_length(headers)?;
    if encoded && length.is_some() {
        return Err(FramingFault::BothLengths);
    }
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    if bodiless
        && (encoded && status == StatusCode::NO_CONTENT || length.is_some_and(|length| length > 0))
    {
        return Err(FramingFault::BodyWithoutPlace);
    }
    if encoded {
        let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
        let chunked = lines
            .next()
            .is_some_and(|line| line.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !chunked || lines.next().is_some() {
            return Err(FramingFault::BadEncoding);
        }
    }
    Ok(())
}

fn switches_to(protocol: &HeaderValue, headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(UPGRADE).iter();
    let is_it = named
        .next()
        .is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()));
    let upgrades = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(elements)
        .any(|option| option.eq_ignore_ascii_case("upgrade"));
    let framed = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    is_it && named.next().is_none() && upgrades && !framed
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, FramingFault> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    let digits = line.to_str().map_err(|_| FramingFault::BadLength)?;
    if lines.next().is_some() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FramingFault::BadLength);
    }
    digits
        .parse()
        .map(Some)
        .map_err(|_| FramingFault::BadLength)
}

//! What Envoy asks: the parts of a `CheckRequest` that are looked at.
//!
//! A field that comes more than once counts like in every reader of protocol buffers: the last value, and messages together.
//! What is not looked at is not read: neither the other end's address, nor the body, nor what is unknown.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Metadata;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use prost::Message as _;

use super::protobuf::{Fields, Malformed, Value};
use crate::path::{AmbiguousPath, CanonicalPath};
use crate::rejection::{Reason, Rejection};

/// A `CheckRequest`, borrowing from its bytes.
#[derive(Debug, Default, PartialEq)]
pub(in crate::ext_authz) struct Question<'a> {
    pub(super) http: Option<Http<'a>>,
    /// The client's address (`attributes.source.address.socket_address.address`); empty where there is none.
    pub(super) address: &'a str,
    /// The name in the client's certificate (`attributes.source.principal`); empty where there is none.
    pub(super) principal: &'a str,
    /// `attributes.context_extensions` at [`ROUTES`].
    pub(super) route_set: Option<&'a str>,
    /// Every `attributes.metadata_context`, unread.
    pub(super) metadata: Vec<&'a [u8]>,
}

/// The request that a check is about (`attributes.request.http`).
#[derive(Debug, Default, PartialEq)]
pub(in crate::ext_authz) struct Http<'a> {
    method: &'a str,
    path: &'a str,
    host: &'a str,
    /// `headers`, where there is one value for each name.
    headers: Vec<(&'a str, &'a [u8])>,
    /// `header_map`, where there may be several.
    lines: Vec<(&'a str, &'a [u8])>,
}

/// The context extension that names a set of routes.
const ROUTES: &str = "portcullis.routes";

/// Headers of most requests.
const TYPICAL_HEADERS: usize = 32;

// === impl Question ===

impl<'a> Question<'a> {
    /// Reads a `CheckRequest`.
    pub(in crate::ext_authz) fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut question = Self::default();
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            if field == 1 {
                question.attributes(value.bytes()?)?;
            }
        }
        Ok(question)
    }

    fn attributes(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => self.source(value.bytes()?)?,
                4 => self.request(value.bytes()?)?,
                10 => {
                    let (name, text) = entry(value)?;
                    if name == ROUTES {
                        self.route_set = Some(text);
                    }
                }
                11 => self.metadata.push(value.bytes()?),
                _ => {}
            }
        }
        Ok(())
    }

    fn source(&mut self, peer: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(peer);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => self.address(value.bytes()?)?,
                4 => self.principal = value.text()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn address(&mut self, address: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(address);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => {
                    let mut socket = Fields::of(value.bytes()?);
                    while let Some((field, value)) = socket.next()? {
                        if field == 2 {
                            self.address = value.text()?;
                        }
                    }
                }
                // A pipe, or a listener of Envoy's own: one of the three.
                2 | 3 => self.address = "",
                _ => {}
            }
        }
        Ok(())
    }

    fn request(&mut self, request: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(request);
        while let Some((field, value)) = fields.next()? {
            if field == 2 {
                let http = self.http.get_or_insert_default();
                http.read(value.bytes()?)?;
            }
        }
        Ok(())
    }

    /// The request that the check is about.
    pub(in crate::ext_authz) fn http(&self) -> Option<&Http<'a>> {
        self.http.as_ref()
    }

    /// What Envoy's filters left.
    pub(super) fn metadata(&self) -> Result<Metadata, Malformed> {
        let mut metadata = Metadata::default();
        for part in &self.metadata {
            metadata.merge(*part).map_err(|_| Malformed)?;
        }
        Ok(metadata)
    }
}

// === impl Http ===

impl<'a> Http<'a> {
    fn read(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                2 => self.method = value.text()?,
                3 => {
                    let (name, text) = entry(value)?;
                    if self.headers.capacity() == 0 {
                        self.headers.reserve(TYPICAL_HEADERS);
                    }
                    self.headers.push((name, text.as_bytes()));
                }
                4 => self.path = value.text()?,
                5 => self.host = value.text()?,
                13 => self.lines(value.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn lines(&mut self, map: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(map);
        while let Some((field, value)) = fields.next()? {
            if field != 1 {
                continue;
            }
            let (mut name, mut text, mut raw) = ("", "", &[][..]);
            let mut header = Fields::of(value.bytes()?);
            while let Some((field, value)) = header.next()? {
                match field {
                    1 => name = value.text()?,
                    2 => text = value.text()?,
                    3 => raw = value.bytes()?,
                    _ => {}
                }
            }
            let value = if raw.is_empty() { text.as_bytes() } else { raw };
            self.lines.push((name, value));
        }
        Ok(())
    }

    /// The host that the client asked for.
    pub(in crate::ext_authz) fn host(&self) -> Option<&'a str> {
        (!self.host.is_empty()).then_some(self.host)
    }

    /// The head of the request. `message` is what this was read from: values of headers stay part of it.
    ///
    /// # Errors
    /// Whatever cannot be a request: a method, a path or a header that is none.
    pub(in crate::ext_authz) fn head(&self, message: &Bytes) -> Result<Parts, Rejection> {
        let invalid = |cause: &'static str| Rejection::new(Reason::InvalidRequest).because(cause);
        let method =
            Method::from_bytes(self.method.as_bytes()).map_err(|_| invalid("the method"))?;
        if method == Method::CONNECT || method == Method::TRACE {
            return Err(Rejection::new(Reason::MethodNotAllowed).because("the method"));
        }
        // Judged as text, because a library would drop a fragment.
        let canonical = CanonicalPath::parse(self.path)?;
        if canonical.path_and_query().as_str() != self.path {
            return Err(Rejection::new(Reason::AmbiguousPath(AmbiguousPath {
                reason: "a path that is not in its canonical form",
            })));
        }
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = method;
        head.uri = Uri::from(canonical.path_and_query().clone());
        head.headers = self.headers(message).ok_or_else(|| invalid("a header"))?;
        Ok(head)
    }

    /// The headers, in whichever of the two encodings they came. Pseudo-headers stand in fields of their own.
    fn headers(&self, message: &Bytes) -> Option<HeaderMap> {
        let ordinary = |(name, _): &&(&str, &[u8])| !name.starts_with(':');
        let mut headers =
            HeaderMap::try_with_capacity(self.headers.len() + self.lines.len()).ok()?;
        let parse = |&(name, value): &(&'a str, &'a [u8])| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let value = HeaderValue::from_maybe_shared(message.slice_ref(value)).ok()?;
            Some((name, value))
        };
        for header in self.headers.iter().filter(ordinary) {
            let (name, value) = parse(header)?;
            // A map has one value for each key: with two, or with two spellings of one, nobody can say which counts.
            if headers.try_insert(name, value).ok()?.is_some() {
                return None;
            }
        }
        for header in self.lines.iter().filter(ordinary) {
            let (name, value) = parse(header)?;
            headers.try_append(name, value).ok()?;
        }
        Some(headers)
    }
}

/// An entry of a map from text to text.
fn entry<'a>(value: Value<'a>) -> Result<(&'a str, &'a str), Malformed> {
    let (mut key, mut text) = ("", "");
    let mut fields = Fields::of(value.bytes()?);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => key = value.text()?,
            2 => text = value.text()?,
            _ => {}
        }
    }
    Ok((key, text))
}

#[cfg(test)]
mod tests;

//! Section `upstream`: the service behind the proxy.

use http::Uri;
use schemars::JsonSchema;
use serde::Deserialize;
use settings::Span;

use super::KeyedProblem;
use crate::headers::check_pattern;

/// Section `upstream`: where admitted requests go, and how long they may take.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// `http://host:port` of the service. A path, a query or credentials in it are refused: the request's own canonical
    /// path is what the upstream receives.
    pub url: String,
    /// How the upstream is spoken to: `http1`, or `http2` by prior knowledge over plain TCP. Default `http1`.
    #[serde(default)]
    pub protocol: Protocol,
    /// Longest wait for a TCP connection. Default 500 ms.
    #[serde(default = "defaults::connect_timeout")]
    pub connect_timeout: Span,
    /// Longest wait for the head of the response while the upstream has everything the client has sent so far; waiting
    /// for the client does not count. Default 30 s.
    #[serde(default = "defaults::response_timeout")]
    pub response_timeout: Span,
    /// Longest silence between two pieces of a response body. Default 60 s.
    #[serde(default = "defaults::body_timeout")]
    pub body_timeout: Span,
    /// How long an unused connection is kept. It has to be shorter than the upstream's own keep-alive, or a request can
    /// meet a connection that is just being closed. Default 4 s (many servers close after 5 s).
    #[serde(default = "defaults::idle_timeout")]
    pub idle_timeout: Span,
    /// How many unused connections are kept. Default 256.
    #[serde(default = "defaults::max_idle")]
    pub max_idle: usize,
    /// Whether the client's `Authorization` header is passed on. Default false: the upstream has no use for a token
    /// that has been proved already.
    #[serde(default)]
    pub forward_token: bool,
    /// Whether the upstream receives the client's `Host` in place of its own authority from `url`. The client's is in
    /// `X-Forwarded-Host` either way. Default false.
    #[serde(default)]
    pub preserve_host: bool,
    /// Further header names, or beginnings of names followed by `*`, that only this proxy may set: client copies, in any
    /// spelling that a server could take for them, are removed. Default none.
    #[serde(default)]
    pub strip_headers: Vec<String>,
}

/// The version of HTTP that the upstream speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 by prior knowledge, without TLS.
    Http2,
}

// === impl UpstreamConfig ===

impl UpstreamConfig {
    /// A section with this URL and the defaults for everything else.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            protocol: Protocol::default(),
            connect_timeout: defaults::connect_timeout(),
            response_timeout: defaults::response_timeout(),
            body_timeout: defaults::body_timeout(),
            idle_timeout: defaults::idle_timeout(),
            max_idle: defaults::max_idle(),
            forward_token: false,
            preserve_host: false,
            strip_headers: Vec::new(),
        }
    }

    /// The authority (`host:port`) that `url` names, or what is wrong with `url`.
    pub fn authority(&self) -> Result<http::uri::Authority, String> {
        let uri: Uri = self
            .url
            .parse()
            .map_err(|error| format!("not a URL: {error}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(other) => return Err(format!("scheme `{other}` is not supported, use `http`")),
            None => return Err("the scheme is missing, write `http://host:port`".to_owned()),
        }
        if uri
            .path_and_query()
            .is_some_and(|rest| rest.as_str() != "/")
            || self.url.contains('#')
        {
            return Err("a path, query or fragment is not allowed here".to_owned());
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => {
                Err("credentials are not allowed here".to_owned())
            }
            Some(authority) if !authority.host().is_empty() => Ok(authority.clone()),
            _ => Err("the host is missing".to_owned()),
        }
    }

    /// Every mistake in the section.
    pub fn problems(&self) -> Vec<KeyedProblem> {
        let mut problems = Vec::new();
        if let Err(message) = self.authority() {
            problems.push(("url".to_owned(), message));
        }
        for (key, span) in [
            ("connect_timeout", &self.connect_timeout),
            ("response_timeout", &self.response_timeout),
            ("body_timeout", &self.body_timeout),
        ] {
            if span.0.is_zero() {
                problems.push((key.to_owned(), "must be longer than zero".to_owned()));
            }
        }
        for (index, pattern) in self.strip_headers.iter().enumerate() {
            if let Err(error) = check_pattern(pattern) {
                problems.push((format!("strip_headers[{index}]"), error.to_string()));
            }
        }
        if self.preserve_host && self.protocol == Protocol::Http2 {
            problems.push((
                "preserve_host".to_owned(),
                "needs `protocol: http1`: over HTTP/2 the host is part of the connection's pool"
                    .to_owned(),
            ));
        }
        problems
    }
}

/// Defaults of the keys that have one.
mod defaults {
    use settings::Span;

    pub(super) fn connect_timeout() -> Span {
        Span::from_millis(500)
    }

    pub(super) fn response_timeout() -> Span {
        Span::from_secs(30)
    }

    pub(super) fn body_timeout() -> Span {
        Span::from_secs(60)
    }

    pub(super) fn idle_timeout() -> Span {
        Span::from_secs(4)
    }

    pub(super) fn max_idle() -> usize {
        256
    }
}

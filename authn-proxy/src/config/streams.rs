//! Section `streams`: exchanges that last.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use settings::Span;

use super::KeyedProblem;

/// Section `streams`: exchanges that last, which are WebSockets and other upgraded connections, long responses and long
/// uploads.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StreamsConfig {
    /// How often it is asked, while an exchange lasts, whether its caller may still act: the session, revocations, the
    /// user's status. From 1s to 15s; default 10s. Whatever it is, an exchange ends within 30 s of its caller's losing the
    /// right, and when the token expires. The policies are not asked again.
    pub revalidate: Span,
    /// How long an upgraded connection may be silent in both directions. From 1s to 24h; default 5m.
    pub idle_timeout: Span,
}

// === impl StreamsConfig ===

impl StreamsConfig {
    /// Every mistake in the section.
    pub fn problems(&self) -> Vec<KeyedProblem> {
        let within = |key: &str, span: &Span, longest: Span| {
            let shortest = Span::from_secs(1);
            (span.0 < shortest.0 || span.0 > longest.0).then(|| {
                (
                    key.to_owned(),
                    format!("must be from {shortest} to {longest}"),
                )
            })
        };
        [
            within("revalidate", &self.revalidate, Span::from_secs(15)),
            within(
                "idle_timeout",
                &self.idle_timeout,
                Span::from_secs(24 * 60 * 60),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Default for StreamsConfig {
    fn default() -> Self {
        Self {
            revalidate: Span(Duration::from_secs(10)),
            idle_timeout: Span(Duration::from_secs(5 * 60)),
        }
    }
}

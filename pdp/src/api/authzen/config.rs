//! Section `authzen`.

use std::collections::BTreeMap;

use cedar_policy::Schema;
use http::Uri;
use schemars::JsonSchema;
use serde::Deserialize;
use settings::Span;

use super::types::Types;
use crate::namespace::Namespace;

/// The AuthZEN API: the `authzen` section.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthzenConfig {
    /// What AuthZEN's types of subjects and resources are in Cedar, as in `record: Files::Record`. A
    /// type that is not listed is the Cedar type of its own name; names without a namespace are in
    /// `policies.namespace`.
    pub types: BTreeMap<String, String>,
    /// The URL that enforcement points know this decision point by, as in `https://pdp.example.com`:
    /// its metadata names it, and every endpoint below it. Default: the address of
    /// `listen.decisions` where only this machine can connect to it; elsewhere there are no metadata
    /// without it.
    pub policy_decision_point: Option<String>,
    /// How much one page of a search may cost.
    pub search: SearchLimits,
}

/// How much one page of a search may cost. Where a page ends early its token leads on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SearchLimits {
    /// Results on a page when the request names no limit.
    pub page_size: usize,
    /// The most results on a page, whatever the request asks for.
    pub max_page_size: usize,
    /// The most decisions for one page.
    pub max_candidates: usize,
    /// Time that deciding for one page may take.
    pub max_cpu: Span,
}

// === impl AuthzenConfig ===

impl AuthzenConfig {
    /// Every mistake in the section, each with its key below it, such as `search.page_size`. Types are
    /// held to `schema` where there is one.
    #[must_use]
    pub fn problems(
        &self,
        namespace: &Namespace,
        schema: Option<&Schema>,
    ) -> Vec<(String, String)> {
        let mut problems = Types::new(&self.types, namespace, schema)
            .err()
            .unwrap_or_default();
        if let Some(url) = &self.policy_decision_point
            && let Err(message) = identifier(url)
        {
            problems.push(("policy_decision_point".to_owned(), message.to_owned()));
        }
        let search = &self.search;
        for (key, zero) in [
            ("page_size", search.page_size == 0),
            ("max_page_size", search.max_page_size == 0),
            ("max_candidates", search.max_candidates == 0),
            ("max_cpu", search.max_cpu.0.is_zero()),
        ] {
            if zero {
                let message = "must be more than zero: nothing could be found";
                problems.push((format!("search.{key}"), message.to_owned()));
            }
        }
        if search.page_size > search.max_page_size {
            let message = format!(
                "must be at most `search.max_page_size`, which is {}",
                search.max_page_size
            );
            problems.push(("search.page_size".to_owned(), message));
        }
        problems
    }
}

// === impl SearchLimits ===

impl Default for SearchLimits {
    fn default() -> Self {
        Self {
            page_size: 100,
            max_page_size: 1000,
            max_candidates: 10_000,
            max_cpu: Span::from_millis(100),
        }
    }
}

/// Checks the identifier of a decision point (AuthZEN 1.0, "Endpoint Parameters"). Plain HTTP is for
/// this machine only.
fn identifier(url: &str) -> Result<(), &'static str> {
    let shape = "must be a URL such as `https://pdp.example.com`, without query and fragment";
    let uri: Uri = url.parse().map_err(|_| shape)?;
    let host = uri.host().unwrap_or_default();
    if host.is_empty() || uri.query().is_some() || url.contains('#') || url.contains('@') {
        return Err(shape);
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if matches!(host, "localhost" | "127.0.0.1" | "[::1]") => Ok(()),
        _ => Err("must begin with `https://`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(config: &AuthzenConfig) -> Vec<(String, String)> {
        let (schema, _) = Schema::from_cedarschema_str("namespace Shop { entity User; }").unwrap();
        config.problems(&Namespace::new(Some("Shop")).unwrap(), Some(&schema))
    }

    #[test]
    fn the_default_is_good() {
        assert_eq!(problems(&AuthzenConfig::default()), []);
    }

    #[test]
    fn every_mistake_is_told() {
        let types = [
            ("user", "User"),
            ("ship", "Ship"),
            ("bad", "Us er"),
            ("", "User"),
        ];
        let config = AuthzenConfig {
            types: types
                .map(|(name, cedar)| (name.into(), cedar.into()))
                .into(),
            policy_decision_point: Some("http://pdp.example.com".into()),
            search: SearchLimits {
                page_size: 2000,
                max_candidates: 0,
                ..SearchLimits::default()
            },
        };
        let problems = problems(&config);
        let keys: Vec<&str> = problems.iter().map(|(key, _)| key.as_str()).collect();
        let expected = [
            "types.",
            "types.bad",
            "types.ship",
            "policy_decision_point",
            "search.max_candidates",
            "search.page_size",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn an_identifier_is_an_https_url() {
        for good in [
            "https://pdp.example.com",
            "https://pdp.example.com:8443/tenant",
            "http://127.0.0.1:8180",
            "http://[::1]:8180",
        ] {
            assert_eq!(identifier(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "pdp.example.com",
            "http://pdp.example.com",
            "ftp://127.0.0.1",
            "https://",
            "https://pdp.example.com?a",
            "https://pdp.example.com#a",
            "https://user@pdp.example.com",
        ] {
            assert!(identifier(bad).is_err(), "{bad}");
        }
    }
}

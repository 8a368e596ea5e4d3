//! Cross-checks between parts that are right by themselves.

mod issuers;
mod routes;
mod vocabulary;

use authn_proxy::config::RouteConfig;
use cedar_policy::Schema;
use identity::config::IssuerConfig;
use pdp::Namespace;

use vocabulary::Vocabulary;

/// The parts of a policy system, as they are configured.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The schema that everything else is held to.
    pub schema: &'a Schema,
    /// The namespace of names that have none.
    pub namespace: &'a Namespace,
    /// What is asked.
    pub routes: &'a [RouteConfig],
    /// Further sets of it, by their names.
    pub route_sets: &'a [(&'a str, &'a [RouteConfig])],
    /// Who asks.
    pub issuers: &'a [IssuerConfig],
}

/// All that was found, in the order of the parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What cannot work: every request that meets it is denied, or decided on too little.
    pub problems: Vec<Finding>,
    /// What works, and is probably not meant.
    pub warnings: Vec<Finding>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it is.
    pub place: Place,
    /// What it is, in words.
    pub message: String,
}

/// Where a finding is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At a key of the configuration, such as `issuers[0].principal.type`.
    Configuration(String),
    /// At a key of the routes, wherever they are written, such as `routes[0].action`.
    Routes(String),
    /// At a key of a further set of routes: the set's name, and the key as for [`Place::Routes`].
    RouteSet(String, String),
    /// In the schema.
    Schema,
}

/// Holds all parts against the schema. Names that are no Cedar names are left to the parts that read them.
#[must_use]
pub fn check(parts: &Parts<'_>) -> Findings {
    let vocabulary = Vocabulary::new(parts.schema);
    let mut findings = Findings::default();
    namespace(parts, &vocabulary, &mut findings);
    routes::check(parts, &vocabulary, &mut findings);
    issuers::check(parts, &vocabulary, &mut findings);
    findings
}

fn namespace(parts: &Parts<'_>, vocabulary: &Vocabulary<'_>, findings: &mut Findings) {
    let Some(name) = parts.namespace.name() else {
        return;
    };
    let known = vocabulary.namespaces();
    if known.contains(name) {
        return;
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let has = match known.as_slice() {
        [] => "it has none".to_owned(),
        known => format!("it has {}", vocabulary::listed(known)),
    };
    findings.problem(
        Place::Configuration("policies.namespace".to_owned()),
        format!("the schema has no namespace `{name}`: {has}"),
    );
}

// === impl Findings ===

impl Findings {
    fn problem(&mut self, place: Place, message: String) {
        self.problems.push(Finding { place, message });
    }

    fn warning(&mut self, place: Place, message: String) {
        self.warnings.push(Finding { place, message });
    }
}

#[cfg(test)]
mod tests;

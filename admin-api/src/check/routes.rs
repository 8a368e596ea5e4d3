//! Do routes ask questions that the schema knows?

use std::collections::BTreeSet;

use authn_proxy::config::{CallerKind, RouteConfig};
use cedar_policy::{EntityTypeName, EntityUid};
use identity::config::{IssuerConfig, Kind};

use super::vocabulary::{AttributeKind, Vocabulary, hint, listed};
use super::{Findings, Parts, Place};

pub(super) fn check(parts: &Parts<'_>, vocabulary: &Vocabulary<'_>, findings: &mut Findings) {
    let mut asked: BTreeSet<EntityUid> = BTreeSet::new();
    let named = parts.route_sets.iter();
    let named = named.map(|&(name, routes)| (Some(name), routes));
    let sets = || [(None, parts.routes)].into_iter().chain(named.clone());
    for (set, routes) in sets() {
        for (index, route) in routes.iter().enumerate() {
            if route.public {
                continue;
            }
            let mut check = RouteCheck {
                parts,
                vocabulary,
                set,
                index,
                findings: &mut *findings,
            };
            asked.extend(check.route(route));
        }
    }
    // Without routes nothing is asked on purpose: the process serves the decision API alone.
    if sets().all(|(_, routes)| routes.is_empty()) {
        return;
    }
    for action in vocabulary.askable_actions() {
        if !asked.contains(action) {
            findings.warning(
                Place::Schema,
                format!("no route asks for action `{action}`"),
            );
        }
    }
}

struct RouteCheck<'c> {
    parts: &'c Parts<'c>,
    vocabulary: &'c Vocabulary<'c>,
    /// The name of the set that the route is in; none for the common one.
    set: Option<&'c str>,
    index: usize,
    findings: &'c mut Findings,
}

impl<'c> RouteCheck<'c> {
    /// The action that the route asks for, when the schema knows it.
    fn route(&mut self, route: &RouteConfig) -> Option<EntityUid> {
        let action = self.action(route);
        let resource = self.resource(route);
        if let (Some(action), Some(resource)) = (&action, &resource) {
            let fitting = self.vocabulary.resources(action);
            if !fitting.contains(resource) {
                let fitting: Vec<_> = fitting.into_iter().collect();
                self.problem(
                    "resource.type",
                    format!(
                        "`{resource}` is no resource of action `{action}`, which applies to {}",
                        listed(&fitting)
                    ),
                );
            }
        }
        if let Some(resource) = &resource {
            self.attributes(route, resource);
        }
        action
    }

    fn action(&mut self, route: &RouteConfig) -> Option<EntityUid> {
        // A name that is none is reported where routes are read.
        let action = self.parts.namespace.action(route.action.as_deref()?).ok()?;
        if !self.vocabulary.has_action(&action) {
            let hint = self.vocabulary.action_hint(&action);
            self.problem(
                "action",
                format!("the schema has no action `{action}`{hint}"),
            );
            return None;
        }
        let principals = self.vocabulary.principals(&action);
        if principals.is_empty() || self.vocabulary.resources(&action).is_empty() {
            self.problem(
                "action",
                format!("`{action}` applies to nothing: a group of actions cannot be asked for, only its members"),
            );
            return None;
        }
        let issuers = self.callers(route)?;
        let callers: Vec<EntityTypeName> = issuers
            .iter()
            .filter_map(|issuer| {
                let name = &issuer.principal.entity_type;
                self.parts.namespace.entity_type(name).ok()
            })
            .collect();
        if callers.len() == issuers.len()
            && !callers.is_empty()
            && !callers.iter().any(|caller| principals.contains(caller))
        {
            let principals: Vec<_> = principals.into_iter().collect();
            self.problem(
                "action",
                format!(
                    "nobody can be allowed: `{action}` is for {}, and no issuer makes such principals",
                    listed(&principals)
                ),
            );
        }
        Some(action)
    }

    /// The issuers of those who may call.
    fn callers(&mut self, route: &RouteConfig) -> Option<Vec<&'c IssuerConfig>> {
        let callers = route.callers.as_deref().unwrap_or(&[CallerKind::User]);
        let may_call = |issuer: &&IssuerConfig| {
            callers.contains(match issuer.kind {
                Kind::Cognito | Kind::FirstParty => &CallerKind::User,
                Kind::Service => &CallerKind::Service,
                Kind::Spiffe => &CallerKind::Workload,
            })
        };
        let issuers: Vec<_> = self.parts.issuers.iter().filter(may_call).collect();
        if issuers.is_empty() && !self.parts.issuers.is_empty() && !callers.is_empty() {
            self.problem(
                "callers",
                "nobody can pass: no issuer is for these callers".to_owned(),
            );
            return None;
        }
        Some(issuers)
    }

    fn resource(&mut self, route: &RouteConfig) -> Option<EntityTypeName> {
        let name = &route.resource.as_ref()?.entity_type;
        let resource = self.parts.namespace.entity_type(name).ok()?;
        if !self.vocabulary.has_type(&resource) {
            let hint = self.vocabulary.type_hint(&resource);
            self.problem(
                "resource.type",
                format!("the schema has no entity type `{resource}`{hint}"),
            );
            return None;
        }
        Some(resource)
    }

    fn attributes(&mut self, route: &RouteConfig, resource: &EntityTypeName) {
        for name in route.attributes.keys() {
            let key = format!("attributes.{name}");
            match self.vocabulary.attribute(resource, name) {
                None => {
                    let known = self.vocabulary.attributes(resource);
                    let hint = hint(name, known.into_iter());
                    self.problem(
                        &key,
                        format!("`{resource}` declares no attribute `{name}`{hint}"),
                    );
                }
                Some(attribute) if attribute.kind != AttributeKind::String => {
                    self.problem(
                        &key,
                        format!("attribute `{name}` of `{resource}` is no String, and a path gives nothing else"),
                    );
                }
                Some(_) => {}
            }
        }
        if route.attributes.is_empty() {
            return;
        }
        let missing: Vec<String> = self
            .vocabulary
            .required(resource)
            .into_iter()
            .filter(|name| !route.attributes.contains_key(name))
            .collect();
        if !missing.is_empty() {
            self.problem(
                "attributes",
                format!("`{resource}` requires {} as well", listed(&missing)),
            );
        }
    }

    fn problem(&mut self, key: &str, message: String) {
        let key = format!("routes[{}].{key}", self.index);
        let place = match self.set {
            None => Place::Routes(key),
            Some(set) => Place::RouteSet(set.to_owned(), key),
        };
        self.findings.problem(place, message);
    }
}

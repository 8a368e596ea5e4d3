//! Routes: which request is which Cedar question.
//!
//! A table is compiled once from configuration and never changes; a new one replaces it whole. The most specific
//! template wins, segment by segment from the left: literal text, then a parameter with text around it (the more text
//! the better), then a bare parameter, then the rest of the path. A route for the method wins over one for `*` with the same template.

mod compile;
mod pattern;
mod template;

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{EntityId, EntityTypeName, EntityUid};
use http::Method;

use crate::config::CallerKind;
use crate::path::{AmbiguousPath, CanonicalPath};
use crate::rate_limit::RateLimit;
use pattern::{Group, Pattern, Rank};
use template::Template;

pub use compile::load;
pub use template::UndecodableParam;

#[cfg(test)]
mod tests;

/// Every route, ready for look-up.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    /// The methods that some route names, each with its own routes and those for `*`.
    methods: HashMap<Method, Index>,
    /// The routes for `*`, for every other method.
    any: Index,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    name: String,
    access: Access,
    limit: Option<RateLimit>,
    /// In lower case.
    upgrades: Vec<String>,
}

/// What it takes to pass a route.
#[derive(Debug)]
pub enum Access {
    /// Nothing: there is no token, and nothing is decided.
    Public,
    /// An Allow to this question.
    Decided(Box<Rule>),
}

/// The question that a route asks, and what it requires before asking.
#[derive(Debug)]
pub struct Rule {
    action: EntityUid,
    resource_type: EntityTypeName,
    resource_id: Template,
    attributes: Vec<(String, Template)>,
    callers: Vec<CallerKind>,
    scopes: Vec<String>,
    service_scopes: Vec<String>,
}

/// The route that a request is about, and the parameters in its path.
#[derive(Debug)]
pub struct Matched<'table, 'path> {
    route: &'table Arc<Route>,
    params: matchit::Params<'table, 'path>,
}

/// Why a request has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No template matches.
    #[error("no route matches")]
    NotMapped,
    /// The spelling of the path chooses the route.
    #[error("ambiguous path: {0}")]
    Ambiguous(AmbiguousPath),
}

/// The routes for one method, in as many routers as their templates need, most often one or two. Each finds its best;
/// the best of those wins.
#[derive(Debug, Default)]
struct Index {
    routers: Vec<(Group, Router)>,
}

type Router = matchit::Router<Entry>;

#[derive(Clone, Debug)]
struct Entry {
    rank: Rank,
    route: Arc<Route>,
}

// === impl RouteTable ===

impl RouteTable {
    /// All routes, in the order in which they are written.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(AsRef::as_ref)
    }

    /// Whether some route names this method. A `*` names none.
    pub fn names_method(&self, method: &Method) -> bool {
        self.methods.contains_key(method)
    }

    /// The route for a request.
    pub fn find<'t, 'p>(
        &'t self,
        method: &Method,
        path: &'p CanonicalPath,
    ) -> Result<Matched<'t, 'p>, NoRoute> {
        let index = self.methods.get(method).unwrap_or(&self.any);
        let found = index.at(path.as_str());

        // `/users/5%3Adisable` and `/users/5:disable` differ here and are one to many a server, so they have to be one
        // to the policies as well.
        let lenient = path.lenient();
        if lenient != path.as_str() {
            let name = |found: &Option<Matched<'_, '_>>| {
                found.as_ref().map(|found| Arc::as_ptr(found.route))
            };
            if name(&found) != name(&index.at(&lenient)) {
                return Err(NoRoute::Ambiguous(AmbiguousPath {
                    reason: "an escaped reserved character that decides about the route",
                }));
            }
        }
        found.ok_or(NoRoute::NotMapped)
    }
}

// === impl Index ===

impl Index {
    fn at<'p>(&self, path: &'p str) -> Option<Matched<'_, 'p>> {
        let found = self
            .routers
            .iter()
            .filter_map(|(_, router)| router.at(path).ok());
        let best = found.min_by(|a, b| a.value.rank.cmp(&b.value.rank))?;
        Some(Matched {
            route: &best.value.route,
            params: best.params,
        })
    }

    fn insert(
        &mut self,
        pattern: &Pattern,
        route: &Arc<Route>,
    ) -> Result<(), matchit::InsertError> {
        let group = pattern.group();
        let entry = Entry {
            rank: pattern.rank.clone(),
            route: Arc::clone(route),
        };
        match self.routers.iter_mut().find(|(known, _)| *known == group) {
            Some((_, router)) => router.insert(pattern.template.as_str(), entry),
            None => {
                let mut router = Router::new();
                router.insert(pattern.template.as_str(), entry)?;
                self.routers.push((group, router));
                Ok(())
            }
        }
    }
}

// === impl Route ===

impl Route {
    /// Method and template as they are written, such as `GET /v1/users/{id}`: bounded in number, so fit for a label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first of these protocols that the service may switch to.
    pub fn upgrade_to<'a>(&self, offered: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let is_known = |protocol: &&str| {
            self.upgrades
                .iter()
                .any(|known| known.eq_ignore_ascii_case(protocol))
        };
        offered.into_iter().find(is_known)
    }

    /// Whether there is any protocol that the service may switch to.
    pub fn upgrades(&self) -> bool {
        !self.upgrades.is_empty()
    }

    /// What it takes to pass.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// How often it may be asked for.
    pub(crate) fn limit(&self) -> Option<&RateLimit> {
        self.limit.as_ref()
    }
}

// === impl Rule ===

impl Rule {
    /// The Cedar action.
    pub fn action(&self) -> &EntityUid {
        &self.action
    }

    /// The Cedar type of the resource.
    pub fn resource_type(&self) -> &EntityTypeName {
        &self.resource_type
    }

    /// The names of the attributes that the route gives to a resource that is not stored.
    pub fn attribute_names(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|(name, _)| name.as_str())
    }

    /// Whether callers of this kind may use the route at all.
    pub fn admits(&self, kind: CallerKind) -> bool {
        self.callers.contains(&kind)
    }

    /// The scopes that the user's token must carry, all of them.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The scopes that a calling service's own token must carry, all of them.
    pub fn service_scopes(&self) -> &[String] {
        &self.service_scopes
    }

    /// The resource that this request is about.
    pub fn resource(
        &self,
        matched: &Matched<'_, '_>,
        principal_id: &str,
    ) -> Result<EntityUid, UndecodableParam> {
        let id = self.resource_id.render(&matched.params, principal_id)?;
        Ok(EntityUid::from_type_name_and_id(
            self.resource_type.clone(),
            EntityId::new(id),
        ))
    }

    /// The attributes of the resource, for when it is not stored.
    pub fn attributes(
        &self,
        matched: &Matched<'_, '_>,
        principal_id: &str,
    ) -> Result<Vec<(String, String)>, UndecodableParam> {
        self.attributes
            .iter()
            .map(|(name, template)| {
                Ok((
                    name.clone(),
                    template.render(&matched.params, principal_id)?,
                ))
            })
            .collect()
    }
}

// === impl Matched ===

impl<'table> Matched<'table, '_> {
    /// The route.
    pub fn route(&self) -> &'table Arc<Route> {
        self.route
    }
}

//! The gate: the steps between a request and its permit, in the order in which they are taken.
//!
//! The cheapest and the most certain come first, and a step that fails makes no later call: a malformed request never
//! costs a signature check, and a bad token is never put to the policies.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cedar_policy::{Entity, EntityUid, RestrictedExpression};
use http::request::Parts;
use http::{Method, Uri};
use identity::{ActingFor, Identity, Issuers, Standing, VouchedClaims};
use pdp::{Consistency, Pdp, Question, Snapshot};
use prometheus::Registry;

use crate::active::{self, ActiveUser};
use crate::config::CallerKind;
use crate::context::{Facts, RequestFacts};
use crate::credentials::{self, CredentialFault};
use crate::decide::{self, Case, Permit};
use crate::path::CanonicalPath;
use crate::principal::{Mapping, Principals};
use crate::rate_limit::{self, Quotas};
use crate::rejection::{Reason, Rejection};
use crate::routes::{Matched, NoRoute, RouteTable, Rule, UndecodableParam};

mod bearers;
mod caller;
mod declared;
#[cfg(test)]
mod tests;

use caller::check_caller;
use declared::context;

/// Decides who passes. One gate serves every enforcement point.
#[derive(Debug)]
pub struct Gate {
    routes: RouteTable,
    /// Further sets of routes by their names, for those who ask with one.
    route_sets: HashMap<String, RouteTable>,
    issuers: Arc<Issuers>,
    standing: Arc<Standing>,
    principals: Principals,
    pdp: Arc<Pdp>,
    limits: rate_limit::Metrics,
}

/// What is known of the sender of a request apart from its head, once forwarding headers have been judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client<'a> {
    /// The client's address; `None` when it came over a Unix socket and nobody trusted said more.
    pub address: Option<IpAddr>,
    /// The address whose requests are counted together: the client's, or that of whoever asks for it and is not
    /// to be believed.
    pub counted: Option<IpAddr>,
    /// The host that the client meant to reach.
    pub host: Option<&'a str>,
    /// What a proxy whose word counts has verified of the client.
    pub vouched: Vouched<'a>,
    /// The set of routes that the request is held to; none for the common one. Chosen by a proxy in front of us, never by
    /// the client.
    pub route_set: Option<&'a str>,
}

/// What a proxy whose word counts has verified, and we have not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vouched<'a> {
    /// The claims of a token.
    pub claims: Option<&'a VouchedClaims>,
    /// The name in the client's certificate.
    pub certificate: Option<&'a str>,
}

/// The methods that a route for `*` stands for, beside those that other routes name.
const KNOWN_METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// Longest method that is taken for one, in bytes.
const METHOD_BYTES: usize = 32;

// === impl Gate ===

impl Gate {
    /// Puts the parts together.
    pub fn new(
        routes: RouteTable,
        issuers: Arc<Issuers>,
        principals: Principals,
        pdp: Arc<Pdp>,
    ) -> Self {
        Self {
            routes,
            route_sets: HashMap::new(),
            issuers,
            standing: Arc::default(),
            principals,
            pdp,
            limits: rate_limit::Metrics::default(),
        }
    }

    /// The same, with sources to ask about sessions and users. Without them a token that has to be looked up is
    /// refused.
    pub fn asking(self, standing: Arc<Standing>) -> Self {
        Self { standing, ..self }
    }

    /// The same, telling `registry` how the limits of routes are kept to.
    ///
    /// # Errors
    /// When the metrics are there already.
    pub fn measured(self, registry: &Registry) -> Result<Self, prometheus::Error> {
        let limits = rate_limit::Metrics::register(registry)?;
        Ok(Self { limits, ..self })
    }

    /// Who is asked about those who keep something open.
    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// The same, with further sets of routes.
    pub fn with_route_sets(self, route_sets: HashMap<String, RouteTable>) -> Self {
        Self { route_sets, ..self }
    }

    /// Takes a request through every step.
    ///
    /// # Errors
    /// The refusal of the first step that did not say yes.
    pub async fn admit(&self, head: &Parts, client: &Client<'_>) -> Result<Permit, Rejection> {
        let routes = self.routes_of(client)?;
        check_method(&head.method, routes)?;
        let path = canonical_path(&head.uri)?;
        let matched = find(routes, &head.method, &path)?;

        let mut quotas = Quotas::default();
        let admitted = self.pass(&matched, head, &path, client, &mut quotas).await;
        match admitted {
            Ok(permit) => Ok(permit.counted(quotas)),
            Err(rejection) => Err(rejection.on(matched.route()).counted(quotas)),
        }
    }

    /// The steps behind the route.
    async fn pass(
        &self,
        matched: &Matched<'_, '_>,
        head: &Parts,
        path: &CanonicalPath,
        client: &Client<'_>,
        quotas: &mut Quotas,
    ) -> Result<Permit, Rejection> {
        if let Some(limit) = matched.route().limit() {
            limit.by_address(client.counted, quotas, &self.limits)?;
        }
        match decide::open(matched.route(), path) {
            Ok(permit) => Ok(permit),
            Err(rule) => self.ask(rule, matched, head, path, client, quotas).await,
        }
    }

    /// The steps for a route that is not public.
    async fn ask(
        &self,
        rule: &Rule,
        matched: &Matched<'_, '_>,
        head: &Parts,
        path: &CanonicalPath,
        client: &Client<'_>,
        quotas: &mut Quotas,
    ) -> Result<Permit, Rejection> {
        let workload = client.vouched.certificate;
        let workload = workload.and_then(|name| self.issuers.workload(name));
        let identity = self.identify(rule, head, client, workload.as_ref()).await?;
        check_caller(rule, &identity)?;
        let user = active::activate(&self.standing, identity).await?;
        if let Some(limit) = matched.route().limit() {
            let Identity {
                principal_type,
                principal_id,
                ..
            } = user.identity();
            limit.by_principal(principal_type, principal_id, quotas, &self.limits)?;
        }

        // One snapshot for the facts, the decision and its reasons.
        let snapshot = self.pdp.snapshot();
        let acted_for = self.acted_for(user.identity())?;
        let workload = workload.as_deref().and_then(|identity| {
            let mapping = self.principals.of(identity)?;
            Some((mapping.uid(identity), mapping, identity))
        });
        let facts = Facts {
            request: Some(RequestFacts {
                head,
                path,
                client,
                now: SystemTime::now(),
            }),
            token: (user.kind() != CallerKind::Workload).then(|| user.identity()),
            on_behalf_of: acted_for.as_ref().map(|(uid, _, _)| uid),
            workload: workload.as_ref().map(|(uid, _, _)| uid),
        };
        let mut question = self.question(rule, matched, &facts, &user, &snapshot)?;
        if let Some((uid, mapping, acting)) = &acted_for {
            question.entities.push(mapping.entity(
                uid.clone(),
                *acting,
                user.record_of_acted_for(),
                &snapshot,
            ));
        }
        let workload = workload.filter(|(uid, _, _)| *uid != question.principal);
        if let Some((uid, mapping, identity)) = &workload {
            let entity = mapping.entity(uid.clone(), *identity, None, &snapshot);
            question.entities.push(entity);
        }
        let workload = workload.map(|(uid, _, _)| uid);
        let on_behalf_of = acted_for.map(|(uid, _, _)| uid);
        let case = Case {
            question,
            user,
            on_behalf_of,
            workload,
        };
        decide::decide(&self.pdp, &snapshot, case, matched.route(), path)
    }

    /// The routes that a request is held to.
    fn routes_of(&self, client: &Client<'_>) -> Result<&RouteTable, Rejection> {
        let Some(name) = client.route_set else {
            return Ok(&self.routes);
        };
        let unknown = || Rejection::new(Reason::RouteNotMapped).because("no such set of routes");
        self.route_sets.get(name).ok_or_else(unknown)
    }

    /// Who is calling. A token that reaches us is verified by us, whatever else is known: it is what the upstream sees, too.
    /// Without one, claims that a proxy has verified count, and then the certificate, on routes that are for workloads.
    async fn identify(
        &self,
        rule: &Rule,
        head: &Parts,
        client: &Client<'_>,
        workload: Option<&Arc<Identity>>,
    ) -> Result<Arc<Identity>, Rejection> {
        match credentials::bearer(&head.headers) {
            Ok(token) => return Ok(self.issuers.verify(token).await?),
            Err(CredentialFault::Missing) => {}
            Err(fault) => return Err(fault.into()),
        }
        if let Some(claims) = client.vouched.claims {
            return Ok(self.issuers.vouched(claims)?);
        }
        match workload {
            Some(workload) if rule.admits(CallerKind::Workload) => Ok(Arc::clone(workload)),
            _ => Err(CredentialFault::Missing.into()),
        }
    }

    /// The user that the caller acts for, and how that user becomes an entity.
    fn acted_for<'a>(
        &'a self,
        identity: &'a Identity,
    ) -> Result<Option<(EntityUid, &'a Mapping, &'a ActingFor)>, Rejection> {
        let Some(acting) = identity.on_behalf_of.as_deref() else {
            return Ok(None);
        };
        let mapping = self
            .principals
            .acted_for(identity)
            .ok_or_else(|| forbid("the issuer has no mapping for users acted for"))?;
        Ok(Some((mapping.uid(acting), mapping, acting)))
    }

    /// Puts a request into Cedar's terms.
    fn question(
        &self,
        rule: &Rule,
        matched: &Matched<'_, '_>,
        facts: &Facts<'_>,
        user: &ActiveUser,
        snapshot: &Snapshot,
    ) -> Result<Question, Rejection> {
        let identity = user.identity();
        let id = &*identity.principal_id;
        let resource = rule.resource(matched, id).map_err(undecodable)?;
        let given = rule.attributes(matched, id).map_err(undecodable)?;
        let mapping = self
            .principals
            .of(identity)
            .ok_or_else(|| forbid("the issuer has no principal mapping"))?;
        let principal = mapping.uid(identity);

        // What the route says of a resource is for want of anything better: what is stored counts first. And it
        // never counts for the principal, the user acted for or the workload, about whom a path, which the caller writes, must say
        // nothing.
        let mut entities = Vec::with_capacity(3);
        let is_person = resource == principal
            || facts.on_behalf_of == Some(&resource)
            || facts.workload == Some(&resource);
        if !is_person && snapshot.stored(&resource).is_none() {
            entities.push(described(&resource, given)?);
        }
        let record = user.record_of_bearer();
        entities.push(mapping.entity(principal.clone(), identity, record, snapshot));

        Ok(Question {
            principal,
            action: rule.action().clone(),
            resource,
            context: context(rule.action(), facts, snapshot)?,
            entities,
            consistency: Consistency::MinimizeLatency,
            expires_at: end_of(identity),
        })
    }
}

// === steps ===

fn check_method(method: &Method, routes: &RouteTable) -> Result<(), Rejection> {
    let reason = match method {
        &Method::TRACE | &Method::CONNECT => Reason::MethodNotAllowed,
        method if !is_well_formed(method) => Reason::InvalidRequest,
        method if KNOWN_METHODS.contains(method) || routes.names_method(method) => return Ok(()),
        _ => Reason::NotImplemented,
    };
    Err(Rejection::new(reason).because("the method"))
}

/// Whether it could be a registered method: those are short and in upper case.
pub(crate) fn is_well_formed(method: &Method) -> bool {
    let method = method.as_str();
    method.len() <= METHOD_BYTES
        && method
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_')
}

fn canonical_path(uri: &Uri) -> Result<CanonicalPath, Rejection> {
    match uri.path_and_query() {
        // `OPTIONS *` is about a server as a whole, and there is no policy about that.
        Some(target) if target.as_str() != "*" => Ok(CanonicalPath::of(target)?),
        _ => Err(Rejection::new(Reason::InvalidRequest).because("the target has no path")),
    }
}

fn find<'t, 'p>(
    routes: &'t RouteTable,
    method: &Method,
    path: &'p CanonicalPath,
) -> Result<Matched<'t, 'p>, Rejection> {
    routes.find(method, path).map_err(|fault| match fault {
        NoRoute::NotMapped => Rejection::new(Reason::RouteNotMapped),
        NoRoute::Ambiguous(fault) => fault.into(),
    })
}

// === helpers ===

/// When the token ends that proved somebody.
fn end_of(identity: &Identity) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(identity.expires_at))
}

/// A resource that is not stored, as its route describes it.
fn described(uid: &EntityUid, given: Vec<(String, String)>) -> Result<Entity, Rejection> {
    let attributes = given
        .into_iter()
        .map(|(name, value)| (name, RestrictedExpression::new_string(value)))
        .collect();
    Entity::new(uid.clone(), attributes, HashSet::new())
        .map_err(|error| forbid(format!("no resource: {error}")))
}

fn undecodable(fault: UndecodableParam) -> Rejection {
    Rejection::new(Reason::InvalidRequest).because(fault.to_string())
}

fn forbid(cause: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection::new(Reason::Forbidden).because(cause)
}

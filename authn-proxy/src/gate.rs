//! The gate: the steps between a request and its permit, in the order in which they are taken.
//!
//! The cheapest and the most certain come first, and a step that fails makes no later call: a malformed request never
//! costs a signature check, and a bad token is never put to the policies.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use cedar_policy::{Context, Entity, EntityUid, RestrictedExpression};
use http::request::Parts;
use http::{Method, Uri};
use identity::Issuers;
use pdp::{Pdp, Question, Snapshot};

use crate::active::{self, ActiveUser};
use crate::config::CallerKind;
use crate::context::Facts;
use crate::credentials;
use crate::decide::{self, Permit};
use crate::path::CanonicalPath;
use crate::principal::Principals;
use crate::rejection::{Reason, Rejection};
use crate::routes::{Matched, NoRoute, RouteTable, Rule, UndecodableParam};

#[cfg(test)]
mod tests;

/// Decides who passes. One gate serves every enforcement point.
#[derive(Debug)]
pub struct Gate {
    routes: RouteTable,
    issuers: Arc<Issuers>,
    principals: Principals,
    pdp: Arc<Pdp>,
}

/// What is known of the sender of a request apart from its head, once forwarding headers have been judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client<'a> {
    /// The client's address; `None` when it came over a Unix socket and nobody trusted said more.
    pub address: Option<IpAddr>,
    /// The host that the client meant to reach.
    pub host: Option<&'a str>,
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
            issuers,
            principals,
            pdp,
        }
    }

    /// Takes a request through every step.
    ///
    /// # Errors
    /// The refusal of the first step that did not say yes.
    pub async fn admit(&self, head: &Parts, client: &Client<'_>) -> Result<Permit, Rejection> {
        check_method(&head.method, &self.routes)?;
        let path = canonical_path(&head.uri)?;
        let matched = find(&self.routes, &head.method, &path)?;

        match decide::open(matched.route(), &path) {
            Ok(permit) => Ok(permit),
            Err(rule) => self
                .ask(rule, &matched, head, &path, client)
                .await
                .map_err(|rejection| rejection.on(matched.route())),
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
    ) -> Result<Permit, Rejection> {
        let token = credentials::bearer(&head.headers)?;
        let identity = self.issuers.verify(token).await?;
        let user = active::activate(identity)?;
        check_caller(rule, &user)?;

        // One snapshot for the facts, the decision and its reasons.
        let snapshot = self.pdp.snapshot();
        let facts = Facts {
            head,
            path,
            client,
            identity: user.identity(),
            now: SystemTime::now(),
        };
        let question = self.question(rule, matched, &facts, &snapshot)?;
        decide::decide(&self.pdp, &snapshot, question, user, matched.route(), path)
    }

    /// Puts a request into Cedar's terms.
    fn question(
        &self,
        rule: &Rule,
        matched: &Matched<'_, '_>,
        facts: &Facts<'_>,
        snapshot: &Snapshot,
    ) -> Result<Question, Rejection> {
        let identity = facts.identity;
        let id = identity.principal_id.as_str();
        let resource = rule.resource(matched, id).map_err(undecodable)?;
        let given = rule.attributes(matched, id).map_err(undecodable)?;
        let mapping = self
            .principals
            .of(identity)
            .ok_or_else(|| forbid("the issuer has no principal mapping"))?;
        let principal = mapping.uid(identity);

        // What the route says of a resource is for want of anything better: what is proved or stored counts first.
        let mut entities = Vec::with_capacity(2);
        let mut missing = Vec::new();
        if resource == principal {
            missing = given;
        } else if snapshot.stored(&resource).is_none() {
            entities.push(described(&resource, given)?);
        }
        entities.push(mapping.entity(principal.clone(), identity, snapshot, missing));

        Ok(Question {
            principal,
            action: rule.action().clone(),
            resource,
            context: context(rule, facts, snapshot)?,
            entities,
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

/// Whether this kind of caller may use the route, and shows every scope it requires.
fn check_caller(rule: &Rule, user: &ActiveUser) -> Result<(), Rejection> {
    let kind = user.kind();
    if !rule.admits(kind) {
        return Err(forbid("the route is not for this kind of caller"));
    }
    let required = match kind {
        CallerKind::User => rule.scopes(),
        CallerKind::Service => rule.service_scopes(),
    };
    let shown = &user.identity().scopes;
    if required.iter().all(|scope| shown.contains(scope)) {
        Ok(())
    } else {
        Err(Rejection::new(Reason::InsufficientScope(required.to_vec())))
    }
}

fn context(rule: &Rule, facts: &Facts<'_>, snapshot: &Snapshot) -> Result<Context, Rejection> {
    let context = match (snapshot.schema(), snapshot.context_shape(rule.action())) {
        (_, Some(shape)) => facts.declared(shape),
        (None, None) => facts.all(),
        // An action outside the schema: the decision point says so.
        (Some(_), None) => return Ok(Context::empty()),
    };
    context.map_err(|error| forbid(format!("no context: {error}")))
}

// === helpers ===

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

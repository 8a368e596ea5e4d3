//! The decision, and the only place where a [`Permit`] is made.
//!
//! There are two grounds for one: the decision point answered Allow, or the route is declared public. The fields of a
//! permit are private to this module and nothing else in it builds one, so whoever holds a permit proves that one of the
//! two was the case.
//!
//! ```compile_fail
//! # use authn_proxy::{CanonicalPath, Permit};
//! let path = CanonicalPath::parse("/admin").unwrap();
//! let forged = Permit { path };
//! ```

use std::sync::Arc;

use cedar_policy::{Decision, EntityUid};
use pdp::{Answer, Pdp, Question, Snapshot, Source};

use crate::active::ActiveUser;
use crate::path::CanonicalPath;
use crate::rate_limit::Quotas;
use crate::rejection::{Reason, Rejection};
use crate::routes::{Access, Route, Rule};

/// Proof that a request may be forwarded, and all that forwarding needs to know of it.
#[derive(Debug)]
pub struct Permit {
    path: CanonicalPath,
    route: Arc<Route>,
    grounds: Grounds,
    quotas: Quotas,
}

/// A question and its answer, for the log.
#[derive(Debug)]
pub struct Asked {
    /// Who asked to act.
    pub principal: EntityUid,
    /// The user for whom they asked to act, where a service did.
    pub on_behalf_of: Option<EntityUid>,
    /// The workload that the request came from, where that is another.
    pub workload: Option<EntityUid>,
    /// What they asked to do.
    pub action: EntityUid,
    /// What they asked to do it to.
    pub resource: EntityUid,
    /// What the decision point said.
    pub answer: Answer,
}

/// A question, and who puts it.
pub(crate) struct Case {
    pub(crate) question: Question,
    pub(crate) user: ActiveUser,
    pub(crate) on_behalf_of: Option<EntityUid>,
    pub(crate) workload: Option<EntityUid>,
}

/// Why a permit was given.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every permit is the large one; a box would cost each of them"
)]
enum Grounds {
    Public,
    Allowed { user: ActiveUser, asked: Asked },
}

// === the two grounds ===

/// The permit for a public route, or the rule that any other route goes by.
pub(crate) fn open<'r>(route: &'r Arc<Route>, path: &CanonicalPath) -> Result<Permit, &'r Rule> {
    match route.access() {
        Access::Public => Ok(Permit {
            path: path.clone(),
            route: Arc::clone(route),
            grounds: Grounds::Public,
            quotas: Quotas::default(),
        }),
        Access::Decided(rule) => Err(rule),
    }
}

/// Asks the decision point, once, about one snapshot. Whatever is not an Allow is a refusal.
pub(crate) fn decide(
    pdp: &Pdp,
    snapshot: &Snapshot,
    case: Case,
    route: &Arc<Route>,
    path: &CanonicalPath,
) -> Result<Permit, Rejection> {
    let Case {
        question,
        user,
        on_behalf_of,
        workload,
    } = case;
    let answer = pdp.decide(snapshot, &question);
    let Question {
        principal,
        action,
        resource,
        ..
    } = question;
    let verdict = (answer.decision, answer.source);
    let asked = Asked {
        principal,
        on_behalf_of,
        workload,
        action,
        resource,
        answer,
    };
    match verdict {
        (Decision::Allow, Source::Engine | Source::Cache) => Ok(Permit {
            path: path.clone(),
            route: Arc::clone(route),
            grounds: Grounds::Allowed { user, asked },
            quotas: Quotas::default(),
        }),
        (Decision::Deny, Source::Engine | Source::Cache) => {
            Err(Rejection::new(Reason::Forbidden).asked(asked))
        }
        (_, Source::FailClosed) => Err(Rejection::new(Reason::AuthzUnavailable).asked(asked)),
    }
}

// === impl Permit ===

impl Permit {
    /// The path that was decided about, and the query that came with it. They are what is forwarded.
    pub fn path(&self) -> &CanonicalPath {
        &self.path
    }

    /// Adds what is left of the limits that the request was counted for.
    pub(crate) fn counted(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// What is left of the limits that the request was counted for.
    pub(crate) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// The route.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Who is calling; `None` on a public route, where nobody was asked.
    pub fn user(&self) -> Option<&ActiveUser> {
        match &self.grounds {
            Grounds::Allowed { user, .. } => Some(user),
            Grounds::Public => None,
        }
    }

    /// The question that was allowed; `None` on a public route.
    pub fn decision(&self) -> Option<&Asked> {
        match &self.grounds {
            Grounds::Allowed { asked, .. } => Some(asked),
            Grounds::Public => None,
        }
    }

    /// The Cedar principal; `None` on a public route.
    pub fn principal(&self) -> Option<&EntityUid> {
        self.decision().map(|asked| &asked.principal)
    }
}

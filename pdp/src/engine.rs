//! The decision of Cedar's authorizer, at the cost of the policies that could match.
//!
//! A scope never errs: it only says whether a policy applies. So a policy whose scope does not match
//! has no part in the answer, be it the decision, the policies that determined it or the errors,
//! and need not be looked at. The index finds the others, by looking up what the
//! question's principal, action and resource are, and only their conditions are evaluated: as
//! programs, compiled once when the policies are loaded, over the entities as they are stored.
//! A condition that cannot be evaluated so, because it errs, is put before Cedar's own evaluator.

mod ask_cedar;
mod axis;
mod compile;
mod digest;
mod evaluate;
mod index;
mod reads;
mod request_check;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cedar_policy::Decision;
use cedar_policy_core::ast::{
    ActionConstraint, Context, Effect, EntityType, Expr, Policy, PolicySet, Template,
};
use cedar_policy_core::entities::err::EntitiesError;
use cedar_policy_core::evaluator::EvaluationError;
use smol_str::SmolStr;

pub use self::ask_cedar::EVALUATION_STACK;
pub(crate) use self::ask_cedar::{stack_needed, with_stack};
use self::axis::{ANY, Axis};
use self::compile::Program;
pub(crate) use self::digest::{Digest, Undigested};
use self::evaluate::{AskCedar, Sight};
use self::index::{Entry, Found, Index, Met};
use self::reads::{Fact, Facts, Reads};
pub(crate) use self::request_check::RequestCheck;
use crate::entities::{Stored, View};
use crate::policies::{Link, Policies};
use crate::uid::Uid;
use crate::value::Naming;

/// Policies, made ready to decide.
#[derive(Debug)]
pub(crate) struct Engine {
    /// In the order of their ids, so that what is found in order is reported in order.
    rules: Vec<Rule>,
    principals: Axis,
    actions: Axis,
    resources: Axis,
    index: Index,
    /// What conditions can read.
    facts: Box<[Fact]>,
    /// The height of the tallest policy.
    height: usize,
    /// The stack, in bytes, that the tallest program can take.
    stack: usize,
    /// Another one for each engine of the process.
    serial: usize,
}

/// How many engines were made.
static SERIAL: AtomicUsize = AtomicUsize::new(0);

/// A question, in the engine's terms. Names are lent where they are stored: every copy counts itself,
/// and threads that count in the same place wait for each other.
#[derive(Debug)]
pub(crate) struct Asked<'q> {
    pub(crate) principal: Cow<'q, Uid>,
    pub(crate) action: Cow<'q, Uid>,
    pub(crate) resource: Cow<'q, Uid>,
    /// The types of principal and resource, as the question has them: where the names lie that are
    /// stored, nothing else is looked at.
    pub(crate) principal_kind: &'q EntityType,
    pub(crate) resource_kind: &'q EntityType,
    /// Principal and resource as they are stored, where they have been looked up already.
    pub(crate) principal_stored: Option<&'q Stored>,
    pub(crate) resource_stored: Option<&'q Stored>,
    pub(crate) context: &'q Context,
}

/// What a rule is made of.
struct Source<'a> {
    id: SmolStr,
    template: &'a Template,
    /// What fills the slot for the principal.
    principal: Option<&'a Uid>,
    /// What fills the slot for the resource.
    resource: Option<&'a Uid>,
}

/// What a policy says to a question that its scope matches.
#[derive(Debug)]
struct Rule {
    id: SmolStr,
    effect: Effect,
    /// `None` holds always.
    condition: Option<Arc<Condition>>,
}

/// Every `when` and `unless` of a policy, or of all links of a template.
#[derive(Debug)]
struct Condition {
    expression: Arc<Expr>,
    program: Program,
    /// What it can read: places in [`Engine::facts`].
    facts: Box<[u32]>,
    /// Why no digest says what it reads.
    undigested: Option<Undigested>,
}

/// The conditions of the policies so far, which links of one template share.
#[derive(Default)]
struct Conditions {
    /// By where their expressions are, which they keep there.
    known: HashMap<*const Expr, Arc<Condition>>,
    facts: Facts,
}

/// The policies whose scopes match a question.
pub(crate) struct Candidates<'a> {
    engine: &'a Engine,
    /// The constraints by which they were found.
    met: Met,
    /// Which of its rules, in order.
    matching: Found,
}

/// What the policies say to one question.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) decision: Decision,
    /// The policies that determined it, sorted.
    pub(crate) determining: Vec<SmolStr>,
    /// The policies that could not be evaluated, sorted by id.
    pub(crate) errors: Vec<(SmolStr, EvaluationError)>,
}

// === impl Engine ===

impl Engine {
    /// `height` is that of the tallest policy. `naming` gives the names of entities: one that is
    /// shared with what is stored is known by its address, and its text, which lies anywhere in
    /// memory, need not be looked at.
    pub(crate) fn new(policies: &Policies, height: usize, naming: Naming<'_>) -> Self {
        Self::with_short(policies, height, naming, index::SHORT)
    }

    fn with_short(policies: &Policies, height: usize, naming: Naming<'_>, short: usize) -> Self {
        let written: &PolicySet = policies.written().as_ref();
        let mut sources: Vec<Source<'_>> = written.policies().map(Source::of).collect();
        // A link is made of a template that is there.
        let links = policies.links().iter();
        sources.extend(links.filter_map(|link| Source::of_link(link, written)));
        sources.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let mut engine = Self {
            rules: Vec::with_capacity(sources.len()),
            principals: Axis::default(),
            actions: Axis::default(),
            resources: Axis::default(),
            index: Index::default(),
            facts: Box::default(),
            height,
            stack: 0,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        };
        let mut entries = Vec::with_capacity(sources.len());
        let mut conditions = Conditions::default();
        for (source, rule) in sources.into_iter().zip(0..) {
            engine.take(source, rule, naming, &mut entries, &mut conditions);
        }
        let principals = engine.principals.renumber();
        let resources = engine.resources.renumber();
        for entry in &mut entries {
            for (constraint, new) in [
                (&mut entry.principal, &principals),
                (&mut entry.resource, &resources),
            ] {
                if let Some(new) = new.get(*constraint as usize) {
                    *constraint = *new;
                }
            }
        }
        engine.index = Index::new(entries, short);
        let heights = conditions
            .known
            .values()
            .map(|condition| condition.program.height);
        engine.stack = evaluate::stack_needed(heights.max().unwrap_or_default());
        engine.facts = conditions.facts.into_list();
        engine
    }

    /// Enters a policy. One that lists actions is entered for each of them.
    /// `conditions` are those of the policies before.
    fn take(
        &mut self,
        source: Source<'_>,
        rule: u32,
        naming: Naming<'_>,
        entries: &mut Vec<Entry>,
        conditions: &mut Conditions,
    ) {
        let template = source.template;
        let principal = self.principals.enter(
            template.principal_constraint().as_inner(),
            source.principal,
            naming,
        );
        let resource = self.resources.enter(
            template.resource_constraint().as_inner(),
            source.resource,
            naming,
        );
        let condition = template.non_scope_constraints_arc();
        let mut condition = condition.map(|expression| conditions.of(expression));
        let mut enter = |principal, action, resource| {
            entries.push(Entry {
                principal,
                resource,
                action,
                rule,
            });
        };
        match (principal, resource, template.action_constraint()) {
            (Some(principal), Some(resource), ActionConstraint::Any) => {
                enter(principal, ANY, resource);
            }
            (Some(principal), Some(resource), ActionConstraint::Eq(action)) => {
                enter(principal, self.actions.exactly(&naming(action)), resource);
            }
            (Some(principal), Some(resource), ActionConstraint::In(actions)) => {
                for action in actions {
                    enter(principal, self.actions.within(&naming(action)), resource);
                }
            }
            // A slot that nothing fills, which linking refuses: the evaluator is to say so.
            (None, _, _) | (_, None, _) => {
                condition = Some(conditions.of(&Arc::new(template.condition())));
                enter(ANY, ANY, ANY);
            }
        }
        self.rules.push(Rule {
            id: source.id,
            effect: template.effect(),
            condition,
        });
    }

    /// The name as it is shared here, if a scope names it.
    pub(crate) fn shared(&self, uid: &Uid) -> Option<&Uid> {
        let axes = [&self.principals, &self.actions, &self.resources];
        axes.into_iter().find_map(|axis| axis.shared(uid))
    }

    /// The policies whose scopes match.
    pub(crate) fn candidates(&self, asked: &Asked<'_>, view: &View<'_>) -> Candidates<'_> {
        self.matching(self.met_by(asked, view))
    }

    /// The constraints that a question meets.
    fn met_by(&self, asked: &Asked<'_>, view: &View<'_>) -> Met {
        let met = |axis: &Axis, uid: &Uid, kind| {
            let above = match axis.looks_up() {
                true => asked
                    .entity(uid, view)
                    .map(Stored::ancestors)
                    .unwrap_or_default(),
                false => &[],
            };
            axis.met_by(uid, kind, above)
        };
        Met {
            principal: met(&self.principals, &asked.principal, asked.principal_kind),
            action: met(&self.actions, &asked.action, asked.action.kind()),
            resource: met(&self.resources, &asked.resource, asked.resource_kind),
        }
    }

    /// Takes forbids for permits, and permits for forbids.
    #[cfg(test)]
    pub(crate) fn break_effects(&mut self) {
        for rule in &mut self.rules {
            rule.effect = match rule.effect {
                Effect::Permit => Effect::Forbid,
                Effect::Forbid => Effect::Permit,
            };
        }
    }

    fn matching(&self, met: Met) -> Candidates<'_> {
        Candidates {
            engine: self,
            matching: self.index.candidates(&met),
            met,
        }
    }
}

// === impl Asked ===

impl Asked<'_> {
    /// An entity, as the question sees it. `uid` is told by where it lies.
    fn entity<'s>(&'s self, uid: &Uid, view: &'s View<'_>) -> Option<&'s Stored> {
        let stored = if std::ptr::eq(uid, &*self.principal) {
            self.principal_stored
        } else if std::ptr::eq(uid, &*self.resource) {
            self.resource_stored
        } else {
            None
        };
        view.entity_at_hand(uid, stored)
    }
}

// === impl Source ===

impl<'a> Source<'a> {
    fn of(policy: &'a Policy) -> Self {
        Self {
            id: SmolStr::new(policy.id()),
            template: policy.template(),
            principal: None,
            resource: None,
        }
    }

    fn of_link(link: &'a Link, written: &'a PolicySet) -> Option<Self> {
        Some(Self {
            id: link.id.clone(),
            template: written.get_template(link.template.as_ref())?,
            principal: link.principal.as_ref(),
            resource: link.resource.as_ref(),
        })
    }
}

// === impl Candidates ===

impl<'a> Candidates<'a> {
    /// Evaluates the conditions and draws the conclusion.
    ///
    /// # Errors
    /// When Cedar had to be asked and could not be given the entities.
    pub(crate) fn judge(
        &self,
        asked: &Asked<'_>,
        view: &View<'_>,
    ) -> Result<Verdict, Box<EntitiesError>> {
        let stack = self.engine.stack;
        stacker::maybe_grow(stack, stack, || self.judge_here(asked, view))
    }

    fn judge_here(
        &self,
        asked: &Asked<'_>,
        view: &View<'_>,
    ) -> Result<Verdict, Box<EntitiesError>> {
        let sight = Sight::new(asked, view);
        // By their places in `rules`.
        let (mut holding, mut unsure) = (Found::new(), Found::new());
        for (place, rule) in self.rules() {
            match rule.holds(&sight) {
                Ok(true) => holding.push(place),
                Ok(false) => {}
                Err(AskCedar) => unsure.push(place),
            }
        }
        let mut errors = Vec::new();
        if !unsure.is_empty() {
            let unsure = unsure
                .iter()
                .filter_map(|place| Some((*place, self.rule(*place)?)));
            let conditions = unsure
                .clone()
                .filter_map(|(_, rule)| rule.condition.as_deref());
            let answers = ask_cedar::ask_cedar(conditions, asked, view, self.engine.height)?;
            for ((place, rule), answer) in unsure.zip(answers) {
                match answer {
                    Ok(true) => holding.push(place),
                    Ok(false) => {}
                    Err(error) => errors.push((rule.id.clone(), error)),
                }
            }
            holding.sort_unstable();
        }
        let of_effect = |effect| {
            let holding = holding.iter().filter_map(|place| self.rule(*place));
            let ids = holding
                .filter(|rule| rule.effect == effect)
                .map(|rule| rule.id.clone());
            ids.collect::<Vec<_>>()
        };
        let forbids = of_effect(Effect::Forbid);
        let (decision, determining) = if forbids.is_empty() && !holding.is_empty() {
            (Decision::Allow, of_effect(Effect::Permit))
        } else {
            (Decision::Deny, forbids)
        };
        Ok(Verdict {
            decision,
            determining,
            errors,
        })
    }

    fn rules(&self) -> impl Iterator<Item = (u32, &'a Rule)> {
        let places = self.matching.iter();
        places.filter_map(|place| Some((*place, self.rule(*place)?)))
    }

    fn rule(&self, place: u32) -> Option<&'a Rule> {
        self.engine.rules.get(place as usize)
    }
}

// === impl Rule ===

impl Rule {
    fn holds(&self, sight: &Sight<'_>) -> Result<bool, AskCedar> {
        match &self.condition {
            None => Ok(true),
            Some(condition) => sight.holds(&condition.program.root),
        }
    }
}

// === impl Condition ===

impl Condition {
    fn new(expression: Arc<Expr>, facts: &mut Facts) -> Self {
        let program = Program::new(&expression);
        let reads = Reads::of(&program.root);
        let undigested = match (reads.now(), reads.others) {
            (true, _) => Some(Undigested::Now),
            (false, true) => Some(Undigested::Elsewhere),
            (false, false) => None,
        };
        let numbers = reads.facts.into_iter().map(|fact| facts.number(fact));
        Self {
            facts: match undigested {
                Some(_) => Box::default(),
                None => numbers.collect(),
            },
            undigested,
            program,
            expression,
        }
    }
}

// === impl Conditions ===

impl Conditions {
    fn of(&mut self, expression: &Arc<Expr>) -> Arc<Condition> {
        let known = self.known.entry(Arc::as_ptr(expression));
        let new = || Arc::new(Condition::new(Arc::clone(expression), &mut self.facts));
        Arc::clone(known.or_insert_with(new))
    }
}

#[cfg(test)]
pub(crate) mod tests;

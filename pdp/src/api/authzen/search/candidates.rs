//! Entities of a type, asked about one by one.

use cedar_policy::{Context, EntityTypeName, EntityUid};

use super::super::read::{Described, Reader};
use super::super::types::{Party, entity};
use super::super::wire::Members;
use crate::pdp::Pdp;
use crate::question::Question;

/// Which side of a question is looked for.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Subject,
    Resource,
}

/// The entities of one type as one side of a question.
pub(super) struct Candidates<'a> {
    pub(super) pdp: &'a Pdp,
    pub(super) reader: Reader<'a>,
    pub(super) side: Side,
    pub(super) kind: &'a EntityTypeName,
    pub(super) properties: Option<Members>,
    pub(super) action: &'a EntityUid,
    pub(super) other: &'a Described,
    pub(super) context: Context,
    /// The question about the candidate before, which differs in nothing but the candidate.
    pub(super) question: Option<Box<Question>>,
}

// === impl Candidates ===

impl Candidates<'_> {
    /// Whether the question about this candidate is allowed.
    pub(super) fn is_allowed(&mut self, id: &str) -> bool {
        let candidate = entity(self.kind.clone(), id);
        let question = match self.question.take() {
            Some(mut question) => {
                match self.side {
                    Side::Subject => question.principal = candidate,
                    Side::Resource => question.resource = candidate,
                }
                question
            }
            None => match self.ask(candidate) {
                Ok(question) => question,
                Err(_) => return false,
            },
        };
        let is_allowed = self.pdp.allows(self.reader.snapshot, &question);
        // Properties are laid over each candidate by itself.
        if self.properties.is_none() {
            self.question = Some(question);
        }
        is_allowed
    }

    fn ask(&self, candidate: EntityUid) -> Result<Box<Question>, String> {
        let candidate = Described {
            party: Party::Entity(candidate),
            properties: self.properties.clone(),
        };
        let (subject, resource) = match self.side {
            Side::Subject => (&candidate, self.other),
            Side::Resource => (self.other, &candidate),
        };
        let context = self.context.clone();
        self.reader
            .question(subject, self.action, resource, context)
    }
}

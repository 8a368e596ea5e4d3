//! A question on its way to its answer.

use super::Snapshot;
use crate::answer::Answer;
use crate::engine::{Asked, Candidates, Digest, Undigested};
use crate::entities::View;

/// A question that fits the schema, what it sees, and the policies that could match it.
pub(crate) struct Matter<'s, 'v> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) asked: Asked<'s>,
    pub(super) view: &'s mut View<'v>,
    pub(super) candidates: Candidates<'s>,
}

/// What became of a [`Matter`].
pub(crate) enum Judged {
    /// The policies answered.
    Answered(Answer),
    /// They could not be asked.
    Refused(Answer),
}

// === impl Matter ===

impl Matter<'_, '_> {
    /// All that the candidates can read, as one number; `dear` is what evaluating them must cost at
    /// least, in operations, to be worth it.
    ///
    /// # Errors
    /// When there is none that is worth making.
    pub(crate) fn digest(&mut self, dear: u64) -> Result<Digest, Undigested> {
        let failed = self.view.failure().is_some();
        let revision = &self.snapshot.rulebook.revision;
        let digest = self
            .candidates
            .digest(&self.asked, self.view, revision, dear);
        if digest == Err(Undigested::Unseen) && !failed {
            // The policies may well look at less.
            self.view.begin();
        }
        digest
    }

    /// Evaluates the candidates.
    pub(crate) fn judge(&self) -> Judged {
        let verdict = self.candidates.judge(&self.asked, self.view);
        // An entity that could not be seen was missing from the verdict.
        let message = match (verdict, self.view.failure()) {
            (Ok(verdict), None) => return Judged::Answered(self.snapshot.answer(verdict)),
            (_, Some(error)) => error.to_string(),
            (Err(error), None) => error.to_string(),
        };
        Judged::Refused(self.snapshot.refused(&message))
    }
}

// === impl Judged ===

impl Judged {
    pub(crate) fn answer(self) -> Answer {
        match self {
            Self::Answered(answer) | Self::Refused(answer) => answer,
        }
    }
}

//! What is asked.

use std::time::SystemTime;

use cedar_policy::{Context, Entity, EntityUid};

/// One question to the decision point.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who asks to act.
    pub principal: EntityUid,
    /// What they ask to do.
    pub action: EntityUid,
    /// What they ask to do it to.
    pub resource: EntityUid,
    /// Facts of the moment.
    pub context: Context,
    /// Entities known to the caller. Each replaces the stored one whole, for this question only.
    pub entities: Vec<Entity>,
    /// Whether an answer that was given before will do.
    pub consistency: Consistency,
    /// When what the question was made of ends to hold, as a token does: the answer is not given
    /// again from then on.
    pub expires_at: Option<SystemTime>,
}

/// Whether an answer that was given before will do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consistency {
    /// One to a question that was the same in all that the policies can read.
    #[default]
    MinimizeLatency,
    /// None: the policies are asked.
    FullyConsistent,
}

//! What is asked.

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
}

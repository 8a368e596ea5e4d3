//! Who looks on while claims are judged.

use crate::error::TokenError;
use crate::json::Json;

/// Hears of each claim that is read, and of what is wrong with it.
///
/// Requests are judged before [`Silent`], which costs nothing; `portcullis token inspect` has the
/// same judgement made before one that takes notes.
pub(crate) trait Trace {
    /// A claim was read, or found missing. `name` is its path, such as `act.sub`.
    fn claim(&mut self, name: Path<'_>, value: Option<&Json<'_>>, refused: Option<TokenError>);
}

/// The place of a claim: `sub`, or `sub` in `act`.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    pub(crate) within: Option<&'static str>,
    pub(crate) name: &'a str,
}

/// Nobody.
pub(crate) struct Silent;

// === impl Silent ===

impl Trace for Silent {
    fn claim(&mut self, _: Path<'_>, _: Option<&Json<'_>>, _: Option<TokenError>) {}
}

//! Why a token was not accepted.

/// The answer to a token that proves nobody. The text is for the log: it names what is wrong, never
/// what the token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than the limit; nothing of it was decoded.
    #[error("the token is too large")]
    TooLarge,
    /// It proves nothing: malformed, forged, or meant for someone else.
    #[error("the token is invalid: {0}")]
    Invalid(&'static str),
    /// Genuine, and past its `exp`.
    #[error("the token has expired")]
    Expired,
    /// Genuine, and before its `nbf`.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The issuer's keys are not known, or too long ago. The token may be good: 503, never 401.
    #[error("the issuer's keys are unavailable")]
    KeysUnavailable,
    /// The key id is new and the next fetch of keys will tell. 503, never 401.
    #[error("the issuer's keys are being refreshed")]
    KeysRefreshing,
}

impl TokenError {
    /// A short name without spaces, for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Invalid(_) => "invalid",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::KeysUnavailable => "keys_unavailable",
            Self::KeysRefreshing => "keys_refreshing",
        }
    }
}

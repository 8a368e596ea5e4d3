//! When a token holds: `iat`, `nbf`, `exp` (RFC 7519 §4.1), each before the clock and the issuer's leeway.

use super::{Claims, read};
use crate::error::TokenError;
use crate::profile::Profile;
use crate::trace::Trace;

/// The times that bound a token's validity, in seconds since 1970.
pub(super) struct Times {
    pub(super) issued_at: u64,
    pub(super) not_before: u64,
    pub(super) expires_at: u64,
}

impl Profile {
    pub(super) fn read_times<T: Trace>(
        &self,
        claims: &mut Claims<'_, T>,
        now: u64,
    ) -> Result<Times, TokenError> {
        let issued_at = claims.read("iat", read::time);
        let expires_at = claims.read("exp", read::time);
        let not_before = claims.read("nbf", |time| read::optional(time, read::time));
        let times = Times {
            issued_at: issued_at?,
            not_before: not_before?.unwrap_or(issued_at?),
            expires_at: expires_at?,
        };
        let lifetime = claims.judge("exp", self.check_lifetime(&times));
        let issued = claims.judge("iat", self.check_issued(&times, now));
        let begun = claims.judge("nbf", self.check_begun(&times, now));
        let ended = claims.judge("exp", self.check_ended(&times, now));
        lifetime?;
        issued?;
        begun?;
        ended?;
        Ok(times)
    }

    fn check_lifetime(&self, times: &Times) -> Result<(), TokenError> {
        let lifetime = times.expires_at.checked_sub(times.issued_at);
        let longest = self.max_lifetime + self.leeway;
        if lifetime.is_some_and(|life| (1..=longest).contains(&life)) {
            Ok(())
        } else {
            Err(TokenError::Invalid("lifetime"))
        }
    }

    fn check_issued(&self, times: &Times, now: u64) -> Result<(), TokenError> {
        if times.issued_at > now + self.leeway {
            return Err(TokenError::Invalid("issued in the future"));
        }
        Ok(())
    }

    fn check_begun(&self, times: &Times, now: u64) -> Result<(), TokenError> {
        if times.not_before > now + self.leeway {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }

    fn check_ended(&self, times: &Times, now: u64) -> Result<(), TokenError> {
        if now >= times.expires_at + self.leeway {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

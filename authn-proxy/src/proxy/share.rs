//! How many of the tunnels one caller may have open.
//!
//! Tunnels last, so whoever opens all of them shuts everybody else out for as long as they like. A caller is the
//! principal, whatever its tokens and whoever it acts for, and where nobody has to be known, on a public route, the
//! address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rate_limit::Key;

/// What callers hold. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares(Arc<Mutex<HashMap<Key, usize>>>);

/// One of a caller's places, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Shares,
    caller: Key,
}

/// One caller gets a quarter of the places.
const PARTS: usize = 4;

// === impl Shares ===

impl Shares {
    /// One more for `caller`, where there are `places` for all; none once they have their share.
    pub(super) fn take(&self, caller: Key, places: usize) -> Option<Share> {
        let most = (places / PARTS).max(1);
        let mut held = self.held();
        let count = held.entry(caller).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Share {
            shares: self.clone(),
            caller,
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held();
        if let Some(count) = held.get_mut(&self.caller) {
            *count -= 1;
            // Whoever has nothing open is not remembered.
            if *count == 0 {
                held.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_gets_a_quarter_and_gives_it_back() {
        let shares = Shares::default();
        let [rita, rob] = ["rita", "rob"].map(|id| Key::of_principal("User", id));
        let mut hers: Vec<_> = (0..2).map(|_| shares.take(rita, 9).unwrap()).collect();
        assert!(shares.take(rita, 9).is_none());
        let his = shares.take(rob, 9).unwrap();
        hers.pop();
        hers.push(shares.take(rita, 9).unwrap());
        assert!(shares.take(rita, 9).is_none());
        drop((hers, his));
        assert!(shares.held().is_empty(), "nobody is remembered");
        // Where a quarter is less than one place, one it is.
        let only = shares.take(rita, 1).unwrap();
        assert!(shares.take(rita, 3).is_none());
        drop(only);
    }
}

//! Key ids that the current set lacks: which have been seen, and which a later fetch has refuted.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How many ids are remembered; the oldest gives way.
const REMEMBERED: usize = 1024;
/// How long a refuted id is refused without asking again.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// A bounded memory of unknown key ids, so that repeats of one cost nothing.
#[derive(Debug, Default)]
pub(crate) struct UnknownKids {
    sightings: HashMap<String, Sighting>,
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Sighting {
    /// How many fetches had begun when the id was first seen. Only a later one proves anything.
    fetches_before: u64,
    /// Until when, on the monotonic clock, the id counts as refuted.
    refused_until: Option<Duration>,
}

impl UnknownKids {
    /// Records that a token names an id that the set of fetch `held` lacks, when `begun` fetches have
    /// begun. Returns whether that proves the token invalid.
    pub(crate) fn refuted(&mut self, kid: &str, held: u64, begun: u64, now: Duration) -> bool {
        match self.sightings.get_mut(kid) {
            Some(Sighting {
                refused_until: Some(until),
                ..
            }) if now < *until => true,
            Some(sighting) if sighting.refused_until.is_some() => {
                // The refusal has run out: the id is as good as new.
                *sighting = Sighting {
                    fetches_before: begun,
                    refused_until: None,
                };
                false
            }
            Some(sighting) if held > sighting.fetches_before => {
                sighting.refused_until = Some(now + REFUSED_FOR);
                true
            }
            Some(_) => false,
            None => {
                self.remember(
                    kid,
                    Sighting {
                        fetches_before: begun,
                        refused_until: None,
                    },
                );
                false
            }
        }
    }

    fn remember(&mut self, kid: &str, sighting: Sighting) {
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.sightings.remove(&oldest);
        }
        self.order.push_back(kid.to_owned());
        self.sightings.insert(kid.to_owned(), sighting);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sightings.len()
    }
}

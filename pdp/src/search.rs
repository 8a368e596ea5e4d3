//! Searching: which of many candidates are allowed, a page at a time.
//!
//! Every candidate is decided as if it had been asked about by itself, so a search finds what single
//! questions allow, no more and no less. A page costs at most what its [`Ceiling`] says, whatever there
//! is to search: it ends where the ceiling is reached, and the next one begins there.

use std::time::{Duration, Instant};

use crate::pace::Pace;

/// How much one page may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceiling {
    /// How many may be found.
    pub(crate) results: usize,
    /// How many may be decided.
    pub(crate) candidates: usize,
    /// How long deciding may take.
    pub(crate) cpu: Duration,
}

/// What one page holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<T> {
    /// The candidates that are allowed, in order.
    pub(crate) found: Vec<T>,
    /// How many were decided.
    pub(crate) candidates: usize,
    /// The last of them.
    pub(crate) last: Option<T>,
    pub(crate) ended: Ended,
}

/// Why a page holds no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There are no more candidates.
    Complete,
    /// It has all the results that were asked for.
    Full,
    /// It would cost more than its ceiling.
    Ceiling,
}

/// One page of `candidates`. Unless nothing may be found, at least one is decided, so that page by
/// page the end is reached.
pub(crate) async fn page<T: Clone>(
    candidates: impl Iterator<Item = T>,
    ceiling: Ceiling,
    began: Instant,
    mut is_allowed: impl FnMut(&T) -> bool,
) -> Page<T> {
    let mut pace = Pace::within(ceiling.cpu, began);
    let mut page = Page {
        found: Vec::new(),
        candidates: 0,
        last: None,
        ended: Ended::Complete,
    };
    for candidate in candidates {
        if page.found.len() >= ceiling.results {
            page.ended = Ended::Full;
            return page;
        }
        if page.candidates >= ceiling.candidates || (page.candidates > 0 && !pace.step().await) {
            page.ended = Ended::Ceiling;
            return page;
        }
        page.candidates += 1;
        if is_allowed(&candidate) {
            page.found.push(candidate.clone());
        }
        page.last = Some(candidate);
    }
    page
}

// === impl Page ===

impl<T> Page<T> {
    /// Whether there may be more.
    pub(crate) fn more(&self) -> bool {
        self.ended != Ended::Complete
    }
}

// === impl Ended ===

impl Ended {
    pub(crate) const ALL: [Self; 3] = [Self::Complete, Self::Full, Self::Ceiling];

    /// As metrics name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Full => "full",
            Self::Ceiling => "ceiling",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Ceiling = Ceiling {
        results: usize::MAX,
        candidates: usize::MAX,
        cpu: Duration::MAX,
    };

    /// A page of the even ones among some numbers.
    async fn even(from: u32, to: u32, ceiling: Ceiling) -> Page<u32> {
        page(from..to, ceiling, Instant::now(), |n| n % 2 == 0).await
    }

    #[tokio::test]
    async fn a_page_ends_where_the_first_ceiling_is() {
        let results = Ceiling { results: 2, ..WIDE };
        let candidates = Ceiling {
            candidates: 4,
            ..WIDE
        };
        let cpu = Ceiling {
            cpu: Duration::ZERO,
            ..WIDE
        };
        let nothing = Ceiling { results: 0, ..WIDE };
        for (what, ceiling, found, decided, ended) in [
            ("none", WIDE, 5, 10, Ended::Complete),
            ("results", results, 2, 3, Ended::Full),
            ("candidates", candidates, 2, 4, Ended::Ceiling),
            ("time", cpu, 1, 1, Ended::Ceiling),
            ("nothing to be found", nothing, 0, 0, Ended::Full),
        ] {
            let page = even(0, 10, ceiling).await;
            let got = (page.found.len(), page.candidates, page.ended);
            assert_eq!(got, (found, decided, ended), "{what}");
            assert_eq!(page.last, u32::checked_sub(decided as u32, 1), "{what}");
        }
        assert!(!even(0, 0, nothing).await.more());
    }

    #[tokio::test]
    async fn pages_of_any_size_hold_the_same_together() {
        let whole = even(0, 100, WIDE).await.found;
        for size in 1..60 {
            for (results, candidates) in [(size, usize::MAX), (usize::MAX, size), (size, size)] {
                let ceiling = Ceiling {
                    results,
                    candidates,
                    ..WIDE
                };
                let (mut all, mut from) = (Vec::new(), 0);
                loop {
                    let page = even(from, 100, ceiling).await;
                    let more = page.more();
                    all.extend(page.found);
                    let Some(last) = page.last.filter(|_| more) else {
                        break;
                    };
                    from = last + 1;
                }
                assert_eq!(all, whole, "{size}");
            }
        }
    }
}

//! Which page of what is found was asked for.

use super::super::super::refusal::Refusal;
use super::super::SearchLimits;
use super::super::cursor::{Cursor, QuestionDigest};
use super::super::wire::{PageBody, PageInfoBody, ResultBody, ResultsBody};
use crate::search::{Ceiling, Page};

/// Where the page that was asked for begins, and what it may cost.
pub(super) struct Wanted {
    pub(super) question: QuestionDigest,
    pub(super) cursor: Cursor,
    pub(super) ceiling: Ceiling,
    /// Whether the request had a page.
    pub(super) explicit: bool,
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn new(
        question: QuestionDigest,
        page: Option<PageBody>,
        limits: &SearchLimits,
    ) -> Result<Self, Refusal> {
        let explicit = page.is_some();
        let PageBody { token, limit } = page.unwrap_or_default();
        let cursor = match token {
            None => Cursor { limit, after: None },
            Some(token) => Cursor::read(&token, question)
                .filter(|cursor| limit.is_none() || limit == cursor.limit)
                .ok_or_else(|| {
                    Refusal::invalid(
                        "`page.token` was not given for this question: but for the token, everything has to be as it was for the page before",
                    )
                })?,
        };
        let results = match cursor.limit {
            None => limits.page_size,
            Some(limit) => usize::try_from(limit)
                .unwrap_or(usize::MAX)
                .min(limits.max_page_size),
        };
        let ceiling = Ceiling {
            results,
            candidates: limits.max_candidates,
            cpu: limits.max_cpu.0,
        };
        Ok(Self {
            question,
            cursor,
            ceiling,
            explicit,
        })
    }

    pub(super) fn results(
        self,
        page: Page<String>,
        result: impl FnMut(String) -> ResultBody,
    ) -> ResultsBody {
        let more = page.more();
        let next_token = if more {
            let Cursor { limit, after } = self.cursor;
            let after = page.last.or(after);
            Cursor { limit, after }.token(self.question)
        } else {
            String::new()
        };
        let info = PageInfoBody {
            next_token,
            count: page.found.len(),
        };
        ResultsBody {
            page: (self.explicit || more).then_some(info),
            results: page.found.into_iter().map(result).collect(),
        }
    }
}

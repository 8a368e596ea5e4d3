//! The requests on one HTTP/1 connection, told apart byte by byte.

use crate::Fault;
use crate::chunked::{Chunks, Progress};
use crate::head::{self, Framing, HeadLimits};

/// Follows a client's bytes through head, body, head, body …, and finds the first that must not be passed on.
/// Does no IO: the guard feeds it, and so can a fuzzer.
#[derive(Debug)]
pub struct Requests {
    limits: HeadLimits,
    state: State,
    passed: u64,
}

/// What was found in some bytes: so many at their start may be passed on, and then …
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// … there is nothing more, or the start of a head: the rest must be shown again, with more after it.
    Good(usize),
    /// … there is a head that is refused. Nothing after it is a request any more.
    Refused(usize, Fault),
    /// … there is a body that breaks its framing. Nothing after it means anything.
    Malformed(usize),
}

#[derive(Debug)]
enum State {
    /// Waiting for the end of a head of which so many bytes were looked through.
    Head {
        seen: usize,
    },
    Length {
        left: u64,
    },
    Chunked(Chunks),
    /// The last head asked for another protocol: nothing after it is a request.
    Upgrade,
}

impl Requests {
    /// At the start of a connection.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            state: State::Head { seen: 0 },
            passed: 0,
        }
    }

    /// How many heads were found good so far.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether the next byte belongs to a head, not to a body.
    #[must_use]
    pub fn at_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }

    /// Whether the last head asked to leave HTTP. What follows it is never passed on from here.
    #[must_use]
    pub fn asks_upgrade(&self) -> bool {
        matches!(self.state, State::Upgrade)
    }

    /// Reads on. `bytes` starts with what the last call did not pass on.
    pub fn advance(&mut self, bytes: &[u8]) -> Found {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let next = match &mut self.state {
                State::Head { seen } => match head::find_end(rest, *seen, &self.limits) {
                    Err(fault) => return Found::Refused(at, fault),
                    Ok(None) => {
                        *seen = rest.len();
                        break;
                    }
                    Ok(Some(end)) => {
                        match head::check(rest.get(..end).unwrap_or(rest), &self.limits) {
                            Err(fault) => return Found::Refused(at, fault),
                            Ok(framing) => {
                                at += end;
                                self.passed += 1;
                                self.body(framing)
                            }
                        }
                    }
                },
                State::Length { left } => {
                    let skipped = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    at += skipped;
                    match left.saturating_sub(skipped as u64) {
                        0 => State::Head { seen: 0 },
                        left => State::Length { left },
                    }
                }
                State::Chunked(chunks) => match chunks.advance(rest) {
                    Progress::More => {
                        at = bytes.len();
                        break;
                    }
                    Progress::End(length) => {
                        at += length;
                        State::Head { seen: 0 }
                    }
                    Progress::Malformed(good) => return Found::Malformed(at + good),
                },
                State::Upgrade => break,
            };
            self.state = next;
        }
        Found::Good(at)
    }

    fn body(&self, framing: Framing) -> State {
        match framing {
            Framing::Empty => State::Head { seen: 0 },
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => State::Chunked(Chunks::new(self.limits.headers)),
            Framing::Upgrade => State::Upgrade,
        }
    }
}

//! How many HTTP/2 frames a peer may send that are of no use to any request.

use std::time::Duration;

use tokio::time::Instant;

use crate::frames::{CONTINUATION, DATA, Frame, Frames, HEADERS};

/// Counts what a peer sends against what it has to spend.
///
/// h2 bounds what frames may take of memory, and what a reset stream or a block of headers may cost. But it
/// answers PING and SETTINGS, and reads PRIORITY, WINDOW_UPDATE, RST_STREAM, empty DATA and frames unknown to it,
/// as many as come. Each of them costs 1 here, and 1 more for each KiB. What is useful earns, so that nothing a
/// real client does for its requests is ever short:
///
/// | earns | for | because a client may then send |
/// |---|---|---|
/// | [`HEADERS_EARN`] | HEADERS | priorities (PRIORITY as Firefox did, PRIORITY_UPDATE as browsers do), a frame that only greases, a first window, the end of its body as empty DATA, a reset |
/// | [`SENT_EARNS`] and 1 per KiB | DATA sent with content | windows for stream and connection, which some clients grant for every frame and Go's for every 4 KiB, and a ping to measure the bandwidth, which gRPC sends with every piece it reads |
/// | 1 and 1 per KiB | DATA received with content | the same, where our answer has yet to come |
///
/// Beside that there is a [`BURST`] at the start and a [`RATE`] for ever. Keep-alive pings, the most frequent
/// thing that an idle client sends, come once in ten seconds; a connection's opening takes less than twenty
/// frames. Envoy's limits are of the same size (100 priorities for each stream, 10 window updates for each DATA
/// frame, 1000 unsent answers to pings), nginx takes some 60 000 useless frames on a connection.
///
/// What stays possible is to pay: a client can send a dozen useless frames with each request. They cost less
/// than the request.
#[derive(Debug)]
pub(crate) struct Budget {
    frames: Frames,
    left: u32,
    refilled: Instant,
    last_stream: u32,
}

const BURST: u32 = 1000;
/// Useless frames per second: the time that each takes to earn.
const RATE: Duration = Duration::from_millis(10);
/// A peer may save up no more: a quarter of a second of our time, earned by as many KiB.
const SAVINGS: u32 = 1 << 20;
const HEADERS_EARN: u32 = 10;
const SENT_EARNS: u32 = 4;

const KIB: usize = 1024;
const PREFACE_LENGTH: usize = 24;

impl Budget {
    /// For a connection whose client's preface is yet to be read.
    pub(crate) fn new() -> Self {
        Self {
            frames: Frames::after(PREFACE_LENGTH),
            left: BURST,
            refilled: Instant::now(),
            last_stream: 0,
        }
    }

    /// The last stream on which a request was let through (RFC 9113 section 6.8).
    pub(crate) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Counts the next bytes from the peer. `Err` says how many of them come before the frame that was one too
    /// many; some of its head may have been let through before, but never the whole frame.
    pub(crate) fn received(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (read, frame) = self.frames.step(rest);
            if frame.is_some_and(|frame| !self.account(frame)) {
                return Err(at);
            }
            at += read;
        }
        Ok(())
    }

    /// We have sent DATA with this much in it.
    pub(crate) fn sent(&mut self, content: usize) {
        if content > 0 {
            self.earn(SENT_EARNS.saturating_add(in_kib(content)));
        }
    }

    /// Whether the frame can be paid for.
    fn account(&mut self, frame: Frame) -> bool {
        match frame.kind {
            HEADERS => {
                self.last_stream = self.last_stream.max(frame.stream);
                self.earn(HEADERS_EARN);
                true
            }
            DATA if frame.content > 0 => {
                self.earn(1 + in_kib(frame.content));
                true
            }
            // As long as the headers that are taken; h2 counts how many pieces they come in.
            CONTINUATION => self.spend(1),
            _ => self.spend(1 + in_kib(frame.content)),
        }
    }

    fn earn(&mut self, amount: u32) {
        self.left = self.left.saturating_add(amount).min(SAVINGS);
    }

    fn spend(&mut self, cost: u32) -> bool {
        if self.left < cost {
            self.refill();
        }
        match self.left.checked_sub(cost) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }

    /// Only when it is needed, which for nearly all connections is never: the clock is not looked at before.
    fn refill(&mut self) {
        let now = Instant::now();
        let earned = (now - self.refilled).as_millis() / RATE.as_millis();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned).min(BURST);
        self.refilled = now;
    }
}

fn in_kib(length: usize) -> u32 {
    u32::try_from(length / KIB).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;

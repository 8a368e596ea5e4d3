//! A check on its way, and the answer that is demanded.

use std::time::Instant;

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use prost::Message as _;

use super::FRAME;
use super::fields::Fields;
use super::frames::{self, Frame};
use crate::load::Error;

/// The longest answer, which is what the other end may send of one without asking.
pub(super) const MOST_ANSWER: u32 = 1024 * 1024;

/// A check, and what was read of its answer.
pub(super) struct Call {
    /// Its stream.
    pub(super) id: u32,
    /// From when on it is measured.
    pub(super) since: Instant,
    /// Whether the answer begins with `:status: 200`.
    ok: bool,
    pub(super) answer: Vec<u8>,
}

impl Call {
    pub(super) fn new(id: u32, since: Instant) -> Self {
        Self {
            id,
            since,
            ok: false,
            answer: Vec::new(),
        }
    }

    /// Takes a frame of DATA or HEADERS. `true` when the answer is whole, and an allow; anything else is an error.
    pub(super) fn hear(&mut self, frame: &Frame<'_>) -> Result<bool, Error> {
        let last = frame.has(frames::END_STREAM);
        if frame.kind == frames::DATA {
            self.answer.extend_from_slice(frame.payload);
            if last {
                return Err("a check was answered without trailers".into());
            }
            if self.answer.len() >= usize::try_from(MOST_ANSWER)? {
                return Err("an answer is too long".into());
            }
            return Ok(false);
        }
        if !frame.has(frames::END_HEADERS) {
            return Err("a header block in pieces is not understood".into());
        }
        let fields = Fields::read(frame.payload)?;
        self.ok |= fields.ok;
        if !last {
            return Ok(false);
        }
        match fields.grpc_status {
            Some(0) => self.demand_allow().map(|()| true),
            Some(code) => Err(format!("a check ended with `grpc-status: {code}`").into()),
            None => Err("a check ended without `grpc-status`".into()),
        }
    }

    fn demand_allow(&self) -> Result<(), Error> {
        if !self.ok {
            return Err("a check was not answered with `:status: 200`".into());
        }
        let (head, message) = self
            .answer
            .split_first_chunk::<FRAME>()
            .ok_or("a check was answered without a message")?;
        let [0, length @ ..] = *head else {
            return Err("an answer is compressed".into());
        };
        if usize::try_from(u32::from_be_bytes(length))? != message.len() {
            return Err("an answer is not one whole message".into());
        }
        // The status is the first member, and code 0 in it is not written: an empty message. Anything else is a denial.
        if message.starts_with(&[0x0a, 0]) {
            return Ok(());
        }
        let denial = CheckResponse::decode(message)?;
        Err(format!("a check was denied: {denial:?}").into())
    }
}

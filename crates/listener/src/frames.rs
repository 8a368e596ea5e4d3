//! Where one HTTP/2 frame ends and the next begins (RFC 9113 section 4.1).

/// Follows the frames in one direction of a connection by their heads alone, byte by byte if need be.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    head: [u8; LONGEST_HEAD],
    head_length: usize,
    payload_left: usize,
}

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    /// Bytes of payload without padding, where the frame is one of DATA.
    pub(crate) content: usize,
}

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const CONTINUATION: u8 = 0x9;

const PADDED: u8 = 0x8;
const HEAD: usize = 9;
/// Behind the head of padded DATA, the first byte of the payload says how much of it is padding.
const LONGEST_HEAD: usize = HEAD + 1;

impl Frames {
    /// `before` bytes come before the first frame.
    pub(crate) fn after(before: usize) -> Self {
        Self {
            head: [0; LONGEST_HEAD],
            head_length: 0,
            payload_left: before,
        }
    }

    /// Reads on to the end of a frame's head or of its payload, whichever comes first. Gives how many of `bytes`
    /// were read, and the frame if its head was completed by them.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        if self.payload_left > 0 {
            let skipped = bytes.len().min(self.payload_left);
            self.payload_left -= skipped;
            return (skipped, None);
        }
        let mut read = 0;
        for byte in bytes {
            let Some(place) = self.head.get_mut(self.head_length) else {
                break;
            };
            *place = *byte;
            self.head_length += 1;
            read += 1;
            if let Some(frame) = self.complete() {
                self.head_length = 0;
                return (read, Some(frame));
            }
        }
        (read, None)
    }

    pub(crate) fn at_boundary(&self) -> bool {
        self.head_length == 0 && self.payload_left == 0
    }

    /// How many of `bytes` belong to the frame that has begun; none if none has.
    pub(crate) fn until_boundary(&self, bytes: &[u8]) -> usize {
        let mut ahead = self.clone();
        let mut at = 0;
        while !ahead.at_boundary()
            && let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty())
        {
            at += ahead.step(rest).0;
        }
        at
    }

    /// The frame whose head is read, if it is whole.
    fn complete(&mut self) -> Option<Frame> {
        let [a, b, c, kind, flags, stream @ .., padding] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let padded = kind == DATA && flags & PADDED != 0 && length > 0;
        let head = if padded { LONGEST_HEAD } else { HEAD };
        if self.head_length < head {
            return None;
        }
        self.payload_left = length - (head - HEAD);
        Some(Frame {
            kind,
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
            content: match padded {
                true => self.payload_left.saturating_sub(usize::from(padding)),
                false => length,
            },
        })
    }
}

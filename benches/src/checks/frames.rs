//! HTTP/2 frames (RFC 9113 section 4): a head of nine bytes, and what follows it.

use crate::load::Error;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Of DATA and HEADERS: the last of its stream.
pub(super) const END_STREAM: u8 = 0x1;
/// Of SETTINGS and PING: an answer to one.
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
/// Padding and priorities, before which the payload begins later. No server sends them.
const SHIFTED: u8 = 0x8 | 0x20;

pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;

/// The longest payload, and what each window is, until the other end says otherwise. We never do for the payload.
pub(super) const MOST_PAYLOAD: usize = 16_384;
pub(super) const FIRST_WINDOW: u32 = 65_535;
/// The most that a window may be.
pub(super) const MOST_WINDOW: u32 = (1 << 31) - 1;

const HEAD: usize = 9;

/// A frame as it was read.
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

/// Writes a frame.
pub(super) fn put(
    out: &mut Vec<u8>,
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &[u8],
) -> Result<(), Error> {
    if payload.len() > MOST_PAYLOAD {
        return Err(format!("{} bytes are too many for a frame", payload.len()).into());
    }
    let [_, length @ ..] = u32::try_from(payload.len())?.to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

/// The payload of a SETTINGS frame.
pub(super) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let bytes = settings.iter().flat_map(|(name, value)| {
        let (name, value) = (name.to_be_bytes(), value.to_be_bytes());
        name.into_iter().chain(value)
    });
    bytes.collect()
}

/// The number of four bytes with which this begins, without the first bit, which is reserved.
pub(super) fn number(bytes: &[u8]) -> Result<u32, Error> {
    let number = bytes.first_chunk().ok_or("a frame is too short")?;
    Ok(u32::from_be_bytes(*number) & MOST_WINDOW)
}

// === impl Frame ===

impl<'a> Frame<'a> {
    /// The frame with which this begins, and what follows it, as soon as it is there whole.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, Error> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c]))?;
        if length > MOST_PAYLOAD {
            return Err(format!("a frame of {length} bytes was not agreed on").into());
        }
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        let frame = Self {
            kind: *kind,
            flags: *flags,
            stream: number(stream)?,
            payload,
        };
        if matches!(frame.kind, DATA | HEADERS) && frame.has(SHIFTED) {
            return Err("a frame with padding or a priority is not understood".into());
        }
        Ok(Some((frame, rest)))
    }

    /// Whether one of these flags is set.
    pub(super) fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// What a SETTINGS frame sets.
    pub(super) fn settings(&self) -> impl Iterator<Item = (u16, u32)> {
        self.payload.chunks_exact(6).filter_map(|setting| {
            let (name, value) = setting.split_first_chunk()?;
            let value = value.first_chunk()?;
            Some((u16::from_be_bytes(*name), u32::from_be_bytes(*value)))
        })
    }
}

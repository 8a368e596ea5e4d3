//! The wire format of protocol buffers, as far as a check needs it.
//!
//! Messages are read in place and written in one go, because every request of somebody's service waits for this. What is
//! read is held equal to what a library reads of the same bytes, and what is written is read by one in the tests.

use std::fmt::{self, Display, Write as _};

/// The fields of a message, one after the other.
pub(super) struct Fields<'a>(&'a [u8]);

/// A field's value. Numbers of fixed size, which we have no use for, are stepped over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number,
    Bytes(&'a [u8]),
}

/// The bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ext_authz) struct Malformed;

/// A message that is being written.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

/// Text as it is displayed, without the `fmt::Error` that a vector never gives.
struct Text<'a>(&'a mut Vec<u8>);

/// The flag and the length before the message of a call.
const FRAME: usize = 5;

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field's number and value; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let value = match (key & 7) as u8 {
            VARINT => {
                self.varint()?;
                Value::Number
            }
            FIXED_64 => {
                self.take(8)?;
                Value::Number
            }
            FIXED_32 => {
                self.take(4)?;
                Value::Number
            }
            BYTES => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            // Groups, which no message of ours has ever had.
            _ => return Err(Malformed),
        };
        match key >> 3 {
            0 => Err(Malformed),
            field => Ok(Some((field, value))),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        // 64 bits are nine times seven and one more.
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            if shift == 63 && byte > 1 {
                return Err(Malformed);
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    /// The value of a field that is a message, or any bytes.
    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number => Err(Malformed),
        }
    }

    /// The value of a field that is text.
    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }
}

// === impl Writer ===

impl Writer {
    /// The one message of a gRPC call, with room for so many bytes: behind a flag and a length of four bytes.
    pub(super) fn framed(room: usize) -> Self {
        let mut bytes = Vec::with_capacity(room);
        bytes.extend([0; FRAME]);
        Self(bytes)
    }

    /// The call, its length written down.
    pub(super) fn into_frame(mut self) -> Vec<u8> {
        let length = self.0.len().saturating_sub(FRAME);
        // No answer comes near 4 GiB, and a length that is wrong would be an error, not an allow.
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some((_, prefix)) = self
            .0
            .first_chunk_mut::<FRAME>()
            .and_then(|frame| frame.split_first_mut())
        {
            prefix.copy_from_slice(&length);
        }
        self.0
    }

    /// A number, an enum's or a `bool`. Zero is not written, because it is what is read where nothing stands.
    pub(super) fn number(&mut self, field: u8, number: u64) {
        if number > 0 {
            self.0.push(field << 3 | VARINT);
            varint(&mut self.0, number);
        }
    }

    /// Text or bytes. Where they are a field of a message by themselves, empty ones need not be written.
    pub(super) fn text(&mut self, field: u8, text: &[u8]) {
        self.0.push(field << 3 | BYTES);
        varint(&mut self.0, text.len() as u64);
        self.0.extend_from_slice(text);
    }

    /// Text that is put together as it is written.
    pub(super) fn shown(&mut self, field: u8, text: &impl Display) {
        self.message(field, |inside| {
            // The buffer grows, and what we display does not fail.
            let _ = write!(Text(&mut inside.0), "{text}");
        });
    }

    /// What `write` writes, as one field.
    pub(super) fn message(&mut self, field: u8, write: impl FnOnce(&mut Self)) {
        self.0.push(field << 3 | BYTES);
        let at = self.0.len();
        // Most are shorter than 128 bytes, and then their length fits.
        self.0.push(0);
        write(self);
        let length = self.0.len().saturating_sub(at + 1);
        match (u8::try_from(length), self.0.get_mut(at)) {
            (Ok(short), Some(place)) if short < 0x80 => *place = short,
            _ => {
                let mut prefix = Vec::with_capacity(10);
                varint(&mut prefix, length as u64);
                self.0.splice(at..=at, prefix);
            }
        }
    }
}

// === impl Text ===

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

#[cfg(test)]
mod tests;

//! Header blocks (HPACK, RFC 7541). Ours put what all calls say into the table with the first of them, as Envoy does. The
//! other end is told to keep no table, so that what a block of its means does not depend on those before.
//!
//! Of an answer only two fields count, whether `:status` is 200 and what `grpc-status` is. A text has one Huffman code,
//! so a name can be compared as it is; only digits have to be decoded.

use std::net::SocketAddr;

use crate::load::Error;

/// `:method POST`, `:scheme http` and `:status 200` in the static table, and the names of some more.
const METHOD_POST: u8 = 0x80 | 3;
const SCHEME_HTTP: u8 = 0x80 | 6;
const STATUS_200: usize = 8;
const AUTHORITY: u8 = 1;
const PATH: u8 = 4;
const CONTENT_TYPE: u8 = 31;
/// Where the static table ends.
const LAST: u8 = 61;
/// A field that is put into the table.
const INTO_TABLE: u8 = 0x40;

const GRPC_STATUS: &[u8] = b"grpc-status";
/// The same in Huffman's code.
const GRPC_STATUS_CODED: &[u8] = &[0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];

/// What counts of a header block of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// Whether it says `:status 200`.
    pub(super) ok: bool,
    /// What it says of `grpc-status`.
    pub(super) grpc_status: Option<u32>,
}

/// A text, as it is or in Huffman's code.
struct Text<'a> {
    coded: bool,
    bytes: &'a [u8],
}

/// The header blocks of the first call of a connection and of all later ones.
pub(super) fn calls(target: SocketAddr, path: &str) -> Result<[Vec<u8>; 2], Error> {
    let mut first = vec![METHOD_POST, SCHEME_HTTP];
    for (name, value) in [
        (PATH, path),
        (AUTHORITY, &*target.to_string()),
        (CONTENT_TYPE, "application/grpc"),
    ] {
        first.push(INTO_TABLE | name);
        put(&mut first, value)?;
    }
    for (name, value) in [("te", "trailers"), ("grpc-timeout", "200m")] {
        first.push(INTO_TABLE);
        put(&mut first, name)?;
        put(&mut first, value)?;
    }
    // The last of the five has the lowest number. Pseudo-headers come first.
    let table = (1..=5).rev().map(|nth| 0x80 | (LAST + nth));
    let later = [METHOD_POST, SCHEME_HTTP]
        .into_iter()
        .chain(table)
        .collect();
    Ok([first, later])
}

fn put(block: &mut Vec<u8>, text: &str) -> Result<(), Error> {
    let length = u8::try_from(text.len()).ok();
    // What seven bits hold, less the value that says that more follow.
    let length = length.filter(|length| *length < 0x7f);
    block.push(length.ok_or("a header is too long")?);
    block.extend_from_slice(text.as_bytes());
    Ok(())
}

// === impl Fields ===

impl Fields {
    pub(super) fn read(block: &[u8]) -> Result<Self, Error> {
        let mut fields = Self::default();
        let mut rest = block;
        while let Some(first) = rest.first() {
            match first {
                0x80.. => fields.ok |= index(&mut rest, 7)? == STATUS_200,
                // The size of the table: none.
                0x20..=0x3f => {
                    if integer(&mut rest, 5)? != 0 {
                        return Err("the other end keeps a table of headers".into());
                    }
                }
                // To be put into the table, or not.
                0x40.. => fields.literal(&mut rest, 6)?,
                _ => fields.literal(&mut rest, 4)?,
            }
        }
        Ok(fields)
    }

    /// A value behind a name, which is one of the table where the index is not zero.
    fn literal(&mut self, rest: &mut &[u8], bits: u32) -> Result<(), Error> {
        let named = index(rest, bits)? == 0;
        let name = if named { Some(text(rest)?) } else { None };
        let value = text(rest)?;
        if name.is_some_and(|name| name.is_grpc_status()) {
            let status = value.number();
            self.grpc_status = Some(status.ok_or("a `grpc-status` that is no number")?);
        }
        Ok(())
    }
}

/// An index into the static table.
fn index(rest: &mut &[u8], bits: u32) -> Result<usize, Error> {
    match integer(rest, bits)? {
        index if index <= LAST.into() => Ok(index),
        _ => Err("a header refers to one before".into()),
    }
}

/// An integer that begins in this many bits of a byte (RFC 7541 section 5.1).
fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, Error> {
    const SHORT: &str = "a header block is cut off";
    let (first, mut bytes) = rest.split_first().ok_or(SHORT)?;
    let most = (1_u8 << bits) - 1;
    let mut number = usize::from(first & most);
    if number == usize::from(most) {
        for shift in [0, 7, 14, 21] {
            let (next, after) = bytes.split_first().ok_or(SHORT)?;
            bytes = after;
            number += usize::from(next & 0x7f) << shift;
            if next & 0x80 == 0 {
                *rest = bytes;
                return Ok(number);
            }
        }
        return Err("a number in a header block is too large".into());
    }
    *rest = bytes;
    Ok(number)
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<Text<'a>, Error> {
    let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (bytes, after) = rest
        .split_at_checked(length)
        .ok_or("a header block is cut off")?;
    *rest = after;
    Ok(Text { coded, bytes })
}

// === impl Text ===

impl Text<'_> {
    fn is_grpc_status(&self) -> bool {
        let name = if self.coded {
            GRPC_STATUS_CODED
        } else {
            GRPC_STATUS
        };
        self.bytes == name
    }

    /// Up to three digits, where it is that.
    fn number(&self) -> Option<u32> {
        if !self.coded {
            let digits = std::str::from_utf8(self.bytes).ok()?;
            return digits.parse().ok();
        }
        let mut left = match self.bytes.len() {
            length @ 1..=3 => 8 * u32::try_from(length).ok()?,
            _ => return None,
        };
        let bits = self
            .bytes
            .iter()
            .fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let next = |left: u32, count: u32| (bits >> (left - count)) & ((1 << count) - 1);
        let mut number = 0;
        // 0, 1 and 2 have five bits, from 00000; 3 to 9 have six, from 011001.
        while left >= 5 {
            let digit = match next(left, 5) {
                digit @ ..3 => {
                    left -= 5;
                    digit
                }
                _ if left >= 6 && (25..=31).contains(&next(left, 6)) => {
                    left -= 6;
                    next(left + 6, 6) - 22
                }
                _ => break,
            };
            number = number * 10 + digit;
        }
        // What fills the last byte is ones, and less than a byte of them.
        let padded = left < 8 && next(left, left) == (1 << left) - 1;
        padded.then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_plain_and_coded() {
        let plain = [&[0x88, 0x00, 11], GRPC_STATUS, &[2, b'1', b'4']].concat();
        let fields = Fields::read(&plain).unwrap();
        assert_eq!((fields.ok, fields.grpc_status), (true, Some(14)));

        // 0, 7, 10 and 14: RFC 7541, appendix B.
        for (code, value) in [
            (0, &[0x07][..]),
            (7, &[0x77]),
            (10, &[0x08, 0x3f]),
            (14, &[0x0b, 0x5f]),
        ] {
            let length = 0x80 | u8::try_from(value.len()).unwrap();
            let block = [&[0x20, 0x40, 0x88], GRPC_STATUS_CODED, &[length], value].concat();
            let fields = Fields::read(&block).unwrap();
            assert_eq!((fields.ok, fields.grpc_status), (false, Some(code)));
        }
    }

    #[test]
    fn what_depends_on_blocks_before_is_refused() {
        for block in [&[0xbe][..], &[0x7f, 0x00, 0x01, b'0'], &[0x3f, 0xe1, 0x1f]] {
            assert!(Fields::read(block).is_err(), "{block:x?}");
        }
        let cut = [&[0x00, 11], GRPC_STATUS, &[2, b'1']].concat();
        assert!(Fields::read(&cut).is_err());
    }
}

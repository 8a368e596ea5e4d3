//! Bodies in chunks (RFC 9112 §7.1), read strictly: only what every reader of chunks cuts in the same way.

use crate::head::is_token;

/// Reads along a chunked body and says where it ends.
#[derive(Clone, Debug)]
pub struct Chunks {
    state: State,
    /// Trailer lines that may still come.
    trailers_left: usize,
    /// Bytes of trailers that may still come.
    trailer_bytes_left: usize,
    /// Bytes of extensions that may still come in this body.
    extensions_left: usize,
}

/// What some bytes of a chunked body turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of them belong to the body and more must come.
    More,
    /// The body ended after this many of them.
    End(usize),
    /// This many of them are good, the next one is not.
    Malformed(usize),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size {
        digits: u8,
        size: u64,
    },
    Extension {
        size: u64,
        left: usize,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the blank line that ends the body.
    LineStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

/// One chunk's extensions; nobody sends any.
const EXTENSIONS_PER_CHUNK: usize = 1024;
/// All extensions of a body. hyper stops at this many itself.
const EXTENSIONS_PER_BODY: usize = 16 * 1024 - 1;
const TRAILER_BYTES: usize = 8 * 1024;
const TRAILERS: usize = 64;
const SIZE_DIGITS: u8 = 16;

impl Chunks {
    /// At the start of a body. `max_trailers` is how many trailer lines the reader behind this one takes.
    #[must_use]
    pub fn new(max_trailers: usize) -> Self {
        Self {
            state: State::Size { digits: 0, size: 0 },
            trailers_left: TRAILERS.min(max_trailers),
            trailer_bytes_left: TRAILER_BYTES,
            extensions_left: EXTENSIONS_PER_BODY,
        }
    }

    /// Reads on. After an end or a mistake there is nothing more to read.
    pub fn advance(&mut self, bytes: &[u8]) -> Progress {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            // Data is most of a body, so it is skipped and not looked at.
            if let State::Data { left } = self.state {
                let skipped = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                at += skipped;
                self.state = match left.saturating_sub(skipped as u64) {
                    0 => State::DataCr,
                    left => State::Data { left },
                };
                continue;
            }
            let next = rest.first().and_then(|&byte| self.step(byte));
            match next {
                Some(State::End) => {
                    self.state = State::End;
                    return Progress::End(at + 1);
                }
                Some(state) => self.state = state,
                None => return Progress::Malformed(at),
            }
            at += 1;
        }
        Progress::More
    }

    /// The state after one byte that is not data; `None` where the byte may not stand.
    fn step(&mut self, byte: u8) -> Option<State> {
        match (self.state, byte) {
            (State::Size { digits: 1.., size }, b'\r') => Some(State::SizeLf { size }),
            (State::Size { digits: 1.., size }, b';') => Some(State::Extension {
                size,
                left: EXTENSIONS_PER_CHUNK,
            }),
            (State::Size { digits, size }, _) if digits < SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16)?;
                Some(State::Size {
                    digits: digits + 1,
                    size: (size << 4) | u64::from(digit),
                })
            }
            (State::Extension { size, .. }, b'\r') => Some(State::SizeLf { size }),
            (State::Extension { size, left }, b'\t' | b' '..=b'~') => {
                self.extensions_left = self.extensions_left.checked_sub(1)?;
                let left = left.checked_sub(1)?;
                Some(State::Extension { size, left })
            }
            (State::SizeLf { size: 0 }, b'\n') => Some(State::LineStart),
            (State::SizeLf { size }, b'\n') => Some(State::Data { left: size }),
            (State::DataCr, b'\r') => Some(State::DataLf),
            (State::DataLf, b'\n') => Some(State::Size { digits: 0, size: 0 }),
            (State::LineStart, b'\r') => Some(State::EndLf),
            (State::EndLf, b'\n') => Some(State::End),
            (State::LineStart, _) => {
                self.trailers_left = self.trailers_left.checked_sub(1)?;
                self.trailer(is_token(byte), State::TrailerName)
            }
            (State::TrailerName, b':') => self.trailer(true, State::TrailerValue),
            (State::TrailerName, _) => self.trailer(is_token(byte), State::TrailerName),
            (State::TrailerValue, b'\r') => self.trailer(true, State::TrailerLf),
            (State::TrailerValue, _) => self.trailer(
                matches!(byte, b'\t' | b' '..=b'~' | 0x80..),
                State::TrailerValue,
            ),
            (State::TrailerLf, b'\n') => self.trailer(true, State::LineStart),
            _ => None,
        }
    }

    fn trailer(&mut self, allowed: bool, next: State) -> Option<State> {
        self.trailer_bytes_left = self.trailer_bytes_left.checked_sub(1)?;
        allowed.then_some(next)
    }
}

#[cfg(test)]
mod tests;

//! A JSON array, one element at a time, from a file that need not fit into memory.

use std::io::{self, BufRead};
use std::ops::RangeInclusive;

/// Bytes of one element at most.
const MAX_ELEMENT_BYTES: usize = 16 << 20;

/// Depth that an element may nest, the array around it counted.
const MAX_DEPTH: usize = 64;

/// The elements of a JSON array. It is found out where each begins and ends; whether it is JSON is
/// for its reader to see.
#[derive(Debug)]
pub(super) struct Elements<R> {
    input: R,
    place: Place,
    read: u64,
    began: bool,
    element: Vec<u8>,
}

/// Line and column, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// An element and where it begins.
#[derive(Debug)]
pub(super) struct Element<'a> {
    pub(super) place: Place,
    pub(super) text: &'a str,
}

/// Why there are no more elements though the array has not ended.
#[derive(Debug)]
pub(super) enum Broken {
    /// It is not an array, or too deep, or too large.
    Text(Place, String),
    Input(io::Error),
}

// === impl Elements ===

impl<R: BufRead> Elements<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            place: Place { line: 1, column: 1 },
            read: 0,
            began: false,
            element: Vec::new(),
        }
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.read
    }

    /// The next element; `None` at the end of the array, after which there is nothing else.
    pub(super) fn next(&mut self) -> Result<Option<Element<'_>>, Broken> {
        let first = !self.began;
        if first {
            match self.skip_space()? {
                Some(b'[') => self.take()?,
                _ => return Err(self.broken("is not a JSON array of entities")),
            }
            self.began = true;
        }
        match self.skip_space()? {
            Some(b']') => return self.end(),
            Some(b',') if !first => {
                self.take()?;
                self.skip_space()?;
            }
            Some(_) if first => {}
            Some(_) => return Err(self.broken("a comma or the end of the array is missing")),
            None => return Err(self.broken("the array does not end")),
        }
        let place = self.place;
        self.element.clear();
        self.scan()?;
        match std::str::from_utf8(&self.element) {
            Ok(text) => Ok(Some(Element { place, text })),
            Err(_) => Err(Broken::Text(place, "is not text in UTF-8".to_owned())),
        }
    }

    fn end(&mut self) -> Result<Option<Element<'_>>, Broken> {
        self.take()?;
        match self.skip_space()? {
            None => Ok(None),
            Some(_) => Err(self.broken("something follows the array")),
        }
    }

    /// Takes in one element, up to what comes after it.
    fn scan(&mut self) -> Result<(), Broken> {
        let mut depth = 1;
        loop {
            let byte = self.peek()?;
            match byte {
                None => return Err(self.broken("the array does not end")),
                Some(b'"') => {
                    self.string()?;
                    if depth == 1 {
                        return Ok(());
                    }
                    continue;
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        let message = format!("nests more than {MAX_DEPTH} deep");
                        return Err(self.broken(&message));
                    }
                }
                Some(b'}' | b']') if depth == 1 => return self.nonempty(),
                Some(b'}' | b']') => {
                    self.keep()?;
                    depth -= 1;
                    if depth == 1 {
                        return Ok(());
                    }
                    continue;
                }
                Some(b',') if depth == 1 => return self.nonempty(),
                Some(byte) if depth == 1 && SPACE.contains(&byte) => return self.nonempty(),
                Some(_) => {}
            }
            self.keep()?;
        }
    }

    fn nonempty(&self) -> Result<(), Broken> {
        if self.element.is_empty() {
            return Err(self.broken("an entity is missing"));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Broken> {
        self.keep()?;
        loop {
            match self.peek()? {
                None => return Err(self.broken("the array does not end")),
                Some(b'"') => return self.keep(),
                Some(b'\\') => {
                    self.keep()?;
                    self.keep()?;
                }
                Some(_) => self.keep()?,
            }
        }
    }

    fn skip_space(&mut self) -> Result<Option<u8>, Broken> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.take()?,
                other => return Ok(other),
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, Broken> {
        loop {
            match self.input.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Input(error)),
            }
        }
    }

    /// Takes the next byte, if there is one, into the element.
    fn keep(&mut self) -> Result<(), Broken> {
        if self.element.len() >= MAX_ELEMENT_BYTES {
            let message = format!("an entity is larger than {} MiB", MAX_ELEMENT_BYTES >> 20);
            return Err(self.broken(&message));
        }
        if let Some(byte) = self.peek()? {
            self.element.push(byte);
            self.take()?;
        }
        Ok(())
    }

    /// Goes past the next byte, which has been peeked at.
    fn take(&mut self) -> Result<(), Broken> {
        match self.peek()? {
            Some(b'\n') => {
                self.place.line += 1;
                self.place.column = 1;
            }
            // What continues a character is none of its own.
            Some(byte) if !CONTINUES.contains(&byte) => self.place.column += 1,
            Some(_) => {}
            None => return Ok(()),
        }
        self.read += 1;
        self.input.consume(1);
        Ok(())
    }

    fn broken(&self, message: &str) -> Broken {
        Broken::Text(self.place, message.to_owned())
    }
}

/// JSON's white space.
const SPACE: [u8; 4] = *b" \t\r\n";

/// The bytes of a character in UTF-8 after its first.
const CONTINUES: RangeInclusive<u8> = 0x80..=0xbf;

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements with their places, and what ended them.
    fn elements(text: &[u8]) -> (Vec<(usize, usize, String)>, Option<String>) {
        // A buffer so small that everything is cut somewhere.
        let input = io::BufReader::with_capacity(3, text);
        let mut elements = Elements::new(input);
        let mut found = Vec::new();
        loop {
            match elements.next() {
                Ok(Some(Element { place, text })) => {
                    found.push((place.line, place.column, text.to_owned()));
                }
                Ok(None) => return (found, None),
                Err(Broken::Text(place, message)) => {
                    return (
                        found,
                        Some(format!("{}:{}: {message}", place.line, place.column)),
                    );
                }
                Err(Broken::Input(error)) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn elements_come_with_their_places() {
        let text = "\n [ {\"a\":[1,\"]}\\\"\"]},\n\n {\"é\":{}} , 17,\"x\" , null]\n";
        let (found, broken) = elements(text.as_bytes());
        assert_eq!(broken, None);
        let expected = [
            (2, 4, "{\"a\":[1,\"]}\\\"\"]}"),
            (4, 2, "{\"é\":{}}"),
            (4, 13, "17"),
            (4, 16, "\"x\""),
            (4, 22, "null"),
        ];
        assert_eq!(
            found,
            expected.map(|(line, column, text)| (line, column, text.to_owned()))
        );
        assert_eq!(elements(b"[]"), (Vec::new(), None));
    }

    #[test]
    fn what_is_no_array_is_told_where_it_is_none() {
        for (text, expected) in [
            (&b""[..], "1:1: is not a JSON array of entities"),
            (b"{}", "1:1: is not a JSON array of entities"),
            (b"\n[1", "2:3: the array does not end"),
            (b"[{\"a", "1:5: the array does not end"),
            (b"[1 2]", "1:4: a comma or the end of the array is missing"),
            (b"[1,]", "1:4: an entity is missing"),
            (b"[,1]", "1:2: an entity is missing"),
            (b"[1]]", "1:4: something follows the array"),
            (b"[\n\"\xff\"]", "2:1: is not text in UTF-8"),
            (&[b'['; 100], "1:65: nests more than 64 deep"),
        ] {
            let text_of = String::from_utf8_lossy(text);
            assert_eq!(elements(text).1.as_deref(), Some(expected), "{text_of}");
        }
    }
}

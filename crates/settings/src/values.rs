//! Values that settings of every crate share.

mod address;
mod byte_size;
mod secret;
mod span;

pub use address::Address;
pub use byte_size::ByteSize;
pub use secret::Secret;
pub use span::Span;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Visitor};

/// The keyword of a JSON Schema that says in words what a value of the type looks like, for types with a schema of
/// their own. Validators ignore it; problems use it in place of a pattern that nobody wants to read. With
/// `"writeOnly": true` beside it the value is a secret and is not shown in problems.
pub const EXPECTED: &str = "x-expected";

/// Reads a value from text with `parse`.
struct Text<T, F> {
    expected: &'static str,
    parse: F,
    value: PhantomData<T>,
}

impl<T, F: FnOnce(&str) -> Result<T, String>> Text<T, F> {
    fn new(expected: &'static str, parse: F) -> Self {
        Self {
            expected,
            parse,
            value: PhantomData,
        }
    }
}

impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for Text<T, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests;

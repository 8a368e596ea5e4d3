//! `${VAR}` in text values.

use crate::problem::quote;
use crate::{Environment, MAX_FILE_BYTES};

/// Fills in variables, and keeps count of how much text they brought: a small file that names a large variable
/// many times must not grow without bound.
pub(crate) struct Variables<'a> {
    env: Environment<'a>,
    bytes_left: usize,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(env: Environment<'a>) -> Self {
        Self {
            env,
            bytes_left: MAX_FILE_BYTES,
        }
    }

    /// The text with its variables filled in, `None` when it names none, or what is wrong with it.
    ///
    /// `$${` stands for `${` itself. What a variable holds is taken as it is: variables in it are not looked at.
    pub(crate) fn expand(&mut self, text: &str) -> Result<Option<Expanded>, Vec<String>> {
        if !text.contains("${") {
            return Ok(None);
        }
        let mut expanded = Expanded {
            text: String::new(),
            from_variable: false,
        };
        let mut mistakes = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                expanded.text.push_str(before);
                expanded.text.push_str("${");
                rest = after;
                continue;
            }
            expanded.text.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                mistakes.push(
                    "a `${` without its `}`; write `$${` for the characters themselves".to_owned(),
                );
                rest = "";
                break;
            };
            match self.value(name) {
                Ok(value) => expanded.text.push_str(&value),
                Err(mistake) => mistakes.push(mistake),
            }
            expanded.from_variable = true;
            rest = after;
        }
        expanded.text.push_str(rest);
        if mistakes.is_empty() {
            Ok(Some(expanded))
        } else {
            Err(mistakes)
        }
    }

    fn value(&mut self, name: &str) -> Result<String, String> {
        if !is_name(name) {
            return Err(format!(
                "{} is not the name of a variable; write `$${{` for the characters themselves",
                quote(name)
            ));
        }
        let Some(value) = (self.env)(name) else {
            return Err(format!(
                "the environment variable {} is not set",
                quote(name)
            ));
        };
        match self.bytes_left.checked_sub(value.len()) {
            Some(left) => self.bytes_left = left,
            None => {
                return Err(format!(
                    "the variables bring more than {} KiB of text",
                    MAX_FILE_BYTES / 1024
                ));
            }
        }
        Ok(value)
    }
}

/// A text whose variables are filled in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// At least one variable was named; else there were only escapes.
    pub(crate) from_variable: bool,
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

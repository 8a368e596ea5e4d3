//! A schema text into a schema.

use cedar_policy::Schema;
use serde_json::Value;
use settings::Problem;

use super::depth::{MAX_NESTING, excess_nesting};
use super::{Text, place};

/// Reads a schema: JSON where the file's name says so, else Cedar's own syntax.
pub(super) fn read(
    text: &Text,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Option<Schema> {
    if let Some(offset) = excess_nesting(&text.content) {
        problems.push(place::at(
            text,
            offset,
            format!("brackets nest more than {MAX_NESTING} deep"),
        ));
        return None;
    }
    if text
        .path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        // Read as plain JSON first, because only that error says where it is.
        if let Err(error) = serde_json::from_str::<Value>(&text.content) {
            let message = format!("is not valid JSON: {error}");
            problems.push(Problem::at(
                &text.path,
                error.line(),
                error.column(),
                message,
            ));
            return None;
        }
        return match Schema::from_json_str(&text.content) {
            Ok(schema) => Some(schema),
            Err(error) => {
                place::diagnostics(text, &error, problems);
                None
            }
        };
    }
    match Schema::from_cedarschema_str(&text.content) {
        Ok((schema, found)) => {
            for warning in found {
                place::diagnostics(text, &warning, warnings);
            }
            Some(schema)
        }
        Err(error) => {
            place::diagnostics(text, &error, problems);
            None
        }
    }
}

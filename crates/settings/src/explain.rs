//! What a JSON Schema has against a value, in words, and which part of the value has to go for it.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::{Location, LocationSegment};
use serde_json::Value;

use crate::position::{Node, Step};
use crate::problem::quote;
use crate::values::EXPECTED;

/// How many keys or choices a message lists at most.
const LISTED: usize = 16;

/// The kind of a key that has no value.
const NOTHING: &str = "nothing";

/// The kind of a string.
const TEXT: &str = "text";

/// One mistake that the schema found.
pub(crate) struct Finding {
    /// The way to the value that the message is about and that has to go.
    pub(crate) steps: Vec<Step>,
    pub(crate) message: String,
    /// A key that is required and was not there: no news when it was refused before.
    pub(crate) missing: Option<String>,
}

/// Explains one error; `root` knows which values came from variables.
pub(crate) fn explain(error: &ValidationError<'_>, schema: &Value, root: &Node) -> Vec<Finding> {
    let steps = steps(error.instance_path());
    let place = surroundings(error, schema);
    if let Some(words) = place
        .and_then(|place| place.get(EXPECTED))
        .and_then(Value::as_str)
        && !matches!(
            error.kind(),
            Kind::AdditionalProperties { .. } | Kind::Required { .. }
        )
    {
        // `writeOnly` is the schema's word for a secret.
        let secret = place.is_some_and(|place| place.get("writeOnly").is_some());
        let found = if secret {
            String::new()
        } else {
            but_found(error, root)
        };
        return vec![Finding::new(steps, format!("expected {words}{found}"))];
    }
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let known = place.map(known_keys).unwrap_or_default();
            unexpected
                .iter()
                .map(|key| {
                    let mut steps = steps.clone();
                    steps.push(Step::Key(key.clone()));
                    Finding::new(steps, unknown_key(key, &known))
                })
                .collect()
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            explain_choice(error, context, schema, root)
        }
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            vec![Finding {
                steps,
                message: format!("{} is missing", quote(key)),
                missing: Some(key.to_owned()),
            }]
        }
        _ => vec![Finding::new(steps, describe(error, root))],
    }
}

/// The steps down to the place of an error.
pub(crate) fn steps(path: &Location) -> Vec<Step> {
    path.iter()
        .map(|segment| match segment {
            LocationSegment::Property(key) => Step::Key(key.into_owned()),
            LocationSegment::Index(index) => Step::Index(index),
        })
        .collect()
}

/// Where text was found and something else expected: it may have to be read as a number or boolean.
pub(crate) fn mistyped_texts(error: &ValidationError<'_>, found: &mut Vec<Vec<Step>>) {
    match error.kind() {
        Kind::Type { .. } if error.instance().is_string() => {
            found.push(steps(error.instance_path()));
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            for error in context.iter().flatten() {
                mistyped_texts(error, found);
            }
        }
        _ => {}
    }
}

impl Finding {
    fn new(steps: Vec<Step>, message: String) -> Self {
        Self {
            steps,
            message,
            missing: None,
        }
    }
}

/// A value that fits none of several forms: it is explained by the form that it was most likely meant to have.
fn explain_choice(
    error: &ValidationError<'_>,
    branches: &[Vec<ValidationError<'static>>],
    schema: &Value,
    root: &Node,
) -> Vec<Finding> {
    let at = error.instance_path();
    let here = |message| vec![Finding::new(steps(at), message)];
    let (wrong_kind, likely): (Vec<_>, Vec<_>) = branches.iter().partition(|branch| {
        branch
            .iter()
            .any(|error| error.instance_path() == at && matches!(error.kind(), Kind::Type { .. }))
    });
    if likely.is_empty() {
        let mut forms: Vec<String> = Vec::new();
        for error in wrong_kind.into_iter().flatten() {
            let Kind::Type { kind } = error.kind() else {
                continue;
            };
            let words = surroundings(error, schema)
                .and_then(|place| place.get(EXPECTED))
                .and_then(Value::as_str);
            for form in words.map_or_else(|| type_names(kind), |words| vec![words.to_owned()]) {
                // That a value may be left out is no help to who gave one.
                if form != NOTHING && !forms.contains(&form) {
                    forms.push(form);
                }
            }
        }
        return here(format!(
            "expected {}{}",
            forms.join(" or "),
            but_found_kind(error)
        ));
    }
    if let Some(choices) = all_choices(&likely, at) {
        return here(one_of(&choices, error, root));
    }
    let mut ranked: Vec<(usize, &Vec<ValidationError<'static>>)> = likely
        .into_iter()
        .map(|branch| (distance(branch, schema), branch))
        .collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    match ranked.as_slice() {
        [(best, branch), others @ ..] => {
            let tied: Vec<_> = others
                .iter()
                .take_while(|(distance, _)| distance == best)
                .map(|(_, other)| *other)
                .collect();
            let mut forms = vec![*branch];
            forms.extend(tied);
            let heads: Vec<String> = forms
                .iter()
                .filter_map(|branch| required_keys(branch, at, schema))
                .collect();
            if heads.len() > 1 {
                return here(format!("give exactly one of {}", heads.join(", ")));
            }
            branch
                .iter()
                .flat_map(|error| explain(error, schema, root))
                .collect()
        }
        [] => here("does not fit what is expected here".to_owned()),
    }
}

/// How far a value is from a form. Keys that are only misspelt count for little, a wrong tag for much.
fn distance(branch: &[ValidationError<'static>], schema: &Value) -> usize {
    branch
        .iter()
        .map(|error| match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                let known = surroundings(error, schema)
                    .map(known_keys)
                    .unwrap_or_default();
                unexpected
                    .iter()
                    .map(|key| if nearest(key, &known).is_some() { 1 } else { 4 })
                    .sum()
            }
            Kind::Required { .. } => 3,
            Kind::Constant { .. } | Kind::Enum { .. } => 20,
            _ => 2,
        })
        .sum()
}

/// The keys that a mapping of this form must have, when the errors show that it is a mapping.
fn required_keys(
    branch: &[ValidationError<'static>],
    at: &Location,
    schema: &Value,
) -> Option<String> {
    let place = branch
        .iter()
        .filter(|error| error.instance_path() == at)
        .find_map(|error| surroundings(error, schema))?;
    let keys: Vec<String> = place
        .get("required")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .map(quote)
        .collect();
    (!keys.is_empty()).then(|| keys.join(" with "))
}

/// The choices of all forms, when each of them is a choice among fixed values.
fn all_choices(branches: &[&Vec<ValidationError<'static>>], at: &Location) -> Option<Vec<String>> {
    let mut choices = Vec::new();
    for branch in branches {
        let mut found = false;
        for error in *branch {
            match error.kind() {
                Kind::Enum { options } if error.instance_path() == at => {
                    choices.extend(options.as_array()?.iter().filter_map(scalar));
                    found = true;
                }
                Kind::Constant { expected_value } if error.instance_path() == at => {
                    choices.extend(scalar(expected_value));
                    found = true;
                }
                _ => {}
            }
        }
        if !found {
            return None;
        }
    }
    Some(choices)
}

fn describe(error: &ValidationError<'_>, root: &Node) -> String {
    match error.kind() {
        Kind::Type { kind } => {
            let expected = type_names(kind).join(" or ");
            let quotes = match error.instance().as_ref() {
                Value::Bool(_) | Value::Number(_) if expected == TEXT => "; put it in quotes",
                _ => "",
            };
            format!("expected {expected}{}{quotes}", but_found_kind(error))
        }
        Kind::Enum { options } => {
            let choices: Vec<String> = options
                .as_array()
                .map(|options| options.iter().filter_map(scalar).collect())
                .unwrap_or_default();
            one_of(&choices, error, root)
        }
        Kind::Constant { expected_value } => one_of(
            &scalar(expected_value).into_iter().collect::<Vec<_>>(),
            error,
            root,
        ),
        Kind::Minimum { limit } => {
            format!("must be at least {limit}{}", but_found(error, root))
        }
        Kind::Maximum { limit } => {
            format!("must be at most {limit}{}", but_found(error, root))
        }
        Kind::ExclusiveMinimum { limit } => {
            format!("must be more than {limit}{}", but_found(error, root))
        }
        Kind::ExclusiveMaximum { limit } => {
            format!("must be less than {limit}{}", but_found(error, root))
        }
        Kind::MinLength { limit: 1 }
        | Kind::MinItems { limit: 1 }
        | Kind::MinProperties { limit: 1 } => "must not be empty".to_owned(),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::MinProperties { limit } => format!("must have at least {limit} keys"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} keys"),
        Kind::UniqueItems => "holds an item twice".to_owned(),
        Kind::OneOfMultipleValid { .. } => "fits more than one form; give one".to_owned(),
        Kind::Pattern { .. } | Kind::Format { .. } => {
            format!("is not written as expected here{}", but_found(error, root))
        }
        Kind::PropertyNames { error } => {
            format!("a key is not allowed here: {}", describe(error, root))
        }
        Kind::FalseSchema | Kind::Not { .. } => "is not allowed here".to_owned(),
        other => format!("does not fit what is expected here ({})", other.keyword()),
    }
}

fn one_of(choices: &[String], error: &ValidationError<'_>, root: &Node) -> String {
    let mut message = match choices {
        [only] => format!("expected {}", quote(only)),
        choices => format!("expected one of {}", listed(choices)),
    };
    message.push_str(&but_found(error, root));
    if let Some(near) = error
        .instance()
        .as_str()
        .filter(|_| !from_variable(error, root))
        .and_then(|text| nearest(text, choices))
    {
        message.push_str(&format!("; did you mean {}?", quote(near)));
    }
    message
}

fn unknown_key(key: &str, known: &[String]) -> String {
    if let Some(near) = nearest(key, known) {
        return format!("unknown key; did you mean {}?", quote(near));
    }
    if known.is_empty() {
        return "unknown key".to_owned();
    }
    format!("unknown key; known are {}", listed(known))
}

fn listed(names: &[String]) -> String {
    let mut text = names
        .iter()
        .take(LISTED)
        .map(|name| quote(name))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > LISTED {
        text.push_str(", …");
    }
    text
}

fn nearest<'k>(name: &str, known: &'k [String]) -> Option<&'k str> {
    // A long name cannot be a slip of the pen, and comparing it would take long.
    if name.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let name = plain(name);
    let slips = match name.len() {
        0..=2 => 0,
        3..=5 => 1,
        6..=8 => 2,
        _ => 3,
    };
    known
        .iter()
        .map(|known| (strsim::osa_distance(&name, &plain(known)), known.as_str()))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The schema that holds the keyword which failed.
fn surroundings<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Option<&'s Value> {
    let (parent, _) = error.schema_path().as_str().rsplit_once('/')?;
    schema.pointer(parent)
}

fn known_keys(place: &Value) -> Vec<String> {
    place
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default()
}

/// `, not …` with a value that is short, and not from a variable.
fn but_found(error: &ValidationError<'_>, root: &Node) -> String {
    match error.instance().as_ref() {
        Value::Null | Value::Array(_) | Value::Object(_) => but_found_kind(error),
        _ if from_variable(error, root) => ", not what the variable holds".to_owned(),
        value => scalar(value)
            .map(|text| format!(", not {}", quote(&text)))
            .unwrap_or_default(),
    }
}

fn but_found_kind(error: &ValidationError<'_>) -> String {
    let kind = match error.instance().as_ref() {
        Value::Null => NOTHING,
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => TEXT,
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    };
    format!(", not {kind}")
}

fn from_variable(error: &ValidationError<'_>, root: &Node) -> bool {
    root.walk(&steps(error.instance_path())).node.from_variable
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

fn type_names(kind: &TypeKind) -> Vec<String> {
    let types: Vec<&str> = match kind {
        TypeKind::Single(kind) => vec![kind.as_str()],
        TypeKind::Multiple(kinds) => kinds.iter().map(|kind| kind.as_str()).collect(),
    };
    let several = types.len() > 1;
    types
        .into_iter()
        .filter(|name| !several || *name != "null")
        .map(|name| {
            match name {
                "null" => NOTHING,
                "boolean" => "true or false",
                "integer" => "a whole number",
                "number" => "a number",
                "string" => TEXT,
                "array" => "a list",
                _ => "a mapping",
            }
            .to_owned()
        })
        .collect()
}

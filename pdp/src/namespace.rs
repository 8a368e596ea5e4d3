//! Names as people write them, and the Cedar names that they stand for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::str::FromStr;

use cedar_policy::{EntityId, EntityTypeName, EntityUid};
use foldhash::fast::RandomState;

use crate::one_line::one_line;

/// The namespace that unqualified type names are taken to be in. A name with `::` in it is already
/// qualified.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: Option<String>,
    action: EntityTypeName,
}

/// A name that is not a Cedar name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a valid {kind}")]
pub struct NameError {
    name: String,
    kind: &'static str,
}

thread_local! {
    /// Names of types that were read before: questions name the same few, and Cedar reads them with a regular
    /// expression. Each thread has its own, so that none waits for another.
    static KNOWN: RefCell<HashMap<Box<str>, EntityTypeName, RandomState>> = RefCell::default();
}

/// How many of them are kept, and how long they may be in bytes: callers choose what they write.
const MOST_KNOWN: usize = 256;
const LONGEST_KNOWN: usize = 128;

// === impl Namespace ===

impl Namespace {
    /// The namespace called `name`, or the empty one.
    ///
    /// # Errors
    /// When the name is not a Cedar name.
    pub fn new(name: Option<&str>) -> Result<Self, NameError> {
        let action = match name {
            None => "Action".to_owned(),
            Some(name) => format!("{name}::Action"),
        };
        let action = parse_type(&action).map_err(|_| NameError {
            name: name.unwrap_or_default().to_owned(),
            kind: "namespace",
        })?;
        Ok(Self {
            name: name.map(str::to_owned),
            action,
        })
    }

    /// Its name, `None` for the empty one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The type of its actions.
    pub(crate) fn action_type(&self) -> &EntityTypeName {
        &self.action
    }

    /// The entity type that `name` stands for.
    ///
    /// # Errors
    /// When the name is not a Cedar name.
    pub fn entity_type(&self, name: &str) -> Result<EntityTypeName, NameError> {
        match &self.name {
            Some(namespace) if !name.contains("::") => {
                if name == "Action" {
                    return Ok(self.action.clone());
                }
                parse_type(&format!("{namespace}::{name}")).map_err(|_| type_error(name))
            }
            _ => parse_type(name),
        }
    }

    /// The entity of the type that `type_name` stands for, with this id.
    ///
    /// # Errors
    /// When the type name is not a Cedar name.
    pub fn entity(&self, type_name: &str, id: &str) -> Result<EntityUid, NameError> {
        Ok(EntityUid::from_type_name_and_id(
            self.entity_type(type_name)?,
            EntityId::new(id),
        ))
    }

    /// The entity that `text` names in Cedar syntax, as in `User::"alice"`.
    ///
    /// # Errors
    /// When the text is not an entity in Cedar syntax.
    pub fn entity_literal(&self, text: &str) -> Result<EntityUid, NameError> {
        let uid = EntityUid::from_str(text).map_err(|_| NameError {
            name: one_line(text),
            kind: "entity",
        })?;
        match &self.name {
            Some(_) if uid.type_name().namespace_components().next().is_none() => {
                Ok(EntityUid::from_type_name_and_id(
                    self.entity_type(uid.type_name().basename())?,
                    uid.id().clone(),
                ))
            }
            _ => Ok(uid),
        }
    }

    /// The action that `text` names: a bare id, as in `update_user`, or an entity in Cedar syntax.
    ///
    /// # Errors
    /// When the text looks like an entity (it holds `::"`) but is none.
    pub fn action(&self, text: &str) -> Result<EntityUid, NameError> {
        if text.contains("::\"") {
            return self.entity_literal(text);
        }
        Ok(EntityUid::from_type_name_and_id(
            self.action.clone(),
            EntityId::new(text),
        ))
    }
}

impl Default for Namespace {
    /// The empty namespace.
    fn default() -> Self {
        let action = EntityUid::from_str("Action::\"\"").map(|uid| uid.type_name().clone());
        #[expect(clippy::expect_used, reason = "a constant, held by a test")]
        let action = action.expect("`Action` is a type name");
        Self { name: None, action }
    }
}

fn parse_type(name: &str) -> Result<EntityTypeName, NameError> {
    let parse = || EntityTypeName::from_str(name).map_err(|_| type_error(name));
    if name.len() > LONGEST_KNOWN {
        return parse();
    }
    KNOWN.with_borrow_mut(|known| {
        if let Some(parsed) = known.get(name) {
            return Ok(parsed.clone());
        }
        let parsed = parse()?;
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(name.into(), parsed.clone());
        Ok(parsed)
    })
}

fn type_error(name: &str) -> NameError {
    NameError {
        name: one_line(name),
        kind: "entity type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unqualified_names_take_the_namespace() {
        let fortress = Namespace::new(Some("Fortress")).unwrap();
        assert_eq!(
            fortress.entity_type("User").unwrap().to_string(),
            "Fortress::User"
        );
        assert_eq!(
            fortress.entity_type("Other::User").unwrap().to_string(),
            "Other::User"
        );
        assert_eq!(
            fortress.entity("User", "a\"b").unwrap().to_string(),
            r#"Fortress::User::"a\"b""#
        );
        assert_eq!(
            fortress.entity_literal(r#"User::"a""#).unwrap().to_string(),
            r#"Fortress::User::"a""#
        );
        assert_eq!(
            fortress
                .entity_literal(r#"A::User::"a""#)
                .unwrap()
                .to_string(),
            r#"A::User::"a""#
        );
        assert_eq!(
            fortress.action("view").unwrap().to_string(),
            r#"Fortress::Action::"view""#
        );
        assert_eq!(
            fortress.action(r#"Action::"view""#).unwrap().to_string(),
            r#"Fortress::Action::"view""#
        );
    }

    #[test]
    fn the_empty_namespace_changes_nothing() {
        let none = Namespace::default();
        assert_eq!(none.entity_type("User").unwrap().to_string(), "User");
        assert_eq!(
            none.action("view").unwrap().to_string(),
            r#"Action::"view""#
        );
        assert_eq!(none.name(), None);
    }

    #[test]
    fn what_was_read_before_is_read_the_same_however_much_it_was() {
        let none = Namespace::default();
        let names = (0..2 * MOST_KNOWN).map(|number| format!("A{}::T{number}", "b".repeat(number)));
        let names: Vec<String> = names.collect();
        for name in names.iter().chain(&names) {
            assert_eq!(none.entity_type(name).unwrap().to_string(), *name);
            assert!(none.entity_type(&format!("{name} ")).is_err());
            assert!(none.entity_type(&format!("{name} ")).is_err());
        }
        KNOWN.with_borrow(|known| {
            assert!(known.len() <= MOST_KNOWN);
            assert!(known.keys().all(|name| name.len() <= LONGEST_KNOWN));
        });
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert!(Namespace::new(Some("a b")).is_err());
        assert!(Namespace::new(Some("")).is_err());
        let none = Namespace::default();
        assert!(none.entity_type("User\"").is_err());
        assert!(none.entity_type("").is_err());
        assert!(none.entity_literal("User::alice").is_err());
        assert!(none.action(r#"Action::"view"#).is_err());
        assert!(
            Namespace::new(Some("A"))
                .unwrap()
                .entity_type("B c")
                .is_err()
        );
    }
}

//! What names mean: AuthZEN's types and actions in Cedar.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};

use crate::decision_log::Literal;
use crate::namespace::Namespace;

/// What AuthZEN's types are in Cedar.
#[derive(Debug, Clone)]
pub(super) struct Types {
    renamed: HashMap<String, EntityTypeName>,
    namespace: Namespace,
}

/// A subject or a resource, as it was named.
#[derive(Debug, Clone)]
pub(super) enum Party {
    /// A Cedar entity, stored or not.
    Entity(EntityUid),
    /// Of a type that no Cedar type can be called.
    Nameless { type_name: String, id: String },
}

// === impl Types ===

impl Types {
    /// Reads a list of renamed types. Where there is a schema, it must know each of them.
    ///
    /// # Errors
    /// Every mistake, with its key.
    pub(super) fn new(
        renamed: &BTreeMap<String, String>,
        namespace: &Namespace,
        schema: Option<&Schema>,
    ) -> Result<Self, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let mut known = HashMap::new();
        for (name, cedar) in renamed {
            let mut problem = |message| problems.push((format!("types.{name}"), message));
            if name.is_empty() {
                problem("must have a name".to_owned());
                continue;
            }
            match namespace.entity_type(cedar) {
                Err(error) => problem(error.to_string()),
                Ok(cedar) => {
                    if schema.is_some_and(|schema| schema.entity_types().all(|ty| *ty != cedar)) {
                        problem(format!("the schema has no entity type `{cedar}`"));
                    }
                    known.insert(name.clone(), cedar);
                }
            }
        }
        if problems.is_empty() {
            Ok(Self {
                renamed: known,
                namespace: namespace.clone(),
            })
        } else {
            Err(problems)
        }
    }

    /// The Cedar type that `name` stands for; `None` for a name that no Cedar type can have.
    pub(super) fn entity_type(&self, name: &str) -> Option<EntityTypeName> {
        match self.renamed.get(name) {
            Some(known) => Some(known.clone()),
            None => self.namespace.entity_type(name).ok(),
        }
    }

    pub(super) fn party(&self, type_name: String, id: String) -> Party {
        match self.entity_type(&type_name) {
            Some(type_name) => Party::Entity(entity(type_name, &id)),
            None => Party::Nameless { type_name, id },
        }
    }

    /// The action of this name: that with this id in the namespace. Those of other namespaces are
    /// named in Cedar syntax, as in `Files::Action::"view"`.
    pub(super) fn action(&self, name: &str) -> EntityUid {
        self.namespace.action(name).unwrap_or_else(|_| {
            let own = self.namespace.action_type();
            entity(own.clone(), name)
        })
    }

    /// The name that stands for `action`: the reverse of [`Types::action`].
    pub(super) fn action_name(&self, action: &EntityUid) -> String {
        let id = action.id().unescaped();
        if self.action(id) == *action {
            id.to_owned()
        } else {
            action.to_string()
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entity(uid) => Literal(uid).fmt(f),
            Self::Nameless { type_name, id } => {
                write!(f, "{}::\"{}\"", type_name.escape_debug(), id.escape_debug())
            }
        }
    }
}

pub(super) fn entity(type_name: EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(type_name, EntityId::new(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types() -> Types {
        let renamed = [
            ("user".to_owned(), "User".to_owned()),
            ("a b".to_owned(), "Files::Doc".to_owned()),
        ];
        Types::new(
            &renamed.into(),
            &Namespace::new(Some("Shop")).unwrap(),
            None,
        )
        .unwrap()
    }

    #[test]
    fn types_are_renamed_or_take_the_namespace() {
        let types = types();
        for (name, cedar) in [
            ("user", Some("Shop::User")),
            ("User", Some("Shop::User")),
            ("a b", Some("Files::Doc")),
            ("Files::Doc", Some("Files::Doc")),
            ("b c", None),
            ("", None),
            ("urn:x:y", None),
        ] {
            let found = types.entity_type(name).map(|name| name.to_string());
            assert_eq!(found.as_deref(), cedar, "{name}");
        }
        let nameless = types.party("b\nc".into(), "1\"".into());
        assert_eq!(nameless.to_string(), "b\\nc::\"1\\\"\"");
    }

    #[test]
    fn an_action_and_its_name_stand_for_each_other() {
        let types = types();
        for (name, cedar) in [
            ("read", "Shop::Action::\"read\""),
            ("", "Shop::Action::\"\""),
            ("read it \"all\"", "Shop::Action::\"read it \\\"all\\\"\""),
            ("Files::Action::\"read\"", "Files::Action::\"read\""),
            (
                "Files::Action::\"read",
                "Shop::Action::\"Files::Action::\\\"read\"",
            ),
        ] {
            let action = types.action(name);
            assert_eq!(action.to_string(), cedar);
            assert_eq!(types.action_name(&action), name);
        }
        // One that reads like an action of elsewhere has to be named in full.
        let odd = entity(
            types.namespace.action_type().clone(),
            "Files::Action::\"read\"",
        );
        assert_eq!(types.action(&types.action_name(&odd)), odd);
    }
}

//! Where every value of a file stands, and whether it was refused.

use std::fmt::Write as _;

use serde_json::Value;

use crate::problem::one_line;

/// A value's place in the file. The tree has the shape of the value it belongs to.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// The text, or a part of it, came from a variable: it may be a secret and is never shown.
    pub(crate) from_variable: bool,
    /// An unquoted text with a variable in it: it may turn out to be a number or a boolean.
    pub(crate) retypable: bool,
    /// The value is wrong and left out of what becomes the typed settings.
    pub(crate) refused: bool,
    pub(crate) children: Children,
}

#[derive(Debug)]
pub(crate) enum Children {
    None,
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// One step down from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// What a walk arrived at.
pub(crate) struct Found<'a> {
    /// The value, or its nearest ancestor that the file has.
    pub(crate) node: &'a Node,
    /// The way there as the file has it: refused items of lists are counted.
    pub(crate) steps: Vec<Step>,
    /// The walk ended where it was meant to.
    pub(crate) exact: bool,
}

impl Node {
    /// Follows steps that were taken in the value without its refused parts.
    pub(crate) fn walk(&self, steps: &[Step]) -> Found<'_> {
        let mut found = self.start();
        for step in steps {
            if !found.exact {
                break;
            }
            match step {
                Step::Key(key) => found.enter_key(key),
                Step::Index(index) => found.enter_index(*index),
            }
        }
        found
    }

    /// Follows a key path such as `issuers[0].leeway`. Keys may hold any character: the longest one that fits wins.
    pub(crate) fn walk_key(&self, key: &str) -> Found<'_> {
        let mut found = self.start();
        let mut rest = key;
        while found.exact && !rest.is_empty() {
            rest = match index_at_start(rest) {
                Some((index, after)) => {
                    found.enter_index(index);
                    after
                }
                None => {
                    let rest = rest.strip_prefix('.').unwrap_or(rest);
                    let longest = found.node.longest_key(rest);
                    found.enter_key(longest.unwrap_or(rest));
                    longest
                        .and_then(|key| rest.strip_prefix(key))
                        .unwrap_or_default()
                }
            };
        }
        found
    }

    /// Whether the mapping at steps that a walk returned was given this key, be it refused or not.
    pub(crate) fn was_given(&self, steps: &[Step], key: &str) -> bool {
        let mapping = steps
            .iter()
            .try_fold(self, |node, step| match (&node.children, step) {
                (Children::List(items), Step::Index(index)) => items.get(*index),
                (Children::Map(entries), Step::Key(key)) => entries
                    .iter()
                    .find(|(name, _)| name == key)
                    .map(|(_, node)| node),
                _ => None,
            });
        mapping.is_some_and(|mapping| match &mapping.children {
            Children::Map(entries) => entries.iter().any(|(name, _)| name == key),
            _ => false,
        })
    }

    /// Marks the value at steps that a walk returned; nothing happens when there is none.
    pub(crate) fn refuse(&mut self, steps: &[Step]) {
        let mut node = self;
        for step in steps {
            let next = match (&mut node.children, step) {
                (Children::List(items), Step::Index(index)) => items.get_mut(*index),
                (Children::Map(entries), Step::Key(key)) => entries
                    .iter_mut()
                    .find(|(name, _)| name == key)
                    .map(|(_, node)| node),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => return,
            }
        }
        node.refused = true;
    }

    /// The value without its refused parts.
    pub(crate) fn keep(&self, value: &Value) -> Value {
        match (&self.children, value) {
            (Children::List(nodes), Value::Array(items)) => nodes
                .iter()
                .zip(items)
                .filter(|(node, _)| !node.refused)
                .map(|(node, item)| node.keep(item))
                .collect(),
            (Children::Map(nodes), Value::Object(entries)) => Value::Object(
                nodes
                    .iter()
                    .filter(|(_, node)| !node.refused)
                    .filter_map(|(key, node)| Some((key.clone(), node.keep(entries.get(key)?))))
                    .collect(),
            ),
            _ => value.clone(),
        }
    }

    /// Whether this value or a part of it was refused.
    pub(crate) fn any_refused(&self) -> bool {
        self.refused
            || match &self.children {
                Children::None => false,
                Children::List(items) => items.iter().any(Self::any_refused),
                Children::Map(entries) => entries.iter().any(|(_, node)| node.any_refused()),
            }
    }

    fn start(&self) -> Found<'_> {
        Found {
            node: self,
            steps: Vec::new(),
            exact: true,
        }
    }

    fn longest_key<'t>(&self, text: &'t str) -> Option<&'t str> {
        let Children::Map(entries) = &self.children else {
            return None;
        };
        let length = entries
            .iter()
            .filter(|(key, _)| {
                text.strip_prefix(key.as_str()).is_some_and(|after| {
                    after.is_empty() || after.starts_with('.') || after.starts_with('[')
                })
            })
            .map(|(key, _)| key.len())
            .max()?;
        text.get(..length)
    }
}

impl<'a> Found<'a> {
    fn enter_key(&mut self, key: &str) {
        let child = match &self.node.children {
            Children::Map(entries) => entries.iter().find(|(name, _)| name == key),
            _ => None,
        };
        match child {
            Some((name, node)) => self.arrive(node, Step::Key(name.clone())),
            None => self.exact = false,
        }
    }

    fn enter_index(&mut self, index: usize) {
        let child = match &self.node.children {
            Children::List(items) => items
                .iter()
                .enumerate()
                .filter(|(_, node)| !node.refused)
                .nth(index),
            _ => None,
        };
        match child {
            Some((index, node)) => self.arrive(node, Step::Index(index)),
            None => self.exact = false,
        }
    }

    fn arrive(&mut self, node: &'a Node, step: Step) {
        self.node = node;
        self.steps.push(step);
    }
}

/// Steps as the path of a key: `issuers[0].leeway`.
pub(crate) fn key_path(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Index(index) => {
                // Writing to a string cannot fail.
                let _ = write!(path, "[{index}]");
            }
            Step::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&one_line(key));
            }
        }
    }
    path
}

fn index_at_start(text: &str) -> Option<(usize, &str)> {
    let (digits, after) = text.strip_prefix('[')?.split_once(']')?;
    Some((digits.parse().ok()?, after))
}

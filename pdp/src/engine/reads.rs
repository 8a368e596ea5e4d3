//! What a condition can read of a question, so that what it does not read need not be compared to
//! know that its answer is the same.

use std::collections::{BTreeSet, HashMap};

use smol_str::SmolStr;

use super::compile::{Binary, Op};
use crate::uid::Uid;
use crate::value::Value;

/// What a condition can read besides the names of principal, action and resource.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) facts: BTreeSet<Fact>,
    /// Whether it looks at entities that no fact tells of, as those that a tag names.
    pub(super) others: bool,
}

/// One thing that can be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Fact {
    /// What a path leads to, and all that lies below it. An empty path reads all of the context.
    Value(Path),
    /// Whether a path leads anywhere.
    Has(Path),
    /// What is above the entity that a path leads to.
    Ancestors(Path),
    /// The tags of the entity that a path leads to.
    Tags(Path),
}

/// What is followed, name by name. It may lead through entities: then it reads their attributes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Path {
    pub(super) root: Root,
    pub(super) names: Vec<SmolStr>,
}

/// Where a path begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Root {
    Principal,
    Action,
    Resource,
    Context,
    /// An entity that the policy names.
    Named(Uid),
}

/// Facts that conditions read, each once, by number.
#[derive(Debug, Default)]
pub(super) struct Facts {
    numbers: HashMap<Fact, u32>,
}

// === impl Facts ===

impl Facts {
    pub(super) fn number(&mut self, fact: Fact) -> u32 {
        // There is not the memory for so many facts that their numbers would run out.
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(fact).or_insert(next)
    }

    /// All of them, each in the place of its number.
    pub(super) fn into_list(self) -> Box<[Fact]> {
        let mut all: Vec<(Fact, u32)> = self.numbers.into_iter().collect();
        all.sort_unstable_by_key(|(_, number)| *number);
        all.into_iter().map(|(fact, _)| fact).collect()
    }
}

// === impl Reads ===

impl Reads {
    pub(super) fn of(op: &Op) -> Self {
        let mut reads = Self::default();
        reads.value(op);
        reads
    }

    /// Whether it can read `context.now`, which is never the same again.
    pub(super) fn now(&self) -> bool {
        self.facts.iter().any(|fact| match fact {
            Fact::Value(path) => {
                path.root == Root::Context && path.names.first().is_none_or(|name| name == "now")
            }
            Fact::Has(_) | Fact::Ancestors(_) | Fact::Tags(_) => false,
        })
    }

    /// The value of `op` is used.
    fn value(&mut self, op: &Op) {
        if let Some(path) = self.path(op) {
            self.end(path);
        }
    }

    /// The value that a path leads to is used.
    fn end(&mut self, path: Path) {
        // Names of entities are part of every question, and of every policy.
        if path.root == Root::Context || !path.names.is_empty() {
            self.facts.insert(Fact::Value(path));
        }
    }

    /// The entity that `op` is has to be looked at.
    fn entity(&mut self, op: &Op, read: fn(Path) -> Fact) {
        match self.path(op) {
            Some(path) => {
                self.end(path.clone());
                self.facts.insert(read(path));
            }
            None => self.others = true,
        }
    }

    fn member<'n>(
        &mut self,
        op: &Op,
        names: impl IntoIterator<Item = &'n SmolStr>,
    ) -> Option<Path> {
        let path = self.path(op);
        self.others |= path.is_none();
        path.map(|mut path| {
            path.names.extend(names.into_iter().cloned());
            path
        })
    }

    /// Where the value of `op` comes from. When that is not known, its operands have been read.
    fn path(&mut self, op: &Op) -> Option<Path> {
        let root = match op {
            Op::Principal => Root::Principal,
            Op::Action => Root::Action,
            Op::Resource => Root::Resource,
            Op::Context => Root::Context,
            Op::Constant(Value::Entity(uid)) => Root::Named(uid.clone()),
            Op::Attribute(of, name) => return self.member(of, [name]),
            _ => {
                self.operands(op);
                return None;
            }
        };
        let names = Vec::new();
        Some(Path { root, names })
    }

    fn operands(&mut self, op: &Op) {
        match op {
            Op::Has(of, name) => self.has(of, std::slice::from_ref(name)),
            Op::HasPath(of, names) => self.has(of, names),
            Op::InAnyOf(of, _) => self.entity(of, Fact::Ancestors),
            Op::Two(Binary::In, two) => {
                let [left, right] = &**two;
                self.entity(left, Fact::Ancestors);
                self.value(right);
            }
            Op::Two(Binary::GetTag | Binary::HasTag, two) => {
                let [of, tag] = &**two;
                self.entity(of, Fact::Tags);
                self.value(tag);
            }
            _ => op
                .operands()
                .into_iter()
                .for_each(|below| self.value(below)),
        }
    }

    fn has(&mut self, of: &Op, names: &[SmolStr]) {
        if let Some(path) = self.member(of, names) {
            self.facts.insert(Fact::Has(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::Expression;

    use super::super::compile::Program;
    use super::*;

    /// `principal.a, context.b.c; ancestors; tags; others`
    fn told(condition: &str) -> String {
        let condition: Expression = condition.parse().unwrap();
        let reads = Reads::of(&Program::new(condition.as_ref()).root);
        let path = |path: &Path| {
            let root = match &path.root {
                Root::Named(uid) => uid.to_string(),
                root => format!("{root:?}").to_lowercase(),
            };
            let names = path.names.iter().map(|name| format!(".{name}"));
            root + &names.collect::<String>()
        };
        let [mut values, mut ancestors, mut tags] = [const { Vec::new() }; 3];
        for fact in &reads.facts {
            match fact {
                Fact::Value(of) => values.push(path(of)),
                Fact::Has(of) => values.push(path(of) + "?"),
                Fact::Ancestors(of) => ancestors.push(path(of)),
                Fact::Tags(of) => tags.push(path(of)),
            }
        }
        format!(
            "{}; {}; {}; {}{}",
            values.join(", "),
            ancestors.join(", "),
            tags.join(", "),
            if reads.others { "others" } else { "" },
            if reads.now() { "now" } else { "" },
        )
    }

    #[test]
    fn what_is_read_is_known() {
        for (condition, expected) in [
            ("true", "; ; ; "),
            ("principal == resource", "; ; ; "),
            (
                "principal.a.b > context.c",
                "principal.a.b, context.c; ; ; ",
            ),
            (
                "context has a.b && resource has c",
                "resource.c?, context.a.b?; ; ; ",
            ),
            ("context == {}", "context; ; ; now"),
            (
                "context.now < context.soon",
                "context.now, context.soon; ; ; now",
            ),
            ("context.other.now == 1", "context.other.now; ; ; "),
            (r#"principal in [User::"a"]"#, "; principal; ; "),
            ("resource in principal.team", "principal.team; resource; ; "),
            ("context.who in resource", "context.who; context.who; ; "),
            (
                "context.who.boss in resource.teams",
                "resource.teams, context.who.boss; context.who.boss; ; ",
            ),
            (r#"User::"a".level == 1"#, r#"User::"a".level; ; ; "#),
            (r#"User::"a" in principal"#, r#"; User::"a"; ; "#),
            (r#"action in Action::"a""#, "; action; ; "),
            (
                r#"resource.hasTag("a") && resource.getTag(context.b) == """#,
                "context.b; ; resource; ",
            ),
            (
                r#"principal.boss.getTag("a") == """#,
                "principal.boss; ; principal.boss; ",
            ),
            (
                r#"principal.getTag("boss").level == 1"#,
                "; ; principal; others",
            ),
            (
                r#"principal in resource.getTag("team")"#,
                "; principal; resource; ",
            ),
            (
                "(if principal.a then principal else resource).b",
                "principal.a; ; ; others",
            ),
            (
                "[principal.a].contains({b: context.c})",
                "principal.a, context.c; ; ; ",
            ),
        ] {
            assert_eq!(told(condition), expected, "{condition}");
        }
    }
}

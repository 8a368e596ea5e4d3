//! What a condition can read of a question, so that what it does not read need not be compared to
//! know that its answer is the same.

use std::collections::BTreeSet;

use smol_str::SmolStr;

use super::compile::{Binary, Op};

/// What a condition can read besides the names of principal, action and resource.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Reads {
    /// What it follows, name by name. A path may lead through entities: then it reads their
    /// attributes. What lies below its end is read too; an empty one reads all of the context.
    pub(crate) paths: BTreeSet<(Root, Box<[SmolStr]>)>,
    /// Whose ancestors it asks for.
    pub(crate) ancestors: BTreeSet<Root>,
    /// Whose tags it asks for.
    pub(crate) tags: BTreeSet<Root>,
    /// Whether it looks at entities that no path tells of, as those that the policy names.
    pub(crate) others: bool,
}

/// Where a path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Root {
    Principal,
    Action,
    Resource,
    Context,
}

/// Where a value comes from.
enum Origin {
    Path(Root, Vec<SmolStr>),
    Elsewhere,
}

// === impl Reads ===

impl Reads {
    pub(super) fn of(op: &Op) -> Self {
        let mut reads = Self::default();
        reads.value(op);
        reads
    }

    /// Whether it can read `context.now`, which is never the same again.
    #[cfg_attr(not(test), expect(dead_code, reason = "asked by the decision cache"))]
    pub(crate) fn now(&self) -> bool {
        self.paths.iter().any(|(root, path)| {
            *root == Root::Context && path.first().is_none_or(|name| name == "now")
        })
    }

    /// Adds what another condition reads.
    #[cfg_attr(not(test), expect(dead_code, reason = "asked by the decision cache"))]
    pub(crate) fn add(&mut self, other: &Self) {
        self.paths.extend(other.paths.iter().cloned());
        self.ancestors.extend(&other.ancestors);
        self.tags.extend(&other.tags);
        self.others |= other.others;
    }

    /// The value of `op` is used.
    fn value(&mut self, op: &Op) {
        if let Origin::Path(root, path) = self.origin(op) {
            self.path(root, path);
        }
    }

    fn path(&mut self, root: Root, path: Vec<SmolStr>) {
        // Names of entities are part of every question.
        if root == Root::Context || !path.is_empty() {
            self.paths.insert((root, path.into_boxed_slice()));
        }
    }

    /// The entity that `op` is has to be looked at: of the three of the question it is known what
    /// is read.
    fn entity(&mut self, op: &Op, read: impl FnOnce(&mut Self) -> &mut BTreeSet<Root>) {
        match self.origin(op) {
            Origin::Path(root, path) if root != Root::Context && path.is_empty() => {
                read(self).insert(root);
            }
            Origin::Path(root, path) => {
                self.path(root, path);
                self.others = true;
            }
            Origin::Elsewhere => self.others = true,
        }
    }

    fn member<'n>(&mut self, op: &Op, names: impl IntoIterator<Item = &'n SmolStr>) -> Origin {
        match self.origin(op) {
            Origin::Path(root, mut path) => {
                path.extend(names.into_iter().cloned());
                Origin::Path(root, path)
            }
            Origin::Elsewhere => {
                self.others = true;
                Origin::Elsewhere
            }
        }
    }

    fn origin(&mut self, op: &Op) -> Origin {
        match op {
            Op::Principal => return Origin::Path(Root::Principal, Vec::new()),
            Op::Action => return Origin::Path(Root::Action, Vec::new()),
            Op::Resource => return Origin::Path(Root::Resource, Vec::new()),
            Op::Context => return Origin::Path(Root::Context, Vec::new()),
            Op::Attribute(of, name) => return self.member(of, [name]),
            Op::Has(of, name) => self.has(of, std::slice::from_ref(name)),
            Op::HasPath(of, names) => self.has(of, names),
            Op::InAnyOf(of, _) => self.entity(of, |reads| &mut reads.ancestors),
            Op::Two(Binary::In, two) => {
                let [left, right] = &**two;
                self.entity(left, |reads| &mut reads.ancestors);
                self.value(right);
            }
            Op::Two(Binary::GetTag | Binary::HasTag, two) => {
                let [of, tag] = &**two;
                self.entity(of, |reads| &mut reads.tags);
                self.value(tag);
            }
            _ => op
                .operands()
                .into_iter()
                .for_each(|below| self.value(below)),
        }
        Origin::Elsewhere
    }

    fn has(&mut self, of: &Op, names: &[SmolStr]) {
        if let Origin::Path(root, path) = self.member(of, names) {
            self.path(root, path);
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
        let mut reads = Reads::default();
        reads.add(&Program::new(condition.as_ref()).reads);
        let root = |root: &Root| format!("{root:?}").to_lowercase();
        let paths = reads.paths.iter().map(|(of, path)| {
            let names = path.iter().map(|name| format!(".{name}"));
            root(of) + &names.collect::<String>()
        });
        let roots = |of: &BTreeSet<Root>| of.iter().map(root).collect::<Vec<_>>().join(", ");
        format!(
            "{}; {}; {}; {}{}",
            paths.collect::<Vec<_>>().join(", "),
            roots(&reads.ancestors),
            roots(&reads.tags),
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
                "resource.c, context.a.b; ; ; ",
            ),
            ("context == {}", "context; ; ; now"),
            (
                "context.now < context.soon",
                "context.now, context.soon; ; ; now",
            ),
            ("context.other.now == 1", "context.other.now; ; ; "),
            (r#"principal in [User::"a"]"#, "; principal; ; "),
            ("resource in principal.team", "principal.team; resource; ; "),
            ("context.who in resource", "context.who; ; ; others"),
            (r#"User::"a".level == 1"#, "; ; ; others"),
            (r#"action in Action::"a""#, "; action; ; "),
            (
                r#"resource.hasTag("a") && resource.getTag(context.b) == """#,
                "context.b; ; resource; ",
            ),
            (
                r#"principal.boss.getTag("a") == """#,
                "principal.boss; ; ; others",
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

//! Conditions, put together by lot from everything that the language has.

use super::dice::Dice;
use super::world::{IDS, uid};

/// What an expression is meant to be.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Long,
    Text,
    Entity,
    Texts,
    Entities,
    Lines,
    Record,
    Ip,
    Decimal,
    Datetime,
    Duration,
}

const KINDS: [Kind; 12] = [
    Kind::Bool,
    Kind::Long,
    Kind::Text,
    Kind::Entity,
    Kind::Texts,
    Kind::Entities,
    Kind::Lines,
    Kind::Record,
    Kind::Ip,
    Kind::Decimal,
    Kind::Datetime,
    Kind::Duration,
];

// === impl Dice ===

impl Dice {
    /// A condition of several levels, or a long one.
    pub(super) fn condition(&mut self) -> String {
        if self.percent(6) {
            return self.chain();
        }
        let depth = self.between(1, 4);
        self.expression(Kind::Bool, depth)
    }

    /// What makes a tall tree.
    fn chain(&mut self) -> String {
        let length = self.between(10, 60);
        let joined = |dice: &mut Self, kind, with: &str| {
            let terms = (0..length).map(|_| dice.expression(kind, 0));
            terms.collect::<Vec<_>>().join(with)
        };
        match self.below(6) {
            0 => joined(self, Kind::Bool, " && "),
            1 => joined(self, Kind::Bool, " || "),
            2 => format!("{} < {}", joined(self, Kind::Long, " + "), self.below(200)),
            3 => {
                let tests = (0..20).map(|_| {
                    let (test, then) = (self.expression(Kind::Bool, 0), self.percent(50));
                    format!("if {test} then {then} else ")
                });
                tests.collect::<String>() + "true"
            }
            4 => {
                let number = self.below(3);
                format!(
                    "{}{number}{}{} == 1",
                    "{a: ".repeat(20),
                    "}".repeat(20),
                    ".a".repeat(20)
                )
            }
            _ => format!("{}{}", "!".repeat(4), self.expression(Kind::Entity, 0)) + " == principal",
        }
    }

    fn expression(&mut self, kind: Kind, depth: usize) -> String {
        // What is meant may not be what is written.
        let kind = match !self.typed && self.percent(2) {
            true => KINDS[self.below(KINDS.len())],
            false => kind,
        };
        if depth > 0 && self.percent(5) {
            let test = self.expression(Kind::Bool, depth - 1);
            let (then, otherwise) = (
                self.expression(kind, depth - 1),
                self.expression(kind, depth - 1),
            );
            return format!("(if {test} then {then} else {otherwise})");
        }
        match kind {
            Kind::Bool if depth == 0 => self.simple_test(),
            Kind::Bool => self.test(depth - 1),
            Kind::Long if depth == 0 => self.simple_number(),
            Kind::Long => self.sum(depth - 1),
            Kind::Text => self.text(depth),
            Kind::Entity => self.entity_expression(depth),
            Kind::Texts => self.choose(&[
                "principal.roles",
                "resource.labels",
                "context.list",
                "[\"a\"]",
                "[\"a\", \"b\", \"a\"]",
                "principal.labels",
            ]),
            Kind::Entities => match self.below(4) {
                0 => "principal.peers".to_owned(),
                1 => "resource.peers".to_owned(),
                2 => format!("[{}, {}]", self.literal(), self.literal()),
                _ => {
                    let one = self.expression(Kind::Entity, 0);
                    format!("[{one}, {}]", self.literal())
                }
            },
            Kind::Lines => self.choose(&[
                "principal.lines",
                "context.lines",
                "[{n: 1}, {n: 2}]",
                "[{n: context.n}]",
                "[{n: 2}, 3]",
            ]),
            Kind::Record => self.choose(&[
                "context",
                "principal.info",
                "resource.info.deep",
                "context.info",
                "{n: 1, \"a b\": principal}",
                "{n: context.n, deep: {x: 1}}",
            ]),
            Kind::Ip => self.choose(&[
                "context.ip",
                "principal.ip",
                "resource.info.deep.ip",
                "ip(\"10.0.0.0/8\")",
                "ip(\"::1\")",
                "ip(\"10.1.2.3/32\")",
                "ip(\"224.0.0.1\")",
                "ip(context.text)",
            ]),
            Kind::Decimal => self.choose(&[
                "resource.price",
                "principal.price",
                "decimal(\"2.25\")",
                "decimal(\"2.2500\")",
                "decimal(\"-1.0\")",
                "decimal(\"1\")",
            ]),
            Kind::Datetime => match (self.below(7), depth) {
                (0, _) => "context.now".to_owned(),
                (1, _) => "resource.at".to_owned(),
                (2, _) => "datetime(\"2025-01-01T00:00:00Z\")".to_owned(),
                (3, _) => "datetime(\"2025-01-03\")".to_owned(),
                (4, 1..) => {
                    let span = self.expression(Kind::Duration, depth - 1);
                    format!(
                        "{}.offset({span})",
                        self.expression(Kind::Datetime, depth - 1)
                    )
                }
                (5, 1..) => format!("{}.toDate()", self.expression(Kind::Datetime, depth - 1)),
                _ => "principal.at".to_owned(),
            },
            Kind::Duration => match (self.below(7), depth) {
                (0, _) => "context.span".to_owned(),
                (1, _) => "principal.span".to_owned(),
                (2, _) => "duration(\"1d\")".to_owned(),
                (3, _) => "duration(\"-1h30m\")".to_owned(),
                (4, 1..) => {
                    let since = self.expression(Kind::Datetime, depth - 1);
                    let at = self.expression(Kind::Datetime, depth - 1);
                    format!("{at}.durationSince({since})")
                }
                (5, 1..) => format!("{}.toTime()", self.expression(Kind::Datetime, depth - 1)),
                _ => "resource.span".to_owned(),
            },
        }
    }

    fn simple_test(&mut self) -> String {
        let condition = self.choose(&[
            "true",
            "false",
            "context.mfa",
            "resource.public",
            "principal.public",
            "principal has level",
            "context has who",
            "resource has info.deep.x",
            "principal has manager.manager.level",
            "context has info.n.x",
            "{a: {b: 1}} has a.b",
            "(if true then 1 else 2) == 1",
        ]);
        format!("({condition})")
    }

    fn test(&mut self, depth: usize) -> String {
        let two =
            |dice: &mut Self, kind| (dice.expression(kind, depth), dice.expression(kind, depth));
        let test = match self.below(27) {
            0 => format!("!{}", self.expression(Kind::Bool, depth)),
            1 | 2 => {
                let (left, right) = two(self, Kind::Bool);
                format!("{left} && {right}")
            }
            3 | 4 => {
                let (left, right) = two(self, Kind::Bool);
                format!("{left} || {right}")
            }
            5..9 => {
                let kind = [Kind::Long, Kind::Long, Kind::Datetime, Kind::Duration][self.below(4)];
                let (left, right) = two(self, kind);
                let operator = self.pick(&["<", "<=", ">", ">="]);
                format!("{left} {operator} {right}")
            }
            9..12 => {
                let kind = KINDS[self.below(KINDS.len())];
                let (left, right) = two(self, kind);
                let operator = self.pick(&["==", "!="]);
                format!("{left} {operator} {right}")
            }
            12..15 => {
                let kind = [Kind::Entity, Kind::Entities][self.below(2)];
                let around = self.expression(kind, depth);
                format!("{} in {around}", self.expression(Kind::Entity, depth))
            }
            15 => {
                let kind = self.pick(&["User", "Group", "Org::User", "Doc", "Folder"]);
                format!("{} is {kind}", self.expression(Kind::Entity, depth))
            }
            16 => {
                let around = self.expression(Kind::Entity, depth);
                format!(
                    "{} is User in {around}",
                    self.expression(Kind::Entity, depth)
                )
            }
            17 => {
                let kind = [Kind::Entity, Kind::Record][self.below(2)];
                let path = self.pick(&["level", "n", "info.n", "info.deep.x", "peers", "\"a b\""]);
                format!("{} has {path}", self.expression(kind, depth))
            }
            18 | 19 => {
                let pattern =
                    self.pick(&["*", "s*t", "a*", "*\u{1f600}", "s\\*t", "", "*a*l*", "ann"]);
                format!("{} like \"{pattern}\"", self.expression(Kind::Text, depth))
            }
            20..23 => {
                let (set, member) = [
                    (Kind::Texts, Kind::Text),
                    (Kind::Entities, Kind::Entity),
                    (Kind::Lines, Kind::Record),
                ][self.below(3)];
                match self.below(4) {
                    0 => {
                        let member = self.expression(member, depth);
                        format!("{}.contains({member})", self.expression(set, depth))
                    }
                    1 => {
                        let (one, other) = two(self, set);
                        format!("{one}.containsAll({other})")
                    }
                    2 => {
                        let (one, other) = two(self, set);
                        format!("{one}.containsAny({other})")
                    }
                    _ => format!("{}.isEmpty()", self.expression(set, depth)),
                }
            }
            23 => {
                let tag = self.expression(Kind::Text, depth);
                format!("{}.hasTag({tag})", self.expression(Kind::Entity, depth))
            }
            24 => match self.below(5) {
                0 => {
                    let (ip, range) = two(self, Kind::Ip);
                    format!("{ip}.isInRange({range})")
                }
                at => {
                    let method = ["isIpv4", "isIpv6", "isLoopback", "isMulticast"][at - 1];
                    format!("{}.{method}()", self.expression(Kind::Ip, depth))
                }
            },
            25 => {
                let (one, other) = two(self, Kind::Decimal);
                let method = self.pick(&[
                    "lessThan",
                    "lessThanOrEqual",
                    "greaterThan",
                    "greaterThanOrEqual",
                ]);
                format!("{one}.{method}({other})")
            }
            _ => self.simple_test(),
        };
        format!("({test})")
    }

    fn simple_number(&mut self) -> String {
        let small = self.below(6).to_string();
        self.choose(&[
            &small,
            &small,
            "context.n",
            "principal.level",
            "resource.level",
            "context.info.n",
            "resource.info.deep.x",
            "9223372036854775807",
            "(-9223372036854775808)",
        ])
    }

    fn sum(&mut self, depth: usize) -> String {
        let one = self.expression(Kind::Long, depth);
        match self.below(6) {
            0 => format!("(-{one})"),
            1 => {
                let method = self.pick(&[
                    "toMilliseconds",
                    "toSeconds",
                    "toMinutes",
                    "toHours",
                    "toDays",
                ]);
                format!("{}.{method}()", self.expression(Kind::Duration, depth))
            }
            at => {
                let operator = ["+", "-", "*", "+"][at - 2];
                format!("({one} {operator} {})", self.expression(Kind::Long, depth))
            }
        }
    }

    fn text(&mut self, depth: usize) -> String {
        match (self.below(6), depth) {
            (0, 1..) => {
                let tag = self.pick(&["kind", "kind", "other"]);
                format!(
                    "{}.getTag(\"{tag}\")",
                    self.expression(Kind::Entity, depth - 1)
                )
            }
            (1, _) => "context.text".to_owned(),
            (2, _) => "principal.name".to_owned(),
            (3, _) => "resource.name".to_owned(),
            _ => self.choose(&["\"a\"", "\"salt\"", "\"kind\"", "\"s*t\"", "\"\""]),
        }
    }

    fn entity_expression(&mut self, depth: usize) -> String {
        match (self.below(10), depth) {
            (0..2, _) => "principal".to_owned(),
            (2..4, _) => "resource".to_owned(),
            (4, _) => "action".to_owned(),
            (5, _) => "context.who".to_owned(),
            (6..8, 1..) => {
                let of = self.expression(Kind::Entity, depth - 1);
                let name = self.pick(&["manager", "owner"]);
                format!("{of}.{name}")
            }
            _ => self.literal(),
        }
    }

    fn literal(&mut self) -> String {
        let kind = self.pick(&["User", "Group", "Doc", "Folder", "Org::User"]);
        uid(kind, self.pick(&IDS)).to_string()
    }

    fn choose(&mut self, from: &[&str]) -> String {
        self.pick(from).to_owned()
    }
}

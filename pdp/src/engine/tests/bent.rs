//! Evaluators that are wrong in one way each.

use super::compile::{Bend, Binary, Op};
use super::*;
use crate::value::{Record, Value};

/// One way of being wrong.
pub(super) struct Bent {
    pub(super) name: &'static str,
    /// What is done to every operation, from the innermost to the outermost.
    how: fn(&mut Op),
}

pub(super) const BENT: &[Bent] = &[
    Bent {
        name: "`<` is taken for `<=`",
        how: |op| exchange(op, Binary::Less, Binary::AtMost),
    },
    Bent {
        name: "`<=` is taken for `<`",
        how: |op| exchange(op, Binary::AtMost, Binary::Less),
    },
    Bent {
        name: "`+` is taken for `-`",
        how: |op| exchange(op, Binary::Add, Binary::Subtract),
    },
    Bent {
        name: "`*` is taken for `+`",
        how: |op| exchange(op, Binary::Multiply, Binary::Add),
    },
    Bent {
        name: "what overflows wraps around",
        how: |op| {
            if let Op::Two(Binary::Add | Binary::Subtract | Binary::Multiply, _) = op {
                bend(op, |sight, op| {
                    let Op::Two(binary, two) = op else {
                        return Err(AskCedar);
                    };
                    let (left, right) = (sight.made(&two[0])?, sight.made(&two[1])?);
                    let (Value::Long(left), Value::Long(right)) = (left, right) else {
                        return Err(AskCedar);
                    };
                    Ok(Value::Long(match binary {
                        Binary::Add => left.wrapping_add(right),
                        Binary::Subtract => left.wrapping_sub(right),
                        _ => left.wrapping_mul(right),
                    }))
                });
            }
        },
    },
    Bent {
        name: "`-` is dropped",
        how: |op| {
            if let Op::Negate(_) = op {
                bend(op, |sight, op| match op {
                    Op::Negate(one) => sight.made(one),
                    _ => Err(AskCedar),
                });
            }
        },
    },
    Bent {
        name: "`==` never holds",
        how: |op| never(op, |op| matches!(op, Op::Two(Binary::Equal, _))),
    },
    Bent {
        name: "`==` always holds",
        how: |op| always(op, |op| matches!(op, Op::Two(Binary::Equal, _))),
    },
    Bent {
        name: "`!` is dropped",
        how: |op| {
            if let Op::Not(one) = op {
                let one = std::mem::replace(&mut **one, Op::Context);
                *op = Op::All(Box::new([one]));
            }
        },
    },
    Bent {
        name: "`&&` is taken for `||`",
        how: |op| {
            if let Op::All(all) = op {
                *op = Op::Any(std::mem::take(all));
            }
        },
    },
    Bent {
        name: "`||` is taken for `&&`",
        how: |op| {
            if let Op::Any(all) = op {
                *op = Op::All(std::mem::take(all));
            }
        },
    },
    Bent {
        name: "the last operand of `&&` is dropped",
        how: |op| {
            if let Op::All(all) = op {
                *all = without_last(std::mem::take(all));
            }
        },
    },
    Bent {
        name: "an operand of `||` that fails is passed over",
        how: |op| {
            if let Op::Any(_) = op {
                bend(op, |sight, op| {
                    let holds = |op: &Op| sight.made(op) == Ok(Value::Bool(true));
                    Ok(Value::Bool(op.operands().into_iter().any(holds)))
                });
            }
        },
    },
    Bent {
        name: "`&&` does not hold where an operand fails",
        how: |op| {
            if let Op::All(_) = op {
                bend(op, |sight, op| sight.made(op).or(Ok(Value::Bool(false))));
            }
        },
    },
    Bent {
        name: "`if` takes the other way",
        how: |op| {
            if let Op::If(three) = op {
                three.swap(1, 2);
            }
        },
    },
    Bent {
        name: "`has` always holds",
        how: |op| always(op, |op| matches!(op, Op::Has(..))),
    },
    Bent {
        name: "`has` never holds",
        how: |op| never(op, |op| matches!(op, Op::Has(..))),
    },
    Bent {
        name: "`has a.b` is taken for `has a`",
        how: |op| {
            if let Op::HasPath(_, names) = op {
                *names = names.first().cloned().into_iter().collect();
            }
        },
    },
    Bent {
        name: "an attribute that is missing is false",
        how: |op| {
            if let Op::Attribute(..) = op {
                bend(op, |sight, op| sight.made(op).or(Ok(Value::Bool(false))));
            }
        },
    },
    Bent {
        name: "a tag is looked for among the attributes",
        how: |op| {
            if let Op::Two(Binary::HasTag, two) = op
                && let Op::Constant(Value::String(name)) = &two[1]
            {
                let name = name.clone();
                let one = std::mem::replace(&mut two[0], Op::Context);
                *op = Op::Has(Box::new(one), name);
            }
        },
    },
    Bent {
        name: "a tag that is missing is empty",
        how: |op| {
            if let Op::Two(Binary::GetTag, _) = op {
                bend(op, |sight, op| {
                    sight.made(op).or(Ok(Value::String("".into())))
                });
            }
        },
    },
    Bent {
        name: "an entity is not in itself",
        how: |op| {
            if let Op::Two(Binary::In, _) | Op::InAnyOf(..) = op {
                bend(op, |sight, op| {
                    let around = match op {
                        Op::InAnyOf(_, uids) => uids.iter().cloned().map(Value::Entity).collect(),
                        Op::Two(_, two) => match sight.made(&two[1])? {
                            Value::Set(set) => set.iter().cloned().collect(),
                            one => vec![one],
                        },
                        _ => Vec::new(),
                    };
                    let holds = sight.made(op)?;
                    let one = sight.made(op.operands()[0])?;
                    match around.contains(&one) {
                        true => Ok(Value::Bool(false)),
                        false => Ok(holds),
                    }
                });
            }
        },
    },
    Bent {
        name: "an entity is in itself alone",
        how: |op| exchange(op, Binary::In, Binary::Equal),
    },
    Bent {
        name: "the operands of `in` are exchanged",
        how: |op| swap(op, Binary::In),
    },
    Bent {
        name: "the last of a list of entities is dropped",
        how: |op| {
            if let Op::InAnyOf(_, uids) = op {
                *uids = uids.iter().skip(1).cloned().collect();
            }
        },
    },
    Bent {
        name: "what is no entity in a set of entities is passed over",
        how: |op| {
            if let Op::Two(Binary::In, _) = op {
                bend(op, |sight, op| sight.made(op).or(Ok(Value::Bool(false))));
            }
        },
    },
    Bent {
        name: "`is` always holds",
        how: |op| always(op, |op| matches!(op, Op::Is(..))),
    },
    Bent {
        name: "`is` sees the name of the type alone, not its namespace",
        how: |op| {
            if let Op::Is(one, kind) = op
                && kind.to_string() == "Org::User"
            {
                let one = std::mem::replace(&mut **one, Op::Context);
                *op = Op::Is(Box::new(one), "User".parse().unwrap());
            }
        },
    },
    Bent {
        name: "`like` ignores how a text begins",
        how: |op| {
            if let Op::Like(_, pattern) = op
                && pattern.rest.is_some()
            {
                pattern.first.clear();
            }
        },
    },
    Bent {
        name: "`like` ignores how a text ends",
        how: |op| {
            if let Op::Like(_, pattern) = op
                && let Some((_, last)) = &mut pattern.rest
            {
                last.clear();
            }
        },
    },
    Bent {
        name: "`like` ignores what stands between",
        how: |op| {
            if let Op::Like(_, pattern) = op
                && let Some((between, _)) = &mut pattern.rest
            {
                *between = Box::default();
            }
        },
    },
    Bent {
        name: "`like` without a star takes what follows",
        how: |op| {
            if let Op::Like(_, pattern) = op {
                pattern.rest.get_or_insert_default();
            }
        },
    },
    Bent {
        name: "`contains` never holds",
        how: |op| never(op, |op| matches!(op, Op::Two(Binary::Contains, _))),
    },
    Bent {
        name: "`contains` always holds",
        how: |op| always(op, |op| matches!(op, Op::Two(Binary::Contains, _))),
    },
    Bent {
        name: "`containsAll` is asked the other way round",
        how: |op| swap(op, Binary::ContainsAll),
    },
    Bent {
        name: "`containsAll` is taken for `containsAny`",
        how: |op| exchange(op, Binary::ContainsAll, Binary::ContainsAny),
    },
    Bent {
        name: "`containsAny` is taken for `containsAll`",
        how: |op| exchange(op, Binary::ContainsAny, Binary::ContainsAll),
    },
    Bent {
        name: "`isEmpty` is taken for its contrary",
        how: |op| {
            if let Op::IsEmpty(_) = op {
                let one = std::mem::replace(op, Op::Context);
                *op = Op::Not(Box::new(one));
            }
        },
    },
    Bent {
        name: "the last member of a set is dropped",
        how: |op| {
            if let Op::Set(members) = op {
                *members = without_last(std::mem::take(members));
            }
        },
    },
    Bent {
        name: "the values of a record are lost",
        how: |op| {
            if let Op::Record(_) = op {
                bend(op, |_, _| Ok(Value::Record(Record::default())));
            }
        },
    },
    Bent {
        name: "the arguments of a function are exchanged",
        how: |op| {
            if let Op::Call(_, arguments) = op {
                arguments.reverse();
            }
        },
    },
    Bent {
        name: "all constants that are numbers are one more",
        how: |op| {
            if let Op::Constant(Value::Long(value)) = op {
                *value = value.wrapping_add(1);
            }
        },
    },
    Bent {
        name: "principal and resource are mistaken for each other",
        how: |op| match op {
            Op::Principal => *op = Op::Resource,
            Op::Resource => *op = Op::Principal,
            _ => {}
        },
    },
    Bent {
        name: "the action is taken for the principal",
        how: |op| {
            if let Op::Action = op {
                *op = Op::Principal;
            }
        },
    },
    Bent {
        name: "the context is empty",
        how: |op| {
            if let Op::Context = op {
                bend(op, |_, _| Ok(Value::Record(Record::default())));
            }
        },
    },
];

// === impl Bent ===

impl Bent {
    pub(super) fn bend(&self, engine: &mut Engine) {
        for rule in &mut engine.rules {
            if let Some(condition) = &rule.condition {
                let mut bent =
                    Condition::new(Arc::clone(&condition.expression), &mut Facts::default());
                walk(&mut bent.program.root, self.how);
                rule.condition = Some(Arc::new(bent));
            }
        }
    }
}

fn walk(op: &mut Op, how: fn(&mut Op)) {
    match op {
        Op::Constant(_) | Op::Principal | Op::Action | Op::Resource | Op::Context => {}
        Op::Not(one)
        | Op::Negate(one)
        | Op::IsEmpty(one)
        | Op::InAnyOf(one, _)
        | Op::Is(one, _)
        | Op::Attribute(one, _)
        | Op::Has(one, _)
        | Op::HasPath(one, _)
        | Op::Like(one, _)
        | Op::Bent(_, one) => walk(one, how),
        Op::All(all) | Op::Any(all) | Op::Set(all) | Op::Call(_, all) | Op::Fails(all) => {
            all.iter_mut().for_each(|one| walk(one, how));
        }
        Op::If(three) => three.iter_mut().for_each(|one| walk(one, how)),
        Op::Two(_, two) => two.iter_mut().for_each(|one| walk(one, how)),
        Op::Record(members) => members.iter_mut().for_each(|(_, one)| walk(one, how)),
    }
    how(op);
}

fn bend(op: &mut Op, how: Bend) {
    let one = std::mem::replace(op, Op::Context);
    *op = Op::Bent(how, Box::new(one));
}

fn always(op: &mut Op, which: fn(&Op) -> bool) {
    if which(op) {
        bend(op, |sight, op| sight.made(op).map(|_| Value::Bool(true)));
    }
}

fn never(op: &mut Op, which: fn(&Op) -> bool) {
    if which(op) {
        bend(op, |sight, op| sight.made(op).map(|_| Value::Bool(false)));
    }
}

fn exchange(op: &mut Op, from: Binary, to: Binary) {
    if let Op::Two(binary, _) = op
        && *binary == from
    {
        *binary = to;
    }
}

fn swap(op: &mut Op, which: Binary) {
    if let Op::Two(binary, two) = op
        && *binary == which
    {
        two.reverse();
    }
}

fn without_last(ops: Box<[Op]>) -> Box<[Op]> {
    let mut ops = ops.into_vec();
    ops.pop();
    ops.into_boxed_slice()
}

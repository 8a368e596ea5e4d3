//! Conditions, compiled once when policies are loaded.
//!
//! A program is the tree of a policy's `when` and `unless`, in a form that is cheap to go through:
//! constants are values already, chains of `&&` and `||` are lists instead of towers, patterns are
//! cut into their fixed parts, and functions are known by more than their names. It is never another
//! condition: operands stay in Cedar's order, because that order is what Cedar looks at and errs in.

use std::sync::Arc;

use cedar_policy_core::ast::{
    BinaryOp, EntityType, Expr, ExprKind, ExtensionFunction, Literal, Name, Pattern, PatternElem,
    UnaryOp, Var,
};
use cedar_policy_core::extensions::Extensions;
use smol_str::SmolStr;

use super::evaluate;
use crate::uid::Uid;
use crate::value::{Record, Set, Value};

/// One step of a condition. Each takes the values of those below it.
#[derive(Debug)]
pub(super) enum Op {
    Constant(Value),
    Principal,
    Action,
    Resource,
    Context,
    Not(Box<Op>),
    Negate(Box<Op>),
    IsEmpty(Box<Op>),
    /// `&&`
    All(Box<[Op]>),
    /// `||`
    Any(Box<[Op]>),
    /// The test, and what stands for its being true and false.
    If(Box<[Op; 3]>),
    Two(Binary, Box<[Op; 2]>),
    /// `in` a list of entities that stands in the policy.
    InAnyOf(Box<Op>, Box<[Uid]>),
    Is(Box<Op>, EntityType),
    Attribute(Box<Op>, SmolStr),
    Has(Box<Op>, SmolStr),
    /// `has a.b.c`
    HasPath(Box<Op>, Box<[SmolStr]>),
    Like(Box<Op>, Wildcards),
    Set(Box<[Op]>),
    Record(Box<[(SmolStr, Op)]>),
    /// A function of an extension, and what it is called with.
    Call(&'static ExtensionFunction, Box<[Op]>),
    /// What always fails, once the operands have been evaluated.
    Fails(Box<[Op]>),
    /// An operation that is evaluated wrongly, to see whether tests notice.
    #[cfg(test)]
    Bent(Bend, Box<Op>),
}

/// What a test has an operation be instead.
#[cfg(test)]
pub(super) type Bend = fn(&evaluate::Sight<'_>, &Op) -> Result<Value, evaluate::AskCedar>;

/// The operators of two operands that always take both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Equal,
    Less,
    AtMost,
    Add,
    Subtract,
    Multiply,
    In,
    Contains,
    ContainsAll,
    ContainsAny,
    GetTag,
    HasTag,
}

/// A pattern of `like`: what must stand first, in between in this order, and last. Without
/// `rest` there is no wildcard, and `first` is all.
#[derive(Debug)]
pub(super) struct Wildcards {
    pub(super) first: String,
    pub(super) rest: Option<(Box<[String]>, String)>,
}

/// A compiled condition.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) root: Op,
    /// How deep it is: what evaluating it takes of the stack is in proportion.
    pub(super) height: usize,
    /// What evaluating it costs, in operations, of which it seldom takes all.
    pub(super) cost: u64,
}

/// What calling an extension costs, in operations.
const CALL_COST: u64 = 20;

// === impl Program ===

impl Program {
    pub(super) fn new(condition: &Expr) -> Self {
        let root = compile(condition);
        Self {
            height: root.height(),
            cost: root.cost(),
            root,
        }
    }
}

// === impl Op ===

impl Op {
    /// The operations right below.
    pub(super) fn operands(&self) -> Vec<&Op> {
        match self {
            Self::Constant(_) | Self::Principal | Self::Action | Self::Resource | Self::Context => {
                Vec::new()
            }
            Self::Not(one)
            | Self::Negate(one)
            | Self::IsEmpty(one)
            | Self::InAnyOf(one, _)
            | Self::Is(one, _)
            | Self::Attribute(one, _)
            | Self::Has(one, _)
            | Self::HasPath(one, _)
            | Self::Like(one, _) => vec![&**one],
            #[cfg(test)]
            Self::Bent(_, one) => vec![&**one],
            Self::All(all)
            | Self::Any(all)
            | Self::Set(all)
            | Self::Call(_, all)
            | Self::Fails(all) => all.iter().collect(),
            Self::If(three) => three.iter().collect(),
            Self::Two(_, two) => two.iter().collect(),
            Self::Record(members) => members.iter().map(|(_, member)| member).collect(),
        }
    }

    fn height(&self) -> usize {
        let below = self.operands().into_iter().map(Op::height).max();
        below.unwrap_or_default() + 1
    }

    fn cost(&self) -> u64 {
        let below = self.operands().into_iter().map(Op::cost);
        let own = match self {
            // Arguments are copied into Cedar's form, and the value out of it.
            Self::Call(..) => CALL_COST,
            _ => 1,
        };
        below.fold(own, u64::saturating_add)
    }

    fn constant(&self) -> Option<&Value> {
        match self {
            Self::Constant(value) => Some(value),
            _ => None,
        }
    }
}

fn compile(expression: &Expr) -> Op {
    let one = |expression: &Expr| Box::new(compile(expression));
    match expression.expr_kind() {
        ExprKind::Lit(literal) => Op::Constant(constant(literal)),
        ExprKind::Var(Var::Principal) => Op::Principal,
        ExprKind::Var(Var::Action) => Op::Action,
        ExprKind::Var(Var::Resource) => Op::Resource,
        ExprKind::Var(Var::Context) => Op::Context,
        ExprKind::If {
            test_expr,
            then_expr,
            else_expr,
        } => Op::If(Box::new([
            compile(test_expr),
            compile(then_expr),
            compile(else_expr),
        ])),
        ExprKind::And { .. } => Op::All(chain(expression, |expression| {
            match expression.expr_kind() {
                ExprKind::And { left, right } => Some((left, right)),
                _ => None,
            }
        })),
        ExprKind::Or { .. } => Op::Any(chain(expression, |expression| {
            match expression.expr_kind() {
                ExprKind::Or { left, right } => Some((left, right)),
                _ => None,
            }
        })),
        ExprKind::UnaryApp { op, arg } => match op {
            UnaryOp::Not => Op::Not(one(arg)),
            UnaryOp::Neg => fold(Op::Negate(one(arg))),
            UnaryOp::IsEmpty => Op::IsEmpty(one(arg)),
        },
        ExprKind::BinaryApp { op, arg1, arg2 } => two(*op, compile(arg1), compile(arg2)),
        ExprKind::ExtensionFunctionApp { fn_name, args } => {
            call(fn_name, args.iter().map(compile).collect())
        }
        ExprKind::GetAttr { expr, attr } => Op::Attribute(one(expr), attr.clone()),
        ExprKind::HasAttr { expr, attr } => Op::Has(one(expr), attr.clone()),
        ExprKind::ExtHasAttr { expr, attrs } => {
            Op::HasPath(one(expr), attrs.iter().cloned().collect())
        }
        ExprKind::Like { expr, pattern } => Op::Like(one(expr), Wildcards::new(pattern)),
        ExprKind::Is { expr, entity_type } => Op::Is(one(expr), entity_type.clone()),
        ExprKind::Set(members) => set(members.iter().map(compile).collect()),
        ExprKind::Record(members) => record(
            members
                .iter()
                .map(|(name, member)| (name.clone(), compile(member)))
                .collect(),
        ),
        // Slots stand in scopes only, and nothing here makes unknowns.
        ExprKind::Slot(_) | ExprKind::Unknown(_) => Op::Fails(Box::default()),
    }
}

/// What a tower of `&&`, or of `||`, joins. `a && (b && c)` is `(a && b) && c`: both stop at the first
/// operand that is false, or no boolean.
fn chain(
    expression: &Expr,
    joined: impl Fn(&Expr) -> Option<(&Arc<Expr>, &Arc<Expr>)>,
) -> Box<[Op]> {
    let mut operands = Vec::new();
    let mut waiting = vec![expression];
    while let Some(next) = waiting.pop() {
        match joined(next) {
            Some((left, right)) => waiting.extend([&**right, &**left]),
            None => operands.push(compile(next)),
        }
    }
    operands.into_boxed_slice()
}

fn two(op: BinaryOp, left: Op, right: Op) -> Op {
    let binary = match op {
        BinaryOp::Eq => Binary::Equal,
        BinaryOp::Less => Binary::Less,
        BinaryOp::LessEq => Binary::AtMost,
        BinaryOp::Add => Binary::Add,
        BinaryOp::Sub => Binary::Subtract,
        BinaryOp::Mul => Binary::Multiply,
        BinaryOp::In => {
            if let Some(Value::Set(set)) = right.constant()
                && let Some(uids) = set.iter().map(entity).collect::<Option<Box<[Uid]>>>()
            {
                return Op::InAnyOf(Box::new(left), uids);
            }
            Binary::In
        }
        BinaryOp::Contains => Binary::Contains,
        BinaryOp::ContainsAll => Binary::ContainsAll,
        BinaryOp::ContainsAny => Binary::ContainsAny,
        BinaryOp::GetTag => Binary::GetTag,
        BinaryOp::HasTag => Binary::HasTag,
    };
    Op::Two(binary, Box::new([left, right]))
}

/// A function. One that is called with constants alone, as constructors are, is called now.
fn call(name: &Name, arguments: Box<[Op]>) -> Op {
    match Extensions::all_available().func(name) {
        Ok(function) => fold(Op::Call(function, arguments)),
        Err(_) => Op::Fails(arguments),
    }
}

fn set(members: Box<[Op]>) -> Op {
    let constants: Option<Vec<Value>> = members.iter().map(|op| op.constant().cloned()).collect();
    match constants {
        Some(constants) => Op::Constant(Value::Set(Set::new(constants))),
        None => Op::Set(members),
    }
}

fn record(members: Box<[(SmolStr, Op)]>) -> Op {
    let constants: Option<Vec<(SmolStr, Value)>> = members
        .iter()
        .map(|(name, op)| Some((name.clone(), op.constant().cloned()?)))
        .collect();
    match constants {
        Some(constants) => Op::Constant(Value::Record(Record::new(constants))),
        None => Op::Record(members),
    }
}

/// The value of an operation on constants, or the operation, if it fails: then it does so for every
/// question, as in Cedar.
fn fold(op: Op) -> Op {
    let value = match &op {
        Op::Negate(one) => one.constant().and_then(|one| evaluate::negate(one).ok()),
        Op::Call(function, arguments) => {
            let constants = arguments.iter().map(|op| op.constant().cloned());
            let constants = constants.collect::<Option<Vec<Value>>>();
            constants.and_then(|constants| evaluate::call(function, &constants).ok())
        }
        _ => None,
    };
    value.map_or(op, Op::Constant)
}

fn constant(literal: &Literal) -> Value {
    match literal {
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Long(value) => Value::Long(*value),
        Literal::String(value) => Value::String(value.clone()),
        Literal::EntityUID(uid) => Value::Entity(Uid::of(uid)),
    }
}

fn entity(value: &Value) -> Option<Uid> {
    match value {
        Value::Entity(uid) => Some(uid.clone()),
        _ => None,
    }
}

// === impl Wildcards ===

impl Wildcards {
    fn new(pattern: &Pattern) -> Self {
        let mut parts = vec![String::new()];
        for element in pattern.iter() {
            match (element, parts.last_mut()) {
                (PatternElem::Char(char), Some(part)) => part.push(*char),
                _ => parts.push(String::new()),
            }
        }
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        let mut between: Vec<String> = parts.collect();
        let rest = between.pop().map(|last| {
            between.retain(|part| !part.is_empty());
            (between.into_boxed_slice(), last)
        });
        Self { first, rest }
    }

    /// Each part between is looked for as early as it can be: if it fits later, it fits there too,
    /// and leaves more to those after it.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((between, last)) = &self.rest else {
            return text == self.first;
        };
        let Some(mut left) = text
            .strip_prefix(&*self.first)
            .and_then(|left| left.strip_suffix(&**last))
        else {
            return false;
        };
        for part in between {
            match left.split_once(&**part) {
                Some((_, after)) => left = after,
                None => return false,
            }
        }
        true
    }
}

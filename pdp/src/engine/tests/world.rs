//! Worlds to ask questions in: policies, links and entities, drawn by lot.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::str::FromStr as _;

use cedar_policy::{
    ActionConstraint, Context, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId,
    PolicySet, PrincipalConstraint, ResourceConstraint, RestrictedExpression, SlotId,
};

use super::dice::Dice;
use crate::question::{Consistency, Question};

/// Everything that one seed makes.
pub(crate) struct World {
    pub(crate) policies: PolicySet,
    pub(crate) entities: BTreeMap<EntityUid, Entity>,
    pub(crate) questions: Vec<Question>,
    dice: Dice,
}

/// Ids of each type, in which parents always come after their children.
pub(crate) const IDS: [&str; 5] = ["0", "1", "2", "3", "4"];
pub(crate) const PRINCIPAL_TYPES: [&str; 4] = ["User", "Group", "Org::User", "Doc"];
pub(crate) const RESOURCE_TYPES: [&str; 4] = ["Doc", "Folder", "User", "Org::Doc"];
pub(crate) const ACTIONS: [&str; 4] = ["view", "edit", "share", "drop"];
const ACTION_GROUPS: [&str; 3] = ["read", "write", "any"];

const NAMES: [&str; 5] = ["ann", "salt", "s*t", "\u{e4}nne \u{1f600}", ""];

/// Conditions that hold, do not, depend on what is there, and err: on what is missing, on types, on
/// overflow, on what extensions cannot read. `#` is a number, `@U` and the like are entities.
const CONDITIONS: [&str; 46] = [
    "true",
    "false",
    "principal has level && principal.level > #",
    "principal has level && principal.level <= #",
    "principal.level >= #",
    "resource has owner && resource.owner == principal",
    "resource has owner && resource.owner in @G",
    "resource.owner in @G",
    "resource has public && resource.public",
    "resource.public",
    "context has mfa && context.mfa",
    "context.mfa",
    "principal has level && principal.level + 9223372036854775807 > 0",
    "principal + 1 == 2",
    "principal.level in [@G]",
    "\"text\"",
    "#",
    "principal",
    "principal in [@G, @G, @U]",
    "@U in @G",
    "@D in @F && @U in @G",
    "resource in @F && !(principal in @G)",
    "principal is User && resource is Doc in @F",
    "principal is Org::User || resource is Folder",
    "action in Action::\"write\" || action == Action::\"view\"",
    "action in [Action::\"any\", Action::\"drop\"]",
    "context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\"))",
    "context.ip.isLoopback()",
    "ip(\"10.0.0.256\").isIpv4()",
    "principal has ip && context has ip && principal.ip == context.ip",
    "resource has price && resource.price.lessThan(decimal(\"#.5\"))",
    "resource has at && resource.at > datetime(\"2025-01-01\")",
    "context has now && context.now < datetime(\"2025-01-01\").offset(duration(\"#d\"))",
    "datetime(\"never\") == context.now",
    "resource.hasTag(\"kind\") && resource.getTag(\"kind\") like \"s*t\"",
    "resource.getTag(\"kind\") == \"secret\"",
    "principal has roles && principal.roles.containsAny([\"a\", \"b\"])",
    "principal.roles.containsAll(resource.labels)",
    "resource has info.n && resource.info.n == #",
    "if principal has level then principal.level < # else context.mfa",
    "context has who && context.who == principal",
    "context has who && context.who.manager.level > #",
    "context.n * context.n < #",
    "principal == resource || resource in principal",
    "[principal, resource].contains(@U)",
    "{a: #}.a == # && principal.nothing",
];

// === impl World ===

impl World {
    pub(crate) fn new(seed: u64, questions: usize) -> Self {
        let dice = Dice::new(seed, false);
        let mut world = Self {
            policies: PolicySet::new(),
            entities: BTreeMap::new(),
            questions: Vec::new(),
            dice,
        };
        world.fill_policies();
        world.fill_entities();
        world.questions = (0..questions).map(|_| world.question()).collect();
        world
    }

    fn fill_policies(&mut self) {
        let dice = &mut self.dice;
        let count = dice.between(5, 30);
        let text: Vec<String> = (0..count).map(|_| dice.policy()).collect();
        self.policies = PolicySet::from_str(&text.join("\n")).unwrap();
        let templates: Vec<(PolicyId, bool, bool)> = (0..count)
            .filter_map(|n| self.policies.template(&PolicyId::new(format!("policy{n}"))))
            .map(|template| {
                let takes = |slot| template.slots().any(|known| *known == slot);
                let takes = (takes(SlotId::principal()), takes(SlotId::resource()));
                (template.id().clone(), takes.0, takes.1)
            })
            .collect();
        for (template, principal, resource) in templates {
            for _ in 0..self.dice.between(0, 6) {
                let id = PolicyId::new(format!("link{}", self.policies.policies().count()));
                let mut values = HashMap::new();
                if principal {
                    values.insert(SlotId::principal(), self.dice.one_of(&PRINCIPAL_TYPES));
                }
                if resource {
                    values.insert(SlotId::resource(), self.dice.one_of(&RESOURCE_TYPES));
                }
                self.policies.link(template.clone(), id, values).unwrap();
            }
        }
    }

    fn fill_entities(&mut self) {
        for kind in ["User", "Group", "Org::User", "Doc", "Folder", "Org::Doc"] {
            for id in IDS {
                if self.dice.percent(88) {
                    let entity = self.dice.entity(kind, id);
                    self.entities.insert(entity.uid(), entity);
                }
            }
        }
        for (child, parents) in [
            ("view", &["read"][..]),
            ("edit", &["write", "read"]),
            ("share", &["write"]),
            ("drop", &[]),
            ("read", &["any"]),
            ("write", &["any"]),
            ("any", &[]),
        ] {
            if self.dice.percent(92) {
                let parents = parents.iter().filter(|_| self.dice.percent(85));
                let parents: HashSet<EntityUid> = parents.map(|id| uid("Action", id)).collect();
                let entity = Entity::new_no_attrs(uid("Action", child), parents);
                self.entities.insert(entity.uid(), entity);
            }
        }
    }

    /// A question, mostly one that some policy is about.
    fn question(&mut self) -> Question {
        let dice = &mut self.dice;
        let about: Vec<&Policy> = self.policies.policies().collect();
        // The set is in no order of its own.
        let about = match about.iter().map(|policy| policy.id()).min() {
            Some(_) if dice.percent(85) => {
                let mut about = about;
                about.sort_unstable_by_key(|policy| policy.id());
                Some(about[dice.below(about.len())])
            }
            _ => None,
        };
        let below = |dice: &mut Dice, group: EntityUid| {
            let under: Vec<&EntityUid> = self
                .entities
                .iter()
                .filter(|(_, entity)| is_below(&self.entities, entity, &group))
                .map(|(uid, _)| uid)
                .collect();
            if under.is_empty() || dice.percent(20) {
                group
            } else {
                under[dice.below(under.len())].clone()
            }
        };
        let of_type = |dice: &mut Dice, kind: &str| uid(kind, dice.pick(&IDS));
        let principal = match about.map(Policy::principal_constraint) {
            Some(PrincipalConstraint::Eq(uid)) => uid,
            Some(PrincipalConstraint::In(group) | PrincipalConstraint::IsIn(_, group)) => {
                below(dice, group)
            }
            Some(PrincipalConstraint::Is(kind)) => of_type(dice, &kind.to_string()),
            Some(PrincipalConstraint::Any) | None => dice.one_of(&PRINCIPAL_TYPES),
        };
        let resource = match about.map(Policy::resource_constraint) {
            Some(ResourceConstraint::Eq(uid)) => uid,
            Some(ResourceConstraint::In(group) | ResourceConstraint::IsIn(_, group)) => {
                below(dice, group)
            }
            Some(ResourceConstraint::Is(kind)) => of_type(dice, &kind.to_string()),
            Some(ResourceConstraint::Any) | None => dice.one_of(&RESOURCE_TYPES),
        };
        let action = match about.map(Policy::action_constraint) {
            Some(ActionConstraint::Eq(uid)) => uid,
            Some(ActionConstraint::In(group)) if !group.is_empty() => {
                let group = group[dice.below(group.len())].clone();
                below(dice, group)
            }
            Some(_) | None => uid("Action", dice.pick(&ACTIONS)),
        };
        let mut entities = Vec::new();
        for uid in [&principal, &resource] {
            let kind = uid.type_name().to_string();
            if dice.percent(15) && kind != "Action" {
                entities.push(dice.entity(&kind, uid.id().unescaped()));
            }
        }
        if dice.percent(10) {
            let (kind, id) = (dice.pick(&["Group", "Folder"]), dice.pick(&IDS));
            entities.push(dice.entity(kind, id));
        }
        let mut given = HashSet::new();
        entities.retain(|entity| given.insert(entity.uid()));
        Question {
            principal,
            action,
            resource,
            context: dice.context(),
            entities,
            consistency: Consistency::default(),
            expires_at: None,
        }
    }
}

// === impl Dice ===

impl Dice {
    /// An entity of the first of these types mostly, and sometimes one that nobody has heard of.
    pub(crate) fn one_of(&mut self, types: &[&str]) -> EntityUid {
        let kind = match self.percent(60) {
            true => types[0],
            false => self.pick(types),
        };
        match self.percent(4) {
            true => uid(kind, "nobody"),
            false => uid(kind, self.pick(&IDS)),
        }
    }

    pub(crate) fn policy(&mut self) -> String {
        let forbid = self.percent(32);
        let effect = if forbid { "forbid" } else { "permit" };
        let template = self.percent(25);
        let slots = match (template, self.below(3)) {
            (false, _) => (false, false),
            (true, 0) => (true, true),
            (true, 1) => (true, false),
            (true, _) => (false, true),
        };
        let principal = self.scope("principal", &PRINCIPAL_TYPES, slots.0);
        let resource = self.scope("resource", &RESOURCE_TYPES, slots.1);
        let action = self.action();
        let mut policy = format!("{effect}({principal}, {action}, {resource})");
        let conditions = match self.below(100) {
            0..15 => 0,
            // Of forbids without a condition nothing else would be heard.
            15..35 => usize::from(forbid),
            35..85 => 1,
            _ => 2,
        };
        for _ in 0..conditions {
            let clause = if self.percent(75) { "when" } else { "unless" };
            let condition = match self.percent(50) {
                true => {
                    let condition = self.pick(&CONDITIONS);
                    self.fill(condition)
                }
                false => self.condition(),
            };
            policy = format!("{policy} {clause} {{ {condition} }}");
        }
        policy + ";"
    }

    fn scope(&mut self, variable: &str, types: &[&str], slot: bool) -> String {
        let place = match slot {
            true => format!("?{variable}"),
            false => self.one_of(types).to_string(),
        };
        let kind = self.pick(types);
        match (self.below(100), slot) {
            (0..35, false) => variable.to_owned(),
            (35..50, false) => format!("{variable} is {kind}"),
            (50..65, _) | (0..20, true) => format!("{variable} == {place}"),
            (65..85, _) | (20..40, true) => format!("{variable} in {place}"),
            (_, _) => format!("{variable} is {kind} in {place}"),
        }
    }

    fn action(&mut self) -> String {
        let mut one = || match self.percent(50) {
            true => uid("Action", self.pick(&ACTIONS)).to_string(),
            false => uid("Action", self.pick(&ACTION_GROUPS)).to_string(),
        };
        let (first, second, third) = (one(), one(), one());
        match self.below(100) {
            0..30 => "action".to_owned(),
            30..50 => format!("action == {first}"),
            50..70 => format!("action in {first}"),
            70..73 => "action in []".to_owned(),
            73..88 => format!("action in [{first}, {second}]"),
            _ => format!("action in [{first}, {second}, {third}]"),
        }
    }

    /// A condition with numbers and entities in place of its marks.
    fn fill(&mut self, condition: &str) -> String {
        let mut filled = String::new();
        let mut marks = condition.chars();
        while let Some(mark) = marks.next() {
            match mark {
                '#' => filled += &self.below(6).to_string(),
                '@' => {
                    let kind = match marks.next() {
                        Some('U') => "User",
                        Some('G') => "Group",
                        Some('D') => "Doc",
                        _ => "Folder",
                    };
                    filled += &uid(kind, self.pick(&IDS)).to_string();
                }
                _ => filled.push(mark),
            }
        }
        filled
    }

    pub(crate) fn entity(&mut self, kind: &str, id: &str) -> Entity {
        let mut parents = HashSet::new();
        let groups = match kind {
            "User" | "Org::User" | "Group" => "Group",
            _ => "Folder",
        };
        let first = match kind == groups {
            true => IDS
                .iter()
                .position(|known| *known == id)
                .map_or(5, |at| at + 1),
            false => 0,
        };
        for parent in IDS.iter().skip(first) {
            if self.percent(25) {
                parents.insert(uid(groups, parent));
            }
        }
        // Hierarchies need not keep to types.
        if kind == "Doc" && !self.typed && self.percent(10) {
            parents.insert(uid("User", self.pick(&IDS)));
        }
        let mut attributes = HashMap::new();
        let mut tags = HashMap::new();
        let present = self.present(70);
        for (name, value) in self.attributes() {
            if self.percent(present) {
                attributes.insert(name.to_owned(), value);
            }
        }
        if self.percent(60) {
            let kind = self.pick(&["secret", "plain", "salt"]);
            tags.insert("kind".to_owned(), text(kind));
        }
        Entity::new_with_tags(uid(kind, id), attributes, parents, tags).unwrap()
    }

    /// The same for all types, so that policies about any of them find something.
    fn attributes(&mut self) -> Vec<(&'static str, RestrictedExpression)> {
        let level = match self.typed || self.percent(93) {
            true => self.number(),
            false => text("high"),
        };
        let manager = self.reference("User");
        let owner = self.reference("User");
        let public = RestrictedExpression::new_bool(self.percent(60));
        let price = format!("{}.25", self.below(6));
        let at = self.moment();
        let span = self.span();
        let name = self.pick(&NAMES);
        let other = if self.typed { "User" } else { "Group" };
        let peers = [self.reference("User"), self.reference(other)];
        vec![
            ("level", level),
            ("manager", manager),
            ("owner", owner),
            ("public", public),
            ("ip", self.ip()),
            ("roles", self.texts()),
            ("labels", self.texts()),
            ("price", RestrictedExpression::new_decimal(price)),
            ("at", at),
            ("span", span),
            ("name", text(name)),
            ("peers", RestrictedExpression::new_set(peers)),
            ("lines", self.lines()),
            ("info", self.info()),
        ]
    }

    pub(crate) fn context(&mut self) -> Context {
        let members = [
            ("mfa", RestrictedExpression::new_bool(self.percent(60))),
            ("ip", self.ip()),
            ("now", self.moment()),
            ("n", self.number()),
            ("who", self.reference("User")),
            ("span", self.span()),
            ("text", text(self.pick(&NAMES))),
            ("list", self.texts()),
            ("lines", self.lines()),
            ("info", self.info()),
        ];
        let present = self.present(75);
        let members = members
            .into_iter()
            .filter(|_| self.percent(present))
            .map(|(name, value)| (name.to_owned(), value));
        Context::from_pairs(members.collect::<Vec<_>>()).unwrap()
    }

    /// The share of attributes that are there: all where a schema wants them, else most of them
    /// mostly, and sometimes `few`.
    fn present(&mut self, few: usize) -> usize {
        match self.percent(60) {
            _ if self.typed => 100,
            true => 97,
            false => few,
        }
    }

    fn moment(&mut self) -> RestrictedExpression {
        RestrictedExpression::new_datetime(self.pick(&["2024-06-01", "2025-01-03", "2025-06-01"]))
    }

    fn span(&mut self) -> RestrictedExpression {
        RestrictedExpression::new_duration(self.pick(&["1d", "24h", "-90m", "5s"]))
    }

    /// A record in a record.
    fn info(&mut self) -> RestrictedExpression {
        let deep = [
            ("x".to_owned(), self.number()),
            ("ip".to_owned(), self.ip()),
        ];
        let deep = deep
            .into_iter()
            .filter(|_| self.percent(85))
            .collect::<Vec<_>>();
        let deep = RestrictedExpression::new_record(deep).unwrap();
        let info = [("n".to_owned(), self.number()), ("deep".to_owned(), deep)];
        RestrictedExpression::new_record(info).unwrap()
    }

    /// A set of records.
    fn lines(&mut self) -> RestrictedExpression {
        let line = |dice: &mut Self| {
            RestrictedExpression::new_record([("n".to_owned(), dice.number())]).unwrap()
        };
        let lines = [line(self), line(self)];
        RestrictedExpression::new_set(lines)
    }

    fn number(&mut self) -> RestrictedExpression {
        RestrictedExpression::new_long(i64::try_from(self.below(6)).unwrap())
    }

    fn ip(&mut self) -> RestrictedExpression {
        RestrictedExpression::new_ip(self.pick(&["10.1.2.3", "127.0.0.1", "192.0.2.7", "::1"]))
    }

    fn reference(&mut self, kind: &str) -> RestrictedExpression {
        RestrictedExpression::new_entity_uid(uid(kind, self.pick(&IDS)))
    }

    fn texts(&mut self) -> RestrictedExpression {
        let all = ["a", "b", "c"].into_iter().filter(|_| self.percent(50));
        RestrictedExpression::new_set(all.map(text).collect::<Vec<_>>())
    }
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

/// Types are parsed once: names are made by the ten thousands, and Cedar's parser takes its time where
/// it is not optimised.
pub(crate) fn uid(kind: &str, id: &str) -> EntityUid {
    thread_local! {
        static KINDS: RefCell<HashMap<String, EntityTypeName>> = RefCell::default();
    }
    let kind = KINDS.with_borrow_mut(|kinds| {
        let known = kinds.entry(kind.to_owned());
        known.or_insert_with(|| kind.parse().unwrap()).clone()
    });
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}

/// Whether `group` is reached upwards from `entity`.
fn is_below(entities: &BTreeMap<EntityUid, Entity>, entity: &Entity, group: &EntityUid) -> bool {
    let core: &cedar_policy_core::ast::Entity = entity.as_ref();
    core.parents().any(|parent| {
        let parent = EntityUid::from(parent.clone());
        parent == *group
            || entities
                .get(&parent)
                .is_some_and(|parent| is_below(entities, parent, group))
    })
}

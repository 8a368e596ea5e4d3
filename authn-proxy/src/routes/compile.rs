//! From what is written to what is looked up, with every mistake at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use pdp::Namespace;
use settings::{Document, Problem};

use super::pattern::Pattern;
use super::template::Template;
use super::{Access, Index, Route, RouteTable, Rule};
use crate::config::{
    CallerKind, KeyedProblem, RateLimitConfig, RouteConfig, RouteFile, RoutesConfig,
};
use crate::rate_limit::RateLimit;

/// Reads the routes that a configuration names: its own list, or the file it points to.
///
/// # Errors
/// Every mistake, with its place in the file it was made in.
pub fn load<T>(
    config: &RoutesConfig,
    document: &Document<T>,
    namespace: &Namespace,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<RouteTable, Vec<Problem>> {
    match config {
        RoutesConfig::List(routes) => {
            RouteTable::compile(routes, namespace).map_err(|problems| place(problems, document))
        }
        RoutesConfig::File(config) => {
            let loaded = settings::load::<RouteFile>(&document.resolve(&config.file), env);
            let mut problems = loaded.problems;
            let Some(file) = loaded.document else {
                return Err(problems);
            };
            match RouteTable::compile(&file.value.routes, namespace) {
                Ok(table) if problems.is_empty() => Ok(table),
                Ok(_) => Err(problems),
                Err(more) => {
                    problems.extend(place(more, &file));
                    Err(problems)
                }
            }
        }
    }
}

impl RouteTable {
    /// Compiles routes; their keys begin with `routes[0]`.
    ///
    /// # Errors
    /// Every mistake in every route, and every two routes that could both be meant.
    pub fn compile(
        configs: &[RouteConfig],
        namespace: &Namespace,
    ) -> Result<Self, Vec<KeyedProblem>> {
        let mut problems = Problems::default();
        let limited = configs.iter().filter(|config| config.rate_limit.is_some());
        let limited = limited.count();
        let compiled: Vec<Compiled> = configs
            .iter()
            .enumerate()
            .filter_map(|(at, config)| compile_route(at, config, namespace, limited, &mut problems))
            .collect();
        let table = index(&compiled, &mut problems);
        if problems.0.is_empty() {
            Ok(table)
        } else {
            Err(problems.0)
        }
    }
}

/// A route that is right by itself.
struct Compiled {
    at: usize,
    pattern: Pattern,
    route: Arc<Route>,
}

/// A route that cannot be told from another, or that the router does not take.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Conflict {
    at: usize,
    with: Option<usize>,
    reason: String,
}

#[derive(Default)]
struct Problems(Vec<KeyedProblem>);

// === one route ===

fn compile_route(
    at: usize,
    config: &RouteConfig,
    namespace: &Namespace,
    limited: usize,
    problems: &mut Problems,
) -> Option<Compiled> {
    let pattern = problems.keep(at, "match", Pattern::parse(&config.matches));
    let params: Vec<&str> = match &pattern {
        Some(pattern) => pattern.params.iter().map(String::as_str).collect(),
        None => Vec::new(),
    };
    let access = if config.public {
        compile_public(at, config, problems)
    } else {
        // Without its parameters the placeholders of a route cannot be judged.
        compile_rule(
            at,
            config,
            namespace,
            pattern.as_ref().map(|_| params.as_slice()),
            problems,
        )
    };
    let upgrades = compile_upgrades(at, config, pattern.as_ref(), problems);
    let limit = config.rate_limit.as_ref();
    if let Some(limit) = limit {
        check_limit(at, config, limit, problems);
    }
    Some(Compiled {
        at,
        route: Arc::new(Route {
            name: config.matches.clone(),
            access: access?,
            limit: limit.map(|limit| RateLimit::new(limit, limited)),
            upgrades,
        }),
        pattern: pattern?,
    })
}

fn check_limit(at: usize, config: &RouteConfig, limit: &RateLimitConfig, problems: &mut Problems) {
    if limit.address.is_none() && limit.principal.is_none() {
        problems.add(
            at,
            "rate_limit",
            "limits nothing: name `address`, `principal` or both",
        );
    }
    if config.public && limit.principal.is_some() && !limit.is_common {
        problems.add(
            at,
            "rate_limit.principal",
            "has no meaning on a public route, where nobody knows who is calling",
        );
    }
}

fn compile_upgrades(
    at: usize,
    config: &RouteConfig,
    pattern: Option<&Pattern>,
    problems: &mut Problems,
) -> Vec<String> {
    for (index, protocol) in config.upgrade.iter().enumerate() {
        let key = format!("upgrade[{index}]");
        let is_name = !protocol.is_empty()
            && protocol
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&byte));
        if !is_name {
            problems.add(
                at,
                &key,
                &format!("`{protocol}` is not the name of a protocol"),
            );
        } else if ["h2", "h2c", "http", "tls"].iter().any(|http| {
            let name = protocol.split('/').next().unwrap_or_default();
            name.eq_ignore_ascii_case(http)
        }) {
            let message = format!("`{protocol}` would carry requests that nobody decides about");
            problems.add(at, &key, &message);
        }
    }
    let method = pattern.and_then(|pattern| pattern.method.as_ref());
    if !config.upgrade.is_empty() && method.is_some_and(|method| *method != Method::GET) {
        problems.add(
            at,
            "upgrade",
            "has no meaning but on a route for `GET` or `*`",
        );
    }
    config
        .upgrade
        .iter()
        .map(|protocol| protocol.to_ascii_lowercase())
        .collect()
}

fn compile_public(at: usize, config: &RouteConfig, problems: &mut Problems) -> Option<Access> {
    let present = [
        ("action", config.action.is_some()),
        ("resource", config.resource.is_some()),
        ("attributes", !config.attributes.is_empty()),
        ("callers", config.callers.is_some()),
        ("scopes", !config.scopes.is_empty()),
        ("service_scopes", !config.service_scopes.is_empty()),
    ];
    let known = problems.0.len();
    for (key, _) in present.iter().filter(|(_, present)| *present) {
        problems.add(
            at,
            key,
            "has no meaning on a public route, where nothing is decided",
        );
    }
    (problems.0.len() == known).then_some(Access::Public)
}

fn compile_rule(
    at: usize,
    config: &RouteConfig,
    namespace: &Namespace,
    params: Option<&[&str]>,
    problems: &mut Problems,
) -> Option<Access> {
    let known = problems.0.len();
    let text = config.action.as_deref().unwrap_or_default();
    let action = if text.is_empty() {
        problems.add(
            at,
            "action",
            "is missing: name the Cedar action, or declare the route `public: true`",
        );
        None
    } else {
        problems.keep(
            at,
            "action",
            namespace.action(text).map_err(|error| error.to_string()),
        )
    };

    let mut resource = None;
    match &config.resource {
        None => problems.add(
            at,
            "resource",
            "is missing: name the Cedar resource, or declare the route `public: true`",
        ),
        Some(named) => {
            let entity_type = problems.keep(
                at,
                "resource.type",
                namespace
                    .entity_type(&named.entity_type)
                    .map_err(|error| error.to_string()),
            );
            let id = params.and_then(|params| {
                problems.keep(at, "resource.id", Template::parse(&named.id, params))
            });
            if named.id.is_empty() {
                problems.add(at, "resource.id", "is empty");
            }
            resource = entity_type.zip(id);
        }
    }

    let mut attributes = Vec::new();
    for (name, value) in &config.attributes {
        if let Some(params) = params
            && let Some(template) = problems.keep(
                at,
                &format!("attributes.{name}"),
                Template::parse(value, params),
            )
        {
            attributes.push((name.clone(), template));
        }
    }
    if config.callers.as_ref().is_some_and(Vec::is_empty) {
        problems.add(at, "callers", "is empty, so nobody could ever pass");
    }
    for (key, scopes) in [
        ("scopes", &config.scopes),
        ("service_scopes", &config.service_scopes),
    ] {
        for (index, scope) in scopes
            .iter()
            .enumerate()
            .filter(|(_, scope)| !is_scope(scope))
        {
            problems.add(
                at,
                &format!("{key}[{index}]"),
                &format!("`{scope}` is not a scope"),
            );
        }
    }
    let callers = config
        .callers
        .clone()
        .unwrap_or_else(|| vec![CallerKind::User]);
    if !config.service_scopes.is_empty() && !callers.contains(&CallerKind::Service) {
        problems.add(
            at,
            "service_scopes",
            "has no meaning where `callers` does not hold `service`",
        );
    }

    let (resource_type, resource_id) = resource?;
    let rule = Rule {
        action: action?,
        resource_type,
        resource_id,
        attributes,
        callers,
        scopes: config.scopes.clone(),
        service_scopes: config.service_scopes.clone(),
    };
    (problems.0.len() == known).then(|| Access::Decided(Box::new(rule)))
}

// === all routes ===

fn index(compiled: &[Compiled], problems: &mut Problems) -> RouteTable {
    let mut conflicts = BTreeSet::new();
    let mut table = RouteTable {
        routes: compiled.iter().map(|one| Arc::clone(&one.route)).collect(),
        any: index_for(None, compiled, &mut conflicts),
        ..RouteTable::default()
    };
    for one in compiled {
        if let Some(method) = &one.pattern.method
            && !table.methods.contains_key(method)
        {
            table.methods.insert(
                method.clone(),
                index_for(Some(method), compiled, &mut conflicts),
            );
        }
    }
    let name = |at: usize| {
        compiled
            .iter()
            .find(|one| one.at == at)
            .map_or("", |one| one.route.name())
    };
    for Conflict { at, with, reason } in conflicts {
        let message = match with {
            Some(with) => format!(
                "`{}` conflicts with `{}` of routes[{with}]",
                name(at),
                name(with)
            ),
            None => format!("`{}` cannot be routed: {reason}", name(at)),
        };
        problems.add(at, "match", &message);
    }
    table
}

/// The index for one method: its own routes, and those for `*` that it does not replace.
fn index_for(
    method: Option<&Method>,
    compiled: &[Compiled],
    conflicts: &mut BTreeSet<Conflict>,
) -> Index {
    let own = |one: &&Compiled| one.pattern.method.as_ref() == method;
    let replaced = |one: &&Compiled| {
        compiled
            .iter()
            .filter(own)
            .any(|other| other.pattern.same_paths(&one.pattern))
    };
    let inherited = compiled
        .iter()
        .filter(|one| method.is_some() && one.pattern.method.is_none() && !replaced(one));

    let mut index = Index::default();
    let mut inserted: Vec<&Compiled> = Vec::new();
    for one in compiled.iter().filter(own).chain(inherited) {
        if let Some(other) = inserted
            .iter()
            .find(|other| other.pattern.ties_with(&one.pattern))
        {
            conflicts.insert(Conflict {
                at: one.at.max(other.at),
                with: Some(one.at.min(other.at)),
                reason: String::new(),
            });
        } else if let Err(error) = index.insert(&one.pattern, &one.route) {
            conflicts.insert(Conflict {
                at: one.at,
                with: None,
                reason: error.to_string(),
            });
        } else {
            inserted.push(one);
        }
    }
    index
}

// === impl Problems ===

impl Problems {
    fn add(&mut self, at: usize, key: &str, message: &str) {
        self.0
            .push((format!("routes[{at}].{key}"), message.to_owned()));
    }

    /// Keeps a value, or notes why there is none.
    fn keep<T>(&mut self, at: usize, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.add(at, key, &message)).ok()
    }
}

// === helpers ===

fn place<T>(problems: Vec<KeyedProblem>, document: &Document<T>) -> Vec<Problem> {
    problems
        .into_iter()
        .map(|(key, message)| document.problem(&key, message))
        .collect()
}

/// `scope-token` of RFC 6749 section 3.3.
fn is_scope(scope: &str) -> bool {
    !scope.is_empty()
        && scope
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

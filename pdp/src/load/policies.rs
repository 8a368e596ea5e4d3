//! Policy texts into policies with ids of their own.

mod json;

use std::collections::BTreeMap;
use std::str::FromStr as _;

use cedar_policy::{PolicyId, PolicySet, Schema, ValidationMode, Validator};
use cedar_policy_core::parser::Loc;
use miette::Diagnostic;
use settings::Problem;

use super::depth::measure;
use super::entities::Names;
use super::{Ids, Text, place};
use crate::one_line::one_line;
use crate::policies::Link;

/// Links that are validated at a time: Cedar takes a few kilobytes for each.
const LINKS: usize = 4096;

/// The policies of all texts.
#[derive(Debug)]
pub(super) struct Policies {
    /// Without the links.
    pub(super) set: PolicySet,
    pub(super) links: Vec<Link>,
    /// The height of the tallest one.
    pub(super) height: usize,
    /// By id, sorted.
    origins: BTreeMap<String, Origin>,
    /// Links, until all templates are known.
    waiting: Vec<json::Waiting>,
}

/// Where a policy came from.
#[derive(Debug)]
struct Origin {
    /// Which of the texts.
    text: usize,
    /// Where in it, in bytes.
    offset: usize,
    /// The policy itself.
    source: String,
}

/// Reads the policies of all texts. Templates are taken along; unlinked, they decide nothing.
pub(super) fn read(
    texts: &[Text],
    ids: Ids,
    names: &mut Names<'_>,
    problems: &mut Vec<Problem>,
) -> Policies {
    let mut policies = Policies {
        set: PolicySet::new(),
        height: 0,
        origins: BTreeMap::new(),
        links: Vec::new(),
        waiting: Vec::new(),
    };
    let mut earlier = 0;
    for (index, text) in texts.iter().enumerate() {
        if json::is_json(text) {
            policies.read_json(index, texts, ids, names, problems);
            continue;
        }
        let depth = measure(&text.content);
        if !depth.excess.is_empty() {
            for excess in depth.excess {
                let policy = presumed_id(text, excess.start, excess.policy, ids, earlier);
                let message = format!("policy `{policy}` is too deep: {}", excess.message);
                problems.push(place::at(text, excess.offset, message));
            }
            continue;
        }
        policies.height = policies.height.max(depth.height);
        match PolicySet::from_str(&text.content) {
            Ok(parsed) => earlier += policies.take(parsed, index, texts, ids, earlier, problems),
            Err(errors) => {
                for error in errors.iter() {
                    place::diagnostics(text, error, problems);
                }
            }
        }
    }
    policies.link(texts, problems);
    policies
}

// === impl Policies ===

impl Policies {
    /// Takes over what was parsed from one text, under our ids; says how many there were.
    fn take(
        &mut self,
        parsed: PolicySet,
        index: usize,
        texts: &[Text],
        ids: Ids,
        earlier: usize,
        problems: &mut Vec<Problem>,
    ) -> usize {
        let Some(text) = texts.get(index) else {
            return 0;
        };
        // Cedar numbers policies and templates together, in the order of the text.
        let mut statics: BTreeMap<usize, _> = parsed
            .policies()
            .filter_map(|policy| Some((number(policy.id())?, policy)))
            .collect();
        let mut templates: BTreeMap<usize, _> = parsed
            .templates()
            .filter_map(|template| Some((number(template.id())?, template)))
            .collect();
        let count = statics.len() + templates.len();
        for n in 0..count {
            let policy = statics.remove(&n);
            let template = templates.remove(&n);
            let (annotation, loc) = match (policy, template) {
                (Some(policy), _) => {
                    let core: &cedar_policy_core::ast::Policy = policy.as_ref();
                    (policy.annotation("id"), core.loc())
                }
                (None, Some(template)) => {
                    let core: &cedar_policy_core::ast::Template = template.as_ref();
                    (template.annotation("id"), core.loc())
                }
                (None, None) => continue,
            };
            let offset = loc.map_or(0, Loc::start);
            let id = match (ids, annotation) {
                (Ids::Positional, _) => format!("policy{}", earlier + n),
                (Ids::Annotated, Some("")) => {
                    problems.push(place::at(text, offset, "the policy's `@id` is empty"));
                    continue;
                }
                (Ids::Annotated, Some(id)) => id.to_owned(),
                (Ids::Annotated, None) => numbered_id(text, n),
            };
            let source = loc.and_then(Loc::snippet).unwrap_or_default();
            if !self.claim(&id, (index, offset), source, texts, problems) {
                continue;
            }
            let new_id = PolicyId::new(&id);
            let added = match (policy, template) {
                (Some(policy), _) => self.set.add(policy.new_id(new_id)),
                (None, Some(template)) => self.set.add_template(template.new_id(new_id)),
                (None, None) => Ok(()),
            };
            if let Err(error) = added {
                place::diagnostics(text, &error, problems);
            }
        }
        count
    }

    /// Takes an id for a policy that stands in a text at an offset; says whether it was free.
    fn claim(
        &mut self,
        id: &str,
        (index, offset): (usize, usize),
        source: &str,
        texts: &[Text],
        problems: &mut Vec<Problem>,
    ) -> bool {
        match (self.origins.get(id), texts.get(index)) {
            (Some(first), Some(text)) => {
                problems.push(place::at(text, offset, first.taken(id, texts)));
                false
            }
            _ => {
                let origin = Origin {
                    text: index,
                    offset,
                    source: source.to_owned(),
                };
                self.origins.insert(id.to_owned(), origin);
                true
            }
        }
    }

    /// Holds the policies to the schema, strictly.
    pub(super) fn validate(
        &self,
        schema: &Schema,
        texts: &[Text],
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<Problem>,
    ) {
        let validator = Validator::new(schema.clone());
        let mut errors: Vec<Problem> = Vec::new();
        let mut validate = |set: &PolicySet| {
            let result = validator.validate(set, ValidationMode::Strict);
            for error in result.validation_errors() {
                self.place(error.policy_id(), error, texts, &mut errors);
            }
            for warning in result.validation_warnings() {
                self.place(warning.policy_id(), warning, texts, warnings);
            }
        };
        validate(&self.set);
        for links in self.links.chunks(LINKS) {
            validate(&self.linked(links));
        }
        // The validator reports in no order.
        errors.sort_unstable();
        errors.dedup();
        problems.append(&mut errors);
        warnings.sort_unstable();
        warnings.dedup();
    }

    /// Links as Cedar has them, with the templates that they are of.
    fn linked(&self, links: &[Link]) -> PolicySet {
        let mut set = PolicySet::new();
        for link in links {
            if set.template(&link.template).is_none()
                && let Some(template) = self.set.template(&link.template)
            {
                // It was in a set before, under the same id.
                let _ = set.add_template(template.clone());
            }
            // As does the link.
            let _ = link.onto(&mut set);
        }
        set
    }

    /// Ids and texts, sorted by id.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.origins
            .iter()
            .map(|(id, origin)| (id.as_str(), origin.source.as_str()))
    }

    fn place(
        &self,
        id: &PolicyId,
        diagnostic: &dyn Diagnostic,
        texts: &[Text],
        problems: &mut Vec<Problem>,
    ) {
        let id: &str = id.as_ref();
        let origin = self.origins.get(id);
        let Some((origin, text)) =
            origin.and_then(|origin| Some((origin, texts.get(origin.text)?)))
        else {
            return problems.push(Problem::of_file(
                "".as_ref(),
                one_line(&diagnostic.to_string()),
            ));
        };
        let mut found = Vec::new();
        place::diagnostics(text, diagnostic, &mut found);
        for mut problem in found {
            // In JSON the places are those in the strings that names were read from.
            if problem.line == 0 || json::is_json(text) {
                problem = place::at(text, origin.offset, problem.message);
            }
            problems.push(problem);
        }
    }
}

// === impl Origin ===

impl Origin {
    fn taken(&self, id: &str, texts: &[Text]) -> String {
        match texts.get(self.text) {
            Some(text) => {
                let first = place::at(text, self.offset, "");
                let (file, line, column) = (first.file.display(), first.line, first.column);
                format!("the policy id `{id}` is already taken at {file}:{line}:{column}")
            }
            None => format!("the policy id `{id}` is already taken"),
        }
    }
}

/// The id of a policy that is not parsed, read off its text; only to name it in a problem.
fn presumed_id(text: &Text, start: usize, n: usize, ids: Ids, earlier: usize) -> String {
    let annotated = || {
        let policy = text.content.get(start..)?;
        let (head, _) = policy
            .split_once("permit")
            .or_else(|| policy.split_once("forbid"))?;
        let (_, value) = head.split_once("@id")?;
        let (_, quoted) = value.split_once('"')?;
        let (id, _) = quoted.split_once('"')?;
        Some(one_line(id))
    };
    match ids {
        Ids::Positional => format!("policy{}", earlier + n),
        Ids::Annotated => annotated().unwrap_or_else(|| numbered_id(text, n)),
    }
}

/// The id of a policy without an annotation.
fn numbered_id(text: &Text, n: usize) -> String {
    let stem = text.path.file_stem().unwrap_or_default();
    format!("{}#{n}", stem.to_string_lossy())
}

/// The `n` of Cedar's `policy<n>`.
fn number(id: &PolicyId) -> Option<usize> {
    let id: &str = id.as_ref();
    id.strip_prefix("policy")?.parse().ok()
}

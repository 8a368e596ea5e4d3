//! Policies, templates and links in Cedar's JSON form, the only one in which links can be written:
//! `{"staticPolicies": {<id>: …}, "templates": {<id>: …}, "templateLinks": [{"templateId": …,
//! "newId": …, "values": {"?principal": …}}]}`.
//!
//! A link's template is the one of that id in the same file, else the one that has that id among
//! all policies, so that links can be kept apart from templates in Cedar's own syntax.

use std::collections::HashMap;
use std::fmt;

use cedar_policy::{EntityUid, Policy, PolicyId, Template};
use miette::Diagnostic;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use settings::Problem;

use super::super::depth::MAX_HEIGHT;
use super::super::entities::Names;
use super::{Ids, Policies, Text, place};
use crate::json::{TooDeep, Unique, check_nesting};
use crate::one_line::one_line;
use crate::policies::Link;

/// Depth that the JSON may have. An operator takes two levels, and so this is about as deep as
/// brackets may nest in Cedar's own syntax; the JSON parser refuses more than 128.
const MAX_DEPTH: usize = 120;

/// One file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File<'a> {
    #[serde(borrow)]
    templates: Named<'a>,
    #[serde(borrow)]
    static_policies: Named<'a>,
    #[serde(borrow)]
    template_links: Vec<&'a RawValue>,
}

/// What stands in an object, in its order.
struct Named<'a>(Vec<(String, &'a RawValue)>);

/// A link whose template is not looked up yet.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Which of the texts.
    text: usize,
    /// Where in it, in bytes.
    offset: usize,
    /// As it was written.
    source: String,
    link: Link,
}

/// A link, as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenLink {
    template_id: String,
    new_id: String,
    values: Unique,
}

/// Whether a text is in the JSON form.
pub(super) fn is_json(text: &Text) -> bool {
    text.path
        .extension()
        .is_some_and(|extension| extension == "json")
}

// === impl Policies ===

impl Policies {
    /// Reads one file, but for the links, which wait for [`Self::link`].
    pub(super) fn read_json(
        &mut self,
        index: usize,
        texts: &[Text],
        ids: Ids,
        names: &mut Names<'_>,
        problems: &mut Vec<Problem>,
    ) {
        let Some(text) = texts.get(index) else {
            return;
        };
        if let Err(TooDeep { at }) = check_nesting(text.content.as_bytes(), MAX_DEPTH) {
            let message = format!("nests more than {MAX_DEPTH} deep");
            return problems.push(place::at(text, at, message));
        }
        let file: File<'_> = match serde_json::from_str(&text.content) {
            Ok(file) => file,
            Err(error) => {
                let message = format!("is not a policy set in JSON: {error}");
                let (line, column) = (error.line(), error.column());
                return problems.push(Problem::at(&text.path, line, column, message));
            }
        };
        // Our ids, by those that the file uses.
        let mut templates = HashMap::new();
        for (key, raw) in &file.templates.0 {
            let read = parse(raw).and_then(|(json, height)| {
                let template = Template::from_json(None, json).map_err(|error| told(&error))?;
                Ok((
                    our_id(ids, template.annotation("id"), key)?,
                    template,
                    height,
                ))
            });
            let (id, template, height) = match read {
                Ok(read) => read,
                Err(message) => {
                    problems.push(fault(text, raw, "template", key, &message));
                    continue;
                }
            };
            if !self.claim(&id, (index, offset(text, raw)), raw.get(), texts, problems) {
                continue;
            }
            let template = template.new_id(PolicyId::new(&id));
            if let Err(error) = self.set.add_template(template) {
                problems.push(fault(text, raw, "template", key, &told(&error)));
            }
            self.height = self.height.max(height);
            templates.insert(key.as_str(), id);
        }
        for (key, raw) in &file.static_policies.0 {
            let read = parse(raw).and_then(|(json, height)| {
                let policy = Policy::from_json(None, json).map_err(|error| told(&error))?;
                Ok((our_id(ids, policy.annotation("id"), key)?, policy, height))
            });
            let (id, policy, height) = match read {
                Ok(read) => read,
                Err(message) => {
                    problems.push(fault(text, raw, "policy", key, &message));
                    continue;
                }
            };
            if !self.claim(&id, (index, offset(text, raw)), raw.get(), texts, problems) {
                continue;
            }
            if let Err(error) = self.set.add(policy.new_id(PolicyId::new(&id))) {
                problems.push(fault(text, raw, "policy", key, &told(&error)));
            }
            self.height = self.height.max(height);
        }
        for raw in file.template_links {
            match read_link(raw, &templates, names) {
                Ok(link) => self.waiting.push(Waiting {
                    text: index,
                    offset: offset(text, raw),
                    // With the template that is meant, which the file alone does not say.
                    source: format!("{}\n{}", link.template, raw.get()),
                    link,
                }),
                Err(message) => {
                    let message = format!("link: {message}");
                    problems.push(place::at(text, offset(text, raw), message));
                }
            }
        }
    }

    /// Takes over the links, now that all templates are known. Cedar makes each, to say whether it can,
    /// and does not keep it.
    pub(super) fn link(&mut self, texts: &[Text], problems: &mut Vec<Problem>) {
        for waiting in std::mem::take(&mut self.waiting) {
            let Some(text) = texts.get(waiting.text) else {
                continue;
            };
            let (at, link) = ((waiting.text, waiting.offset), waiting.link);
            if !self.claim(&link.id, at, &waiting.source, texts, problems) {
                continue;
            }
            match link.onto(&mut self.set) {
                Ok(()) => {
                    // It is there.
                    let _ = self.set.unlink(PolicyId::new(&*link.id));
                    self.links.push(link);
                }
                Err(error) => {
                    let message = format!("link `{}`: {}", one_line(&link.id), told(&*error));
                    problems.push(place::at(text, waiting.offset, message));
                }
            }
        }
    }
}

fn read_link(
    raw: &RawValue,
    templates: &HashMap<&str, String>,
    names: &mut Names<'_>,
) -> Result<Link, String> {
    let written: WrittenLink =
        serde_json::from_str(raw.get()).map_err(|error| told_of_json(&error))?;
    let template = templates.get(written.template_id.as_str());
    let Unique(Value::Object(places)) = written.values else {
        return Err("`values` is not an object".to_owned());
    };
    let mut link = Link {
        id: written.new_id.into(),
        template: PolicyId::new(template.unwrap_or(&written.template_id)),
        principal: None,
        resource: None,
    };
    for (slot, uid) in places {
        let place = match slot.as_str() {
            "?principal" => &mut link.principal,
            "?resource" => &mut link.resource,
            _ => return Err(format!("there is no slot `{}`", one_line(&slot))),
        };
        let uid = EntityUid::from_json(uid).map_err(|error| told(&error))?;
        *place = Some(names.name(uid.as_ref()));
    }
    Ok(link)
}

// === impl Named ===

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor)
    }
}

struct NamedVisitor;

impl<'de> Visitor<'de> for NamedVisitor {
    type Value = Named<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of policies by id")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<'de>, A::Error> {
        let mut named = Vec::new();
        while let Some(entry) = map.next_entry()? {
            named.push(entry);
        }
        Ok(Named(named))
    }
}

/// The JSON of a policy and its height: no expression is higher than the JSON that it is written in
/// is deep, and conditions are joined one above the other.
fn parse(raw: &RawValue) -> Result<(Value, usize), String> {
    let Unique(json) = serde_json::from_str(raw.get()).map_err(|error| told_of_json(&error))?;
    let conditions = json.get("conditions").and_then(Value::as_array);
    let height = depth(&json) + conditions.map_or(0, Vec::len);
    if height > MAX_HEIGHT {
        return Err(format!(
            "is too deep: conditions are {height} levels high, more than {MAX_HEIGHT}"
        ));
    }
    Ok((json, height))
}

/// Recursion is bounded by [`MAX_DEPTH`].
fn depth(json: &Value) -> usize {
    let below = match json {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    below.unwrap_or_default() + 1
}

fn our_id(ids: Ids, annotation: Option<&str>, key: &str) -> Result<String, String> {
    match (ids, annotation) {
        (Ids::Annotated, Some("")) => Err("`@id` is empty".to_owned()),
        (Ids::Annotated, Some(id)) => Ok(id.to_owned()),
        (Ids::Annotated, None) | (Ids::Positional, _) => Ok(key.to_owned()),
    }
}

fn fault(text: &Text, raw: &RawValue, what: &str, key: &str, message: &str) -> Problem {
    let message = format!("{what} `{}`: {message}", one_line(key));
    place::at(text, offset(text, raw), message)
}

/// What a diagnostic says, with its cause and its help.
fn told(diagnostic: &dyn Diagnostic) -> String {
    place::sentence(diagnostic)
}

/// Without the place, which is one in the policy alone.
fn told_of_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let (message, _) = text.split_once(" at line ").unwrap_or((&text, ""));
    one_line(message)
}

/// Where `raw`, which was borrowed from the text, begins in it.
fn offset(text: &Text, raw: &RawValue) -> usize {
    (raw.get().as_ptr() as usize).saturating_sub(text.content.as_ptr() as usize)
}

#[cfg(test)]
mod tests;

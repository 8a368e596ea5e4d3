//! The `match` of a route: a method and a path template.

use std::cmp::Reverse;

use http::Method;

use crate::path::CanonicalPath;

/// A method, or any, and a path template.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// `None` for `*`.
    pub(super) method: Option<Method>,
    /// The template in the router's syntax, which is the one it is written in.
    pub(super) template: String,
    /// The names of its parameters.
    pub(super) params: Vec<String>,
    /// The number of segments before `{*rest}`, if it ends so.
    pub(super) rest: Option<usize>,
    /// How specific the template is.
    pub(super) rank: Rank,
    /// The template without the names: two of one shape match the same paths.
    pub(super) shape: String,
}

/// How specific a template is; of two that match one path the smaller wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(Vec<Specificity>);

/// How specific one segment is, the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Literal,
    /// A parameter with so much text around it.
    Affixed(Reverse<usize>),
    Param,
    Rest,
}

// === impl Pattern ===

impl Pattern {
    /// Reads `PUT /v1/users/{id}`, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (method, template) = text
            .split_once(' ')
            .filter(|(method, template)| !method.is_empty() && template.starts_with('/'))
            .ok_or_else(|| format!("`{text}` is not a method (or `*`), one space and a path, as in `GET /v1/users/{{id}}`"))?;
        let method = parse_method(method)?;

        let mut pattern = Self {
            method,
            template: template.to_owned(),
            params: Vec::new(),
            rest: None,
            rank: Rank(Vec::new()),
            shape: String::new(),
        };
        // What the template would be with every parameter filled in: it has to be a path that can arrive.
        let mut sample = String::new();
        let segments: Vec<&str> = template.split('/').skip(1).collect();
        for (index, segment) in segments.iter().enumerate() {
            pattern.push_segment(segment, index, index + 1 == segments.len(), &mut sample)?;
        }
        match CanonicalPath::parse(&sample) {
            Ok(path) if path.query().is_some() => {
                Err("a query takes no part in routing".to_owned())
            }
            Ok(path) if path.as_str() == sample => Ok(pattern),
            Ok(_) => Err(format!(
                "`{template}` is not in canonical form: write unreserved characters bare and escapes in upper case"
            )),
            Err(fault) => Err(format!("`{template}` can never arrive: {fault}")),
        }
    }

    fn push_segment(
        &mut self,
        segment: &str,
        index: usize,
        last: bool,
        sample: &mut String,
    ) -> Result<(), String> {
        self.shape.push('/');
        sample.push('/');
        let Some((before, after)) = segment.split_once('{') else {
            if segment.contains('}') {
                return Err(format!("`{segment}` has a `}}` without its `{{`"));
            }
            self.shape.push_str(segment);
            sample.push_str(segment);
            self.rank.0.push(Specificity::Literal);
            return Ok(());
        };
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| format!("`{segment}` has a `{{` without its `}}`"))?;
        if [before, after].iter().any(|text| text.contains(['{', '}'])) {
            return Err(format!("`{segment}` has more than one parameter"));
        }

        let (name, rest) = match name.strip_prefix('*') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let well_named = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.is_empty() || !well_named {
            return Err(format!(
                "`{name}` is not a name for a parameter: use letters, digits and `_`"
            ));
        }
        if self.params.iter().any(|known| known == name) {
            return Err(format!("parameter `{name}` appears twice"));
        }
        self.params.push(name.to_owned());

        let affixes = before.len() + after.len();
        if rest {
            if affixes > 0 || !last {
                return Err(format!(
                    "`{{*{name}}}` has to be the whole of the last segment"
                ));
            }
            self.rest = Some(index);
            self.rank.0.push(Specificity::Rest);
            self.shape.push_str("{*}");
        } else {
            self.rank.0.push(match affixes {
                0 => Specificity::Param,
                _ => Specificity::Affixed(Reverse(affixes)),
            });
            self.shape.push_str(before);
            self.shape.push_str("{}");
            self.shape.push_str(after);
        }
        sample.push_str(before);
        sample.push('x');
        sample.push_str(after);
        Ok(())
    }
}

// === helpers ===

fn parse_method(text: &str) -> Result<Option<Method>, String> {
    if text == "*" {
        return Ok(None);
    }
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::TRACE | Method::CONNECT) => Err(format!("`{text}` is never forwarded")),
        Ok(method) if crate::gate::is_well_formed(&method) => Ok(Some(method)),
        _ => Err(format!(
            "`{text}` is not a method: they are written in upper case"
        )),
    }
}

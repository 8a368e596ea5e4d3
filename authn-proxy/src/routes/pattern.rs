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
    /// How specific the template is.
    pub(super) rank: Rank,
    segments: Vec<Segment>,
}

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// A parameter, and the text around it.
    Param {
        before: String,
        after: String,
    },
    /// The rest of the path.
    Rest,
}

/// How specific a template is; of two that match one path the smaller wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(Vec<Specificity>);

/// How specific one segment is, the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Literal,
    /// A parameter with so many bytes of text around it.
    Affixed(Reverse<usize>),
    Param,
    Rest,
}

/// The templates that one router can hold and still find the best of them. It takes a catch-all and a parameter in one
/// place for a conflict, and does not come back from a segment whose affix fitted when a later segment does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Literals and bare parameters.
    Plain,
    /// Those and `{*rest}` after so many segments.
    Rest(usize),
    /// A parameter with text around it: only templates of this very shape.
    Shape(Vec<String>),
}

// === impl Pattern ===

impl Pattern {
    /// Reads `PUT /v1/users/{id}`, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (method, template) = text
            .split_once(' ')
            .filter(|(method, template)| !method.is_empty() && template.starts_with('/'))
            .ok_or_else(|| {
                format!(
                    "`{text}` is not a method (or `*`), one space and a path, as in `GET /v1/users/{{id}}`"
                )
            })?;
        let mut pattern = Self {
            method: parse_method(method)?,
            template: template.to_owned(),
            params: Vec::new(),
            rank: Rank(Vec::new()),
            segments: Vec::new(),
        };
        let mut segments = template.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let segment = pattern.parse_segment(segment, segments.peek().is_none())?;
            pattern.rank.0.push(segment.specificity());
            pattern.segments.push(segment);
        }
        pattern.check_sample()?;
        Ok(pattern)
    }

    /// Which templates it can share a router with.
    pub(super) fn group(&self) -> Group {
        let affixed = |part: &Specificity| matches!(part, Specificity::Affixed(_));
        if self.rank.0.iter().any(affixed) {
            Group::Shape(self.segments.iter().map(Segment::shape).collect())
        } else if self.segments.last() == Some(&Segment::Rest) {
            Group::Rest(self.segments.len() - 1)
        } else {
            Group::Plain
        }
    }

    /// Whether the two match exactly the same paths.
    pub(super) fn same_paths(&self, other: &Self) -> bool {
        self.segments == other.segments
    }

    /// Whether some path matches both and neither is more specific, so that it could not be said which is meant.
    pub(super) fn ties_with(&self, other: &Self) -> bool {
        self.rank == other.rank
            && self
                .segments
                .iter()
                .zip(&other.segments)
                .all(|(ours, theirs)| ours.meets(theirs))
    }

    fn parse_segment(&mut self, segment: &str, last: bool) -> Result<Segment, String> {
        let Some((before, after)) = segment.split_once('{') else {
            if segment.contains('}') {
                return Err(format!("`{segment}` has a `}}` without its `{{`"));
            }
            return Ok(Segment::Literal(segment.to_owned()));
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

        if !rest {
            return Ok(Segment::Param {
                before: before.to_owned(),
                after: after.to_owned(),
            });
        }
        if before.is_empty() && after.is_empty() && last {
            Ok(Segment::Rest)
        } else {
            Err(format!(
                "`{{*{name}}}` has to be the whole of the last segment"
            ))
        }
    }

    /// With its parameters filled in, the template has to be a path that can arrive.
    fn check_sample(&self) -> Result<(), String> {
        let template = &self.template;
        let mut sample = String::new();
        for segment in &self.segments {
            sample.push('/');
            match segment {
                Segment::Literal(text) => sample.push_str(text),
                Segment::Param { before, after } => {
                    sample.extend([before.as_str(), "x", after.as_str()])
                }
                Segment::Rest => sample.push('x'),
            }
        }
        match CanonicalPath::parse(&sample) {
            Ok(path) if path.query().is_some() => {
                Err("a query takes no part in routing".to_owned())
            }
            Ok(path) if path.as_str() == sample => Ok(()),
            Ok(_) => Err(format!(
                "`{template}` is not in canonical form: write unreserved characters bare and escapes in upper case"
            )),
            Err(fault) => Err(format!("`{template}` can never arrive: {fault}")),
        }
    }
}

// === impl Segment ===

impl Segment {
    fn specificity(&self) -> Specificity {
        match self {
            Self::Literal(_) => Specificity::Literal,
            Self::Param { before, after } => match before.len() + after.len() {
                0 => Specificity::Param,
                affixes => Specificity::Affixed(Reverse(affixes)),
            },
            Self::Rest => Specificity::Rest,
        }
    }

    /// The segment without the parameter's name.
    fn shape(&self) -> String {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Param { before, after } => format!("{before}{{}}{after}"),
            Self::Rest => "{*}".to_owned(),
        }
    }

    /// Whether some text fits both, for segments that are equally specific.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(ours), Self::Literal(theirs)) => ours == theirs,
            (
                Self::Param {
                    before: our_start,
                    after: our_end,
                },
                Self::Param {
                    before: their_start,
                    after: their_end,
                },
            ) => {
                let nested = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
                let ends = |a: &str, b: &str| a.ends_with(b) || b.ends_with(a);
                nested(our_start, their_start) && ends(our_end, their_end)
            }
            _ => true,
        }
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

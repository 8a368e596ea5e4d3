//! YAML text as a JSON value beside a tree of positions.
//!
//! Only what settings need is accepted: one document, keys of text, no anchors, aliases or tags. That leaves
//! nothing that could make a small file grow large.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

use crate::Environment;
use crate::position::{Children, Node, Step, key_path};
use crate::variables::Variables;

/// How deep lists and mappings may nest.
const MAX_DEPTH: usize = 64;

/// How many values a file may hold.
const MAX_VALUES: usize = 100_000;

/// A file that could be read as YAML.
pub(crate) struct Tree {
    pub(crate) value: Value,
    pub(crate) root: Node,
    /// Mistakes that leave the rest readable.
    pub(crate) mistakes: Vec<Mistake>,
}

/// Something wrong at a place of the file.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) key: String,
    pub(crate) message: String,
}

/// Reads the text; an error is a mistake after which nothing more can be said about the file.
pub(crate) fn read(text: &str, env: Environment<'_>) -> Result<Tree, Mistake> {
    let mut builder = Builder {
        variables: Variables::new(env),
        open: Vec::new(),
        root: None,
        mistakes: Vec::new(),
        values: 0,
    };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span.start)?,
            Err(error) => {
                let mut message = format!("not valid YAML: {}", error.info());
                if error.info().contains("alias") {
                    message.push_str("; text that starts with `*` or `&` needs quotes");
                } else if text
                    .lines()
                    .nth(error.marker().line().saturating_sub(1))
                    .is_some_and(|line| line.contains("${"))
                {
                    message.push_str("; between braces or brackets, text with `${` needs quotes");
                }
                return Err(builder.mistake(*error.marker(), message));
            }
        }
    }
    let (value, root) = builder.root.unwrap_or_else(|| {
        let start = Marker::new(0, 1, 0);
        (Value::Null, node(start, Children::None))
    });
    Ok(Tree {
        // An empty file is a mapping in which every key was left out.
        value: match value {
            Value::Null => Value::Object(Map::new()),
            value => value,
        },
        root,
        mistakes: builder.mistakes,
    })
}

/// What an unquoted text means: YAML's core schema, without the spellings that only JSON cannot hold.
pub(crate) fn resolve_plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Some(number) = resolve_number(text) {
        return Value::Number(number);
    }
    Value::String(text.to_owned())
}

struct Builder<'e> {
    variables: Variables<'e>,
    open: Vec<Frame>,
    root: Option<(Value, Node)>,
    mistakes: Vec<Mistake>,
    values: usize,
}

/// A list or mapping whose end was not read yet.
struct Frame {
    node: Node,
    contents: Contents,
}

enum Contents {
    List(Vec<Value>),
    Map {
        entries: Map<String, Value>,
        pending: Option<Pending>,
    },
}

/// A key whose value comes next.
struct Pending {
    key: String,
    at: Marker,
    duplicate: bool,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, at: Marker) -> Result<(), Mistake> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(self.mistake(at, "a second document; a settings file is one document"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(at, anchor, tag.as_deref());
                self.scalar(&text, style, at)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(at, anchor, tag.as_deref());
                self.start(at, Children::List(Vec::new()), Contents::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(at, anchor, tag.as_deref());
                let contents = Contents::Map {
                    entries: Map::new(),
                    pending: None,
                };
                self.start(at, Children::Map(Vec::new()), contents)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            // The anchor itself has been reported where it stands.
            Event::Alias(_) => self.finish(Value::Null, refused(at)),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn refuse_extras(&mut self, at: Marker, anchor: usize, tag: Option<&Tag>) {
        if anchor != 0 {
            let mistake = self.mistake(at, "anchors and aliases are not supported");
            self.mistakes.push(mistake);
        }
        if tag.is_some() {
            let mistake = self.mistake(at, "tags are not supported");
            self.mistakes.push(mistake);
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, at: Marker) -> Result<(), Mistake> {
        if let Some(Frame {
            contents: Contents::Map { entries, pending },
            ..
        }) = self.open.last_mut()
            && pending.is_none()
        {
            let duplicate = entries.contains_key(text);
            *pending = Some(Pending {
                key: text.to_string(),
                at,
                duplicate,
            });
            if duplicate {
                let mistake = self.mistake(at, "the key is given twice");
                self.mistakes.push(mistake);
            }
            return Ok(());
        }
        let plain = style == ScalarStyle::Plain;
        let mut place = node(at, Children::None);
        let value = match self.variables.expand(text) {
            Ok(None) if plain => resolve_plain(text),
            Ok(None) => Value::String(text.to_string()),
            Ok(Some(expanded)) => {
                place.from_variable = expanded.from_variable;
                place.retypable = plain && expanded.from_variable;
                Value::String(expanded.text)
            }
            Err(messages) => {
                for message in messages {
                    let mistake = self.mistake(at, message);
                    self.mistakes.push(mistake);
                }
                place.refused = true;
                Value::Null
            }
        };
        self.finish(value, place)
    }

    fn start(&mut self, at: Marker, children: Children, contents: Contents) -> Result<(), Mistake> {
        if let Some(Frame {
            contents: Contents::Map { pending: None, .. },
            ..
        }) = self.open.last()
        {
            return Err(self.mistake(at, "a key must be text"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.mistake(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(Frame {
            node: node(at, children),
            contents,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Mistake> {
        let Some(Frame { node, contents }) = self.open.pop() else {
            return Ok(());
        };
        let value = match contents {
            Contents::List(items) => Value::Array(items),
            Contents::Map { entries, .. } => Value::Object(entries),
        };
        self.finish(value, node)
    }

    /// Puts a value that was read whole where it belongs.
    fn finish(&mut self, value: Value, mut place: Node) -> Result<(), Mistake> {
        self.values += 1;
        if self.values > MAX_VALUES {
            let at = Marker::new(0, place.line, place.column.saturating_sub(1));
            return Err(self.mistake(at, format!("more than {MAX_VALUES} values")));
        }
        let Some(frame) = self.open.last_mut() else {
            self.root.get_or_insert((value, place));
            return Ok(());
        };
        match (&mut frame.contents, &mut frame.node.children) {
            (Contents::List(items), Children::List(nodes)) => {
                items.push(value);
                nodes.push(place);
            }
            (Contents::Map { entries, pending }, Children::Map(nodes)) => {
                let Some(key) = pending.take() else {
                    let at = Marker::new(0, place.line, place.column.saturating_sub(1));
                    return Err(self.mistake(at, "a key must be text"));
                };
                // Of a key that is given twice the first one counts, so that what follows can still be checked.
                if !key.duplicate {
                    place.line = key.at.line();
                    place.column = key.at.col() + 1;
                    entries.insert(key.key.clone(), value);
                    nodes.push((key.key, place));
                }
            }
            // `start` makes both of one kind.
            _ => {}
        }
        Ok(())
    }

    fn mistake(&self, at: Marker, message: impl Into<String>) -> Mistake {
        let steps: Vec<Step> = self
            .open
            .iter()
            .filter_map(|frame| match &frame.contents {
                Contents::List(items) => Some(Step::Index(items.len())),
                Contents::Map { pending, .. } => pending
                    .as_ref()
                    .map(|pending| Step::Key(pending.key.clone())),
            })
            .collect();
        Mistake {
            line: at.line(),
            column: at.col() + 1,
            key: key_path(&steps),
            message: message.into(),
        }
    }
}

fn node(at: Marker, children: Children) -> Node {
    Node {
        line: at.line(),
        column: at.col() + 1,
        from_variable: false,
        retypable: false,
        refused: false,
        children,
    }
}

fn refused(at: Marker) -> Node {
    Node {
        refused: true,
        ..node(at, Children::None)
    }
}

fn resolve_number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x") {
        return unprefixed(hex, 16);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return unprefixed(octal, 8);
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !unsigned.contains(|c: char| c.is_ascii_digit())
        || !unsigned
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
    {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = text.parse::<u64>() {
        return Some(number.into());
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.into());
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

fn unprefixed(digits: &str, radix: u32) -> Option<Number> {
    // `from_str_radix` would take a sign.
    digits
        .starts_with(|c: char| c.is_ascii_hexdigit())
        .then(|| u64::from_str_radix(digits, radix).ok())
        .flatten()
        .map(Number::from)
}

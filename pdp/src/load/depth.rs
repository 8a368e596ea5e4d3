//! How deep a policy text is, found without recursion and before anything else reads it.
//!
//! Cedar's parser, its checker and its evaluator all recurse. A few hundred brackets overflow the
//! stack of an ordinary thread and end the process; a condition that is merely long makes the
//! evaluator give up, and then the policy is skipped. So both are bounded here, by an estimate
//! that is never below the height of the expression tree that Cedar makes of the text.

/// Brackets that may be open at once in a policy or a schema.
pub const MAX_NESTING: usize = 100;

/// The height that the expression tree of a policy may have: brackets, operators, members and
/// `if`, counted along the deepest path. A condition of that many alternatives is within it.
pub const MAX_HEIGHT: usize = 1000;

/// What a scan of policy text found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Depth {
    /// The height of the tallest policy.
    pub(super) height: usize,
    /// The policies that are too deep.
    pub(super) excess: Vec<Excess>,
    /// How many policies there are.
    policies: usize,
}

/// A policy that is too deep.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excess {
    /// Which policy of the text, counted from 0.
    pub(super) policy: usize,
    /// Where the policy begins, in bytes.
    pub(super) start: usize,
    /// Where it gets too deep, in bytes.
    pub(super) offset: usize,
    /// Which limit it passes.
    pub(super) message: String,
}

/// What is known of one open bracket; the outermost is the policy itself.
#[derive(Debug, Default)]
struct Level {
    /// `&&`, `||` and `if` since the last comma. They bind loosest, so that what they join lies side
    /// by side below them.
    joints: usize,
    /// All other operators since the last joint. Each can add a level to the tree.
    operators: usize,
    /// The tallest bracket since the last joint.
    inner: usize,
    /// The tallest term before the last joint.
    term: usize,
    /// The tallest element before the last comma.
    element: usize,
}

/// Measures every policy of a text.
pub(super) fn measure(text: &str) -> Depth {
    let mut depth = Depth::default();
    let mut levels = vec![Level::default()];
    let mut policy_start = None;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        if !byte.is_ascii_whitespace() && byte != b'/' && policy_start.is_none() {
            policy_start = Some(at);
        }
        let open = levels.len();
        let Some(level) = levels.last_mut() else {
            break;
        };
        let next = bytes.peek().map(|(_, next)| *next);
        match byte {
            b'"' => {
                while let Some((_, byte)) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'/' if next == Some(b'/') => {
                while bytes.next_if(|(_, byte)| *byte != b'\n').is_some() {}
            }
            b'(' | b'[' | b'{' => {
                if open > MAX_NESTING {
                    depth.excess.push(Excess {
                        policy: depth.policies,
                        start: policy_start.unwrap_or(at),
                        offset: at,
                        message: format!("brackets nest more than {MAX_NESTING} deep"),
                    });
                    return depth;
                }
                levels.push(Level::default());
            }
            b')' | b']' | b'}' => {
                // A closing bracket too many is the parser's to report.
                if let Some(closed) = (open > 1).then(|| levels.pop()).flatten()
                    && let Some(outer) = levels.last_mut()
                {
                    outer.operators += 1;
                    outer.inner = outer.inner.max(closed.height());
                }
            }
            b',' => level.next_element(),
            b';' if open == 1 => {
                finish(&mut depth, &mut levels, policy_start.take());
            }
            b'&' | b'|' if next == Some(byte) => {
                bytes.next();
                level.joint(1);
            }
            // `a.b` adds one level, `has a.b` and a method call two; `a > b` is `!(a <= b)`.
            b'.' | b'>' => level.operators += 2,
            b'!' | b'<' | b'=' | b'&' | b'|' | b'+' | b'-' | b'*' | b'%' | b'?' => {
                level.operators += 1;
            }
            _ if byte.is_ascii_alphanumeric() || byte == b'_' => {
                let rest = text.get(at..).unwrap_or_default();
                let length = rest
                    .bytes()
                    .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
                    .count();
                match rest.get(..length) {
                    Some("if") => level.joint(2),
                    Some("in" | "is" | "has" | "like") => level.operators += 2,
                    _ => {}
                }
                for _ in 1..length {
                    bytes.next();
                }
            }
            _ => {}
        }
    }
    finish(&mut depth, &mut levels, policy_start);
    depth
}

/// Where the brackets of a text that is no policy nest deeper than [`MAX_NESTING`].
pub(super) fn excess_nesting(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                while let Some((_, byte)) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                while bytes.next_if(|(_, byte)| *byte != b'\n').is_some() {}
            }
            b'(' | b'[' | b'{' | b'<' => {
                open += 1;
                if open > MAX_NESTING {
                    return Some(at);
                }
            }
            b')' | b']' | b'}' | b'>' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Takes up the height of the policy that ends here, and begins the next.
fn finish(depth: &mut Depth, levels: &mut Vec<Level>, start: Option<usize>) {
    let mut height = 0;
    // More than one level is left where brackets are open at the end of the text.
    while let Some(level) = levels.pop() {
        height = height.max(level.height()) + 1;
    }
    levels.push(Level::default());
    if height > MAX_HEIGHT {
        let start = start.unwrap_or_default();
        depth.excess.push(Excess {
            policy: depth.policies,
            start,
            offset: start,
            message: format!("conditions are {height} levels high, more than {MAX_HEIGHT}"),
        });
    } else {
        depth.height = depth.height.max(height);
    }
    depth.policies += 1;
}

// === impl Level ===

impl Level {
    fn height(&self) -> usize {
        self.tallest() + 1
    }

    fn tallest(&self) -> usize {
        let element = self.joints + self.term.max(self.operators + self.inner);
        self.element.max(element)
    }

    fn joint(&mut self, levels: usize) {
        self.joints += levels;
        self.term = self.term.max(self.operators + self.inner);
        self.operators = 0;
        self.inner = 0;
    }

    fn next_element(&mut self) {
        *self = Self {
            element: self.tallest(),
            ..Self::default()
        };
    }
}

#[cfg(test)]
pub(crate) mod tests;

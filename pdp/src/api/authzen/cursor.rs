//! The tokens that lead from one page of a search to the next.
//!
//! A token says after which candidate to go on, and so it stays good while entities come and go. It is
//! bound to its question: with any other it is refused. It opens nothing, since every result of every
//! page is decided anew, and needs no secret: instances that share nothing read each other's tokens.
//! Whoever reads one learns the id that the page ended at.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;

/// Changes with the form, so that no token of another form is taken for one of this.
const FORM: u8 = 1;

const TAG_BYTES: usize = 16;

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The limit of the first page, which holds for all.
    pub(super) limit: Option<u64>,
    /// The candidate before; `None` at the beginning.
    pub(super) after: Option<String>,
}

/// The SHA-256 of all that a question holds but its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuestionDigest([u8; 32]);

// === impl QuestionDigest ===

impl QuestionDigest {
    /// `parts` are those of the request, in an order of ours; members of objects have none.
    pub(super) fn of(kind: &str, parts: &impl Serialize) -> Self {
        let mut parts = serde_json::to_value(parts).unwrap_or(Value::Null);
        parts.sort_all_objects();
        Self(sha256(&[
            b"portcullis authzen search",
            super::STORE.as_bytes(),
            kind.as_bytes(),
            parts.to_string().as_bytes(),
        ]))
    }
}

// === impl Cursor ===

impl Cursor {
    /// The token for `question`.
    pub(super) fn token(&self, question: QuestionDigest) -> String {
        let mut payload = vec![FORM];
        // No limit is the largest: a page that holds so much does not exist.
        payload.extend(self.limit.unwrap_or(u64::MAX).to_be_bytes());
        payload.push(u8::from(self.after.is_some()));
        payload.extend(self.after.as_deref().unwrap_or_default().as_bytes());
        let mut token = tag(question, &payload).to_vec();
        token.append(&mut payload);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Reads a token; `None` for one that was not given for `question`.
    pub(super) fn read(token: &str, question: QuestionDigest) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (known, payload) = bytes.split_at_checked(TAG_BYTES)?;
        if known != tag(question, payload) {
            return None;
        }
        let (form, rest) = payload.split_first()?;
        let (limit, rest) = rest.split_first_chunk::<8>()?;
        let (has_after, after) = rest.split_first()?;
        let limit = u64::from_be_bytes(*limit);
        (*form == FORM).then_some(())?;
        Some(Self {
            limit: (limit != u64::MAX).then_some(limit),
            after: match has_after {
                0 => None,
                _ => Some(std::str::from_utf8(after).ok()?.to_owned()),
            },
        })
    }
}

fn tag(question: QuestionDigest, payload: &[u8]) -> [u8; TAG_BYTES] {
    let digest = sha256(&[&question.0, payload]);
    let mut tag = [0; TAG_BYTES];
    for (to, from) in tag.iter_mut().zip(digest) {
        *to = from;
    }
    tag
}

/// Of all parts, each with its length, so that no two lists of parts are one text.
fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    digest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn question(n: i64) -> QuestionDigest {
        QuestionDigest::of("subject", &json!({"resource": {"id": n}}))
    }

    #[test]
    fn a_question_is_known_by_what_it_holds() {
        let of = |kind, text: &str| {
            QuestionDigest::of(kind, &serde_json::from_str::<Value>(text).unwrap())
        };
        let first = of("subject", r#"[{"a":1,"b":{"c":2,"d":[1,2]}},"x"]"#);
        assert_eq!(
            first,
            of("subject", r#"[{"b":{"d":[1,2],"c":2},"a":1},"x"]"#)
        );
        assert_ne!(
            first,
            of("resource", r#"[{"a":1,"b":{"c":2,"d":[1,2]}},"x"]"#)
        );
        assert_ne!(
            first,
            of("subject", r#"[{"a":1,"b":{"c":2,"d":[2,1]}},"x"]"#)
        );
        assert_ne!(
            first,
            of("subject", r#"[{"a":1,"b":{"c":2,"d":[1,2]}},"y"]"#)
        );
    }

    proptest! {
        #[test]
        fn a_token_leads_back(limit in any::<Option<u32>>(), after in any::<Option<String>>()) {
            let cursor = Cursor { limit: limit.map(u64::from), after };
            let token = cursor.token(question(1));
            prop_assert_eq!(Cursor::read(&token, question(1)), Some(cursor));
            prop_assert_eq!(Cursor::read(&token, question(2)), None);
        }

        #[test]
        fn what_was_changed_is_no_token(after in any::<String>(), at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_=-]") {
            let token = Cursor { limit: None, after: Some(after) }.token(question(1));
            let at = at.index(token.len());
            let mut changed = token.clone();
            changed.replace_range(at..=at, &to);
            prop_assert!(changed == token || Cursor::read(&changed, question(1)).is_none());
            let (cut, _) = token.split_at(at);
            prop_assert!(Cursor::read(cut, question(1)).is_none());
        }

        #[test]
        fn no_text_is_a_token(text in any::<String>()) {
            prop_assert!(Cursor::read(&text, question(1)).is_none());
        }
    }
}

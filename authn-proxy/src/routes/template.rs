//! Text with placeholders: ids and attributes of a resource.

use percent_encoding::percent_decode_str;

/// Text in which `{name}` stands for a parameter of the path and `{principal.id}` for the caller's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

/// A parameter that is no text. A canonical path has none; this is here so that nothing is guessed if one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a parameter of the path is not UTF-8")]
pub struct UndecodableParam;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Param(String),
    PrincipalId,
}

// === impl Template ===

impl Template {
    /// Reads a template that may mention these parameters, or says what is wrong with it.
    pub(super) fn parse(text: &str, params: &[&str]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| format!("`{text}` has a `{{` without its `}}`"))?;
            push_text(&mut pieces, before, text)?;
            pieces.push(match name {
                "principal.id" => Piece::PrincipalId,
                _ if params.contains(&name) => Piece::Param(name.to_owned()),
                _ => return Err(unknown(name, params)),
            });
            rest = after;
        }
        push_text(&mut pieces, rest, text)?;
        Ok(Self(pieces))
    }

    /// The text for one request, each parameter percent-decoded once.
    pub(super) fn render(
        &self,
        params: &matchit::Params<'_, '_>,
        principal_id: &str,
    ) -> Result<String, UndecodableParam> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::PrincipalId => text.push_str(principal_id),
                Piece::Param(name) => {
                    let raw = params.get(name).ok_or(UndecodableParam)?;
                    let decoded = percent_decode_str(raw)
                        .decode_utf8()
                        .map_err(|_| UndecodableParam)?;
                    text.push_str(&decoded);
                }
            }
        }
        Ok(text)
    }
}

// === helpers ===

fn push_text(pieces: &mut Vec<Piece>, text: &str, whole: &str) -> Result<(), String> {
    if text.contains('}') {
        return Err(format!("`{whole}` has a `}}` without its `{{`"));
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
    Ok(())
}

fn unknown(name: &str, params: &[&str]) -> String {
    let known: Vec<String> = params
        .iter()
        .chain(&["principal.id"])
        .map(|param| format!("`{{{param}}}`"))
        .collect();
    format!(
        "unknown placeholder `{{{name}}}`, this route has {}",
        known.join(", ")
    )
}

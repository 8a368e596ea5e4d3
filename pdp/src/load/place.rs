//! Byte offsets into lines and columns, and Cedar's diagnostics into problems.

use miette::Diagnostic;
use settings::Problem;

use super::Text;
use crate::one_line::one_line;

/// A problem at a byte offset of a text.
pub(super) fn at(text: &Text, offset: usize, message: impl Into<String>) -> Problem {
    let (line, column) = line_and_column(&text.content, offset);
    Problem::at(&text.path, line, column, message)
}

/// A diagnostic and those beneath it, each with the place that it labels.
pub(super) fn diagnostics(text: &Text, diagnostic: &dyn Diagnostic, problems: &mut Vec<Problem>) {
    problems.push(diagnose(text, diagnostic));
    for related in diagnostic.related().into_iter().flatten() {
        problems.push(diagnose(text, related));
    }
}

/// What a diagnostic says, and each beneath it.
pub(super) fn sentences(diagnostic: &dyn Diagnostic) -> Vec<String> {
    let related = diagnostic.related().into_iter().flatten();
    let related = related.map(sentence);
    std::iter::once(sentence(diagnostic))
        .chain(related)
        .collect()
}

fn diagnose(text: &Text, diagnostic: &dyn Diagnostic) -> Problem {
    let message = sentence(diagnostic);
    let label = diagnostic.labels().and_then(|mut labels| labels.next());
    match label {
        Some(label) => at(text, label.offset(), message),
        None => Problem::of_file(&text.path, message),
    }
}

/// What a diagnostic says, on one line, with its cause and its help.
pub(super) fn sentence(diagnostic: &dyn Diagnostic) -> String {
    let mut sentence = diagnostic.to_string();
    let mut cause = diagnostic.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !sentence.contains(&text) {
            sentence = format!("{sentence}: {text}");
        }
        cause = error.source();
    }
    if let Some(help) = diagnostic.help() {
        sentence = format!("{sentence} ({help})");
    }
    one_line(&sentence)
}

/// Both counted from 1, the column in characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_from_one_in_characters() {
        assert_eq!(line_and_column("", 0), (1, 1));
        assert_eq!(line_and_column("ab\ncd", 4), (2, 2));
        assert_eq!(line_and_column("é\nüx", "é\nü".len()), (2, 2));
        assert_eq!(line_and_column("ab", 99), (1, 3));
    }
}

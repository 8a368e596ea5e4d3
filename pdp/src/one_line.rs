//! Messages that can stand in a log and in a response, whatever they quote.

/// Characters that a message may have.
const SHOWN: usize = 600;

/// The text on one line, without control characters (they could move a reader's cursor or forge a
/// second line) and cut to a readable length.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(SHOWN));
    let mut characters = 0;
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
            characters += 1;
        }
        for character in word.chars() {
            if characters == SHOWN {
                line.push('…');
                return line;
            }
            line.push(if character.is_control() {
                '\u{fffd}'
            } else {
                character
            });
            characters += 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_one_line() {
        assert_eq!(one_line("a\n  b\tc"), "a b c");
        assert_eq!(one_line("a\u{1b}[31m"), "a\u{fffd}[31m");
        assert_eq!(one_line(&"é".repeat(5000)).chars().count(), SHOWN + 1);
        assert_eq!(one_line(""), "");
    }
}

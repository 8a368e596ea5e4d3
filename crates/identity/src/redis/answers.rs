//! What Redis answered to one request, one answer after the other, each of the type that is expected.

use ::redis::{ServerErrorKind, Value};

/// Redis did not answer, or not with sense. The text is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered(pub(crate) &'static str);

/// The answers to the commands of one request, in their order.
#[derive(Debug)]
pub(crate) struct Answers(pub(super) std::vec::IntoIter<Value>);

// === impl Answers ===

impl Answers {
    /// The next answer, whatever it is.
    pub(crate) fn next(&mut self) -> Option<Value> {
        self.0.next()
    }

    /// The next answer as text; none when there is no such key.
    pub(crate) fn text(&mut self) -> Result<Option<String>, Unanswered> {
        match self.0.next() {
            Some(Value::Nil) => Ok(None),
            Some(Value::BulkString(bytes)) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| Unanswered("a value in Redis is not UTF-8")),
            other => Err(unexpected(other)),
        }
    }

    /// The next answer as a whole number that counts something.
    pub(crate) fn count(&mut self) -> Result<u64, Unanswered> {
        match self.0.next() {
            Some(Value::Int(number)) => {
                u64::try_from(number).map_err(|_| Unanswered("a count in Redis is negative"))
            }
            other => Err(unexpected(other)),
        }
    }
}

fn unexpected(value: Option<Value>) -> Unanswered {
    use ServerErrorKind as Kind;
    let Some(Value::ServerError(error)) = &value else {
        return match value {
            Some(_) => Unanswered("Redis gave another type of answer"),
            None => Unanswered("Redis gave too few answers"),
        };
    };
    match error.kind() {
        // Another node has the key, or nobody does at the moment. Nobody follows: a node that hands keys over may not
        // know of a revocation that its successor has.
        Some(Kind::Moved | Kind::Ask | Kind::TryAgain | Kind::ClusterDown | Kind::CrossSlot) => {
            Unanswered("the server is one of a Redis Cluster, which is not supported")
        }
        _ => Unanswered("Redis refused a command or the key's type"),
    }
}

//! The decision log: one line per decision, as JSON or for a person to read.
//!
//! The enforcement point and the decision APIs emit one `tracing` event each at [`TARGET`]; this
//! layer writes it. A slow reader of the log never delays a request: lines are queued for a thread
//! of their own, and when the queue is full a line is dropped and counted.

mod queue;

use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io;
use std::time::SystemTime;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Registry};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer};

use queue::Queue;
pub(crate) use queue::Writer;

use crate::config::{DecisionLogConfig, DecisionLogFormat, DecisionLogSink};

/// The target of decision events.
pub(crate) const TARGET: &str = "portcullis::decision";

/// A layer that writes decision events.
pub(crate) struct DecisionLog {
    queue: Queue,
    format: DecisionLogFormat,
}

/// One event's fields, written as the members of a JSON object.
struct JsonLine(String);

/// Writes text as the inside of a JSON string (RFC 8259 section 7). Nothing is formatted into a
/// string of its own first: this runs for every request.
struct Escaped<'a>(&'a mut String);

/// The fields that a person wants to see on one line.
#[derive(Default)]
struct ReadableLine {
    decision: String,
    surface: String,
    method: String,
    path: String,
    principal: String,
    action: String,
    policies: String,
    code: String,
    cause: String,
    status: Option<u64>,
    latency_us: Option<u64>,
}

/// Counts the lines that were dropped because the queue was full.
struct Dropped {
    queue: Queue,
    counter: IntCounter,
}

// === impl DecisionLog ===

impl DecisionLog {
    /// Opens the sink; `None` when decisions are not logged.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub(crate) fn open(
        settings: &DecisionLogConfig,
        registry: &Registry,
    ) -> io::Result<Option<(Self, Writer)>> {
        let (queue, writer) = match &settings.to {
            DecisionLogSink::None => return Ok(None),
            DecisionLogSink::Stdout => Queue::start(io::stdout())?,
            DecisionLogSink::Stderr => Queue::start(io::stderr())?,
            DecisionLogSink::File(path) => {
                Queue::start(OpenOptions::new().append(true).create(true).open(path)?)?
            }
        };
        let counter = IntCounter::new(
            "portcullis_decision_log_dropped_total",
            "Decision log lines dropped because the writer could not keep up",
        )
        .map_err(io::Error::other)?;
        let dropped = Dropped {
            queue: queue.clone(),
            counter,
        };
        registry
            .register(Box::new(dropped))
            .map_err(io::Error::other)?;
        Ok(Some((
            Self {
                queue,
                format: settings.format,
            },
            writer,
        )))
    }
}

impl<S: tracing::Subscriber> Layer<S> for DecisionLog {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let line = match self.format {
            DecisionLogFormat::Json => {
                // Most lines fit.
                let mut line = JsonLine(String::with_capacity(1000));
                let _ = write!(line.0, "{{\"time\":\"{time}\"");
                event.record(&mut line);
                line.0.push_str("}\n");
                line.0
            }
            DecisionLogFormat::Text => {
                let mut line = ReadableLine::default();
                event.record(&mut line);
                line.render(&time.to_string())
            }
        };
        self.queue.push(line.as_bytes());
    }
}

// === impl JsonLine ===

impl JsonLine {
    /// Writes `,"name":`. The names are ours and need no escapes.
    fn name(&mut self, field: &Field) {
        self.0.push_str(",\"");
        self.0.push_str(field.name());
        self.0.push_str("\":");
    }

    fn number(&mut self, field: &Field, value: impl itoa::Integer) {
        self.name(field);
        self.0.push_str(itoa::Buffer::new().format(value));
    }

    fn text(&mut self, field: &Field, write: impl FnOnce(Escaped<'_>) -> fmt::Result) {
        self.name(field);
        self.0.push('"');
        // Neither memory nor the values of our events fail to be written.
        let _ = write(Escaped(&mut self.0));
        self.0.push('"');
    }
}

impl Visit for JsonLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, |mut inside| inside.write_str(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.0.push_str(if value { "true" } else { "false" });
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, |mut inside| write!(inside, "{value:?}"));
    }
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly all there is to write. Looking at every byte lets the compiler take many at once.
        let plain = |byte| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
        if text.bytes().fold(true, |all, byte| all & plain(byte)) {
            self.0.push_str(text);
            return Ok(());
        }
        let mut rest = text;
        // What is before the first byte of a kind is whole characters.
        while let Some(at) = rest.bytes().position(|byte| !plain(byte)) {
            let (before, special) = rest.split_at(at);
            self.0.push_str(before);
            let mut special = special.chars();
            match special.next() {
                Some(c @ ('"' | '\\')) => self.0.extend(['\\', c]),
                Some(c) if c.is_control() => write!(self.0, "\\u{:04x}", u32::from(c))?,
                Some(c) => self.0.push(c),
                None => {}
            }
            rest = special.as_str();
        }
        self.0.push_str(rest);
        Ok(())
    }
}

// === impl ReadableLine ===

impl ReadableLine {
    fn render(self, time: &str) -> String {
        let clock = time.get(11..23).unwrap_or(time);
        let mut line = format!("{clock} {:<7}", self.decision);
        if let Some(status) = self.status {
            let _ = write!(line, " {status}");
        }
        for part in [&self.method, &self.path] {
            if !part.is_empty() {
                let _ = write!(line, " {}", printable(part));
            }
        }
        if !self.principal.is_empty() {
            let _ = write!(line, "  {}", printable(&self.principal));
        }
        if !self.action.is_empty() {
            let _ = write!(line, " {}", printable(&self.action));
        }
        if !self.policies.is_empty() {
            let _ = write!(line, "  by {}", printable(&self.policies));
        }
        if !self.code.is_empty() && self.code != "ok" {
            let _ = write!(line, "  {}", self.code);
        }
        if !self.cause.is_empty() {
            let _ = write!(line, " ({})", printable(&self.cause));
        }
        if let Some(micros) = self.latency_us {
            let _ = write!(line, "  {micros} µs");
        }
        if self.surface != "proxy" && !self.surface.is_empty() {
            let _ = write!(line, "  [{}]", self.surface);
        }
        line.push('\n');
        line
    }
}

impl Visit for ReadableLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        let slot = match field.name() {
            "decision" => &mut self.decision,
            "surface" => &mut self.surface,
            "method" => &mut self.method,
            "path" => &mut self.path,
            "principal" => &mut self.principal,
            "action" => &mut self.action,
            "policies" => &mut self.policies,
            "code" => &mut self.code,
            "cause" => &mut self.cause,
            _ => return,
        };
        value.clone_into(slot);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "status" => self.status = Some(value),
            "latency_us" => self.latency_us = Some(value),
            _ => {}
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// What a client sent must not move the reader's cursor or forge a second line.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

// === impl Dropped ===

impl Collector for Dropped {
    fn desc(&self) -> Vec<&Desc> {
        self.counter.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.counter
            .inc_by(self.queue.dropped().saturating_sub(self.counter.get()));
        self.counter.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_field_holds_the_line_is_json() {
        for text in [
            "",
            "plain",
            "a\"b\\c",
            "line\nbreak\u{1b}[31m\0",
            "Grüße 🏰\u{7f}\u{85}",
        ] {
            let mut line = String::new();
            write!(Escaped(&mut line), "{text}").unwrap();
            let read: String = serde_json::from_str(&format!("\"{line}\"")).unwrap();
            assert_eq!(read, text);
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }
}

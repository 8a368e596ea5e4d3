//! Times of single questions, and what is told of them.

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Times, sorted.
pub(crate) struct Times(Vec<Duration>);

/// How long `ask` takes for each of so many questions. All are asked once before, so that code and
/// allocator are warm; with 10,000 of them their data is not.
pub(crate) fn each<Q, A>(questions: &[Q], ask: impl Fn(&Q) -> A) -> Times {
    for question in questions {
        black_box(ask(black_box(question)));
    }
    let mut times: Vec<Duration> = Vec::with_capacity(questions.len());
    for question in questions {
        let began = Instant::now();
        black_box(ask(black_box(question)));
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Times(times)
}

/// Writes a line of the report.
pub(crate) fn tell(line: &str) {
    // Nobody may be reading.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

// === impl Times ===

impl Times {
    pub(crate) fn median(&self) -> Duration {
        self.at(50)
    }

    fn at(&self, percent: usize) -> Duration {
        let place = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(place).copied().unwrap_or_default()
    }

    /// Median and tail, in microseconds.
    pub(crate) fn text(&self) -> String {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        format!(
            "p50 {:>9.2} µs, p99 {:>9.2} µs",
            micros(self.median()),
            micros(self.at(99))
        )
    }

    /// How many times as long the others take, at the median.
    pub(crate) fn ratio(&self, others: &Self) -> f64 {
        others.median().as_secs_f64() / self.median().as_secs_f64().max(1e-9)
    }
}

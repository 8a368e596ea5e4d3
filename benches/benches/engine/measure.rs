//! Times of single questions, and what is told of them.

use std::fs;
use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Times, sorted.
pub(crate) struct Times(Vec<Duration>);

/// How often threads are watched. Others may be using the machine: the quietest time counts.
pub(crate) const PASSES: usize = 5;

/// How often measures of some hundredths of a second take turns. A machine that is shared is slower by half for seconds
/// on end, and all are to have been measured while it was not. Without optimisation they are only to be seen to run.
const TURNS: usize = if cfg!(debug_assertions) { 1 } else { 50 };

/// How long `ask` takes for each of so many questions. All are asked once before, so that code and
/// allocator are warm; with 10,000 of them their data is not.
pub(crate) fn each<Q, A>(questions: &[Q], ask: impl Fn(&Q) -> A) -> Times {
    for question in questions {
        black_box(ask(black_box(question)));
    }
    once(questions, ask)
}

/// How long each of the questions takes, without having been asked before.
pub(crate) fn once<Q, A>(questions: &[Q], ask: impl Fn(&Q) -> A) -> Times {
    let mut times: Vec<Duration> = Vec::with_capacity(questions.len());
    for question in questions {
        let began = Instant::now();
        black_box(ask(black_box(question)));
        times.push(began.elapsed());
    }
    Times::of(times)
}

/// Measures things in turn, several times, and of each what it took when it was quietest: so what
/// else the machine does comes to all alike, and drops out.
pub(crate) fn in_turn<'a>(measures: impl IntoIterator<Item = Measure<'a>>) -> Vec<Times> {
    let measures: Vec<_> = measures.into_iter().collect();
    let mut best: Vec<Option<Times>> = measures.iter().map(|_| None).collect();
    for _ in 0..TURNS {
        for (measure, best) in measures.iter().zip(&mut best) {
            let times = measure();
            if best
                .as_ref()
                .is_none_or(|best| times.median() < best.median())
            {
                *best = Some(times);
            }
        }
    }
    best.into_iter().flatten().collect()
}

/// One thing to measure.
pub(crate) type Measure<'a> = Box<dyn Fn() -> Times + 'a>;

/// Bytes of memory that the process has (`VmRSS`), or has had at most (`VmHWM`).
pub(crate) fn memory(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.trim_start_matches(':').trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Begins the count of `VmHWM` anew.
pub(crate) fn forget_peak() {
    // Where that cannot be done the peak is that of all.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Writes a line of the report.
pub(crate) fn tell(line: &str) {
    // Nobody may be reading.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

// === impl Times ===

impl Times {
    /// Of times in any order.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(500)
    }

    /// What one in a thousand exceeds.
    pub(crate) fn thousandth(&self) -> Duration {
        self.at(999)
    }

    fn at(&self, per_mille: usize) -> Duration {
        let place = (self.0.len() * per_mille / 1000).min(self.0.len().saturating_sub(1));
        self.0.get(place).copied().unwrap_or_default()
    }

    /// Median and tail, in microseconds.
    pub(crate) fn text(&self) -> String {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        format!(
            "p50 {:>9.2} µs, p99 {:>9.2} µs",
            micros(self.median()),
            micros(self.at(990))
        )
    }

    /// Median and the far tail, in microseconds.
    pub(crate) fn tail(&self) -> String {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        format!(
            "{}, p99.9 {:>9.2} µs",
            self.text(),
            micros(self.thousandth())
        )
    }

    /// `1.20x, +0.30 µs`: how much longer it takes than another at the median.
    pub(crate) fn beside(&self, other: &Self) -> String {
        let more = (self.median().as_secs_f64() - other.median().as_secs_f64()) * 1e6;
        format!("{:.2}x, {more:+.2} µs", other.ratio(self))
    }

    /// How many times as long the others take, at the median.
    pub(crate) fn ratio(&self, others: &Self) -> f64 {
        others.median().as_secs_f64() / self.median().as_secs_f64().max(1e-9)
    }
}

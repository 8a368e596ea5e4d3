//! Policies that are replaced while questions are answered.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pdp::{OnError, Pdp, PoliciesConfig, PolicySource, Question};
use prometheus::Registry;
use settings::Span;

use crate::measure::{Times, each, forget_peak, memory, tell};
use crate::policies;

/// Policies in full, and links. Without optimisation more would only be waited for.
const POLICIES: (usize, usize) = if cfg!(debug_assertions) {
    (100, 1_000)
} else {
    (10_000, 100_000)
};
/// Threads that ask.
const THREADS: u32 = 2;
/// How often questions come due.
const TICK: Duration = Duration::from_millis(1);
/// How much of their time the threads are asked to spend, in percent.
const LOAD: u32 = 30;
/// Reloads in a row.
const RELOADS: usize = 5;
/// How long it is watched without them.
const QUIET: Duration = Duration::from_secs(5);

/// How long threads are left to themselves at first.
const STARTING: Duration = Duration::from_secs(1);

/// Whoever asks is not to notice: of the questions that come due each millisecond, and are counted from
/// that moment on, the slowest take no longer than without a reload.
pub(crate) fn measure() {
    let folder = tempfile::tempdir().expect("there is room");
    let at = |name: &str| folder.path().join(name);
    let (texts, links) = POLICIES;
    let write = |path: &Path, content: &str| fs::write(path, content).expect("there is room");
    fs::create_dir(at("policies")).expect("there is room");
    write(&at("policies/scoped.cedar"), &policies::text(texts));
    write(&at("policies/templates.cedar"), &policies::templates());
    write(&at("policies/links.cedar.json"), &policies::links(links));
    write(&at("entities.json"), &policies::entities().to_string());
    forget_peak();
    let before = memory("VmRSS");
    let pdp = Pdp::open(
        &PoliciesConfig {
            source: PolicySource::Dir(at("policies")),
            schema: None,
            allow_no_schema: true,
            entities: Some(at("entities.json")),
            namespace: None,
            on_error: OnError::Deny,
            max_staleness: Span::from_secs(1 << 30),
        },
        &Registry::new(),
    )
    .expect("what is generated fits");
    let (loaded, peak) = (memory("VmRSS"), memory("VmHWM"));
    let questions = policies::anywhere(false);
    let alone = each(&questions, |question| pdp.decide(&pdp.snapshot(), question));
    let share = TICK * LOAD / 100;
    let each_tick = (share.as_nanos() / alone.median().as_nanos().max(1)) as usize;
    let quiet = watched(&pdp, &questions, each_tick, || wait(QUIET));
    forget_peak();
    let took = Instant::now();
    let reloading = watched(&pdp, &questions, each_tick, || {
        for round in 0..RELOADS {
            write(
                &at("policies/more.cedar"),
                &format!("forbid(principal, action, resource) when {{ context has r{round} }};"),
            );
            let revision = pdp.snapshot().revision().clone();
            pdp.refresh();
            assert_ne!(*pdp.snapshot().revision(), revision, "nothing was reloaded");
        }
    });
    let took = took.elapsed() / u32::try_from(RELOADS).unwrap_or(1);
    tell(&format!(
        "{texts} policies and {links} links, {each_tick} questions each {TICK:?} on each of {THREADS} threads\n  quiet     {}\n  reloading {}; {:.2}x at p99.9; {took:.1?} for each, steadying included\n  memory: {} MB loaded, {} MB at most while loading, {} MB at most while reloading",
        quiet.tail(),
        reloading.tail(),
        reloading.thousandth().as_secs_f64() / quiet.thousandth().as_secs_f64().max(1e-9),
        loaded.saturating_sub(before) >> 20,
        peak.saturating_sub(before) >> 20,
        memory("VmHWM").saturating_sub(before) >> 20,
    ));
}

/// Asks at a constant rate while something is done.
fn watched(pdp: &Pdp, questions: &[Question], each_tick: usize, done: impl FnOnce()) -> Times {
    let (counts, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let times: Vec<Duration> = thread::scope(|scope| {
        let askers: Vec<_> = (0..THREADS)
            .map(|first| {
                let (counts, stop) = (&counts, &stop);
                let asker = thread::Builder::new().name("asker".to_owned());
                let asked = asker.spawn_scoped(scope, move || {
                    let mut times = Vec::new();
                    let from = questions.len() / 2 * first as usize;
                    let mut questions = questions.iter().cycle().skip(from);
                    let mut due = Instant::now();
                    while !stop.load(Ordering::Relaxed) {
                        wait(due.saturating_duration_since(Instant::now()));
                        for question in questions.by_ref().take(each_tick) {
                            std::hint::black_box(pdp.decide(&pdp.snapshot(), question));
                            if counts.load(Ordering::Relaxed) {
                                times.push(due.elapsed());
                            }
                        }
                        due += TICK;
                    }
                    times
                });
                asked.expect("a thread")
            })
            .collect();
        // What is held up while threads start has nothing to do with it.
        wait(STARTING);
        counts.store(true, Ordering::Relaxed);
        done();
        stop.store(true, Ordering::Relaxed);
        let times = askers.into_iter().filter_map(|asker| asker.join().ok());
        times.flatten().collect()
    });
    Times::of(times)
}

#[expect(
    clippy::disallowed_methods,
    reason = "questions come due when they do, and nothing tells of it"
)]
fn wait(time: Duration) {
    thread::sleep(time);
}

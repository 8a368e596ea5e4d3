//! The decision point: the current snapshot, how fresh it is, and the one `decide`.

mod reload;
mod store;

use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prometheus::Registry;
use settings::Problem;
use tokio::sync::watch;

use self::reload::{Looked, loaded};
use crate::answer::{Answer, Source};
use crate::cache::{Cache, CacheMetrics};
use crate::config::{CacheConfig, PoliciesConfig, PolicySource};
use crate::load::{self, Ids, Rules, Sources};
use crate::metrics::Metrics;
use crate::namespace::Namespace;
use crate::question::Question;
use crate::retired::Retired;
use crate::search::Ended;
use crate::snapshot::{Seen, Snapshot};
use crate::verify::Verifier;

pub use self::reload::Reload;
pub use self::store::RefusedEntities;

/// Looks come every few seconds and end at once; that none has ended for so long, as on a network
/// file system that hangs, is a problem.
const SILENT: Duration = Duration::from_secs(15);

/// A policy decision point over one policy store.
#[derive(Debug)]
pub struct Pdp {
    current: ArcSwap<Snapshot>,
    /// When the source was last read, in milliseconds after `started`.
    verified: AtomicU64,
    started: Instant,
    max_staleness: Duration,
    namespace: Namespace,
    pub(crate) sources: Sources,
    rules: Rules,
    /// Held for the whole of a refresh, so that there is one at a time; nothing else takes it.
    looked: Mutex<Looked>,
    /// Held while the next snapshot is made of the current one. Readers never wait for it.
    writing: Mutex<()>,
    /// What is wrong with the source now.
    problems: ArcSwap<Vec<Problem>>,
    reloads: watch::Sender<Reload>,
    metrics: Metrics,
    verifier: Verifier,
    /// Empty where no answers are kept.
    cache: OnceLock<Cache>,
    cache_metrics: CacheMetrics,
}

/// How the decision point is.
#[derive(Debug, Clone)]
pub struct Health {
    /// The content hash of what decides.
    pub revision: Arc<str>,
    /// The content hash of the stored entities.
    pub entities_revision: Arc<str>,
    /// How many policies there are.
    pub policies: usize,
    /// How many entities are stored, the actions of the schema included.
    pub entities: usize,
    /// The time since the source was last read.
    pub age: Duration,
    /// Whether `age` is within `max_staleness`. When it is not, every answer is Deny.
    pub fresh: bool,
    /// What is wrong with the source now; empty when what decides is what it holds.
    pub problems: Vec<Problem>,
}

// === impl Pdp ===

impl Pdp {
    /// Loads the policies. The paths in `config` must be resolved.
    ///
    /// # Errors
    /// Every mistake in the sources. A mistake of the configuration itself names its key and no
    /// file.
    pub fn open(config: &PoliciesConfig, registry: &Registry) -> Result<Arc<Self>, Vec<Problem>> {
        let namespace = Namespace::new(config.namespace.as_deref())
            .map_err(|error| vec![setting("policies.namespace", error.to_string())]);
        let sources = sources(config);
        let (namespace, sources) = match (namespace, sources) {
            (Ok(namespace), Ok(sources)) => (namespace, sources),
            (namespace, sources) => {
                let namespace = namespace.err().unwrap_or_default();
                return Err([namespace, sources.err().unwrap_or_default()].concat());
            }
        };
        let rules = Rules {
            ids: Ids::Annotated,
            validate: true,
            on_error: config.on_error,
        };
        let (scan, snapshot) = load::load_new(&sources, rules)?;
        let unregistered = |error| {
            let message = format!("cannot register metrics: {error}");
            vec![setting("policies", message)]
        };
        let metrics = Metrics::register(registry).map_err(unregistered)?;
        let verifier = Verifier::register(registry).map_err(unregistered)?;
        let cache_metrics = CacheMetrics::register(registry).map_err(unregistered)?;
        let (reloads, _) = watch::channel(loaded(&snapshot));
        let pdp = Arc::new(Self {
            current: ArcSwap::from_pointee(snapshot),
            verified: AtomicU64::new(0),
            started: Instant::now(),
            max_staleness: config.max_staleness.0,
            namespace,
            sources,
            rules,
            looked: Mutex::new(Looked {
                entities: scan.entities.clone(),
                judged: Some(scan),
                retired: Retired::default(),
            }),
            writing: Mutex::new(()),
            problems: ArcSwap::default(),
            reloads,
            metrics,
            verifier,
            cache: OnceLock::new(),
            cache_metrics,
        });
        pdp.verified();
        pdp.announce(&pdp.snapshot());
        Ok(pdp)
    }

    /// The snapshot that decides now. One request is answered from one snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The same for one that is used at once and on this thread alone, which costs less: threads that count the
    /// users of one snapshot wait for each other.
    pub(crate) fn current(&self) -> impl Deref<Target = Arc<Snapshot>> {
        self.current.load()
    }

    /// The namespace of unqualified names.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Decides: what the engine says, or said, if the policies are fresh enough, else nobody, and
    /// then it is Deny.
    #[must_use]
    pub fn decide(&self, snapshot: &Snapshot, question: &Question) -> Answer {
        self.decide_over(snapshot, question, &mut snapshot.see(&question.entities))
    }

    /// Decides one of many questions that bring the same entities, which `snapshot` has seen.
    #[must_use]
    pub fn decide_over(
        &self,
        snapshot: &Snapshot,
        question: &Question,
        seen: &mut Seen<'_>,
    ) -> Answer {
        self.answer(snapshot, || {
            let cache = self.cache.get();
            let answer = match cache {
                Some(cache) => cache.decide(snapshot, question, seen),
                None => snapshot.decide_over(question, seen),
            };
            let verified = self.verifier.verify(snapshot, question, answer);
            verified.unwrap_or_else(|denied| {
                // What is wrong is not to be given again.
                cache.into_iter().for_each(Cache::clear);
                denied
            })
        })
    }

    /// Whether one of the candidates of a search is allowed: the decision of [`decide`](Self::decide),
    /// which is not counted by itself. No answers are kept: candidates are seldom asked about again,
    /// and many enough to drive out all others.
    pub(crate) fn allows(&self, snapshot: &Snapshot, candidate: &Question) -> bool {
        if !self.is_fresh() {
            return false;
        }
        let answer = snapshot.decide(candidate);
        let verified = self.verifier.verify(snapshot, candidate, answer);
        verified.is_ok_and(|answer| answer.is_allow())
    }

    /// Has Cedar's own authorizer make this share of the decisions again from now on: 0 for none, 1
    /// for all. Where it disagrees the answer is Deny.
    ///
    /// Cedar needs every link as it has them; they are made here, and later where policies are
    /// loaded, and not when a decision is first verified.
    pub fn verify(&self, share: f64) {
        self.verifier.set_share(share);
        if self.verifier.is_on() {
            self.snapshot().rulebook().policies.whole();
        }
    }

    /// Counts one page of a search for subjects, resources or actions (`sought`).
    pub(crate) fn searched(&self, sought: &'static str, candidates: usize, ended: Ended) {
        self.metrics.searched(sought, candidates, ended);
    }

    /// Keeps answers from now on, and gives them again to questions that are the same in all that the
    /// policies can read. Only the first call has an effect.
    pub fn keep_answers(&self, config: CacheConfig) {
        if let Some(cache) = Cache::new(config, self.cache_metrics.clone()) {
            self.cache.get_or_init(|| cache);
        }
    }

    /// The final Deny to a question that the policies cannot be asked, because it does not fit the
    /// schema. `message` says why.
    #[must_use]
    pub fn refuse(&self, snapshot: &Snapshot, message: &str) -> Answer {
        self.answer(snapshot, || snapshot.refused(message))
    }

    /// Whether the policies are fresh enough to decide. While they are not, every answer is Deny.
    pub(crate) fn is_fresh(&self) -> bool {
        self.age() <= self.max_staleness
    }

    fn answer(&self, snapshot: &Snapshot, decide: impl FnOnce() -> Answer) -> Answer {
        let began = Instant::now();
        let answer = if self.age_at(began) <= self.max_staleness {
            decide()
        } else {
            let message = "the policies are older than `max_staleness`";
            Answer::refused(Source::FailClosed, snapshot.revision(), message)
        };
        self.metrics.decided(&answer, began.elapsed());
        answer
    }

    /// How the decision point is.
    #[must_use]
    pub fn health(&self) -> Health {
        let snapshot = self.current.load();
        let age = self.age();
        let mut problems = self.problems.load().to_vec();
        if problems.is_empty() && age > SILENT {
            problems.push(Problem::of_file(
                &self.sources.policies,
                format!("no look has ended for {} s", age.as_secs()),
            ));
        }
        Health {
            revision: Arc::clone(snapshot.revision()),
            entities_revision: Arc::clone(snapshot.entities_revision()),
            policies: snapshot.policy_count(),
            entities: snapshot.entity_count(),
            age,
            fresh: age <= self.max_staleness,
            problems,
        }
    }

    /// Tells of every reload from now on; only the last one is kept for a slow reader.
    #[must_use]
    pub fn reloads(&self) -> watch::Receiver<Reload> {
        self.reloads.subscribe()
    }

    /// Whoever panicked while writing had not changed anything yet.
    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verified(&self) {
        let after = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.verified.store(after, Ordering::Relaxed);
        self.metrics.verified();
    }

    /// The time since the source was last read.
    fn age(&self) -> Duration {
        self.age_at(Instant::now())
    }

    fn age_at(&self, moment: Instant) -> Duration {
        let verified = Duration::from_millis(self.verified.load(Ordering::Relaxed));
        let since_start = moment.saturating_duration_since(self.started);
        since_start.saturating_sub(verified)
    }
}

fn sources(config: &PoliciesConfig) -> Result<Sources, Vec<Problem>> {
    let mut problems = Vec::new();
    let policies = match &config.source {
        PolicySource::Dir(path) => path.clone(),
        PolicySource::Bundle(_) => {
            problems.push(setting(
                "policies.source.bundle",
                "is not served by this version: use `dir`",
            ));
            Default::default()
        }
        PolicySource::Avp(_) => {
            problems.push(setting(
                "policies.source.avp",
                "is not served by this version: use `dir`",
            ));
            Default::default()
        }
    };
    if config.schema.is_none() && !config.allow_no_schema {
        problems.push(setting(
            "policies.schema",
            "is missing: without a schema mistakes in policies are found only when they decide; `allow_no_schema: true` accepts that",
        ));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Sources {
        policies,
        schema: config.schema.clone(),
        entities: config.entities.clone(),
    })
}

/// A mistake of the configuration; whoever read the file knows where the key stands.
fn setting(key: &str, message: impl Into<String>) -> Problem {
    Problem {
        key: key.to_owned(),
        ..Problem::of_file(Path::new(""), message)
    }
}

#[cfg(test)]
mod tests;

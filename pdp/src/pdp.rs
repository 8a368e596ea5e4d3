//! The decision point: the current snapshot, how fresh it is, and the one `decide`.

use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use cedar_policy::{Entity, EntityUid};
use prometheus::Registry;
use settings::Problem;
use tokio::sync::watch;

use crate::answer::{Answer, Source};
use crate::cache::{Cache, CacheMetrics};
use crate::config::{CacheConfig, PoliciesConfig, PolicySource};
use crate::entities::{Change, Draft};
use crate::load::{self, Failed, Ids, Made, Rules, Sources};
use crate::metrics::Metrics;
use crate::namespace::Namespace;
use crate::one_line::one_line;
use crate::question::Question;
use crate::retired::Retired;
use crate::scan::{Found, Scan};
use crate::search::Ended;
use crate::snapshot::{Seen, Snapshot};
use crate::verify::Verifier;

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

/// What is known of the files.
#[derive(Debug)]
struct Looked {
    /// The scan whose content was last judged, good or bad. Never one with problems.
    judged: Option<Scan>,
    /// The file whose entities were last taken over.
    entities: Option<Found>,
    /// What decided before.
    retired: Retired,
}

/// Entities that cannot be stored, or not be taken away.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct RefusedEntities {
    /// Why, naming the entity.
    pub message: String,
}

/// What became of the last look at the policy source.
#[derive(Debug, Clone)]
pub enum Reload {
    /// These policies decide.
    Loaded {
        /// The content hash of what decides now.
        revision: Arc<str>,
        /// The content hash of the stored entities.
        entities_revision: Arc<str>,
        /// How many policies there are.
        policies: usize,
    },
    /// The source cannot be used; what decided before still does.
    Failed(Arc<[Problem]>),
    /// The source holds again what has been deciding all along.
    Recovered,
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

    /// Looks at the source once, and takes over what is new in it. Reads files, and waits for what
    /// is being written: not for a thread that serves requests.
    pub fn refresh(&self) {
        // Whoever panicked here only held what this look replaces.
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.retired.free(&self.snapshot());
        let scan = Scan::of(&self.sources);
        if looked.judged.as_ref() == Some(&scan) {
            return self.verified();
        }
        // Content that cannot be read, or not at one moment, was not verified, and is tried again
        // on the next look.
        looked.judged = None;
        let (scan, texts) = match load::read_steady(&self.sources, scan, load::STEADY) {
            Ok(read) => read,
            Err(problems) => return self.fail(problems),
        };
        let current = self.snapshot();
        let same_entities = scan.entities == looked.entities;
        let made = load::make(&scan, &texts, self.rules, Some((&current, same_entities)));
        drop(current);
        let made = match made {
            Ok(made) => made,
            Err(Failed::Changed) => return,
            Err(Failed::Problems(problems)) => {
                looked.judged = Some(scan);
                self.verified();
                return self.fail(problems);
            }
        };
        if self.verifier.is_on() {
            made.rulebook.policies.whole();
        }
        let entities = scan.entities.clone();
        looked.judged = Some(scan);
        self.verified();
        match self.take_over(made, &mut looked.retired) {
            Ok(()) => looked.entities = entities,
            Err(problems) => self.fail(problems),
        }
    }

    fn take_over(&self, made: Made, retired: &mut Retired) -> Result<(), Vec<Problem>> {
        let _writing = self.writing();
        let current = self.snapshot();
        let snapshot = made.onto(Some(&current))?;
        let recovered = !self.problems.swap(Arc::default()).is_empty();
        let same = snapshot.revision() == current.revision()
            && snapshot.entities_revision() == current.entities_revision();
        if same {
            if recovered {
                tracing::info!(
                    revision = &**snapshot.revision(),
                    entities_revision = &**snapshot.entities_revision(),
                    "the policy source is good again"
                );
                self.reloads.send_replace(Reload::Recovered);
            }
            return Ok(());
        }
        self.announce(&snapshot);
        self.metrics.reloaded();
        let reload = loaded(&snapshot);
        drop(current);
        retired.take(self.current.swap(Arc::new(snapshot)));
        self.reloads.send_replace(reload);
        Ok(())
    }

    /// Stores entities, each in place of the one with its name. All of them at once, or none.
    /// Parents that are not stored are allowed. A file of entities that changes later takes the
    /// place of everything that was stored here.
    ///
    /// # Errors
    /// When an entity does not fit the schema, is given twice, or would be its own ancestor.
    pub fn upsert_entities(&self, entities: Vec<Entity>) -> Result<(), RefusedEntities> {
        self.change_entities(|snapshot| {
            let stored = snapshot.entities();
            let mut changes = Vec::with_capacity(entities.len());
            for entity in &entities {
                let entity = entity.as_ref();
                if let Some(types) = &snapshot.rulebook().types {
                    let refused = |error: &dyn std::fmt::Display| {
                        refused(&format!("entity `{}`: {error}", entity.uid()))
                    };
                    types.check(entity).map_err(|error| refused(&error))?;
                }
                let draft = Draft::named(entity, &mut |uid| stored.name(uid));
                changes.push(Change::Put(draft.map_err(|error| refused(&error))?));
            }
            Ok(changes)
        })
    }

    /// Takes stored entities away. Those that name one as their parent keep doing so. A name that is
    /// not stored is passed over.
    ///
    /// # Errors
    /// When one is given twice or is an action of the schema.
    pub fn remove_entities(&self, uids: &[EntityUid]) -> Result<(), RefusedEntities> {
        self.change_entities(|snapshot| {
            let names = uids
                .iter()
                .map(|uid| snapshot.entities().name(uid.as_ref()));
            Ok(names.map(Change::Remove).collect())
        })
    }

    fn change_entities(
        &self,
        changes: impl FnOnce(&Snapshot) -> Result<Vec<Change>, RefusedEntities>,
    ) -> Result<(), RefusedEntities> {
        let _writing = self.writing();
        let current = self.current.load();
        let changes = changes(&current)?;
        let entities = current.entities().with(changes);
        let entities = entities.map_err(|error| refused(&error))?;
        self.metrics.stored(entities.len());
        self.current.store(Arc::new(current.over(entities)));
        Ok(())
    }

    /// Whoever panicked while writing had not changed anything yet.
    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what decides, and says once what is wrong.
    fn fail(&self, problems: Vec<Problem>) {
        let known = self.problems.load();
        if **known == problems {
            return;
        }
        for problem in problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::error!(%problem, "the policy source cannot be used; the last good policies still decide");
        }
        self.metrics.reload_failed();
        self.reloads
            .send_replace(Reload::Failed(problems.clone().into()));
        self.problems.store(Arc::new(problems));
    }

    fn announce(&self, snapshot: &Snapshot) {
        let (policies, entities) = (snapshot.policy_count(), snapshot.entity_count());
        for warning in snapshot.warnings() {
            tracing::warn!(%warning, "policies or entities can be improved");
        }
        if policies == 0 {
            tracing::warn!("there are no policies: everything is denied");
        }
        tracing::info!(
            policies,
            entities,
            revision = &**snapshot.revision(),
            entities_revision = &**snapshot.entities_revision(),
            "policies loaded"
        );
        self.metrics.loaded(policies, entities);
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

fn loaded(snapshot: &Snapshot) -> Reload {
    Reload::Loaded {
        revision: Arc::clone(snapshot.revision()),
        entities_revision: Arc::clone(snapshot.entities_revision()),
        policies: snapshot.policy_count(),
    }
}

fn refused(error: &dyn std::fmt::Display) -> RefusedEntities {
    RefusedEntities {
        message: one_line(&error.to_string()),
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

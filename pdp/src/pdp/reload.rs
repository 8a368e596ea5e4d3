//! The policy source is looked at again, and what is new in it taken over.

use std::sync::{Arc, PoisonError};

use settings::Problem;

use super::Pdp;
use crate::load::{self, Failed, Made};
use crate::retired::Retired;
use crate::scan::{Found, Scan};
use crate::snapshot::Snapshot;

/// What is known of the files.
#[derive(Debug)]
pub(super) struct Looked {
    /// The scan whose content was last judged, good or bad. Never one with problems.
    pub(super) judged: Option<Scan>,
    /// The file whose entities were last taken over.
    pub(super) entities: Option<Found>,
    /// What decided before.
    pub(super) retired: Retired,
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

// === impl Pdp ===

impl Pdp {
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

    pub(super) fn announce(&self, snapshot: &Snapshot) {
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
}

/// These policies decide.
pub(super) fn loaded(snapshot: &Snapshot) -> Reload {
    Reload::Loaded {
        revision: Arc::clone(snapshot.revision()),
        entities_revision: Arc::clone(snapshot.entities_revision()),
        policies: snapshot.policy_count(),
    }
}

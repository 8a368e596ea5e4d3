//! Keeps the snapshot in step with its files.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::load::Sources;
use crate::pdp::Pdp;

/// How often the files are looked at without being told of a change. This is what counts as
/// verification, and what sees the changes that no notification tells of, such as a symbolic link
/// that is swapped on another file system.
const LOOK: Duration = Duration::from_secs(2);

/// How long a burst of changes may go on before it is looked at: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(50);

impl Pdp {
    /// Follows the policy files until `stop` completes. A change takes effect within a blink, or is
    /// reported and leaves what decides as it is.
    pub async fn watch(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let (nudge, mut nudges) = mpsc::channel(1);
        // Held until the end: dropping it ends the notifications.
        let _watcher = match notifications(&self.sources, nudge) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "no notifications of file changes; looking every {LOOK:?} instead");
                None
            }
        };
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                Some(()) = nudges.recv() => sleep(SETTLE).await,
                _ = look.tick() => {}
            }
            // What was told while waiting is seen by the look that comes now.
            while nudges.try_recv().is_ok() {}
            let pdp = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || pdp.refresh());
            tokio::select! {
                biased;
                () = &mut stop => return,
                result = looked => if let Err(error) = result {
                    tracing::error!(%error, "looking at the policy source failed");
                }
            }
        }
    }
}

/// Watches the folders that the sources are in: a file that is replaced is not the file that was
/// watched.
fn notifications(sources: &Sources, nudge: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is an event too, and our own looks would then never end.
        if event.is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        // Full means that a look is due anyway.
        let _ = nudge.try_send(());
    })?;
    let folder_of = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    if sources.policies.is_dir() {
        watcher.watch(&sources.policies, RecursiveMode::Recursive)?;
    } else {
        watcher.watch(&folder_of(&sources.policies), RecursiveMode::NonRecursive)?;
    }
    for file in [&sources.schema, &sources.entities].into_iter().flatten() {
        let folder = folder_of(file);
        // Inside the policy folder it is watched already.
        if !folder.starts_with(&sources.policies) {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        }
    }
    Ok(watcher)
}

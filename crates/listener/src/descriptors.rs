//! What the limit on open files leaves room for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

use crate::Limits;

/// How many files a process may open, and what has to share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fit {
    /// The process's limit; `None` where there is none.
    descriptors: Option<u64>,
    /// How many listeners accept connections.
    listeners: usize,
    /// Connections to others that are kept open although no request uses them.
    kept: usize,
}

/// Files, sockets of the listeners, connections to key servers and stores: what is open besides requests'
/// connections.
const RESERVE: usize = 64;

/// Raises the limit on open files as far as it goes without privileges, and lowers `limits` to what then fits:
/// a connection for which there is no descriptor would be a request that fails. Whatever is lowered is said in a
/// warning.
#[must_use]
pub fn fit_descriptors(limits: &Limits, listeners: usize, kept: usize) -> Limits {
    let fit = Fit {
        descriptors: raise(),
        listeners,
        kept,
    };
    let fitting = fit.lower(limits);
    for (key, asked, given) in [
        ("connections", limits.connections, fitting.connections),
        ("in_flight", limits.in_flight, fitting.in_flight),
        ("tunnels", limits.tunnels, fitting.tunnels),
    ] {
        if given < asked {
            warn!(
                descriptors = fit.descriptors,
                "the limit on open files (ulimit -Hn) is too low for `limits.{key}: {asked}`: each listener takes {given}"
            );
        }
    }
    fitting
}

impl Fit {
    /// Each connection takes a descriptor, and so does each request in flight and each tunnel, towards the upstream.
    /// Where all of that is too much, the requests may use half of what there is, and tunnels an eighth.
    fn lower(&self, limits: &Limits) -> Limits {
        let mut limits = limits.clone();
        let Some(descriptors) = self.descriptors else {
            return limits;
        };
        let room = usize::try_from(descriptors)
            .unwrap_or(usize::MAX)
            .saturating_sub(RESERVE);
        let kept = self.kept.min(room / 4);
        limits.in_flight = limits.in_flight.min((room / 2).saturating_sub(kept).max(1));
        limits.tunnels = limits.tunnels.min((room / 8).max(1));
        let left = room.saturating_sub(kept + limits.in_flight + limits.tunnels);
        let each = left / self.listeners.max(1);
        limits.connections = limits.connections.min(each.max(1));
        limits
    }
}

/// Raises the soft limit to the hard one; gives what is in force then.
fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            debug!("cannot raise the limit on open files: {error}");
            current
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowered(descriptors: u64) -> (usize, usize) {
        let fit = Fit {
            descriptors: Some(descriptors),
            listeners: 3,
            kept: 256,
        };
        let limits = fit.lower(&Limits::default());
        (limits.connections, limits.in_flight)
    }

    #[test]
    fn what_fits_is_left_alone() {
        assert_eq!(lowered(65_536), (10_000, 1024));
        assert_eq!(lowered(32_344), (10_000, 1024));
        assert_eq!(lowered(32_343), (9999, 1024));
    }

    #[test]
    fn all_that_may_be_open_stays_below_the_limit() {
        for descriptors in [0, 1, 64, 65, 70, 100, 256, 1024, 4096, 20_000, u64::MAX] {
            let (connections, in_flight) = lowered(descriptors);
            assert!(connections >= 1 && in_flight >= 1, "{descriptors}");
            if descriptors > 100 {
                let open = 3 * connections as u64 + in_flight as u64 + RESERVE as u64;
                assert!(open <= descriptors, "{descriptors}: {open}");
            }
        }
        assert_eq!(lowered(1024), (120, 240));
    }

    #[test]
    fn without_a_limit_nothing_is_lowered() {
        let fit = Fit {
            descriptors: None,
            listeners: 3,
            kept: 256,
        };
        assert_eq!(fit.lower(&Limits::default()).connections, 10_000);
    }
}

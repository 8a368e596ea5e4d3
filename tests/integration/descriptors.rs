//! The limit on open files: used up to its end, never beyond, and survived when it is reached all the same.

use crate::harness::http1::{Client, get};
use crate::harness::sidecar::Sidecar;
use crate::harness::table::with_lines;
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use crate::harness::{PATIENCE, until};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::time::{Duration, Instant};

/// The soft limit and the hard one of a process.
fn limits(process: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn the_soft_limit_is_raised() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start_below("ulimit -S -n 100", &Workspace::new(upstream.address()));
    let (soft, hard) = limits(sidecar.id());
    assert_eq!(soft, hard);
    assert_ne!(soft, "100");
    assert_eq!(get(sidecar.proxy(), "/public/x", "").status, 200);
}

/// Below the hard limit no connection is taken for which there would be no descriptor towards the upstream.
#[test]
fn what_does_not_fit_waits() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start_below("ulimit -n 128", &Workspace::new(upstream.address()));
    let said = sidecar.stderr();
    assert!(said.contains("`limits.connections: 10000`: each listener takes 8"), "{said}");
    let request = with_lines("GET", "/public/x", "");
    let mut clients: Vec<Client> = (0..30).map(|_| Client::connect(sidecar.proxy())).collect();
    for client in &mut clients {
        client.send(&request);
    }
    for mut client in clients {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    let said = sidecar.stderr();
    assert!(!said.contains("cannot accept"), "{said}");
}

/// Out of descriptors: what is open is served, what comes waits, accepting is tried again less and less often, and all
/// goes on when there are descriptors again.
#[test]
fn running_out_of_descriptors_passes() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let request = with_lines("GET", "/public/x", "");
    let mut open = Client::connect(sidecar.proxy());
    assert_eq!(open.send(&request).answer().unwrap().status, 200);

    let process = Pid::from_raw(sidecar.id().cast_signed());
    let taken = |number: &u64| std::fs::symlink_metadata(format!("/proc/{}/fd/{number}", sidecar.id())).is_ok();
    let lowest_free = (0..).find(|number| !taken(number));
    // `unlimited` is no number.
    let maximum = limits(sidecar.id()).1.parse().ok();
    let before = prlimit(process, Resource::Nofile, Rlimit { current: lowest_free, maximum }).unwrap();
    let began = Instant::now();
    let mut waiting = Client::connect(sidecar.proxy());
    waiting.send(&request);
    let complaints = || sidecar.stderr().matches("cannot accept connections").count();
    // Pauses of 50, 100, 200 and 400 milliseconds lie between them.
    until("five complaints", PATIENCE, || (complaints() >= 5).then_some(()));
    assert!(began.elapsed() >= Duration::from_millis(750), "{:?}", began.elapsed());
    assert_eq!(open.send(&request).answer().unwrap().status, 200, "what is open is served");

    prlimit(process, Resource::Nofile, before).unwrap();
    assert_eq!(waiting.answer().unwrap().status, 200);
    assert_eq!(get(sidecar.proxy(), "/public/x", "").status, 200);
}

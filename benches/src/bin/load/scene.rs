//! What is measured: an upstream, the bare proxy and the gate in front of it, and the tokens that
//! the gate accepts.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use benches::fortress::{Fortress, own_profile};
use benches::harness::{beside, existing};
use benches::load::{self, Error, Requests};
use benches::process::{Process, Resident};

/// Requests that `portcullis dev` answers before its memory is read.
const DEV_REQUESTS: usize = 2000;

/// The running processes. All of them end when this is dropped.
pub(crate) struct Scene {
    pub(crate) upstream: Process,
    pub(crate) upstream_at: SocketAddr,
    pub(crate) bare: Process,
    pub(crate) bare_at: SocketAddr,
    pub(crate) gate: Process,
    pub(crate) gate_at: SocketAddr,
    fortress: Fortress,
}

impl Scene {
    /// Starts everything on free ports of the loopback.
    pub(crate) fn start(gate: &Path, root: &Path) -> Result<Self, Error> {
        let gate = existing(gate)?;
        let fortress = Fortress::new(root)?;
        let upstream = Process::start(beside("upstream")?, "upstream: listening on ")?;
        let upstream_at = upstream.address("upstream: listening on ")?;

        let mut command = beside("passthrough")?;
        command.args(["--upstream", &upstream_at.to_string()]);
        let bare = Process::start(command, "passthrough: listening on ")?;
        let bare_at = bare.address("passthrough: listening on ")?;

        let configuration =
            fortress.configuration(&["proxy", "decisions", "telemetry"], Some(upstream_at));
        let configuration = fortress.write("portcullis", &configuration)?;
        let mut command = Command::new(gate);
        command.arg("serve").arg("-c").arg(configuration);
        let gate = Process::start(command, "portcullis: ready")?;
        let gate_at = gate.address("portcullis: proxy listening on ")?;
        Ok(Self {
            upstream,
            upstream_at,
            bare,
            bare_at,
            gate,
            gate_at,
            fortress,
        })
    }

    /// The heads of `count` requests, each of another user who reads their own profile with a token
    /// of their own. `series` tells the users of one call from those of another.
    pub(crate) fn requests(&self, series: &str, count: u32) -> Vec<Vec<u8>> {
        let request = |number| {
            let user = format!("{series}-{number}");
            own_profile(&user, &self.fortress.token(&user, &[]))
        };
        (0..count).map(request).collect()
    }
}

/// Starts `portcullis dev`, lets it answer some requests, and reads its memory.
pub(crate) async fn memory_of_dev(gate: &Path, root: &Path) -> Result<Resident, Error> {
    let mut command = Command::new(existing(gate)?);
    command.arg("dev").arg(root);
    for listener in ["proxy", "decisions", "telemetry", "upstream", "issuer"] {
        command.args([&format!("--{listener}"), "127.0.0.1:0"]);
    }
    let dev = Process::start(command, "portcullis: ready")?;
    let (at, request) = dev
        .lines()
        .iter()
        .find_map(|line| pasteable(line))
        .ok_or("`portcullis dev` printed no `curl` line with a token")?;
    let requests = Arc::new(Requests::once(vec![request; DEV_REQUESTS]));
    load::closed(at, &requests, 8, Duration::from_secs(30)).await?;
    dev.resident()
}

/// The request of a line `curl -i http://<address><path> -H 'Authorization: Bearer <token>'`.
fn pasteable(line: &str) -> Option<(SocketAddr, Vec<u8>)> {
    let (_, url) = line.strip_prefix("curl ")?.split_once("http://")?;
    let (url, rest) = url.split_once(' ')?;
    let (address, path) = url.split_at_checked(url.find('/')?)?;
    let (_, token) = rest.split_once("Bearer ")?;
    let token = token.trim_end_matches('\'');
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n");
    Some((address.parse().ok()?, head.into_bytes()))
}

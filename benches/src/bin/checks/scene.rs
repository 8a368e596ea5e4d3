//! The servers that are measured, each a process of its own on the loopback, and the tokens that portcullis accepts.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use benches::fortress::{Fortress, own_profile};
use benches::harness::{beside, existing};
use benches::load::Error;
use benches::process::Process;

/// Where an authorizer runs when it is measured by itself, and the harness then: names of processors for `taskset`.
pub(crate) const FIRST_CORE: &str = "0";
pub(crate) const SECOND_CORE: &str = "1";

/// What all servers are started with.
pub(crate) struct Scene {
    fortress: Fortress,
    configuration: PathBuf,
}

/// A server that decides, or the one that is decided about.
pub(crate) struct Authorizer {
    pub(crate) process: Process,
    pub(crate) at: SocketAddr,
}

impl Scene {
    pub(crate) fn new(root: &Path) -> Result<Self, Error> {
        let fortress = Fortress::new(root)?;
        let configuration = fortress.configuration(&["ext_authz_grpc", "telemetry"], None);
        let configuration = fortress.write("portcullis", &configuration)?;
        Ok(Self {
            fortress,
            configuration,
        })
    }

    /// The upstream that always answers the same.
    pub(crate) fn upstream(&self) -> Result<Authorizer, Error> {
        peer(beside("upstream")?, "upstream", None)
    }

    /// The authorizer that allows everything, on one core where `core` names one.
    pub(crate) fn always(&self, core: Option<&str>) -> Result<Authorizer, Error> {
        peer(beside("always")?, "always", core)
    }

    /// The authorizer that gives everybody this answer, framed.
    pub(crate) fn always_this(&self, answer: &[u8]) -> Result<Authorizer, Error> {
        let file = self.fortress.folder().join("answer");
        fs::write(&file, answer)?;
        let mut command = beside("always")?;
        command.arg("--answer").arg(file);
        peer(command, "always", None)
    }

    /// Portcullis, on one core where `core` names one.
    pub(crate) fn portcullis(
        &self,
        binary: &Path,
        core: Option<&str>,
    ) -> Result<Authorizer, Error> {
        let mut command = bound(Command::new(existing(binary)?), core);
        command.arg("serve").arg("-c").arg(&self.configuration);
        let process = Process::start(command, "portcullis: ready")?;
        let at = process.address("portcullis: ext_authz_grpc listening on ")?;
        Ok(Authorizer { process, at })
    }

    /// So many users, each with a token.
    pub(crate) fn tokens(&self, count: u32) -> Vec<(String, String)> {
        let token = |number| {
            let user = format!("user-{number}");
            let token = self.fortress.token(&user, &[]);
            (user, token)
        };
        (0..count).map(token).collect()
    }

    /// The heads of so many requests, each of another user who reads their own profile.
    pub(crate) fn heads(&self, count: u32) -> Vec<Vec<u8>> {
        let tokens = self.tokens(count).into_iter();
        tokens
            .map(|(user, token)| own_profile(&user, &token))
            .collect()
    }
}

/// Moves the harness to a core of its own, where there is one.
pub(crate) fn move_to(core: &str) -> Result<(), Error> {
    if cores() < 2 {
        return Ok(());
    }
    let own = std::process::id().to_string();
    let moved = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", core, &own])
        .output()
        .map_err(|error| format!("cannot start `taskset`: {error}"))?;
    if !moved.status.success() {
        let said = String::from_utf8_lossy(&moved.stderr).into_owned();
        return Err(format!("`taskset` failed: {said}").into());
    }
    Ok(())
}

/// A binary of this package, which Cargo puts beside the harness.
fn peer(command: Command, name: &str, core: Option<&str>) -> Result<Authorizer, Error> {
    let ready = format!("{name}: listening on ");
    let process = Process::start(bound(command, core), &ready)?;
    let at = process.address(&ready)?;
    Ok(Authorizer { process, at })
}

/// The same program on one core, where `core` names one and there are more.
fn bound(command: Command, core: Option<&str>) -> Command {
    let Some(core) = core.filter(|_| cores() > 1) else {
        return command;
    };
    let mut taskset = Command::new("taskset");
    taskset
        .args(["--cpu-list", core])
        .arg(command.get_program());
    taskset
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

//! The real binary as a child process: started on port 0, killed and reaped on drop, its output searched for secrets.

use super::workspace::Workspace;
use super::{PATIENCE, until};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

/// A running `portcullis`.
pub(crate) struct Sidecar {
    child: Child,
    /// Bound addresses by their name in `listen:`.
    addresses: HashMap<String, SocketAddr>,
    stdout: Captured,
    stderr: Captured,
    /// `dev` prints tokens on purpose; nothing else may.
    may_print_tokens: bool,
    /// Its configuration is watched, so the files stay as long as it runs.
    _workspace: Option<Arc<TempDir>>,
}

/// What a child wrote to one of its streams so far.
struct Captured {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

/// Credentials that no AWS accepts, so that no test looks for real ones.
const AWS: [(&str, &str); 3] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")];

/// Runs the binary to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// The binary under test, without this process's own logging variables.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(args).env_remove("RUST_LOG").envs(AWS).stdin(Stdio::null());
    command
}

// === impl Sidecar ===

impl Sidecar {
    /// `serve` with the configuration of `workspace`, waited for until it is ready.
    pub(crate) fn start(workspace: &Workspace) -> Sidecar {
        let config = workspace.config_path();
        let mut sidecar = Self::spawn(command(&["serve", "-c", config.to_str().unwrap()]));
        sidecar._workspace = Some(workspace.hold());
        sidecar.await_ready();
        sidecar
    }

    /// The same, with `limit` set by a shell before.
    pub(crate) fn start_below(limit: &str, workspace: &Workspace) -> Sidecar {
        let config = workspace.config_path();
        let mut shell = Command::new("sh");
        let script = format!("{limit}; exec \"$0\" serve -c \"$1\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_portcullis"), config.to_str().unwrap()]);
        let mut sidecar = Self::spawn(shell);
        sidecar._workspace = Some(workspace.hold());
        sidecar.await_ready();
        sidecar
    }

    /// Any long-running subcommand, not waited for.
    pub(crate) fn spawn(mut command: Command) -> Sidecar {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = Captured::of(child.stdout.take().unwrap());
        let stderr = Captured::of(child.stderr.take().unwrap());
        Sidecar { child, addresses: HashMap::new(), stdout, stderr, may_print_tokens: false, _workspace: None }
    }

    /// Waits for `portcullis: ready` and learns the bound addresses from the lines before it.
    pub(crate) fn await_ready(&mut self) {
        until("`portcullis: ready`", PATIENCE, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the sidecar ended early with {status}:\n{}", self.output());
            }
            self.stdout.text().lines().any(|line| line == "portcullis: ready").then_some(())
        });
        self.learn_addresses();
    }

    /// Waits until every listener is bound, ready or not. Their lines come in one piece.
    pub(crate) fn await_listening(&mut self) {
        until("the listeners", PATIENCE, || self.stdout.text().contains(" listening on ").then_some(()));
        self.learn_addresses();
    }

    fn learn_addresses(&mut self) {
        for line in self.stdout.text().lines() {
            // `serve` says `portcullis: proxy listening on 127.0.0.1:1`, `dev` says `  proxy  http://127.0.0.1:1/…`.
            let said = line.strip_prefix("portcullis: ").unwrap_or(line);
            let Some((name, address)) = said.split_once(" listening on ").or_else(|| said.split_once(" http://")) else {
                continue;
            };
            let address = address.split(['/', ' ']).next().unwrap_or(address);
            if let Ok(address) = address.parse() {
                self.addresses.entry(name.trim().to_owned()).or_insert(address);
            }
        }
    }

    /// Where the listener called `name` in `listen:` is bound.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        *self.addresses.get(name).unwrap_or_else(|| panic!("no line said where `{name}` listens:\n{}", self.output()))
    }

    pub(crate) fn proxy(&self) -> SocketAddr {
        self.address("proxy")
    }

    pub(crate) fn decisions(&self) -> SocketAddr {
        self.address("decisions")
    }

    pub(crate) fn telemetry(&self) -> SocketAddr {
        self.address("telemetry")
    }

    pub(crate) fn allow_tokens_in_output(&mut self) {
        self.may_print_tokens = true;
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    fn output(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", self.stdout.text(), self.stderr.text())
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as an orchestrator would.
    pub(crate) fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The exit status, waited for.
    pub(crate) fn exited(&mut self, limit: Duration) -> ExitStatus {
        until("the sidecar to exit", limit, || self.child.try_wait().unwrap())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // Both fail only when the child is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stdout.close();
        self.stderr.close();
        if thread::panicking() {
            let _ = writeln!(io::stderr(), "{}", self.output());
            return;
        }
        let output = self.output();
        assert!(!output.contains("panicked at"), "the sidecar panicked:\n{output}");
        if !self.may_print_tokens {
            assert_no_token(&output);
        }
    }
}

/// Every JWT begins with `eyJ`, the base64url of `{"`.
pub(crate) fn assert_no_token(text: &str) {
    if let Some(line) = text.lines().find(|line| line.contains("eyJ")) {
        panic!("a token was logged: {line}");
    }
}

// === impl Captured ===

impl Captured {
    fn of(mut stream: impl Read + Send + 'static) -> Captured {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = text.clone();
        let reader = thread::spawn(move || {
            let mut chunk = [0; 8192];
            while let Ok(read @ 1..) = stream.read(&mut chunk) {
                sink.lock().unwrap().extend_from_slice(&chunk[..read]);
            }
        });
        Captured { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn close(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

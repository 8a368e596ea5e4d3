//! A real `redis-server`: started on a free port, spoken to in raw RESP, killed, paused and restarted by tests.

use super::{PATIENCE, peers, until};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The server. What it acknowledged survives [`Redis::kill`].
pub(crate) struct Redis {
    folder: TempDir,
    address: SocketAddr,
    /// Where it speaks TLS, when it does.
    tls: Option<SocketAddr>,
    kind: Kind,
    child: Option<Child>,
}

/// What the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Single,
    /// A node of a cluster that nobody has given any slots.
    Node,
    Sentinel,
}

/// One answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Int(i64),
    Nil,
    Error(String),
    List(Vec<Reply>),
}

// === impl Redis ===

impl Redis {
    /// A server with nothing in it, waited for until it answers.
    pub(crate) fn start() -> Redis {
        let mut redis = Redis::stopped();
        redis.run();
        redis
    }

    /// The place where a server will be, once [`Redis::run`] starts it.
    pub(crate) fn stopped() -> Redis {
        Redis { folder: TempDir::new().unwrap(), address: free_port(), tls: None, kind: Kind::Single, child: None }
    }

    /// A server of another kind than the usual.
    pub(crate) fn start_as(kind: Kind) -> Redis {
        let mut redis = Redis::stopped();
        redis.kind = kind;
        redis.run();
        redis
    }

    /// A server that speaks TLS beside plain text, with a certificate of its own authority.
    pub(crate) fn start_with_tls() -> Redis {
        let mut redis = Redis::stopped();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/harness/certificates.py");
        peers::succeed(Command::new(peers::program("python")).arg(script).arg(redis.folder.path()));
        redis.tls = Some(free_port());
        redis.run();
        redis
    }

    /// Starts the server, again where it was started before.
    pub(crate) fn run(&mut self) {
        let port = self.address.port().to_string();
        let folder = self.folder.path().to_str().unwrap();
        let arguments = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir", folder];
        let mut command = Command::new("redis-server");
        if self.kind == Kind::Sentinel {
            // It keeps what it finds out in its configuration.
            let file = self.folder.path().join("sentinel.conf");
            std::fs::write(&file, "").unwrap();
            command.arg(file).arg("--sentinel");
        }
        command.args(arguments);
        if self.kind == Kind::Node {
            command.args(["--cluster-enabled", "yes"]);
        }
        if let Some(tls) = self.tls {
            let (port, file) = (tls.port().to_string(), |name: &str| self.folder.path().join(name));
            command.args(["--tls-port", &port, "--tls-auth-clients", "no", "--tls-ca-cert-file"]).arg(file("ca.pem"));
            command.arg("--tls-cert-file").arg(file("server.pem")).arg("--tls-key-file").arg(file("server.key"));
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("no redis-server: run tests/run, which installs it"));
        until("redis-server to answer", PATIENCE, || (self.try_ask(&["PING"]).ok()? == Reply::Text("PONG".to_owned())).then_some(()));
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// `rediss://` and the file of the authority that vouches for the server.
    pub(crate) fn tls(&self) -> (String, PathBuf) {
        (format!("rediss://{}", self.tls.unwrap()), self.folder.path().join("ca.pem"))
    }

    /// One command on a connection of its own; an error of the server fails the test.
    pub(crate) fn ask(&self, command: &[&str]) -> Reply {
        match self.try_ask(command).unwrap() {
            Reply::Error(error) => panic!("{command:?}: {error}"),
            reply => reply,
        }
    }

    fn try_ask(&self, command: &[&str]) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut bytes = format!("*{}\r\n", command.len());
        for word in command {
            bytes += &format!("${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(bytes.as_bytes())?;
        reply(&mut BufReader::new(stream))
    }

    pub(crate) fn set(&self, key: &str, value: &str) {
        self.ask(&["SET", key, value]);
    }

    pub(crate) fn delete(&self, key: &str) {
        self.ask(&["DEL", key]);
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        match self.ask(&["GET", key]) {
            Reply::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An open session of `user`.
    pub(crate) fn open_session(&self, id: &str, user: &str, version: u64) {
        self.set(&format!("sid:{id}"), &format!(r#"{{"user_id":"{user}","version":{version},"device":"phone"}}"#));
    }

    /// How often a command has been carried out.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let Reply::Text(stats) = self.ask(&["INFO", "commandstats"]) else { panic!("no statistics") };
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    }

    /// A field of `INFO`.
    pub(crate) fn info(&self, field: &str) -> String {
        let Reply::Text(info) = self.ask(&["INFO"]) else { panic!("no information") };
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field}")).to_owned()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it where it stands: it keeps its connections and says nothing.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn reply(stream: &mut impl BufRead) -> io::Result<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end();
    let rest = line.get(1..).unwrap_or_default().to_owned();
    let number = || rest.parse::<i64>().map_err(io::Error::other);
    Ok(match line.chars().next() {
        Some('+') => Reply::Text(rest),
        Some('-') => Reply::Error(rest),
        Some(':') => Reply::Int(number()?),
        Some('$') => match usize::try_from(number()?) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
        },
        Some('*') => Reply::List((0..number()?).map(|_| reply(stream)).collect::<io::Result<_>>()?),
        _ => return Err(io::Error::other(format!("no reply: `{line}`"))),
    })
}

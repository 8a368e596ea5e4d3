//! The servers under comparison: each started with the same policies, and asked in its own words.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use benches::harness::{beside, existing};
use benches::load::{Connection, Error};
use benches::process::Process;
use serde_json::Value;

use crate::questions::{self, World};

/// How many questions every server must answer as the policies say before anything is measured.
const CHECKED: usize = 2000;
/// How many questions a connection sends ahead in the view with pipelining.
pub(crate) const AHEAD: usize = 8;

/// A server that answers questions.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) process: Process,
    pub(crate) at: SocketAddr,
    /// The questions of the world, whole requests.
    pub(crate) requests: Vec<Vec<u8>>,
    /// Where in the answer an allow stands, and how it is called; nowhere for the constant one.
    allow: Option<(&'static str, &'static str)>,
}

/// Starts all that are installed; also gives the names of those that are not.
pub(crate) async fn start(
    portcullis: &Path,
    peers: &Path,
    world: &World,
) -> Result<(Vec<Server>, Vec<&'static str>), Error> {
    let mut missing = Vec::new();
    let mut servers = vec![constant(world)?, ours(portcullis, world)?];
    let agent = peers.join("bin/cedar-agent");
    if agent.is_file() {
        servers.push(cedar_agent(&agent, world)?);
    } else {
        missing.push("cedar-agent");
    }
    // A thousand policies about single users and documents are not how Cerbos is used.
    if world.policies == 2 {
        let cerbos = peers.join("node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64");
        if cerbos.is_file() {
            servers.push(self::cerbos(&cerbos, world)?);
        } else {
            missing.push("Cerbos");
        }
    }
    Ok((servers, missing))
}

/// Compares answers with what the policies say, one by one and sent ahead: a quick refusal must not pass for a quick
/// decision, nor the answer to one question for that to another.
pub(crate) async fn agree(servers: &[Server], world: &World) -> Result<(), Error> {
    for server in servers {
        let mut connection = Connection::open(server.at).await?;
        let questions = world.questions.iter().zip(&server.requests);
        for (question, request) in questions.take(CHECKED) {
            server.judge(question, connection.exchange(request).await?)?;
        }
        let questions = world.questions.chunks_exact(AHEAD);
        let requests = server.requests.chunks_exact(AHEAD);
        for (questions, requests) in questions.zip(requests).take(CHECKED / AHEAD) {
            let answers = connection.exchange_ahead(requests).await?;
            for (question, answer) in questions.iter().zip(&answers) {
                server.judge(question, answer)?;
            }
        }
    }
    Ok(())
}

// === impl Server ===

impl Server {
    /// Holds an answer against what the policies say.
    fn judge(
        &self,
        &(user, document, allowed): &(usize, usize, bool),
        answer: &[u8],
    ) -> Result<(), Error> {
        let Some((place, word)) = self.allow else {
            return Ok(());
        };
        let answer: Value = serde_json::from_slice(answer)?;
        let said = answer.pointer(place).and_then(Value::as_str);
        if (said == Some(word)) == allowed {
            return Ok(());
        }
        Err(format!(
            "{} answers {answer} when user {user} asks for document {document}, who is {}",
            self.name,
            if allowed { "allowed" } else { "not allowed" }
        )
        .into())
    }
}

fn constant(world: &World) -> Result<Server, Error> {
    let mut command = beside("upstream")?;
    // As many threads as portcullis takes.
    command.args(["--threads", "2"]);
    let process = Process::start(command, "upstream: listening on ")?;
    Ok(Server {
        name: "bare hyper",
        at: process.address("upstream: listening on ")?,
        process,
        requests: questions::requests(world, "/v1/authorize", questions::native),
        allow: None,
    })
}

pub(crate) fn ours(portcullis: &Path, world: &World) -> Result<Server, Error> {
    let configuration = world.folder.join("portcullis.yaml");
    fs::write(
        &configuration,
        "\
listen: { decisions: 127.0.0.1:0, telemetry: 127.0.0.1:0 }
policies: { source: { dir: policies }, schema: schema.cedarschema, entities: entities.json }
",
    )?;
    let mut command = Command::new(existing(portcullis)?);
    command.arg("serve").arg("-c").arg(configuration);
    let process = Process::start(command, "portcullis: ready")?;
    Ok(Server {
        name: "portcullis",
        at: process.address("portcullis: decisions listening on ")?,
        process,
        requests: questions::requests(world, "/v1/authorize", questions::native),
        allow: Some(("/decision", "ALLOW")),
    })
}

fn cedar_agent(binary: &Path, world: &World) -> Result<Server, Error> {
    let at = free_port()?;
    let mut command = Command::new(binary);
    command
        .args(["--addr", &at.ip().to_string()])
        .args(["--port", &at.port().to_string()])
        .args(["--log-level", "error"])
        .arg("--policies")
        .arg(world.folder.join("policies.json"))
        .arg("--data")
        .arg(world.folder.join("entities.json"));
    Ok(Server {
        name: "cedar-agent",
        process: Process::start_at(command, at)?,
        at,
        requests: questions::requests(world, "/v1/is_authorized", questions::cedar_agent),
        allow: Some(("/decision", "Allow")),
    })
}

fn cerbos(binary: &Path, world: &World) -> Result<Server, Error> {
    let (at, grpc) = (free_port()?, free_port()?);
    let configuration = world.folder.join("cerbos.yaml");
    fs::write(
        &configuration,
        format!(
            "\
server: {{ httpListenAddr: \"{at}\", grpcListenAddr: \"{grpc}\" }}
storage: {{ driver: disk, disk: {{ directory: {}, watchForChanges: false }} }}
telemetry: {{ disabled: true }}
",
            serde_json::to_string(&world.folder.join("cerbos").to_string_lossy())?
        ),
    )?;
    let mut command = Command::new(binary);
    command
        .args(["server", "--log-level=error", "--config"])
        .arg(configuration);
    Ok(Server {
        name: "Cerbos",
        process: Process::start_at(command, at)?,
        at,
        requests: questions::requests(world, "/api/check/resources", questions::cerbos),
        allow: Some(("/results/0/actions/view", "EFFECT_ALLOW")),
    })
}

/// For servers that cannot say which port they took.
fn free_port() -> Result<SocketAddr, Error> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

//! What is measured: gates that ask different things of different servers, before one upstream.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use benches::fortress::{Fortress, own_profile};
use benches::harness::beside;
use benches::load::Error;
use benches::process::Process;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const POOL: &str = "us-east-1_standing";

/// The running processes. All of them end when this is dropped.
pub(crate) struct Scene {
    /// Asks nobody.
    pub(crate) alone: Gate,
    /// Asks Redis about each request.
    pub(crate) sessions: Gate,
    /// Asks the user pool, and keeps what it says.
    pub(crate) users: Gate,
    /// Asks nobody, and has seen no token when it meets all of them.
    pub(crate) many: Gate,
    redis_at: SocketAddr,
    fortress: Fortress,
    _upstream: Process,
    _redis: Process,
}

/// One `portcullis serve`.
pub(crate) struct Gate {
    pub(crate) process: Process,
    pub(crate) at: SocketAddr,
}

impl Scene {
    /// Starts everything on free ports of the loopback.
    pub(crate) async fn start(gate: &Path, root: &Path, redis: &Path) -> Result<Self, Error> {
        let fortress = Fortress::new(root)?;
        let upstream = Process::start(beside("upstream")?, "upstream: listening on ")?;
        let upstream_at = upstream.address("upstream: listening on ")?;

        let redis_at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(redis);
        command
            .args(["--port", &redis_at.port().to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(fortress.folder());
        let redis = Process::start_at(command, redis_at)?;
        let pool_at = pool().await?;

        let start = |name: &str, more: &[(&str, Value)]| {
            let mut configuration =
                fortress.configuration(&["proxy", "decisions", "telemetry"], Some(upstream_at));
            for (pointer, value) in more {
                set(&mut configuration, pointer, value.clone());
            }
            let path = fortress.write(name, &configuration)?;
            let mut command = Command::new(gate);
            command
                .arg("serve")
                .arg("-c")
                .arg(path)
                .env("AWS_ACCESS_KEY_ID", "standing")
                .env("AWS_SECRET_ACCESS_KEY", "standing")
                .env("AWS_EC2_METADATA_DISABLED", "true");
            let process = Process::start(command, "portcullis: ready")?;
            let at = process.address("portcullis: proxy listening on ")?;
            Ok::<_, Error>(Gate { process, at })
        };
        let redis_section = json!({ "url": format!("redis://{redis_at}") });
        let cognito = json!({
            "user_pool_id": POOL, "region": "us-east-1", "endpoint": format!("http://{pool_at}"),
            "requests_per_second_alone": 10_000,
        });
        Ok(Self {
            alone: start("alone", &[])?,
            sessions: start(
                "sessions",
                &[
                    ("redis", redis_section),
                    ("issuers/session", json!("redis")),
                ],
            )?,
            users: start(
                "users",
                &[
                    ("cognito", cognito),
                    ("issuers/user_status", json!("cognito")),
                ],
            )?,
            many: start("many", &[])?,
            redis_at,
            fortress,
            _upstream: upstream,
            _redis: redis,
        })
    }

    /// The heads of `count` requests, each of another user who reads their own profile in a session
    /// of their own.
    pub(crate) fn requests(&self, series: &str, count: u32) -> Vec<Vec<u8>> {
        let request = |number| {
            let user = format!("{series}-{number}");
            let session = [("sid", json!(user)), ("sidv", json!(1))];
            own_profile(&user, &self.fortress.token(&user, &session))
        };
        (0..count).map(request).collect()
    }

    /// Opens the sessions of these users in Redis.
    pub(crate) async fn open_sessions(&self, series: &str, count: u32) -> Result<(), Error> {
        let mut redis = BufReader::new(TcpStream::connect(self.redis_at).await?);
        let mut line = String::new();
        for number in 0..count {
            let user = format!("{series}-{number}");
            let (key, record) = (
                format!("sid:{user}"),
                json!({ "user_id": user, "version": 1 }).to_string(),
            );
            let command = format!(
                "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{record}\r\n",
                key.len(),
                record.len()
            );
            redis.get_mut().write_all(command.as_bytes()).await?;
            line.clear();
            redis.read_line(&mut line).await?;
            if line.trim_end() != "+OK" {
                return Err(format!("Redis answered `{}`", line.trim_end()).into());
            }
        }
        Ok(())
    }
}

/// A user pool in which everybody is known by their subject, and active.
async fn pool() -> Result<SocketAddr, Error> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let at = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The gate hangs up as it likes.
            tokio::spawn(async move { drop(answer(stream).await) });
        }
    });
    Ok(at)
}

async fn answer(stream: TcpStream) -> Result<(), Error> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 && line.trim_end() != "" {
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let asked: Value = serde_json::from_slice(&body)?;
        let name = asked.get("Username").cloned().unwrap_or_default();
        let user = json!({
            "Username": name, "Enabled": true, "UserStatus": "CONFIRMED",
            "UserAttributes": [{ "Name": "sub", "Value": name }],
        })
        .to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
            user.len()
        );
        stream
            .get_mut()
            .write_all((head + &user).as_bytes())
            .await?;
    }
}

/// Sets a section, or a key of the one issuer.
fn set(configuration: &mut Value, key: &str, value: Value) {
    let issuer = key.strip_prefix("issuers/");
    let section = match issuer {
        Some(_) => configuration.pointer_mut("/issuers/0"),
        None => Some(configuration),
    };
    if let Some(Value::Object(section)) = section {
        section.insert(issuer.unwrap_or(key).to_owned(), value);
    }
}

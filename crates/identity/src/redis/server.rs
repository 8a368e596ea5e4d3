//! Which server is spoken to, and whether it can be relied on.

use std::path::Path;

use ::redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError, TlsCertificates,
};

use super::config::RedisConfig;

/// The way to the configured server. A problem comes with its key below `redis`.
pub(super) fn client(config: &RedisConfig, base: &Path) -> Result<Client, (String, String)> {
    let problem = |key: &str, message: String| (key.to_owned(), message);
    let url = config
        .url
        .reveal(base)
        .map_err(|error| problem("url", format!("cannot be read: {error}")))?;
    // The library's own words could repeat the password.
    let wrong = || {
        problem(
            "url",
            "is no URL of a Redis server: redis://, rediss:// or redis+unix://".to_owned(),
        )
    };
    if let Some((scheme, _)) = url.split_once("://")
        && ["cluster", "sentinel"]
            .iter()
            .any(|kind| scheme.contains(kind))
    {
        return Err(problem(
            "url",
            "Redis Cluster and Sentinel are not supported: name one primary".to_owned(),
        ));
    }
    let info: ConnectionInfo = url.as_str().into_connection_info().map_err(|_| wrong())?;
    let tls = match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            return Err(problem(
                "url",
                "`#insecure` would accept any server's certificate; name its issuer with `ca_file`"
                    .to_owned(),
            ));
        }
        ConnectionAddr::TcpTls { .. } => true,
        _ => false,
    };
    let built = match &config.ca_file {
        None => Client::open(info),
        Some(_) if !tls => {
            return Err(problem("ca_file", "is for `rediss://` only".to_owned()));
        }
        Some(path) => {
            let pem = std::fs::read(base.join(path))
                .map_err(|error| problem("ca_file", format!("cannot be read: {error}")))?;
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: Some(pem),
            };
            Client::build_with_tls(info, certificates)
        }
    };
    built.map_err(|_| {
        let key = if config.ca_file.is_some() {
            "ca_file"
        } else {
            "url"
        };
        problem(key, "cannot be used to connect to Redis".to_owned())
    })
}

/// What three sections of `INFO` say against relying on a server.
pub(super) fn judge(server: &str, replication: &str, memory: &str) -> Result<(), String> {
    let field = |section: &str, name: &str| {
        section
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
    };
    match field(server, "redis_mode").as_deref() {
        Some("cluster") => {
            return Err(
                "the server is one of a Redis Cluster, which is not supported: keys that are read \
                 together would have to be on one node"
                    .to_owned(),
            );
        }
        Some("sentinel") => {
            return Err(
                "the server is a Sentinel, which is not supported: name the primary, or an address \
                 that leads to it"
                    .to_owned(),
            );
        }
        // Servers that speak the protocol of Redis need not say it.
        _ => {}
    }
    match field(replication, "role").as_deref() {
        Some("master") => {}
        Some(role) => {
            return Err(format!(
                "the server is no primary, but `{role}`: it may not know of a revocation yet"
            ));
        }
        None => {
            return Err(
                "the server does not say whether it is a primary: `INFO` has to be allowed"
                    .to_owned(),
            );
        }
    }
    match field(memory, "maxmemory_policy").as_deref() {
        Some("noeviction") => Ok(()),
        Some(policy) => Err(format!(
            "the server's `maxmemory-policy` is `{policy}`, so revocations could be evicted: set it to `noeviction`"
        )),
        None => Err(
            "the server does not tell its `maxmemory-policy`: `INFO` has to be allowed".to_owned(),
        ),
    }
}

/// The kind of failure and the server's code; not the text, which may repeat what was sent.
pub(super) fn describe(error: &RedisError) -> String {
    match (error.is_timeout(), error.code()) {
        (true, _) => "no connection in time".to_owned(),
        (false, Some(code)) => format!("refused with `{code}`"),
        (false, None) => format!("failed: {}", error.category()),
    }
}

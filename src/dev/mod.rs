//! `portcullis dev`: the whole thing on loopback, with a demo upstream and a local issuer, through
//! the very configuration file and start-up that `serve` uses.

mod issuer;
mod pack;
mod upstream;
mod walkthrough;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) use walkthrough::Walkthrough;

use issuer::LocalIssuer;
use pack::Pack;

/// Where the parts of the demo listen; `None` means the default port, or a free one if that is
/// taken.
pub(crate) struct Ports {
    pub(crate) proxy: Option<SocketAddr>,
    pub(crate) decisions: Option<SocketAddr>,
    pub(crate) telemetry: Option<SocketAddr>,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) issuer: Option<SocketAddr>,
}

/// The demo's own servers, and the configuration that puts the sidecar in front of them.
pub(crate) struct Demo {
    issuer: Arc<LocalIssuer>,
    /// The file to serve.
    pub(crate) configuration: PathBuf,
    policies: PathBuf,
    upstream: SocketAddr,
    // Removed with its files when the demo ends.
    _scratch: TempDir,
}

// === impl Demo ===

impl Demo {
    /// Starts the upstream and the issuer and writes the configuration. The pack is taken from
    /// `folder` when it is there.
    ///
    /// # Errors
    /// When a port is taken or a file cannot be written.
    pub(crate) async fn start(folder: &Path, ports: &Ports) -> io::Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("portcullis-dev-")
            .tempdir()?;
        let pack = Pack::find(folder, scratch.path())?;

        let upstream = TcpListener::bind(free(ports.upstream, 3000)).await?;
        let upstream_address = upstream.local_addr()?;
        spawn("demo upstream", upstream, upstream::router());

        let issuer_listener = TcpListener::bind(free(ports.issuer, 9280)).await?;
        let url = format!("http://{}", issuer_listener.local_addr()?);
        let issuer = Arc::new(LocalIssuer::new(url.clone()).map_err(io::Error::other)?);
        spawn(
            "local issuer",
            issuer_listener,
            issuer::router(Arc::clone(&issuer)),
        );

        let configuration = scratch.path().join("portcullis.yaml");
        let text = configuration_text(ports, upstream_address, &url, &pack);
        fs::write(&configuration, text)?;
        Ok(Self {
            issuer,
            configuration,
            policies: pack.policies,
            upstream: upstream_address,
            _scratch: scratch,
        })
    }
}

fn spawn(name: &'static str, listener: TcpListener, router: Router) {
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the {name} stopped");
        }
    });
}

/// The address that was asked for, else the default port on loopback, else any free one: a demo
/// should not fail because something else runs on this machine.
fn free(asked: Option<SocketAddr>, port: u16) -> SocketAddr {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    asked.unwrap_or_else(|| match std::net::TcpListener::bind(default) {
        Ok(_) => default,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    })
}

fn configuration_text(ports: &Ports, upstream: SocketAddr, issuer: &str, pack: &Pack) -> String {
    let quoted = |path: PathBuf| serde_json::to_string(&path.to_string_lossy()).unwrap_or_default();
    let policies = quoted(pack.policies.clone());
    let schema = quoted(pack.schema.clone());
    let entities = quoted(pack.policies.join("entities.json"));
    let routes = quoted(pack.policies.join("routes.yaml"));
    let proxy = free(ports.proxy, 8000);
    let decisions = free(ports.decisions, 8180);
    let telemetry = free(ports.telemetry, 9180);
    let audience = issuer::AUDIENCE;
    let lifetime = issuer::LIFETIME;
    format!(
        "\
listen: {{ proxy: {proxy}, decisions: {decisions}, telemetry: {telemetry} }}
upstream: {{ url: http://{upstream} }}
policies:
  source: {{ dir: {policies} }}
  schema: {schema}
  entities: {entities}
  namespace: Fortress
routes: {{ file: {routes} }}
issuers:
  - name: dev
    kind: first_party
    issuer: [{issuer}]
    jwks: {{ url: {issuer}/.well-known/jwks.json }}
    audiences: [{audience}]
    algorithms: [ES256, RS256]
    max_lifetime: {lifetime}s
    principal:
      type: User
      id: sub
      groups: {{ claim: roles, type: Role }}
      attributes: {{ user_type: user_type }}
decision_log: {{ to: stdout, format: text }}
"
    )
}

//! A real Envoy in front of an upstream, asking Portcullis about every request.

use super::{PATIENCE, until};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running Envoy; killed on drop.
pub(crate) struct Envoy {
    child: Child,
    front: SocketAddr,
    _folder: TempDir,
}

/// How Envoy asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Grpc,
    /// Over gRPC, with the headers as bytes and one by one.
    GrpcRaw,
    Http,
}

/// A tool that `tests/run` installs.
pub(crate) fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.venv/bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/run, which installs it", path.display());
    path
}

// === impl Envoy ===

impl Envoy {
    /// Starts Envoy on a free port. `fail_open` is its `failure_mode_allow`.
    pub(crate) fn start(mode: Mode, fail_open: bool, authz: SocketAddr, upstream: SocketAddr) -> Envoy {
        let folder = TempDir::new().unwrap();
        let configuration = folder.path().join("envoy.yaml");
        std::fs::write(&configuration, configuration_for(mode, fail_open, authz, upstream)).unwrap();
        let admin = folder.path().join("admin");
        let log = folder.path().join("log");
        let mut child = Command::new(tool("envoy"))
            .args(["--use-dynamic-base-id", "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"])
            .arg("-c")
            .arg(&configuration)
            .arg("--admin-address-path")
            .arg(&admin)
            .arg("--log-path")
            .arg(&log)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("envoy starts");
        let front = until("envoy", PATIENCE * 2, || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("envoy ended with {status}:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            front(&admin)
        });
        Envoy { child, front, _folder: folder }
    }

    /// Where clients connect.
    pub(crate) fn front(&self) -> SocketAddr {
        self.front
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bound address of the listener, asked of the admin port once that is written down and answers.
fn front(admin: &Path) -> Option<SocketAddr> {
    let admin: SocketAddr = std::fs::read_to_string(admin).ok()?.trim().parse().ok()?;
    let mut client = super::http1::Client::connect(admin);
    client.send(b"GET /listeners?format=json HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n");
    let answer = client.answer().ok()?;
    let listeners: serde_json::Value = serde_json::from_slice(&answer.body.bytes).ok()?;
    let address = listeners.pointer("/listener_statuses/0/local_address/socket_address")?;
    let port = u16::try_from(address.get("port_value")?.as_u64()?).ok()?;
    (port != 0).then(|| SocketAddr::from(([127, 0, 0, 1], port)))
}

fn configuration_for(mode: Mode, fail_open: bool, authz: SocketAddr, upstream: SocketAddr) -> String {
    let service = match mode {
        Mode::Grpc | Mode::GrpcRaw => format!(
            "grpc_service: {{ envoy_grpc: {{ cluster_name: authz }}, timeout: 1s }}\n                      encode_raw_headers: {}",
            mode == Mode::GrpcRaw
        ),
        Mode::Http => "http_service:
                        server_uri: { uri: http://authz, cluster: authz, timeout: 1s }
                        authorization_response:
                          allowed_upstream_headers: { patterns: [{ prefix: x-portcullis- }] }
                          allowed_client_headers: { patterns: [{ exact: www-authenticate }, { exact: retry-after }, { exact: content-type }, { prefix: x-portcullis- }] }
                      allowed_headers: { patterns: [{ safe_regex: { regex: '.*' } }] }"
            .to_owned(),
    };
    let cluster = |name: &str, address: SocketAddr, http2: bool| {
        let options = if http2 {
            "\n      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }"
        } else {
            ""
        };
        format!(
            "    - name: {name}
      type: STATIC
      connect_timeout: 1s
      load_assignment:
        cluster_name: {name}
        endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }} }}] }}]{options}\n",
            address.ip(),
            address.port()
        )
    };
    let authz = cluster("authz", authz, mode != Mode::Http);
    let upstream = cluster("upstream", upstream, false);
    format!(
        "admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }} }}
static_resources:
  listeners:
    - name: front
      address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: front
                codec_type: AUTO
                upgrade_configs: [{{ upgrade_type: websocket }}]
                route_config:
                  virtual_hosts: [{{ name: all, domains: ['*'], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: upstream }} }}, {{ match: {{ connect_matcher: {{}} }}, route: {{ cluster: upstream }} }}] }}]
                http_filters:
                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      '@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      failure_mode_allow: {fail_open}
                      {service}
                  - name: envoy.filters.http.router
                    typed_config: {{ '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
{authz}{upstream}",
    )
}

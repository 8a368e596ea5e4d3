//! A real Envoy in front of an upstream, asking Portcullis about every request.

use super::peers::program;
use super::{PATIENCE, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
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

/// Envoy's configuration, of which a test may change any part.
pub(crate) struct Plan(Value);

// === impl Envoy ===

impl Envoy {
    /// Starts Envoy on a free port. `fail_open` is its `failure_mode_allow`.
    pub(crate) fn start(mode: Mode, fail_open: bool, authz: SocketAddr, upstream: SocketAddr) -> Envoy {
        Self::run(&Plan::new(mode, fail_open, authz, upstream))
    }

    /// Starts Envoy on a free port.
    pub(crate) fn run(plan: &Plan) -> Envoy {
        let folder = TempDir::new().unwrap();
        let configuration = folder.path().join("envoy.json");
        std::fs::write(&configuration, plan.0.to_string()).unwrap();
        let admin = folder.path().join("admin");
        let log = folder.path().join("log");
        let mut child = Command::new(program("envoy"))
            .args(["--use-dynamic-base-id", "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "--file-flush-interval-msec", "20"])
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

// === impl Plan ===

impl Plan {
    /// A listener that asks `authz` about every request and forwards it to `upstream`.
    pub(crate) fn new(mode: Mode, fail_open: bool, authz: SocketAddr, upstream: SocketAddr) -> Plan {
        let mut check = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "failure_mode_allow": fail_open,
        });
        match mode {
            Mode::Grpc | Mode::GrpcRaw => {
                check["grpc_service"] = json!({"envoy_grpc": {"cluster_name": "authz"}, "timeout": "1s"});
                check["encode_raw_headers"] = json!(mode == Mode::GrpcRaw);
            }
            Mode::Http => {
                check["http_service"] = json!({
                    "server_uri": {"uri": "http://authz", "cluster": "authz", "timeout": "1s"},
                    "authorization_response": {
                        "allowed_upstream_headers": {"patterns": [{"prefix": "x-portcullis-"}]},
                        "allowed_client_headers": {"patterns": [
                            {"exact": "www-authenticate"}, {"exact": "retry-after"}, {"exact": "content-type"}, {"prefix": "x-portcullis-"},
                        ]},
                    },
                });
                check["allowed_headers"] = json!({"patterns": [{"safe_regex": {"regex": ".*"}}]});
            }
        }
        let forward = json!({"cluster": "upstream"});
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "front",
            "codec_type": "AUTO",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": forward},
                {"match": {"connect_matcher": {}}, "route": forward},
            ]}]},
            "http_filters": [
                {"name": CHECK, "typed_config": check},
                {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}},
            ],
        });
        let local = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
        let chain = json!({"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]});
        Plan(json!({
            "admin": {"address": local},
            "static_resources": {
                "listeners": [{"name": "front", "address": local, "filter_chains": [chain]}],
                "clusters": [cluster("authz", authz, mode != Mode::Http), cluster("upstream", upstream, false)],
            },
        }))
    }

    /// The filter that asks us.
    pub(crate) fn check(&mut self) -> &mut Value {
        let filters = self.manager()["http_filters"].as_array_mut().unwrap();
        let check = filters.iter_mut().find(|filter| filter["name"] == CHECK).unwrap();
        &mut check["typed_config"]
    }

    /// What reads requests and sends them through the filters.
    pub(crate) fn manager(&mut self) -> &mut Value {
        &mut self.chain()["filters"][0]["typed_config"]
    }

    /// What a connection passes.
    pub(crate) fn chain(&mut self) -> &mut Value {
        &mut self.0["static_resources"]["listeners"][0]["filter_chains"][0]
    }

    /// Has a filter see requests before we are asked. `kind` is the end of its type.
    pub(crate) fn before(mut self, name: &str, kind: &str, mut config: Value) -> Plan {
        config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
        let filter = json!({"name": name, "typed_config": config});
        self.manager()["http_filters"].as_array_mut().unwrap().insert(0, filter);
        self
    }
}

/// The name of the filter that asks us.
const CHECK: &str = "envoy.filters.http.ext_authz";

fn cluster(name: &str, address: SocketAddr, http2: bool) -> Value {
    let (host, port) = (address.ip().to_string(), address.port());
    let endpoint = json!({"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}});
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    });
    if http2 {
        cluster["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }});
    }
    cluster
}

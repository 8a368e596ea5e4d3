//! A real Envoy with one worker, in front of the upstream.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use benches::load::Error;
use benches::process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running Envoy.
pub(crate) struct Envoy {
    pub(crate) at: SocketAddr,
    pub(crate) process: Process,
    _folder: TempDir,
}

/// Starts an Envoy that asks `authorizer` about every request.
pub(crate) fn start(
    binary: &Path,
    authorizer: SocketAddr,
    upstream: SocketAddr,
) -> Result<Envoy, Error> {
    let binary = benches::harness::existing(binary)?;
    // Free now, and nobody else's until Envoy takes it: a run that fails here can be repeated.
    let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let folder = tempfile::Builder::new()
        .prefix("portcullis-envoy-")
        .tempdir()?;
    let file = folder.path().join("envoy.json");
    fs::write(&file, configuration(at, authorizer, upstream).to_string())?;
    let mut command = Command::new(binary);
    command
        .args(["--use-dynamic-base-id", "--disable-hot-restart"])
        .args(["--concurrency", "1", "--log-level", "error", "-c"])
        .arg(&file);
    Ok(Envoy {
        at,
        process: Process::start_at(command, at)?,
        _folder: folder,
    })
}

fn configuration(at: SocketAddr, authorizer: SocketAddr, upstream: SocketAddr) -> Value {
    let check = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": false,
        "grpc_service": { "envoy_grpc": { "cluster_name": "authorizer" }, "timeout": "1s" },
    });
    let router = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "route_config": { "virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } }],
        }] },
        "http_filters": [
            { "name": "envoy.filters.http.ext_authz", "typed_config": check },
            { "name": "envoy.filters.http.router", "typed_config": router },
        ],
    });
    let http2 = json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {} },
    } });
    json!({
        "static_resources": {
            "listeners": [{
                "name": "front",
                "address": socket(at),
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
                }] }],
            }],
            "clusters": [
                cluster("authorizer", authorizer, &http2),
                cluster("upstream", upstream, &json!({})),
            ],
        },
    })
}

fn cluster(name: &str, at: SocketAddr, options: &Value) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": options,
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(at) } }] }] },
    })
}

fn socket(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}

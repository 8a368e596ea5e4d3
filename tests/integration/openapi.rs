//! The decision listener and its OpenAPI document, held to each other by schemathesis.

use crate::harness::http1::get;
use crate::harness::peers;
use crate::harness::sidecar::Sidecar;
use crate::harness::upstream::Upstream;
use crate::harness::workspace::Workspace;
use std::process::Command;

/// Generated requests, good and bad, get no answer that the document does not describe, and never a server error.
#[test]
fn what_is_described_is_what_is_answered() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::start(&Workspace::new(upstream.address()));
    let at = sidecar.decisions();
    let document = get(at, "/openapi.json", "").json();
    assert_eq!(document["openapi"], "3.1.0");
    let folder = tempfile::tempdir().unwrap();
    let mut schemathesis = Command::new(peers::program("schemathesis"));
    schemathesis
        .current_dir(folder.path())
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/openapi"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["--no-color", concat!("--config-file=", env!("CARGO_MANIFEST_DIR"), "/tests/integration/openapi/schemathesis.toml")])
        .args(["run", &format!("http://{at}/openapi.json"), "--max-examples=25", "--phases=examples,coverage,fuzzing"])
        .args(["--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method,allow_header_conformance"])
        .args(["--continue-on-failure", "--generation-database=none", "--workers=1"]);
    let said = peers::succeed(&mut schemathesis);
    assert!(!said.contains("cannot validate"), "some responses were not looked at:\n{said}");
    upstream.assert_untouched();
}

//! The Helm chart, rendered by Helm's own engine; `tests/chart/check.py` holds the cases.

use crate::harness::peers::program;
use std::path::Path;
use std::process::Command;

#[test]
fn the_chart_renders_what_kubernetes_and_portcullis_accept() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/check.py");
    let run = Command::new(program("python")).arg(script).arg(env!("CARGO_BIN_EXE_portcullis")).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}");
}

//! `portcullis dev` as a newcomer meets it: started, its curl lines pasted, a policy edited.

use crate::harness::http1::get;
use crate::harness::sidecar::{Sidecar, command};
use crate::harness::{PATIENCE, until};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const PORTS: [&str; 10] =
    ["--proxy", "127.0.0.1:0", "--decisions", "127.0.0.1:0", "--telemetry", "127.0.0.1:0", "--upstream", "127.0.0.1:0", "--issuer", "127.0.0.1:0"];

fn start(folder: &Path) -> Sidecar {
    let mut arguments = vec!["dev", folder.to_str().unwrap()];
    arguments.extend(PORTS);
    let mut dev = Sidecar::spawn(command(&arguments));
    dev.allow_tokens_in_output();
    dev.await_ready();
    dev
}

/// The printed commands, each in one piece.
fn curl_lines(printed: &str) -> Vec<String> {
    let joined = printed.replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
}

/// Runs a printed line as it stands, in a shell, and tells the status that curl saw.
fn paste(line: &str) -> u16 {
    let script = line.replacen("curl ", "curl --silent --output /dev/null --write-out '%{http_code}' ", 1);
    // Where the line prints headers or has an output of its own, the last three characters are still the status.
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let status = said.get(said.len().saturating_sub(3)..).unwrap_or_default();
    status.parse().unwrap_or_else(|_| panic!("`{line}` printed `{said}` and {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_first_look() {
    let folder = TempDir::new().unwrap();
    copy(Path::new("policies/fortress"), &folder.path().join("policies/fortress"));
    copy(Path::new("schemas"), &folder.path().join("schemas"));
    let mut dev = start(folder.path());
    let lines = curl_lines(&dev.stdout());
    let to_proxy: Vec<&String> = lines.iter().filter(|line| line.contains(&dev.proxy().to_string())).collect();
    let statuses: Vec<u16> = to_proxy.iter().map(|line| paste(line)).collect();
    assert!(statuses.len() >= 5, "{lines:#?}");
    assert_eq!(statuses[..5], [200, 200, 403, 401, 401], "{to_proxy:#?}");
    for line in lines.iter().filter(|line| line.contains(&dev.decisions().to_string())) {
        assert_eq!(paste(line), 200, "{line}");
    }

    // One readable line per request.
    until("the requests' lines", PATIENCE, || {
        let said = dev.stdout();
        let shown = said.lines().filter(|line| line.contains("ALLOW") || line.contains("DENY") || line.contains("REFUSED")).count();
        (shown >= 5 || said.lines().filter(|line| line.contains(" µs")).count() >= 5).then_some(())
    });

    // Editing a policy changes the next answer; a mistake changes nothing and is told with its place.
    let file = folder.path().join("policies/fortress/users.cedar");
    let policies = std::fs::read_to_string(&file).unwrap();
    let denied = to_proxy[2];
    std::fs::write(&file, format!("{policies}\n@id(\"everyone\") permit (principal, action, resource);\n")).unwrap();
    until("the edit to count", PATIENCE, || (paste(denied) == 200).then_some(()));
    std::fs::write(&file, format!("{policies}\npermit (principal, action, resource) when {{\n")).unwrap();
    until("the mistake to be told", PATIENCE, || {
        let said = format!("{}{}", dev.stdout(), dev.stderr());
        said.contains("users.cedar:").then_some(())
    });
    assert_eq!(paste(denied), 200, "the last good policies stay");
    std::fs::write(&file, &policies).unwrap();
    until("the old policies to count", PATIENCE, || (paste(denied) == 403).then_some(()));

    assert_eq!(get(dev.telemetry(), "/readyz", "").status, 200);
    let resident = dev.resident_kib();
    assert!(resident < 200 * 1024, "{resident} KiB, even for a debug build");
    dev.terminate();
    assert_eq!(dev.exited(PATIENCE).code(), Some(0));
}

/// Without the repository at hand it brings its own pack.
#[test]
fn anywhere() {
    let folder = TempDir::new().unwrap();
    let dev = start(folder.path());
    let lines = curl_lines(&dev.stdout());
    let first = lines.iter().find(|line| line.contains(&dev.proxy().to_string())).unwrap();
    assert_eq!(paste(first), 200);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

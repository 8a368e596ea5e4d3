//! The processes under measurement: started, watched through `/proc`, and ended with the harness.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::Error;

/// How long a process may take until it says that it is ready.
const START: Duration = Duration::from_secs(30);
/// How long until a process that does not accept connections yet is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// How much of what a process wrote to standard error is kept to explain its failure.
const KEPT: usize = 4 * 1024;
/// Clock ticks a second in `/proc` (`USER_HZ`, the same on every Linux).
const TICKS: f64 = 100.0;

/// A running process. It is killed when this is dropped.
pub struct Process {
    child: Child,
    lines: Vec<String>,
}

impl Process {
    /// Starts `command` and waits until it prints a line that begins with `ready`.
    pub fn start(mut command: Command, ready: &str) -> Result<Self, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start `{program}`: {error}"))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let complaint = child.stderr.take().map(tail).ok_or("no standard error")?;
        let mut process = Self {
            child,
            lines: Vec::new(),
        };

        let (sender, receiver) = mpsc::sync_channel(16);
        let last = ready.to_owned();
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            while matches!(stdout.read_line(&mut line), Ok(1..)) {
                let done = line.starts_with(&last);
                if sender.send(std::mem::take(&mut line)).is_err() || done {
                    break;
                }
            }
            drop(sender);
            // A full pipe would stop the process. The kernel moves what comes into nothing, without copies of ours.
            let mut nothing = fs::OpenOptions::new().write(true).open("/dev/null")?;
            io::copy(&mut stdout.into_inner(), &mut nothing)
        });

        let deadline = Instant::now() + START;
        loop {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let done = line.starts_with(ready);
                    process.lines.push(line.trim_end().to_owned());
                    if done {
                        return Ok(process);
                    }
                }
                Err(_) => {
                    let _ = process.child.kill();
                    let complaint = complaint.join().unwrap_or_default();
                    return Err(format!("`{program}` did not become ready: {complaint}").into());
                }
            }
        }
    }

    /// Starts `command`, which says nothing when it is ready, and waits until it accepts connections.
    pub fn start_at(mut command: Command, at: SocketAddr) -> Result<Self, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start `{program}`: {error}"))?;
        let complaint = child.stderr.take().map(tail).ok_or("no standard error")?;
        let mut process = Self {
            child,
            lines: Vec::new(),
        };
        let deadline = Instant::now() + START;
        while TcpStream::connect(at).is_err() {
            if process.child.try_wait()?.is_some() || Instant::now() > deadline {
                let _ = process.child.kill();
                let complaint = complaint.join().unwrap_or_default();
                return Err(format!("`{program}` does not accept at {at}: {complaint}").into());
            }
            thread::park_timeout(RETRY);
        }
        Ok(process)
    }

    /// What the process had printed when it was ready, line by line.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// What follows `prefix` in a line printed before the process was ready, as an address.
    pub fn address(&self, prefix: &str) -> Result<SocketAddr, Error> {
        self.lines
            .iter()
            .find_map(|line| line.strip_prefix(prefix))
            .and_then(|rest| rest.trim().parse().ok())
            .ok_or_else(|| format!("no line `{prefix}<address>` was printed").into())
    }

    /// Processor time used so far, in seconds.
    pub fn cpu(&self) -> Result<f64, Error> {
        cpu(&self.child.id().to_string())
    }

    /// Resident memory in megabytes: now, and at its highest.
    pub fn resident(&self) -> Result<Resident, Error> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        Ok(Resident {
            now: megabytes(&status, "VmRSS:")?,
            peak: megabytes(&status, "VmHWM:")?,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory in megabytes (10^6 bytes).
#[derive(Clone, Copy)]
pub struct Resident {
    /// At the moment of asking.
    pub now: f64,
    /// At its highest so far.
    pub peak: f64,
}

/// Processor time that the harness itself has used, in seconds.
pub fn own_cpu() -> Result<f64, Error> {
    cpu("self")
}

/// Processor time that the whole machine has used, in seconds over all cores, time stolen by other
/// guests of the host included.
pub fn machine_cpu() -> Result<f64, Error> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat
        .lines()
        .next()
        .ok_or("an empty /proc/stat")?
        .split_ascii_whitespace()
        .skip(1);
    // user nice system idle iowait irq softirq steal; guests are counted in user already.
    let ticks: f64 = fields
        .take(8)
        .enumerate()
        .filter(|(column, _)| !matches!(column, 3 | 4))
        .filter_map(|(_, ticks)| ticks.parse::<f64>().ok())
        .sum();
    Ok(ticks / TICKS)
}

/// The processor and the number of cores, for the report.
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores")
}

fn cpu(pid: &str) -> Result<f64, Error> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything; the fields that follow its bracket do not. utime is the 12th of
    // them, stime the 13th.
    let (_, fields) = stat
        .rsplit_once(')')
        .ok_or("an unreadable /proc/<pid>/stat")?;
    let ticks: f64 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    Ok(ticks / TICKS)
}

fn megabytes(status: &str, field: &str) -> Result<f64, Error> {
    let kibibytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .ok_or("an unreadable /proc/<pid>/status")?
        .parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}

/// Reads standard error until its end and keeps the last of it.
fn tail(mut stderr: ChildStderr) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut kept = VecDeque::new();
        let mut chunk = [0; 16 * 1024];
        while let Ok(read @ 1..) = stderr.read(&mut chunk) {
            kept.extend(chunk.iter().take(read));
            kept.drain(..kept.len().saturating_sub(KEPT));
        }
        String::from_utf8_lossy(kept.make_contiguous())
            .trim()
            .to_owned()
    })
}

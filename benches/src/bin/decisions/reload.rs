//! Policies that are replaced under the eyes of those who ask: the real binary, its files and its watcher.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use benches::harness::median;
use benches::load::{self, Error, Requests, Sample};
use benches::process;
use serde_json::{Value, json};

use crate::Args;
use crate::questions::{self, World};
use crate::servers;

/// Policies written in full, and links of a template.
const TEXTS: usize = 10_000;
const LINKS: usize = 100_000;
/// Users, and as many documents.
const USERS: usize = 10_000;
/// Questions, each different.
const QUESTIONS: usize = 10_000;
/// How much of what the server can do it is asked.
const LOAD: f64 = 0.3;
/// How long it works, unmeasured, at first.
const WARM_UP: Duration = Duration::from_secs(2);
/// How often it is asked which policies decide, while a change is awaited.
const LOOK: Duration = Duration::from_millis(50);
/// The longest that a change may be awaited.
const LONGEST: Duration = Duration::from_secs(60);
/// How much slower the slowest of a thousand may be during reloads.
const REACH: f64 = 2.0;

/// The figures of one round.
struct Round {
    quiet: Sample,
    reloading: Sample,
    /// How long each reload took, from the change of the file on.
    reloads: Vec<Duration>,
}

/// Changes a policy file, again and again, until it is told to stop.
struct Changes {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Duration>, Error>>,
}

/// Whether the tail is within reach.
pub(crate) async fn measure(args: &Args, folder: &Path) -> Result<bool, Error> {
    let world = write(folder)?;
    let server = servers::ours(&args.portcullis, &world)?;
    servers::agree(std::slice::from_ref(&server), &world).await?;
    let connections = usize::from(args.connections);
    let duration = Duration::from_secs_f64(args.seconds);
    let requests = Arc::new(Requests::repeated(server.requests.clone()));
    let most = load::polled(server.at, &requests, connections, 1, WARM_UP)?.throughput();
    let rate = most * LOAD;
    let loaded = server.process.resident()?;
    load::open(server.at, &requests, connections, rate, WARM_UP).await?;

    let mut rounds = Vec::new();
    for number in 0..args.rounds {
        let quiet = load::open(server.at, &requests, connections, rate, duration).await?;
        let changes = Changes::start(world.folder.join("policies/more.cedar"), number, server.at);
        let reloading = load::open(server.at, &requests, connections, rate, duration).await;
        let reloads = changes.end()?;
        rounds.push(Round {
            quiet,
            reloading: reloading?,
            reloads,
        });
    }
    let at_last = server.process.resident()?;

    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{}; {TEXTS} policies and {LINKS} links; {connections} connections, {rate:.0} questions/s, which is {LOAD} of what it can do; {} rounds of {} s\n",
        process::machine(),
        args.rounds,
        args.seconds
    )?;
    writeln!(
        out,
        "{:<28} {:>8} {:>8} {:>9} {:>8}",
        "", "p50 µs", "p99 µs", "p99.9 µs", "max µs"
    )?;
    let mut ratios = Vec::new();
    for (number, round) in rounds.iter().enumerate() {
        let number = number + 1;
        let reloads = round.reloads.len();
        tell(&mut out, &format!("{number}: without"), &round.quiet)?;
        tell(
            &mut out,
            &format!("{number}: during {reloads} reloads"),
            &round.reloading,
        )?;
        ratios.push(round.reloading.quantile_us(0.999) / round.quiet.quantile_us(0.999));
    }
    let took = rounds.iter().flat_map(|round| &round.reloads);
    let took = median(took.map(Duration::as_secs_f64).collect());
    writeln!(
        out,
        "\na reload took {took:.1} s from the change of the file on; resident memory {:.0} MB before, {:.0} MB at most while loading, {:.0} MB at most while reloading, {:.0} MB at last",
        loaded.now, loaded.peak, at_last.peak, at_last.now
    )?;
    let ratio = median(ratios);
    let verdict = if ratio <= REACH { "yes" } else { "NO" };
    writeln!(
        out,
        "\nto reach\n  p99.9 during reloads to p99.9 without {ratio:>8.2} ≤ {REACH:<5} {verdict}"
    )?;
    Ok(ratio <= REACH)
}

fn tell(out: &mut impl io::Write, name: &str, sample: &Sample) -> io::Result<()> {
    writeln!(
        out,
        "{name:<28} {:>8.0} {:>8.0} {:>9.0} {:>8.0}",
        sample.quantile_us(0.5),
        sample.quantile_us(0.99),
        sample.quantile_us(0.999),
        sample.quantile_us(1.0)
    )
}

/// Writes policies, links and entities, and says who asks for what: every other question is about what a policy or a
/// link names, and the others about what none does.
fn write(folder: &Path) -> Result<World, Error> {
    fs::create_dir_all(folder.join("policies"))?;
    let mut allowed = HashSet::new();
    let mut texts = "@id(\"linked\") permit (principal == ?principal, action == Action::\"view\", resource == ?resource);\n".to_owned();
    for number in 0..TEXTS {
        let (user, document) = (number % USERS, number * 7 % USERS);
        allowed.insert((user, document));
        writeln!(
            texts,
            "permit (principal == User::\"u{user}\", action == Action::\"view\", resource == Document::\"d{document}\");"
        )?;
    }
    let links = (0..LINKS).map(|number| {
        let (user, document) = (number % USERS, (number * 31 + number / USERS) % USERS);
        allowed.insert((user, document));
        let entity = |kind: &str, id: String| json!({ "__entity": { "type": kind, "id": id } });
        json!({
            "templateId": "linked",
            "newId": format!("link{number}"),
            "values": {
                "?principal": entity("User", format!("u{user}")),
                "?resource": entity("Document", format!("d{document}")),
            },
        })
    });
    let links = json!({
        "staticPolicies": {},
        "templates": {},
        "templateLinks": links.collect::<Vec<_>>(),
    });
    fs::write(folder.join("policies/texts.cedar"), texts)?;
    fs::write(folder.join("policies/links.cedar.json"), links.to_string())?;
    questions::write_entities(folder, USERS)?;

    let mut named: Vec<(usize, usize)> = allowed.iter().copied().collect();
    named.sort_unstable();
    let step = named.len() / QUESTIONS;
    let asked = named
        .iter()
        .step_by(step.max(1))
        .take(QUESTIONS)
        .enumerate();
    let questions = asked.map(|(number, &(user, document))| {
        let document = (document + number % 2 * USERS / 2) % USERS;
        (user, document, allowed.contains(&(user, document)))
    });
    Ok(World {
        folder: folder.to_owned(),
        policies: TEXTS + LINKS,
        questions: questions.collect(),
    })
}

// === impl Changes ===

impl Changes {
    fn start(file: PathBuf, round: u32, at: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut took = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let before = revision(at)?;
                let began = Instant::now();
                let number = took.len();
                let policy = format!(
                    "@id(\"more\") @round(\"{round}.{number}\") forbid (principal == User::\"nobody\", action, resource);\n"
                );
                fs::write(&file, policy)?;
                while revision(at)? == before {
                    if began.elapsed() > LONGEST {
                        return Err("a change of the policies did not take effect".into());
                    }
                    thread::park_timeout(LOOK);
                }
                took.push(began.elapsed());
            }
            Ok(took)
        });
        Self { stop, thread }
    }

    /// Waits for the reload that is under way, and gives what all of them took.
    fn end(self) -> Result<Vec<Duration>, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let took = self.thread.join();
        took.map_err(|_| "the thread that changes policies panicked")?
    }
}

/// Which policies decide.
fn revision(at: SocketAddr) -> Result<String, Error> {
    let mut stream = TcpStream::connect(at)?;
    stream
        .write_all(b"GET /v1/revision HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let body: Value = serde_json::from_str(body)?;
    let revision = body.pointer("/revision").and_then(Value::as_str);
    Ok(revision.ok_or("an answer without a revision")?.to_owned())
}

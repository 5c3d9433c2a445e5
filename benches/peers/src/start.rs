//! `start`: what a fresh instance costs, in time and in idle memory, and what preemption costs a loop.

use crate::report::{self, Comparison, Idle, Spread, Timing};
use crate::worker::{Kind, Peer, Worker};
use crate::workload::Set;
use crate::{idle, system};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub struct Options {
    /// Batches of each contender that are measured, in turns.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// How long a batch runs, about.
    #[arg(long, default_value_t = 10.0)]
    batch_ms: f64,
    /// Idle instances that are held to be weighed.
    #[arg(long, default_value_t = 5000)]
    instances: usize,
    /// Only workloads whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// The peers to measure.
    #[arg(long, value_enum, value_delimiter = ',',
          default_values_t = [Peer::Dormouse, Peer::DormouseUnpreempted, Peer::Wasmtime, Peer::WasmtimeEpoch])]
    peers: Vec<Peer>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Batches of each setting that are tried before the best one is measured.
const TRIALS: usize = 5;

#[derive(Serialize)]
struct Report {
    comparisons: Vec<Comparison>,
    idle: Vec<Idle>,
}

/// One contender of one worker, and what is known of it.
struct Entrant {
    worker: usize,
    index: usize,
    operations: u64,
    samples_ns: Vec<f64>,
}

impl Entrant {
    fn sample(&mut self, workers: &mut [Worker]) -> Result<()> {
        self.samples_ns
            .push(workers[self.worker].run(self.index, self.operations)?);
        Ok(())
    }

    fn median_ns(&self) -> f64 {
        Spread::of(self.samples_ns.clone()).median
    }
}

/// All that is compared with each other.
struct Contest {
    workload: String,
    kind: Kind,
    /// For each worker that takes part, its settings.
    entrants: Vec<Vec<Entrant>>,
}

pub fn run(options: &Options) -> Result<()> {
    ensure!(
        options.rounds > 0 && options.batch_ms > 0.0,
        "there must be something to measure"
    );
    system::pin(system::LOAD_CORE)?;
    let mut workers = options
        .peers
        .iter()
        .map(|peer| Worker::start(*peer, Set::Start))
        .collect::<Result<Vec<_>>>()?;
    let comparisons = compare(
        &mut workers,
        &options.only,
        options.rounds,
        options.batch_ms,
    )?;
    drop(workers);
    let mut idle = Vec::new();
    for peer in [Peer::Dormouse, Peer::Wasmtime] {
        if options.peers.contains(&peer) && options.instances > 0 {
            progress(&format!("idle memory of {}", peer.name()));
            for workload in 0..idle::HELD {
                let rows = weigh(peer, workload, options.instances)?;
                idle.extend(rows.into_iter().map(|row| Idle {
                    peer: peer.name(),
                    workload: row.workload,
                    state: row.state,
                    instances: options.instances,
                    resident_bytes: row.resident_bytes,
                    page_table_bytes: row.page_table_bytes,
                    total_bytes: row.resident_bytes + row.page_table_bytes,
                }));
            }
        }
    }
    if options.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&Report { comparisons, idle })?
        );
        return Ok(());
    }
    let (loops, starts): (Vec<_>, Vec<_>) = comparisons
        .into_iter()
        .partition(|comparison| comparison.kind == Kind::Loop);
    report::print_comparisons("Instantiate, call and reset", "us", 1.0, &starts);
    report::print_comparisons("A tight loop, per iteration", "ns", 1000.0, &loops);
    report::print_idle(&idle);
    Ok(())
}

/// Measures all that the workers have in common, in turns.
pub fn compare(
    workers: &mut [Worker],
    only: &str,
    rounds: usize,
    batch_ms: f64,
) -> Result<Vec<Comparison>> {
    let mut contests = contests(workers, only);
    let count = contests.len();
    let mut comparisons = Vec::new();
    for (number, contest) in contests.iter_mut().enumerate() {
        progress(&format!(
            "{}/{count}: {}, {:?}",
            number + 1,
            contest.workload,
            contest.kind
        ));
        comparisons.push(measure(contest, workers, rounds, batch_ms)?);
    }
    Ok(comparisons)
}

fn contests(workers: &[Worker], only: &str) -> Vec<Contest> {
    let mut contests: Vec<Contest> = Vec::new();
    for (worker, Worker { descriptions, .. }) in workers.iter().enumerate() {
        for (index, description) in descriptions.iter().enumerate() {
            if !description.workload.contains(only) {
                continue;
            }
            let same =
                |c: &Contest| c.workload == description.workload && c.kind == description.kind;
            let place = contests.iter().position(same).unwrap_or_else(|| {
                contests.push(Contest {
                    workload: description.workload.clone(),
                    kind: description.kind,
                    entrants: Vec::new(),
                });
                contests.len() - 1
            });
            let entrant = Entrant {
                worker,
                index,
                operations: 1,
                samples_ns: Vec::new(),
            };
            let entrants = &mut contests[place].entrants;
            match entrants
                .iter_mut()
                .find(|settings| settings[0].worker == worker)
            {
                Some(settings) => settings.push(entrant),
                None => entrants.push(vec![entrant]),
            }
        }
    }
    contests
}

fn measure(
    contest: &mut Contest,
    workers: &mut [Worker],
    rounds: usize,
    batch_ms: f64,
) -> Result<Comparison> {
    let batch_ns = batch_ms * 1e6;
    for entrant in contest.entrants.iter_mut().flatten() {
        // Quadruples until a batch is long enough to be scaled; that warms it up too.
        loop {
            let each_ns = workers[entrant.worker].run(entrant.index, entrant.operations)?;
            if each_ns * entrant.operations as f64 >= batch_ns / 4.0 {
                // Even, so that alternating modules take equal parts.
                entrant.operations = ((batch_ns / each_ns) as u64).max(1).next_multiple_of(2);
                break;
            }
            entrant.operations *= 4;
        }
    }
    for _ in 0..TRIALS {
        for entrant in contest
            .entrants
            .iter_mut()
            .filter(|settings| settings.len() > 1)
            .flatten()
        {
            entrant.sample(workers)?;
        }
    }
    let mut chosen: Vec<&mut Entrant> = contest
        .entrants
        .iter_mut()
        .filter_map(|settings| match &mut settings[..] {
            [only] => Some(only),
            several => several
                .iter_mut()
                .min_by(|a, b| a.median_ns().total_cmp(&b.median_ns())),
        })
        .collect();
    for entrant in &mut chosen {
        entrant.samples_ns.clear();
    }
    for round in 0..rounds {
        // The order turns, so that nobody always follows the same one.
        for position in 0..chosen.len() {
            let turn = (position + round) % chosen.len();
            chosen[turn].sample(workers)?;
        }
    }
    let timings = chosen.iter().map(|entrant| {
        let worker = &workers[entrant.worker];
        Timing {
            peer: worker.peer.name(),
            setting: worker.descriptions[entrant.index].setting.clone(),
            operation_us: Spread::of(entrant.samples_ns.iter().map(|ns| ns / 1000.0).collect()),
            ratio_to_dormouse: None,
        }
    });
    let mut comparison = Comparison {
        workload: contest.workload.clone(),
        kind: contest.kind,
        timings: timings.collect(),
    };
    comparison.fill_in_ratios();
    Ok(comparison)
}

/// Lets a process of its own hold idle instances, as its memory is measured whole.
pub fn weigh(peer: Peer, workload: usize, instances: usize) -> Result<Vec<IdleRow>> {
    let output = Command::new(std::env::current_exe()?)
        .args([
            "idle",
            &peer.name(),
            &workload.to_string(),
            &instances.to_string(),
        ])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "{} could not hold {instances} instances",
        peer.name()
    );
    let lines = String::from_utf8(output.stdout)?;
    lines
        .lines()
        .map(|line| serde_json::from_str(line).context("the idle process said nonsense"))
        .collect()
}

/// What an idle process prints, a line for each state.
#[derive(Serialize, serde::Deserialize)]
pub struct IdleRow {
    pub workload: String,
    pub state: String,
    pub resident_bytes: f64,
    pub page_table_bytes: f64,
    /// With all of the pages that are shared (`Rss`).
    pub rss_bytes: f64,
}

fn progress(what: &str) {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}\r");
    }
}

//! Faasm's no-op (Shillaker and Pietzuch, "Faasm: Lightweight Isolation for Efficient Stateful Serverless Computing", USENIX
//! ATC 2020): Table 3, what a cold start and an instance of a function that does nothing take; Figure 10, the latency of cold
//! starts by how many come a second.

use super::Setting;
use super::baseline::{self, Bundle};
use super::load::{self, Latencies, open_loop};
use super::server::Dormouse;
use super::table::{Figure, Findings, Origin, Series, Table, Unit, axis, column};
use crate::http;
use crate::worker::{Kind, Peer, Worker};
use crate::workload::{Set, WORKLOADS};
use crate::{start, system};
use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Cold starts a second that are tried, until one is too many.
const RATES: [f64; 13] = [
    500.0, 1000.0, 2000.0, 4000.0, 8000.0, 12_000.0, 16_000.0, 20_000.0, 24_000.0, 28_000.0,
    32_000.0, 40_000.0, 50_000.0,
];
const CONTAINER_RATES: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0];

const CONNECTIONS: usize = 64;

/// A rate is sustained when all requests are answered and half of them within this time.
const SUSTAINED_US: f64 = 1000.0;

/// The part of what comes that is answered meanwhile, at least, by what keeps up.
const KEEPS_UP: f64 = 0.95;

/// Memory of the machines that capacities are for: the paper's hosts had as much.
const HOST_BYTES: f64 = (16u64 << 30) as f64;

pub fn run(setting: &Setting) -> Result<Findings> {
    system::pin(system::LOAD_CORE)?;
    let folder = tempfile::tempdir()?;
    let bundle = baseline::answerer(setting, folder.path())
        .map_err(|error| error.to_string())
        .and_then(|answerer| Bundle::new(folder.path(), &answerer));
    let table = no_op(setting, &bundle)?;
    let (rates, figure) = rates(setting, &bundle)?;
    Ok(Findings {
        tables: vec![table, rates],
        figures: vec![figure],
    })
}

fn no_op(setting: &Setting, bundle: &Result<Bundle, String>) -> Result<Table> {
    let mut table = Table::new(
        "faasm-table-3",
        "Faasm, Table 3: a no-op function",
        vec![
            column("initialisation", Unit::Microseconds),
            column("CPU cycles", Unit::Cycles),
            column("PSS", Unit::Bytes),
            column("RSS", Unit::Bytes),
            column("page tables", Unit::Bytes),
            column("capacity", Unit::Count),
        ],
    );
    let kib = 1024.0;
    let paper = [
        ("Docker", 2.8e6, 251e6, 1300.0 * kib, 5000.0 * kib, 8e3),
        ("Faaslet", 5200.0, 1.4e3, 200.0 * kib, 200.0 * kib, 70e3),
        ("Proto-Faaslet", 500.0, 650.0, 90.0 * kib, 90.0 * kib, 100e3),
    ];
    for (name, initialisation, cycles, pss, rss, capacity) in paper {
        let cells = [initialisation, cycles, pss, rss];
        let mut cells: Vec<_> = cells.into_iter().map(Some).collect();
        cells.extend([None, Some(capacity)]);
        table.row(name, Origin::Paper, cells);
    }
    let megahertz = baseline::megahertz()?;
    match bundle {
        Ok(bundle) => container_row(setting, bundle, megahertz, &mut table)?,
        Err(why) => table.missing("container", why),
    }

    let name = WORKLOADS[0].name;
    let mut workers = [Peer::Dormouse, Peer::Wasmtime]
        .iter()
        .map(|peer| Worker::start(*peer, Set::Start))
        .collect::<Result<Vec<_>>>()?;
    let comparisons = start::compare(&mut workers, name, setting.count(21, 3), 10.0)?;
    drop(workers);
    let cold = comparisons.iter().find(|found| found.kind == Kind::Cold);
    let cold = cold.context("cold starts were measured")?;
    for (peer, title, state) in [
        (Peer::Wasmtime, "Wasmtime, pooled", "called once, not reset"),
        (Peer::Dormouse, "Dormouse", "called once and reset: warm"),
    ] {
        let timing = cold
            .timings
            .iter()
            .find(|timing| timing.peer == peer.name());
        let us = timing
            .context("each peer was measured")?
            .operation_us
            .median;
        let rows = start::weigh(peer, 0, setting.count(5000, 500))?;
        let row = rows.iter().find(|row| row.state == state);
        let row = row.context("the instances were weighed")?;
        table.measured(
            title,
            &[
                us,
                us * megahertz,
                row.resident_bytes,
                row.rss_bytes,
                row.page_table_bytes,
                HOST_BYTES / (row.resident_bytes + row.page_table_bytes),
            ],
        );
    }
    table.note("containers: `run` of a static no-op to its end; memory of one that serves, alone in its root directory");
    table.note("engines: restored into a slot that another module left, called, dropped; memory of one that was called");
    table.note("cycles: time on the processor by its clock rate; counters are not to be had in most virtual machines");
    table.note(
        "capacity: 16 GiB by resident memory and page tables; `density` holds 100,000 for real",
    );
    Ok(table)
}

fn container_row(
    setting: &Setting,
    bundle: &Bundle,
    megahertz: f64,
    table: &mut Table,
) -> Result<()> {
    let count = setting.count(50, 5);
    let before = baseline::children_time()?;
    let mut times = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        bundle.nop()?;
        times.push(begin.elapsed());
    }
    let processor = (baseline::children_time()? - before).as_secs_f64() * 1e6 / count as f64;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, http::free_port()?));
    let container = bundle.serve(address)?;
    load::Client::connect_soon(address)?.ask(&load::request("GET", "/", b""))?;
    let memory = system::MemoryUse::of(&container.pid)?;
    let (pss, tables) = (memory.resident_bytes as f64, memory.page_table_bytes as f64);
    table.measured(
        &bundle.name(),
        &[
            Latencies::of(times).median(),
            processor * megahertz,
            pss,
            memory.rss_bytes as f64,
            tables,
            HOST_BYTES / (pss + tables),
        ],
    );
    Ok(())
}

/// What is started at a rate.
struct Starter {
    name: String,
    series: [Series; 2],
    sustained: Option<f64>,
}

impl Starter {
    fn new(name: &str) -> Starter {
        let series = |what: &str| Series {
            name: format!("{name}, {what}"),
            points: Vec::new(),
        };
        Starter {
            name: name.to_owned(),
            series: [series("median"), series("99 %")],
            sustained: None,
        }
    }

    /// Notes what came of a rate. Whether a higher one is worth trying: a machine that others use may be slow and yet keep up.
    ///
    /// `processor` is the time on the processor that all of it took.
    fn add(
        &mut self,
        table: &mut Table,
        rate: f64,
        served: &load::Served,
        processor: Duration,
        limit_us: f64,
    ) -> bool {
        let (median, most) = (served.latencies.median(), served.latencies.at(99.0));
        let done = served.done_per_second;
        let each = processor.as_secs_f64() * 1e6 / served.done as f64;
        table.measured(&self.name, &[rate, done, median, most, each]);
        let keeps_up = !served.saturated && done >= rate * KEEPS_UP;
        if keeps_up && median <= limit_us {
            self.sustained = Some(rate);
        }
        if median.is_finite() {
            self.series[0].points.push((rate, median / 1000.0));
            self.series[1].points.push((rate, most / 1000.0));
        }
        keeps_up
    }
}

fn rates(setting: &Setting, bundle: &Result<Bundle, String>) -> Result<(Table, Figure)> {
    let mut table = Table::new(
        "faasm-figure-10",
        "Faasm, Figure 10: latency of cold starts by their rate",
        vec![
            column("starts/s", Unit::PerSecond),
            column("done/s", Unit::PerSecond),
            column("median", Unit::Microseconds),
            column("99 %", Unit::Microseconds),
            column("CPU a start", Unit::Microseconds),
        ],
    );
    let paper = |cells: [f64; 2]| vec![Some(cells[0]), None, Some(cells[1]), None, None];
    table.row(
        "Proto-Faaslet, the most",
        Origin::Paper,
        paper([4000.0, 500.0]),
    );
    table.row(
        "fresh starts a core",
        Origin::Target,
        vec![Some(20_000.0), None, None, None, Some(50.0)],
    );
    let lasting = Duration::from_millis(setting.count(3000, 300) as u64);
    let mut starters = Vec::new();

    let data = tempfile::tempdir()?;
    // No warm instance may wait, so that every call restores one.
    let server = Dormouse::serving(setting, data.path(), &["--budget", "0"], &["nop"])?;
    let request = load::request("GET", "/nop", b"");
    open_loop(
        server.public,
        &request,
        500.0,
        Duration::from_millis(300),
        CONNECTIONS,
    )?;
    let mut ours = Starter::new("Dormouse");
    let before = server.starts("nop", "warm")?;
    for rate in RATES {
        let before = server.processor_time()?;
        let served = open_loop(server.public, &request, rate, lasting, CONNECTIONS)?;
        let processor = server.processor_time()? - before;
        if !ours.add(&mut table, rate, &served, processor, SUSTAINED_US) {
            break;
        }
    }
    let warm = server.starts("nop", "warm")? - before;
    ensure!(
        warm == 0.0,
        "{warm} calls found a warm instance: they do not count as starts"
    );
    drop(server);
    starters.push(ours);

    let guest = setting.root.join("guests/hello.wasm");
    let server = http::hyper_wasmtime(&guest)?;
    let request = load::request("GET", "/hello", b"");
    let mut theirs = Starter::new("hyper + Wasmtime");
    for rate in RATES {
        let before = server.processor_time()?;
        let served = open_loop(server.address(), &request, rate, lasting, CONNECTIONS)?;
        let processor = server.processor_time()? - before;
        if !theirs.add(&mut table, rate, &served, processor, SUSTAINED_US) {
            break;
        }
    }
    drop(server);
    starters.push(theirs);

    match bundle {
        Err(why) => table.missing("container", why),
        Ok(bundle) => {
            let mut containers = Starter::new(&bundle.name());
            for rate in CONTAINER_RATES {
                let before = baseline::children_time()?;
                let served = start_containers(bundle, rate, lasting)?;
                let processor = baseline::children_time()? - before;
                if !containers.add(&mut table, rate, &served, processor, 1e6) {
                    break;
                }
            }
            starters.push(containers);
        }
    }
    for starter in &starters {
        let most = starter
            .sustained
            .map_or("none".to_owned(), |rate| format!("{rate}"));
        table.note(format!(
            "{}: the most starts a second that were sustained: {most}",
            starter.name
        ));
    }
    table.note(
        "HTTP over loopback, a fresh instance for each request, server on one core; the requests are sent at times that are set \
         ahead and their latency counts from then",
    );
    table.note("hyper + Wasmtime: an instance from the pooling allocator, in a slot that held the same module");
    table.note("sustained: all answered, half of them within 1 ms (containers: 1 s)");
    let figure = Figure {
        name: "faasm-figure-10",
        title: "Latency of cold starts by their rate, one core".to_owned(),
        x: axis("cold starts a second", true),
        y: axis("milliseconds", true),
        series: starters
            .into_iter()
            .flat_map(|starter| starter.series)
            .collect(),
    };
    Ok((table, figure))
}

/// Starts no-op containers at a rate, each waited for by a thread of its own.
fn start_containers(bundle: &Bundle, rate: f64, lasting: Duration) -> Result<load::Served> {
    let count = (rate * lasting.as_secs_f64()).ceil().max(2.0) as u32;
    let begin = Instant::now();
    let times = std::thread::scope(|scope| -> Result<Vec<Duration>> {
        let mut threads = Vec::new();
        for number in 0..count {
            let due = begin + Duration::from_secs_f64(f64::from(number) / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            threads.push(scope.spawn(move || -> Result<Duration> {
                bundle.nop()?;
                Ok(due.elapsed())
            }));
        }
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Duration>>| {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))?
        };
        threads.into_iter().map(join).collect()
    })?;
    let taken = begin.elapsed();
    Ok(load::Served {
        done: times.len(),
        done_per_second: times.len() as f64 / taken.as_secs_f64(),
        // The last one may take its time; what counts is whether they pile up.
        saturated: taken > lasting * 2 + Duration::from_secs(1),
        latencies: Latencies::of(times),
    })
}

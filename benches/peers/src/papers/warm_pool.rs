//! The warm-pool paper's Table II: what a cold and a warm call take from request to response, and what an instance that waits
//! takes of memory, beside what isolates functions elsewhere.

use super::Setting;
use super::baseline::{self, Bundle, Running};
use super::load::{Client, Latencies, request};
use super::microvm::Plan;
use super::server::Dormouse;
use super::table::{Findings, Origin, Table, Unit, column};
use crate::worker::Peer;
use crate::{http, start, system};
use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const HOST_BYTES: f64 = (16u64 << 30) as f64;

/// Calls before those that count.
const WARM_UP: usize = 20;

/// The functions of the mix, with the path, and the file that is the body.
const MIX: [(&str, &str, Option<&str>); 4] = [
    ("hello", "/hello", None),
    (
        "json",
        "/json?from=orders&group=customer.country&sum=total",
        Some("orders.json"),
    ),
    ("thumbnail", "/thumbnail?w=160&h=160", Some("landscape.jpg")),
    ("text", "/text?top=3", Some("server.log")),
];

fn columns() -> Vec<super::table::Column> {
    vec![
        column("cold", Unit::Microseconds),
        column("warm", Unit::Microseconds),
        column("idle memory", Unit::Bytes),
        column("instances in 16 GiB", Unit::Count),
    ]
}

/// What a way to isolate takes.
struct Taken {
    cold: Vec<Duration>,
    warm: Vec<Duration>,
    idle_bytes: f64,
}

impl Taken {
    fn put(self, table: &mut Table, name: &str) {
        let cells = [
            Latencies::of(self.cold).median(),
            Latencies::of(self.warm).median(),
            self.idle_bytes,
            HOST_BYTES / self.idle_bytes,
        ];
        table.measured(name, &cells);
    }
}

pub fn run(setting: &Setting) -> Result<Findings> {
    system::pin(system::LOAD_CORE)?;
    let mut hello = Table::new(
        "warm-pool-table-2",
        "Warm-pool paper, Table II: a hello function, from request to response",
        columns(),
    );
    hello.row(
        "restored from a snapshot",
        Origin::Paper,
        vec![Some(3200.0), None, None, None],
    );
    hello.row(
        "Dormouse",
        Origin::Target,
        vec![Some(100.0), None, Some(24.0 * 1024.0), None],
    );
    let folder = tempfile::tempdir()?;
    let answerer = baseline::answerer(setting, folder.path()).map_err(|error| error.to_string());
    let bundle = answerer
        .clone()
        .and_then(|answerer| Bundle::new(folder.path(), &answerer));
    let kernel = setting.vm_kernel.as_deref();
    let plan = answerer
        .clone()
        .and_then(|answerer| Plan::new(folder.path(), &answerer, kernel));
    let mut put = |name: &str, taken: Result<Taken, String>| match taken {
        Ok(taken) => taken.put(&mut hello, name),
        Err(why) => hello.missing(name, &why),
    };
    let text = |error: anyhow::Error| format!("{error:#}");
    let container_name = bundle.as_ref().map_or("container".to_owned(), Bundle::name);
    put(
        &container_name,
        bundle.and_then(|bundle| container(setting, &bundle).map_err(text)),
    );
    put(
        "microvm (QEMU, KVM)",
        plan.and_then(|plan| machine(setting, &plan).map_err(text)),
    );
    put(
        "process",
        answerer.and_then(|answerer| process(setting, &answerer).map_err(text)),
    );
    let (wasmtime, mut mix) = functions(setting)?;
    put("hyper + Wasmtime, pooled", Ok(wasmtime));
    put("Dormouse", Ok(dormouse(setting, "hello", &MIX[0])?));
    hello.note("cold: what serves is started when the request comes, and connected to until it listens; medians");
    hello.note("containers share the host's network; a machine is asked over its serial port. Both would take longer with a network of their own");
    hello.note("hyper + Wasmtime: each call has a fresh instance; cold is the same, in a slot that held the same module");
    hello.note("idle memory: proportional set size and page tables; the kernel's own structures are not in it. Dormouse: the pool's accounts, which a test compares with the kernel's");
    mix.note("Wasmtime has no snapshots: what a function initialises is part of each of its calls");
    mix.note(
        "the body goes with the request: orders.json, landscape.jpg and server.log of guests/data",
    );
    Ok(Findings {
        tables: vec![hello, mix],
        figures: Vec::new(),
    })
}

fn free_address() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, http::free_port()?)))
}

/// Runs something whose processes belong on the measured core.
fn started<T>(start: impl FnOnce() -> Result<T>) -> Result<T> {
    system::pin(system::MEASURED_CORE)?;
    let started = start();
    system::pin(system::LOAD_CORE)?;
    started
}

fn memory_of(process: &str) -> Result<f64> {
    let memory = system::MemoryUse::of(process)?;
    Ok((memory.resident_bytes + memory.page_table_bytes) as f64)
}

/// The same for a container and a process: started, connected to, asked, and asked again.
fn serving<T>(
    setting: &Setting,
    samples: usize,
    start: impl Fn(SocketAddr) -> Result<T>,
    memory: impl Fn(&T) -> Result<f64>,
) -> Result<Taken> {
    let hello = request("GET", "/hello", b"");
    let mut taken = Taken {
        cold: Vec::new(),
        warm: Vec::new(),
        idle_bytes: 0.0,
    };
    for _ in 0..samples {
        let address = free_address()?;
        let begin = Instant::now();
        let server = started(|| start(address))?;
        let mut client = Client::connect_soon(address)?;
        client.ask(&hello)?;
        taken.cold.push(begin.elapsed());
        taken.idle_bytes = memory(&server)?;
        if taken.warm.is_empty() {
            for _ in 0..setting.count(1000, 50) {
                taken.warm.push(client.time(&hello)?);
            }
        }
    }
    Ok(taken)
}

fn container(setting: &Setting, bundle: &Bundle) -> Result<Taken> {
    serving(
        setting,
        setting.count(30, 3),
        |address| bundle.serve(address),
        |container| memory_of(&container.pid),
    )
}

fn process(setting: &Setting, answerer: &Path) -> Result<Taken> {
    let start = |address: SocketAddr| -> Result<Running> {
        let child = Command::new(answerer)
            .arg(address.port().to_string())
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Running(child))
    };
    let memory = |running: &Running| memory_of(&running.0.id().to_string());
    serving(setting, setting.count(100, 5), start, memory)
}

fn machine(setting: &Setting, plan: &Plan) -> Result<Taken> {
    let mut taken = Taken {
        cold: Vec::new(),
        warm: Vec::new(),
        idle_bytes: 0.0,
    };
    for _ in 0..setting.count(10, 1) {
        let begin = Instant::now();
        let mut machine = started(|| plan.start())?;
        machine.ask()?;
        taken.cold.push(begin.elapsed());
        for _ in 0..10 {
            let begin = Instant::now();
            machine.ask()?;
            taken.warm.push(begin.elapsed());
        }
        taken.idle_bytes = memory_of(&machine.process.0.id().to_string())?;
    }
    Ok(taken)
}

/// The request of a function of the mix.
fn request_of(
    setting: &Setting,
    (_, target, body): &(&str, &str, Option<&str>),
) -> Result<Vec<u8>> {
    let Some(body) = body else {
        return Ok(request("GET", target, b""));
    };
    let path = setting.root.join("guests/data").join(body);
    let body = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(request("POST", target, &body))
}

fn timed(client: &mut Client, request: &[u8], calls: usize) -> Result<Vec<Duration>> {
    for _ in 0..WARM_UP {
        client.ask(request)?;
    }
    (0..calls).map(|_| client.time(request)).collect()
}

fn dormouse(setting: &Setting, name: &str, function: &(&str, &str, Option<&str>)) -> Result<Taken> {
    let request = request_of(setting, function)?;
    let calls = setting.count(500, 20);
    let data = tempfile::tempdir()?;
    // No warm instance may wait, so that every call restores one.
    let server = Dormouse::serving(setting, data.path(), &["--budget", "0"], &[name])?;
    let mut client = Client::connect(server.public)?;
    let cold = timed(&mut client, &request, calls)?;
    let warm = server.starts(name, "warm")?;
    ensure!(
        warm == 0.0,
        "{warm} calls of {name} found a warm instance: they are not cold"
    );
    drop(server);
    let server = Dormouse::start(setting, data.path(), &[])?;
    let mut client = Client::connect(server.public)?;
    let warm = timed(&mut client, &request, calls)?;
    let waiting = server.metric("dormouse_warm_instances ")?;
    ensure!(
        waiting >= 1.0,
        "no instance of {name} is warm after its calls"
    );
    let idle_bytes = server.metric("dormouse_budget_used_bytes ")? / waiting;
    Ok(Taken {
        cold,
        warm,
        idle_bytes,
    })
}

/// The mix, on Dormouse and on Wasmtime, and Wasmtime's hello.
fn functions(setting: &Setting) -> Result<(Taken, Table)> {
    let mut mix = Table::new(
        "warm-pool-functions",
        "The functions of the mix, from request to response",
        columns(),
    );
    let mut hello = None;
    for function in &MIX {
        let (name, target, _) = *function;
        dormouse(setting, name, function)?.put(&mut mix, &format!("{name}, Dormouse"));
        let request = request_of(setting, function)?;
        let guest = setting.root.join(format!("guests/{name}.wasm"));
        let server = http::hyper_wasmtime(&guest)?;
        let mut client = Client::connect(server.address())?;
        let warm = timed(&mut client, &request, setting.count(500, 20))
            .with_context(|| format!("{target} on hyper and Wasmtime"))?;
        let taken = |idle_bytes| Taken {
            cold: warm.clone(),
            warm: warm.clone(),
            idle_bytes,
        };
        let median = Latencies::of(warm.clone()).median();
        let cells = vec![Some(median), Some(median), None, None];
        mix.row(
            &format!("{name}, hyper + Wasmtime"),
            Origin::Measured,
            cells,
        );
        if hello.is_none() {
            let rows = start::weigh(Peer::Wasmtime, 0, setting.count(5000, 500))?;
            let row = rows.iter().find(|row| row.state.contains("reset, warm"));
            let row = row.context("the slots were weighed")?;
            hello = Some(taken(row.resident_bytes + row.page_table_bytes));
        }
    }
    Ok((hello.context("hello is in the mix")?, mix))
}

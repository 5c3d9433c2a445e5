//! `http`: requests a second of a hello function, with each server on one core and wrk on another.
//!
//! Beside the rate stands the server's time on the processor for a request, which tells the same on a machine where others
//! use the cores as well.

pub mod hyper_server;
mod server;

use crate::report::Spread;
use crate::system;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
pub use server::{Server, free_port};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(clap::Args)]
pub struct Options {
    /// The dormouse binary; by default the release build of this repository.
    #[arg(long)]
    dormouse: Option<PathBuf>,
    /// The guest; by default guests/hello.wasm.
    #[arg(long)]
    guest: Option<PathBuf>,
    /// Servers to measure.
    #[arg(long, value_enum, value_delimiter = ',',
          default_values_t = [Kind::Dormouse, Kind::Hyper, Kind::HyperWasmtime])]
    servers: Vec<Kind>,
    /// Rounds; in each, every server is measured once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds a server is under load in a round.
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Connections that wrk keeps open.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Dormouse,
    Hyper,
    HyperWasmtime,
}

#[derive(Serialize)]
struct Row {
    server: &'static str,
    requests_per_second: Spread,
    processor_us_per_request: Spread,
    latency_p99_us: f64,
    ratio_to_hyper: Option<f64>,
    ratio_to_hyper_wasmtime: Option<f64>,
}

pub fn run(options: &Options) -> Result<()> {
    let wrk = Command::new("wrk").arg("--version").output();
    ensure!(wrk.is_ok(), "wrk is not installed: apt-get install wrk");
    ensure!(
        options.rounds > 0 && options.seconds > 0,
        "there must be something to measure"
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guest = options
        .guest
        .clone()
        .unwrap_or_else(|| root.join("guests/hello.wasm"));
    ensure!(
        guest.exists(),
        "{} does not exist: name the hello guest with --guest",
        guest.display()
    );
    let dormouse = options
        .dormouse
        .clone()
        .unwrap_or_else(|| root.join("target/x86_64-unknown-linux-gnu/release/dormouse"));
    let data = TemporaryFolder::new()?;
    let mut servers = options
        .servers
        .iter()
        .map(|kind| start(*kind, &dormouse, &guest, &data.0))
        .collect::<Result<Vec<_>>>()?;

    for server in &mut servers {
        load(server, options.connections, 1)?;
    }
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); servers.len()];
    for round in 0..options.rounds {
        for position in 0..servers.len() {
            let turn = (position + round) % servers.len();
            samples[turn].push(load(
                &mut servers[turn],
                options.connections,
                options.seconds,
            )?);
        }
    }
    report(&servers, samples, options.json)
}

fn start(kind: Kind, dormouse: &Path, guest: &Path, data: &Path) -> Result<Server> {
    let port = free_port()?;
    let own = std::env::current_exe()?.into_os_string();
    match kind {
        Kind::Hyper => {
            let arguments = vec!["serve-hyper".into(), port.to_string().into()];
            Server::start("hyper", own, arguments, port, "/hello", hyper_server::HELLO)
        }
        Kind::HyperWasmtime => {
            let arguments = vec![
                "serve-hyper".into(),
                port.to_string().into(),
                "--guest".into(),
                guest.into(),
            ];
            Server::start(
                "hyper + wasmtime",
                own,
                arguments,
                port,
                "/hello",
                hyper_server::HELLO,
            )
        }
        Kind::Dormouse => {
            ensure!(
                dormouse.exists(),
                "{} does not exist: cargo build --release, or name the binary with --dormouse",
                dormouse.display()
            );
            let admin = free_port()?;
            let arguments = vec![
                "serve".into(),
                "--listen".into(),
                format!("127.0.0.1:{port}").into(),
                "--admin".into(),
                format!("127.0.0.1:{admin}").into(),
                "--data".into(),
                data.into(),
                guest.into(),
            ];
            Server::start(
                "dormouse",
                dormouse.into(),
                arguments,
                port,
                "/hello",
                hyper_server::HELLO,
            )
        }
    }
}

/// hyper with an instance per request from Wasmtime's pooling allocator, for any guest.
pub fn hyper_wasmtime(guest: &Path) -> Result<Server> {
    let port = free_port()?;
    let arguments = vec![
        "serve-hyper".into(),
        port.to_string().into(),
        "--guest".into(),
        guest.into(),
    ];
    let own = std::env::current_exe()?.into_os_string();
    // Whether the answers are right is for those to see who know the guest.
    Server::start("hyper + wasmtime", own, arguments, port, "/", "")
}

/// What one run of wrk found.
#[derive(Clone, Copy)]
struct Sample {
    requests_per_second: f64,
    processor_us_per_request: f64,
    latency_p99_us: f64,
}

fn load(server: &mut Server, connections: u32, seconds: u32) -> Result<Sample> {
    let before = server.processor_time()?;
    let output = Command::new("taskset")
        .args([
            "-c",
            &system::LOAD_CORE.to_string(),
            "wrk",
            "-t1",
            "--latency",
        ])
        .arg(format!("-c{connections}"))
        .arg(format!("-d{seconds}s"))
        .arg(&server.url)
        .output()
        .context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(status) = server.ended()? {
        bail!("{} ended under load with {status}", server.name);
    }
    ensure!(
        output.status.success(),
        "wrk failed: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for complaint in ["Non-2xx", "Socket errors"] {
        if let Some(line) = text.lines().find(|line| line.contains(complaint)) {
            bail!("{}: {}", server.name, line.trim());
        }
    }
    let field = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(name).map(str::trim));
        line.with_context(|| format!("wrk printed no {name}: {text}"))
    };
    let processor_us = (server.processor_time()? - before).as_secs_f64() * 1e6;
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "));
    let requests: f64 = requests.context("wrk counted no requests")?.0.parse()?;
    Ok(Sample {
        requests_per_second: field("Requests/sec:")?.parse()?,
        processor_us_per_request: processor_us / requests,
        latency_p99_us: microseconds(field("99%")?)?,
    })
}

/// A duration as wrk prints it.
fn microseconds(text: &str) -> Result<f64> {
    for (unit, scale) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * scale);
        }
    }
    bail!("{text} is no duration")
}

fn report(servers: &[Server], samples: Vec<Vec<Sample>>, json: bool) -> Result<()> {
    let spread = |samples: &[Sample], value: fn(&Sample) -> f64| {
        Spread::of(samples.iter().map(value).collect())
    };
    let mut rows: Vec<Row> = servers
        .iter()
        .zip(samples)
        .map(|(server, samples)| Row {
            server: server.name,
            requests_per_second: spread(&samples, |sample| sample.requests_per_second),
            processor_us_per_request: spread(&samples, |sample| sample.processor_us_per_request),
            latency_p99_us: spread(&samples, |sample| sample.latency_p99_us).median,
            ratio_to_hyper: None,
            ratio_to_hyper_wasmtime: None,
        })
        .collect();
    let rate_of = |name: &str| {
        rows.iter()
            .find(|row| row.server == name)
            .map(|row| row.requests_per_second.median)
    };
    let (hyper, hyper_wasmtime) = (rate_of("hyper"), rate_of("hyper + wasmtime"));
    for row in &mut rows {
        let rate = row.requests_per_second.median;
        row.ratio_to_hyper = hyper.map(|other| rate / other);
        row.ratio_to_hyper_wasmtime = hyper_wasmtime.map(|other| rate / other);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!(
        "{:18} {:>12} {:>17} {:>10} {:>10} {:>9} {:>18}",
        "server",
        "requests/s",
        "quartiles",
        "cpu us/req",
        "p99 us",
        "to hyper",
        "to hyper+wasmtime"
    );
    let show = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    for row in rows {
        let Spread {
            median,
            lower_quartile,
            upper_quartile,
        } = row.requests_per_second;
        println!(
            "{:18} {median:12.0} {lower_quartile:8.0}-{upper_quartile:8.0} {:10.2} {:10.0} {:>9} {:>18}",
            row.server,
            row.processor_us_per_request.median,
            row.latency_p99_us,
            show(row.ratio_to_hyper),
            show(row.ratio_to_hyper_wasmtime),
        );
    }
    Ok(())
}

/// A folder for Dormouse's store, removed in the end.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> Result<TemporaryFolder> {
        let path = std::env::temp_dir().join(format!("dormouse-peers-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(TemporaryFolder(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for temporary files, and harmless.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! `http`: requests a second of a hello function, with each server on one core and wrk on another.

pub mod hyper_server;
mod server;

use crate::report::Spread;
use crate::system;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use server::Server;
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
        .unwrap_or_else(|| root.join("target/release/dormouse"));
    let data = TemporaryFolder::new()?;
    let servers = options
        .servers
        .iter()
        .map(|kind| start(*kind, &dormouse, &guest, &data.0))
        .collect::<Result<Vec<_>>>()?;

    for server in &servers {
        load(server, options.connections, 1)?;
    }
    let mut samples: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); servers.len()];
    for round in 0..options.rounds {
        for position in 0..servers.len() {
            let turn = (position + round) % servers.len();
            let (rate, p99_us) = load(&servers[turn], options.connections, options.seconds)?;
            samples[turn].0.push(rate);
            samples[turn].1.push(p99_us);
        }
    }
    report(&servers, samples, options.json)
}

fn start(kind: Kind, dormouse: &Path, guest: &Path, data: &Path) -> Result<Server> {
    let port = server::free_port()?;
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
            let admin = server::free_port()?;
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

/// Requests a second, and the 99th percentile of their latency in microseconds.
fn load(server: &Server, connections: u32, seconds: u32) -> Result<(f64, f64)> {
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
    Ok((
        field("Requests/sec:")?.parse()?,
        microseconds(field("99%")?)?,
    ))
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

fn report(servers: &[Server], samples: Vec<(Vec<f64>, Vec<f64>)>, json: bool) -> Result<()> {
    let medians: Vec<(&str, Spread, f64)> = servers
        .iter()
        .zip(samples)
        .map(|(server, (rates, p99s))| (server.name, Spread::of(rates), Spread::of(p99s).median))
        .collect();
    let median_of = |name: &str| {
        medians
            .iter()
            .find(|(other, ..)| *other == name)
            .map(|(_, rate, _)| rate.median)
    };
    let ratio = |rate: f64, name: &str| median_of(name).map(|other| rate / other);
    let rows: Vec<Row> = medians
        .iter()
        .map(|(server, rate, p99_us)| Row {
            server,
            requests_per_second: *rate,
            latency_p99_us: *p99_us,
            ratio_to_hyper: ratio(rate.median, "hyper"),
            ratio_to_hyper_wasmtime: ratio(rate.median, "hyper + wasmtime"),
        })
        .collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!(
        "{:18} {:>12} {:>17} {:>10} {:>9} {:>18}",
        "server", "requests/s", "quartiles", "p99 us", "to hyper", "to hyper+wasmtime"
    );
    let show = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    for row in rows {
        let Spread {
            median,
            lower_quartile,
            upper_quartile,
        } = row.requests_per_second;
        println!(
            "{:18} {median:12.0} {lower_quartile:8.0}-{upper_quartile:8.0} {:10.0} {:>9} {:>18}",
            row.server,
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

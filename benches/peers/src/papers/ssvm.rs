//! What the SSVM paper compares (Long, Tai, Hsieh and Yuan, "A Lightweight Design for Serverless Function as a Service", IEEE
//! Software 38(1), 2021): how long a no-op and a program that copies a file take to start and end, in a container and as
//! WebAssembly; and four programs that compute.

use super::Setting;
use super::baseline::{self, Bundle};
use super::load::{Client, Latencies, request};
use super::server::Dormouse;
use super::table::{Findings, Origin, Table, Unit, column};
use crate::compute::{self, Peer};
use crate::system;
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAMS: [&str; 4] = ["nbody", "fannkuch", "mandelbrot", "binary_trees"];

pub fn run(setting: &Setting) -> Result<Findings> {
    Ok(Findings {
        tables: vec![starts(setting)?, programs(setting)?],
        figures: Vec::new(),
    })
}

/// The median of so many runs from start to end, in microseconds.
fn time(count: usize, run: impl Fn() -> Result<()>) -> Result<f64> {
    run()?;
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        run()?;
        times.push(begin.elapsed());
    }
    Ok(Latencies::of(times).median())
}

fn command(program: &Path, arguments: &[&OsStr]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} {arguments:?} ended with {}: {}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Compiled ahead by a command line's `compile`.
fn compiled(program: &Path, module: &Path, output: PathBuf) -> Result<PathBuf> {
    let arguments = [
        "compile".as_ref(),
        module.as_os_str(),
        "-o".as_ref(),
        output.as_os_str(),
    ];
    command(program, &arguments)?;
    Ok(output)
}

fn starts(setting: &Setting) -> Result<Table> {
    system::pin(system::MEASURED_CORE)?;
    let mut table = Table::new(
        "ssvm-starts",
        "SSVM paper: from start to end of a no-op, and of a program that copies a file",
        vec![
            column("nop", Unit::Microseconds),
            column("cat-sync", Unit::Microseconds),
        ],
    );
    let count = setting.count(50, 5);
    let folder = tempfile::tempdir()?;
    let answerer = baseline::answerer(setting, folder.path()).map_err(|error| error.to_string());
    let data = folder.path().join("data");
    std::fs::write(&data, "Hello from Dormouse!\n")?;
    match answerer
        .clone()
        .and_then(|answerer| Bundle::new(folder.path(), &answerer))
    {
        Err(why) => table.missing("container", &why),
        Ok(bundle) => {
            let nop = time(count, || bundle.nop())?;
            let cat = time(count, || bundle.run(&["cat", "/data"]))?;
            table.measured(&bundle.name(), &[nop, cat]);
        }
    }
    match answerer {
        Err(why) => table.missing("process", &why),
        Ok(answerer) => {
            let nop = time(count, || command(&answerer, &["nop".as_ref()]))?;
            let cat = time(count, || {
                command(&answerer, &["cat".as_ref(), data.as_os_str()])
            })?;
            table.measured("process", &[nop, cat]);
        }
    }
    let guest = |name: &str| setting.root.join(format!("guests/commands/{name}.wasm"));
    for (name, binary, before) in [
        (
            "wasmtime run",
            Path::new("wasmtime"),
            &["run", "--allow-precompiled"][..],
        ),
        ("dormouse run", setting.dormouse.as_path(), &["run"][..]),
    ] {
        if Command::new(binary).arg("--version").output().is_err() {
            let why = "its command line is not installed (cargo install wasmtime-cli)";
            table.missing(name, why);
            continue;
        }
        let binary_of = |guest_name: &str| {
            let output = folder.path().join(format!("{guest_name}.{}", before.len()));
            compiled(binary, &guest(guest_name), output)
        };
        let (nop, cat) = (binary_of("nop")?, binary_of("cat")?);
        let mut arguments: Vec<&OsStr> = before.iter().map(OsStr::new).collect();
        let directory = format!("{}::/data", folder.path().display());
        let fixed = arguments.len();
        arguments.push(nop.as_os_str());
        let nop = time(count, || command(binary, &arguments))?;
        arguments.truncate(fixed);
        arguments.extend(["--dir", directory.as_str()].map(OsStr::new));
        arguments.extend([cat.as_os_str(), "/data/data".as_ref()]);
        let cat = time(count, || command(binary, &arguments))?;
        table.measured(name, &[nop, cat]);
    }

    system::pin(system::LOAD_CORE)?;
    let store = tempfile::tempdir()?;
    let server = Dormouse::serving(setting, store.path(), &["--budget", "0"], &["nop", "echo"])?;
    let mut client = Client::connect(server.public)?;
    let mut served = |request: &[u8]| -> Result<f64> {
        for _ in 0..10 {
            client.ask(request)?;
        }
        let calls = (0..count * 10).map(|_| client.time(request));
        Ok(Latencies::of(calls.collect::<Result<_>>()?).median())
    };
    let nop = served(&request("GET", "/nop", b""))?;
    let cat = served(&request("POST", "/echo", &std::fs::read(&data)?))?;
    table.measured("dormouse serve, cold", &[nop, cat]);
    let warm = server.starts("nop", "warm")? + server.starts("echo", "warm")?;
    ensure!(warm == 0.0, "{warm} calls found a warm instance");
    table.note(
        "modules compiled ahead; containers share the host's network and have one static program",
    );
    table.note("dormouse serve: from request to response over loopback, a restored instance each; cat-sync copies the body");
    Ok(table)
}

fn programs(setting: &Setting) -> Result<Table> {
    let mut table = Table::new(
        "ssvm-programs",
        "SSVM paper: the four programs, time on the processor",
        vec![
            column("native", Unit::Microseconds),
            column("Wasmtime", Unit::Microseconds),
            column("Dormouse", Unit::Microseconds),
            column("Dormouse / native", Unit::Ratio),
        ],
    );
    match compute::rows(&PROGRAMS, setting.count(5, 1), setting.quick) {
        Err(error) => table.missing("all four", &format!("{error:#}")),
        Ok(rows) => {
            for row in rows {
                let of = |peer: Peer| {
                    let found = row.seconds.iter().find(|(measured, _)| *measured == peer);
                    found.map(|(_, spread)| spread.median * 1e6)
                };
                let all = [of(Peer::Native), of(Peer::Wasmtime), of(Peer::Dormouse)];
                let ratio = all[2].zip(all[0]).map(|(ours, native)| ours / native);
                let mut cells = all.to_vec();
                cells.push(ratio);
                table.row(row.program, Origin::Measured, cells);
            }
            table.note("natively and as WebAssembly by one clang, as `compute` measures them; engines compiled ahead");
        }
    }
    Ok(table)
}

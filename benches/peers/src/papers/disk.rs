//! A call whose image is on disk and not in memory: with the pages faulted in one by one, with the recorded working set read
//! ahead, and warm (REAP: Ustiugov et al., "Benchmarking, Analysis, and Optimization of Serverless Function Snapshots", ASPLOS
//! 2021; Spice: Holmes et al., "Taming Serverless Cold Starts Through OS Co-Design", 2025).
//!
//! The function reads runs of pages, one in each part of its memory and in no order, and writes the first page of each. Runs are
//! of three pages, as REAP found them in guests of 256 MB, where a kernel has scattered what the function touches; and of 32, as
//! the linear memory of a function has it. The page cache is rid of the image before every sample.

use super::Setting;
use super::load::{Client, Latencies, request};
use super::server::Dormouse;
use super::table::{Figure, Findings, Origin, Series, Table, Unit, axis, column};
use crate::system;
use anyhow::{Context, Result, anyhow, ensure};
use dormouse::compile::{CompileOptions, compile};
use dormouse::{Callable, Engine, EngineOptions, Image, Imports, Instance, Limits, Linked, Module};
use nix::sys::resource::{UsageWho, getrusage};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const PAGE_BYTES: u64 = 4096;

/// The memory has so many times the pages of the working set.
const SPARSENESS: u64 = 8;

/// How a working set lies in its memory.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    figure: &'static str,
    run_pages: u64,
    /// Powers of two, since the order of visits is a permutation only then.
    runs: &'static [u64],
}

const SHAPES: [Shape; 2] = [
    Shape {
        name: "runs of 3 pages",
        figure: "disk-latency-scattered",
        run_pages: 3,
        runs: &[8, 64, 256, 512, 1024, 2048, 8192],
    },
    Shape {
        name: "runs of 32 pages",
        figure: "disk-latency-clustered",
        run_pages: 32,
        runs: &[1, 8, 32, 64, 128, 256, 512],
    },
];

/// How many of them are enough to see that everything runs.
const QUICK_RUNS: usize = 2;

/// A function's working set: so many runs of a shape.
#[derive(Clone, Copy)]
struct WorkingSet {
    run_pages: u64,
    runs: u64,
}

impl WorkingSet {
    fn bytes(self) -> u64 {
        self.runs * self.run_pages * PAGE_BYTES
    }
}

/// What is read at a time when as many bytes are read as a whole.
const READ_BYTES: usize = 1 << 20;

/// Time for what a server does after it has said that it listens.
const SETTLED: Duration = Duration::from_millis(300);

/// A function with such a working set.
fn wasm(WorkingSet { run_pages, runs }: WorkingSet) -> Result<Vec<u8>> {
    let part_pages = run_pages * SPARSENESS;
    let pages = runs * part_pages;
    let wasm_pages = (pages * PAGE_BYTES).div_ceil(65536);
    let (mask, places) = (runs - 1, part_pages - run_pages + 1);
    let text = format!(
        r#"(module
  (memory (export "memory") {wasm_pages})
  (func (export "dormouse_init") (local $page i32)
    (loop $next
      (i32.store offset=64 (i32.shl (local.get $page) (i32.const 12)) (i32.add (local.get $page) (i32.const 1)))
      (local.set $page (i32.add (local.get $page) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $page) (i32.const {pages})))))
  (func $check (param $page i32)
    (if (i32.ne (i32.load offset=64 (i32.shl (local.get $page) (i32.const 12)))
                (i32.add (local.get $page) (i32.const 1)))
      (then unreachable)))
  (func (export "handle") (result i32) (local $run i32) (local $part i32) (local $page i32) (local $left i32)
    (loop $next
      (local.set $part (i32.and (i32.mul (local.get $run) (i32.const 0x9E3779B1)) (i32.const {mask})))
      (local.set $page
        (i32.add
          (i32.mul (local.get $part) (i32.const {part_pages}))
          (i32.rem_u (i32.mul (local.get $part) (i32.const 7)) (i32.const {places}))))
      (i32.store offset=128 (i32.shl (local.get $page) (i32.const 12)) (i32.const 1))
      (local.set $left (i32.const {run_pages}))
      (loop $check_next
        (call $check (local.get $page))
        (local.set $page (i32.add (local.get $page) (i32.const 1)))
        (br_if $check_next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (local.set $run (i32.add (local.get $run) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $run) (i32.const {runs}))))
    (i32.const 0)))"#
    );
    Ok(wat::parse_str(text)?)
}

/// Rids the page cache of a file, as far as it is not mapped.
fn forget(file: &File) -> Result<()> {
    file.sync_all()?;
    fadvise(file, 0, None, Advice::DontNeed)?;
    Ok(())
}

/// Page faults of this thread, and bytes that this process had read from the disk.
#[derive(Clone, Copy)]
struct Account {
    minor: i64,
    major: i64,
    read_bytes: u64,
}

impl Account {
    fn now() -> Result<Account> {
        let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
        let io = std::fs::read_to_string("/proc/self/io")?;
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("read_bytes: "));
        Ok(Account {
            minor: usage.minor_page_faults(),
            major: usage.major_page_faults(),
            read_bytes: line.context("/proc/self/io has read_bytes")?.parse()?,
        })
    }
}

/// What samples of one way to call gave, each a list.
#[derive(Default)]
struct Samples {
    times: Vec<Duration>,
    minor: Vec<f64>,
    major: Vec<f64>,
    read_bytes: Vec<f64>,
}

impl Samples {
    fn take<T>(&mut self, call: impl FnOnce() -> Result<T>) -> Result<()> {
        let before = Account::now()?;
        let begin = Instant::now();
        let result = call()?;
        self.times.push(begin.elapsed());
        drop(result);
        let after = Account::now()?;
        self.minor.push((after.minor - before.minor) as f64);
        self.major.push((after.major - before.major) as f64);
        self.read_bytes
            .push((after.read_bytes - before.read_bytes) as f64);
        Ok(())
    }

    fn us(&self) -> f64 {
        Latencies::of(self.times.clone()).median()
    }
}

fn median(values: &[f64]) -> f64 {
    Latencies::new(values.to_vec()).median()
}

/// Of the function that takes the place of others.
const SMALLEST: WorkingSet = WorkingSet {
    run_pages: 1,
    runs: 1,
};

struct Function {
    handle: Callable,
    file: File,
    /// Without a working set: pages come when they are touched.
    lazy: Image,
    prefetching: Image,
    /// Takes the place of the last instance, whose slot would keep the image mapped and thereby in memory.
    other: Image,
}

fn linked(engine: &Engine, wasm: &[u8]) -> Result<Linked> {
    let artifact = compile(wasm, &CompileOptions::default())?;
    Ok(Module::from_artifact(engine, &artifact)?.link(&Imports::new())?)
}

fn capture(linked: &Linked, file: &File) -> Result<()> {
    let mut instance = Instance::new(linked, Limits::default(), Box::new(()))?;
    let init = linked.module().function("dormouse_init");
    call(&mut instance, init.context("the module has an init")?)?;
    Image::capture(&mut instance, file)?;
    Ok(())
}

fn call(instance: &mut Instance, function: Callable) -> Result<()> {
    instance
        .call(function, &[])
        .map(drop)
        .map_err(|trap| anyhow!("the guest was stopped: {trap}"))
}

impl Function {
    fn new(engine: &Engine, set: WorkingSet, folder: &Path) -> Result<Function> {
        let module = linked(engine, &wasm(set)?)?;
        let file = tempfile::tempfile_in(folder)?;
        capture(&module, &file)?;
        let small = linked(engine, &wasm(SMALLEST)?)?;
        let other = tempfile::tempfile_in(folder)?;
        capture(&small, &other)?;
        let function = Function {
            handle: module.module().function("handle").context("a handle")?,
            lazy: Image::open(&module, &file)?,
            prefetching: Image::open(&module, &file)?,
            other: Image::open(&small, &other)?,
            file,
        };
        // As the server does: the first two calls in restored instances are recorded.
        for _ in 0..2 {
            let image = &function.prefetching;
            let mut instance = image.restore_recorded(Limits::default(), Box::new(()))?;
            call(&mut instance, function.handle)?;
            ensure!(
                image.record(&mut instance),
                "this kernel cannot record working sets (Linux 6.7 can)"
            );
        }
        let gathering = function.prefetching.gathering();
        gathering.run(&function.file, None, || tempfile::tempfile_in(folder))?;
        Ok(function)
    }

    fn forget(&self) -> Result<()> {
        drop(self.other.restore(Limits::default(), Box::new(()))?);
        forget(&self.file)
    }

    /// Until the call has ended; what the instance holds is given up after that.
    fn start(&self, image: &Image) -> Result<Instance> {
        let mut instance = image.restore(Limits::default(), Box::new(()))?;
        call(&mut instance, self.handle)?;
        Ok(instance)
    }
}

/// The medians of a function, in microseconds, counts and bytes.
struct Medians {
    lazy: Samples,
    prefetched: Samples,
    reading: Samples,
    warm: Samples,
    served: Samples,
}

fn measure(setting: &Setting, engine: &Engine, set: WorkingSet, folder: &Path) -> Result<Medians> {
    let function = Function::new(engine, set, folder)?;
    let working_set = set.bytes();
    let plain = tempfile::tempfile_in(folder)?;
    plain.write_all_at(&vec![7; working_set as usize], 0)?;
    let mut found = Medians {
        lazy: Samples::default(),
        prefetched: Samples::default(),
        reading: Samples::default(),
        warm: Samples::default(),
        served: Samples::default(),
    };
    let mut buffer = vec![0; READ_BYTES];
    for _ in 0..setting.count(7, 2) {
        function.forget()?;
        found.lazy.take(|| function.start(&function.lazy))?;

        function.forget()?;
        found.prefetched.take(|| {
            let prefetch = function.prefetching.prefetch()?;
            prefetch.context("the image was still in memory")?.run()?;
            function.start(&function.prefetching)
        })?;

        forget(&plain)?;
        found.reading.take(|| {
            let mut at = 0;
            while at < working_set {
                let wanted = (working_set - at).min(READ_BYTES as u64) as usize;
                plain.read_exact_at(&mut buffer[..wanted], at)?;
                at += wanted as u64;
            }
            Ok(())
        })?;
    }
    let mut instance = function.start(&function.prefetching)?;
    for _ in 0..setting.count(20, 3) {
        instance.reset(Box::new(()))?;
        found.warm.take(|| call(&mut instance, function.handle))?;
    }
    Ok(found)
}

/// Where a server keeps the files that calls need.
fn forget_all(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            forget_all(&path)?;
        } else {
            forget(&File::open(&path)?)?;
        }
    }
    Ok(())
}

/// The same through the server, from request to response: the first call after it was started, code included.
fn serve(setting: &Setting, set: WorkingSet, folder: &Path, samples: &mut Samples) -> Result<()> {
    let data = tempfile::tempdir_in(folder)?;
    let request = request("GET", "/f", b"");
    let server = Dormouse::start(setting, data.path(), &["--budget", "0"])?;
    server.deploy("f", &wasm(set)?, "memory=2GiB&timeout=60s&cpu=60s")?;
    let mut client = Client::connect(server.public)?;
    for _ in 0..3 {
        client.ask(&request)?;
    }
    // The working set is written by a thread of its own.
    std::thread::sleep(SETTLED);
    drop(server);
    for _ in 0..setting.count(5, 1) {
        forget_all(data.path())?;
        let server = Dormouse::start(setting, data.path(), &[])?;
        std::thread::sleep(SETTLED);
        let mut client = Client::connect(server.public)?;
        samples.take(|| client.ask(&request).map(drop))?;
        ensure!(
            server.starts("f", "warm")? == 0.0,
            "the first call after a start found a warm instance"
        );
    }
    Ok(())
}

pub fn run(setting: &Setting) -> Result<Findings> {
    system::pin(system::MEASURED_CORE)?;
    // Temporary files may be in memory, where nothing is cold.
    let folder = tempfile::tempdir_in("/var/tmp").context("there is no /var/tmp")?;
    let engine = Engine::new(&EngineOptions::default())?;
    let mut latencies = Table::new(
        "disk-latency",
        "A call whose image is on disk (REAP, Spice)",
        vec![
            column("working set", Unit::Bytes),
            column("lazy faults", Unit::Microseconds),
            column("prefetched", Unit::Microseconds),
            column("warm", Unit::Microseconds),
            column("reading it", Unit::Microseconds),
            column("lazy / prefetched", Unit::Ratio),
            column("prefetched / (reading + warm)", Unit::Ratio),
            column("served", Unit::Microseconds),
        ],
    );
    let ratios = |name: &str, origin, first, second, table: &mut Table| {
        table.row(
            name,
            origin,
            vec![None, None, None, None, None, first, second, None],
        );
    };
    ratios(
        "REAP, on average",
        Origin::Paper,
        Some(3.7),
        None,
        &mut latencies,
    );
    ratios(
        "from 8 MB",
        Origin::Target,
        Some(3.7),
        Some(1.3),
        &mut latencies,
    );
    let mut faults = Table::new(
        "disk-faults",
        "Page faults of such a call, and what is read from the disk",
        vec![
            column("working set", Unit::Bytes),
            column("lazy, major", Unit::Count),
            column("lazy, minor", Unit::Count),
            column("lazy, read", Unit::Bytes),
            column("prefetched, major", Unit::Count),
            column("prefetched, minor", Unit::Count),
            column("prefetched, read", Unit::Bytes),
        ],
    );
    let mut figures = Vec::new();
    for shape in SHAPES {
        let mut series =
            ["lazy faults", "prefetched", "reading as many bytes", "warm"].map(|name| Series {
                name: name.to_owned(),
                points: Vec::new(),
            });
        let count = setting.count(shape.runs.len(), QUICK_RUNS);
        for &runs in &shape.runs[..count] {
            let set = WorkingSet {
                run_pages: shape.run_pages,
                runs,
            };
            let mut found = measure(setting, &engine, set, folder.path())?;
            serve(setting, set, folder.path(), &mut found.served)?;
            let times = [&found.lazy, &found.prefetched, &found.reading, &found.warm];
            let [lazy, prefetched, reading, warm] = times.map(Samples::us);
            latencies.measured(
                shape.name,
                &[
                    set.bytes() as f64,
                    lazy,
                    prefetched,
                    warm,
                    reading,
                    lazy / prefetched,
                    prefetched / (reading + warm),
                    found.served.us(),
                ],
            );
            let Medians {
                lazy: faulted,
                prefetched: read_ahead,
                ..
            } = &found;
            faults.measured(
                shape.name,
                &[
                    set.bytes() as f64,
                    median(&faulted.major),
                    median(&faulted.minor),
                    median(&faulted.read_bytes),
                    median(&read_ahead.major),
                    median(&read_ahead.minor),
                    median(&read_ahead.read_bytes),
                ],
            );
            let x = set.bytes() as f64 / 1e6;
            for (series, us) in series.iter_mut().zip([lazy, prefetched, reading, warm]) {
                series.points.push((x, us / 1000.0));
            }
        }
        figures.push(Figure {
            name: shape.figure,
            title: format!(
                "A call whose image is on disk, by its working set ({})",
                shape.name
            ),
            x: axis("MB of working set", true),
            y: axis("milliseconds", true),
            series: series.into(),
        });
    }
    latencies.note("how far lazy faults read depends on the disk's read_ahead_kb: with a large one they read most of the image");
    latencies.note("the image has eight times the bytes of the working set; the page cache is rid of it before each sample");
    latencies.note("reading it: a file of as many bytes, in requests of 1 MiB");
    latencies.note("served: from request to response, the first call after the server was started, opening its code and image included");
    faults.note("REAP reports 97 % of the guest's page faults gone. Minor faults are for pages in memory; only major ones wait for the disk");
    Ok(Findings {
        tables: vec![latencies, faults],
        figures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_finds_every_page_as_it_was_frozen() {
        let engine = Engine::new(&EngineOptions::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let set = WorkingSet {
            run_pages: 3,
            runs: 64,
        };
        let function = Function::new(&engine, set, folder.path()).unwrap();
        for image in [&function.lazy, &function.prefetching] {
            drop(function.start(image).unwrap());
        }
    }
}

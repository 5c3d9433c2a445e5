//! How much sleeps on one machine: instances that wait, over some processes, and functions on one server.
//!
//!     cargo bench -p dormouse-host --bench density                     everything, which takes a while
//!     cargo bench -p dormouse-host --bench density -- instances 100000 7
//!     cargo bench -p dormouse-host --bench density -- functions 50000
//!     cargo bench -p dormouse-host --bench density -- scripts 100
//!
//! `instances N PROCESSES`: warm instances of `guests/hello.wasm`, each called once and reset, then called again at random
//! and checked. What they take is what the machine has less: private pages and page tables as the kernel accounts them to
//! the processes, and the kernel's own structures.
//!
//! `functions N`: so many different functions deployed on one server, each called once and then some at random, every
//! answer checked; with the server's open files, mappings and memory, and what they take on the disk.
//!
//! `scripts N`: the same with functions of one module, `guests/javascript.wasm`, each with a script of its own. What N of them take
//! is to be seen beside what one takes.

use dormouse::compile::{CompileOptions, compile};
use dormouse::{Caller, Engine, Image, Imports, Instance, Limits, Linked, Module, Stop};
use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Random calls at the end, for each instance or function.
const RANDOM_PART: usize = 4;

/// Connections that deploy at the same time.
const DEPLOYERS: usize = 2;

fn main() -> Result<()> {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => {
            instances(100_000, 7)?;
            functions(50_000, Kind::Modules)?;
            functions(1, Kind::Scripts)?;
            functions(100, Kind::Scripts)
        }
        ["instances", count, processes] => instances(count.parse()?, processes.parse()?),
        ["functions", count] => functions(count.parse()?, Kind::Modules),
        ["scripts", count] => functions(count.parse()?, Kind::Scripts),
        ["hold", directory, count] => hold(Path::new(directory), count.parse()?),
        _ => Err(
            "arguments: instances N PROCESSES, functions N, scripts N, or nothing for all".into(),
        ),
    }
}

fn guest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../guests")
        .join(name)
}

/// A small generator of numbers (Knuth's MMIX), so that runs are alike.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// A line of a file of the kernel's such as `Pss:  12 kB`, in bytes.
fn kernel_bytes(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kibibytes: u64 = number
        .ok_or_else(|| format!("no {name} in {path}"))?
        .parse()?;
    Ok(kibibytes * 1024)
}

/// The kernel's records of mappings, by the names of their caches in slabinfo(5).
const RECORDS: [&str; 4] = ["vm_area_struct", "maple_node", "anon_vma", "anon_vma_chain"];

/// Memory of the whole machine.
struct Machine {
    available: u64,
    page_tables: u64,
    slab: u64,
    /// Bytes of each kind of [`RECORDS`] that are in use; nothing when this user may not know.
    records: Option<[u64; RECORDS.len()]>,
}

fn record_bytes() -> Option<[u64; RECORDS.len()]> {
    let text = fs::read_to_string("/proc/slabinfo").ok()?;
    let bytes = RECORDS.map(|name| {
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name))?;
        let mut numbers = line.split_whitespace().skip(1);
        let objects: u64 = numbers.next()?.parse().ok()?;
        let size: u64 = numbers.nth(1)?.parse().ok()?;
        Some(objects * size)
    });
    // A kernel may keep a kind together with another of the same size.
    Some(bytes.map(|bytes| bytes.unwrap_or(0)))
}

impl Machine {
    fn now() -> Result<Machine> {
        let field = |name| kernel_bytes("/proc/meminfo", name);
        Ok(Machine {
            available: field("MemAvailable:")?,
            page_tables: field("PageTables:")?,
            slab: field("SUnreclaim:")?,
            records: record_bytes(),
        })
    }
}

fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// A child process that is killed when it is not needed any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn instances(count: usize, processes: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    fs::write(
        directory.path().join("artifact"),
        compile(&fs::read(guest("hello.wasm"))?, &CompileOptions::default())?,
    )?;
    let engine = Engine::new(&Default::default())?;
    let linked = link(&engine, directory.path())?;
    let mut instance = Instance::new(&linked, Limits::default(), Box::new(Vec::<u8>::new()))?;
    let image = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(directory.path().join("image"))?;
    Image::capture(&mut instance, &image)?;
    drop(instance);

    let before = Machine::now()?;
    let mut workers = Vec::new();
    for process in 0..processes {
        let part = count / processes + usize::from(process < count % processes);
        let mut child = Command::new(std::env::current_exe()?)
            .arg("hold")
            .args([directory.path().as_os_str(), part.to_string().as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        workers.push((Running(child), answers.lines()));
    }
    let mut totals = [0u64; 4];
    for (_, answers) in &mut workers {
        let line = answers.next().ok_or("a worker ended early")??;
        for (total, word) in totals.iter_mut().zip(line.split(' ')) {
            *total += word.parse::<u64>()?;
        }
    }
    let now = Machine::now()?;
    let each = |bytes: u64| bytes / count as u64;
    let [private, tables, ours, accounts] = totals;
    println!("{count} warm instances of hello in {processes} processes, each called and reset");
    println!(
        "  of the machine's memory  {:6.2} GiB",
        gibibytes(before.available - now.available)
    );
    println!("  bytes an instance:");
    println!("    private pages          {:6}", each(private));
    println!("    page tables            {:6}", each(tables));
    println!(
        "    kernel structures      {:6}",
        each(now.slab.saturating_sub(before.slab))
    );
    if let (Some(before), Some(now)) = (before.records, now.records) {
        for ((name, now), before) in RECORDS.iter().zip(now).zip(before) {
            println!("      {name:20} {:6}", each(now.saturating_sub(before)));
        }
    }
    println!(
        "    ours, on the heap      {:6}  (in private pages)",
        each(ours)
    );
    println!("    in the pool's accounts {:6}", each(accounts));
    println!(
        "    all page tables of the machine grew by {} an instance",
        each(now.page_tables.saturating_sub(before.page_tables))
    );
    for (worker, _) in &mut workers {
        writeln!(worker.0.stdin.as_mut().ok_or("no pipe")?, "call")?;
    }
    let (mut calls, mut slowest) = (0, 0);
    for (_, answers) in &mut workers {
        let line = answers.next().ok_or("a worker failed")??;
        let (done, median_ns) = line.split_once(' ').ok_or("a worker's answer")?;
        calls += done.parse::<u64>()?;
        slowest = slowest.max(median_ns.parse::<u64>()?);
    }
    println!(
        "  {calls} calls at random, every answer right; median of a call and its reset: {slowest} ns"
    );
    Ok(())
}

fn link(engine: &Engine, directory: &Path) -> Result<Linked> {
    let module = Module::load(engine, &File::open(directory.join("artifact"))?)?;
    let mut imports = Imports::new();
    imports.define(
        "dormouse",
        "write_call_output",
        |caller: &mut Caller<'_>, buffer: u32, bytes: u32| -> std::result::Result<(), Stop> {
            let written = caller.slice(buffer, bytes)?.to_vec();
            *caller.data::<Vec<u8>>() = written;
            Ok(())
        },
    );
    Ok(module.link(&imports)?)
}

/// Holds instances, in a process of its own.
fn hold(directory: &Path, count: usize) -> Result<()> {
    let engine = Engine::new(&Default::default())?;
    let linked = link(&engine, directory)?;
    let handle = linked.module().function("handle").ok_or("no handle")?;
    let image = Image::open(&linked, &File::open(directory.join("image"))?)?;
    let call = |instance: &mut Instance| -> Result<()> {
        let results = instance
            .call(handle, &[])
            .map_err(|trap| trap.to_string())?;
        let answer = std::mem::take(instance.data_mut::<Vec<u8>>());
        if results != [0] || answer != b"Hello from Dormouse!\n" {
            return Err(format!("a wrong answer: {answer:?}").into());
        }
        Ok(instance.reset(Box::new(Vec::<u8>::new())).map(drop)?)
    };
    let smaps = || kernel_bytes("/proc/self/smaps_rollup", "Private_Dirty:");
    let tables = || kernel_bytes("/proc/self/status", "VmPTE:");
    let mut instances = Vec::with_capacity(count);
    // What the first call needs once is not an instance's.
    let mut first = image.restore(Limits::default(), Box::new(Vec::<u8>::new()))?;
    call(&mut first)?;
    let (private_before, tables_before) = (smaps()?, tables()?);
    let heap_before = heap_bytes()?;
    for _ in 0..count {
        let mut instance = image.restore(Limits::default(), Box::new(Vec::<u8>::new()))?;
        call(&mut instance)?;
        instances.push(instance);
    }
    let accounts: u64 = instances.iter().map(Instance::held_bytes).sum();
    println!(
        "{} {} {} {accounts}",
        smaps()? - private_before,
        tables()? - tables_before,
        heap_bytes()? - heap_before,
    );
    std::io::stdin().lines().next().ok_or("nobody asks")??;
    let mut random = Random(count as u64);
    let mut times = Vec::new();
    for _ in 0..count / RANDOM_PART {
        let began = Instant::now();
        call(&mut instances[random.below(count)])?;
        times.push(began.elapsed());
    }
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{} {}", times.len(), median.as_nanos());
    Ok(())
}

/// The size of the heap of this process.
fn heap_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/smaps")?;
    let mut lines = text.lines().skip_while(|line| !line.ends_with("[heap]"));
    let dirty = lines.find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kibibytes = dirty.and_then(|line| line.split_whitespace().next());
    Ok(kibibytes.unwrap_or("0").parse::<u64>()? * 1024)
}

/// A connection that stays.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Client(BufReader::new(stream)))
    }

    fn request(&mut self, method: &str, target: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut bytes = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.0.get_mut().write_all(&bytes)?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let status = line.split(' ').nth(1).ok_or("no status")?.parse()?;
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, body))
    }
}

/// A function that answers with its number, which is in its image.
fn numbered(number: usize) -> Result<Vec<u8>> {
    Ok(wat::parse_str(format!(
        r#"(module
            (import "dormouse" "write_call_output" (func $out (param i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 8) "number {number:06}")
            (func (export "handle") (result i32) (call $out (i32.const 8) (i32.const 13)) i32.const 0))"#
    ))?)
}

/// What functions have of their own.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Modules,
    Scripts,
}

impl Kind {
    /// The module of a function, and its settings.
    fn deployment(self, number: usize) -> Result<(Vec<u8>, String)> {
        match self {
            Kind::Modules => Ok((numbered(number)?, String::new())),
            Kind::Scripts => {
                let script = format!(
                    "const table = [...Array(1000).keys()].map(n => n * {number}); function handle() {{ return 'number {number:06}' }}"
                );
                let script: String = script.bytes().map(|byte| format!("%{byte:02x}")).collect();
                Ok((
                    fs::read(guest("javascript.wasm"))?,
                    format!("?env.SCRIPT={script}"),
                ))
            }
        }
    }
}

/// What the files below a directory take on the disk, each once however many names it has.
fn disk_bytes(directory: &Path, seen: &mut HashSet<u64>) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            bytes += disk_bytes(&entry.path(), seen)?;
        } else if seen.insert(metadata.ino()) {
            bytes += metadata.blocks() * 512;
        }
    }
    Ok(bytes)
}

fn functions(count: usize, kind: Kind) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let child = Command::new(env!("CARGO_BIN_EXE_dormouse"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut server = Running(child);
    let id = server.0.id();
    let mut log = BufReader::new(server.0.stderr.take().ok_or("no pipe")?).lines();
    let line = log.next().ok_or("the server does not start")??;
    let mut addresses = line.split("http://").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
        rest[..end.unwrap_or(rest.len())].parse::<SocketAddr>().ok()
    });
    let (public, admin) = addresses.next().zip(addresses.next()).ok_or(line.clone())?;
    std::thread::spawn(move || log.for_each(drop));

    let began = Instant::now();
    let deployers: Vec<_> = (0..DEPLOYERS)
        .map(|deployer| {
            std::thread::spawn(move || -> std::result::Result<(), String> {
                let text = |error: Box<dyn Error>| error.to_string();
                let mut client = Client::connect(admin).map_err(text)?;
                for number in (deployer..count).step_by(DEPLOYERS) {
                    let (module, settings) = kind.deployment(number).map_err(text)?;
                    let target = format!("/v1/functions/f{number}{settings}");
                    let (status, body) = client.request("PUT", &target, &module).map_err(text)?;
                    if status != 201 {
                        let body = String::from_utf8_lossy(&body);
                        return Err(format!("deploying f{number}: {status} {body}"));
                    }
                }
                Ok(())
            })
        })
        .collect();
    for deployer in deployers {
        deployer.join().map_err(|_| "a thread panicked")??;
    }
    match kind {
        Kind::Modules => println!("{count} different functions on one server"),
        Kind::Scripts => println!("{count} functions of one interpreter on one server"),
    }
    println!(
        "  deployed in {:.1} s; {} KiB on the disk",
        began.elapsed().as_secs_f64(),
        disk_bytes(directory.path(), &mut HashSet::new())? >> 10
    );
    report(id, admin, "deployed")?;
    let mut client = Client::connect(public)?;
    let mut call = |number: usize| -> Result<Duration> {
        let began = Instant::now();
        let (status, body) = client.request("GET", &format!("/f{number}"), b"")?;
        if status != 200 || body != format!("number {number:06}").as_bytes() {
            let body = String::from_utf8_lossy(&body);
            return Err(format!("f{number} answered {status} {body}").into());
        }
        Ok(began.elapsed())
    };
    let once = (0..count).map(&mut call).collect::<Result<Vec<_>>>()?;
    latencies("each once", once);
    report(id, admin, "each called once")?;
    let mut random = Random(count as u64);
    let again = (0..count.div_ceil(RANDOM_PART)).map(|_| call(random.below(count)));
    let again = again.collect::<Result<Vec<_>>>()?;
    latencies("at random", again);
    report(id, admin, "called at random")?;
    Ok(())
}

fn latencies(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "  {what}: {} calls, every answer right; median {:?}, 99 % {:?}",
        times.len(),
        at(50),
        at(99)
    );
}

/// What the server holds now.
fn report(id: u32, admin: SocketAddr, when: &str) -> Result<()> {
    let status = format!("/proc/{id}/status");
    let rollup = format!("/proc/{id}/smaps_rollup");
    let files = fs::read_dir(format!("/proc/{id}/fd"))?.count();
    let mappings = fs::read_to_string(format!("/proc/{id}/maps"))?
        .lines()
        .count();
    let (_, metrics) = Client::connect(admin)?.request("GET", "/metrics", b"")?;
    let metrics = String::from_utf8(metrics)?;
    let metric = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or(" ?").trim().to_owned()
    };
    println!(
        "  {when}: {files} files, {mappings} mappings, {} KiB of its own and {} KiB of files resident, {} KiB of page tables, {} functions open, {} instances warm",
        kernel_bytes(&rollup, "Pss_Anon:")? >> 10,
        kernel_bytes(&rollup, "Pss_File:")? >> 10,
        kernel_bytes(&status, "VmPTE:")? >> 10,
        metric("dormouse_open_functions "),
        metric("dormouse_warm_instances "),
    );
    Ok(())
}

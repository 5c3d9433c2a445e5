//! Every host call with arbitrary arguments: the host does not panic, writes guest memory only where the call is documented to, and
//! answers the same when asked the same.
//!
//! Two guests with the same memory and the same files make the same calls. After each, what changed of memory is held
//! against the ranges the call may write, and against the other guest's.

use crate::modules::{random, step};
use crate::random::Random;
use crate::{Canary, Finding, Outcome, Verdict, finding, guest};
use arbitrary::Unstructured;
use dormouse::{Engine, Instance, Linked, Module, Progress, Reason};
use dormouse_host::interface::{
    Context, InitPolicy, Kind, Request, RequestId, Stdio, Wait, imports,
};
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;

const CALLS: u64 = 24;
const MEMORY_BYTES: u64 = 2 << 16;
/// Times one call may wait.
const WAITS_MAX: usize = 64;

/// What an argument means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Descriptor,
    /// A place for a result, or of a buffer or an array; a length or a count follows where there is one.
    Address,
    Bytes,
    Count,
    /// An array of buffers.
    Buffers,
    /// A path; its length follows.
    Path,
    PathBytes,
    Flags,
    /// 64 bits wide.
    Long,
    /// 64 bits wide, and no more than what a test may take of a disk.
    Extent,
}
use Operand::*;

/// What a call is about, for the ranges it may write.
struct Look<'a> {
    arguments: &'a [u64],
    memory: &'a [u8],
    strings: Strings,
}

/// Numbers of strings and of their bytes: arguments, environment.
#[derive(Clone, Copy, Debug, Default)]
struct Strings {
    arguments: [u64; 2],
    environment: [u64; 2],
}

impl Look<'_> {
    fn at(&self, address: usize, bytes: u64) -> Vec<Range<u64>> {
        let address = self.arguments[address];
        let range = address..address + bytes;
        vec![range]
    }

    fn buffer(&self, address: usize) -> Vec<Range<u64>> {
        self.at(address, self.arguments[address + 1])
    }

    /// The buffers of an array, and a result.
    fn buffers(&self, array: usize, result: usize) -> Vec<Range<u64>> {
        let mut ranges = self.at(result, 4);
        let (array, count) = (self.arguments[array], self.arguments[array + 1].min(1024));
        for index in 0..count {
            let at = (array + index * 8) as usize;
            let Some(entry) = self.memory.get(at..at + 8) else {
                break;
            };
            let number = |at: usize| {
                u64::from(u32::from_le_bytes(
                    entry[at..at + 4].try_into().expect("four bytes"),
                ))
            };
            ranges.push(number(0)..number(0) + number(4));
        }
        ranges
    }

    fn strings(&self, [count, bytes]: [u64; 2]) -> Vec<Range<u64>> {
        [self.at(0, 4 * count), self.at(1, bytes)].concat()
    }
}

/// A call: its name, its operands, and the ranges of memory it may write.
struct HostCall {
    name: &'static str,
    operands: &'static [Operand],
    writes: fn(&Look<'_>) -> Vec<Range<u64>>,
}

fn nothing(_: &Look<'_>) -> Vec<Range<u64>> {
    Vec::new()
}

const fn call(
    name: &'static str,
    operands: &'static [Operand],
    writes: fn(&Look<'_>) -> Vec<Range<u64>>,
) -> HostCall {
    HostCall {
        name,
        operands,
        writes,
    }
}

const WASI: &[HostCall] = &[
    call("args_get", &[Address, Address], |look| {
        look.strings(look.strings.arguments)
    }),
    call("args_sizes_get", &[Address, Address], |look| {
        [look.at(0, 4), look.at(1, 4)].concat()
    }),
    call("environ_get", &[Address, Address], |look| {
        look.strings(look.strings.environment)
    }),
    call("environ_sizes_get", &[Address, Address], |look| {
        [look.at(0, 4), look.at(1, 4)].concat()
    }),
    call("clock_res_get", &[Flags, Address], |look| look.at(1, 8)),
    call("clock_time_get", &[Flags, Long, Address], |look| {
        look.at(2, 8)
    }),
    call("fd_advise", &[Descriptor, Long, Long, Flags], nothing),
    call("fd_allocate", &[Descriptor, Extent, Extent], nothing),
    call("fd_close", &[Descriptor], nothing),
    call("fd_datasync", &[Descriptor], nothing),
    call("fd_fdstat_get", &[Descriptor, Address], |look| {
        look.at(1, 24)
    }),
    call("fd_fdstat_set_flags", &[Descriptor, Flags], nothing),
    call("fd_fdstat_set_rights", &[Descriptor, Long, Long], nothing),
    call("fd_filestat_get", &[Descriptor, Address], |look| {
        look.at(1, 64)
    }),
    call("fd_filestat_set_size", &[Descriptor, Extent], nothing),
    call(
        "fd_filestat_set_times",
        &[Descriptor, Long, Long, Flags],
        nothing,
    ),
    call(
        "fd_pread",
        &[Descriptor, Buffers, Count, Extent, Address],
        |look| look.buffers(1, 4),
    ),
    call("fd_prestat_get", &[Descriptor, Address], |look| {
        look.at(1, 8)
    }),
    call(
        "fd_prestat_dir_name",
        &[Descriptor, Address, Bytes],
        |look| look.buffer(1),
    ),
    call(
        "fd_pwrite",
        &[Descriptor, Buffers, Count, Extent, Address],
        |look| look.at(4, 4),
    ),
    call("fd_read", &[Descriptor, Buffers, Count, Address], |look| {
        look.buffers(1, 3)
    }),
    call(
        "fd_readdir",
        &[Descriptor, Address, Bytes, Long, Address],
        |look| [look.buffer(1), look.at(4, 4)].concat(),
    ),
    call("fd_renumber", &[Descriptor, Descriptor], nothing),
    call("fd_seek", &[Descriptor, Extent, Flags, Address], |look| {
        look.at(3, 8)
    }),
    call("fd_sync", &[Descriptor], nothing),
    call("fd_tell", &[Descriptor, Address], |look| look.at(1, 8)),
    call("fd_write", &[Descriptor, Buffers, Count, Address], |look| {
        look.at(3, 4)
    }),
    call(
        "path_create_directory",
        &[Descriptor, Path, PathBytes],
        nothing,
    ),
    call(
        "path_filestat_get",
        &[Descriptor, Flags, Path, PathBytes, Address],
        |look| look.at(4, 64),
    ),
    call(
        "path_filestat_set_times",
        &[Descriptor, Flags, Path, PathBytes, Long, Long, Flags],
        nothing,
    ),
    call(
        "path_link",
        &[
            Descriptor, Flags, Path, PathBytes, Descriptor, Path, PathBytes,
        ],
        nothing,
    ),
    call(
        "path_open",
        &[
            Descriptor, Flags, Path, PathBytes, Flags, Long, Long, Flags, Address,
        ],
        |look| look.at(8, 4),
    ),
    call(
        "path_readlink",
        &[Descriptor, Path, PathBytes, Address, Bytes, Address],
        |look| [look.buffer(3), look.at(5, 4)].concat(),
    ),
    call(
        "path_remove_directory",
        &[Descriptor, Path, PathBytes],
        nothing,
    ),
    call(
        "path_rename",
        &[Descriptor, Path, PathBytes, Descriptor, Path, PathBytes],
        nothing,
    ),
    call(
        "path_symlink",
        &[Path, PathBytes, Descriptor, Path, PathBytes],
        nothing,
    ),
    call("path_unlink_file", &[Descriptor, Path, PathBytes], nothing),
    call("poll_oneoff", &[Address, Address, Count, Address], |look| {
        [look.at(1, 32 * look.arguments[2]), look.at(3, 4)].concat()
    }),
    call("proc_exit", &[Flags], nothing),
    call("proc_raise", &[Flags], nothing),
    call("random_get", &[Address, Bytes], |look| look.buffer(0)),
    call("sched_yield", &[], nothing),
    call("sock_accept", &[Descriptor, Flags, Address], |look| {
        look.at(2, 4)
    }),
    call(
        "sock_recv",
        &[Descriptor, Buffers, Count, Flags, Address, Address],
        |look| [look.buffers(1, 4), look.at(5, 4)].concat(),
    ),
    call(
        "sock_send",
        &[Descriptor, Buffers, Count, Flags, Address],
        |look| look.at(4, 4),
    ),
    call("sock_shutdown", &[Descriptor, Flags], nothing),
];

const DORMOUSE: &[HostCall] = &[
    call("read_call_input", &[Address, Bytes], |look| look.buffer(0)),
    call("write_call_output", &[Address, Bytes], nothing),
    call("call_header", &[Path, PathBytes, Address, Bytes], |look| {
        look.buffer(2)
    }),
    call("set_status", &[Flags], nothing),
    call("set_header", &[Path, PathBytes, Path, PathBytes], nothing),
];

/// Calls whose answers differ from one time to the next: by the clock, by chance, or by numbers the file system gives.
const VARYING: [&str; 8] = [
    "clock_time_get",
    "clock_res_get",
    "random_get",
    "poll_oneoff",
    "fd_filestat_get",
    "path_filestat_get",
    "fd_readdir",
    "fd_seek",
];

/// Calls that may have written before an argument further on turned out bad.
const PARTIAL: [&str; 8] = [
    "args_get",
    "environ_get",
    "args_sizes_get",
    "environ_sizes_get",
    "random_get",
    "fd_read",
    "fd_readdir",
    "path_readlink",
];

/// Names that lead to files, to none, and out of the directory. Also headers, for calls that take those.
const NAMES: &[&[u8]] = &[
    b"a",
    b"dir",
    b"dir/b",
    b"./dir/../a",
    b"..",
    b"../out",
    b"/",
    b"/etc/passwd",
    b"",
    b".",
    b"link",
    b"link/x",
    b"loop",
    b"dir/",
    b"a/",
    b"new",
    b"dir/new",
    b"a\0b",
    b"\xff\xfe",
    b":path",
    b":method",
    b"host",
    b"Content-Type",
    b"X\r\nY",
    b"text/plain",
    b"dir/../../../../out",
];

thread_local! {
    static ENGINE: Engine = guest::engine(Duration::from_millis(1), 256);
    static LINKED: Linked = ENGINE.with(guest_that_calls);
}

/// A module with a function for every call, of its name, that makes it.
fn guest_that_calls(engine: &Engine) -> Linked {
    let (mut imported, mut exported) = (String::new(), String::new());
    let modules = [("wasi_snapshot_preview1", WASI), ("dormouse", DORMOUSE)];
    for (module, call) in modules
        .iter()
        .flat_map(|(module, calls)| calls.iter().map(move |call| (module, call)))
    {
        let name = call.name;
        let types: Vec<&str> = call
            .operands
            .iter()
            .map(|operand| {
                if matches!(operand, Long | Extent) {
                    "i64"
                } else {
                    "i32"
                }
            })
            .collect();
        let parameters = types.join(" ");
        let result = if has_result(name) { "(result i32)" } else { "" };
        imported += &format!(
            "(import \"{module}\" \"{name}\" (func ${name} (param {parameters}) {result}))\n"
        );
        let operands: String = (0..types.len())
            .map(|index| format!("local.get {index} "))
            .collect();
        exported += &format!(
            "(func (export \"{name}\") (param {parameters}) {result} {operands} call ${name})\n"
        );
    }
    let text = format!("(module {imported} (memory (export \"memory\") 2) {exported})");
    let wasm = wat::parse_str(text).expect("a valid module");
    let artifact = guest::artifact(&wasm)
        .expect("it compiles")
        .expect("it is small");
    let module = Module::from_artifact(engine, &artifact).expect("just made");
    module.link(&imports()).expect("every call is there")
}

fn has_result(name: &str) -> bool {
    !matches!(
        name,
        "proc_exit" | "write_call_output" | "set_status" | "set_header"
    )
}

/// Whose calls they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Command,
    Reactor,
    Initialising,
    /// A program of its own, with a directory.
    Program,
}

struct Guest {
    instance: Instance,
    /// Dropped after the instance.
    _directory: Option<TempDir>,
}

impl Guest {
    fn new(setting: Setting) -> Result<Guest, Finding> {
        let mut directory = None;
        let context = match setting {
            Setting::Initialising => {
                Context::initialising(vec![("OWN".into(), "value".into())], InitPolicy::Refuse)
            }
            Setting::Program => {
                let arguments = vec![b"program".to_vec(), b"argument".to_vec()];
                let mut context = Context::command(arguments, Vec::new(), Stdio::Buffered);
                let made = directory_of_files();
                context
                    .preopen(&made.path().join("in"), "/")
                    .map_err(|error| finding!("{error}"))?;
                directory = Some(made);
                context
            }
            Setting::Command | Setting::Reactor => {
                let kind = match setting {
                    Setting::Command => Kind::Command,
                    _ => Kind::Reactor,
                };
                Context::call(
                    Rc::new(request()),
                    kind,
                    Rc::new([("OWN".into(), "1".into())]),
                )
            }
        };
        let instance = LINKED
            .with(|linked| Instance::new(linked, guest::limits(), Box::new(context)))
            .map_err(|error| finding!("no instance: {error}"))?;
        Ok(Guest {
            instance,
            _directory: directory,
        })
    }

    /// How a call ended, in comparable words, and the number it returned.
    fn call(&mut self, name: &str, arguments: &[u64]) -> Result<(String, Option<u64>), Finding> {
        let function = self
            .instance
            .linked()
            .module()
            .function(name)
            .expect("it is exported");
        self.instance
            .begin(function, arguments)
            .map_err(|error| finding!("a call does not begin: {error}"))?;
        for turn in 0..WAITS_MAX {
            match self.instance.resume() {
                Progress::Returned(words) => {
                    return Ok((format!("{words:?}"), words.first().copied()));
                }
                Progress::Stopped(trap) => {
                    if let Reason::HostPanic(message) = trap.reason {
                        return Err(finding!(
                            "{name}{arguments:x?} makes the host panic: {message}"
                        ));
                    }
                    return Ok((trap.reason.to_string(), None));
                }
                Progress::Preempted => {}
                Progress::Blocked => {
                    let context: &mut Context = self.instance.data_mut();
                    match context.wait {
                        Some(Wait::Input | Wait::InputOrUntil(_)) if turn % 3 == 2 => {
                            context.input.end()
                        }
                        Some(Wait::Input | Wait::InputOrUntil(_)) => {
                            context.input.push(*b"some input")
                        }
                        Some(Wait::OutputSpace) => drop(context.output.take_body()),
                        Some(Wait::Yield) => {}
                        Some(Wait::Until(_)) => break,
                        None => return Err(finding!("{name} waits for nothing")),
                    }
                }
            }
        }
        let trap = self
            .instance
            .stop(Reason::Host("it waited for long enough".to_owned()));
        Ok((trap.reason.to_string(), None))
    }
}

/// `in` has files and links; a guest that gets beside it has left its directory.
fn directory_of_files() -> TempDir {
    let made = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a directory");
    let fill = |root: &Path| -> std::io::Result<()> {
        std::fs::write(root.join("out"), b"not for guests")?;
        let inside = root.join("in");
        std::fs::create_dir_all(inside.join("dir"))?;
        std::fs::write(inside.join("a"), b"the contents of a file")?;
        std::fs::write(inside.join("dir/b"), [7; 5000])?;
        std::os::unix::fs::symlink("dir", inside.join("link"))?;
        std::os::unix::fs::symlink("loop", inside.join("loop"))
    };
    fill(made.path()).expect("room for some files");
    made
}

fn request() -> Request {
    Request {
        method: "POST".into(),
        path: "/a%20b".into(),
        raw_target: "/f/a%20b?q=1".into(),
        query: "q=1".into(),
        headers: vec![
            ("Host".into(), b"example.org".to_vec()),
            ("X-Long".into(), vec![b'v'; 300]),
        ],
        content_length: None,
        remote: "192.0.2.7:4711".parse().expect("an address"),
        local: "127.0.0.1:8080".parse().expect("an address"),
        function: "f".into(),
        id: RequestId("id".into()),
    }
}

pub fn check(data: &[u8], canary: Canary) -> Outcome {
    let mut u = Unstructured::new(data);
    let Ok(mut random) = random(&mut u) else {
        return Ok(Verdict::NoCase);
    };
    let settings = [
        Setting::Command,
        Setting::Reactor,
        Setting::Initialising,
        Setting::Program,
    ];
    let setting = *random.pick(&settings);
    let mut one = Guest::new(setting)?;
    let mut other = Guest::new(setting)?;
    let strings = count_strings(&mut one)?;
    count_strings(&mut other)?;
    let paths = furnish(one.instance.memory(), &mut random);
    let furnished = one.instance.memory().to_vec();
    other.instance.memory().copy_from_slice(&furnished);
    let mut checked = 0;
    for _ in 0..1 + random.below(CALLS) {
        step(&mut u, &mut random);
        // Of a program, mostly those that do something with its files.
        let call = match random.below(8) {
            0 => random.pick(DORMOUSE),
            _ => random.pick(WASI),
        };
        let arguments = operands(call, &paths, &mut random);
        let before = one.instance.memory().to_vec();
        let (end, code) = one.call(call.name, &arguments)?;
        let (other_end, _) = other.call(call.name, &arguments)?;
        // The canary's error: a byte beside what the call may write.
        if canary.is_present() {
            one.instance.memory()[MEMORY_BYTES as usize - 9] ^= 1;
        }
        let described = format!("{}{arguments:x?} of a {setting:?}", call.name);
        let failed = call.name != "call_header" && code.is_some_and(|code| code != 0);
        let look = Look {
            arguments: &arguments,
            memory: &before,
            strings,
        };
        let may_write = match failed && has_errno(call) && !PARTIAL.contains(&call.name) {
            true => Vec::new(),
            false => (call.writes)(&look),
        };
        let after = one.instance.memory();
        if after.len() != before.len() {
            return Err(finding!(
                "{described}: memory has {} bytes after it",
                after.len()
            ));
        }
        let allowed = |at: usize| may_write.iter().any(|range| range.contains(&(at as u64)));
        if let Some(at) = (0..before.len()).find(|at| before[*at] != after[*at] && !allowed(*at)) {
            return Err(finding!(
                "{described} ended with {end} and wrote {at:#x}, beside {may_write:x?}"
            ));
        }
        if VARYING.contains(&call.name) {
            let after = after.to_vec();
            other.instance.memory().copy_from_slice(&after);
        } else if end != other_end {
            return Err(finding!(
                "{described} ended with {end}, then with {other_end}"
            ));
        } else if *after != *other.instance.memory() {
            return Err(finding!("{described} wrote this to memory and then that"));
        }
        checked += 1;
    }
    Ok(Verdict::Checked(checked))
}

fn has_errno(call: &HostCall) -> bool {
    WASI.iter().any(|other| other.name == call.name)
}

fn count_strings(guest: &mut Guest) -> Result<Strings, Finding> {
    let mut ask = |name: &str| -> Result<[u64; 2], Finding> {
        guest.call(name, &[0, 8])?;
        let memory = guest.instance.memory();
        let number = |at: usize| {
            u64::from(u32::from_le_bytes(
                memory[at..at + 4].try_into().expect("four bytes"),
            ))
        };
        Ok([number(0), number(8)])
    };
    Ok(Strings {
        arguments: ask("args_sizes_get")?,
        environment: ask("environ_sizes_get")?,
    })
}

/// Where names lie in memory, with their lengths.
type Paths = Vec<(u64, u64)>;

/// Fills memory with numbers, arrays of buffers and of subscriptions, and names.
fn furnish(memory: &mut [u8], random: &mut Random) -> Paths {
    for word in memory.chunks_exact_mut(8) {
        word.copy_from_slice(&random.number().to_le_bytes());
    }
    // Arrays of buffers, most of them in memory.
    for at in (0x1000..0x2000).step_by(8) {
        let address = match random.below(20) {
            0 => random.interesting() as u32,
            _ => random.below(MEMORY_BYTES) as u32,
        };
        let bytes = match random.below(20) {
            0 => random.interesting() as u32,
            _ => random.below(200) as u32,
        };
        memory[at..at + 4].copy_from_slice(&address.to_le_bytes());
        memory[at + 4..at + 8].copy_from_slice(&bytes.to_le_bytes());
    }
    // Subscriptions: clocks that have gone off or never do, and descriptors.
    for at in (0x3000..0x4000 - 48).step_by(48) {
        memory[at + 8] = random.below(4) as u8;
        memory[at + 16..at + 20].copy_from_slice(&(random.below(5) as u32).to_le_bytes());
        memory[at + 24..at + 32].copy_from_slice(&random.interesting().to_le_bytes());
        memory[at + 40..at + 42].copy_from_slice(&(random.below(3) as u16).to_le_bytes());
    }
    let mut at = 0x5000;
    NAMES
        .iter()
        .map(|name| {
            memory[at..at + name.len()].copy_from_slice(name);
            let place = (at as u64, name.len() as u64);
            at += name.len() + 3;
            place
        })
        .collect()
}

fn operands(call: &HostCall, paths: &Paths, random: &mut Random) -> Vec<u64> {
    let mut path = (0, 0);
    call.operands
        .iter()
        .map(|operand| {
            let wide = matches!(operand, Long | Extent);
            // Now and then anything at all.
            let value = if random.chance(12) {
                random.interesting()
            } else {
                match operand {
                    Descriptor => random.below(7),
                    Address => match random.below(6) {
                        0 => MEMORY_BYTES - random.below(70),
                        1 => 0x3000 + 48 * random.below(50),
                        2 => 0x1000 + 8 * random.below(300),
                        _ => random.below(MEMORY_BYTES),
                    },
                    Bytes => random.below(400),
                    Count => random.below(6),
                    Buffers => 0x1000 + 8 * random.below(500),
                    Path => {
                        path = *random.pick(paths);
                        path.0
                    }
                    PathBytes => path.1,
                    Flags => random.below(20),
                    Long => match random.below(3) {
                        0 => (1 << 30) - 1,
                        1 => 0,
                        _ => random.interesting(),
                    },
                    Extent => random.below(1 << 16),
                }
            };
            match operand {
                Extent => value % (1 << 20),
                _ if wide => value,
                _ => u64::from(value as u32),
            }
        })
        .collect()
}

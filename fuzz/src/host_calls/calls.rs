//! The host calls: what each takes, and which ranges of memory it may write.

use std::ops::Range;

/// What an argument means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
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
pub use Operand::*;

/// What a call is about, for the ranges it may write.
pub struct Look<'a> {
    pub arguments: &'a [u64],
    pub memory: &'a [u8],
    pub strings: Strings,
}

/// Numbers of strings and of their bytes: arguments, environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strings {
    pub arguments: [u64; 2],
    pub environment: [u64; 2],
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
            let address = word(entry, 0);
            ranges.push(address..address + word(entry, 4));
        }
        ranges
    }

    fn strings(&self, [count, bytes]: [u64; 2]) -> Vec<Range<u64>> {
        [self.at(0, 4 * count), self.at(1, bytes)].concat()
    }
}

/// The 32 bits at a place.
pub fn word(memory: &[u8], at: usize) -> u64 {
    let bytes = memory[at..at + 4].try_into().expect("four bytes");
    u64::from(u32::from_le_bytes(bytes))
}

/// A call: its name, its operands, and the ranges of memory it may write.
pub struct HostCall {
    pub name: &'static str,
    pub operands: &'static [Operand],
    pub writes: fn(&Look<'_>) -> Vec<Range<u64>>,
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

pub const WASI: &[HostCall] = &[
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

pub const DORMOUSE: &[HostCall] = &[
    call("read_call_input", &[Address, Bytes], |look| look.buffer(0)),
    call("write_call_output", &[Address, Bytes], nothing),
    call("call_header", &[Path, PathBytes, Address, Bytes], |look| {
        look.buffer(2)
    }),
    call("set_status", &[Flags], nothing),
    call("set_header", &[Path, PathBytes, Path, PathBytes], nothing),
];

/// Calls whose answers differ from one time to the next: by the clock, by chance, or by numbers the file system gives.
pub const VARYING: [&str; 8] = [
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
pub const PARTIAL: [&str; 8] = [
    "args_get",
    "environ_get",
    "args_sizes_get",
    "environ_sizes_get",
    "random_get",
    "fd_read",
    "fd_readdir",
    "path_readlink",
];

pub fn has_result(name: &str) -> bool {
    !matches!(
        name,
        "proc_exit" | "write_call_output" | "set_status" | "set_header"
    )
}

pub fn has_errno(call: &HostCall) -> bool {
    WASI.iter().any(|other| other.name == call.name)
}
